"""
Orchestrations from their SLS file to their end, as ``state.orch`` runs them: what is asked of whom, in which
order, and what is left. The minions answer as :py:mod:`pair_of_minions` has it.
"""

import answering
import pytest
from pair_of_minions import COLD
from pair_of_minions import COLD_SECONDARY
from pair_of_minions import FAILED_OVER
from pair_of_minions import LOOKS
from pair_of_minions import NORMAL
from pair_of_minions import SPLIT
from pair_of_minions import STANDBY_RETURNED
from pair_of_minions import Pair

SALT1, SALT2, BOTH = "salt1", "salt2", "both"

WINNER = {"winner": "salt2", "reason": "the clients were on salt2"}
OFF = {"fenced": "salt1", "reason": "no power"}


def on(node, *functions):
    return [
        (one, function) for function in functions for one in ((SALT1, SALT2) if node == BOTH else (node,))
    ]


def static(node):
    """A node that has come back: its configuration, and what only a reboot brings into force."""
    return on(node, "state.apply", "pair.reboot", "state.apply")


STARTED = on(BOTH, "pair.start_services")
#: lsyncd begins on the primary, and only when it has carried all the standby may take over.
AT_HOME = [*on(SALT2, "pair.stand_by"), *on(SALT1, "pair.activate"), *on(SALT2, "pair.admit")]
WATCHED = on(BOTH, "pair.watching")

RUNS = {
    "a primary comes home": (
        "recover",
        FAILED_OVER,
        {},
        [
            *static(SALT1),
            *STARTED,
            *on(SALT1, "reverse_rsync.synced"),
            *on(SALT2, "pair.push_git"),
            *on(SALT1, "pair.handover"),
            # Those too that were pushed meanwhile.
            *on(SALT2, "pair.push_git"),
            *AT_HOME,
            *WATCHED,
        ],
        ("salt1", 9),
    ),
    "a standby takes part again": (
        "recover",
        STANDBY_RETURNED,
        {},
        [
            *static(SALT2),
            *STARTED,
            *on(SALT1, "pair.admit"),
            *on(SALT2, "pair.admit"),
            *on(SALT1, "pair.take"),
            *AT_HOME,
            *WATCHED,
        ],
        ("salt1", 8),
    ),
    "a split-brain is settled for the secondary": (
        "recover",
        SPLIT,
        WINNER,
        [
            *on(SALT2, "pair.win"),
            *on(SALT1, "pair.step_down"),
            *on(SALT2, "pair.take"),
            *static(SALT1),
            *STARTED,
            *on(SALT1, "reverse_rsync.synced"),
            *on(SALT2, "pair.push_git"),
            *on(SALT1, "pair.handover"),
            *on(SALT2, "pair.push_git"),
            *AT_HOME,
            *WATCHED,
        ],
        ("salt1", 10),
    ),
    "a split-brain is settled for the primary": (
        "recover",
        SPLIT,
        {**WINNER, "winner": "salt1"},
        [
            *on(SALT1, "pair.win"),
            *on(SALT2, "pair.step_down"),
            *on(SALT1, "pair.take"),
            *static(SALT2),
            *STARTED,
            # What it alone has is saved there before anything is written to it.
            *on(SALT2, "reverse_rsync.synced"),
            *on(SALT1, "pair.push_git", "pair.push_git"),
            *on(SALT1, "pair.admit"),
            *on(SALT2, "pair.admit"),
            *on(SALT1, "pair.take"),
            *AT_HOME,
            *WATCHED,
        ],
        ("salt1", 9),
    ),
    "a pair moves to its secondary": (
        "failover",
        NORMAL,
        {},
        [
            *STARTED,
            *on(SALT1, "pair.push_git"),
            *on(SALT2, "pair.handover"),
            *on(SALT1, "pair.push_git"),
            *on(SALT1, "pair.stand_by"),
            *on(SALT2, "pair.activate"),
            *WATCHED,
        ],
        ("salt2", 8),
    ),
    "the secondary serves without the primary": (
        "failover",
        NORMAL,
        OFF,
        [*on(SALT2, "pair.take_over", "pair.activate", "pair.watching")],
        ("salt2", 8),
    ),
    "a pair is started": (
        "boot",
        COLD,
        {},
        [
            *STARTED,
            *on(SALT1, "pair.admit"),
            *on(SALT2, "pair.admit"),
            *on(SALT1, "pair.take"),
            *AT_HOME,
            *WATCHED,
        ],
        ("salt1", 7),
    ),
    "a pair is started on the secondary, which served last": (
        "boot",
        COLD_SECONDARY,
        {},
        [
            *STARTED,
            *on(SALT2, "pair.admit"),
            *on(SALT1, "pair.admit"),
            *on(SALT2, "pair.take"),
            *on(SALT1, "pair.stand_by"),
            *on(SALT2, "pair.activate"),
            *WATCHED,
        ],
        ("salt2", 8),
    ),
}
each_run = pytest.mark.parametrize(
    ("operation", "state", "words", "changes", "end"), RUNS.values(), ids=RUNS.keys()
)


def pair_of(master, state, words):
    pair = Pair(master.minions, state)
    if words.get("fenced"):
        master.minions.silence(words["fenced"])
        pair.nodes[words["fenced"]].held = []
    return pair


def results(said):
    return {key: [one["result"] for one in each] for key, each in said.items()}


@pytest.mark.one_release(but="the first case")
@each_run
def test_a_run_asks_each_node_in_the_order_in_which_it_is_safe(master, operation, state, words, changes, end):
    pair = pair_of(master, state, words)
    said = master.orchestrate(operation, pair="salt", **words)
    assert {one for each in results(said).values() for one in each} == {True}, said
    assert pair.changes == changes
    active, generation = end
    assert pair.active() == ([active], [active]) or "fenced" in words
    assert pair.nodes[active].ledger["generation"] == generation
    assert pair.nodes[active].held
    _is_closed(pair, said, active, "fenced" in words)


def _is_closed(pair, said, active, alone):
    """Every verb was told the id of this run, which has the lock no more; its record is kept."""
    run = said["pair_run.opened"][0]["changes"]["run"]
    told = [one for one in pair.minions.asked if one.function.startswith(("pair.", "reverse_rsync."))]
    ids = {given["run"] for given in map(answering.given, told) if given.get("run") is not None}
    assert ids == {run}
    members = [pair.nodes[active]] if alone else list(pair.nodes.values())
    assert [one.lock for one in members] == [None] * len(members)
    assert [one.record["result"] for one in members] == ["succeeded"] * len(members)
    # One of them tells the hooks of the site.
    assert [one.record.get("told_by") for one in members] == [members[0].name, None][: len(members)]
    (closed,) = said["pair_run.closed"]
    assert closed["changes"]["run"] == run
    assert closed["changes"]["after"]["active"] == active
    steps = said["pair_run.opened"][0]["changes"]["steps"]
    assert list(closed["changes"]["seconds"]) == ["precheck", *steps]
    assert all(0 <= seconds < 60 for seconds in closed["changes"]["seconds"].values())


@pytest.mark.one_release(but="the first case")
@each_run
def test_in_test_mode_nothing_is_asked_but_what_only_looks(master, operation, state, words, changes, end):
    pair = pair_of(master, state, words)
    said = master.orchestrate(operation, test=True, pair="salt", **words)
    assert {one.function for one in pair.minions.asked} <= LOOKS
    assert pair.minions.begun == []
    assert all(one.lock is None and one.record is None for one in pair.nodes.values())
    opened = said.pop("pair_run.opened")[0]
    assert opened["result"] is None and opened["comment"].startswith(f"Would {operation} salt, which is ")
    planned = [one for each in said.values() for one in each if one["result"] is None]
    assert set(opened["changes"]["steps"]) == {step for one in planned for step in one["changes"]}
    assert all(one["comment"].startswith("Would see to it that ") for one in planned)
    assert all(one["changes"] == {} for each in said.values() for one in each if one not in planned)


@pytest.mark.parametrize("operation", ["recover", "boot"])
def test_a_pair_in_order_is_left_as_it_is(master, operation):
    pair = Pair(master.minions, NORMAL)
    said = master.orchestrate(operation, pair="salt")
    assert {one for each in results(said).values() for one in each} == {True}, said
    assert said["pair_run.opened"][0]["comment"].startswith("Nothing to do: salt is normal. salt1 serves")
    assert said["pair_run.closed"][0]["comment"] == "No run was opened, so there is nothing to close."
    assert all(one["changes"] == {} for each in said.values() for one in each)
    assert {one.function for one in pair.minions.asked} <= LOOKS


def test_after_a_step_that_failed_none_follows_but_the_close(master):
    """The node that serves goes on serving, and the pair is free for the next attempt."""
    pair = Pair(master.minions, FAILED_OVER)
    pair.minions.refuse("pair.start_services", "salt-master does not start.", node="salt1")
    said = master.orchestrate("recover", pair="salt")
    assert said["pair_run.services_started"][0]["comment"] == "salt1: salt-master does not start."
    assert pair.changes == [*static(SALT1), (SALT1, "pair.start_services")]
    assert pair.active() == (["salt2"], ["salt2"])
    closed = said["pair_run.closed"][0]
    assert closed["result"] is False and closed["changes"] == {}
    assert "failed at `services`. salt is now failed_over: salt2 has served since" in closed["comment"]
    assert [one.lock for one in pair.nodes.values()] == [None, None]
    assert {one.record["result"] for one in pair.nodes.values()} == {"failed"}


def test_a_step_that_breaks_down_is_no_success(master):
    """The history and the hooks are told the same as the operator."""
    pair = Pair(master.minions, FAILED_OVER)
    # As of a node of a release that nobody knows.
    pair.minions.answers["pair.start_services"] = ["salt-master"]
    said = master.orchestrate("recover", pair="salt")
    broken = said["pair_run.services_started"][0]
    assert broken["result"] is False and "Traceback" in broken["comment"]
    closed = said["pair_run.closed"][0]
    assert closed["result"] is False and "failed at `services`" in closed["comment"]
    assert {one.record["result"] for one in pair.nodes.values()} == {"failed"}
    steps = pair.nodes["salt1"].record["steps"]
    assert [one["step"] for one in steps] == ["precheck", "pause", "static", "services"]
    assert steps[-1]["comment"].startswith("AttributeError: ") and 0 <= steps[-1]["seconds"] < 60
    assert [one.lock for one in pair.nodes.values()] == [None, None]


def test_what_was_refused_is_followed_by_nothing(master):
    pair = Pair(master.minions, COLD)
    said = master.orchestrate("recover", pair="salt")
    assert said["pair_run.opened"][0]["result"] is False
    assert said["pair_run.closed"][0]["comment"] == "No run was opened, so there is nothing to close."
    assert {one.function for one in pair.minions.asked} <= LOOKS
