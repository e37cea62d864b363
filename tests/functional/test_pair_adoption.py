"""The steps of ``orch.adopt``, with nodes that answer from a table."""

import importlib.util
import pathlib

import pytest
import samples

from failback_master import minions

STATES = pathlib.Path(__file__).parents[2] / "salt/_states"

SPLIT = {"salt1": (7, "salt1"), "salt2": (7, "salt2")}


class Nodes:
    """Their reports; whatever else they are asked has been done, and is noted."""

    def __init__(self, ledgers):
        self.asked = []
        self._reports = {
            node: samples.report(
                node,
                samples.ledger(*one),
                # Each node that thinks itself active holds the address.
                holds=["10.0.0.5/24"] if one[1] == node else [],
                misplaced={},
                sources={},
                lock=None,
            )
            for node, one in ledgers.items()
        }

    def all(self, ids, function, *args, **kwargs):
        if function == "pair.report":
            return {node: self._reports[node] for node in ids}
        self.asked += [(node, function) for node in ids]
        return {node: {"taken_over": None} for node in ids}

    def one(self, node, function, *args, **kwargs):
        return self.all([node], function)[node]

    def try_all(self, ids, function, *args, **kwargs):
        return self.all(ids, function), {}


@pytest.fixture
def adoption(tmp_path, monkeypatch):
    """The state module as the master's loader has it, and a function that sets what is found."""
    spec = importlib.util.spec_from_file_location("pair_adoption", STATES / "pair_adoption.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pair = {"primary": "salt1", "secondary": "salt2", "replicate": ["/srv/salt"]}
    module.__opts__ = {"test": False, "id": "salt2_master", "conf_file": str(tmp_path / "master")}
    module.__pillar__ = {"pairs": {"salt": pair}}

    def found(ledgers):
        nodes = Nodes(ledgers)
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        return nodes

    return module, found


@pytest.mark.parametrize("moved", [None, True])
def test_a_split_is_refused_and_the_winner_asked_for(adoption, moved):
    module, found = adoption
    nodes = found(SPLIT)
    said = module.begun("The ledgers begin", "salt", moved)
    assert said["result"] is False and said["changes"] == {}
    assert said["comment"].startswith("salt is split-brain: ")
    assert "name the node whose data count" in said["comment"]
    assert "orch.recover pillar='{pair: salt, winner: salt2" in said["comment"]
    assert nodes.asked == []


def test_a_pair_in_order_has_its_sources_recorded(adoption):
    module, found = adoption
    nodes = found({"salt1": (7, "salt1"), "salt2": (7, "salt1")})
    said = module.begun("The ledgers begin", "salt")
    assert said["result"] is True, said
    asked = [function for _, function in nodes.asked if function == "pair.record_sources"]
    assert asked == ["pair.record_sources"] * 2


@pytest.mark.parametrize(
    ("reachable", "result", "words"),
    [
        (None, True, "Nobody watches salt."),
        ({"asks": ["10.0.0.1"], "problem": None}, True, "Before it takes over, salt2 asks 10.0.0.1."),
        ({"asks": None, "problem": None}, True, "without asking anybody"),
        ({"asks": [], "problem": "There is nobody to ask. Write this."}, False, "Write this."),
        ({"error": "The routes cannot be read."}, False, "cannot be read"),
    ],
)
def test_the_last_step_says_whom_the_nodes_ask_or_what_to_write(adoption, reachable, result, words):
    module, found = adoption
    nodes = found({"salt1": (1, "salt1"), "salt2": (1, "salt1")})
    nodes._reports["salt2"]["reachable"] = reachable
    done = module.heard("A node that watches can tell whether it is itself cut off", "salt")
    assert (done["result"], words in done["comment"]) == (result, True), done
