"""What lsyncd has brought is on the disk before a ledger calls this node the newest, or that says so."""

import os

import pytest
import samples

from failback.decisions import verdict
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import on_disk
from failback.state import ledger


@pytest.fixture
def member(tmp_path):
    (tmp_path / "srv/salt").mkdir(parents=True)
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def written(monkeypatch):
    """The folders whose file systems were written to the disk, each time."""
    times = []
    monkeypatch.setattr(system, "sync_file_systems", lambda folders: times.append(list(folders)))
    return times


@pytest.fixture
def syncer(member):
    said = []
    made = on_disk.Syncer(member, said.append)
    made.said = said
    return made


def come(member, pid=None):
    """An rsync of the other node is announced; by default one that has ended since."""
    folder = member.volatile / "incoming"
    files.make_folder(folder)
    name = str(pid or 2**22 + 1)
    (folder / name).write_text(str(system.process_started(pid)) if pid else "1")
    os.utime(folder, ns=(10**18 + len(os.listdir(folder)), 10**18))
    return folder / name


def test_where_nothing_has_come_in_nothing_is_written(member, syncer, written):
    assert on_disk.is_settled(member)
    syncer.work()
    assert written == []


def test_what_has_come_in_is_written_once_and_its_roots_are_those_of_the_paths(member, syncer, written):
    come(member)
    assert not on_disk.is_settled(member)
    syncer.work()
    syncer.work()
    assert len(written) == 1 and f"{member.paths.root}/srv/salt" in written[0]
    assert on_disk.is_settled(member)


def test_while_it_comes_in_it_is_written_each_time_and_never_counts_as_settled(member, syncer, written):
    mine = come(member, os.getpid())
    syncer.work()
    syncer.work()
    assert len(written) == 2 and not on_disk.is_settled(member)
    # It ends: what it wrote last is not on the disk yet.
    mine.write_text("1")
    assert not on_disk.is_settled(member)
    syncer.work()
    assert len(written) == 3 and on_disk.is_settled(member)


def test_what_comes_while_it_is_written_is_for_the_next_time(member, syncer, monkeypatch):
    come(member)
    monkeypatch.setattr(
        system, "sync_file_systems", lambda folders: come(member, os.getpid()).write_text("1")
    )
    syncer.work()
    assert not on_disk.is_settled(member)


def test_a_slow_disk_is_left_alone_for_four_times_as_long(member, syncer, written, monkeypatch):
    clock = iter([100.0, 102.5])
    samples.in_place_of_time(monkeypatch, on_disk, monotonic=lambda: next(clock))
    syncer.work()
    assert syncer._next == 102.5 + 10
    clock = iter([200.0, 200.1])
    syncer.work()
    assert syncer._next == 200.1 + on_disk.EVERY


def test_a_ledger_that_says_so_is_settled_and_keeps_all_else(member, syncer, written):
    member.ledger.write(ledger.Entry(5, "salt2", None, "salt-gw did not answer", unsynced=True))
    before = member.ledger.read()
    # Seen once more, as by a run that admits it: that writes nothing to a disk.
    member.ledger.write(ledger.Entry(5, "salt2", None, "a run"))
    assert member.ledger.read() == before and before["unsynced"] is True
    syncer.work()
    assert len(written) == 1
    assert before == {**member.ledger.read(), "unsynced": True} and "unsynced" not in member.ledger.read()
    syncer.work()
    assert len(written) == 1


def test_a_disk_that_does_not_take_it_leaves_the_word_in_the_ledger(member, syncer, monkeypatch):
    def fail(folders):
        raise Unavailable("/srv/salt could not be written to the disk: Input/output error.")

    monkeypatch.setattr(system, "sync_file_systems", fail)
    member.ledger.write(ledger.Entry(5, "salt2", None, "salt-gw did not answer", unsynced=True))
    come(member)
    syncer.work()
    assert "Input/output error" in syncer.said[0]
    assert member.ledger.read()["unsynced"] and not on_disk.is_settled(member)


def test_after_a_boot_it_is_too_late_to_settle(member, syncer, written, monkeypatch):
    member.ledger.write(ledger.Entry(5, "salt2", None, "salt-gw did not answer", unsynced=True))
    monkeypatch.setattr(system, "boot_id", lambda: "the next boot")
    syncer.work()
    assert member.ledger.read()["unsynced"] and written == []


@pytest.mark.parametrize(
    "other",
    [samples.ledger(4, "salt1", boot_id="before"), samples.ledger(5, "salt2", boot_id="")],
    ids=["missed it", "stepped down to it"],
)
@pytest.mark.parametrize(
    "rebooted, unsynced, name",
    [(True, True, verdict.SPLIT), (True, False, verdict.COLD), (False, True, verdict.FAILED_OVER)],
)
def test_a_node_that_went_down_with_holes_is_not_taken_for_the_newest(rebooted, unsynced, name, other):
    new = samples.ledger(5, "salt2", boot_id="an earlier boot" if rebooted else "this boot")
    if unsynced:
        new["unsynced"] = True
    reports = [
        samples.report("salt1", other),
        samples.report("salt2", new, holds=() if rebooted else ["10.0.0.5/24"]),
    ]
    found = verdict.judge(samples.pair(), *reports)
    assert found.name == name
    holes = "what salt1 had just carried to it may be missing there" in found.sentence
    assert holes is (name == verdict.SPLIT)
    said = any("not known to be on its disk" in one for one in found.drift)
    assert said is (name == verdict.FAILED_OVER)


@pytest.mark.parametrize("content", ["torn", "[]", "{}", '{"mark": 7}'])
def test_a_note_that_does_not_name_the_last_one_proves_nothing(member, syncer, written, content):
    come(member)
    syncer.work()
    assert on_disk.is_settled(member)
    (member.volatile / "synced.json").write_text(content)
    assert not on_disk.is_settled(member)
    syncer.work()
    assert on_disk.is_settled(member) and len(written) == 2
