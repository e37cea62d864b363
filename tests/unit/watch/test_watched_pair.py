"""A watched pair: what it makes of the files of its node."""

import pytest
import samples

from failback.decisions import silence
from failback.errors import Unavailable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import ledger
from failback.state import pause as pauses
from failback.watch.pair import WatchedPair


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, pauses, system)


@pytest.fixture
def watched(member):
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    (cron,) = {one["watch"]["cron"] for one in member.config["floating_ips"]}
    found = WatchedPair.of(member, cron, system.boot_id())
    yield found
    found.close()


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_pause_lasts_what_it_was_given_when_the_clock_is_set_while_the_watch_runs(
    member, clock, watched, monkeypatch, ahead
):
    seen = []

    def decide(state, observation, settings):
        pause = observation.pause
        seen.append(bool(pause) and pause["until"] > observation.wall)
        return state, silence.NOTHING, ""

    monkeypatch.setattr(silence, "decide", decide)
    monkeypatch.setattr("failback.watch.pair.time.time", clock.time)
    member.pause.set(30, "a test")
    watched.judge()
    clock.set_ahead(ahead)
    clock.now += 29.9
    watched.judge()
    clock.now += 0.1
    watched.judge()
    assert seen == [True, True, False]


@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), Unavailable("the lock does not come free")], ids=str
)
def test_a_pause_that_cannot_be_ended_ends_no_watch(member, watched, monkeypatch, error):
    """All pairs of the node are in one loop."""
    said = []

    def refuse(*_):
        raise error

    monkeypatch.setattr(watched._orphans, "ended", refuse)
    monkeypatch.setattr(system, "log", lambda sentence, *_: said.append(sentence))
    member.pause.set(30, "a run")
    assert watched.judge()[0] == silence.NOTHING
    assert len(said) == 1 and "has died, and stays" in said[0] and str(error) in said[0]
    assert member.pause.read()
