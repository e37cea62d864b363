"""Two holders of one address: never, whatever the order in which the two ends go on and die."""

import os

import pytest
import samples
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone
from hypothesis import settings
from hypothesis import stateful
from hypothesis import strategies
from two_nodes import World

from effort import examples
from failback.errors import FailbackError
from failback.errors import Refused
from failback.handover import phases
from failback.handover import takeover
from failback.network import address_holder
from failback.state import ledger


def test_a_proof_that_fails_does_not_end_with_two_holders(world):
    """The giver does not see the taker, so it will take the addresses back when its time comes."""
    world.hooks[("salt1", "taken")] = lambda: setattr(world, "cut", True)
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    world.deadline()
    assert world.serving() in ("salt1", "salt2")


def test_a_far_end_that_was_taken_over_by_its_own_watch_does_not_commit(world):
    """Somebody has ended the hold: the watch sees silence, and takes the addresses on the giver."""

    def final_sync(limit):
        with world.on("salt2") as member:
            takeover.take_over(member, "silence")
        assert world.serving() == "salt2"

    with pytest.raises(FailbackError):
        world.bring_home(final_sync)
    world.deadline()
    assert world.serving() == "salt2"
    assert world.ledgers()[1][1] == "salt2"


def test_nothing_is_released_when_the_timer_has_already_gone_off(world):
    """The taker was slow between arming and releasing: nobody would bring the service back."""
    world.far_end("arm", samples.RUN, 10.0)
    assert "Nothing to take back" in world.deadline()
    with pytest.raises(Refused):
        world.release()
    assert world.serving() == "salt2"


@pytest.mark.parametrize("wait", [0.0, 1.0, 1.9, 2.0, 2.1, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("asked_at", [0.0, 3.0, 5.0, 5.9, 6.0, 6.1, 7.0, 8.0, 8.5, 9.0, 9.5, 9.9])
def test_the_turns_of_the_two_never_overlap(world, asked_at, wait):
    """Whenever the commit is asked for, and however late the taker acts upon the answer."""
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    started = world.now
    world.now = started + asked_at
    try:
        world.far_end("commit", samples.RUN)
    except Refused:
        assert asked_at > 10.0 - phases.COMMIT_MARGIN
        wait = float("inf")
    if asked_at + wait >= 10.0:
        world.deadline()
        assert world.serving() == "salt2"
    if wait <= phases.TAKE_WITHIN:
        with world.on("salt1"), address_holder.Holder(world.wanted) as holder:
            holder.take(check=False)
        assert world.serving() == "salt1"
    world.deadline()
    assert world.serving() in ("salt1", "salt2")


class TwoHolders(stateful.RuleBasedStateMachine):
    """
    Both ends in steps of any order and at any time: never do both hold the addresses.

    The taker behaves as ``bring_home`` does: it takes the addresses within ``TAKE_WITHIN``
    of asking for the commit, if that was answered, and gives them back if anything after it fails.
    """

    def __init__(self):
        super().__init__()
        import pathlib
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.patch = MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here loses its cache
        self.world = World(pathlib.Path(self.folder.name), self.patch)
        self.asked = None
        self.committed = None

    def teardown(self):
        self.patch.undo()
        self.folder.cleanup()

    def far(self, verb, *arguments):
        try:
            return self.world.far_end(verb, *arguments)
        except FailbackError:
            return None

    @stateful.initialize(seconds=strategies.sampled_from([0.0, 3.0, 5.5, 8.5]))
    def armed_and_released(self, seconds):
        self.world.far_end("arm", samples.RUN, 10.0)
        self.world.release()
        self.world.now += seconds

    @stateful.rule(seconds=strategies.sampled_from([0.3, 1.9, 2.1, 4.1]))
    def time_passes(self, seconds):
        end = self.world.now + seconds
        if self.world.timer and self.world.timer[0] <= end:
            self.world.deadline()
        self.world.now = max(self.world.now, end)

    @stateful.precondition(lambda self: self.asked is None and self.world.power["salt1"])
    @stateful.rule(answered=strategies.sampled_from([True, True, True, False]))
    def ask_for_the_commit(self, answered):
        self.asked = self.world.now
        found = self.far("commit", samples.RUN)
        self.committed = found["generation"] if found and answered else None

    @stateful.precondition(lambda self: self.committed and self.world.power["salt1"])
    @stateful.rule()
    def the_near_end_goes_on(self):
        world, generation, self_asked = self.world, self.committed, self.asked
        self.committed = None
        with world.on("salt1") as member, address_holder.Holder(world.wanted) as holder:
            try:
                member.ledger.write(ledger.Entry(generation, "salt1", samples.RUN, "test"))
            except FailbackError:
                return
            if world.now - self_asked <= phases.TAKE_WITHIN:
                holder.take(check=False)

    @stateful.precondition(lambda self: self.committed is None)
    @stateful.rule()
    def abort(self):
        """The taker asks for it, or its connection ends: either way it takes nothing any more."""
        self.far("take_back", samples.RUN)

    @stateful.precondition(lambda self: self.world.serving() == "salt1")
    @stateful.rule()
    def disarm(self):
        self.far("disarm", samples.RUN)

    @stateful.precondition(lambda self: self.world.power["salt1"])
    @stateful.rule()
    def the_near_end_loses_power(self):
        self.world.lose_power("salt1")
        self.committed = None

    @stateful.invariant()
    def nobody_holds_twice(self):
        assert self.world.serving() in ("salt1", "salt2", "nobody")

    @stateful.invariant()
    def a_serving_near_end_is_what_both_ledgers_say(self):
        if self.world.serving() == "salt1":
            mine, theirs = self.world.ledgers()
            assert mine == theirs and mine[1] == "salt1"

    @stateful.invariant()
    def as_long_as_nobody_serves_somebody_is_going_to(self):
        """Or the taker had them last, and the watch of the giver is there for that."""
        if self.world.serving() == "nobody":
            # After "done" the taker has served, and lost power: that is the watch's concern.
            assert self.world.timer is not None or self.world.phase() == "done"


TestTwoHolders = TwoHolders.TestCase
TestTwoHolders.settings = settings(max_examples=examples(300), stateful_step_count=8, database=None)
