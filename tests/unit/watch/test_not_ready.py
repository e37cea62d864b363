"""The lookout tells of a node that is not ready, over its own restarts, and not of what a run has stopped."""

import pytest
import samples

from failback.decisions.readiness import STANDS_BY
from failback.decisions.readiness import Finding
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import lock
from failback.watch import not_ready

FULL = Finding("salt2", "room", "/srv/salt has 0 MiB left on salt2.", stops=True)


@pytest.fixture
def member(tmp_path):
    config = samples.pair("salt2", notify={"not_ready_after": 300})
    found = Member.of(config, Paths(tmp_path))
    files.make_folder(found.volatile)
    return found


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, lock, system)


@pytest.fixture
def told(monkeypatch):
    found = []
    monkeypatch.setattr(not_ready.tell, "tell", lambda *words, **more: found.append((*words[1:], more)))
    return found


def test_it_is_told_once_and_once_when_it_is_over_whoever_looks(member, clock, told):
    for _ in range(40):
        spell = not_ready.NotReady(member).look(STANDS_BY, (FULL,))
        clock.now += 10
    assert told == [
        (
            "not-ready",
            "salt2, which stands by in salt, has not been ready for 5 minutes: /srv/salt has 0 MiB left on "
            "salt2.",
            {"about": ["room"]},
        )
    ]
    assert spell["told"] and spell["about"] == ["room"]
    for _ in range(20):
        spell = not_ready.NotReady(member).look(STANDS_BY, ())
        clock.now += 10
    assert [kind for kind, *_ in told] == ["not-ready", "ready-again"]
    assert spell is None


def test_one_look_that_finds_something_is_told_nobody(member, clock, told):
    one = not_ready.NotReady(member)
    for findings in ((FULL,), (), (), (), (), (), (), (), ()):
        one.look(STANDS_BY, findings)
        clock.now += 10
    for _ in range(29):
        one.look(STANDS_BY, (FULL,))
        clock.now += 10
    assert told == []


def test_what_is_kept_of_another_boot_counts_no_more(member, clock, told, monkeypatch):
    not_ready.NotReady(member).look(STANDS_BY, (FULL,))
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    clock.now += 400
    not_ready.NotReady(member).look(STANDS_BY, (FULL,))
    assert told == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', '{"boot_id": 7, "what": 1}'])
def test_a_damaged_file_is_forgotten(member, clock, told, content):
    (member.volatile / "unready.json").write_text(content)
    assert not_ready.NotReady(member).look(STANDS_BY, (FULL,))["told"] is False


def test_a_full_run_and_a_lock_that_cannot_be_read_end_no_look(member, clock, told, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    member.lock.path.parent.mkdir(parents=True)
    member.lock.path.write_text("{")
    one = not_ready.NotReady(member)
    one.look(STANDS_BY, (FULL,))
    clock.now += 300
    one.look(STANDS_BY, (FULL,))
    clock.now += 300
    one.look(STANDS_BY, (FULL,))
    assert [kind for kind, *_ in told] == ["not-ready"]


def test_what_a_run_has_stopped_is_told_nobody(member, clock, told):
    member.lock.acquire(samples.RUN, "recover", None, 3600)
    one = not_ready.NotReady(member)
    for _ in range(40):
        assert one.look(STANDS_BY, (FULL,)) is None
        clock.now += 10
    assert told == []


def test_the_file_of_a_spell_that_is_over_is_gone(member, clock, told):
    one = not_ready.NotReady(member)
    assert one.look(STANDS_BY, ()) is None
    assert not (member.volatile / "unready.json").exists()
    one.look(STANDS_BY, (FULL,))
    assert (member.volatile / "unready.json").exists()
    for _ in range(20):
        clock.now += 10
        one.look(STANDS_BY, ())
    assert not (member.volatile / "unready.json").exists()
