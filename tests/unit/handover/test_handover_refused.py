"""What refuses a handover before anything is released."""

import pytest
import samples

from failback.errors import FailbackError
from failback.errors import Refused
from failback.state import ledger


def assert_untouched(world):
    assert (world.serving(), world.ledgers()[1]) == ("salt2", (4, "salt2"))
    assert world.phase() in (None, "done") and world.timer is None


def test_a_run_without_the_lock_is_refused(world):
    with world.on("salt1") as member:
        member.lock.release(samples.RUN)
    with pytest.raises(Refused, match="no run owns it"):
        world.bring_home()
    assert_untouched(world)


def test_a_run_that_lost_the_far_ends_lock_is_refused(world):
    with world.on("salt2") as member:
        member.lock.release(samples.RUN)
    with pytest.raises(Refused, match="salt2.*no run owns it"):
        world.bring_home()
    assert_untouched(world)


@pytest.mark.parametrize("why", ["it names the other node", "it has rebooted since"])
def test_a_far_end_that_does_not_serve_is_refused(world, why):
    if why == "it has rebooted since":
        world.boots["salt2"] += 1
    else:
        with world.on("salt2") as member:
            member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
    with pytest.raises(Refused, match="does not serve salt"):
        world.bring_home()
    assert world.phase() is None and world.serving() == "salt2"


@pytest.mark.parametrize("first", ["the stranger", "the giver"])
def test_a_third_host_with_the_address_is_found_first(world, first):
    """Whoever of the two answers first: one answer is not enough to know that nobody else has it."""
    world.strangers = ["02:00:00:00:00:99"]
    if first == "the stranger":
        world.cut = True
    with pytest.raises(Refused, match="02:00:00:00:00:99.*Nothing was changed"):
        world.bring_home()
    assert_untouched(world)


@pytest.mark.parametrize("what", ["newer than the giver's", "torn"])
def test_a_near_end_whose_own_ledger_is_unfit_refuses_before_the_release(world, what):
    """It could not write the new generation down: that must not be found out when nobody serves."""
    if what == "torn":
        world.members["salt1"].ledger.path.write_text("{")
    else:
        with world.on("salt1") as member:
            member.ledger.write(ledger.Entry(9, "salt1", None, "a test"))
    with pytest.raises(FailbackError):
        world.bring_home()
    assert world.serving() == "salt2"
    assert world.members["salt2"].ledger.read()["generation"] == 4
    assert world.phase() in (None, "done")
