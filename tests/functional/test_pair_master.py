"""What a master does for a pair: a highstate that restarts a minion is over when the minion is back."""

import pytest
from salt.exceptions import CommandExecutionError

import pair_master

OLD, NEW = {"pid": 100, "started": 1}, {"pid": 200, "started": 2}
SETTINGS = "salt_minion_|-The minion finds its master_|-failback-reconnect_|-configured"


class Nodes:
    """``answers``: by node, what it says of its minion's process, one after the other; None for nothing."""

    def __init__(self, changes, answers):
        self._changes = changes
        self.answers = answers
        self.asked = []

    def all(self, ids, function, *args, **kwargs):
        assert function == "state.apply"
        return {
            node: {SETTINGS: {"__id__": "Settings", "result": True, "changes": self._changes.get(node, {})}}
            for node in ids
        }

    def try_all(self, ids, function, **kwargs):
        assert function == "salt_minion.process"
        self.asked.append(list(ids))
        said = {node: self.answers[node].pop(0) for node in ids}
        return {node: one for node, one in said.items() if one}, {}


def test_a_highstate_without_a_restart_asks_nothing_more():
    nodes = Nodes({"salt1": {"file": "x"}}, {})
    assert pair_master.highstate(nodes, ["salt1", "salt2"]) == {"salt1": ["Settings"], "salt2": []}
    assert nodes.asked == []


def test_it_waits_for_each_minion_that_restarts_and_for_no_other():
    restart = {"restart": OLD}
    nodes = Nodes({"salt1": restart, "salt2": restart}, {"salt1": [OLD, None, NEW], "salt2": [NEW]})
    pair_master.highstate(nodes, ["client", "salt1", "salt2"])
    assert nodes.asked == [["salt1", "salt2"], ["salt1"], ["salt1"]]


def test_a_minion_that_does_not_come_back_is_named(monkeypatch):
    monkeypatch.setattr(pair_master, "RESTARTED_WITHIN", 0)
    nodes = Nodes({"salt2": {"restart": OLD}}, {"salt2": [OLD] * 9})
    with pytest.raises(CommandExecutionError, match="salt-minion of salt2 was to restart"):
        pair_master.highstate(nodes, ["salt1", "salt2"])
