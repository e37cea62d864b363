"""
The giver of a handover dies, refuses, or is slow.

What is asked after each: who serves, in which generation, and do the two ledgers tell the same story.
"""

import pytest
from handover_cases import SALT2_AFTER_SALT1
from handover_cases import SALT2_AS_BEFORE
from handover_cases import die_at
from handover_cases import judged

from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import giver
from failback.handover import phases
from failback.handover import taker
from failback.state import ledger


@pytest.mark.parametrize("moment", ["release", "released"])
def test_the_far_ends_process_is_killed_while_it_releases(world, moment):
    world.hooks[("salt2", moment)] = world.kill
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    world.deadline()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


@pytest.mark.parametrize(
    ("before_the_ledger", "generation"),
    [pytest.param(True, 4, id="before its ledger"), pytest.param(False, 6, id="between ledger and phase")],
)
def test_the_far_ends_process_is_killed_while_it_commits(world, monkeypatch, before_the_ledger, generation):
    """Whatever it had written by then, afterwards it serves and its own ledger says so."""
    real = ledger.Ledger.write

    def write(own, entry, prepared=None):
        if world.node.name == "salt2" and before_the_ledger:
            world.kill()
        new = real(own, entry, prepared)
        if world.node.name == "salt2":
            world.kill()
        return new

    monkeypatch.setattr(ledger.Ledger, "write", write)
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    assert world.serving() == "nobody"
    monkeypatch.setattr(ledger.Ledger, "write", real)
    world.deadline()
    assert world.serving() == "salt2"
    assert world.ledgers()[1] == (generation, "salt2")
    assert judged(world).name == verdict.FAILED_OVER


def test_a_far_end_that_cannot_write_down_its_phase_serves_again(world, monkeypatch):
    """A full /run, say: the commit has failed, after the ledger was raised in the other's favour."""
    real = phases.write_state

    def write(member, **changes):
        if changes.get("phase") == phases.COMMITTED:
            raise OSError(28, "No space left on device")
        return real(member, **changes)

    monkeypatch.setattr(phases, "write_state", write)
    with pytest.raises(Unavailable, match="No space left.*salt2 serves again"):
        world.bring_home()
    assert world.serving() == "salt2"
    assert world.ledgers()[1] == (6, "salt2")
    assert judged(world).name == verdict.FAILED_OVER


def test_the_far_end_loses_power_after_the_commit(world, monkeypatch):
    """The taker has its answer: it goes on, and serves."""

    def die():
        world.lose_power("salt2")

    final_sync = die_at(world, monkeypatch, "take", die)
    monkeypatch.setattr(
        taker.PeerConnection,
        "ask",
        _silent_after(taker.PeerConnection.ask, lambda: not world.power["salt2"]),
    )
    with pytest.raises(FailbackError):
        world.bring_home(final_sync)
    assert world.serving() == "salt1"
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]


def _silent_after(real, silent):
    def ask(far, do, *rest, **request):
        if silent():
            raise Unavailable(f"{far.name} gave no answer.")
        return real(far, do, *rest, **request)

    return ask


def test_a_commit_too_close_to_the_deadline_is_refused(world):
    def slow(limit):
        world.now += 10 - phases.COMMIT_MARGIN + 0.1

    with pytest.raises(Unavailable, match=r"Only 3\.9 s are left.*salt2 serves again"):
        world.bring_home(slow)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.deadline() is None or world.serving() == "salt2"


def test_a_final_sync_beyond_the_deadline_finds_the_far_end_serving(world):
    with pytest.raises(Unavailable, match="salt2"):
        world.bring_home(lambda limit: world.deadline())
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


@pytest.mark.parametrize("error", [Unavailable("rsync ended with exit code 23."), Refused("No.")])
def test_a_final_sync_that_fails_leaves_the_far_end_serving_at_once(world, error):
    def broken(limit):
        raise error

    with pytest.raises(Unavailable, match=rf"{error}.*salt2 serves again"):
        world.bring_home(broken)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_a_near_end_that_was_slow_takes_nothing(world, monkeypatch):
    real = ledger.Ledger.write

    def write(own, entry, prepared=None):
        if world.node.name == "salt1":
            world.now += phases.TAKE_WITHIN + 0.1
        return real(own, entry, prepared)

    monkeypatch.setattr(ledger.Ledger, "write", write)
    with pytest.raises(Unavailable, match="too slow.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AFTER_SALT1
    assert judged(world).name == verdict.FAILED_OVER


@pytest.mark.parametrize("moment", ["take", "taken"])
def test_an_address_that_cannot_be_taken_is_given_back(world, moment):
    def fail():
        raise Unavailable("The kernel says no.")

    world.hooks[("salt1", moment)] = fail
    with pytest.raises(Unavailable, match="kernel says no.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AFTER_SALT1


def test_a_release_that_fails_is_taken_back(world):
    def fail():
        raise Unavailable("The kernel did not remove it.")

    world.hooks[("salt2", "released")] = fail
    with pytest.raises(Unavailable, match="did not remove it.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(world, monkeypatch):
    """The taker has given up on ``release`` and asks to abort; what arrives first is the other answer."""
    release = giver.release

    def slow(*arguments):
        answer = release(*arguments)
        world.run_for(1)
        return answer

    monkeypatch.setattr(giver, "release", slow)
    real = taker.PeerConnection.ask

    def ask(far, do, *rest, **request):
        if do == "release":
            return real(far, do, 0.2)
        return real(far, do, *rest, **request)

    monkeypatch.setattr(taker.PeerConnection, "ask", ask)
    with pytest.raises(FailbackError, match="salt2 (serves again|takes the addresses back)"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
