"""Two of one handover: two minions with one id run on the taker, or a copy of its machine runs beside it."""

import os

import pytest
import samples
from handover_cases import WORK
from simulation.remote import Connection

from failback.errors import Refused
from failback.handover import alone


def test_the_second_on_the_taker_is_refused_by_name_and_the_first_ends_well(working):
    refused = []

    def meanwhile(limit):
        with pytest.raises(Refused) as found:
            working.bring_home()
        refused.append(found.value)

    done = working.bring_home(meanwhile)
    said = str(refused[0])
    assert f"run {samples.RUN}, process {os.getpid()}, begun 20" in said and " s ago" in said
    assert "two salt-minions have the id salt1" in said and "pgrep -af salt-minion" in said
    assert done["generation"] == 5 and working.serving() == "salt1"
    assert working.units["salt2"] == {"sshd.service"} and done["stopped"] == [WORK]


def test_the_second_at_the_giver_is_refused_and_its_end_undoes_nothing(working):
    """A copy of the taker's machine has a lock of its own; both come to the same giver."""
    seconds = []

    def meanwhile(limit):
        seconds.append(Connection(working, samples.RUN))
        seconds[0].stdin.close()
        seconds[0].wait(20)

    done = working.bring_home(meanwhile)
    assert isinstance(seconds[0].process.error, Refused)
    assert f"run {samples.RUN}, process {os.getpid()}" in str(seconds[0].process.error)
    assert "two salt-minions have the id salt1" in str(seconds[0].process.error)
    assert seconds[0].stdout.take() == b""
    assert done["generation"] == 5 and working.serving() == "salt1"
    assert working.units["salt2"] == {"sshd.service"}


def test_what_a_dead_taker_has_left_at_the_giver_is_in_nobody_s_way(world):
    with world.on("salt2") as member, alone.only_one(member, samples.OTHER_RUN, "giver"):
        assert world.bring_home()["generation"] == 5


def test_the_next_one_may_begin_when_the_first_has_ended_however_it_did(world):
    with world.on("salt1") as member:
        with pytest.raises(ZeroDivisionError), alone.only_one(member, samples.OTHER_RUN, "taker"):
            raise ZeroDivisionError
        assert (member.volatile / ".handover-taker.flock").read_bytes() == b""
    assert world.bring_home()["generation"] == 5


def test_one_that_has_not_said_who_it_is_is_in_the_way_all_the_same(world, monkeypatch):
    monkeypatch.setattr(alone, "SAYS_WITHIN", 0.05)
    with world.on("salt1") as member:
        with alone.only_one(member, samples.OTHER_RUN, "taker"):
            (member.volatile / ".handover-taker.flock").write_bytes(b"")
            with pytest.raises(Refused, match="at work on salt1 already: it has just begun"):
                world.bring_home()
        assert world.serving() == "salt2"
