"""Which locks are those of dead runs: one that no node can prove dead counts until it expires."""

import os

import pytest
from salt.exceptions import CommandExecutionError

from failback.host import system
from failback_master import checks
from failback_master import orchestration

RUN = "20261122T183000-recover-salt-4f2a"


class Nodes:
    """Answers of the nodes to ``pair.owner_has_ended``."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def try_all(self, ids, function, *arguments):
        self.asked.append((tuple(ids), function, arguments))
        return {node: self.answers[node] for node in ids if node in self.answers}, {}


def report(node, state=None, **owner):
    lock = {"run": RUN, "state": state, "owner": owner, "operation": "recover"} if state else None
    return {"node": node, "lock": lock}


@pytest.mark.parametrize(
    ("salt1", "salt2", "answers", "dead"),
    [
        pytest.param(None, None, {}, set(), id="no lock"),
        pytest.param("dead", "held", {"salt2": True}, {RUN}, id="its host has a lock too"),
        pytest.param("held", None, {"salt1": False, "salt2": True}, {RUN}, id="salt1 was away when it ended"),
        pytest.param(
            "dead", "held", {"salt1": True, "salt2": False}, set(), id="salt1 says so of salt2's run"
        ),
        pytest.param("held", "held", {"salt1": True}, set(), id="salt1 alone says so, and salt2 is silent"),
        pytest.param("held", "held", {"salt2": "yes"}, set(), id="an answer that is none"),
        pytest.param("held", "held", {"salt1": False, "salt2": False}, set(), id="it lives"),
        pytest.param("held", None, {"salt1": False}, set(), id="its host does not answer"),
        pytest.param(None, "held", {"salt2": True}, {RUN}, id="only its host has a lock"),
        pytest.param("expired", None, {}, set(), id="expired: nobody need be asked"),
    ],
)
def test_dead_runs(salt1, salt2, answers, dead):
    nodes = Nodes(**answers)
    its = {"machine": "4f2a/salt2.example.org", "boot_id": "elsewhere"}
    reports = [report("salt1", salt1, **its), report("salt2", salt2, **its)]
    assert orchestration.dead_runs(reports, nodes) == dead
    if "held" not in (salt1, salt2):
        assert nodes.asked == []


def test_a_run_does_not_ask_whether_it_lives_itself():
    nodes = Nodes(salt1=True, salt2=True)
    assert orchestration.dead_runs([report("salt1", "held")], nodes, own=RUN) == set()
    assert nodes.asked == []


def test_a_master_knows_of_its_own_dead_runs_though_it_is_no_node_of_the_pair():
    mine = {"boot_id": system.boot_id(), "pid": os.getpid(), "started": 1}
    nodes = Nodes(salt1=False, salt2=False)
    assert orchestration.dead_runs([report("salt1", "held", **mine)], nodes) == {RUN}
    assert nodes.asked == []


def test_the_machine_of_the_process_is_asked_though_it_is_no_node_of_the_pair():
    """Another master's: its minion tells."""
    reports = [report("mgmt1", "held", machine="4f2a/salt1", boot_id="elsewhere"), report("mgmt2")]
    nodes = Nodes(mgmt1=False, mgmt2=False, salt1=True)
    assert orchestration.dead_runs(reports, nodes) == {RUN}
    assert nodes.asked[0][0] == ("salt1",)
    assert orchestration.dead_runs(reports, Nodes(mgmt1=False, mgmt2=False)) == set()


def test_a_pair_that_a_living_run_holds_is_not_free():
    with pytest.raises(CommandExecutionError, match=f"locked by run {RUN}"):
        checks.require_free("salt", [report("salt1", "held")], Nodes(salt1=False))
    its = {"machine": "4f2a/salt1"}
    checks.require_free("salt", [report("salt1", "held", **its)], Nodes(salt1=True))


def test_a_run_of_which_nothing_is_proved_keeps_no_other_one_alive():
    disputed = [report(node, "held", machine=f"x/{node}") for node in ("salt1", "salt2")]
    other = report("salt3", "dead", machine="4f2a/salt3")
    other["lock"]["run"] = "20261122T184500-boot-salt-77aa"
    nodes = Nodes(salt1=True, salt2=True, salt3=True)
    assert orchestration.dead_runs([*disputed, other], nodes) == {other["lock"]["run"]}


def test_a_node_that_names_another_process_as_the_run_s_is_not_believed():
    reports = [report("salt1", "dead", machine="4f2a/salt1"), report("salt2", "held", machine="77c1/salt2")]
    assert orchestration.dead_runs(reports, Nodes(salt1=True, salt2=False)) == set()
