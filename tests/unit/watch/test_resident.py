"""A program that stays: its lock, who waits for it, the way to the background, when it starts itself anew."""

import os
import stat
import sys
import threading
import types

import pytest

from failback.errors import Refused
from failback.host import files
from failback.host.paths import Paths
from failback.watch import resident

#: Seconds for something that takes none: the machine may be busy.
SOON = 20


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the program with a wing in it."""
    folder = tmp_path / "failback"
    (folder / "wing").mkdir(parents=True)
    (folder / "cli.py").write_text("")
    (folder / "wing/gate.py").write_text("")
    monkeypatch.setattr(resident, "PACKAGE", folder)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "wing/gate.py").write_text("# another"),
        lambda folder: (folder / "wing/gate.py").unlink(),
        lambda folder: (folder / "wing/more.py").write_text(""),
        lambda folder: (folder / "cli.py").rename(folder / "wing/cli.py"),
    ],
    ids=["changed", "removed", "added", "moved"],
)
def test_a_change_in_a_wing_is_a_change_of_the_program_once_it_stands(package, tmp_path, change):
    changes = resident.Changes(Paths(tmp_path / "node"))
    assert [changes.settled(), changes.settled()] == [False, False]
    change(package)
    assert [changes.settled(), changes.settled()] == [False, True]


def test_other_files_and_other_folders_are_no_change_and_a_new_release_or_a_new_pair_is(package, tmp_path):
    paths = Paths(tmp_path / "node")
    for folder in (paths.release.parent, paths.pairs):
        files.make_folder(folder)
    changes = resident.Changes(paths)

    def settles():
        return [changes.settled(), changes.settled()]

    (package / "wing/notes.txt").write_text("")
    (paths.pairs / "salt.json.new").write_text("{}")
    assert settles() == [False, False]
    (paths.pairs / "salt.json").write_text("{}")
    assert settles() == [False, True]
    changes = resident.Changes(paths)
    paths.release.symlink_to("1.2.3")
    assert settles() == [False, True]


def test_a_change_that_goes_on_is_waited_out(package, tmp_path):
    changes = resident.Changes(Paths(tmp_path / "node"))
    for text in ("# a", "# ab", "# abc"):
        (package / "cli.py").write_text(text)
        assert not changes.settled()
    assert changes.settled()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "run/watch.lock"


def test_one_process_has_the_lock_as_long_as_its_file_is_open(place):
    first = resident.single(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert resident.single(place) is None
    first.close()
    with resident.single(place) as again:
        assert again is not None


def test_a_lock_that_the_kernel_refuses_is_an_error_and_leaves_nothing_open(place, monkeypatch):
    opened = []

    def refuse(handle):
        opened.append(handle)
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files, "lock_now", refuse)
    with pytest.raises(OSError, match="No locks"):
        resident.single(place)
    assert [one.closed for one in opened] == [True]
    monkeypatch.setattr(files, "lock_now", lambda handle: opened.append(handle))
    assert resident.single(place) is None
    assert [one.closed for one in opened] == [True, True]


class Waiting:
    """One that waits for the lock in a thread: what it said, how often it showed that it lives, the lock."""

    def __init__(self, place):
        self.said, self.signs, self.locked = [], threading.Semaphore(0), threading.Event()
        self.leave = threading.Event()
        self.thread = threading.Thread(target=self.wait, args=(place,), daemon=True)
        self.thread.start()

    def wait(self, place):
        with resident.awaited(place, self.said.append, self.signs.release) as lock:
            assert not lock.closed
            self.locked.set()
            self.leave.wait(SOON)
        assert lock.closed


def test_whoever_waits_for_a_place_is_seen_shows_that_it_lives_and_gets_it(place, monkeypatch):
    monkeypatch.setattr(resident, "LONG", 0.1)
    assert not resident.is_awaited(place)
    with resident.single(place):
        assert not resident.is_awaited(place), "nobody has ever waited"
        assert not place.with_name("watch.lock.next").exists(), "whoever looks makes no file"
        waiting = Waiting(place)
        for _ in range(5):
            assert waiting.signs.acquire(timeout=SOON)
        assert resident.is_awaited(place)
        assert not waiting.locked.is_set()
        with pytest.raises(Refused, match="waits for .*watch.lock already"), resident.awaited(place, print):
            pytest.fail("two wait at once")
        assert len(waiting.said) == 1 and "still waiting for the process" in waiting.said[0]
    assert waiting.locked.wait(SOON)
    # It has the place: whoever comes now is to go as well.
    assert resident.is_awaited(place) and resident.single(place) is None
    waiting.leave.set()
    waiting.thread.join(SOON)
    assert not resident.is_awaited(place)
    resident.single(place).close()


def test_a_short_wait_is_not_said(place):
    with resident.awaited(place, pytest.fail, lambda: pytest.fail("the place is free")):
        pass


class Process:
    """What a process does to itself on its way into the background; ``child`` is what fork says."""

    O_RDWR, devnull = os.O_RDWR, os.devnull

    def __init__(self, child, null=7):
        self.child, self.null, self.did = child, null, []

    def fork(self):
        return self.child

    def open(self, path, flags):
        self.did.append(("open", path, flags))
        return self.null

    def __getattr__(self, name):
        return lambda *words: self.did.append((name, *words))


@pytest.mark.parametrize("null", [7, 2])
def test_in_the_background_it_has_a_session_of_its_own_and_nothing_of_crons(monkeypatch, null):
    process = Process(child=0, null=null)
    monkeypatch.setattr(resident, "os", process)
    assert resident.detach() is True
    assert process.did == [
        ("setsid",),
        # Else the folder that cron was started in could not be unmounted.
        ("chdir", "/"),
        ("open", os.devnull, os.O_RDWR),
        *(("dup2", null, one) for one in (0, 1, 2)),
        *([("close", null)] if null > 2 else []),
    ]


def test_in_the_foreground_nothing_is_changed(monkeypatch):
    process = Process(child=4711)
    monkeypatch.setattr(resident, "os", process)
    assert resident.detach() is False and process.did == []


@pytest.mark.parametrize(
    ("known", "command"),
    [
        ({"orig_argv": ["python", "-I", "/failback", "watch", "x"]}, ["-I", "/failback", "watch", "x"]),
        # Python 3.9 does not know its own options.
        ({}, ["/failback", "watch", "x"]),
    ],
)
def test_it_starts_the_same_command_line_anew(monkeypatch, known, command):
    started = []
    monkeypatch.setattr(resident.os, "execv", lambda *words: started.append(words))
    argv = ["/failback", "watch", "x"]
    monkeypatch.setattr(resident, "sys", types.SimpleNamespace(executable=sys.executable, argv=argv, **known))
    resident.start_anew()
    assert started == [(sys.executable, [sys.executable, *command])]
