"""What is left of a pair on a node, and what of it is Failback's own. Nothing is changed."""

import pytest
import samples

from failback import remains
from failback.host import files
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.replication import lsyncd_config

WORK = {"name": "work.service", "proof": None, "status": None}


class Node:
    def __init__(self, root, monkeypatch):
        self.member = Member.of(samples.pair("salt1", active_services=[WORK]), Paths(root))
        self.active, self.enabled, self.held = {}, {}, []
        monkeypatch.setattr(services, "states", self.states)
        monkeypatch.setattr(system, "run", self.run)
        monkeypatch.setattr(floating, "status", lambda one: {"held": one.address in self.held})

    def states(self, entries):
        return {one["name"]: self.active.get(one["name"], "inactive") for one in entries}

    def run(self, argv, timeout, what, accept):
        assert argv[:2] == ["systemctl", "is-enabled"] and timeout == remains.ASKED_WITHIN
        # It fails for all that is not enabled.
        assert {0, 1, 4, 255} <= set(accept)
        return self.enabled.get(argv[2], "")

    def facts(self):
        return remains.facts(self.member)


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


def test_a_node_on_which_nothing_is_left(node):
    assert node.facts() == {
        "node": "salt1",
        "known": False,
        "held": [],
        "units": {
            "salt-master": {"active": "inactive", "enabled": "not-found"},
            "work.service": {"active": "inactive", "enabled": "not-found"},
        },
        "lsyncd": False,
        "state": None,
        "program": [],
    }


def test_all_that_may_be_left(node):
    member, paths = node.member, node.member.paths
    files.write_json(paths.pair_config("salt"), member.config)
    member.ledger.path.parent.mkdir(parents=True)
    for place in (paths.library, paths.root / "var/cache/failback", paths.program.parent):
        place.mkdir(parents=True, exist_ok=True)
    paths.program.write_text("")
    node.active = {"salt-master": "active", "lsyncd.service": "active", services.LSYNCD: "active"}
    node.enabled = {"salt-master": "enabled\n", "work.service": "disabled\nand more\n"}
    node.held = ["10.0.0.5/24"]
    found = node.facts()
    assert found["known"] is True and found["lsyncd"] is True
    assert found["held"] == [{"address": "10.0.0.5/24", "interface": "eth0"}]
    assert found["units"] == {
        "salt-master": {"active": "active", "enabled": "enabled"},
        "work.service": {"active": "inactive", "enabled": "disabled"},
    }
    assert found["state"] == str(member.state)
    assert found["program"] == [
        str(one)
        for one in (paths.program, paths.library, paths.root / "var/cache/failback", paths.configuration)
    ]


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_an_lsyncd_that_is_not_active_does_not_run(node, state):
    node.active[services.LSYNCD] = state
    assert node.facts()["lsyncd"] is False


def test_files_of_lsyncd_that_somebody_else_has_written_are_not_ours(tmp_path):
    paths = Paths(tmp_path)
    unit = tmp_path / "etc/systemd/system/lsyncd.service"
    config = tmp_path / "etc/lsyncd/lsyncd.conf.lua"
    assert remains.own_lsyncd(paths) == []
    for place in (unit, config):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"somebody's \xff")
    assert remains.own_lsyncd(paths) == []
    unit.write_text(f"ExecStartPre={paths.program} gate\n")
    assert remains.own_lsyncd(paths) == [str(unit)]
    config.write_text(f"-- {lsyncd_config.MARK}\n")
    assert remains.own_lsyncd(paths) == [str(unit), str(config)]
    unit.unlink()
    unit.mkdir()
    assert remains.own_lsyncd(paths) == [str(config)]
