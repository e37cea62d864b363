"""An operator's pause is told when it begins and when it ends, once each."""

import pytest
import samples

from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import pause as pauses
from failback.watch import telling


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    clock = samples.Clock(monkeypatch, pauses, system)
    samples.in_place_of_time(monkeypatch, telling, time=clock.time)
    return clock


@pytest.fixture
def told(monkeypatch):
    found = []
    monkeypatch.setattr(telling.tell, "tell", lambda member, kind, said, **more: found.append((kind, said)))
    return found


def look(member, watch):
    watch.look(member.pause.written())


def test_a_pause_that_ends_by_itself_is_told_twice(member, clock, told):
    watch = telling.Pauses(member)
    look(member, watch)
    assert told == []
    member.pause.set(30, "switch maintenance", user="ana")
    look(member, watch)
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun"]
    assert "by ana: switch maintenance" in told[0][1]
    clock.now += 31
    look(member, watch)
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun", "pause-ended"]


def test_one_that_is_ended_by_hand_and_one_that_is_prolonged(member, clock, told):
    watch = telling.Pauses(member)
    member.pause.set(30, "first")
    look(member, watch)
    clock.now += 1
    member.pause.set(3000, "longer")
    look(member, watch)
    member.pause.clear()
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun", "pause-begun", "pause-ended"]


def test_the_pause_of_a_run_is_not_told_and_hides_no_other(member, clock, told):
    watch = telling.Pauses(member)
    member.pause.set(600, "run", run=samples.RUN)
    look(member, watch)
    assert told == []
    member.pause.set(30, "by hand")
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun"]
    clock.now += 60
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun", "pause-ended"]


def test_a_watch_that_starts_anew_goes_on_where_the_one_before_ended(member, clock, told):
    member.pause.set(30, "by hand")
    look(member, telling.Pauses(member))
    look(member, telling.Pauses(member))
    clock.now += 60
    look(member, telling.Pauses(member))
    look(member, telling.Pauses(member))
    assert [kind for kind, _ in told] == ["pause-begun", "pause-ended"]


def test_what_is_told_says_until_when_by_whom_and_why(member, clock, monkeypatch):
    told = []
    monkeypatch.setattr(telling.tell, "tell", lambda member, kind, said, **more: told.append((said, more)))
    watch = telling.Pauses(member)
    member.pause.set(30, "switch maintenance")
    look(member, watch)
    member.pause.set(60, "longer", user="ana")
    look(member, watch)
    (first, more), (second, _) = told
    assert "is paused until 1970-01-12T13:47:10Z: switch maintenance. It takes nothing" in first
    assert more == {"reason": "switch maintenance", "user": None, "until": 1_000_030.0}
    assert "until 1970-01-12T13:47:40Z by ana: longer." in second
    clock.now = 1_000_060.0
    look(member, watch)
    assert "salt on salt2 is over: it takes over again if it has to" in told[2][0] and told[2][1] == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_what_was_told_and_cannot_be_read_is_told_once_more(member, clock, told, content):
    member.pause.set(30, "by hand")
    look(member, telling.Pauses(member))
    place = member.volatile / "paused.json"
    place.write_text(content)
    look(member, telling.Pauses(member))
    assert [kind for kind, _ in told] == ["pause-begun", "pause-begun"]


def test_a_run_that_is_full_ends_no_watch(member, clock, told, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    member.pause.set(30, "by hand")
    watch = telling.Pauses(member)
    with monkeypatch.context() as patch:
        patch.setattr(telling.files, "write_json", full)
        look(member, watch)
        look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun"], "this watch knows that it has told"
    clock.now += 60
    look(member, watch)
    assert [kind for kind, _ in told] == ["pause-begun", "pause-ended"]


def test_a_run_that_has_died_is_told_with_what_to_do(member, monkeypatch):
    told = []
    monkeypatch.setattr(telling.tell, "tell", lambda *words, **more: told.append((*words[1:], more)))
    telling.run_died(member, samples.RUN)
    ((kind, said, more),) = told
    assert (kind, more) == ("run-failed", {"run": samples.RUN})
    assert samples.RUN in said and "salt-run pair.status salt" in said
