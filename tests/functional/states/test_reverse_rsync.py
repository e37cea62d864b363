"""The state, with and without test mode, judged by the files."""

import json

import pytest
import trees

from failback.host.paths import Paths
from failback.replication import gate

RUN = "20261122T183000-recover-salt-4f2a"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    return trees.Nodes(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="module")
def minion_opts(minion_opts, nodes):
    minion_opts["failback_root"] = str(nodes.here)
    minion_opts["failback_remote_shell"] = str(nodes.folder / "far-end")
    return minion_opts


@pytest.fixture(autouse=True)
def pair(nodes, monkeypatch):
    for side in (nodes.here, nodes.there):
        trees.subprocess.run(["rm", "-rf", str(side / "srv"), str(side / "var")], check=True)
    trees.make(nodes.there, {"srv/salt/changed": "new!", "srv/salt/added": "1"})
    trees.make(nodes.here, {"srv/salt/changed": "old", "srv/salt/gone": "1"})
    file = Paths(nodes.here).pair_config("salt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(
            {
                "version": 1,
                "name": "salt",
                "node": "salt1",
                "primary": {"id": "salt1", "host": "salt1"},
                "secondary": {"id": "salt2", "host": "salt2"},
                "replicate": [{"path": "/srv/salt", "then": None}],
                "watch": {"patience": 2.0},
                "lsyncd": {"delay": 1},
                "recovery": {
                    "max_delete": 3,
                    "max_change_percent": 25,
                    "small_pass": 20,
                    "max_passes": 5,
                    "keep_backups": 5,
                    "keep_days": 0,
                },
            }
        )
    )
    nodes.peer([nodes.item("/srv/salt")])
    monkeypatch.setattr(gate, "require_pull", lambda member, run: None)


@pytest.mark.parametrize("test", [True, False])
def test_synced(states, nodes, test):
    ret = states.reverse_rsync.synced(name="salt", run=RUN, test=test)
    changes = ret.changes["/srv/salt"]
    assert {key: changes[key] for key in ("overwritten", "deleted", "created")} == {
        "overwritten": 1,
        "deleted": 1,
        "created": 1,
    }
    assert (nodes.here / "srv/salt/gone").exists() == test
    if test:
        assert ret.result is None
        assert "Would have" in ret.comment
    else:
        assert ret.result is True
        assert (nodes.here / "srv/salt/changed").read_text() == "new!"


@pytest.mark.parametrize("test", [True, False])
def test_already_in_step(states, nodes, test):
    states.reverse_rsync.synced(name="salt", run=RUN)
    ret = states.reverse_rsync.synced(name="salt", run=RUN, test=test)
    assert ret.result is True
    assert ret.changes == {}
    assert "already" in ret.comment


@pytest.mark.parametrize("test", [True, False])
def test_refusal_fails_the_state(states, nodes, test):
    trees.make(nodes.here, {f"srv/salt/gone{number}": "" for number in range(4)})
    before = trees.fingerprint(nodes.here / "srv")
    ret = states.reverse_rsync.synced(name="salt", run=RUN, test=test)
    assert ret.result is False
    assert ret.changes == {}
    assert "max_delete: 10" in ret.comment
    assert trees.fingerprint(nodes.here / "srv") == before
    ret = states.reverse_rsync.synced(name="salt", run=RUN, max_delete=5, test=test)
    assert ret.result is (None if test else True)
