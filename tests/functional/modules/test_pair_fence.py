"""The functions of the module pair that call a fence agent, as Salt loads them."""

import inspect
import json
import os

import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.handover import phases
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.pillar import pairs
from failback.state import fencing

AGENT = """#!/usr/bin/python3
import pathlib, sys
options = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin)
state = pathlib.Path(__file__).with_name("state")
if options["password"] != "s3cret":
    sys.exit("wrong password " + options["password"])
if options["action"] == "off":
    state.write_text("off")
elif options["action"] == "status":
    sys.exit(2 if state.exists() else 0)
"""
OPTIONS = {"ip": "10.9.0.12", "password": "s3cret"}


def pillar(**options):
    nodes = {"salt2": {"agent": "fence_board", "options": {**OPTIONS, **options}}}
    return {"pairs": {"salt": {"primary": "salt1", "secondary": "salt2", "fence": {"nodes": nodes}}}}


@pytest.fixture(scope="module")
def minion_opts(minion_opts):
    # A state calls the modules of a loader of its own, with the pillar that the minion began with.
    minion_opts["pillar"] = pillar()
    return minion_opts


@pytest.fixture
def board(modules, minion_opts, monkeypatch):
    """salt1 with the agent that switches salt2 off; ``pillar`` gives the module another pillar."""
    paths = Paths(minion_opts["failback_root"])
    program = paths.root / "usr/sbin/fence_board"
    files.make_folder(program.parent)
    program.write_text(AGENT)
    program.chmod(0o755)
    program.with_name("state").unlink(missing_ok=True)

    def give(content):
        monkeypatch.setitem(inspect.unwrap(modules.pair.fence_test).__globals__, "__pillar__", content)
        found = pairs.of_node(content["pairs"], "salt1")["salt"]
        files.write_json(paths.pair_config("salt"), {**found, "version": 1})
        return Member.load("salt", paths)

    member = give(pillar())
    member.give = give
    member.pause.clear()
    yield member
    paths.fence_agent("salt").unlink(missing_ok=True)
    paths.pair_config("salt").unlink()


def test_the_options_are_written_for_root_alone(modules, board):
    path = board.paths.fence_agent("salt")
    assert modules.pair.write_fence_agent("salt", test=True) == "written" and not path.exists()
    assert modules.pair.write_fence_agent("salt") == "written"
    assert modules.pair.write_fence_agent("salt") == ""
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["options"] == OPTIONS
    path.chmod(0o644)
    assert modules.pair.write_fence_agent("salt") == "written"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_the_pillar_names_no_more_is_removed(modules, board):
    modules.pair.write_fence_agent("salt")
    board.give({"pairs": {"salt": {"primary": "salt1", "secondary": "salt2"}}})
    assert modules.pair.write_fence_agent("salt", test=True) == "removed"
    assert board.paths.fence_agent("salt").exists()
    assert modules.pair.write_fence_agent("salt") == "removed"
    assert not board.paths.fence_agent("salt").exists()
    assert modules.pair.write_fence_agent("salt") == ""


def test_the_state_shows_no_password_and_changes_nothing_in_test_mode(states, modules, board):
    name = "The node knows how the other node of salt is switched off"
    ret = states.pair.fence_agent_known(name, pair="salt", test=True)
    assert ret.result is None and ret.changes == {"the fence agent's options": "written"}
    assert not board.paths.fence_agent("salt").exists()
    ret = states.pair.fence_agent_known(name, pair="salt")
    assert ret.result is True and ret.changes and "s3cret" not in str(ret)
    ret = states.pair.fence_agent_known(name, pair="salt")
    assert ret.result is True and not ret.changes


def test_a_trial_switches_nothing_off(modules, board):
    modules.pair.write_fence_agent("salt")
    assert modules.pair.fence_test("salt")["sentence"] == "salt2 is on"
    assert modules.pair.fence_agent("salt") == "fence_board"


def test_a_node_is_switched_off_and_asked(modules, board):
    modules.pair.write_fence_agent("salt")
    found = modules.pair.fence("salt", "salt2", "it hangs")
    assert found == "salt2 was switched off by fence_board, which says that it is off."
    assert modules.pair.fence_test("salt")["sentence"] == "salt2 is off"


def test_an_agent_that_fails_is_named_without_the_password(modules, board):
    board.give(pillar(password="0ther"))
    modules.pair.write_fence_agent("salt")
    for call in (lambda: modules.pair.fence_test("salt"), lambda: modules.pair.fence("salt", "salt2", "x")):
        with pytest.raises(CommandExecutionError, match=r"wrong password \*\*\*") as refused:
            call()
        assert "0ther" not in str(refused.value)


@pytest.mark.parametrize(
    "node, reason, words",
    [
        ("salt1", "x", "salt1 can switch off salt2, the other node of salt, not 'salt1'"),
        ("salt9", "x", "not 'salt9'"),
        ("salt2", None, "needs a reason"),
        ("salt2", "two\nlines", "must be one line"),
    ],
)
def test_what_is_not_meant_switches_nobody_off(modules, board, node, reason, words):
    modules.pair.write_fence_agent("salt")
    with pytest.raises((CommandExecutionError, SaltInvocationError), match=words):
        modules.pair.fence("salt", node, reason)
    assert modules.pair.fence_test("salt")["sentence"] == "salt2 is on"


def test_nobody_is_switched_off_during_a_pause(modules, board):
    modules.pair.write_fence_agent("salt")
    board.pause.set(60, "switch maintenance")
    with pytest.raises(CommandExecutionError, match="switch maintenance"):
        modules.pair.fence("salt", "salt2", "it hangs")
    assert modules.pair.fence_test("salt")["sentence"] == "salt2 is on"


@pytest.mark.one_release
def test_nobody_is_switched_off_in_the_middle_of_a_handover(modules, board):
    """He may be the one that serves in a moment."""
    modules.pair.write_fence_agent("salt")
    phases.write_state(board, run=samples.RUN, phase=phases.COMMITTED, deadline=system.boottime() + 60)
    try:
        with pytest.raises(CommandExecutionError, match=f"under way .run {samples.RUN}.*Nothing was done"):
            modules.pair.fence("salt", "salt2", "it hangs")
        assert modules.pair.fence_test("salt")["sentence"] == "salt2 is on"
    finally:
        phases.write_state(board, phase=None)


@pytest.mark.one_release
def test_an_agent_that_cannot_switch_it_off_says_so(modules, board):
    program = board.paths.root / "usr/sbin/fence_board"
    program.write_text(AGENT.replace('state.write_text("off")', "sys.exit(1)"))
    modules.pair.write_fence_agent("salt")
    with pytest.raises(CommandExecutionError, match="Take its power away by other means"):
        modules.pair.fence("salt", "salt2", "it hangs")


@pytest.mark.one_release
@pytest.mark.parametrize("verb", ["fence_agent", "write_fence_agent"])
def test_a_pair_that_is_not_in_the_pillar_has_no_agent_to_name(modules, board, monkeypatch, verb):
    modules.pair.write_fence_agent("salt")
    module = inspect.unwrap(modules.pair.fence_test).__globals__
    for content in ({}, {"pairs": None}, {"pairs": {"web": pillar()["pairs"]["salt"]}}):
        monkeypatch.setitem(module, "__pillar__", content)
        with pytest.raises(CommandExecutionError, match="The pillar of salt1 has no pair salt"):
            getattr(modules.pair, verb)("salt")
    assert board.paths.fence_agent("salt").exists()


@pytest.mark.one_release
@pytest.mark.parametrize("verb", ["fence_test", "fence"])
def test_without_an_agent_nothing_is_tried(modules, board, verb):
    board.give({"pairs": {"salt": {"primary": "salt1", "secondary": "salt2"}}})
    words = ("salt2", "it hangs") if verb == "fence" else ()
    with pytest.raises(SaltInvocationError, match="names no fence agent for salt2.*Nothing was done"):
        getattr(modules.pair, verb)("salt", *words)


# --- an operator's word -------------------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch):
    """The other node is silent, and this process knocks at it."""
    monkeypatch.setattr(fencing, "answers", lambda host: None)

    def knocks(member):
        word = files.read_json(member.fencing.path, "the word")
        own = {"pid": os.getpid(), "started": system.process_started(os.getpid())}
        files.write_json(member.fencing.path, {**word, "observer": own})

    monkeypatch.setattr(fencing, "_observe", knocks)
    monkeypatch.setattr(system, "log", lambda *_: None)


@pytest.mark.one_release
def test_a_word_counts_for_the_run_that_gave_it_until_somebody_takes_it_back(modules, board, silent):
    board.give({"pairs": {"salt": {"primary": "salt1", "secondary": "salt2"}}})
    assert modules.fencing.status("salt") is None and modules.fencing.void("salt") is False
    owner = {"user": "anna", "master": "salt1_master", "boot_id": "elsewhere"}
    board.lock.acquire(samples.RUN, "failover", owner, 60)
    try:
        word = modules.fencing.declare("salt", "salt2", "burnt PSU", samples.RUN, owner)
        assert (word["node"], word["reason"], word["user"]) == ("salt2", "burnt PSU", "anna")
        found = modules.fencing.status("salt")
        assert (found["run"], found["reason"]) == (samples.RUN, "burnt PSU") and 0 < found["left"] <= 900
        for node, reason in (("salt1", "burnt PSU"), ("web1", "burnt PSU"), ("salt2", ""), ("salt2", None)):
            with pytest.raises(CommandExecutionError):
                modules.fencing.declare("salt", node, reason, samples.RUN, owner)
    finally:
        board.lock.release(samples.RUN)
    assert modules.fencing.status("salt")["reason"] == "burnt PSU"
    assert modules.fencing.void("salt") is True
    assert modules.fencing.status("salt") is None and modules.fencing.void("salt") is False


def test_a_pair_without_an_agent_has_none(modules, board):
    board.give({"pairs": {"salt": {"primary": "salt1", "secondary": "salt2"}}})
    assert modules.pair.fence_agent("salt") is None
    with pytest.raises(SaltInvocationError, match="names no fence agent for salt2"):
        modules.pair.fence_test("salt")
