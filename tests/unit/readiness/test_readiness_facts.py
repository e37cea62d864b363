"""What a node is worth: what is found whenever somebody asks, and the question to the lookout."""

import os
import time
import types

import pytest
import samples

from failback.decisions import readiness
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.readiness import facts
from failback.readiness import record

#: A second name, whose watch is this node's on either role.
OTHER = {**samples.SECOND, "watch": {"on": "both", "cron": "second-ip"}}


@pytest.fixture
def member(tmp_path):
    (tmp_path / "srv/salt").mkdir(parents=True)
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, facts)


def write(member, **changes):
    """What the lookout has found at this moment."""
    content = {
        "boot_id": system.boot_id(),
        "looked_at": system.boottime(),
        "facts": {"inotify": None, "lag": 2.0},
        "ready": True,
        "not_ready": None,
    }
    record.write(member, {**content, **changes})


def test_what_the_lookout_has_found_is_told_as_long_as_it_looks(member, clock):
    write(member, not_ready={"since": system.boottime() - 30, "about": ["ssh"], "told": True})
    clock.now += readiness.LOOKS_WITHIN
    found = facts.now(member)
    assert (found["looked"], found["ready"], found["lag"]) == (readiness.LOOKS_WITHIN, True, 2.0)
    assert found["not_ready"] == {"for": 30 + readiness.LOOKS_WITHIN, "about": ["ssh"]}
    clock.now += 0.1
    found = facts.now(member)
    assert found["looked"] == pytest.approx(readiness.LOOKS_WITHIN + 0.1)
    assert found["ready"] is None and found["not_ready"] is None and found["lag"] == 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_id": "another"},
        {"facts": None},
        {"facts": []},
        {"looked_at": None},
        {"looked_at": "1"},
        {"version": 99},
    ],
    ids=str,
)
def test_what_is_of_another_boot_or_damaged_is_not_known(member, clock, changes):
    write(member, **changes)
    assert record.read(member) is None
    found = facts.now(member)
    assert found["looked"] is None and found["ready"] is None and "lag" not in found


def test_a_clock_that_seems_to_go_back_makes_nothing_negative(member, clock):
    write(member, looked_at=system.boottime() + 5, not_ready={"since": system.boottime() + 5, "about": []})
    found = facts.now(member)
    assert found["looked"] == 0.0 and found["not_ready"]["for"] == 0.0


@pytest.mark.parametrize("installed", [True, False])
def test_nobody_is_blamed_for_a_lookout_that_highstate_has_not_installed(member, installed):
    unit = member.paths.unit("failback-look@.service")
    files.make_folder(unit.parent)
    if installed:
        unit.touch()
    assert facts.now(member)["installed"] is installed


@pytest.mark.parametrize(
    ("node", "changes", "asked"),
    [("salt2", {}, True), ("salt1", {}, False), ("salt2", {"replicate": []}, False)],
)
def test_only_a_standby_that_is_carried_to_is_in_step(tmp_path, monkeypatch, node, changes, asked):
    monkeypatch.setattr(facts.in_step, "read", lambda member: {"age": 1.0})
    found = facts.now(Member.of(samples.pair(node, **changes), Paths(tmp_path)))
    assert found["in_step"] == ({"age": 1.0} if asked else None)


def test_the_watches_of_this_node_are_those_that_the_pillar_wants_here(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_watch", lambda member, cron: cron.upper())
    config = {"floating_ips": [samples.PAIR["floating_ips"][0], OTHER]}
    for node, names in (("salt2", {"gateway-ip", "second-ip"}), ("salt1", {"second-ip"})):
        found = facts.watches(Member.of(samples.pair(node, **config), Paths(tmp_path)))
        assert found == {name: name.upper() for name in names}


def status(member, **changes):
    address = {"held": False, "seen": True, "answered_by": ["02:00:00:00:00:01"], "silent_seconds": 0}
    two = {**address, "answered_by": ["02:00:00:00:00:01", "02:00:00:00:00:02"]}
    pair = {"sentence": "salt2 stands by", "addresses": {"one": address, "two": two}}
    found = {"pid": os.getpid(), "updated": time.time() - 3, "pairs": {"salt": pair, "other": {}}, **changes}
    files.write_json(member.paths.watch_status("gateway-ip"), found)


def test_what_a_watch_says_of_the_pair(member):
    assert facts.watches(member) == {
        "gateway-ip": {"alive": False, "silent": None, "sentence": None, "several": {}}
    }
    status(member)
    found = facts.watches(member)["gateway-ip"]
    assert found["alive"] is True and 3 <= found["silent"] < 30
    assert found["sentence"] == "salt2 stands by"
    assert found["several"] == {"two": ["02:00:00:00:00:01", "02:00:00:00:00:02"]}
    status(member, updated=time.time() + 100)
    assert facts.watches(member)["gateway-ip"]["silent"] == 0.0
    member.paths.watch_status("gateway-ip").write_text("{")
    assert facts.watches(member)["gateway-ip"]["alive"] is False


@pytest.mark.parametrize(
    ("pid", "ago", "alive"),
    [
        # This process has begun before it wrote that.
        ("own", 0.0, True),
        ("own", None, False),
        (None, 0.0, False),
        ("4711", 0.0, False),
        # Its number has been used again since: the process that has it now began later.
        ("own", 1e6, False),
    ],
)
def test_a_watch_is_alive_while_the_process_that_wrote_its_status_is(member, pid, ago, alive):
    updated = None if ago is None else time.time() - ago
    status(member, pid=os.getpid() if pid == "own" else pid, updated=updated)
    assert facts.watches(member)["gateway-ip"]["alive"] is alive


@pytest.mark.parametrize(("late", "alive"), [(0.9, True), (1.1, False)])
def test_the_kernel_counts_the_beginning_of_a_process_in_its_own_ticks(monkeypatch, late, alive):
    """And the wall clock may have been moved a little: a second is as good as the same moment."""
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(system, "process_started", lambda pid: 500 * ticks)
    monkeypatch.setattr(system, "boottime", lambda: 800.0)
    samples.in_place_of_time(monkeypatch, facts, time=lambda: 10_000.0)
    assert facts._is_alive(4711, 10_000.0 - 300.0 - late) is alive


def test_a_process_that_is_gone_is_not_alive(monkeypatch):
    monkeypatch.setattr(system, "process_started", lambda pid: None)
    assert facts._is_alive(4711, time.time()) is False


def room(**changes):
    """What statvfs says of a file system of 1000 blocks."""
    found = {"f_flag": 0, "f_bavail": 10, "f_frsize": 512, "f_blocks": 1000, "f_favail": 7, "f_files": 70}
    return types.SimpleNamespace(**{**found, **changes})


@pytest.mark.parametrize(
    ("changes", "writable", "error", "files_left"),
    [
        ({}, True, None, 7),
        ({"f_flag": os.ST_RDONLY}, True, "its file system is mounted read-only", 7),
        ({"f_flag": os.ST_NOSUID}, True, None, 7),
        ({}, False, "the folder is immutable, or its file system refuses writes", 7),
        # Btrfs does not count files.
        ({"f_files": 0, "f_favail": 0}, True, None, None),
    ],
)
def test_whether_a_path_can_be_written_and_what_room_it_has(
    member, monkeypatch, changes, writable, error, files_left
):
    asked = []
    monkeypatch.setattr(facts.os, "statvfs", lambda folder: room(**changes))
    monkeypatch.setattr(facts.os, "access", lambda folder, mode: asked.append(mode) or writable)
    (found,) = facts.paths(member).values()
    assert found == {
        "error": error,
        "free_bytes": 5120,
        "bytes": 512_000,
        "free_files": files_left,
        "files": changes.get("f_files", 70),
    }
    assert all(mode == os.W_OK | os.X_OK for mode in asked)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (NotADirectoryError(20, "Not a directory"), "Not a directory"),
        # A path that is not there is a matter of others.
        (FileNotFoundError(2, "No such file"), None),
    ],
)
def test_a_disk_that_fails_is_said_and_a_path_that_is_gone_is_not(member, monkeypatch, error, said):
    def fails(folder):
        raise error

    monkeypatch.setattr(facts.os, "statvfs", fails)
    found = {"/srv/salt": {"error": said, "free_bytes": 0, "free_files": None}}
    assert facts.paths(member) == (found if said else {})


# --- the question to the lookout -------------------------------------------------------------------------


def test_a_round_of_looks_is_asked_for_and_waited_for(member, monkeypatch):
    tokens, waited = [], []

    def sleep(seconds):
        waited.append(seconds)
        tokens.append(record.asked(member))
        # What was found before the question is no answer to it.
        write(member, answers=tokens[-1] if len(waited) > 2 else "an earlier one")

    samples.in_place_of_time(monkeypatch, record, sleep=sleep)
    assert record.look_now(member)["answers"] == tokens[0]
    assert len(set(tokens)) == 1 and len(tokens[0]) == 16 and waited == [0.1] * 3
    # Each question is another one.
    record.look_now(member)
    assert len(set(tokens)) == 2


def test_nobody_waits_longer_than_the_limit_for_a_lookout_that_does_not_run(member, monkeypatch):
    clock = [100.0]

    def sleep(seconds):
        clock[0] += seconds

    samples.in_place_of_time(monkeypatch, record, monotonic=lambda: clock[0], sleep=sleep)
    with pytest.raises(Unavailable, match="within 15 s: failback-look@salt does not run there.*restart"):
        record.look_now(member)
    assert 115.0 <= clock[0] < 115.2
    clock[0] = 100.0
    with pytest.raises(Unavailable, match="within 2.5 s"):
        record.look_now(member, limit=2.5)
    assert 102.5 <= clock[0] < 102.7


def test_a_question_that_cannot_be_read_is_none(member):
    assert record.asked(member) is None
    files.make_folder(member.volatile)
    (member.volatile / "look.json").write_text("{")
    assert record.asked(member) is None


def test_what_the_lookout_writes_is_for_everybody(member):
    write(member)
    assert member.paths.readiness("salt").stat().st_mode & 0o777 == 0o644
