"""What is left when a handover did not end as it should, and how the next one finds it."""

import os

import pytest
import samples
from handover_cases import GATEWAY
from handover_cases import WORK
from handover_cases import serve
from handover_cases import silent
from two_nodes import Killed
from two_nodes import World

from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.handover import takeover
from failback.handover import taker
from failback.handover import way_back
from failback.host import files
from failback.host import system
from failback.network import neighbours
from failback.state import ledger


def test_a_takeover_ends_what_writes_here_between_its_ledger_and_its_addresses(world, monkeypatch):
    """Before the ledger another one could begin; behind the addresses it would write into what is served."""
    world.bring_home()
    world.lose_power("salt1")
    with world.on("salt2") as member:
        member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
    seen = []
    monkeypatch.setattr(
        takeover.incoming, "stop", lambda *_: seen.append((world.ledgers()[1], world.serving())) or []
    )
    silent(world, "salt2")
    # And once more when it serves, to wait until they are gone.
    assert seen == [((6, "salt2"), "nobody"), ((6, "salt2"), "salt2")]
    assert world.serving() == "salt2"


@pytest.mark.parametrize("changes", [{}, {"replicate": []}])
def test_a_near_end_that_gave_up_takes_nothing_over_later(tmp_path, monkeypatch, changes):
    """Hours later the giver dies. What the taker has is as old as the handover that failed."""
    world = World(tmp_path, monkeypatch, **changes)

    def fail():
        raise Unavailable("The kernel says no.")

    world.hooks[("salt1", "take")] = fail
    with pytest.raises(Unavailable, match="salt2 serves again"):
        world.bring_home()
    assert world.ledgers() == [(5, "salt1"), (6, "salt2")]
    assert world.detached == [("salt2", ["ask-to-yield", "salt"])]
    world.lose_power("salt2")
    with pytest.raises(Refused, match="has not been admitted"):
        silent(world, "salt1")
    with world.on("salt1") as member:
        assert member.ledger.read()["unsaved"] is True


def test_a_near_end_that_was_killed_is_told_who_serves(world, monkeypatch):
    world.hooks[("salt1", "taken")] = lambda: (_ for _ in ()).throw(Killed())
    monkeypatch.setattr(taker.PeerConnection, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        world.bring_home()
    world.holders[GATEWAY].discard("salt1")
    world.deadline()
    assert world.serving() == "salt2"
    assert world.detached == [("salt2", ["ask-to-yield", "salt"])]
    with world.on("salt1") as member:
        told = takeover.yield_to(member, 6, "salt2")
    assert "stepped down" in told
    with pytest.raises(Refused):
        silent(world, "salt1")


def test_a_commit_that_nobody_could_look_after_in_time_is_left_alone(world):
    """Its cable was out for an hour: the other node may have served since, and died."""
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    world.now += 10 + phases.TAKEN_BACK_WITHIN + 1
    assert "could not look in time" in world.far_end("take_back", samples.RUN)
    assert (world.serving(), world.ledgers()[1], world.phase()) == ("nobody", (5, "salt1"), "done")


def test_addresses_that_were_never_given_away_come_back_however_late(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.now += 3600
    world.far_end("take_back", samples.RUN)
    assert world.serving() == "salt2"


def test_a_far_end_that_has_taken_the_addresses_back_proves_and_disarms_nothing(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    world.deadline()
    for verb in ("prove", "disarm"):
        with pytest.raises(Refused):
            world.far_end(verb, samples.RUN)
    assert (world.serving(), world.phase()) == ("salt2", "taken back")


def test_the_near_end_gives_up_when_the_far_end_serves_again_already(world):
    """It stood still for long in the very moment after it had looked at its clock."""
    world.hooks[("salt1", "taken")] = lambda: (world.holders[GATEWAY].discard("salt1"), world.deadline())
    with pytest.raises(Unavailable, match="salt1 stood still"):
        world.bring_home()
    assert world.serving() == "salt2"


def test_a_near_end_without_proof_says_that_it_serves(world, monkeypatch):
    real = taker.PeerConnection.ask

    def ask(far, do, *arguments, **request):
        if do == "prove":
            raise Unavailable("The connection has ended.")
        return real(far, do, *arguments, **request)

    monkeypatch.setattr(taker.PeerConnection, "ask", ask)
    with pytest.raises(Unavailable, match="salt1 has the addresses of salt, but salt2 proved nothing"):
        world.bring_home()
    assert "leaves the addresses alone" in world.deadline()
    assert world.serving() == "salt1"


def test_the_near_ends_own_watch_takes_nothing_while_the_last_changes_come_over(world):
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(4, "salt2", None, "admitted"))

    def final_sync(limit):
        with pytest.raises(Refused, match="A handover of salt is under way"):
            silent(world, "salt1")

    world.bring_home(final_sync)
    assert (world.serving(), world.ledgers()) == ("salt1", [(5, "salt1"), (5, "salt1")])


def test_a_near_end_that_took_over_meanwhile_does_not_lead(world):
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(4, "salt2", None, "admitted"))

    def expect():
        world.holders[GATEWAY].discard("salt2")
        silent(world, "salt1")
        world.holders[GATEWAY].add("salt2")

    world.hooks[("salt1", "expect")] = expect
    with pytest.raises(Refused, match="salt1 has taken salt over by itself"):
        world.bring_home()


def test_a_handover_is_armed_anew_only_before_its_timer_has_gone_off(working):
    """Else what was stopped would run again while the addresses are released."""
    working.far_end("arm", samples.RUN, 10.0)
    working.far_end("quiesce", samples.RUN)
    working.deadline()
    assert WORK in working.units["salt2"]
    with working.on("salt2") as member, pytest.raises(Refused, match="took too long"):
        way_back.arm(member, samples.RUN, 10.0, again=True)
    assert working.phase() == "done"


def test_what_could_not_be_started_again_is_tried_once_more(working, monkeypatch):
    """systemd was busy: its timer's unit, which failed, runs again a second later."""
    real = working.run

    def busy(argv, *rest, **options):
        if argv[:3] == ["systemctl", "start", "--no-block"]:
            raise Unavailable("Cannot start services again: it did not end within 10 s.")
        return real(argv, *rest, **options)

    for phase in ("armed", "released"):
        working.far_end("arm", samples.RUN, 10.0)
        working.far_end("quiesce", samples.RUN)
        if phase == "released":
            working.release()
        monkeypatch.setattr(system, "run", busy)
        with pytest.raises(Unavailable, match="start services again"):
            working.far_end("take_back", samples.RUN)
        monkeypatch.setattr(system, "run", real)
        working.far_end("take_back", samples.RUN)
        assert working.serving() == "salt2" and WORK in working.units["salt2"]


def test_one_dead_link_does_not_keep_the_other_addresses_from_coming_back(tmp_path, monkeypatch):
    world = two_addresses(tmp_path, monkeypatch)
    one, two = (each.address for each in world.wanted)
    world.unlinked["salt2"] = {two}
    monkeypatch.setattr(neighbours, "probe_all", linked_only(world))
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.deadline()
    assert world.holders == {one: {"salt2"}, two: {"salt2"}}


def test_a_dead_link_of_the_node_that_gives_the_pair_away_does_not_stop_it(tmp_path, monkeypatch):
    world = two_addresses(tmp_path, monkeypatch)
    world.unlinked["salt2"] = {world.wanted[1].address}
    monkeypatch.setattr(neighbours, "probe_all", linked_only(world))
    world.bring_home()
    assert (world.serving(), world.phase()) == ("salt1", "done")


def two_addresses(tmp_path, monkeypatch):
    entry = samples.pair()["floating_ips"][0]
    other = {**entry, "name": "second", "address": "10.0.1.5/24", "interface": "eth1", "label": None}
    return World(tmp_path, monkeypatch, floating_ips=[entry, other])


def linked_only(world):
    """Asking on an interface without a link is an error, as on a real host."""

    def probe_all(floatings, timeout=0.5, count=1):
        dead = [one.address for one in floatings if one.address in world.unlinked[world.node.name]]
        if dead:
            raise Unavailable(f"{dead} has no carrier")
        return world.probe_all(floatings, timeout, count)

    return probe_all


def test_the_margins_leave_room_between_the_two():
    """The taker's time ends before the giver's can begin, with a second for a busy host."""
    assert phases.TAKE_WITHIN + 1.0 <= phases.COMMIT_MARGIN


def test_the_far_end_of_a_handover_that_is_not_ours_is_refused(world):
    files.write_json(
        world.members["salt2"].lock.path,
        {**files.read_json(world.members["salt2"].lock.path, "a test"), "run": samples.OTHER_RUN},
    )
    answers = serve(world, {"do": "arm", "seconds": 10}, {"do": "release"})
    assert [one["ok"] for one in answers[1:]] == [False, False]
    assert world.serving() == "salt2"
    assert not os.path.exists(phases._state_file(world.members["salt2"]))
