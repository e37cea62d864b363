"""The pause of the watch that expires by itself."""

import os

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import pause as pauses


@pytest.fixture
def member(tmp_path):
    return Member("salt", Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, pauses, system)


def pause(member, seconds, run=None):
    return member.pause.set(seconds, "a test", run)


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_it_lasts_as_long_when_the_clock_is_set_meanwhile(member, clock, ahead):
    pause(member, 30)
    pause(member, 20, samples.RUN)
    clock.now += 10
    clock.set_ahead(ahead)
    assert member.pause.read()["until"] == clock.now + 20
    pause(member, 20, samples.RUN)  # a run renews its own, and writes the other one with it
    clock.now += 19.9
    assert member.pause.read()["run"] is None
    clock.now += 0.1
    assert member.pause.read() is None


def test_after_a_boot_only_the_wall_clock_is_left(member, clock, monkeypatch):
    pause(member, 30)
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    monkeypatch.setattr(system, "boottime", lambda: 5.0)
    clock.now += 29
    assert member.pause.read()
    clock.now += 1
    assert member.pause.read() is None


@pytest.mark.parametrize("ahead", [-900_000, -3600])
def test_after_a_boot_with_a_clock_that_is_behind_it_lasts_no_longer_than_it_was_given(
    member, clock, monkeypatch, ahead
):
    pause(member, 30)
    clock.set_ahead(ahead)
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    monkeypatch.setattr(system, "boottime", lambda: 10.0)
    assert member.pause.read()["until"] == clock.now + 20
    # A run that sets its own does not change what is known of the other one.
    pause(member, 5, samples.RUN)
    assert member.pause.read()["until"] == clock.now + 20
    monkeypatch.setattr(system, "boottime", lambda: 30.0)
    member.pause.clear(samples.RUN)
    assert member.pause.read() is None


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_who_keeps_what_was_written_judges_it_by_the_clock_of_the_moment(member, clock, ahead):
    pause(member, 30)
    written = member.pause.written()
    clock.set_ahead(ahead)
    clock.now += 29.9
    assert pauses.longest(written)["until"] > clock.now
    clock.now += 0.1
    assert pauses.longest(written)["until"] == clock.now


def test_one_that_a_release_without_clocks_wrote_is_read_as_it_is(member, clock):
    pause(member, 30)
    (one,) = member.pause.written()
    one.pop("set")
    files.write_json(member.pause.path, {"version": 1, "holds": [one]})
    clock.now += 29.9
    assert member.pause.read() == one
    clock.now += 0.1
    assert member.pause.read() is None


def test_it_ends_by_itself(member, clock):
    assert member.pause.read() is None
    assert pause(member, 30)["until"] == clock.now + 30
    clock.now += 29.9
    assert member.pause.read()["reason"] == "a test"
    clock.now += 0.1
    assert member.pause.read() is None
    assert member.pause.clear() is False


@pytest.mark.parametrize(
    "seconds", [0, -1, pauses.LONGEST + 1, float("nan"), float("inf"), True, "30", None, [30]]
)
def test_it_lasts_a_second_to_a_day(member, seconds):
    with pytest.raises(Refused, match="must expire by itself"):
        pause(member, seconds)
    assert member.pause.read() is None


def test_it_can_last_a_day(member, clock):
    assert pause(member, pauses.LONGEST)["until"] == clock.now + 86400


def test_who_set_it_ends_it(member, clock):
    pause(member, 30)
    assert member.pause.clear() is True
    assert member.pause.read() is None


def test_a_run_ends_its_own_hold_alone(member, clock):
    pause(member, 600, samples.RUN)
    assert member.pause.clear(samples.OTHER_RUN) is False
    assert member.pause.clear(samples.RUN) is True
    pause(member, 600)
    assert member.pause.clear(samples.RUN) is False


def test_a_run_does_not_shorten_what_an_operator_asked_for(member, clock):
    pause(member, 6000)
    pause(member, 600, samples.RUN)
    assert member.pause.read()["until"] == clock.now + 6000
    member.pause.clear(samples.RUN)
    assert member.pause.read() is not None


def test_an_operators_hold_outlives_a_longer_one_of_a_run(member, clock):
    """The run's is longer while it runs; when it has ended, the operator's still counts."""
    pause(member, 600)
    pause(member, 6000, samples.RUN)
    member.pause.clear(samples.RUN)
    clock.now += 599
    assert member.pause.read() is not None
    clock.now += 1
    assert member.pause.read() is None


def test_an_operator_does_not_shorten_the_hold_of_a_run(member, clock):
    """In the middle of a handover the watch would take the addresses."""
    pause(member, 6000, samples.RUN)
    pause(member, 1)
    clock.now += 2
    assert member.pause.read() is not None


def test_a_run_renews_its_own(member, clock):
    pause(member, 600, samples.RUN)
    clock.now += 500
    pause(member, 600, samples.RUN)
    clock.now += 599
    assert member.pause.read()["run"] == samples.RUN


def test_one_that_cannot_be_read_says_so(member, clock):
    pause(member, 30)
    member.pause.path.write_text("")
    with pytest.raises(Unreadable, match="pause of salt"):
        member.pause.read()


# --- the pause of a run that has died


RUN = "20261122T183000-recover-salt-0001"
OTHER = "20261122T183000-recover-salt-0002"


def locked(member, run, dead):
    """A lock of a process of this machine: of this test, or of an earlier boot."""
    owner = {"machine": system.machine_id() or "m", "boot_id": system.boot_id(), "pid": os.getpid()}
    owner["started"] = system.process_started(os.getpid()) + dead
    member.lock.acquire(run, "recover", owner, 5000)


def later(member, seconds):
    """What is in force so many seconds after the watch has seen the pause first, and what it ended."""
    orphans = pauses.Orphans(member)
    ended = [orphans.ended(member.pause.read(), now) for now in (100.0, 100.0 + seconds)]
    return member.pause.read(), ended


@pytest.mark.parametrize("lock_of", ["dead", "another", "none"])
def test_a_dead_run_s_hold_ends_when_its_handover_must_be_over(member, lock_of):
    pause(member, 5000, RUN)
    if lock_of != "none":
        locked(member, OTHER if lock_of == "another" else RUN, dead=lock_of == "dead")
    found, ended = later(member, pauses.OUTLIVES_ITS_RUN - 1)
    assert found and ended == [None, None]
    assert later(member, pauses.OUTLIVES_ITS_RUN) == (None, [None, RUN])


def test_a_living_run_s_hold_stays(member):
    pause(member, 5000, RUN)
    locked(member, RUN, dead=False)
    assert later(member, 4000)[0]["run"] == RUN


def test_an_operator_s_hold_outlives_any_run(member):
    pause(member, 5000)
    pause(member, 4000, RUN)
    assert later(member, 4000)[0]["run"] is None


def test_a_hold_whose_lock_cannot_be_read_stays(member):
    pause(member, 5000, RUN)
    member.lock.path.write_text("{")
    assert later(member, 4000)[0]["run"] == RUN


@pytest.mark.parametrize(
    "content",
    [
        "torn",
        '{"version": 99, "holds": []}',
        '{"version": 1}',
        '{"version": 1, "holds": {}}',
        '{"version": 1, "holds": [7]}',
        '{"version": 1, "holds": [{"until": "tomorrow"}]}',
    ],
)
def test_a_damaged_pause_holds_until_somebody_sets_another(member, clock, content):
    pause(member, 30)
    member.pause.path.write_text(content)
    for read in (member.pause.read, member.pause.last, member.pause.written, member.pause.clear):
        with pytest.raises(Unreadable, match="the pause of salt"):
            read()
    assert pause(member, 20, samples.RUN)["until"] == clock.now + 20
    assert member.pause.read()["run"] == samples.RUN


def test_one_of_an_earlier_boot_whose_clock_is_not_known_is_read_as_it_is(member, clock, monkeypatch):
    pause(member, 30)
    found = files.read_json(member.pause.path, "the pause")
    for one in found["holds"]:
        one["set"]["wall"] = "noon"
    files.write_json(member.pause.path, found)
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    assert member.pause.read()["until"] == clock.now + 30
    for one in found["holds"]:
        one["set"] = "noon"
    files.write_json(member.pause.path, found)
    assert member.pause.read()["until"] == clock.now + 30
