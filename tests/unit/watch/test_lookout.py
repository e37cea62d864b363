"""The lookout: what it reads out of lsyncd's journal, a disk that hangs, a connection that breaks once."""

import os
import time

import pytest
import samples

from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh
from failback.readiness import facts
from failback.readiness import record
from failback.replication import in_step
from failback.watch import lookout

SSH_FAILS = """\
04:41:55 Normal: 3 names in /srv/data/
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Host key for salt2 has changed and you have requested strict checking.
Host key verification failed.
rsync: did not see server greeting
rsync error: error starting client-server protocol (code 5) at main.c(1954) [sender=3.5.0]
04:41:55 Normal: Retrying a list after exitcode = 5
"""
FILE_FAILS = """\
rsync: [receiver] rename "/many/.a.T2pc" (in srv-data) -> "many/a": Operation not permitted (1)
rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394)
04:42:24 Normal: Retrying a list after exitcode = 23
"""


@pytest.mark.parametrize(
    ("journal", "words"),
    [
        (SSH_FAILS, "Host key verification failed."),
        (FILE_FAILS, 'rsync: [receiver] rename "/many/.a.T2pc" (in srv-data) -> "many/a": Operation not'),
        # What failed before does not count any more.
        (SSH_FAILS + FILE_FAILS, "rsync: [receiver] rename"),
        ("04:42:24 Error: Terminating since out of inotify watches.\nConsider more\n", "04:42:24 Error:"),
        ("rsync error: timeout in data send/receive (30)\n04:42:24 Normal: Retrying\n", "rsync error:"),
        (
            "ssh: connect to host 10.0.0.12 port 22: Connection refused\nrsync: closed\n",
            "ssh: connect to host",
        ),
        ("04:42:24 Normal: Finished a list after exitcode: 0\n", None),
        ("", None),
    ],
)
def test_the_line_that_says_what_is_wrong(journal, words):
    found = lookout.words_of(journal)
    assert found is None if words is None else found.startswith(words)


@pytest.fixture
def member(tmp_path):
    (tmp_path / "srv/salt").mkdir(parents=True)
    return Member.of(samples.pair(node="salt2"), Paths(tmp_path))


def looked(disks, limit=20):
    """Step until the child has ended, or has been given up."""
    end = time.monotonic() + limit
    disks.begin()
    while disks.busy or not disks.found:
        disks.step()
        assert time.monotonic() < end, "the look does not end"
        time.sleep(0.01)
    disks.step()
    return disks.found


def test_a_child_looks_at_the_paths(member):
    disks = lookout.DiskLook(member)
    (found,) = looked(disks).values()
    assert found["error"] is None and found["free_bytes"] > 0
    disks.close()


def test_a_disk_that_hangs_is_named_and_holds_nobody(member, monkeypatch):
    monkeypatch.setattr(lookout, "DISKS_WITHIN", 0.2)
    monkeypatch.setattr(facts, "paths", lambda member: time.sleep(60))
    disks = lookout.DiskLook(member)
    assert "gave no answer" in looked(disks)["/srv/salt"]["error"]
    # The child was killed; the next look is another one's.
    monkeypatch.undo()
    end = time.monotonic() + 20
    while disks.found["/srv/salt"]["error"] and time.monotonic() < end:
        disks.step()
        disks.begin()
        time.sleep(0.01)
    assert disks.found["/srv/salt"]["error"] is None
    disks.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("{}\n", None),
        (Unavailable("salt1: 'ready' is not something that the other node may ask for."), None),
        (Unavailable("Host key verification failed."), "Host key verification failed."),
        ("Welcome\n{}\n", "root's shell on salt1 prints 'Welcome' before every answer"),
        ("", "root's shell on salt1 prints '' before every answer"),
    ],
)
def test_what_an_answer_of_the_other_node_is_worth(member, monkeypatch, answer, words):
    def asked(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ssh, "ask", asked)
    assert lookout.ask(member) == words


def test_one_connection_that_breaks_is_no_finding_and_two_are(member, monkeypatch):
    said = ["no route", "no route", None]
    monkeypatch.setattr(lookout, "ask", lambda member: said.pop(0))
    peer, now, seen = lookout.PeerLook(member), 0.0, []
    while said:
        peer.step(float("inf") if peer.busy is False else now)
        while peer._thread and peer._thread.is_alive():
            time.sleep(0.001)
        seen.append(peer.found and peer.found["well"])
        peer._next = 0.0
    assert seen == [None, False, True]


@pytest.mark.parametrize("asked", ["by itself", "by somebody who waits"])
def test_an_answer_that_is_bad_is_asked_for_again_soon(member, monkeypatch, asked):
    said = [None, "no route", "no route"]
    monkeypatch.setattr(lookout, "ask", lambda member: said.pop(0))
    peer = lookout.PeerLook(member)

    def step():
        peer.step(max(peer._next, time.monotonic()))
        peer._thread.join()

    step()
    if asked == "by itself":
        step()
        step()
    else:
        peer.at_once()
        step()
    assert peer.found["well"] is False
    assert peer._next <= time.monotonic() + lookout.ASK_AGAIN


@pytest.fixture
def primary(tmp_path, monkeypatch):
    """The lookout of salt1, whose ledger names whom the test says; nothing else is there to be seen."""
    member = Member.of(samples.pair(node="salt1"), Paths(tmp_path))
    files.make_folder(member.volatile)
    found = lookout.Lookout(member)
    own = {"active": "salt1", "boot_id": system.boot_id(), "generation": 7}
    monkeypatch.setattr(found, "_ledger", lambda: own)
    yield found, own
    found.close()


def test_how_long_ago_all_was_proved_to_be_carried_is_written_as_long_as_the_node_serves(primary):
    one, own = primary
    one._prover.proved, one._prover.proved_at = in_step.InStep(1000.0, 1.5), system.boottime() - 4
    one._write(0.0)
    known = facts.now(one.member)
    assert 5.5 <= known["lag"] < 60 and known["looked"] < 60
    # The other node has served meanwhile: what was carried before says nothing.
    own["active"] = "salt2"
    one._write(0.0)
    own["active"] = "salt1"
    one._write(0.0)
    assert facts.now(one.member)["lag"] is None


@pytest.mark.parametrize(
    ("systemd", "words"),
    [
        # It begins, and stays up.
        ([("active", 0, False), ("active", 0, True)], None),
        # It ends, and systemd starts it again.
        ([("active", 0, False), ("active", 0, False), ("activating", 1, None)], "does not stay up"),
        ([("active", 0, False), ("failed", 0, None)], None),
        # It takes its time: that is said, and nobody waits for it for ever.
        ([("active", 0, False)] * 30, "has just been started and watches nothing yet"),
    ],
    ids=["begins", "again and again", "refused", "many folders"],
)
def test_a_question_waits_until_an_lsyncd_that_was_just_started_has_begun_or_ended(
    primary, monkeypatch, systemd, words
):
    one, _ = primary
    clock, left = [1000.0], list(systemd)

    def units(names):
        state, times, one.has_begun = left.pop(0) if len(left) > 1 else left[0]
        return {"lsyncd.service": {"ActiveState": state, "NRestarts": str(times), "MainPID": "0"}}

    monkeypatch.setattr(lookout.services, "facts", units)
    monkeypatch.setattr(lookout.lsyncd_status, "has_begun", lambda member, unit: one.has_begun)
    samples.in_place_of_time(monkeypatch, lookout, monotonic=lambda: clock[0])
    monkeypatch.setattr(lookout, "ask", lambda member: None)
    monkeypatch.setattr(lookout.system, "run", lambda *_: "")
    files.write_json(one.member.volatile / "look.json", {"token": "a"})
    seen, end = None, clock[0] + lookout.BEGINS_WITHIN + 5
    while (seen is None or seen["answers"] != "a") and clock[0] < end:
        one.step()
        clock[0] += 1.0
        while one._disks.busy or (one._peer._thread and one._peer._thread.is_alive()):
            one._disks.step()
            time.sleep(0.001)
        seen = record.read(one.member)
    assert seen["answers"] == "a"
    assert len(left) == 1 or words.startswith("has just")
    found = " ".join(each["sentence"] for each in seen["findings"] if each["about"] == "rsync")
    assert (words in found) if words else not found


def test_for_how_long_a_node_is_not_ready_is_written(primary, monkeypatch):
    one, _ = primary
    monkeypatch.setattr(one, "_facts", lambda now: {"inotify": "no more watches"})
    one._write(0.0)
    known = facts.now(one.member)
    assert known["ready"] is False
    assert known["not_ready"]["about"] == ["inotify"] and known["not_ready"]["for"] < 60
    monkeypatch.setattr(one, "_facts", lambda now: {"inotify": None})
    one._write(0.0)
    known = facts.now(one.member)
    assert known["ready"] is True and known["not_ready"] is not None
    # Where nobody looks any more, nothing is known.
    later = system.boottime() + 46
    monkeypatch.setattr(system, "boottime", lambda: later)
    known = facts.now(one.member)
    assert known["looked"] > 45 and known["ready"] is None and known["not_ready"] is None


def test_a_folder_that_is_gone_is_another_matter(member):
    os.rmdir(member.paths.root / "srv/salt")
    (member.paths.root / "srv").rmdir()
    assert facts.paths(member) == {}
