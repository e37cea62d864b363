"""What is printed of a command line of this tree, and where: in this process alone, and never twice."""

import io
import logging
import sys
import time

import pytest
import salt.config
import salt.output
import salt.utils.event

from failback_master.surface import display
from failback_master.surface import live
from failback_master.surface import progress
from failback_master.surface import words


@pytest.fixture
def printed(monkeypatch):
    """What Salt prints, by outputter; the process's own printing is as it was afterwards."""
    found = []
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    monkeypatch.setattr(salt.output, "display_output", lambda data, out=None, opts=None: found.append(out))
    return found


@pytest.mark.parametrize(
    ("typed", "opts", "outputter", "looks"),
    [
        (["salt-run", "state.orch", "orch.recover"], {}, "pairs", True),
        (["salt-run", "state.orch", "orch.recover", "--state-output=full"], {}, "highstate", True),
        (["salt-run", "--state-output", "terse", "state.orch"], {}, "highstate", True),
        (["salt-run", "--out=json", "state.orch"], {"output": "json"}, "highstate", False),
        (["salt-run", "--async", "state.orch"], {"async": True}, "highstate", False),
    ],
)
def test_only_who_wants_salts_own_output_gets_it(printed, typed, opts, outputter, looks):
    display.begin(opts, "orch.recover salt", typed)
    salt.output.display_output({}, "highstate", {})
    salt.output.display_output({}, "nested", {})
    assert printed == [outputter, "nested"]
    assert live.SCREEN.is_open is looks


def test_a_failed_state_is_not_on_the_console_as_well(printed):
    root, stream = logging.getLogger(), sys.stderr
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        display.begin({}, "orch.recover salt", ["salt-run"])
        made = [
            logging.LogRecord(name, level, "x", 1, "Refused", (), None)
            for name, level in (("salt.state", logging.ERROR), ("salt.master", logging.ERROR))
        ]
        assert [bool(handler.filter(one)) for one in made] == [False, True]
    finally:
        root.removeHandler(handler)


# --- what a run tells ------------------------------------------------------------------------------


class Bus:
    """The bus of a master, which is another process; ``takes`` is what it says of an event."""

    def __init__(self, takes=True):
        self.heard, self.opened, self._takes = [], [], takes

    def __call__(self, opts, sock_dir, listen=True):
        self.opened.append((sock_dir, listen))
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def fire_event(self, data, tag, timeout):
        if isinstance(self._takes, Exception):
            raise self._takes
        self.heard.append((tag, data, timeout))
        return self._takes


@pytest.fixture
def told(monkeypatch):
    """A run's telling; what it says on a terminal that takes no line in place, and on the bus."""
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    stream, bus = io.StringIO(), Bus()
    live.SCREEN.open(stream)
    monkeypatch.setattr(salt.utils.event, "get_master_event", bus)
    one = progress.Progress({"sock_dir": "/run/x"}, "salt", "RUN")
    one.lines = lambda: [line[10:] for line in stream.getvalue().splitlines()]
    one.bus = bus
    return one


def test_what_a_run_does_is_printed_with_its_place_in_the_plan_and_is_an_event(told):
    told.begun("precheck", "both nodes are looked at")
    told.planned(["pause", "pre-sync"])
    told.begun("pause", "the watch is paused")
    told.ended("pause", True, "It is paused. Until then.", 0.94)
    told.begun("pre-sync", "what changed comes over")
    told.tell("pre-sync", "salt1 lists its files")
    told.more("pre-sync", "1 of 2 MB")
    told.ended("pre-sync", False, "no room", 150.006)
    assert told.lines() == [
        "      precheck   both nodes are looked at",
        "      2 steps: pause, pre-sync; run RUN",
        "  1/2 pause      the watch is paused",
        "  1/2 pause      done, 0.9 s. It is paused.",
        "  2/2 pre-sync   what changed comes over",
        "  2/2 pre-sync   salt1 lists its files",
        "  2/2 pre-sync   1 of 2 MB",
        "  2/2 pre-sync   FAILED after 2 min",
    ]
    of = {"pair": "salt", "run": "RUN"}
    assert [(tag, data) for tag, data, _ in told.bus.heard] == [
        ("failback/salt/RUN/precheck/begun", {**of, "step": "precheck", "text": "both nodes are looked at"}),
        ("failback/salt/RUN/pause/begun", {**of, "step": "pause", "text": "the watch is paused"}),
        (
            "failback/salt/RUN/pause/done",
            {**of, "step": "pause", "comment": "It is paused. Until then.", "seconds": 0.94},
        ),
        ("failback/salt/RUN/pre-sync/begun", {**of, "step": "pre-sync", "text": "what changed comes over"}),
        (
            "failback/salt/RUN/pre-sync/failed",
            {**of, "step": "pre-sync", "comment": "no room", "seconds": 150.01},
        ),
    ]


@pytest.mark.parametrize(
    ("seconds", "good", "comment", "said"),
    [
        (0.96, True, "Done", "done, 1.0 s. Done"),
        (1.0, True, "Done.", "done, 1 s. Done."),
        (1.5, True, "", "done, 1 s. "),
        (3.0, False, words.INTERRUPTED, "interrupted after 3 s"),
        (3.0, False, "no room", "FAILED after 3 s"),
    ],
)
def test_how_a_step_has_ended_is_a_line(told, seconds, good, comment, said):
    told.ended("pause", good, comment, seconds)
    assert told.lines() == [f"      pause      {said}"]


def test_the_line_of_a_step_is_gone_when_it_has_ended(told, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    live.SCREEN.open(stream)
    told.begun("pause", "the watch is paused")
    told.ended("pause", True, "", 0.1)
    written = len(stream.getvalue())
    told.more("pause", "too late")
    time.sleep(2 * live.REDRAWN_EVERY)  # there is nothing to wait for: nothing may come
    assert len(stream.getvalue()) == written


@pytest.mark.parametrize(
    ("takes", "answer"), [(True, True), (False, False), (None, False), (OSError("no bus"), False)]
)
def test_whether_the_bus_has_taken_an_event_is_known_and_no_more_comes_of_it(monkeypatch, takes, answer):
    bus = Bus(takes)
    monkeypatch.setattr(salt.utils.event, "get_master_event", bus)
    assert progress.fire({"sock_dir": "/run/x"}, "salt/a", {"b": 1}) is answer
    # Who only tells does not listen, and waits for no more than half a second.
    assert bus.opened == [("/run/x", False)]
    assert bus.heard == ([] if isinstance(takes, OSError) else [("failback/salt/a", {"b": 1}, 500)])


@pytest.mark.parametrize(
    "opts", [{}, {"sock_dir": ""}, {"sock_dir": "/nonexistent", "id": "x", "__role": "master"}]
)
def test_an_event_that_nobody_takes_fails_nothing(opts):
    assert progress.fire(opts, "salt/run/static/begun", {}) is False


# --- the outputter ---------------------------------------------------------------------------------


@pytest.fixture
def drawn(tree, tmp_path, monkeypatch):
    """``drawn(data)``: what Salt prints of an answer, as text."""
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    monkeypatch.setenv("COLUMNS", "30")
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "outputter_dirs": [str(tree / "salt/_output")]}
    opts.update(extension_modules=str(tmp_path / "extmods"), cachedir=str(tmp_path), color=False)
    return lambda data: salt.output.try_printout(data, "pairs", dict(opts))


class OneTerminal(io.StringIO):
    def isatty(self):
        return True


def test_a_page_is_printed_as_it_is(drawn):
    page = "<!DOCTYPE html>\n<p>" + "x " * 200 + "</p>"
    assert drawn({"page": page, "retcode": 1}) == page


@pytest.mark.parametrize("terminal", [True, False])
def test_an_answer_is_as_wide_as_the_terminal_and_unbroken_in_a_pipe(drawn, monkeypatch, terminal):
    monkeypatch.setattr(sys, "stdout", OneTerminal() if terminal else io.StringIO())
    text = "one two three four five six seven eight"
    assert drawn({"comment": text}) == (text.replace(" seven", "\nseven") if terminal else text)


def steps():
    done = {"step": "pause", "result": True, "comment": "It is paused."}
    end = {"step": "close", "result": True, "comment": "Closed."}
    found = {"result": True, "sentence": "Closed.", "refused": False, "failed_step": None}
    return {**found, "steps": [done, end], "pairs": {}, "summary": {}}


@pytest.mark.parametrize(("terminal", "seen"), [(True, True), (True, False), (False, True), (False, False)])
def test_steps_that_a_person_has_seen_are_not_listed_again(drawn, monkeypatch, terminal, seen):
    """In a file somebody looks for them later."""
    monkeypatch.setattr(sys, "stdout", OneTerminal() if terminal else io.StringIO())
    if seen:
        live.SCREEN.open(io.StringIO())
    listed = "done   It is paused." in drawn(steps())
    assert listed is not (terminal and seen)
    assert not live.SCREEN.is_open, "nothing is printed beside the answer"
