"""The functions of ``pair`` about what looked after a pair before, loaded as Salt loads them."""

import pathlib
import shutil

import pytest
import samples

LSYNCD = "etc/lsyncd/lsyncd.conf.lua"


@pytest.fixture
def root(minion_opts):
    """The folder that stands for the node's root."""
    yield pathlib.Path(minion_opts["failback_root"])
    shutil.rmtree(minion_opts["failback_root"], ignore_errors=True)


def test_a_node_that_was_looked_after_says_so_and_keeps_what_is_replaced(modules, root):
    config = samples.pair("another")  # the node is the minion itself, whatever the master's copy says
    (root / LSYNCD).parent.mkdir(parents=True)
    (root / LSYNCD).write_text("the site's own")
    (root / "etc/crontab").write_text("* * * * * root ip addr add 10.0.0.5/24 dev eth0\n")
    found = modules.pair.predecessors(config)
    assert found["node"] == "salt1" and found["begun"] is False
    assert [(one["file"], one["line"], one["does"]) for one in found["programs"]] == [
        ("/etc/crontab", 1, "takes")
    ]
    (replaced,) = found["replaced"]
    assert not pathlib.Path(replaced["kept"]).exists()
    assert modules.pair.keep_replaced(config) == [replaced["kept"]]
    assert pathlib.Path(replaced["kept"]).read_text() == "the site's own"
    assert modules.pair.keep_replaced(config) == []
    assert (root / LSYNCD).read_text() == "the site's own"
