"""pillar/top.sls through Salt's own pillar compiler: who sees which pair."""

import pillar_tree
import pytest
import salt.config
import salt.pillar


@pytest.fixture
def compile_pillar(tree, tmp_path):
    """Compiles a minion's pillar from a copy of the tree to which pairs may be added."""
    root = pillar_tree.copy(tree, tmp_path / "pillar")
    opts = salt.config.DEFAULT_MASTER_OPTS.copy()
    opts.update(
        {
            "id": "master_master",
            "__role": "master",
            "root_dir": str(tmp_path),
            "cachedir": str(tmp_path / "cache"),
            "extension_modules": str(tmp_path / "extmods"),
            "file_client": "local",
            "file_roots": {"base": []},
            "pillar_roots": {"base": [str(root)]},
        }
    )

    def call(minion, grains=None):
        grains = {"id": minion, **(grains or {})}
        found = salt.pillar.Pillar(opts, grains, minion, "base").compile_pillar()
        assert "_errors" not in found
        return found

    call.root = root
    return call


SHIPPED = ["apps", "archive", "home", "mgmt", "monitor", "mx", "salt", "slurm", "ssc"]


def add_pair(root):
    # All that adding a pair takes: one new file, one line.
    (root / "pairs" / "web.sls").write_text("pairs:\n  web: {primary: web1, secondary: web2}\n")
    top = root / "top.sls"
    lines = top.read_text().split("\n")
    position = next(number for number, line in enumerate(lines) if line.startswith("salt salt1 "))
    lines.insert(position + 1, "web web1 web2")
    top.write_text("\n".join(lines))


@pytest.mark.parametrize(
    "minion, pairs",
    [
        ("salt1", ["salt"]),
        ("salt2", ["salt"]),
        ("web1", ["web"]),
        ("web2", ["web"]),
        ("mgmt2", ["mgmt"]),
        ("apps1", ["apps"]),
        ("salt1_master", [*SHIPPED, "web"]),
        ("client", []),
        ("salt", []),
        ("web", []),
        ("salt11", []),
        ("alt1", []),
    ],
)
def test_a_node_sees_its_own_pair_and_a_master_all(compile_pillar, minion, pairs):
    add_pair(compile_pillar.root)
    assert sorted(compile_pillar(minion).get("pairs", {})) == pairs


def test_as_it_is_shipped_it_brings_no_pair(compile_pillar, tree):
    """Nobody has the pairs of somebody else's cluster."""
    (compile_pillar.root / "top.sls").write_text((tree / "pillar/top.sls").read_text())
    for minion in ("salt1_master", "salt1", "mgmt2", "#"):
        assert compile_pillar(minion).get("pairs") is None


def test_a_minion_cannot_ask_for_more_by_a_false_grain(compile_pillar):
    assert compile_pillar("client", {"id": "salt1_master"}).get("pairs") is None
    assert compile_pillar("client", {"id": "salt1"}).get("pairs") is None
