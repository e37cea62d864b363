"""A node's live facts: what is reported of it, and that one fact that cannot be read hides no other."""

import pytest
import samples

from failback import report
from failback.decisions import hearing
from failback.errors import Unavailable
from failback.fence import proof
from failback.host import files
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.lease import right
from failback.network import floating
from failback.network import reachable
from failback.pair import Member
from failback.replication import lsyncd_status
from failback.replication import sources
from failback.state import last_heard
from failback.state import ledger

ACTIVE = [{"name": "cron", "proof": None, "status": None}]


class Node:
    """A node whose systemd and kernel say what a test wants."""

    def __init__(self, folder, monkeypatch, node="salt1", **changes):
        self.member = Member.of(samples.pair(node, active_services=ACTIVE, **changes), Paths(folder))
        self.held, self.states = (
            True,
            {"lsyncd.service": "active", "salt-master": "active", "cron": "inactive"},
        )
        monkeypatch.setattr(floating, "statuses", lambda wanted: [{"held": self.held} for _ in wanted])
        monkeypatch.setattr(
            services, "states", lambda units: {one["name"]: self.states[one["name"]] for one in units}
        )
        monkeypatch.setattr(services, "facts", lambda names: {name: {"name": name} for name in names})
        monkeypatch.setattr(lsyncd_status, "has_begun", lambda member, unit: unit["name"] == "lsyncd.service")
        monkeypatch.setattr(services, "unit", lambda name: {"name": name})

    def report(self):
        return report.report(self.member)


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


def test_what_is_true_of_a_node_is_reported(node):
    node.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    found = node.report()
    assert (found["node"], found["pair"], found["role"]) == ("salt1", "salt", "primary")
    assert found["ledger"]["generation"] == 4 and found["ledger_error"] is None
    assert found["boot_id"] == system.boot_id() and found["time"] > 1e9
    assert found["addresses"] == [{"held": True}]
    assert found["lsyncd"] == {"running": True, "state": "active", "begun": True}
    assert found["services"] == {"salt-master": "active"}
    assert found["active_services"] == {"cron": "inactive"}
    assert found["gate"] is None
    assert found["requests"] == list(hearing.REQUESTS)
    for name in ("pause", "lock", "fenced", "fence", "lease", "uncompared", "reachable", "last_run"):
        assert found[name] is None, name
    assert list(found["sources"]) == ["/srv/salt"] and found["misplaced"] == {}
    assert found["last_heard"] is None and "installed" in found["readiness"]


def test_a_damaged_ledger_is_said_and_shuts_the_gate(node):
    files.write_atomically(node.member.ledger.path, "{")
    found = node.report()
    assert found["ledger"] is None and found["ledger_error"]
    assert found["gate"] == found["ledger_error"]
    assert found["uncompared"] == {"error": found["ledger_error"]}


def test_the_gate_knows_whether_the_node_has_its_address(node, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        report.gate, "lsyncd_refusal", lambda config, own, boot_id, holds: seen.append(holds) or "shut"
    )
    assert node.report()["gate"] == "shut"
    node.held = False
    node.report()
    bare = Node(tmp_path, monkeypatch, floating_ips=[])
    bare.report()
    # None where the pair has no address to tell by.
    assert seen == [True, False, None]


@pytest.mark.parametrize(
    ("node_id", "state", "changes", "running", "begun"),
    [
        ("salt1", "active", {}, True, True),
        ("salt1", "reloading", {}, True, None),
        ("salt1", "activating", {}, False, None),
        ("salt1", "inactive", {}, False, None),
        ("salt2", "active", {}, True, None),
        ("salt1", "active", {"replicate": []}, True, None),
    ],
)
def test_whether_lsyncd_watches_its_folders_is_asked_where_it_should_run(
    tmp_path, monkeypatch, node_id, state, changes, running, begun
):
    node = Node(tmp_path, monkeypatch, node_id, **changes)
    node.states["lsyncd.service"] = state
    assert node.report()["lsyncd"] == {"running": running, "state": state, "begun": begun}


def test_what_cannot_be_read_is_said_in_its_place_and_hides_nothing_else(node, monkeypatch):
    def damaged(*_):
        raise Unavailable("it cannot be read")

    monkeypatch.setattr(proof, "last_tried", damaged)
    monkeypatch.setattr(sources, "misplaced", damaged)
    monkeypatch.setattr(right, "status", damaged)
    monkeypatch.setattr(reachable, "state", damaged)
    for one in ("pause", "lock", "fencing"):
        monkeypatch.setattr(getattr(node.member, one), "read", damaged)
    found = node.report()
    for name in ("pause", "lock", "fenced", "fence", "misplaced", "lease", "reachable"):
        assert found[name] == {"error": "it cannot be read"}, name
    assert found["lsyncd"]["running"]


def test_who_has_heard_it_and_what_it_did_last_are_in_it(node):
    node.member.ledger.write(ledger.Entry(4, "salt1", samples.RUN, "a test"))
    last_heard.note(node.member, 4, 1000.0)
    for run in (samples.RUN, samples.OTHER_RUN, "no-run"):
        files.make_folder(node.member.runs.folder / run)
    found = node.report()
    assert found["last_heard"]["generation"] == 4 and found["last_heard"]["at"] == 1000.0
    assert found["last_run"] == max(samples.RUN, samples.OTHER_RUN)


def test_the_run_that_brought_it_home_and_was_not_compared_is_named(node, monkeypatch):
    asked = []
    monkeypatch.setattr(node.member.runs, "uncompared", lambda run: asked.append(run) or run)
    assert node.report()["uncompared"] is None
    node.member.ledger.write(ledger.Entry(4, "salt1", samples.RUN, "a test"))
    assert node.report()["uncompared"] == samples.RUN and asked == [samples.RUN]
