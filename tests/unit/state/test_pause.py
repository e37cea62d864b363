"""The pause of the watch that expires by itself."""

import os

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import system
from failback.host.paths import Paths
from failback.state import lock
from failback.state import pause as pauses


@pytest.fixture
def node(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, pauses, system)


def pause(node, seconds, run=None):
    return pauses.set_hold("salt", node, seconds, "a test", run)


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_it_lasts_as_long_when_the_clock_is_set_meanwhile(node, clock, ahead):
    pause(node, 30)
    pause(node, 20, samples.RUN)
    clock.now += 10
    clock.set_ahead(ahead)
    assert pauses.read("salt", node)["until"] == clock.now + 20
    pause(node, 20, samples.RUN)  # a run renews its own, and writes the other one with it
    clock.now += 19.9
    assert pauses.read("salt", node)["run"] is None
    clock.now += 0.1
    assert pauses.read("salt", node) is None


def test_after_a_boot_only_the_wall_clock_is_left(node, clock, monkeypatch):
    pause(node, 30)
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    clock.set_ahead(29)
    assert pauses.read("salt", node)
    clock.set_ahead(1)
    assert pauses.read("salt", node) is None


def test_it_ends_by_itself(node, clock):
    assert pauses.read("salt", node) is None
    assert pause(node, 30)["until"] == clock.now + 30
    clock.now += 29.9
    assert pauses.read("salt", node)["reason"] == "a test"
    clock.now += 0.1
    assert pauses.read("salt", node) is None
    assert pauses.clear("salt", node) is False


@pytest.mark.parametrize(
    "seconds", [0, -1, pauses.LONGEST + 1, float("nan"), float("inf"), True, "30", None, [30]]
)
def test_it_lasts_a_second_to_a_day(node, seconds):
    with pytest.raises(Refused, match="must expire by itself"):
        pause(node, seconds)
    assert pauses.read("salt", node) is None


def test_it_can_last_a_day(node, clock):
    assert pause(node, pauses.LONGEST)["until"] == clock.now + 86400


def test_who_set_it_ends_it(node, clock):
    pause(node, 30)
    assert pauses.clear("salt", node) is True
    assert pauses.read("salt", node) is None


def test_a_run_ends_its_own_hold_alone(node, clock):
    pause(node, 600, samples.RUN)
    assert pauses.clear("salt", node, samples.OTHER_RUN) is False
    assert pauses.clear("salt", node, samples.RUN) is True
    pause(node, 600)
    assert pauses.clear("salt", node, samples.RUN) is False


def test_a_run_does_not_shorten_what_an_operator_asked_for(node, clock):
    pause(node, 6000)
    pause(node, 600, samples.RUN)
    assert pauses.read("salt", node)["until"] == clock.now + 6000
    pauses.clear("salt", node, samples.RUN)
    assert pauses.read("salt", node) is not None


def test_an_operators_hold_outlives_a_longer_one_of_a_run(node, clock):
    """The run's is longer while it runs; when it has ended, the operator's still counts."""
    pause(node, 600)
    pause(node, 6000, samples.RUN)
    pauses.clear("salt", node, samples.RUN)
    clock.now += 599
    assert pauses.read("salt", node) is not None
    clock.now += 1
    assert pauses.read("salt", node) is None


def test_an_operator_does_not_shorten_the_hold_of_a_run(node, clock):
    """In the middle of a handover the watch would take the addresses."""
    pause(node, 6000, samples.RUN)
    pause(node, 1)
    clock.now += 2
    assert pauses.read("salt", node) is not None


def test_a_run_renews_its_own(node, clock):
    pause(node, 600, samples.RUN)
    clock.now += 500
    pause(node, 600, samples.RUN)
    clock.now += 599
    assert pauses.read("salt", node)["run"] == samples.RUN


def test_one_that_cannot_be_read_says_so(node, clock):
    pause(node, 30)
    node.hold("salt").write_text("")
    with pytest.raises(Unreadable, match="hold of salt"):
        pauses.read("salt", node)


# --- the hold of a run that has died


RUN = "20261122T183000-recover-salt-0001"
OTHER = "20261122T183000-recover-salt-0002"


def locked(node, run, dead):
    """A lock of a process of this machine: of this test, or of an earlier boot."""
    owner = {"machine": system.machine_id() or "m", "boot_id": system.boot_id(), "pid": os.getpid()}
    owner["started"] = system.process_started(os.getpid()) + dead
    lock.acquire("salt", node, run, "recover", owner, 5000)


def later(node, seconds):
    """What is in force so many seconds after the watch has seen the hold first, and what it ended."""
    orphans = pauses.Orphans("salt", node)
    ended = [orphans.ended(pauses.read("salt", node), now) for now in (100.0, 100.0 + seconds)]
    return pauses.read("salt", node), ended


@pytest.mark.parametrize("lock_of", ["dead", "another", "none"])
def test_a_dead_run_s_hold_ends_when_its_handover_must_be_over(node, lock_of):
    pause(node, 5000, RUN)
    if lock_of != "none":
        locked(node, OTHER if lock_of == "another" else RUN, dead=lock_of == "dead")
    found, ended = later(node, pauses.OUTLIVES_ITS_RUN - 1)
    assert found and ended == [None, None]
    assert later(node, pauses.OUTLIVES_ITS_RUN) == (None, [None, RUN])


def test_a_living_run_s_hold_stays(node):
    pause(node, 5000, RUN)
    locked(node, RUN, dead=False)
    assert later(node, 4000)[0]["run"] == RUN


def test_an_operator_s_hold_outlives_any_run(node):
    pause(node, 5000)
    pause(node, 4000, RUN)
    assert later(node, 4000)[0]["run"] is None


def test_a_hold_whose_lock_cannot_be_read_stays(node):
    pause(node, 5000, RUN)
    node.lock("salt").write_text("{")
    assert later(node, 4000)[0]["run"] == RUN
