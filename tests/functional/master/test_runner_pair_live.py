"""What is looked at while it happens: how often, until when, and what is said of it at the end."""

import io
import socket
import sys
import time
import types

import asked_minions
import pytest
import samples

from failback_master import minions as asking

pytestmark = pytest.mark.one_release(but="the first case")

BOTH = ["salt1", "salt2"]


class Clock:
    """
    The clock of the runner's module: it stands still but for what is waited, and ``each`` seconds that a look
    takes. Nobody waits for it.
    """

    def __init__(self):
        self.now, self.each, self.slept = 100.0, 0.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def looked(self):
        self.now += self.each


@pytest.fixture
def clock(run, monkeypatch):
    found = Clock()
    module = sys.modules["salt.loaded.ext.runners.pair_live"]
    own = {**vars(time), "sleep": found.sleep, "monotonic": lambda: found.now}
    monkeypatch.setattr(module, "time", types.SimpleNamespace(**own))
    return found


def of_looks(clock, *looks):
    """Reports, look by look, then those of the last one again; each look is a function of the node."""
    number = {"salt1": 0, "salt2": 0}

    def said(node, *args):
        if node == "salt1":
            clock.looked()
        at = min(number[node], len(looks) - 1)
        number[node] += 1
        return looks[at](node)

    return said


@pytest.mark.parametrize("function", ["watch", "follow"])
@pytest.mark.parametrize("every", [0, 0.49, -1, True, "2 s", None])
def test_looks_that_follow_too_closely_are_refused(run, minions, function, every):
    answer = run(f"pair.{function}", "salt", every=every)
    assert answer["retcode"] == 1 and "every must be a number of 0.5 or more" in answer["error"]
    assert minions.asked == []


@pytest.mark.parametrize("function", ["watch", "follow"])
@pytest.mark.parametrize("times", [0, -1, True, 1.5, "two"])
def test_no_look_at_all_is_refused(run, minions, function, times):
    """Without one nobody knows whether a run is at work."""
    answer = run(f"pair.{function}", "salt", times=times)
    assert answer["retcode"] == 1 and "times must be a whole number of 1 or more" in answer["error"]
    assert minions.asked == []


# --- pair.watch -----------------------------------------------------------------------------------


def test_the_table_is_printed_again_and_again_and_the_last_look_is_the_answer(run, minions, clock, capsys):
    minions.answers = {
        "pair.report": of_looks(clock, asked_minions.failed_over, asked_minions.split, asked_minions.normal)
    }
    answer = run("pair.watch", "salt", times=3)
    assert answer["pairs"]["salt"]["verdict"] == "normal" and answer["retcode"] == 0
    assert minions.functions() == ["pair.report"] * 3 and minions.asked[0].nodes == BOTH
    printed = capsys.readouterr().out
    # The last one is what Salt prints.
    assert [line for line in printed.splitlines() if line.startswith("salt is")] == [
        "salt is failed_over",
        "salt is split-brain",
    ]
    assert live_clear() not in printed
    assert clock.slept == [2, 2]


def live_clear():
    return sys.modules["salt.loaded.ext.runners.pair_live"].CLEAR


def test_the_last_look_is_the_exit_status(run, minions, clock, capsys):
    minions.answers = {"pair.report": of_looks(clock, asked_minions.normal, asked_minions.failed_over)}
    assert run("pair.watch", times=1, pair="salt")["retcode"] == 0
    assert capsys.readouterr().out == "" and clock.slept == []
    assert run("pair.watch", "salt", times=1)["retcode"] == 1


def test_all_pairs_are_a_table_and_a_terminal_shows_it_in_place(run, minions, clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    minions.answers = {"pair.report": asked_minions.SILENT}
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    run("pair.watch", times=2)
    assert stream.getvalue().startswith(f"{live_clear()}PAIR")
    assert minions.asked[0].nodes == [*BOTH, "web1", "web2"]


@pytest.mark.parametrize(("each", "slept"), [(0.0, 0.5), (0.3, 0.2), (7.0, 0.0)])
@pytest.mark.parametrize("function", ["watch", "follow"])
def test_from_one_look_to_the_next_it_is_as_long_as_was_asked_for(
    run, minions, clock, capsys, function, each, slept
):
    clock.each = each
    minions.answers = {"pair.report": of_looks(clock, at_work("static")), "pair.history": []}
    run(f"pair.{function}", "salt", every=0.5, times=2)
    assert clock.slept[0] == pytest.approx(slept)


def test_it_goes_on_until_no_master_answers(run, minions, clock, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]

    def said(node):
        if len(minions.asked) == 3:
            minions.opts = {**minions.opts, "ret_port": nobody}
        return asked_minions.normal(node)

    minions.answers = {"pair.report": said}
    answer = run("pair.watch", "salt")
    assert "takes no connections" in answer["error"] and answer["retcode"] == 1
    assert len(minions.asked) == 3


# --- pair.follow ----------------------------------------------------------------------------------


def at_work(step, run=samples.RUN, node="salt2"):
    """Reports of a pair of which a run is at a step; the node of the lock is where it is known."""

    def said(one):
        if one != node:
            return asked_minions.failed_over(one)
        now = asked_minions.NOW
        owner = {"user": "alice", "master": "salt2_master"}
        lock = {"run": run, "state": "held", "operation": "recover", "owner": owner, "renewed": now}
        lock.update(since=samples.SINCE, expires=now + 60, step={"name": step, "began": now - 12})
        return {**asked_minions.failed_over(one), "lock": lock}

    return said


def ended(run=samples.RUN, result="succeeded", sentence="salt is served by salt1."):
    found = {"run": run, "pair": "salt", "operation": "recover", "started": samples.SINCE, "backup": False}
    return {**found, "finished": samples.SINCE, "result": result, "sentence": sentence, "user": "alice"}


def test_the_steps_of_a_run_are_printed_as_they_begin_to_its_end(run, minions, clock, capsys):
    looks = (at_work("static"), at_work("static"), at_work("services"), asked_minions.normal)
    minions.answers = {"pair.report": of_looks(clock, *looks), "pair.history": [ended()]}
    answer = run("pair.follow", "salt")
    assert answer == {"comment": f"Run {samples.RUN} succeeded. salt is served by salt1.", "retcode": 0}
    assert [line[8:] for line in capsys.readouterr().out.splitlines()] == [
        f"  salt  recover of alice on salt2_master, run {samples.RUN}",
        "  salt  step static, since 12 s",
        "  salt  step services, since 12 s",
        f"  salt  run {samples.RUN} is no longer at work",
    ]
    *looked, history = minions.asked
    assert [(one.function, one.nodes, one.look, one.gone) for one in looked] == [
        ("pair.report", BOTH, 3, 1)
    ] * 4
    assert (history.function, history.nodes, history.kwargs) == ("pair.history", BOTH, {"pair": "salt"})
    assert clock.slept == [1, 1, 1]


@pytest.mark.parametrize(
    ("kept", "said", "retcode"),
    [
        ([ended(result="failed", sentence="no room")], "failed. no room", 1),
        ([], f"Nothing is known of the end of run {samples.RUN}.", 1),
        ([ended()], "succeeded.", 0),
    ],
)
def test_how_a_run_has_ended_is_the_exit_status(run, minions, clock, capsys, kept, said, retcode):
    looks = (at_work("static"), asked_minions.normal)
    minions.answers = {"pair.report": of_looks(clock, *looks), "pair.history": kept}
    answer = run("pair.follow", "salt")
    assert said in answer["comment"] and answer["retcode"] == retcode


def test_of_two_runs_one_that_failed_is_the_exit_status(run, minions, clock, capsys):
    looks = (at_work("static"), at_work("pause", samples.OTHER_RUN), asked_minions.normal)
    kept = [ended(), ended(samples.OTHER_RUN, "failed", "no room")]
    minions.answers = {"pair.report": of_looks(clock, *looks), "pair.history": kept}
    answer = run("pair.follow", "salt")
    assert answer["comment"].splitlines() == [
        f"Run {samples.RUN} succeeded. salt is served by salt1.",
        f"Run {samples.OTHER_RUN} failed. no room",
    ]
    assert answer["retcode"] == 1


def test_where_no_run_is_at_work_one_look_is_enough(run, minions, clock, capsys):
    minions.answers = {
        "pair.report": lambda node: asked_minions.normal(node) if node in BOTH else asked_minions.SILENT
    }
    assert run("pair.follow") == {"comment": "No run is at work."}
    assert capsys.readouterr().out == "" and clock.slept == []
    (asked,) = minions.asked
    assert asked.nodes == [*BOTH, "web1", "web2"]


def test_who_looks_only_so_often_is_told_that_the_run_has_not_ended(run, minions, clock, capsys):
    minions.answers = {"pair.report": of_looks(clock, at_work("static")), "pair.history": []}
    answer = run("pair.follow", "salt", times=2)
    assert len(minions.questions("pair.report")) == 2 and clock.slept == [1]
    assert answer["comment"].startswith("Nothing is known") and answer["retcode"] == 1


def test_a_master_that_is_gone_at_the_end_of_a_run_is_a_sentence(run, minions, clock, capsys, monkeypatch):
    """The run may have been one that has moved the masters' address away."""
    monkeypatch.setattr(asking, "MASTER_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]

    def over(node):
        minions.opts = {**minions.opts, "ret_port": nobody}
        return asked_minions.normal(node)

    minions.answers = {"pair.report": of_looks(clock, at_work("handover"), over)}
    answer = run("pair.follow", "salt")
    assert "takes no connections" in answer["error"] and answer["retcode"] == 1
