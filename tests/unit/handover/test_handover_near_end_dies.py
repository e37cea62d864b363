"""
The taker of a handover dies, at every moment.

What is asked after each: who serves, in which generation, and do the two ledgers tell the same story.
"""

import pytest
from handover_cases import MOMENTS
from handover_cases import SALT1
from handover_cases import SALT2_AS_BEFORE
from handover_cases import die_at
from handover_cases import judged
from handover_cases import kill
from two_nodes import Killed

from failback.decisions import verdict
from failback.handover import taker


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_near_ends_process_is_killed(world, monkeypatch, moment, killed, unplugged):
    """Its connection ends at once; the addresses that it has taken stay on its interface."""
    final_sync = die_at(world, monkeypatch, moment, kill)
    with pytest.raises(Killed):
        world.bring_home(final_sync)
    if killed is SALT2_AS_BEFORE:
        world.run_for(1)
        assert world.serving() == "salt2", "not at once, but only at the deadline"
    world.deadline()
    assert (world.serving(), world.ledgers()) == killed
    assert judged(world).name == (verdict.STANDBY_RETURNED if killed is SALT1 else verdict.FAILED_OVER)


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_near_end_loses_power(world, monkeypatch, moment, killed, unplugged):
    """Its connection does not end: nobody is there to say so. The timer alone brings the service back."""

    def die():
        world.lose_power("salt1")
        raise Killed

    final_sync = die_at(world, monkeypatch, moment, die)
    monkeypatch.setattr(taker.PeerConnection, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        world.bring_home(final_sync)
    world.deadline()
    assert (world.serving(), world.ledgers()) == unplugged
    # Minutes later TCP gives up, and the giver's process learns of it. That changes nothing any more.
    world.far.tcp_gives_up()
    world.far.wait(10)
    assert (world.serving(), world.ledgers()) == unplugged
    assert judged(world).name == verdict.FAILED_OVER
