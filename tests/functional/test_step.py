"""A step that looks after no lock: what it hands to its work, and what it says of it."""

import io
import threading

import pytest
from salt.exceptions import CommandExecutionError

from failback.errors import Refused
from failback_master import step
from failback_master.surface import live

pytestmark = pytest.mark.one_release

WOULD = "run highstate on both nodes"


class Work:
    """What a step does; ``outcome`` is what it returns, or raises."""

    def __init__(self, outcome):
        self.outcome, self.given = outcome, []

    def __call__(self, config, nodes, ids):
        self.given.append((config["name"], ids))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def run(master):
    """``run(work)``: what the step returns."""

    def call(work, test=False, would=WOULD, pair="salt"):
        opts = {**master.opts, "test": test}
        return step.run(opts, opts["pillar"], "adopt", "Both are current", pair, would, work)

    return call


@pytest.fixture(params=[False, True], ids=["in a pipe", "on a terminal"])
def screen(request, monkeypatch):
    """What is printed for whoever looks."""
    stream = io.StringIO()
    stream.isatty = lambda: request.param
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    live.SCREEN.open(stream)
    yield stream
    live.SCREEN.close()


@pytest.mark.parametrize(
    ("test", "would", "outcome", "result"),
    [
        (False, WOULD, ({"salt1": "x"}, "Done."), True),
        (False, WOULD, ({}, "It was so."), True),
        (False, WOULD, CommandExecutionError("salt1: no."), False),
        (False, WOULD, Refused("no."), False),
        # A step that only looks is taken in test mode too.
        (True, None, ({}, "It is so."), True),
        (True, None, ({"salt1": "x"}, "It would be."), None),
        (True, None, CommandExecutionError("salt1: no."), False),
    ],
)
def test_a_step_returns_what_its_work_has_come_to(run, test, would, outcome, result):
    work = Work(outcome)
    said = run(work, test, would)
    changes, comment = ({}, str(outcome)) if isinstance(outcome, Exception) else outcome
    assert said == {"name": "Both are current", "result": result, "changes": changes, "comment": comment}
    assert work.given == [("salt", ("salt1", "salt2"))]


def test_in_test_mode_what_it_would_do_is_all_that_is_said(run, master):
    work = Work(({}, "Done."))
    said = run(work, test=True)
    assert (said["result"], said["changes"]) == (None, {"salt": WOULD})
    assert said["comment"] == "Would run highstate on both nodes." and work.given == []


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    ("pair", "more", "why"),
    [
        ("slat", {}, "There is no pair slat (pairs: salt). Usage: salt-run state.orch orch.adopt"),
        ("salt", {"harmles": []}, "harmles"),
    ],
)
def test_wrong_words_are_refused_before_any_work(run, master, test, pair, more, why):
    master.opts["pillar"].update(more)
    work = Work(({}, "Done."))
    said = run(work, test, pair=pair)
    assert (said["result"], said["changes"], work.given) == (False, {}, [])
    assert why in said["comment"]


@pytest.mark.parametrize(
    ("outcome", "end"),
    [(({}, "Done."), "done: Both are current"), (Refused("no."), "FAILED: Both are current")],
)
def test_whoever_looks_sees_what_goes_on_and_how_it_has_ended(run, screen, outcome, end):
    seen = []

    def work(*words):
        seen.append(screen.getvalue())
        return Work(outcome)(*words)

    run(work)
    assert "Both are current" in seen[0] and end not in seen[0]
    assert screen.getvalue().endswith(f"  {end}\n")
    # Nothing goes on any more that would be redrawn.
    for thread in threading.enumerate():
        if thread.name == "failback-screen":
            thread.join(10 * live.REDRAWN_EVERY)
            assert not thread.is_alive()
