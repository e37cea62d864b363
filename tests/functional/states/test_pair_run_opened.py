"""``pair_run.opened``: what it refuses before anything is changed, and how it takes the pair for its run."""

import io
import os
import signal

import pytest
from answering import given
from pair_of_minions import COLD
from pair_of_minions import FAILED_OVER
from pair_of_minions import GATEWAY
from pair_of_minions import LOOKS
from pair_of_minions import NORMAL
from pair_of_minions import SPLIT
from pair_of_minions import STANDBY_RETURNED
from pair_of_minions import Pair
from salt.exceptions import CommandExecutionError

from failback.host import system
from failback.state import lock as locks
from failback_master import orchestration
from failback_master.surface import live

pytestmark = pytest.mark.one_release

OTHER_RUN = "20261122T184500-recover-salt-77aa"


def opened(master, pair="salt", test=False, **words):
    return master.state("pair_run.opened", test=test, pair=pair, **words)


def refused(said, why):
    assert said["result"] is False and said["changes"] == {}, said
    assert said["comment"].startswith("Refused, nothing was changed. "), said["comment"]
    assert why in said["comment"], said["comment"]


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"pair": None}, "No pair was named. Usage: salt-run state.orch orch.recover"),
        ({"pair": "slat"}, "There is no pair slat (pairs: salt). Usage: salt-run state.orch orch.recover"),
        ({"max_delete": -1}, "max_delete must be a number of 0 or more, not -1."),
        ({"max_delete": True}, "max_delete must be a number of 0 or more, not True."),
        ({"max_delete": "many"}, "max_delete must be a number of 0 or more, not 'many'."),
        ({"max_change_percent": -0.5}, "max_change_percent must be a number of 0 or more, not -0.5."),
        ({"winner": "salt3", "reason": "x"}, "winner must be salt1 or salt2, not 'salt3'."),
        ({"winner": "salt2"}, "winner: salt2 needs a reason"),
        ({"moved": True}, "moved must be true, and belongs to `fenced`."),
        ({"moved": "yes", "fenced": "salt1", "reason": "x"}, "moved must be true"),
        ({"fenced": "salt1"}, "fenced: salt1 needs a reason"),
    ],
    ids=str,
)
@pytest.mark.parametrize("test", [False, True], ids=["for real", "test mode"])
def test_wrong_words_are_refused_before_a_node_is_asked(master, test, words, why):
    pair = Pair(master.minions, FAILED_OVER)
    refused(opened(master, test=test, **words), why)
    assert pair.minions.asked == [] and master.run is None


def test_a_key_that_nobody_reads_is_refused_before_a_node_is_asked(master, monkeypatch):
    """With a misspelt ``plan``, nothing would hold the run to it."""
    master.opts["pillar"]["plna"] = "0123456789abcdef"
    pair = Pair(master.minions, FAILED_OVER)
    refused(opened(master), "plna")
    assert pair.minions.asked == []


#: What each makes of the pair, in which state it is found, for what, and why that is refused.
FACTS = {
    "nobody to recover from": (COLD, {}, lambda pair: None, "Run: salt-run state.orch orch.boot"),
    "two active nodes and no winner": (SPLIT, {}, lambda pair: None, "salt is split-brain: "),
    "a node that does not answer": (
        FAILED_OVER,
        {},
        lambda pair: pair.minions.silence("salt1"),
        "salt1 does not answer pair.report (is its salt-minion up?)",
    ),
    "a node that cannot report": (
        FAILED_OVER,
        {},
        lambda pair: pair.minions.refuse("pair.report", "its ledger is damaged.", node="salt1"),
        "salt1: its ledger is damaged.",
    ),
    "another run that lives": (
        FAILED_OVER,
        {},
        lambda pair: locked(pair, "salt2"),
        f"locked by run {OTHER_RUN}",
    ),
    "a node of another release": (
        FAILED_OVER,
        {},
        lambda pair: pair.nodes["salt1"].facts.update(package={"modules": "old", "program": "old"}),
        "salt1 runs another release of Failback than this master",
    ),
    "the node that would reboot is this one": (
        FAILED_OVER,
        {},
        lambda pair: setattr(pair.nodes["salt1"], "boot_id", system.boot_id()),
        "This run would reboot salt1, on which it runs itself, and never end. Run it on the master of salt2.",
    ),
    "no interface for the address": (
        NORMAL,
        {"operation": "failover"},
        lambda pair: without_interface(pair, "salt2"),
        "salt2 has no such interface: salt: floating_ips.salt-gw.interface: eth0.",
    ),
    "too much would be deleted": (
        FAILED_OVER,
        {},
        lambda pair: pair.minions.refuse("reverse_rsync.checked", "4711 files would be deleted."),
        "salt1: 4711 files would be deleted.",
    ),
    "facts that have moved since the plan": (
        FAILED_OVER,
        {"plan": "0123456789abcdef"},
        lambda pair: None,
        "The facts have moved since plan 0123456789abcdef was made: they give plan ",
    ),
    "a node that is off by a person's word, and that a witness sees": (
        NORMAL,
        {"operation": "failover", "fenced": "salt1", "reason": "no power"},
        lambda pair: pair.minions.silence("salt1"),
        "So salt1 is not off",
    ),
    "a node that is off by a person's word, and answers": (
        NORMAL,
        {"operation": "failover", "fenced": "salt1", "reason": "no power"},
        lambda pair: None,
        "salt1 was declared off, but it answers.",
    ),
}


def locked(pair, *names, run=OTHER_RUN, **owner):
    for name in names:
        pair.nodes[name].lock = {"run": run, "state": "held", "owner": owner, "operation": "recover"}


def without_interface(pair, name):
    found = pair.nodes[name].report()["addresses"]
    pair.nodes[name].facts["addresses"] = [{**one, "interface_exists": False} for one in found]


@pytest.mark.parametrize(("state", "words", "so", "why"), FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("test", [False, True], ids=["for real", "test mode"])
def test_what_speaks_against_it_is_said_before_anything_is_changed(master, test, state, words, so, why):
    pair = Pair(master.minions, state)
    so(pair)
    before = [one.lock for one in pair.nodes.values()]
    refused(opened(master, test=test, **words), why)
    assert {one.function for one in pair.minions.asked} <= LOOKS
    assert [one.lock for one in pair.nodes.values()] == before
    # No step that is called nevertheless does anything.
    assert master.run is None
    step = master.state("pair_run.handed_over", test=test)
    assert (step["result"], step["comment"]) == (
        False,
        "No run is open: the precheck refused, or was left out.",
    )
    assert pair.changes == []


@pytest.mark.parametrize("there", [["idm", "repo"], []])
def test_a_node_that_runs_guests_is_not_rebooted(master, there):
    """They would be shut down with it."""
    master.opts["pillar"]["pairs"]["salt"]["vms"] = ["idm", "repo"]
    pair = Pair(master.minions, FAILED_OVER)
    pair.minions.answers["shared_vm.running"] = there
    said = opened(master)
    assert pair.minions.one("shared_vm.running").node == "salt1"
    if there:
        refused(said, "This run would reboot salt1, which runs idm, repo. Move them away first: ")
        assert {one.function for one in pair.minions.asked} <= LOOKS
    else:
        assert said["result"] is True


def test_a_node_that_is_not_to_reboot_may_be_the_one_of_this_run(master):
    master.opts["pillar"]["pairs"]["salt"]["recovery"] = {"reboot": False}
    pair = Pair(master.minions, FAILED_OVER)
    pair.nodes["salt1"].boot_id = system.boot_id()
    assert opened(master)["result"] is True


def test_a_salt_master_that_has_gone_is_named_and_the_other_one_offered(master):
    Pair(master.minions, FAILED_OVER)
    master.minions.end_master()
    master.opts["id"] = "salt1_master"
    orchestrated = opened(master)
    refused(orchestrated, "The salt-master of this machine takes no connections at 127.0.0.1:")
    assert orchestrated["comment"].endswith(" Or use the master on salt2.")


def test_what_a_master_without_pairs_says(master):
    master.opts["pillar"] = {}
    refused(opened(master), "The pillar of this master has no pairs")


# --- what is given to the preview, and the plan ----------------------------------------------------


def test_a_run_that_is_held_to_a_plan_goes_on_while_the_facts_are_its(master):
    pair = Pair(master.minions, FAILED_OVER)
    said = opened(master, plan="?")["comment"]
    digest = said.partition("they give plan ")[2].partition(" now")[0]
    assert said.endswith("Look at it: salt-run pair.plan salt")
    assert opened(master, plan=digest, test=True)["result"] is None
    assert opened(master, plan=digest)["result"] is True
    assert pair.nodes["salt1"].lock


def test_the_command_that_shows_the_plan_names_what_it_is_for(master):
    Pair(master.minions, NORMAL)
    said = opened(master, plan="?", operation="failover")["comment"]
    assert said.endswith("Look at it: salt-run pair.plan salt operation=failover")


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ({}, {"max_delete": 100, "max_change_percent": 25}),
        ({"max_delete": 0}, {"max_delete": 0, "max_change_percent": 25}),
        ({"max_change_percent": 0.5}, {"max_delete": 100, "max_change_percent": 0.5}),
        ({"max_delete": 5000, "max_change_percent": 80.5}, {"max_delete": 5000, "max_change_percent": 80.5}),
    ],
)
def test_what_one_run_is_allowed_is_asked_of_its_preview_and_its_sync(master, words, limits):
    pair = Pair(master.minions, FAILED_OVER)
    assert opened(master, **words)["result"] is True
    preview = pair.minions.one("reverse_rsync.checked")
    assert preview.node == "salt1"
    assert preview.args == ["salt", {"/srv/salt": {"of": "salt2"}}]
    assert {key: preview.kwargs[key] for key in limits} == limits
    assert preview.kwargs["operation"] == "recover" and preview.kwargs["overrides"] == {}
    master.state("pair_run.files_pre_synced")
    synced = pair.minions.one("reverse_rsync.synced").kwargs
    assert {key: synced[key] for key in limits} == limits
    # Both are told since when the serving node has had it.
    assert synced["takeover"] == preview.kwargs["takeover"] and synced["takeover"]
    # What is typed again after an interruption has them too.
    assert master.run.allowed == words


def test_a_preview_is_told_what_the_operator_has_said(master):
    """Its refusals name commands, and one without the winner would be refused in turn."""
    pair = Pair(master.minions, SPLIT)
    words = {"winner": "salt2", "reason": "the clients were on salt2"}
    assert opened(master, **words)["result"] is True
    assert pair.minions.of("reverse_rsync.checked")[0].kwargs["overrides"] == words


# --- the pair is taken -----------------------------------------------------------------------------


def test_the_lock_is_taken_on_the_primary_first_and_the_record_opened_on_both(master):
    pair = Pair(master.minions, FAILED_OVER)
    said = opened(master)
    run = said["changes"]["run"]
    assert said["changes"] == {
        "run": run,
        "verdict": "failed_over",
        "steps": ["pause", "static", "services", "pre-sync", "git", "handover", "compare", "activate"],
    }
    assert said["comment"].startswith("salt is failed_over: salt2 has served since ")
    assert said["comment"].endswith(f" Run {run} owns the lock.")
    asked = pair.minions.names(*LOOKS)
    assert asked == [(node, verb) for verb in ("pair.lock", "pair.open_run") for node in ("salt1", "salt2")]
    for one in pair.minions.of("pair.lock"):
        words = given(one)
        assert (words["run"], words["operation"], words["seconds"]) == (run, "recover", locks.LEASE)
        assert words["owner"]["master"] == "salt2_master" and words["owner"]["user"] == "root"
        assert words["owner"]["pid"] == os.getpid() and words["dead_runs"] == []
    record = given(pair.minions.of("pair.open_run")[0])["record"]
    assert (record["operation"], record["verdict"], record["result"]) == ("recover", "failed_over", None)
    assert record["finished"] is None and record["plan"] == said["changes"]["steps"]
    assert master.run.steps[0]["step"] == "precheck" and master.run.steps[0]["result"] is True
    assert 0 <= master.run.steps[0]["seconds"] < 60
    # It would not know the question, many steps from now.
    assert pair.minions.begun == [(["client"], ["saltutil.sync_utils", "saltutil.sync_modules"])]


def test_a_pair_without_witnesses_has_nobody_to_prepare(master):
    master.opts["pillar"]["pairs"]["salt"]["witnesses"] = []
    pair = Pair(master.minions, FAILED_OVER)
    assert opened(master)["result"] is True and pair.minions.begun == []


def test_the_lock_of_a_run_that_has_died_is_taken_over_and_that_is_said(master):
    pair = Pair(master.minions, FAILED_OVER)
    # Of this very machine, where no such process is.
    locked(pair, "salt1", "salt2", boot_id=system.boot_id(), pid=os.getpid(), started=1)
    said = opened(master)
    assert said["result"] is True
    assert f"Took over the lock of run {OTHER_RUN}, which is no longer running." in said["comment"]
    assert [given(one)["dead_runs"] for one in pair.minions.of("pair.lock")] == [[OTHER_RUN]] * 2
    # Salt's own output is not all that is kept.
    assert OTHER_RUN in master.run.steps[0]["comment"]


def test_a_lock_that_one_node_refuses_is_given_back_on_the_other(master):
    pair = Pair(master.minions, FAILED_OVER)
    pair.minions.refuse("pair.lock", "salt is locked by another run.", node="salt2")
    refused(opened(master), "salt is locked by another run.")
    assert pair.minions.names(*LOOKS) == [
        ("salt1", "pair.lock"),
        ("salt2", "pair.lock"),
        ("salt1", "pair.unlock"),
    ]
    assert pair.nodes["salt1"].lock is None and master.run is None


def test_a_lock_that_cannot_be_given_back_does_not_hide_why_the_run_was_refused(master):
    pair = Pair(master.minions, FAILED_OVER)
    lock = pair.minions.answers["pair.lock"]

    def refuse(node, *words, **more):
        if node == "salt1":
            return lock(node, *words, **more)
        pair.minions.end_master()
        raise CommandExecutionError("salt is locked by another run.")

    pair.minions.answers["pair.lock"] = refuse
    refused(opened(master), "salt is locked by another run.")


@pytest.fixture
def moved(master):
    """A pair that another run brings home between the look and the lock."""
    pair = Pair(master.minions, FAILED_OVER)
    lock = pair.minions.answers["pair.lock"]

    def meanwhile(node, *words, **more):
        pair.nodes["salt1"].write(9, "salt1")
        pair.nodes["salt1"].held, pair.nodes["salt2"].held = [GATEWAY], []
        pair.nodes["salt2"].write(9, "salt1")
        return lock(node, *words, **more)

    pair.minions.answers["pair.lock"] = meanwhile
    return pair


MOVED = "The facts moved while this run waited for its lock: salt was failed_over and is normal. "


def test_facts_that_move_before_the_lock_is_had_end_the_run(master, moved):
    """It would undo what the other run has done."""
    refused(opened(master), MOVED)
    assert [one.lock for one in moved.nodes.values()] == [None, None]
    assert moved.minions.names(*LOOKS)[-2:] == [("salt1", "pair.unlock"), ("salt2", "pair.unlock")]
    assert moved.minions.of("pair.open_run") == [] and master.run is None


def test_a_lock_that_is_left_does_not_hide_that_the_facts_have_moved(master, moved):
    report = moved.minions.answers["pair.report"]

    def last(node, pair):
        found = report(node, pair)
        if found["lock"] and node == "salt2":
            moved.minions.end_master()
        return found

    moved.minions.answers["pair.report"] = last
    refused(opened(master), MOVED)


def test_a_later_generation_of_the_same_verdict_is_another_fact(master):
    pair = Pair(master.minions, FAILED_OVER)
    lock = pair.minions.answers["pair.lock"]

    def meanwhile(node, *words, **more):
        pair.nodes["salt2"].write(10, "salt2")
        return lock(node, *words, **more)

    pair.minions.answers["pair.lock"] = meanwhile
    refused(opened(master), "salt was failed_over and is failed_over. ")


def test_a_master_that_ends_while_the_pair_is_taken_leaves_the_lock_to_the_death_of_its_process(master):
    pair = Pair(master.minions, FAILED_OVER)
    lock = pair.minions.answers["pair.lock"]

    def meanwhile(node, *words, **more):
        if node == "salt2":
            pair.minions.end_master()
        return lock(node, *words, **more)

    pair.minions.answers["pair.lock"] = meanwhile
    refused(opened(master), "The salt-master of this machine takes no connections")
    assert master.run is None


def test_a_run_whose_record_cannot_be_opened_is_closed_as_failed(master):
    """It has the lock by then, so the close gives it back."""
    pair = Pair(master.minions, FAILED_OVER)
    pair.minions.refuse("pair.open_run", "No space left on device.", node="salt2")
    refused(opened(master), "salt2: No space left on device.")
    assert [one["step"] for one in master.run.steps] == ["precheck"]
    assert 0 <= master.run.steps[0]["seconds"] < 60
    closed = master.state("pair_run.closed")
    assert closed["result"] is False and "failed at `precheck`" in closed["comment"]
    assert [one.lock for one in pair.nodes.values()] == [None, None]
    assert {one.record["result"] for one in pair.nodes.values()} == {"failed"}


def test_what_was_not_ready_is_looked_at_anew_before_it_is_judged(master):
    """A standby that is ready by now is not held against the run."""
    pair = Pair(master.minions, NORMAL)
    unready = {"readiness": {"ssh": {"node": "salt1", "well": False, "sentence": "ssh: timed out"}}}
    pair.nodes["salt2"].facts = unready
    pair.minions.answers["pair.look"] = lambda node, pair_: pair.nodes[node].facts.clear()
    said = opened(master, operation="failover")
    assert said["result"] is True, said
    assert [one.node for one in pair.minions.of("pair.look")] == ["salt1", "salt2"]


# --- test mode, and nothing to do ------------------------------------------------------------------


def test_in_test_mode_the_plan_is_said_and_nobody_is_locked(master):
    pair = Pair(master.minions, STANDBY_RETURNED)
    said = opened(master, test=True)
    assert said["result"] is None
    assert said["changes"]["steps"] == ["pause", "static", "services", "admit", "take", "activate"]
    assert said["changes"]["verdict"] == "standby_returned" and said["changes"]["run"]
    assert said["comment"].startswith("Would recover salt, which is standby_returned. salt1 serves")
    assert {one.function for one in pair.minions.asked} <= LOOKS and pair.minions.begun == []
    # And what follows says what it would do, or that it is not needed.
    step = master.state("pair_run.agreed", test=True)
    assert (step["result"], list(step["changes"])) == (None, ["admit"])
    assert step["comment"] == ("Would see to it that both nodes agree who is active, in which generation.")
    assert master.state("pair_run.handed_over", test=True) == {
        "name": "a step",
        "result": True,
        "changes": {},
        "comment": "Not needed: salt is standby_returned.",
    }


@pytest.mark.parametrize("test", [False, True], ids=["for real", "test mode"])
def test_where_nothing_is_to_do_nothing_is_done(master, test):
    pair = Pair(master.minions, NORMAL)
    said = opened(master, test=test)
    assert (said["result"], said["changes"]) == (True, {})
    assert said["comment"].startswith("Nothing to do: salt is normal. salt1 serves")
    assert master.state("pair_run.active_alone", test=test)["comment"] == "Not needed: salt is normal."
    closed = master.state("pair_run.closed", test=test)
    assert (closed["result"], closed["changes"]) == (True, {})
    assert closed["comment"] == "No run was opened, so there is nothing to close."
    assert {one.function for one in pair.minions.asked} <= LOOKS
    # A drill looks there for the runs of its two halves.
    assert [run.operation for run in master.context[orchestration.CLOSED]] == ["recover"]


# --- the terminal ----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Somebody has typed the command, and looks."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    monkeypatch.setattr(live, "INTERRUPTS", live.Interrupts())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    live.SCREEN.open(stream)
    yield stream
    live.SCREEN.close()
    signal.signal(signal.SIGINT, before)


def test_whoever_looks_sees_what_goes_on_and_then_what_is_planned(master, terminal):
    Pair(master.minions, FAILED_OVER)
    opened(master)
    said = terminal.getvalue()
    assert "precheck   salt: both nodes are asked, and what they say is checked" in said
    assert (
        f"8 steps: pause, static, services, pre-sync, git, handover, compare, activate; run {master.run.id}"
        in said
    )
    # What went on is gone.
    assert said.endswith(("\n", "\r\033[K"))


def test_nothing_goes_on_any_more_once_the_run_is_closed(master, terminal):
    Pair(master.minions, FAILED_OVER)
    opened(master)
    assert master.state("pair_run.closed")["result"] is True
    last = terminal.getvalue().rpartition("close      lock and pause are given back, the record is kept")[2]
    assert last.endswith("\r\033[K")


def test_ctrl_c_before_the_lock_changes_nothing(master, terminal):
    pair = Pair(master.minions, FAILED_OVER)
    report = pair.minions.answers["pair.report"]

    def typed(*words, **more):
        signal.raise_signal(signal.SIGINT)
        return report(*words, **more)

    pair.minions.answers["pair.report"] = typed
    said = opened(master)
    assert (said["result"], said["changes"]) == (False, {})
    assert said["comment"] == "Interrupted before the first step; nothing was changed."
    assert {one.function for one in pair.minions.asked} <= LOOKS and master.run is None
    assert terminal.getvalue().endswith(("\n", "\r\033[K"))


def test_ctrl_c_in_a_step_ends_it_says_who_serves_and_leaves_the_lock_to_the_process(master, terminal):
    """What is under way on a node is still protected by it."""
    pair = Pair(master.minions, FAILED_OVER)
    opened(master, max_delete=500)
    pair.minions.answers["pair.start_services"] = lambda *_: signal.raise_signal(signal.SIGINT)
    said = master.state("pair_run.services_started")
    assert (said["result"], said["comment"]) == (False, "Interrupted.")
    pair.minions.forget()
    closed = master.state("pair_run.closed")
    assert (closed["result"], closed["changes"]) == (False, {})
    assert closed["comment"].startswith("Interrupted at `services`. salt is failed_over: salt2 has served")
    assert closed["comment"].endswith(
        " Run again: salt-run state.orch orch.recover pillar='{pair: salt, max_delete: 500}'"
    )
    assert "close      a last look" in terminal.getvalue()
    assert {one.function for one in pair.minions.asked} <= LOOKS
    assert all(one.lock["state"] == "held" for one in pair.nodes.values())


def test_a_step_that_ctrl_c_has_ended_is_followed_by_none(master, terminal):
    pair = Pair(master.minions, FAILED_OVER)
    opened(master)
    live.INTERRUPTS.asked = True
    assert master.state("pair_run.services_started")["comment"] == "Interrupted."
    assert pair.changes == []
