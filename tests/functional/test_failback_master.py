"""What a master does for a pair: a highstate that restarts a minion is over when the minion is back."""

import os
import socket
import threading
import time
import types

import pair_of_minions
import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import PublishError

from failback.state import lock
from failback_master import checks
from failback_master import highstate
from failback_master import minions
from failback_master import orchestration

OLD, NEW = {"pid": 100, "started": 1}, {"pid": 200, "started": 2}
SETTINGS = "salt_minion_|-The minion finds its master_|-failback-reconnect_|-configured"


class Nodes:
    """
    ``answers``: by node, what it says of its minion's process, one after the other; None for nothing.
    ``lost``: nodes that do not answer the first highstate.
    """

    def __init__(self, changes, answers, lost=()):
        self._changes = changes
        self._lost = set(lost)
        self.answers = answers
        self.asked = []
        self.applied = []

    def try_all(self, ids, function, *args, **kwargs):
        if function == "state.apply":
            self.applied.append(list(ids))
            errors = {node: minions.NoAnswer(f"{node} does not answer") for node in self._lost & set(ids)}
            self._lost.clear()
            return {node: self._state(node) for node in ids if node not in errors}, errors
        assert function == "salt_minion.process"
        if ids:
            self.asked.append(list(ids))
        said = {node: self.answers[node].pop(0) for node in ids}
        return {node: one for node, one in said.items() if one}, {}

    def _state(self, node):
        return {SETTINGS: {"__id__": "Settings", "result": True, "changes": self._changes.get(node, {})}}


def test_a_highstate_without_a_restart_asks_nothing_more():
    nodes = Nodes({"salt1": {"file": "x"}}, {})
    assert highstate.highstate(nodes, ["salt1", "salt2"]) == {"salt1": ["Settings"], "salt2": []}
    assert nodes.asked == []


def test_it_waits_for_each_minion_that_restarts_and_for_no_other(monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    restart = {"restart": OLD}
    nodes = Nodes({"salt1": restart, "salt2": restart}, {"salt1": [OLD, None, NEW], "salt2": [NEW]})
    highstate.highstate(nodes, ["client", "salt1", "salt2"])
    assert nodes.asked == [["salt1", "salt2"], ["salt1"], ["salt1"]]


def test_a_minion_that_is_to_restart_is_not_kept_busy_with_questions(monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.1)
    begun = time.monotonic()
    highstate.highstate(Nodes({"salt2": {"restart": OLD}}, {"salt2": [OLD, OLD, OLD, NEW]}), ["salt2"])
    assert time.monotonic() - begun >= 3 * 0.1


def test_a_highstate_that_a_restarting_minion_has_lost_is_asked_for_once_more():
    nodes = Nodes({"salt2": {"file": "x"}}, {"salt2": [NEW]}, lost=["salt2"])
    assert highstate.highstate(nodes, ["salt1", "salt2"]) == {"salt1": [], "salt2": ["Settings"]}
    assert nodes.applied == [["salt1", "salt2"], ["salt2"]]


def test_a_node_that_is_not_there_is_not_asked_again():
    nodes = Nodes({}, {"salt2": [None]}, lost=["salt2"])
    with pytest.raises(minions.NodesFailed, match="^salt2 does not answer$"):
        highstate.highstate(nodes, ["salt1", "salt2"])
    assert nodes.applied == [["salt1", "salt2"]]


def test_a_minion_that_does_not_come_back_is_named(monkeypatch):
    monkeypatch.setattr(highstate, "RESTARTED_WITHIN", 0)
    nodes = Nodes({"salt2": {"restart": OLD}}, {"salt2": [OLD] * 9})
    with pytest.raises(CommandExecutionError, match="salt-minion of salt2 was to restart"):
        highstate.highstate(nodes, ["salt1", "salt2"])


class Asked:
    """Nodes that answer what they are asked one after the other; the last answer again and again."""

    def __init__(self, *answers):
        self._answers, self.asked = list(answers), []

    def try_all(self, ids, function, *args, **kwargs):
        self.asked.append((list(ids), function, args, kwargs))
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(found):
            found = found(ids, function)
        return found


def applied(states):
    """The answer to ``state.apply``; whether somebody is there who does not answer is not asked for long."""
    return lambda ids, function: (states, {}) if function == "state.apply" else ({}, {})


def state(result=True, comment="", **changes):
    return {"__id__": "Settings", "result": result, "comment": comment, "changes": changes}


@pytest.mark.parametrize("sls", [None, "failback.sync"])
def test_a_highstate_waits_for_another_one_and_may_be_of_one_sls(sls):
    nodes = Asked(applied({"salt1": {}}))
    assert highstate.highstate(nodes, ["salt1"], sls) == {"salt1": []}
    assert nodes.asked[0] == (["salt1"], "state.apply", (sls,) if sls else (), {"queue": True})


def test_a_highstate_that_is_asked_for_again_is_the_same_one():
    lost = ({}, {"salt1": minions.NoAnswer("salt1 does not answer")})
    nodes = Asked(lost, ({"salt1": NEW}, {}), ({"salt1": {}}, {}))
    highstate.highstate(nodes, ["salt1"], "failback.sync")
    first, there, again = nodes.asked
    assert again == first and there == (["salt1"], "salt_minion.process", (), {"look": 5})


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (
            {"salt1": {"a": state(), "b": state(False, "no room")}, "salt2": {"c": state(False, "no net")}},
            "^Highstate failed. salt1: Settings: no room salt2: Settings: no net$",
        ),
        ({"salt1": {"a": {"result": False, "comment": "no", "changes": {}}}}, "salt1: a: no$"),
        ({"salt1": ["Rendering SLS failed"]}, "Highstate on salt1 could not be compiled: ..Rendering SLS"),
    ],
)
def test_each_state_that_failed_is_named(states, said):
    with pytest.raises(CommandExecutionError, match=said):
        highstate.highstate(Asked(applied(states)), list(states))


def test_a_state_that_would_change_something_has_not_failed():
    assert highstate.failures({"salt1": {"a": state(None), "b": state(True)}}) == []


def test_a_restart_of_something_else_is_not_waited_for():
    states = {"salt1": {"service_|-x": state(restart=OLD), SETTINGS: state(file="x")}}
    nodes = Asked(applied(states))
    assert highstate.highstate(nodes, ["salt1"]) == {"salt1": ["Settings", "Settings"]}
    assert "salt_minion.process" not in [one[1] for one in nodes.asked if one[0]]


@pytest.fixture
def rebooting():
    """A run whose node answers as it is told, and no faster than it is looked at."""

    def made(*answers):
        nodes = Asked(*answers)
        config = {"name": "salt"}
        return types.SimpleNamespace(nodes=nodes, config=config, other=lambda node: "salt2")

    return made


BEFORE, AFTER = ({"salt1": {"boot_id": one}} for one in ("before", "after"))
SILENT = ({}, {"salt1": "no answer"})


def test_a_node_has_rebooted_when_it_answers_with_another_boot_id(rebooting, monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.02)
    run = rebooting((BEFORE, {}), SILENT, (AFTER, {}))
    begun = time.monotonic()
    seconds = highstate.wait_rebooted(run, "salt1", "before", 60)
    assert 2 * 0.02 <= seconds <= time.monotonic() - begun
    assert run.nodes.asked == [(["salt1"], "pair.report", ("salt",), {"look": 2})] * 3


@pytest.mark.parametrize("answer", [(BEFORE, {}), SILENT], ids=["the old boot answers", "it is silent"])
def test_a_node_that_does_not_come_back_is_named_and_so_is_who_serves(rebooting, monkeypatch, answer):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    with pytest.raises(CommandExecutionError, match="salt1 was asked to reboot .*within 0.05 s. salt2 still"):
        highstate.wait_rebooted(rebooting(answer), "salt1", "before", 0.05)


def test_a_node_is_idle_when_no_state_runs_there(rebooting, monkeypatch):
    """One that does not answer is not: it may be at the highstate of its boot."""
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.02)
    run = rebooting(({"salt1": [{"fun": "state.apply"}]}, {}), SILENT, ({"salt1": []}, {}))
    begun = time.monotonic()
    highstate.wait_idle(run, "salt1", 60)
    assert time.monotonic() - begun >= 2 * 0.02
    assert run.nodes.asked == [(["salt1"], "saltutil.is_running", ("state.*",), {"look": 5})] * 3


def test_a_node_that_does_not_become_idle_is_named(rebooting, monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    with pytest.raises(CommandExecutionError, match="A state still runs on salt1 after 0.05 s"):
        highstate.wait_idle(rebooting(SILENT), "salt1", 0.05)


class Clock:
    """The clock of the waits; each look takes ``each`` seconds. Nobody waits for it."""

    def __init__(self, monkeypatch, each):
        self.now, self.slept = 50.0, []
        samples.in_place_of_time(monkeypatch, highstate, sleep=self.sleep, monotonic=lambda: self.now)
        self.each = each

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def answering(self, answer):
        def look(ids, function):
            if function != "state.apply":
                self.now += self.each
            return answer(function) if callable(answer) else answer

        return look


@pytest.mark.parametrize(("each", "slept"), [(0.0, 1.0), (0.75, 0.25), (1.5, 0.0)])
def test_from_one_look_at_a_node_to_the_next_it_is_a_second(rebooting, monkeypatch, each, slept):
    """Or as long as the look takes; and the limit counts from the first one."""
    clock = Clock(monkeypatch, each)
    for wait, words in (
        (highstate.wait_rebooted, ("salt1", "before", 3)),
        (highstate.wait_idle, ("salt1", 3)),
    ):
        clock.slept.clear()
        with pytest.raises(CommandExecutionError, match="within 3 s|after 3 s"):
            wait(rebooting(clock.answering(SILENT)), *words)
        assert clock.slept == [slept] * (2 if each == 1.5 else 3)


def test_a_minion_that_restarts_is_waited_for_two_minutes(monkeypatch):
    clock = Clock(monkeypatch, 0.0)
    states = {"salt1": {SETTINGS: state(restart=OLD)}}
    told = clock.answering(lambda function: (states, {}) if function == "state.apply" else SILENT)
    nodes = Asked(told)
    with pytest.raises(CommandExecutionError, match="has not answered anew within 120 s"):
        highstate.highstate(nodes, ["salt1"])
    assert clock.slept == [1.0] * 120
    assert nodes.asked[-1] == (["salt1"], "salt_minion.process", (), {"look": 2})


def test_the_record_of_a_run_keeps_what_the_operator_has_said(monkeypatch):
    """From there it goes into the history of both nodes."""
    monkeypatch.setattr(minions, "Nodes", lambda opts: None)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    overrides = {"winner": "salt2", "reason": "the clients were on salt2"}
    opts = {"id": "salt2_master", "conf_file": "x", "user": "root"}
    record = orchestration.Run(opts, config, "recover", overrides).record()
    assert {key: record.get(key) for key in ("winner", "fenced", "reason", "moved")} == {
        **overrides,
        "fenced": None,
        "moved": None,
    }


def test_the_record_says_by_which_proof_a_node_was_off(monkeypatch):
    """A fence agent's; and who runs it again types what he typed, not what the agent has said."""
    monkeypatch.setattr(minions, "Nodes", lambda opts: None)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    opts = {"id": "salt2_master", "conf_file": "x", "user": "root"}
    run = orchestration.Run(opts, config, "failover", {"fenced": "salt1"})
    assert "reason" not in run.record()
    run.known_by = "salt1 was switched off by fence_x, which says that it is off"
    assert run.record()["reason"] == run.known_by
    assert run.overrides == {"fenced": "salt1"}


# --- the lock of a living run is renewed -----------------------------------------------------------


class Locks:
    """Nodes of a run: what each was told of the lock, and when it was renewed."""

    def __init__(self, told):
        self._told = told

    def one(self, node, function, *args, **kwargs):
        self._told.append((node, function, args[-1], kwargs))
        return {"taken_over": None}

    def try_all(self, ids, function, *args, **kwargs):
        self._told.append((tuple(ids), function, args, kwargs))
        return {}, {}


@pytest.fixture
def run(monkeypatch):
    """A run whose questions to the nodes are kept in ``told``; its heart beats every few milliseconds."""
    told = []
    monkeypatch.setattr(minions, "Nodes", lambda opts: Locks(told))
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 0.005)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    one = orchestration.Run({"id": "salt2_master", "conf_file": "x", "user": "root"}, config, "recover")
    one.told = told
    yield one
    one.let_go()


def renewals(run, number, limit=10):
    """Wait for so many renewals; returns what was asked for since."""
    begun, waiting, ended = len(run.told), threading.Event(), 0.0
    while ended < limit:
        found = [one for one in run.told[begun:] if one[1] == "pair.renew"]
        if len(found) >= number:
            return found
        waiting.wait(0.01)
        ended += 0.01
    raise AssertionError(f"Only {len(found)} renewals in {limit} s.")


def test_a_living_run_renews_its_lock_until_it_lets_go(run):
    run.lock()
    assert [one for one in run.told if one[1] == "pair.lock"] == [
        (node, "pair.lock", lock.LEASE, {"dead_runs": []}) for node in ("salt1", "salt2")
    ]
    members, _, arguments, options = renewals(run, 3)[-1]
    assert (members, arguments) == (("salt1", "salt2"), ("salt", run.id, lock.LEASE))
    assert options == {"look": minions.LOOK_WITHIN, "pause": False}
    run.pausing = True
    assert renewals(run, 3)[-1][3] == {"look": minions.LOOK_WITHIN, "pause": True}
    run.let_go()
    number = len(run.told)
    assert not [one for one in threading.enumerate() if one.name == "failback-heartbeat"]
    assert len(run.told) == number


@pytest.mark.parametrize(
    ("asked_by", "user", "is_owner"),
    [("alice", "root", "alice"), (None, "bob", "bob"), (None, None, "the user of the process")],
)
def test_the_owner_is_who_has_asked_for_it(monkeypatch, asked_by, user, is_owner):
    """To the run of one pair of several, the one who asked for all of them."""
    monkeypatch.setattr(minions, "Nodes", lambda opts: None)
    monkeypatch.setattr(orchestration.salt.utils.user, "get_specific_user", lambda: "the user of the process")
    monkeypatch.delenv(orchestration.ASKED_BY, raising=False)
    if asked_by:
        monkeypatch.setenv(orchestration.ASKED_BY, asked_by)
    owner = orchestration.Run({"id": "salt2_master", "user": user}, {"name": "salt"}, "recover").owner
    assert (owner["user"], owner["master"], owner["pid"]) == (is_owner, "salt2_master", os.getpid())


def test_a_run_that_has_not_looked_asks_for_the_locks_of_dead_runs_itself(run, monkeypatch):
    ended = {"boot_id": orchestration.system.boot_id(), "pid": os.getpid(), "started": 1}
    found = {"run": "20261122T184500-recover-salt-77aa", "state": "held", "owner": ended}
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": {"node": "salt1", "lock": found}}, {}))
    run.lock()
    assert [one[3] for one in run.told] == [{"dead_runs": [found["run"]]}] * 2


def test_a_lock_for_work_that_outlives_its_run_holds_for_that_work_from_the_first(run):
    run.lock([], outlives=300)
    assert all(355 < one[2] <= 360 for one in run.told if one[1] == "pair.lock")


def test_the_nodes_are_told_for_how_long_a_step_has_lasted(run, monkeypatch):
    now = [1000.0]
    samples.in_place_of_time(monkeypatch, orchestration, monotonic=lambda: now[0])
    run.tell("nobody is told before a step has begun")
    run.begin("static", "…")
    now[0] += 12.34
    run.pause()
    assert run.told[-1][3]["step"] == {"name": "static", "seconds": 12.3}


def test_a_step_that_outlives_its_run_is_covered_to_its_end_and_the_next_one_is_not(run):
    run.lock()
    run.renew(300)
    assert 350 < renewals(run, 3)[-1][2][-1] <= 360
    run.renew()
    assert renewals(run, 3)[-1][2][-1] == lock.LEASE


def test_a_lock_that_both_nodes_have_just_confirmed_is_not_asked_for_before_each_step(run, monkeypatch):
    """After 20 seconds it is: this machine may have stood still."""
    now, answers = [1000.0], dict.fromkeys(("salt1", "salt2"), True)
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 3600)
    monkeypatch.setattr(orchestration.system, "boottime", lambda: now[0])
    monkeypatch.setattr(
        Locks, "try_all", lambda nodes, *words, **_: nodes._told.append(words) or (answers, {})
    )

    def renewed(after, outlives=0):
        now[0] += after
        run.told.clear()
        run.renew(outlives)
        return [one[1] for one in run.told] == ["pair.renew"]

    run.lock([])
    assert orchestration.FRESH == 20
    assert not renewed(19.5) and renewed(0.5)
    assert not renewed(19.5) and renewed(0, outlives=300) and not renewed(19.5)
    # One that is silent confirms nothing, and has not lost it either.
    answers.pop("salt2")
    assert renewed(0.5) and renewed(0.5)
    answers["salt2"] = False
    with pytest.raises(CommandExecutionError, match="the lock of salt on salt2 any more: it stood still"):
        run.renew()


@pytest.fixture
def slow(run, monkeypatch):
    """The run; beats come only because there is something to tell."""
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 3600)
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 1)
    run.lock()
    return run


def test_the_nodes_are_told_of_several_short_steps_at_once(slow):
    for step in ("services", "pre-sync", "push"):
        slow.begin(step, "…")
    (one,) = renewals(slow, 1)
    assert one[3]["step"]["name"] == "push"


def test_a_step_that_is_not_to_be_disturbed_takes_back_what_was_to_be_told(slow, monkeypatch):
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 60)
    slow.begin("push", "…")
    assert slow._heartbeat._due < time.monotonic() + 61
    slow.begin("handover", "…", quiet=True)
    assert slow._heartbeat._due > time.monotonic() + 3000
    # So does the step's own renewal, which tells them itself.
    slow.begin("hold", "…")
    assert slow._heartbeat._due < time.monotonic() + 61
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True, "salt2": True}, {}))
    slow.pause()
    assert slow._heartbeat._due > time.monotonic() + 3000


def test_a_step_that_lasts_is_told_of(slow, monkeypatch):
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 0.1)
    slow.begin("drain", "…")
    assert renewals(slow, 1)[0][3]["step"]["name"] == "drain"


def test_the_watch_is_held_on_both_nodes_or_the_run_ends(run, monkeypatch):
    run.lock()
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True}, {"salt2": "salt2 is gone."}))
    with pytest.raises(minions.NodesFailed, match="salt2 is gone"):
        run.pause()
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True, "salt2": False}, {}))
    with pytest.raises(CommandExecutionError, match="does not own the lock of salt on salt2"):
        run.pause()


def test_a_beat_that_fails_is_not_the_last(run, monkeypatch):
    run.lock()
    renewals(run, 1)
    working, failed = minions.Nodes, threading.Event()

    def broken(opts):
        failed.set()
        raise OSError("no master")

    monkeypatch.setattr(minions, "Nodes", broken)
    assert failed.wait(10)
    monkeypatch.setattr(minions, "Nodes", working)
    renewals(run, 1)


def test_a_step_that_begins_while_the_lock_is_renewed_is_told_of_all_the_same(slow, monkeypatch):
    """The beat that is under way tells of the step before."""
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 0.01)

    def answered(nodes, ids, function, *args, **kwargs):
        nodes._told.append((tuple(ids), function, args, kwargs))
        if kwargs["step"]["name"] == "services":
            slow.begin("drain", "…")
        return dict.fromkeys(ids, True), {}

    monkeypatch.setattr(Locks, "try_all", answered)
    slow.begin("services", "…")
    assert [one[3]["step"]["name"] for one in renewals(slow, 2)] == ["services", "drain"]


def test_a_beat_does_not_come_before_its_time(monkeypatch):
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 0.3)
    begun, beaten = time.monotonic(), threading.Event()
    heart = orchestration.Heartbeat(beaten.set)
    assert beaten.wait(10)
    heart.stop()
    assert time.monotonic() - begun >= 0.3


def test_a_heart_beats_no_more_once_it_has_stopped(monkeypatch):
    """Nobody must find the lock renewed that has just been given back."""
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 0.01)
    begun, release, ended = threading.Event(), threading.Event(), []

    def beat():
        begun.set()
        release.wait(10)
        ended.append("beat")

    heart = orchestration.Heartbeat(beat)
    (thread,) = [one for one in threading.enumerate() if one.name == "failback-heartbeat"]
    assert thread.daemon, "it would keep a process alive that has ended"
    assert begun.wait(10)
    threading.Timer(0.1, release.set).start()
    heart.stop()
    assert ended == ["beat"] and not thread.is_alive()


def test_the_times_of_the_lock_are_those_that_the_documents_name(tree):
    said = " ".join((tree / "docs/protocol.md").read_text().split())
    every, told = orchestration.RENEW_EVERY, orchestration.TOLD_WITHIN
    assert (
        f"a lease of a minute, which the living run renews every {every} seconds, and within {told} seconds "
        f"of a new step" in said
    )
    # One beat may be lost, beside a node that does not answer.
    assert lock.LEASE == 60 >= 2 * (every + minions.LOOK_WITHIN + minions.LOOK_GONE_WITHIN)


def test_a_run_that_does_not_get_the_pair_renews_nothing(run, monkeypatch):
    def refused(self, node, *args, **kwargs):
        raise CommandExecutionError("held")

    monkeypatch.setattr(Locks, "one", refused)
    with pytest.raises(CommandExecutionError):
        run.lock()
    assert run._heartbeat is None


# --- the end of a run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed, errors, kept, result, said",
    [
        (False, {}, ("succeeded", "It is served."), True, "is closed. It is served."),
        (False, {"salt2": "salt2 is gone."}, ("succeeded", "It is served."), False, "not be closed. salt2"),
        (True, {}, ("failed", "no room"), False, "failed at `pre-sync`. salt2 serves. Fix the cause"),
    ],
)
def test_a_run_is_closed_and_says_how_it_ended(run, monkeypatch, failed, errors, kept, result, said):
    monkeypatch.setattr(run, "record", lambda how, sentence: (how, sentence))
    run.lock()
    run.note("precheck", True, "fine", 0.504)
    run.note("pre-sync", not failed, "no room" if failed else "all is over", 1.0)
    records = []

    def give_back(record):
        assert run._heartbeat is None, "the lock is given back while it is still renewed"
        records.append(record)
        return errors, "salt2 serves."

    ret = run.close("It is served.", give_back)
    assert records == [kept]
    assert ret["result"] is result and said in ret["comment"], ret
    assert ret["changes"] == (
        {"run": run.id, "seconds": {"precheck": 0.5, "pre-sync": 1.0}} if result else {}
    )


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_whose_master_has_died_ends_with_a_sentence(run, failed):
    run.lock()
    run.note("handover", not failed, "", 0.5)

    def give_back(record):
        raise minions.NoMaster("The salt-master of this machine takes no connections.")

    ret = run.close("It is served.", give_back)
    assert ret["result"] is False and ret["changes"] == {}
    assert ("failed at `handover`" if failed else "succeeded. It could not be closed") in ret["comment"]
    assert "takes no connections. What was under way" in ret["comment"]
    assert f"salt-run pair.status {run.config['name']}" in ret["comment"]


@pytest.fixture
def interrupted(master):
    """A function: a run of an operation that Ctrl-C has ended, and what its close says."""

    def call(operation, overrides=None, steps=(), before_the_end=lambda: None):
        pair = pair_of_minions.Pair(master.minions, pair_of_minions.FAILED_OVER)
        config = checks.configuration(master.opts["pillar"]["pairs"], "salt", "")
        one = orchestration.Run(master.opts, config, operation, overrides)
        one.lock()
        one.allowed = {"max_delete": 0}
        for name in steps:
            one.note(name, True, "", 0.0)
        one.interrupted = True
        pair.minions.forget()
        before_the_end()
        said = one.close("", lambda record: pytest.fail("nothing is given back"))
        assert (said["result"], said["changes"]) == (False, {})
        assert {asked.function for asked in pair.minions.asked} <= {"pair.report"}
        return said["comment"]

    return call


def test_after_ctrl_c_the_command_is_named_with_all_that_was_typed(interrupted):
    words = {"winner": "salt2", "reason": "the clients were there", "fenced": None, "moved": None}
    said = interrupted("recover", words, ["pause", "static"])
    assert said.startswith("Interrupted at `static`. salt is failed_over: salt2 has served since ")
    command = "{pair: salt, winner: salt2, reason: the clients were there, max_delete: 0}"
    assert f"Run again: salt-run state.orch orch.recover pillar='{command}'" in said.replace('"', "")


def test_after_ctrl_c_an_operation_without_a_plan_is_typed_again_as_it_was(interrupted):
    said = interrupted("vm")
    assert said.startswith("Interrupted at `precheck`. salt is failed_over: ")
    assert said.endswith(" Run the same command again")


def test_after_ctrl_c_a_master_that_has_gone_leaves_open_who_serves(interrupted, master):
    said = interrupted("recover", before_the_end=master.minions.end_master)
    assert "It is not known who serves. The salt-master of this machine takes no connections" in said


def test_a_node_that_is_off_by_an_operators_word_is_waited_for_in_vain_but_shortly(monkeypatch):
    waited = []

    class Silent:
        def __init__(self, opts):
            pass

        def reports(self, config, look):
            waited.append(look)
            return None, None, {}

    monkeypatch.setattr(minions, "Nodes", Silent)
    for overrides in ({}, {"fenced": "salt1", "reason": "no power"}):
        orchestration.Run({"id": "salt2_master"}, {"name": "salt"}, "failover", overrides).look()
    assert waited == [minions.LOOK_WITHIN, orchestration.LOOK_BESIDE_DEAD_WITHIN]
    assert waited[1] < waited[0] / 2


# --- the master itself -----------------------------------------------------------------------------


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def asking(tmp_path, monkeypatch, port):
    """``minions.Nodes`` of a master that does not run."""
    monkeypatch.setattr(minions, "MASTER_WITHIN", 1.0)
    conf = tmp_path / "master"
    conf.write_text(f"root_dir: {tmp_path}\ninterface: 127.0.0.1\nret_port: {port}\n")
    return minions.Nodes({"conf_file": str(conf)})


@pytest.fixture
def knocks(monkeypatch):
    """Each attempt to reach the master."""
    made, connect = [], socket.create_connection

    def counted(place, timeout):
        made.append(place)
        return connect(place, timeout=timeout)

    monkeypatch.setattr(minions.socket, "create_connection", counted)
    return made


def test_whoever_only_looks_does_not_wait_for_a_master_to_start(asking, tmp_path, knocks):
    with pytest.raises(minions.NoMaster, match="takes no connections"):
        minions.Nodes({"conf_file": str(tmp_path / "master")}, 0).try_all(["salt1"], "test.ping")
    assert len(knocks) == 1


def test_a_master_that_is_waited_for_is_not_knocked_at_without_a_break(asking, knocks):
    with pytest.raises(minions.NoMaster):
        asking.try_all(["salt1"], "test.ping")
    assert len(knocks) <= 7


@pytest.mark.parametrize("how", ["try_all", "begin"])
def test_a_master_that_is_gone_is_found_out_in_seconds(asking, port, how):
    begun = time.monotonic()
    with pytest.raises(minions.NoMaster, match=f"takes no connections at 127.0.0.1:{port}"):
        getattr(asking, how)(["salt1"], "test.ping")
    assert 1.0 <= time.monotonic() - begun < 5.0


def test_a_master_that_is_about_to_restart_is_waited_for(asking, port, monkeypatch):
    monkeypatch.setattr(minions, "MASTER_WITHIN", 20.0)
    monkeypatch.setattr(asking._client, "cmd", lambda nodes, *words, **options: {"salt1": {"ret": True}})
    opened = []
    later = threading.Timer(0.5, lambda: opened.append(socket.create_server(("127.0.0.1", port))))
    later.start()
    try:
        assert asking.try_all(["salt1"], "test.ping") == ({"salt1": True}, {})
        assert opened
    finally:
        later.join()
        opened[0].close()


@pytest.fixture
def full(asking, monkeypatch):
    """The file system on which a master that runs keeps its jobs has no room."""
    room = os.statvfs("/")
    names = [one for one in dir(room) if one.startswith("f_")]
    none = types.SimpleNamespace(**{name: getattr(room, name) for name in names})
    none.f_bavail = 1
    monkeypatch.setattr(minions.os, "statvfs", lambda folder: none)
    monkeypatch.setattr(asking, "_require_master", lambda within: None)
    return asking


def test_a_master_without_room_for_its_jobs_names_the_file_system(full, tmp_path, monkeypatch):
    def some_exception(*args, **kwargs):
        raise PublishError("Some exception handling minion payload")

    monkeypatch.setattr(full._client, "cmd", some_exception)
    with pytest.raises(minions.NoMaster, match=f"The file system of {tmp_path}.* is full .*KiB"):
        full.try_all(["salt1"], "test.ping")


def test_answers_that_a_master_without_room_has_lost_are_explained(full, monkeypatch):
    monkeypatch.setattr(full._client, "cmd", lambda nodes, *words, **options: {})
    _, errors = full.try_all(["salt1"], "test.ping")
    assert "does not answer test.ping" in errors["salt1"] and "is full" in errors["salt1"]


def test_with_room_what_the_master_says_is_passed_on(asking, monkeypatch):
    def refused(*args, **kwargs):
        raise PublishError("no such target")

    monkeypatch.setattr(asking, "_require_master", lambda within: None)
    monkeypatch.setattr(asking._client, "cmd", refused)
    with pytest.raises(PublishError, match="no such target"):
        asking.try_all(["salt1"], "test.ping")


@pytest.mark.parametrize(
    ("free_bytes", "inodes", "free_inodes", "is_full"),
    [
        (256 << 10, 1000, 20, False),
        ((256 << 10) - 1, 1000, 20, True),
        (256 << 10, 1000, 19, True),
        # A file system without a table of inodes.
        (256 << 10, 0, 0, False),
    ],
)
def test_a_master_has_room_for_its_jobs_down_to_a_little(
    asking, monkeypatch, free_bytes, inodes, free_inodes, is_full
):
    room = types.SimpleNamespace(f_frsize=1, f_bavail=free_bytes, f_files=inodes, f_favail=free_inodes)
    monkeypatch.setattr(minions.os, "statvfs", lambda folder: room)
    monkeypatch.setattr(asking, "_require_master", lambda within: None)
    monkeypatch.setattr(asking._client, "cmd", lambda nodes, *words, **options: {})
    _, errors = asking.try_all(["salt1"], "test.ping")
    assert ("is full" in errors["salt1"]) is is_full
    assert not is_full or f"({free_bytes >> 10} KiB and {free_inodes} inodes left)" in errors["salt1"]


@pytest.mark.parametrize("error", [PublishError("no such target"), ConnectionResetError("reset")])
def test_a_master_that_has_died_while_it_was_asked_is_named(asking, port, monkeypatch, knocks, error):
    with socket.create_server(("127.0.0.1", port)) as taken:

        def die(*args, **kwargs):
            taken.close()
            raise error

        monkeypatch.setattr(asking._client, "cmd", die)
        with pytest.raises(minions.NoMaster, match=f"takes no connections at 127.0.0.1:{port}"):
            asking.try_all(["salt1"], "test.ping")
    assert len(knocks) == 2, "it has taken connections, so it is not about to start"


def test_a_master_that_takes_connections_and_does_not_answer_is_named_too(asking, port, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("Input/output error")

    monkeypatch.setattr(asking._client, "cmd", broken)
    said = pytest.raises(minions.NoMaster, match="does not answer: Input/output error")
    with socket.create_server(("127.0.0.1", port)), said:
        asking.try_all(["salt1"], "test.ping")


def test_a_run_sleeps_while_it_waits_and_an_answer_wakes_it(asking, monkeypatch):
    """Salt's own client looks a hundred times a second; and whoever has all answers is not kept waiting."""
    came, asked = ["salt1", "salt2", None, None, "salt3", None], []

    def get_event(**how):
        asked.append(how)
        return came.pop(0)

    monkeypatch.setattr(asking._client, "event", types.SimpleNamespace(get_event=get_event))
    events = asking._client.get_returns_no_block("salt/job/1", "startswith")
    assert [next(events) for _ in range(6)] == ["salt1", "salt2", None, None, "salt3", None]
    assert [one["no_block"] for one in asked] == [True, True, True, False, False, True]
    assert [one["wait"] == minions.SLEEP for one in asked] == [not one["no_block"] for one in asked]
    assert all(one["wait"] < 0.1 for one in asked if one["no_block"])
    for one in asked:
        assert (one["tag"], one["match_type"], one["full"]) == ("salt/job/1", "startswith", True)


# --- what nodes answer -----------------------------------------------------------------------------


@pytest.fixture
def nodes(master):
    return minions.Nodes(master.opts)


def test_of_no_nodes_nothing_is_asked_not_even_whether_there_is_a_master(master, nodes):
    master.minions.end_master()
    assert nodes.try_all([], "pair.report", "salt") == ({}, {})
    nodes.begin([], "saltutil.sync_utils")
    assert master.minions.asked == master.minions.begun == []


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ({}, (minions.ANSWER_WITHIN, minions.GONE_WITHIN)),
        ({"look": 3}, (3, minions.LOOK_GONE_WITHIN)),
        ({"look": 3, "gone": 1}, (3, 1)),
    ],
)
def test_a_look_is_waited_for_shortly_and_work_for_longer(master, nodes, words, limits):
    master.minions.answers["pair.report"] = {"node": "x"}
    assert nodes.try_all(["salt1"], "pair.report", "salt", **words) == ({"salt1": {"node": "x"}}, {})
    (asked,) = master.minions.asked
    assert (asked.args, asked.kwargs, asked.limits) == (["salt"], {}, limits)


def test_what_a_function_is_given_by_name_reaches_the_node(master, nodes):
    master.minions.answers["pair.renew"] = lambda node, *args, **kwargs: [args, kwargs]
    assert nodes.one("salt1", "pair.renew", "salt", "a run", 60, pause=True) == [
        ["salt", "a run", 60],
        {"pause": True},
    ]


def test_a_node_that_is_busy_is_not_taken_for_gone_as_soon_as_one_that_only_looks():
    assert minions.ANSWER_WITHIN > minions.LOOK_WITHIN > minions.GLANCE_WITHIN
    assert minions.GONE_WITHIN > minions.LOOK_GONE_WITHIN


#: What came back of a highstate of which one state failed by itself.
HIGHSTATE = {
    "file_|-a_|-/etc/a_|-managed": {"__id__": "The file", "result": False, "comment": "no space"},
    "file_|-b_|-/etc/b_|-managed": {"result": False, "comment": "no such user"},
    "service_|-c_|-c_|-running": {"__id__": "The service", "result": False,
                                  "comment": "One or more requisite failed: a"},
    "file_|-d_|-/etc/d_|-managed": {"__id__": "Fine", "result": True, "comment": "in order"},
    "retcode": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("came", "error"),
    [
        ({"ret": "ERROR: it is locked.\n", "retcode": 1}, "salt1: it is locked."),
        ({"ret": "Error running 'pair.take': no", "success": False}, "salt1: 'pair.take': no"),
        ({"ret": ["no"], "retcode": 1}, "salt1: ['no']"),
        ({"ret": {"x": {"result": True}}, "retcode": 1}, "salt1: {'x': {'result': True}}"),
        (
            {"ret": HIGHSTATE, "retcode": 2},
            "salt1: Highstate failed. The file: no space file_|-b_|-/etc/b_|-managed: no such user",
        ),
        ({"out": "no_return", "ret": "Minion did not return"}, "salt1 does not answer test.ping (is its"),
        ({}, "salt1 does not answer test.ping (is its salt-minion up?)"),
        ({"ret": True, "retcode": 0, "success": True}, None),
        ({"ret": False}, None),
    ],
)
def test_what_a_node_returns_is_an_answer_or_the_sentence_of_why_there_is_none(master, nodes, came, error):
    master.minions.silence("salt1", said=came)
    answers, errors = nodes.try_all(["salt1"], "test.ping")
    if error is None:
        assert (answers, errors) == ({"salt1": came["ret"]}, {})
        return
    assert answers == {} and errors["salt1"].startswith(error)
    assert isinstance(errors["salt1"], minions.NoAnswer) is ("does not answer" in error)
    with pytest.raises(minions.NodesFailed) as failed:
        nodes.one("salt1", "test.ping")
    assert str(failed.value) == errors["salt1"]


def test_all_nodes_answer_or_each_that_does_not_is_named(master, nodes):
    master.minions.answers["test.ping"] = lambda node: f"{node} is here"
    assert nodes.all(["salt1", "salt2"], "test.ping") == {
        "salt1": "salt1 is here",
        "salt2": "salt2 is here",
    }
    assert nodes.one("salt2", "test.ping") == "salt2 is here"
    master.minions.refuse("test.ping", "no.", node="salt1")
    master.minions.silence("client")
    with pytest.raises(minions.NodesFailed, match=r"^salt1: no\. client does not answer test\.ping"):
        nodes.all(["salt1", "salt2", "client"], "test.ping")


def test_the_reports_of_a_pair_are_those_of_its_primary_and_its_secondary(master, nodes):
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    master.minions.answers["pair.report"] = lambda node, pair: {"node": node, "pair": pair}
    salt1, salt2 = ({"node": one, "pair": "salt"} for one in ("salt1", "salt2"))
    assert nodes.reports(config) == (salt1, salt2, {})
    assert {one.limits[0] for one in master.minions.asked} == {minions.LOOK_WITHIN}
    master.minions.silence("salt1")
    assert nodes.reports(config, 3)[:2] == (None, salt2)
    assert set(nodes.reports(config)[2]) == {"salt1"}
    assert master.minions.asked[2].limits[0] == 3


def test_functions_that_are_begun_on_several_nodes_are_not_waited_for(master, nodes):
    nodes.begin(["client", "other"], "saltutil.sync_utils", "saltutil.sync_modules")
    assert master.minions.begun == [(["client", "other"], ["saltutil.sync_utils", "saltutil.sync_modules"])]
    assert master.minions.asked == []


@pytest.mark.parametrize(
    "pairs, said",
    [
        ({"a": {"primary": "salt1", "secondary": "salt2"}}, " Or use the master on salt2."),
        ({"a": {"primary": {"id": "salt3"}, "secondary": {"id": "salt1"}}}, " Or use the master on salt3."),
        ({"a": {"primary": "web1", "secondary": "web2"}}, ""),
        ({"a": {"primary": "web1"}}, ""),
        ({"a": None}, ""),
        ([], ""),
    ],
)
def test_the_other_master_is_the_other_node_of_the_pair_of_this_one(pairs, said):
    assert checks.other_master(pairs, "salt1_master") == said


@pytest.mark.parametrize(
    ("fences", "unready", "asked"),
    [
        ({}, (), []),
        ({"salt2": {"well": True}}, (), []),
        ({"salt2": {"well": None}}, (), []),
        ({"salt2": {"well": False}}, (), [(["salt2"], "pair.fence_test")]),
        (
            {"salt1": {"well": False}, "salt2": {"well": False}},
            ("salt2 is behind.",),
            [(["salt1", "salt2"], "pair.fence_test"), (["salt1", "salt2"], "pair.look")],
        ),
        ({}, ("salt2 is behind.",), [(["salt1", "salt2"], "pair.look")]),
    ],
)
def test_what_was_not_well_is_looked_at_once_more_before_it_is_said(fences, unready, asked):
    """As a fence agent that could not be reached while the network was cut."""
    calls = []
    nodes = types.SimpleNamespace(
        try_all=lambda nodes, function, *args, **_: calls.append((nodes, function)) if nodes else None
    )
    run = types.SimpleNamespace(
        config={"name": "salt"},
        members=["salt1", "salt2"],
        nodes=nodes,
        verdict=types.SimpleNamespace(unready=unready),
    )
    reports = [{"node": node, "fence": fences.get(node)} for node in run.members]
    assert checks.look_again(run, reports) is bool(asked)
    assert calls == asked
