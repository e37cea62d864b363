"""The steps of ``orch.retire``, as a master's loader has them, with nodes that answer from a table."""

import pytest
import salt.loader
import samples
from salt.exceptions import CommandExecutionError

from failback_master import minions
from failback_master import orchestration

pytestmark = pytest.mark.one_release

IDS = ("salt1", "salt2")
GATEWAY = {"salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}}
PAIR = {"primary": "salt1", "secondary": "salt2", "replicate": ["/srv/salt"], "floating_ips": GATEWAY}
LOCKED = {
    "run": samples.OTHER_RUN,
    "state": "held",
    "operation": "recover",
    "owner": {"machine": "elsewhere"},
}


class Nodes:
    """
    Both nodes know the pair, salt1 serves, lsyncd runs there. What changes something is noted in ``done``.

    active
        Who serves, by both ledgers; None: each has a ledger of its own, and they contradict each other.
    """

    def __init__(self, active="salt1"):
        self.done, self.asked = [], []
        self.known = list(IDS)
        self.guests = {}
        self.lsyncd = True
        #: Nodes on which ``pair.retired`` changes nothing, and those on which a state of it fails.
        self.as_it_is, self.failing, self.silent = set(), set(), set()
        self.reports = {
            node: samples.report(
                node,
                samples.ledger(7, active or node),
                holds=["10.0.0.5/24"] if node == (active or node) else [],
                lock=None,
            )
            for node in IDS
        }

    def try_all(self, ids, function, *args, **words):
        ids = list(ids)
        errors = {node: f"{node} does not answer" for node in ids if node in self.silent}
        return {node: self._one(node, function, args, words) for node in ids if node not in errors}, errors

    def all(self, ids, function, *args, **words):
        answers, errors = self.try_all(ids, function, *args, **words)
        if errors:
            raise minions.NodesFailed(" ".join(errors.values()))
        return answers

    def one(self, node, function, *args, **words):
        return self.all([node], function, *args, **words)[node]

    def _one(self, node, function, args, words):
        self.asked.append((node, function))
        if function == "pair.remains":
            assert args[0]["name"] == "salt"
            return {"node": node, "known": node in self.known, "held": [], "units": {}, "lsyncd": False,
                    "state": None, "program": []}  # fmt: skip
        if function == "pair.report":
            return self.reports[node]
        if function == "shared_vm.running":
            return self.guests.get(node, [])
        if function == "lsyncd.status":
            return {"running": self.lsyncd}
        self.done.append((node, function))
        return {"pair.lock": self._lock, "state.apply": self._retire}.get(function, lambda *_: True)(
            node, args, words
        )

    def _lock(self, node, args, words):
        return {"taken_over": None}

    def _retire(self, node, args, words):
        assert args == ("pair.retired",) and words == {"queue": True, "pillar": {"pairs": None}}
        if node in self.failing:
            return {"a": {"__id__": "No watch", "result": False, "comment": "in the way", "changes": {}}}
        if node in self.known:
            self.known.remove(node)
        changes = {} if node in self.as_it_is else {"file": "removed"}
        return {
            "b": {"__id__": "No watch", "result": True, "comment": "", "changes": changes},
            "a": {"__id__": "No keeper", "result": True, "comment": "", "changes": changes},
            "c": {"__id__": "No more", "result": True, "comment": "", "changes": {}},
        }


class Retirement:
    """The states of a master that retires a pair: ``apply("possible")``."""

    def __init__(self, opts, nodes, monkeypatch, pillar, test):
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        self.nodes = nodes
        self._opts = {**opts, "__role": "master", "id": "salt2_master", "user": "anna", "test": test,
                      "pillar": {"pair": "salt", "pairs": {"salt": pillar}}}  # fmt: skip
        self._states = salt.loader.states(self._opts, {}, {}, None, context={})

    def apply(self, *steps):
        """One step after the other; the last one's return."""
        for step in steps:
            ret = self._states[f"pair_retirement.{step}"](step, pair="salt")
        return ret


@pytest.fixture
def retired(minion_opts, monkeypatch):
    def make(nodes=None, test=False, **changes):
        return Retirement(minion_opts, nodes or Nodes(), monkeypatch, {**PAIR, **changes}, test)

    return make


def test_a_pair_is_retired_the_standby_first(retired):
    """What stands by must not take the node that serves for dead when that falls silent."""
    pair = retired()
    may = pair.apply("possible")
    assert may["result"] is True and may["comment"].startswith("salt may be retired. ")
    assert pair.apply("carried")["comment"] == "salt2 has what salt1 had."
    done = pair.apply("forgotten")
    assert done["result"] is True and done["comment"] == "Neither salt1 nor salt2 knows salt any more."
    assert done["changes"] == dict.fromkeys(IDS, ["No keeper", "No watch"])
    assert pair.nodes.done == [
        ("salt1", "lsyncd.drain"),
        *((node, "pair.lock") for node in IDS),
        ("salt2", "state.apply"),
        ("salt1", "state.apply"),
        *((node, "pair.unlock") for node in IDS),
    ]
    told = pair.apply("told")
    assert told["result"] is True and told["changes"] == {}
    assert "salt1 served last and has the newest data." in told["comment"]


def test_where_the_secondary_serves_it_is_the_last(retired):
    pair = retired(Nodes("salt2"))
    assert pair.apply("possible", "carried")["comment"] == "Nothing is carried now."
    pair.apply("forgotten")
    assert [node for node, what in pair.nodes.done if what == "state.apply"] == ["salt1", "salt2"]
    assert "salt2 served last" in pair.apply("told")["comment"]


def test_nobody_beats_for_a_retired_pair(retired, monkeypatch):
    beating = []
    for name in ("lock", "let_go"):
        real = getattr(orchestration.Run, name)
        monkeypatch.setattr(
            orchestration.Run, name, lambda run, name=name, real=real: beating.append(name) or real(run)
        )
    retired().apply("possible", "forgotten")
    assert beating == ["lock", "let_go"]


# --- what is refused, before anything is changed ------------------------------------------------------


def refused(ret, *words):
    assert ret["result"] is False and ret["changes"] == {}, ret
    assert all(one in ret["comment"] for one in words), ret["comment"]


def test_of_two_histories_none_is_forgotten(retired):
    pair = retired(Nodes(None))
    refused(pair.apply("possible"), "Refused, nothing was changed. salt is split-brain")
    assert pair.nodes.done == []


def test_a_pair_with_a_lease_is_told_to_give_it_up_first(retired):
    lease = {"endpoints": ["https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"]}
    pair = retired(lease=lease)
    refused(pair.apply("possible"), "Refused, nothing was changed. salt serves by a lease")
    pair.nodes.known = []
    assert pair.apply("possible")["result"] is True


@pytest.mark.parametrize("step", ["possible", "forgotten"])
def test_a_pair_that_a_run_has_is_left_alone(retired, step):
    pair = retired()
    pair.nodes.reports["salt2"]["lock"] = dict(LOCKED)
    refused(pair.apply(step), samples.OTHER_RUN)
    assert pair.nodes.done == []


@pytest.mark.parametrize("step", ["possible", "forgotten"])
def test_a_node_that_does_not_answer_would_come_back_as_half_a_pair(retired, step):
    pair = retired()
    pair.nodes.silent = {"salt2"}
    refused(pair.apply(step), "salt2 does not answer")
    assert pair.nodes.done == []


@pytest.mark.parametrize("step", ["possible", "forgotten"])
def test_guests_that_run_must_be_shut_down_first(retired, step):
    """Nothing would keep the other host from running them as well."""
    pair = retired(vms=["idm"], floating_ips={}, replicate=[])
    pair.nodes.guests = {"salt2": ["idm"]}
    refused(pair.apply(step), "Refused, nothing was changed. salt2 runs idm")
    assert pair.nodes.done == []
    pair.nodes.guests = {}
    assert pair.apply("possible")["result"] is True
    assert ("salt1", "shared_vm.running") in pair.nodes.asked


def test_a_pair_without_guests_needs_no_libvirt(retired):
    pair = retired()
    pair.apply("possible")
    assert not any(function.startswith("shared_vm") for _, function in pair.nodes.asked)


# --- again, and half done -----------------------------------------------------------------------------


@pytest.mark.parametrize("left", IDS)
def test_what_one_node_alone_still_knows_is_taken_from_it(retired, left):
    """A lock would be for both: the other one has nothing to be locked."""
    pair = retired()
    pair.nodes.known = [left]
    may = pair.apply("possible")
    assert may["comment"] == f"salt may be retired. {left} alone still knows it."
    assert pair.apply("carried")["comment"] == "Nothing is carried now."
    assert pair.apply("forgotten")["result"] is True and pair.nodes.known == []
    assert [one for one in pair.nodes.done if one[1] != "state.apply"] == [(left, "pair.unlock")]
    assert "served last" not in pair.apply("told")["comment"]


def test_a_second_time_nothing_is_changed_and_what_is_left_is_told_again(retired):
    pair = retired()
    pair.nodes.known, pair.nodes.as_it_is = [], set(IDS)
    assert pair.apply("possible")["comment"] == "Neither salt1 nor salt2 knows salt any more."
    done = pair.apply("carried", "forgotten")
    assert (done["result"], done["changes"]) == (True, {})
    assert not any(function in ("pair.lock", "lsyncd.drain") for _, function in pair.nodes.done)
    # Nobody knows who serves: the primary is the last.
    assert pair.nodes.done[:2] == [("salt2", "state.apply"), ("salt1", "state.apply")]
    told = pair.apply("told")
    assert told["result"] is True and "are no pair any more" in told["comment"]


@pytest.mark.parametrize("failing", IDS)
def test_a_node_that_keeps_something_fails_the_step_and_gives_the_lock_back(retired, failing):
    pair = retired()
    pair.nodes.failing = {failing}
    refused(pair.apply("possible", "forgotten"), f"{failing}: No watch: in the way", "Fix the cause")
    assert pair.nodes.done[-2:] == [(node, "pair.unlock") for node in IDS]
    # The one that serves goes on as it is while the standby has not forgotten.
    applied = [node for node, what in pair.nodes.done if what == "state.apply"]
    assert applied == (["salt2"] if failing == "salt2" else ["salt2", "salt1"])
    refused(pair.apply("told"), f"{failing} still knows salt")


def test_a_node_that_falls_silent_meanwhile_is_named(retired, monkeypatch):
    pair = retired()
    real = pair.nodes.try_all

    def try_all(ids, function, *args, **words):
        if function == "state.apply" and ids == ["salt1"]:
            return {}, {"salt1": "salt1 does not answer state.apply"}
        return real(ids, function, *args, **words)

    monkeypatch.setattr(pair.nodes, "try_all", try_all)
    refused(pair.apply("possible", "forgotten"), "salt1 does not answer state.apply Fix the cause")
    assert pair.nodes.known == ["salt1"]


# --- the last changes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "running, replicate, said, asked",
    [
        (True, ["/srv/salt"], "salt2 has what salt1 had.", ["lsyncd.status", "lsyncd.drain"]),
        (False, ["/srv/salt"], "lsyncd does not run on salt1", ["lsyncd.status"]),
        (True, [], "Nothing is carried now.", []),
    ],
)
def test_the_standby_gets_what_lsyncd_has_still_to_carry(retired, running, replicate, said, asked):
    pair = retired(replicate=replicate)
    pair.nodes.lsyncd = running
    pair.apply("possible")
    before = len(pair.nodes.asked)
    ret = pair.apply("carried")
    assert ret["result"] is True and said in ret["comment"]
    assert pair.nodes.asked[before:] == [("salt1", one) for one in asked]


def test_changes_that_do_not_come_over_stop_it(retired, monkeypatch):
    pair = retired()

    def one(node, function, *args, **words):
        if function == "lsyncd.drain":
            assert 0 < words["limit"] <= 600
            raise CommandExecutionError("salt1: not carried within the limit")
        return Nodes.one(pair.nodes, node, function, *args, **words)

    monkeypatch.setattr(pair.nodes, "one", one)
    refused(pair.apply("possible", "carried"), "not carried within the limit")


# --- test mode ----------------------------------------------------------------------------------------


def test_test_mode_looks_and_changes_nothing(retired):
    pair = retired(test=True)
    may = pair.apply("possible")
    assert (may["result"], may["changes"]) == (True, {})
    for step in ("carried", "forgotten", "told"):
        would = pair.apply(step)
        assert would["result"] is None and list(would["changes"]) == ["salt"], would
        assert would["comment"].startswith("Would ")
    assert pair.nodes.done == [] and pair.nodes.known == list(IDS)


def test_a_refusal_is_seen_in_test_mode_too(retired):
    pair = retired(Nodes(None), test=True)
    refused(pair.apply("possible"), "salt is split-brain")
