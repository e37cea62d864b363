"""Checks in a change of hands that nothing but a rare moment needs: each is made to matter once."""

import pytest
import samples

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.handover import takeover
from failback.host import system
from failback.peer import ssh
from failback.replication import incoming
from failback.state import ledger


def test_an_rsync_of_the_giver_that_still_writes_is_ended_before_the_final_sync(world, monkeypatch):
    done = []
    monkeypatch.setattr(incoming, "end", lambda member: done.append((member.node, world.serving())))
    world.bring_home(lambda limit: done.append("final sync"))
    assert done == [("salt1", "salt2"), "final sync"]


@pytest.mark.parametrize("late", [0.0, 0.2])
def test_a_taker_that_stands_still_while_it_takes_does_not_stay(world, late):
    """The clock has jumped behind its last check: the giver may have taken the addresses back."""

    def stands_still():
        world.now += phases.COMMIT_MARGIN - 0.1 + late

    world.hooks[("salt1", "taken")] = stands_still
    if not late:
        world.bring_home()
        assert world.serving() == "salt1"
        return
    with pytest.raises(Unavailable, match="stood still while it took"):
        world.bring_home()
    assert "salt1" not in world.serving()
    assert world.members["salt1"].ledger.read()["unsaved"] is True


def test_a_node_that_another_run_has_released_takes_nothing(world):
    """What another run has begun here ends by itself first: two handovers could cross."""
    deadline = 5000.0
    with world.on("salt1") as member:
        phases.write_state(member, run=samples.OTHER_RUN, phase=phases.RELEASED, deadline=deadline)
    with pytest.raises(Refused, match=f"The handover of run {samples.OTHER_RUN} has released"):
        world.bring_home()
    assert (world.serving(), world.ledgers()[1]) == ("salt2", (4, "salt2"))
    with world.on("salt1") as member:
        assert phases.read_state(member)["run"] == samples.OTHER_RUN


@pytest.mark.parametrize(
    ("phase", "run", "since_the_deadline", "refused"),
    [
        (phases.RELEASED, "another", -1.0, True),
        (phases.RELEASED, "another", phases.TAKEN_BACK_WITHIN - 1, True),
        (phases.RELEASED, "another", phases.TAKEN_BACK_WITHIN + 1, False),
        (phases.RELEASED, samples.RUN, -1.0, False),
        (phases.ARMED, "another", -1.0, False),
        (phases.TAKEN_BACK, "another", -1.0, False),
    ],
)
def test_which_handover_of_another_run_is_waited_for(monkeypatch, phase, run, since_the_deadline, refused):
    monkeypatch.setattr(system, "boottime", lambda: 100.0)
    before = {"phase": phase, "run": run, "deadline": 100.0 - since_the_deadline}
    if refused:
        left = max(0.0, -since_the_deadline) + phases.TAKEN_BACK_WITHIN
        with pytest.raises(Refused, match=f"within {left:.0f} s"):
            phases.require_no_other(samples.pair(), samples.RUN, before)
    else:
        phases.require_no_other(samples.pair(), samples.RUN, before)
    phases.require_no_other(samples.pair(), samples.RUN, {})


@pytest.mark.parametrize(
    ("phase", "under_way", "unsettled"),
    [
        (phases.ARMED, False, True),
        (phases.RELEASED, True, True),
        (phases.COMMITTED, True, True),
        (phases.TAKING, True, True),
        (phases.DONE, False, False),
        (phases.TAKEN_BACK, False, False),
        (None, False, False),
    ],
)
def test_in_which_phase_a_handover_decides(phase, under_way, unsettled):
    state = {"phase": phase, "deadline": 10.0}
    for now in (0.0, 10.0 + phases.COMMIT_MARGIN - 0.1):
        assert phases.under_way(state, now) is under_way
        assert phases.unsettled(state, now) is unsettled
    for now in (10.0 + phases.COMMIT_MARGIN, 1000.0):
        assert not phases.under_way(state, now) and not phases.unsettled(state, now)


@pytest.mark.parametrize("unsaved", [True, False])
def test_what_is_in_no_backup_stays_so_at_the_next_step_down(world, unsaved):
    """It stood by meanwhile, in generations that others made: what it had alone is still there alone."""
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(5, "salt2", None, "stepped down", admitted=False, unsaved=unsaved))
        takeover.yield_to(member, 6, "salt2")
        assert bool(member.ledger.read().get("unsaved")) is unsaved


def test_a_ledger_is_written_before_what_it_speaks_of_is_gone(world, monkeypatch):
    """A node that steps down releases first, and writes before it stops what may hang."""
    order = []
    monkeypatch.setattr(
        takeover.services, "stop_active", lambda config: order.append(world.ledgers()[1]) or []
    )
    real = ledger.Ledger.write

    def write(self, entry, prepared=None):
        order.append(world.serving())
        return real(self, entry, prepared)

    monkeypatch.setattr(ledger.Ledger, "write", write)
    with world.on("salt2") as member:
        takeover.yield_to(member, 6, "salt1")
    assert order == ["nobody", (6, "salt1")]


def test_a_takeover_that_stood_still_before_the_address_takes_nothing(world, monkeypatch):
    """Between its ledger and its addresses so much time may pass as in a handover, and no more."""
    world.lose_power("salt2")
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
        real = takeover.claims.about_to_take

        def stands_still(member, claim):
            real(member, claim)
            world.now += phases.TAKE_WITHIN + 0.1

        monkeypatch.setattr(takeover.claims, "about_to_take", stands_still)
        with pytest.raises(Unavailable, match="stood still before it could take"):
            takeover.take_over(member, "silence")
        assert member.ledger.read()["withdrawn"] is True
    assert world.serving() == "nobody"


@pytest.mark.parametrize("by", ["the watch", "a run"])
def test_a_watch_that_is_paused_in_its_takeover_takes_nothing(world, monkeypatch, by):
    world.lose_power("salt2")
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
        real = takeover.claims.note_what_came

        def paused(member, claim):
            real(member, claim)
            member.pause.set(60, "work")

        monkeypatch.setattr(takeover.claims, "note_what_came", paused)
        if by == "a run":
            assert takeover.take_over(member, "by word", samples.RUN)["addresses"]
            return
        with pytest.raises(Refused, match="paused meanwhile"):
            takeover.take_over(member, "silence")
    assert world.serving() == "nobody"


def test_a_ledger_that_changes_in_a_takeover_stops_it(world, monkeypatch):
    world.lose_power("salt2")
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
        real = takeover.claims.about_to_take

        def changed(member, claim):
            real(member, claim)
            member.ledger.write(ledger.Entry(9, "salt2", None, "somebody else", admitted=False))

        monkeypatch.setattr(takeover.claims, "about_to_take", changed)
        with pytest.raises(Refused, match="ledger of salt has changed meanwhile"):
            takeover.take_over(member, "silence")
        # Somebody else's entry is not given up in its place.
        assert member.ledger.read()["why"] == "somebody else"
    assert world.serving() == "nobody"


def test_where_nobody_can_be_asked_to_step_down_the_takeover_stands(world, monkeypatch):
    def nobody(*_, **__):
        raise Unavailable("no route")

    monkeypatch.setattr(ssh, "ask", nobody)
    with world.on("salt2") as member:
        assert "was not told to step down: no route" in takeover.ask_to_yield(member)
        assert issubclass(Unavailable, FailbackError)
        assert member.ledger.read()["generation"] == 4
