"""When all had been carried last: proved beside lsyncd without waiting, and known on the standby."""

import json
import os
import subprocess
import time

import pytest
import samples

from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import in_step
from failback.replication import lsyncd_config
from failback.replication import lsyncd_status
from failback.state import ledger


class Clock:
    """The real clocks; what is added to ``later`` has passed as well."""

    def __init__(self, monkeypatch):
        self.later, self.set_ahead = 0.0, 0.0
        boottime = system.boottime
        samples.in_place_of_time(
            monkeypatch,
            in_step,
            time=lambda: time.time() + self.later + self.set_ahead,
            monotonic=lambda: time.monotonic() + self.later,
        )
        samples.in_place_of_time(monkeypatch, system, time=lambda: time.time() + self.later + self.set_ahead)
        monkeypatch.setattr(system, "boottime", lambda: boottime() + self.later)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Lsyncd:
    """What lsyncd writes, and a process that systemd says is lsyncd."""

    def __init__(self, member, process):
        self.member, self.process = member, process
        self.place = lsyncd_config.places(member)
        self.place.marker.mkdir(parents=True)
        self.written = time.time_ns()
        self.prover = in_step.Prover(member)
        self.unit = {"ActiveState": "active", "MainPID": str(process.pid)}

    def look(self):
        return self.prover.look(self.unit)

    def markers(self):
        return sorted(one.name for one in self.place.marker.iterdir() if one.name != in_step.NAME)

    def notes(self):
        """It has read of the name, and notes it."""
        self._write(self.place.seen, self.markers()[0])

    def carries(self, *names):
        self.place.carried.write_text("".join(f"{name}\n" for name in names or self.markers()))

    def waits(self, *paths):
        """It writes its status."""
        text = f"Lsyncd status report at now\n\nSync1 source=/srv/salt/\nThere are {len(paths)} delays\n"
        text += "".join(f"wait   Modify {path}\n" for path in paths) + "Filtering:\n  nothing.\n\n\n"
        text += f"Sync2 source={self.place.marker}/\nThere are 0 delays\nFiltering:\n  nothing.\n\n\n"
        self._write(self.place.status, f"{text}Inotify watching 1 directories\n  1: /srv/salt/\n")

    def _write(self, place, text):
        # One thing after the other, however coarse the clock of the file system is.
        self.written += 1_000_000
        place.write_text(text)
        os.utime(place, ns=(self.written, self.written))

    def told(self):
        """What goes to the standby."""
        return json.loads((self.place.marker / in_step.NAME).read_text())


@pytest.fixture
def lsyncd(tmp_path, clock):
    with subprocess.Popen(["sleep", "60"]) as process:
        yield Lsyncd(Member.of(samples.pair("salt1"), Paths(tmp_path)), process)
        process.kill()


def test_all_is_carried_when_lsyncd_has_carried_what_waited_when_it_saw_the_name(lsyncd, clock):
    before = time.time()
    assert lsyncd.look() is False and len(lsyncd.markers()) == 1
    clock.later += 2
    assert lsyncd.look() is False, "it has not noted the name"
    lsyncd.carries("look-of-an-earlier-one")
    lsyncd.notes()
    assert lsyncd.look() is False
    lsyncd.carries()
    assert lsyncd.look() is True
    # The moment before which all was written, and not that of the proof.
    assert before <= lsyncd.prover.proved.at <= before + 1.9
    assert 2 <= lsyncd.prover.proved.age < 3 <= lsyncd.prover.proved.age + 1
    assert lsyncd.told() == {
        "in_step": round(lsyncd.prover.proved.at, 3),
        "old": lsyncd.prover.proved.age,
    }
    assert lsyncd.markers() == []
    # Moved in whole: that is one event, and nothing is left beside it.
    assert not (lsyncd.member.volatile / f".{in_step.NAME}").exists()
    assert 2 <= lsyncd.prover.lag() < 3
    clock.later += 7
    assert 9 <= lsyncd.prover.lag() < 10
    lsyncd.prover.forget()
    assert lsyncd.prover.lag() is None


def prove(lsyncd):
    lsyncd.look()
    lsyncd.notes()
    lsyncd.carries()
    assert lsyncd.look() is True


def test_the_next_proof_begins_after_a_while(lsyncd, clock):
    prove(lsyncd)
    clock.later += 9
    assert lsyncd.look() is False and lsyncd.markers() == []
    clock.later += 1.5
    assert lsyncd.look() is False and len(lsyncd.markers()) == 1


def test_a_name_that_lsyncd_has_missed_is_followed_by_another(lsyncd, clock):
    lsyncd.look()
    first = lsyncd.markers()
    clock.later += 4
    lsyncd.look()
    assert lsyncd.markers() == first
    clock.later += 1.5
    lsyncd.look()
    assert lsyncd.markers() == []
    lsyncd.look()
    assert len(lsyncd.markers()) == 1 and lsyncd.markers() != first


def stops(lsyncd, clock):
    lsyncd.unit = {"ActiveState": "inactive", "MainPID": "0"}


def clock_goes_back(lsyncd, clock):
    clock.set_ahead -= 1


@pytest.mark.parametrize("change", [stops, clock_goes_back])
def test_a_proof_is_given_up_when_nothing_follows_from_it_any_more(lsyncd, clock, change):
    lsyncd.look()
    lsyncd.notes()
    lsyncd.carries()
    change(lsyncd, clock)
    assert lsyncd.look() is False and lsyncd.markers() == []
    assert lsyncd.prover.proved is None and not (lsyncd.place.marker / in_step.NAME).exists()


def test_a_clock_that_is_slewed_gives_no_proof_up(lsyncd, clock):
    lsyncd.look()
    lsyncd.notes()
    lsyncd.carries()
    clock.set_ahead -= lsyncd_status.SET_BACK / 2
    assert lsyncd.look() is True


def test_without_the_folder_that_lsyncd_watches_there_is_no_proof(lsyncd):
    lsyncd.place.marker.rmdir()
    assert [lsyncd.look() for _ in range(3)] == [False] * 3
    lsyncd.place.marker.mkdir()
    prove(lsyncd)


def test_where_no_name_can_be_made_the_next_look_tries_again(lsyncd, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(type(lsyncd.place.marker), "touch", full)
        assert lsyncd.look() is False
    prove(lsyncd)


def noted(lsyncd):
    lsyncd.look()
    lsyncd.notes()
    return lsyncd


def test_an_empty_queue_written_later_proves_it_as_well(lsyncd):
    noted(lsyncd).waits()
    assert lsyncd.look() is True


def test_an_empty_queue_written_before_proves_nothing(lsyncd):
    lsyncd.look()
    lsyncd.waits()
    lsyncd.notes()
    assert lsyncd.look() is False
    # In the same moment is not later.
    lsyncd.written -= 1_000_000
    lsyncd.waits()
    assert lsyncd.look() is False
    lsyncd.waits()
    assert lsyncd.look() is True


def test_what_waited_has_gone_once_however_much_has_come_since(lsyncd):
    noted(lsyncd).waits("/a", "/b")
    assert lsyncd.look() is False
    lsyncd.waits("/b", "/c")
    assert lsyncd.look() is False
    # The same status says nothing new.
    assert lsyncd.look() is False
    lsyncd.waits("/a", "/c", "/d")
    assert lsyncd.look() is True


def test_what_a_proof_before_has_seen_does_not_count_for_the_next_one(lsyncd, clock):
    noted(lsyncd).waits("/a")
    assert lsyncd.look() is False
    lsyncd.waits("/b")
    assert lsyncd.look() is True
    clock.later += in_step.EVERY
    noted(lsyncd).waits("/b")
    assert lsyncd.look() is False


def test_an_empty_queue_whose_last_rsync_runs_proves_nothing(lsyncd, monkeypatch):
    noted(lsyncd).waits()
    with monkeypatch.context() as context:
        context.setattr(lsyncd_status, "children", lambda pid: ["rsync"] if pid == lsyncd.process.pid else [])
        assert lsyncd.look() is False
        lsyncd.waits()
        assert lsyncd.look() is False
        # Another change waits, so what runs now is not about one of before.
        lsyncd.waits("/later")
        assert lsyncd.look() is True


def test_a_status_that_is_not_that_of_this_lsyncd_proves_nothing(lsyncd):
    noted(lsyncd).waits()
    lsyncd.unit["MainPID"] = "0"
    assert lsyncd.look() is False


def test_a_status_that_cannot_be_read_is_looked_at_again(lsyncd):
    noted(lsyncd)
    assert lsyncd.look() is False
    lsyncd.waits()
    assert lsyncd.look() is True


# --- what rsync fails with ----------------------------------------------------------------------------


def test_failures_count_from_the_last_proof_on(lsyncd, clock):
    assert lsyncd.prover.failing() is None
    began = in_step.time.time()
    lsyncd.place.failed.write_text("12\n23\n")
    found = lsyncd.prover.failing()
    assert (found["code"], found["times"]) == ("23", 2) and abs(found["since"] - began) < 1
    clock.later += 30
    lsyncd.place.failed.write_text("12\n23\n5\n")
    assert lsyncd.prover.failing() == {"code": "5", "times": 3, "since": found["since"]}
    prove(lsyncd)
    assert lsyncd.prover.failing() is None
    clock.later += 30
    lsyncd.place.failed.write_text("12\n23\n5\n255\n")
    later = lsyncd.prover.failing()
    assert (later["code"], later["times"]) == ("255", 1) and later["since"] >= found["since"] + 59


def test_failures_of_before_this_one_looked_do_not_count(tmp_path):
    place = tmp_path / "failed"
    place.write_text("12\n12\n")
    found = in_step.Failures(place)
    assert found.since_proof() is None
    # lsyncd has started anew, with a file of its own.
    place.write_text("23\n")
    assert found.since_proof()["times"] == 1
    place.unlink()
    assert found.since_proof() is None
    place.write_text("30\n")
    assert found.since_proof()["code"] == "30"


# --- the standby --------------------------------------------------------------------------------------


@pytest.fixture
def standby(tmp_path):
    member = Member.of(samples.pair("salt2"), Paths(tmp_path))
    files.make_folder(in_step.folder(member))
    return member


def heard(member, **content):
    place = in_step.folder(member) / in_step.NAME
    place.write_text(json.dumps(content))
    return place


def test_the_standby_counts_from_when_it_heard_by_its_own_clock(standby, clock):
    place = heard(standby, in_step=1795372200.25, old=1.5)
    # rsync gives it the time of the other node.
    os.utime(place, (1, 1))
    found = in_step.last(standby)
    assert found.at == 1795372200.25 and 1.5 <= found.age < 3 and found.age == round(found.age, 1)
    clock.later += 60
    assert 61.5 <= in_step.last(standby).age < 63
    # Its own clock was set back since: it is as old as it was at least.
    clock.later -= 3600
    assert in_step.last(standby).age == 1.5


@pytest.mark.parametrize(
    ("at", "old", "known"),
    [
        (1, 0, True),
        (1, 86399, True),
        (1, 86400, False),
        (1, -0.1, False),
        (0, 1, False),
        (-5, 1, False),
        (float("nan"), 1, False),
        ("1", "2", True),
        (None, 1, False),
        ([], 1, False),
    ],
)
def test_what_the_standby_believes(standby, at, old, known):
    heard(standby, in_step=at, old=old)
    assert (in_step.last(standby) is not None) is known


def test_what_is_no_small_file_is_not_read(standby):
    place = heard(standby, in_step=1, old=1, more="x" * in_step.SIZE)
    assert in_step.last(standby) is None
    place.unlink()
    assert in_step.last(standby) is None
    other = place.with_name("other")
    other.write_text('{"in_step": 1, "old": 1}')
    place.symlink_to(other)
    assert in_step.last(standby) is None
    place.unlink()
    place.mkdir()
    assert in_step.last(standby) is None


def test_what_the_standby_reports_of_it(standby):
    assert in_step.read(standby) == {"at": None, "age": None, "admitted_for": None}
    standby.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    then = time.time() - 100
    os.utime(standby.ledger.path, (then, then))
    heard(standby, in_step=5, old=2)
    found = in_step.read(standby)
    assert found["at"] == 5 and 2 <= found["age"] < 4 and 100 <= found["admitted_for"] < 102
    then += 3600
    os.utime(standby.ledger.path, (then, then))
    assert in_step.read(standby)["admitted_for"] == 0


# --- does the lsyncd that runs tell the standby? ------------------------------------------------------


def configured(lsyncd, text, after):
    """Its configuration, written so many seconds after lsyncd has begun."""
    config = lsyncd.place.config
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text)
    ticks = system.process_started(lsyncd.process.pid)
    then = time.time() - system.boottime() + ticks / os.sysconf("SC_CLK_TCK") + after
    os.utime(config, (then, then))


@pytest.mark.parametrize(
    ("text", "after", "tells"),
    [
        pytest.param('sync{"in-step"}', -3600, True, id="it began with that"),
        pytest.param('sync{"in-step"}', 0.5, True, id="in that second"),
        pytest.param('sync{"in-step"}', 1.5, False, id="it began before that was written"),
        pytest.param("sync{}", -3600, False, id="a configuration of before"),
        pytest.param("in-step", -3600, False, id="a word in a comment"),
        pytest.param(None, 0, False, id="no configuration"),
    ],
)
def test_whether_the_lsyncd_that_runs_tells_the_standby(lsyncd, text, after, tells):
    assert in_step.NAME == "in-step"
    if text is not None:
        configured(lsyncd, text, after)
    assert in_step.beats(lsyncd.member, lsyncd.process.pid) is tells


def test_an_lsyncd_that_has_ended_tells_nobody(lsyncd):
    configured(lsyncd, 'sync{"in-step"}', -3600)
    lsyncd.process.kill()
    lsyncd.process.wait()
    for pid in (None, 0, lsyncd.process.pid):
        assert in_step.beats(lsyncd.member, pid) is False
