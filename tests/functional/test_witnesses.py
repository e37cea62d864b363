"""A node that does not answer, and what third hosts see of it; all of them answer from a table."""

import importlib.util
import json
import pathlib

import pytest
import samples
from salt.exceptions import CommandExecutionError

from failback.host import system
from failback_master import checks
from failback_master import minions
from failback_master import opening
from failback_master import orchestration
from failback_master.surface import pairs as shown_pairs

SALT = pathlib.Path(__file__).parents[2] / "salt"
GATEWAY, HOST1 = "10.0.0.5/24", "10.0.0.11"
MACS = {"salt1": "02:00:00:00:00:01", "salt2": "02:00:00:00:00:02"}
PAIR = {
    "primary": {"id": "salt1", "host": HOST1},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "floating_ips": {"salt-gw": {"address": GATEWAY, "interface": "eth0"}},
    "witnesses": ["client"],
}
FENCED = {"winner": None, "fenced": "salt1", "reason": "no power", "moved": None}


class Nodes:
    """
    salt2 has taken over; salt1 does not answer, unless it is to.

    seen
        Address to the link-layer addresses that the witness sees; None: it cannot be asked.
    """

    def __init__(self, seen, reports):
        self.seen, self._reports, self.asked = seen, reports, []

    def try_all(self, ids, function, *args, look=None, **kwargs):
        self.asked += [function] if ids else []
        if function == "pair.report":
            there = {node: self._reports[node] for node in ids if node in self._reports}
            return there, {node: f"{node} does not answer" for node in ids if node not in there}
        assert (function, kwargs) == ("floating_ip.answered_by", {"count": 2})
        if not ids:
            return {}, {}
        assert ids == ["client"]
        if self.seen is None:
            assert self.asked.count(function) == 1, "one that is off is asked once"
            return {}, {"client": minions.NoAnswer("client does not answer")}
        return {"client": self.seen.get(args[0], [])}, {}

    def reports(self, config, look):
        answers, errors = self.try_all(["salt1", "salt2"], "pair.report")
        return answers.get("salt1"), answers.get("salt2"), errors


def loaded(name, place):
    """A module as the master's loader has it, without what the loader adds."""
    spec = importlib.util.spec_from_file_location(name, SALT / place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(node, generation, active, **changes):
    held = [GATEWAY] if active == node else []
    own = samples.report(node, samples.ledger(generation, active), held, lock=None, pause=None, **changes)
    own["addresses"] = [
        {**one, "name": "salt-gw", "interface": "eth0", "interface_exists": True, "mac": MACS[node]}
        for one in own["addresses"]
    ]
    return {"gate": None, "time": 0.0, **own}


@pytest.fixture
def nodes(monkeypatch):
    """A function that sets what nodes and witness say."""

    def say(seen, *reports):
        reports = reports or (report("salt2", 4, "salt1"),)
        made = Nodes(seen, {one["node"]: one for one in reports})
        monkeypatch.setattr(minions, "Nodes", lambda opts, **_: made)
        return made

    return say


@pytest.fixture
def status(tmp_path, monkeypatch):
    """``pair.status`` of the runner as the master's loader has it."""
    module = loaded("failback_runner", "_runners/pair.py")
    module.__opts__ = {"id": "salt2_master", "conf_file": str(tmp_path / "master")}
    monkeypatch.setattr(module, "_pairs", lambda: {"salt": PAIR})
    return lambda: module.status("salt")["data"]


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        ({GATEWAY: [MACS["salt2"]]}, {f"{GATEWAY} by client": MACS["salt2"], f"{HOST1} by client": "nobody"}),
        (None, {f"{one} by client": "not asked: client does not answer" for one in (GATEWAY, HOST1)}),
    ],
    ids=["it sees salt2 alone", "it cannot be asked"],
)
def test_of_a_node_that_nobody_sees_a_person_may_say_that_it_is_off(nodes, status, seen, shown):
    nodes(seen)
    answer = status()
    found = answer["pairs"]["salt"]
    assert answer["retcode"] == 1 and found["verdict"] == "primary_down"
    assert found["seen_by_witnesses"] == shown
    assert "fenced: salt1" in found["next"]


SEEN = {
    "both have the address": {GATEWAY: [MACS["salt1"], MACS["salt2"]]},
    "salt1 has it": {GATEWAY: [MACS["salt1"]]},
    "salt1 itself answers": {GATEWAY: [MACS["salt2"]], HOST1: [MACS["salt1"]]},
}
each_sight = pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)


@each_sight
def test_of_a_node_that_a_witness_sees_nobodys_word_is_asked_for(nodes, status, seen):
    nodes(seen)
    found = status()["pairs"]["salt"]
    assert found["verdict"] == "primary_down"
    assert "fenced" not in json.dumps([found["next"], found["commands"]])
    assert "client sees" in found["next"] and "salt1 is not off" in found["next"]


@each_sight
@pytest.mark.parametrize("words", [FENCED, {key: None for key in FENCED}], ids=["fenced", "without a word"])
def test_nor_is_it_taken_for_off_by_a_failover(nodes, seen, words):
    asked = nodes(seen)
    with pytest.raises(CommandExecutionError, match="salt1 is not off") as error:
        opening.planned(opts(), {"pairs": {"salt": PAIR}}, "salt", "failover", None, {}, words)
    assert "client sees" in str(error.value)
    assert set(asked.asked) == {"pair.report", "floating_ip.answered_by"}, "nothing was changed"


def opts():
    return {"id": "salt2_master", "conf_file": "x", "user": "root", "test": False}


def test_a_run_looks_again_when_it_has_the_lock(nodes, monkeypatch):
    """What was true of the network a moment ago need not be so now."""
    made = nodes({GATEWAY: [MACS["salt2"]]})
    run = orchestration.Run(opts(), checks.configuration({"salt": PAIR}, "salt", ""), "failover", FENCED)
    run.decide()
    assert run.plan.steps == ("takeover", "activate")
    made.seen = SEEN["both have the address"]
    run.decide()
    assert "salt1 is not off" in run.plan.refusal


@each_sight
def test_nor_for_a_virtual_machine(nodes, seen):
    digest = system.package_digest(system.PACKAGE)
    made = nodes(seen, report("salt2", 4, "salt2", package={"modules": digest, "program": digest}))
    module = loaded("vm_run", "_states/vm_run.py")
    module.__opts__ = {**opts(), "test": True}
    module.__pillar__ = {"pairs": {"salt": {**PAIR, "vms": ["idm"]}}}
    done = module.opened("a test", vm="idm", host="salt2", fenced="salt1", reason="no power")
    assert done["result"] is False and "Refused, no guest was touched" in done["comment"]
    assert "client sees" in done["comment"] and "salt1 is not off" in done["comment"]
    assert set(made.asked) == {"pair.report", "floating_ip.answered_by"}


def test_where_both_answer_no_witness_is_asked(nodes, status):
    made = nodes(SEEN["both have the address"], report("salt1", 4, "salt1"), report("salt2", 4, "salt1"))
    answer = status()
    found = answer["pairs"]["salt"]
    assert found["verdict"] == "normal" and answer["retcode"] == 0
    assert made.asked == ["pair.report"] and found["seen_by_witnesses"] == {}


def test_a_standby_that_has_nobody_to_ask_is_wrong_although_the_pair_is_normal(nodes, status):
    asks = {"asks": [], "problem": "salt2 takes nothing of salt over: there is nobody to ask."}
    nodes({}, report("salt1", 4, "salt1"), report("salt2", 4, "salt1", reachable=asks))
    answer = status()
    found = answer["pairs"]["salt"]
    assert answer["retcode"] == 1 and found["verdict"] == "normal"
    assert found["watch_wrong"] == [asks["problem"]]
    assert found["nodes"]["salt2"]["asks"] == []


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"heard": True}, ""),
        ({"heard": False}, "heard by nobody since"),
        ({"heard": False, "withdrawn": True}, "withdrawn: nobody heard it"),
    ],
)
def test_the_status_says_what_a_claim_has_come_to(nodes, status, own, words):
    there = report("salt2", 4, "salt2")
    nodes({}, {**there, "ledger": {**there["ledger"], **own}})
    found = status()["pairs"]["salt"]
    assert own.items() <= found["nodes"]["salt2"]["ledger"].items()
    page = " ".join(" ".join(shown_pairs.page("salt", found, 0.0, 200)).split())
    assert f"(a test), {words}" in page if words else "(a test);" in page
