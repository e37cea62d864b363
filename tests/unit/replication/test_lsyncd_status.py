"""What a status file proves, and what it does not."""

import os
import subprocess
import time

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import lsyncd_config
from failback.replication import lsyncd_status

MARKER = "/run/failback/salt/lsyncd.marker/"


def written_by_lsyncd(syncs, folders):
    """As Sync.statusReport() and StatusFile.write() of lsyncd 2.2.3 do it."""
    text = "Lsyncd status report at Sun Nov 22 18:28:06 2026\n\n"
    for number, (source, delays) in enumerate(syncs, 1):
        text += f"Sync{number} source={source}\nThere are {len(delays)} delays\n"
        for status, event, path in delays:
            text += f"{status:7}{event} {path}\n"
        text += "Filtering:\n  nothing.\n\n\n"
    text += f"Inotify watching {len(folders)} directories\n"
    return text + "".join(f"  {number}: {folder}\n" for number, folder in enumerate(folders, 1))


REAL = """\
Lsyncd status report at Sun Nov 22 18:30:29 2026

Sync1 source=/srv/salt/
There are 2 delays
active Create /top.sls
wait   Delete /old states/
Filtering:
  nothing.


Sync2 source=/etc/libvirt/qemu/
There are 0 delays
Filtering:
+ /shared-?*
- /*


Inotify watching 2 directories
  1: /srv/salt/
  2: /etc/libvirt/qemu/
"""


def test_a_real_file():
    found = lsyncd_status.parse(REAL)
    assert found["watched"] == 2
    assert [(sync["source"], sync["delays"]) for sync in found["syncs"]] == [
        ("/srv/salt/", 2),
        ("/etc/libvirt/qemu/", 0),
    ]
    assert found["syncs"][0]["named"] == [
        {"status": "active", "event": "Create", "path": "/top.sls"},
        {"status": "wait", "event": "Delete", "path": "/old states/"},
    ]


@pytest.mark.parametrize("length", range(0, len(REAL) - 1, 7))
def test_a_file_that_is_cut_off_proves_nothing(length):
    with pytest.raises(Unreadable):
        lsyncd_status.parse(REAL[:length])


@pytest.mark.parametrize(
    "text",
    ["", "\n", "something else\n", "Lsyncd status report at\n", "Lsyncd status report at now\n"],
)
def test_a_file_of_another_format_proves_nothing(text):
    with pytest.raises(Unreadable):
        lsyncd_status.parse(text)


FORGED = st.sampled_from(
    [
        "/x\nFiltering:\n  nothing.\n\n\nSync2 source=/srv/git/\nThere are 0 delays\nFiltering:\n",
        "/x\nInotify watching 0 directories\n",
        "/x\nThere are 0 delays",
        "/x\nSync1 source=/srv/salt/\nThere are 0 delays\nFiltering:\n  nothing.\n",
        "/plain",
        "/two\nlines",
    ]
)
DELAYS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "active", "block"]),
        st.sampled_from(["Create", "Modify", "Delete", "Attrib", "Move", "Init"]),
        st.one_of(FORGED, st.text("abc \n:/0", max_size=20).map(lambda text: "/" + text)),
    ),
    max_size=4,
)


@given(
    queues=st.lists(DELAYS, min_size=1, max_size=4),
    folders=st.lists(st.one_of(FORGED, st.just("/srv/salt/")), max_size=3),
)
def test_no_file_name_makes_a_queue_look_empty(queues, folders):
    text = written_by_lsyncd([(f"/srv/{number}/", queue) for number, queue in enumerate(queues)], folders)
    try:
        found = lsyncd_status.parse(text)
    except Unreadable:
        return
    if sum(sync["delays"] for sync in found["syncs"]) == 0:
        assert not any(queues)
        assert len(found["syncs"]) == len(queues)


@given(
    st.lists(
        DELAYS.filter(lambda queue: all("\n" not in path for _, _, path in queue)),
        min_size=1,
        max_size=4,
    )
)
def test_the_counts_are_those_of_lsyncd(queues):
    text = written_by_lsyncd([(f"/srv/{number}/", queue) for number, queue in enumerate(queues)], ["/srv/0/"])
    found = lsyncd_status.parse(text)
    assert [sync["delays"] for sync in found["syncs"]] == [len(queue) for queue in queues]
    assert [
        [(one["status"], one["event"], one["path"]) for one in sync["named"]] for sync in found["syncs"]
    ] == [list(queue) for queue in queues]


@pytest.fixture
def process():
    """Any process that runs: systemd's word is what makes it lsyncd."""
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


@pytest.fixture
def place(tmp_path):
    member = Member("salt", Paths(tmp_path))
    place = lsyncd_config.places(member)
    place.marker.mkdir(parents=True)
    return member, place


def running(process):
    return {"ActiveState": "active", "MainPID": str(process.pid)}


def write(place, delays=(), age=0.0):
    place.status.write_text(
        written_by_lsyncd([("/srv/salt/", list(delays)), (f"{place.marker}/", [])], ["/srv/salt/"])
    )
    then = time.time() - age
    os.utime(place.status, (then, then))


def test_a_fresh_status_of_a_running_lsyncd_is_believed(place, process):
    member, place = place
    write(place, [("wait", "Create", "/a"), ("active", "Delete", "/b")])
    status = lsyncd_status.observe(member, running(process))
    assert status["running"] and status["trustworthy"]
    assert status["waiting"] == 2
    assert [one["path"] for one in status["waiting_for"]] == ["/srv/salt/a", "/srv/salt/b"]
    assert abs(status["since"] - time.time()) < 5


def test_what_a_dead_daemon_left_is_not_believed(place):
    member, place = place
    write(place)
    status = lsyncd_status.observe(member, {"ActiveState": "inactive", "MainPID": "0"})
    assert not status["running"] and not status["trustworthy"]
    assert status["waiting"] is None
    assert "earlier process" in status["why"]


def test_a_process_id_that_is_gone_is_not_believed(place, process):
    member, place = place
    write(place)
    process.kill()
    process.wait()
    status = lsyncd_status.observe(member, running(process))
    assert not status["running"]


def test_a_status_older_than_the_process_is_not_believed(place, process):
    member, place = place
    write(place, age=3.5)
    status = lsyncd_status.observe(member, running(process))
    assert status["running"] and not status["trustworthy"]
    assert "older than lsyncd itself" in status["why"]


def test_an_lsyncd_has_begun_when_it_has_written_its_own_status(place, process):
    member, place = place
    assert lsyncd_status.has_begun(member, running(process)) is False
    write(place, age=3.5)
    assert lsyncd_status.has_begun(member, running(process)) is False, "an earlier process wrote it"
    write(place)
    assert lsyncd_status.has_begun(member, running(process)) is True
    # One that hangs has begun nevertheless; that it hangs is another matter.
    assert lsyncd_status.has_begun(member, {"ActiveState": "active", "MainPID": "1"}) is True
    process.kill()
    process.wait()
    assert lsyncd_status.has_begun(member, running(process)) is False, "systemd does not know yet"
    for unit in ({}, {"ActiveState": "activating", "MainPID": str(process.pid)}, {"ActiveState": "active"}):
        assert lsyncd_status.has_begun(member, unit) is None


def test_a_status_that_is_not_renewed_is_not_believed(place):
    member, place = place
    write(place, age=lsyncd_status.STALE + 1)
    # This test's own parent has run for longer than that.
    status = lsyncd_status.observe(member, {"ActiveState": "active", "MainPID": "1"})
    assert status["running"] and not status["trustworthy"]
    assert "should renew it" in status["why"]


def test_a_status_from_the_future_is_not_believed(place, process):
    member, place = place
    write(place, age=-3600)
    assert not lsyncd_status.observe(member, running(process))["trustworthy"]


def test_the_status_of_another_configuration_is_not_believed(place, process):
    member, place = place
    place.status.write_text(written_by_lsyncd([("/srv/other/", [])], []))
    status = lsyncd_status.observe(member, running(process))
    assert not status["trustworthy"]
    assert "configuration" in status["why"]


def test_no_status_yet_is_not_an_empty_queue(place, process):
    member, _ = place
    status = lsyncd_status.observe(member, running(process))
    assert status["running"] and status["waiting"] is None and not status["trustworthy"]


def test_drain_of_a_dead_lsyncd_says_so_and_leaves_nothing_behind(place):
    member, place = place
    write(place)
    with pytest.raises(Unavailable, match="does not run"):
        lsyncd_status.drain(member, 1, lambda: {"ActiveState": "failed", "MainPID": "0"})
    assert list(place.marker.iterdir()) == []


def test_drain_does_not_believe_an_empty_queue_written_before_the_marker_was_seen(place, process):
    member, place = place

    def reader():
        # The queue is empty, and stays so, in a file that is renewed; but the marker is never seen.
        write(place)
        return running(process)

    with pytest.raises(Unavailable, match="has not read its events"):
        lsyncd_status.drain(member, 0.3, reader)


def test_drain_wants_a_status_written_after_the_marker_was_seen(place, process):
    member, place = place
    rounds = []

    def reader():
        rounds.append(1)
        names = [path.name for path in place.marker.iterdir()]
        if len(rounds) < 4:
            write(place)
        if len(rounds) == 4:
            write(place)
            time.sleep(0.05)
            place.seen.write_text(names[0])
        if len(rounds) == 8:
            time.sleep(0.05)
            write(place)
        return running(process)

    lsyncd_status.drain(member, 5, reader)
    assert len(rounds) == 8


def test_drain_does_not_take_a_status_for_later_because_the_clock_was_set_back(place, process, monkeypatch):
    member, place = place
    rounds, steps = [], iter([0.0, -0.6])
    monkeypatch.setattr(lsyncd_status.system, "clock_step", lambda since: next(steps, 0.0))

    def reader():
        rounds.append(1)
        if len(rounds) == 1:
            # Just before the clock is set back by 0.6 s: later by its time than all that follows.
            write(place, age=-0.6)
        if len(rounds) == 8:
            write(place)
        place.seen.write_text("".join(path.name for path in place.marker.iterdir()))
        os.utime(place.seen, (time.time() - 0.1,) * 2)
        return running(process)

    lsyncd_status.drain(member, 5, reader)
    assert len(rounds) == 8


def test_drain_is_seen_by_an_lsyncd_that_has_lost_the_event_of_its_first_file(place, process, monkeypatch):
    """A queue that overflows. It acts on a name that is new, and not on a file that is touched again."""
    member, place = place
    monkeypatch.setattr(lsyncd_status._Markers, "AGAIN", 0.1)
    known = []

    def reader():
        for path in place.marker.iterdir():
            if path.name not in known:
                known.append(path.name)
                if len(known) > 1:
                    place.seen.write_text(path.name)
        write(place)
        return running(process)

    assert lsyncd_status.drain(member, 5, reader)["seconds"] >= 0.1
    assert len(known) > 1 and list(place.marker.iterdir()) == []


def test_drain_names_what_still_waits(place, process):
    member, place = place

    def reader():
        names = [path.name for path in place.marker.iterdir()]
        place.seen.write_text(names[0] if names else "")
        write(
            place,
            [("active", "Create", "/pillar/top.sls")] + [("wait", "Modify", f"/{n}") for n in range(4)],
        )
        return running(process)

    with pytest.raises(Unavailable) as caught:
        lsyncd_status.drain(member, 0.3, reader)
    assert "5 changes still wait: '/srv/salt/pillar/top.sls' (Create, active)" in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert "journalctl -u lsyncd" in str(caught.value)


def test_children_of_a_process():
    with subprocess.Popen(["sleep", "61"]) as child:
        assert "sleep 61" in lsyncd_status.children(os.getpid())
        child.kill()


def test_a_name_that_is_noted_while_one_looks_is_not_taken_for_noted_earlier(tmp_path, monkeypatch):
    """Seen under load: a drain went by the time of an older name, and by a status from before its own."""
    place = tmp_path / "lsyncd.seen"
    place.write_text("an earlier name")
    os.utime(place, ns=(10**18, 10**18))
    stat = os.stat

    def noted_meanwhile(path, *arguments, **options):
        facts = stat(path, *arguments, **options)
        if str(path) == str(place):
            place.write_text("name")
        return facts

    monkeypatch.setattr(lsyncd_status.os, "stat", noted_meanwhile)
    assert lsyncd_status._seen(place, "name") != 10**18
    assert lsyncd_status._seen(place, "name") in (None, stat(place).st_mtime_ns)


# --- what a look says besides -------------------------------------------------------------------------


def test_a_look_for_whoever_goes_on_has_the_names_and_the_moment(place, process):
    member, place = place
    write(place, [("wait", "Create", "/a"), ("active", "Delete", "/b"), ("wait", "Modify", "/a")])
    status, written, names = lsyncd_status.look(member, running(process))
    assert status == lsyncd_status.observe(member, running(process))
    assert written == place.status.stat().st_mtime_ns
    assert names == {("/srv/salt/", "/a"), ("/srv/salt/", "/b")}
    assert status["waiting"] == 2, "of one that waits twice, one"


def test_a_queue_without_names_is_not_empty():
    queues = (("/srv/salt/", 3), ("/srv/x/", 0))
    syncs = [{"source": source, "delays": number, "named": []} for source, number in queues]
    assert lsyncd_status._names(syncs) == {("/srv/salt/", None)}


@pytest.mark.parametrize("number", [lsyncd_status.NAMED - 1, lsyncd_status.NAMED, lsyncd_status.NAMED + 5])
def test_the_first_of_what_waits_are_named(place, process, number):
    member, place = place
    write(place, [("wait", "Create", f"/{one}") for one in range(number)])
    status = lsyncd_status.observe(member, running(process))
    assert status["waiting"] == number
    assert [one["path"] for one in status["waiting_for"]] == [
        f"/srv/salt/{one}" for one in range(min(number, lsyncd_status.NAMED))
    ]


def test_a_file_that_lsyncd_is_writing_is_read_again(place, process, monkeypatch):
    member, place = place
    write(place, [("wait", "Create", "/a")])
    whole, waits = place.status.read_text(), []
    place.status.write_text(whole[:60])

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            place.status.write_text(whole)

    samples.in_place_of_time(monkeypatch, lsyncd_status, sleep=sleep)
    status = lsyncd_status.observe(member, running(process))
    assert status["trustworthy"] and status["waiting"] == 1 and len(waits) == 3


def test_a_file_that_is_never_whole_proves_nothing(place, process, monkeypatch):
    member, place = place
    write(place)
    place.status.write_text("Lsyncd status report at now\n")
    waits = []
    samples.in_place_of_time(monkeypatch, lsyncd_status, sleep=waits.append)
    status = lsyncd_status.observe(member, running(process))
    assert status["running"] and not status["trustworthy"] and status["waiting"] is None
    assert "could not be read whole; lsyncd is busy writing it" in status["why"] and len(waits) == 20


def test_a_file_that_changes_while_it_is_read_is_read_again(place, process, monkeypatch):
    """Its beginning would be of one moment, and its end of another."""
    member, place = place
    write(place, [("wait", "Create", "/a")])
    real, reads = lsyncd_status.parse, []

    def parse(text):
        reads.append(text)
        if len(reads) == 1:
            write(place, [("wait", "Create", "/b")])
        return real(text)

    monkeypatch.setattr(lsyncd_status, "parse", parse)
    status = lsyncd_status.observe(member, running(process))
    assert [one["path"] for one in status["waiting_for"]] == ["/srv/salt/b"] and len(reads) == 2


# --- the first pass -----------------------------------------------------------------------------------


def first_pass(place, process, queue, failed=(), limit=5.0, unit=None):
    """It ends when its status has no first pass any more; ``queue`` is what waits at each look."""
    member, place = place
    looks = iter(queue)

    def reader():
        write(place, next(looks, queue[-1]))
        place.failed.write_text("".join(f"{one}\n" for one in failed))
        return unit or running(process)

    return lsyncd_status.first_pass(member, limit, reader)


INIT = [("active", "Init", "/")]


def test_a_first_pass_is_over_when_nothing_of_it_waits_however_much_else_does(place, process):
    assert first_pass(place, process, [INIT, INIT, [("wait", "Modify", "/a")]])["seconds"] >= 0.1


def test_a_first_pass_without_lsyncd_is_not_waited_for(place, process):
    with pytest.raises(Unavailable, match="first pass of salt has not ended: lsyncd does not run"):
        first_pass(place, process, [INIT], unit={"ActiveState": "failed", "MainPID": "0"})


def test_a_first_pass_that_takes_too_long_is_not_waited_for(place, process):
    with pytest.raises(Unavailable, match="within 0.2 seconds. 1 changes still wait: '/srv/salt/' .Init"):
        first_pass(place, process, [INIT], limit=0.2)


@pytest.mark.parametrize(
    ("codes", "ends", "words"),
    [
        (["12"] * 4, False, ""),
        (["12"] * 5, True, "has failed 5 times, the last time with exit code 12 "),
        (["12"] * 4 + ["5"], True, "root's shell on the other node prints something over SSH"),
        ([], False, ""),
    ],
)
def test_a_first_pass_whose_rsync_fails_again_and_again_is_not_waited_for(place, process, codes, ends, words):
    """A connection that breaks once is not that; of one path, five are."""
    if not ends:
        first_pass(place, process, [INIT, INIT, []], codes)
        return
    with pytest.raises(Unavailable) as failed:
        first_pass(place, process, [INIT], codes)
    assert words in str(failed.value)
    assert ("pair.access" in str(failed.value)) is (codes[-1] == "5")


def test_of_many_paths_each_may_fail_so_often(tmp_path):
    failed = tmp_path / "failed"
    failed.write_text("12\n" * 9)
    lsyncd_status._require_progress(failed, "salt", 2)
    failed.write_text("12\n" * 10)
    with pytest.raises(Unavailable, match="failed 10 times"):
        lsyncd_status._require_progress(failed, "salt", 2)
    failed.unlink()
    lsyncd_status._require_progress(failed, "salt", 2)
