"""The lookout: what it reads out of lsyncd's journal, a disk that hangs, a connection that breaks once."""

import os
import signal
import threading
import time

import pytest
import samples

from failback.decisions import readiness
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh
from failback.readiness import facts
from failback.readiness import record
from failback.replication import in_step
from failback.state import ledger
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
        # The other node's own program says most; rsync's words of the same matter less.
        (
            "rsync: [sender] /srv/a lies on vda\nssh: connect to host x: No route\n/srv/a lies on vdb\n",
            "/srv/a lies on vdb",
        ),
        ("rsync: [sender] x lies on y\nssh: no route\n", "ssh: no route"),
        ("the kex: Connection reset by peer\nrsync: [sender] fails\n", "the kex: Connection reset"),
        ("rsync: connection unexpectedly closed\nrsync: [sender] fails\n", "rsync: [sender] fails"),
        ("rsync: closed\n@ERROR: no module\n", "@ERROR: no module"),
        ("rsync error: code 5\nrsync: closed\n", "rsync: closed"),
        ("something else\n", None),
        # What lsyncd calls an error has that word behind the time, not somewhere in a name.
        ("a file that is called Error: x\nrsync error: code 5\n", "rsync error:"),
        ("the file abcdefg 1 Error: x\nrsync error: code 5\n", "rsync error:"),
        (f"rsync error: {'x' * 400}\n", "rsync error: " + "x" * 287),
    ],
)
def test_the_line_that_says_what_is_wrong(journal, words):
    found = lookout.words_of(journal)
    assert found is None if words is None else found.startswith(words)
    assert found is None or len(found) <= 300


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


def test_after_one_bad_answer_it_is_known_soon_whether_it_was_bad_luck(member, monkeypatch):
    monkeypatch.setattr(lookout, "ask", lambda member: "no route")
    peer, now = lookout.PeerLook(member), time.monotonic()
    peer.step(now)
    peer._thread.join(20)
    assert now + 4 < peer._next <= time.monotonic() + lookout.ASK_AGAIN / 2


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


@pytest.fixture
def stays(member, monkeypatch):
    """What a lookout does that finds its files changed after its first round."""
    did, settled = [], [False, True]
    files.make_folder(member.volatile)
    monkeypatch.setattr(lookout.resident.Changes, "settled", lambda changes: settled.pop(0))
    monkeypatch.setattr(lookout.Lookout, "step", lambda one: did.append("looks"))
    monkeypatch.setattr(lookout.Lookout, "close", lambda one: did.append("closes"))
    monkeypatch.setattr(lookout.notify, "tell", lambda *words: did.append(words))
    clock = [50.0]

    def sleep(seconds):
        did.append(seconds)
        clock[0] += seconds

    samples.in_place_of_time(monkeypatch, lookout, monotonic=lambda: clock[0], sleep=sleep)
    return did


def test_it_looks_once_a_second_tells_systemd_that_it_lives_and_starts_anew(member, stays):
    assert lookout.main(member, restart=lambda: 7) == 7
    rounds = [("READY=1",), *["looks", ("WATCHDOG=1",), 1.0] * 5, "closes"]
    assert stays == rounds


def test_a_restart_that_says_nothing_has_gone_well(member, stays):
    assert lookout.main(member, restart=lambda: None) == 0


def test_the_second_lookout_ends_at_once_and_leaves_what_the_first_one_has(member, stays):
    with lookout.resident.single(member.volatile / "lookout.lock"):
        assert lookout.main(member, restart=lambda: 7) == 0
    assert stays == []


@pytest.fixture
def logged(monkeypatch):
    found = []
    monkeypatch.setattr(
        lookout.syslog, "syslog", lambda priority, sentence: found.append((priority, sentence))
    )
    return found


def test_a_fault_in_the_code_ends_no_lookout_and_is_an_error_in_the_log(primary, logged, monkeypatch, capsys):
    one, _ = primary

    def fails():
        raise ValueError("a fault in the code")

    monkeypatch.setattr(one._disks, "step", fails)
    monkeypatch.setattr(one._peer, "step", lambda now: None)
    one.step()
    ((priority, sentence),) = logged
    assert priority == system.ERR
    assert sentence.startswith("salt: Traceback") and "a fault in the code" in sentence
    assert capsys.readouterr().err == ""
    one.foreground = True
    one.step()
    assert "a fault in the code" in capsys.readouterr().err


def test_what_is_not_ready_is_said_once_and_that_all_is_well_again(primary, logged, monkeypatch):
    one, _ = primary
    monkeypatch.setattr(one, "_facts", lambda now: {"inotify": "no more watches"})
    one._write(0.0)
    assert len(logged) == 1, "at once"
    one._write(10.0)
    ((priority, sentence),) = logged
    assert priority == system.WARNING and sentence.startswith("salt: ") and "no more watches" in sentence
    monkeypatch.setattr(one, "_facts", lambda now: {"inotify": None})
    one._write(20.0)
    one._write(30.0)
    assert logged[1:] == [(system.NOTICE, "salt: salt1 is ready again")]


@pytest.mark.parametrize("own", ["a ledger", None], ids=["it serves", "its ledger is damaged"])
def test_of_a_node_whose_ledger_says_nothing_nothing_is_judged(primary, logged, monkeypatch, own):
    one, _ = primary
    monkeypatch.undo()
    monkeypatch.setattr(one, "_facts", lambda now: {"inotify": "no more watches"})
    if own:
        one.member.ledger.write(ledger.Entry(7, "salt1", None, "a test"))
    else:
        files.write_atomically(one.member.ledger.path, "{")
    one._write(0.0)
    known = record.read(one.member)
    assert known["role"] == ("serves" if own else None)
    assert known["ready"] is (False if own else None)
    assert bool(known["findings"]) is bool(own)


def test_two_hosts_that_answer_for_an_address_are_no_finding_the_first_time(primary, logged, monkeypatch):
    """In a handover both do for a moment."""
    one, _ = primary
    found = [
        readiness.Finding("salt1", "address", "two answer"),
        readiness.Finding("salt1", "inotify", "no more watches"),
    ]
    monkeypatch.setattr(lookout.readiness, "alone", lambda *_: tuple(found))
    seen = []
    for _ in range(3):
        one._write(0.0)
        seen.append([each["about"] for each in record.read(one.member)["findings"]])
    assert seen == [["inotify"], ["address", "inotify"], ["address", "inotify"]]


def test_a_systemd_that_does_not_answer_is_said_and_all_that_was_known_of_it_is_void(
    primary, logged, monkeypatch
):
    one, _ = primary
    asked = []

    def units(names):
        asked.append(names)
        raise Unavailable("systemd does not answer")

    one._units = {"lsyncd.service": {"ActiveState": "active"}}
    monkeypatch.setattr(lookout.services, "facts", units)
    one._ask_systemd()
    assert asked == [["lsyncd.service"]] and one._units == {}
    assert logged == [(system.WARNING, "salt: systemd does not answer")]


@pytest.mark.parametrize("role", ["salt1", "salt2"])
def test_systemd_is_asked_for_what_belongs_to_the_node(tmp_path, monkeypatch, role):
    active = [{"name": "cron.service", "proof": None, "status": None}]
    one = lookout.Lookout(Member.of(samples.pair(role, active_services=active), Paths(tmp_path)))
    asked = []
    monkeypatch.setattr(lookout.services, "facts", lambda names: asked.append(names) or {})
    one._ask_systemd()
    assert asked == [["lsyncd.service"] * (role == "salt1") + ["cron.service"]]
    one.close()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), Unavailable("too many watches")], ids=str
)
def test_why_no_more_files_can_be_watched_is_a_sentence(monkeypatch, error):
    assert lookout._inotify() is None

    class Full:
        def __enter__(self):
            raise error

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(lookout.inotify, "Inotify", Full)
    assert lookout._inotify() == str(error)


class Ended(Exception):
    """In the place of the end of a child."""


@pytest.mark.parametrize("fails", [False, True])
def test_a_child_says_what_it_sees_and_ends_with_a_status_whatever_happens(monkeypatch, fails):
    reader, writer = os.pipe()
    codes = []

    def end(code):
        codes.append(code)
        raise Ended

    def look():
        if fails:
            raise OSError("the disk fails")
        return {"/srv": {"error": None}}

    monkeypatch.setattr(lookout.os, "_exit", end)
    with pytest.raises(Ended):
        lookout._answer(writer, look)
    os.close(writer)
    assert codes == [int(fails)]
    assert os.read(reader, 100) == (b"" if fails else b'{"/srv": {"error": null}}')
    os.close(reader)


def test_nothing_is_started_where_no_path_is_replicated_nor_beside_a_child_that_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(lookout.os, "fork", lambda: pytest.fail("a child is started"))
    nothing = lookout.DiskLook(Member.of(samples.pair("salt2", replicate=[]), Paths(tmp_path)))
    nothing.begin()
    assert not nothing.busy and nothing.step() is False and nothing.found is None
    one = lookout.DiskLook(Member.of(samples.pair("salt2"), Paths(tmp_path)))
    one._child = 4711
    one.begin()


def test_a_look_at_the_disks_is_news_when_what_is_wrong_is_other_than_before(member, monkeypatch):
    disks = lookout.DiskLook(member)

    def news(error):
        monkeypatch.setattr(facts, "paths", lambda member: {"/srv": {"error": error, "free_bytes": 1}})
        disks.begin()
        found, end = [], time.monotonic() + 20
        while disks.busy and time.monotonic() < end:
            found.append(disks.step())
            time.sleep(0.005)
        return any(found)

    assert [news(None), news(None), news("read-only"), news("read-only"), news(None)] == [
        True, False, True, False, True,
    ]  # fmt: skip
    disks.close()


def test_a_child_that_still_looks_is_ended_with_the_lookout(member, monkeypatch):
    monkeypatch.setattr(facts, "paths", lambda member: time.sleep(60))
    disks = lookout.DiskLook(member)
    disks.begin()
    child = disks._child
    assert disks.busy
    disks.close()
    # Its own parent alone may wait for it, which is this test.
    end = time.monotonic() + 20
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        assert time.monotonic() < end
        time.sleep(0.005)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_the_other_node_is_asked_once_a_minute_and_one_question_at_a_time(member, monkeypatch):
    asked, go = [], threading.Event()
    monkeypatch.setattr(lookout, "ask", lambda member: asked.append(member) or (go.wait(20) and None))
    peer, now = lookout.PeerLook(member), time.monotonic()
    assert peer.busy
    peer.step(now)
    peer.step(now + 1000)
    assert peer.busy and peer.found is None and not peer.news()
    go.set()
    peer._thread.join(20)
    assert len(asked) == 1 and not peer.busy
    assert peer.found["node"] == "salt1" and peer.found["well"] is True
    assert peer.found["sentence"] == "answers" and abs(peer.found["at"] - time.time()) < 60
    assert peer.news() and not peer.news()
    peer.step(now + lookout.ASK_EVERY - 1)
    assert len(asked) == 1
    peer.step(now + lookout.ASK_EVERY)
    peer._thread.join(20)
    assert len(asked) == 2 and not peer.news(), "well as before"


def test_what_is_wrong_with_the_connection_is_news_once(member, monkeypatch):
    said = [None, "no route", "no route", "another", None]
    monkeypatch.setattr(lookout, "ask", lambda member: said.pop(0))
    peer, seen, now = lookout.PeerLook(member), [], time.monotonic()
    for number in range(len(said)):
        peer.step(now + 1000 * number)
        peer._thread.join(20)
        seen.append((peer.news(), peer.found["sentence"]))
    assert seen == [
        (True, "answers"),
        (False, "answers"),
        (True, "no route"),
        (False, "another"),
        (True, "answers"),
    ]


class Lsyncd:
    """What a primary's lookout asks of the program that carries, and of its last words."""

    def __init__(self, one, monkeypatch):
        self.one, self.asked = one, []
        self.fails, self.words, self.again = None, "rsync: [sender] fails\n", None
        self.units = {"ActiveState": "active", "NRestarts": "3", "MainPID": "4711"}
        monkeypatch.setattr(one._prover, "failing", lambda: self.fails)
        monkeypatch.setattr(one._prover, "lag", lambda: 2.5)
        monkeypatch.setattr(lookout.lsyncd_status, "has_begun", lambda member, unit: True)
        monkeypatch.setattr(lookout.in_step, "beats", lambda member, pid: pid == 4711)
        monkeypatch.setattr(one._restarts, "look", lambda *words: self.again)
        monkeypatch.setattr(system, "run", self.run)

    def run(self, command, seconds, what):
        self.asked.append(command[0])
        assert "--unit=lsyncd.service" in command and "--quiet" in command
        if isinstance(self.words, Exception):
            raise self.words
        return self.words

    def facts(self, now):
        self.one._units = {"lsyncd.service": self.units}
        return self.one._facts(now)


@pytest.fixture
def lsyncd(primary, monkeypatch):
    return Lsyncd(primary[0], monkeypatch)


def test_what_is_known_of_an_lsyncd_that_runs_and_of_one_that_does_not(lsyncd):
    lsyncd.one._prover.proved = in_step.InStep(1000.0, 1.5)
    found = lsyncd.facts(0.0)
    assert (found["beats"], found["failing"], found["restarts"]) == (True, None, None)
    assert (found["proved"], found["lag"], found["inotify"]) == (1000.0, 2.5, None)
    lsyncd.fails, lsyncd.units = {"code": 5}, {"ActiveState": "failed", "MainPID": "4711"}
    found = lsyncd.facts(1.0)
    # What failed while it ran says nothing now.
    assert (found["beats"], found["failing"]) == (None, None)
    assert lsyncd.asked == []


def test_last_words_are_asked_for_anew_when_it_is_another_failure_or_half_a_minute_later(lsyncd):
    lsyncd.fails = {"code": 5, "times": 2}
    assert lsyncd.facts(0.0)["failing"] == {"code": 5, "times": 2, "said": "rsync: [sender] fails"}
    lsyncd.words = "rsync: [sender] fails again\n"
    assert lsyncd.facts(lookout.WORDS_EVERY - 1)["failing"]["said"] == "rsync: [sender] fails"
    lsyncd.fails = {"code": 23, "times": 2}
    assert lsyncd.facts(lookout.WORDS_EVERY - 1)["failing"]["said"] == "rsync: [sender] fails again"
    assert len(lsyncd.asked) == 2
    lsyncd.facts(2 * lookout.WORDS_EVERY - 1)
    assert len(lsyncd.asked) == 3
    lsyncd.fails = None
    assert lsyncd.facts(100.0)["failing"] is None
    # What was said of an earlier failure says nothing of this one.
    lsyncd.fails, lsyncd.words = {"code": 23, "times": 1}, Unavailable("journalctl is missing")
    assert lsyncd.facts(101.0)["failing"]["said"] is None


def test_an_lsyncd_that_does_not_stay_up_has_last_words_too(lsyncd):
    lsyncd.again = 3
    found = lsyncd.facts(0.0)
    assert found["restarts"] == {"times": 3, "said": "rsync: [sender] fails"} and found["failing"] is None


def test_a_secondary_knows_of_no_lsyncd(tmp_path, monkeypatch):
    one = lookout.Lookout(Member.of(samples.pair("salt2"), Paths(tmp_path)))
    assert set(one._facts(0.0)) == {"paths", "ssh", "verified", "drilled"}
    one.close()


def test_a_round_of_looks_is_begun_every_ten_seconds_and_written_when_there_is_news(primary, monkeypatch):
    one, _ = primary
    did, clock = [], [1000.0]
    samples.in_place_of_time(monkeypatch, lookout, monotonic=lambda: clock[0])
    monkeypatch.setattr(one._prover, "look", lambda unit: clock[0] == 1005.0)
    monkeypatch.setattr(one._peer, "step", lambda now: did.append(("peer", now)))
    monkeypatch.setattr(one._disks, "begin", lambda: did.append("disks"))
    monkeypatch.setattr(one, "_ask_systemd", lambda: did.append("systemd"))
    monkeypatch.setattr(one, "_write", lambda now: did.append("writes"))
    rounds = {}
    for second in range(12):
        did.clear()
        one.step()
        assert did[0] == ("peer", clock[0])
        rounds[second] = did[1:]
        clock[0] += 1.0
    whole = ["disks", "systemd", "writes"]
    # One more write tells who asks that nobody has asked.
    assert {second: done for second, done in rounds.items() if done} == {0: whole, 5: ["writes"], 10: whole}


def test_a_standbys_lookout_writes_what_it_finds_too(tmp_path, logged, monkeypatch):
    member = Member.of(samples.pair("salt2"), Paths(tmp_path))
    member.ledger.write(ledger.Entry(7, "salt1", None, "a test"))
    one = lookout.Lookout(member)
    one._write(0.0)
    known = record.read(member)
    assert known["role"] == "stands by" and known["node"] == "salt2" and known["pair"] == "salt"
    assert known["looked_at"] <= system.boottime() and known["answers"] is None
    one.close()


def test_looks_at_the_disks_leave_nothing_open(member):
    before = len(os.listdir("/proc/self/fd"))
    disks = lookout.DiskLook(member)
    for _ in range(3):
        looked(disks)
    assert len(os.listdir("/proc/self/fd")) == before
    disks.begin()
    disks.close()
    os.waitpid(disks._child, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_that_is_full_ends_no_lookout(primary, logged, monkeypatch):
    one, _ = primary

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "write", full)
    one._write(0.0)


def test_what_an_active_service_is_to_systemd_is_judged(tmp_path, monkeypatch, logged):
    active = [{"name": "cron.service", "proof": None, "status": None}]
    member = Member.of(samples.pair("salt2", active_services=active), Paths(tmp_path))
    one, seen = lookout.Lookout(member), []
    monkeypatch.setattr(lookout.readiness, "alone", lambda config, report, role: seen.append(report) or ())
    member.ledger.write(ledger.Entry(7, "salt1", None, "a test"))
    one._units = {"cron.service": {"LoadState": "loaded"}}
    one._write(0.0)
    one._units = {}
    one._write(0.0)
    assert [each["active_services"] for each in seen] == [{"cron.service": "loaded"}, {"cron.service": None}]
    # What it is found in is as new as can be.
    assert all(each["readiness"]["looked"] == 0.0 and each["node"] == "salt2" for each in seen)
    one.close()


def test_whoever_ends_a_lookout_leaves_nothing_behind(tmp_path, monkeypatch):
    closed = []
    for node in ("salt1", "salt2"):
        one = lookout.Lookout(Member.of(samples.pair(node), Paths(tmp_path)))
        monkeypatch.setattr(one._disks, "close", lambda: closed.append("disks"))
        if one._prover is not None:
            monkeypatch.setattr(one._prover, "close", lambda: closed.append("prover"))
        one.close()
    assert closed == ["prover", "disks", "disks"]


@pytest.mark.parametrize("slow", ["disks", "peer", "neither"])
def test_a_question_is_answered_when_all_that_takes_time_has_ended(primary, monkeypatch, slow):
    one, _ = primary
    busy = {slow}
    for name, part in (("disks", one._disks), ("peer", one._peer)):
        kind = type(f"Busy{name}", (type(part),), {"busy": property(lambda _, name=name: name in busy)})
        monkeypatch.setattr(part, "__class__", kind)
        monkeypatch.setattr(part, "step", lambda *_: False)
    monkeypatch.setattr(one._disks, "begin", lambda: None)
    monkeypatch.setattr(one, "_ask_systemd", lambda: None)
    files.write_json(one.member.volatile / "look.json", {"token": "a"})
    one.step()
    assert record.read(one.member)["answers"] is None, "asked in this moment"
    one.step()
    one.step()
    assert record.read(one.member)["answers"] == ("a" if slow == "neither" else None)
    busy.clear()
    one.step()
    assert record.read(one.member)["answers"] == "a"
    written = record.read(one.member)["time"]
    one.step()
    assert record.read(one.member)["time"] == written, "it is answered once"
