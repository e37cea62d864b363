"""A pass that was killed, or lost its power, while rsync kept a file on another file system."""

import hashlib
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time

import pytest
import trees

from failback import errors
from failback.host import system
from failback.recovery import apart
from failback.recovery import backup
from failback.recovery import killed
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import rsync

ALL = pull.Limits(max_delete=100_000, max_change_percent=100)
FIRST, SECOND = "20260101T000000-recover-salt-aaaa", "20260101T010000-recover-salt-bbbb"
MIB = 1 << 20


@pytest.fixture
def runs(tmp_path):
    """The folder of the runs, on another file system than the tree."""
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    found = pathlib.Path(tempfile.mkdtemp(prefix="failback-runs-", dir="/dev/shm"))
    yield found
    shutil.rmtree(found)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def nodes(tmp_path):
    """A large file here that the other node has another one of."""
    made = trees.Nodes(tmp_path)
    trees.make(made.here / "srv/salt", {"keep": "1", "big": os.urandom(64) * (2 * MIB)})
    trees.make(made.there / "srv/salt", {"keep": "1", "big": "new"})
    return made


class KilledRsync(rsync.Pass):
    """All of it is killed as soon as it has begun to keep the large file, as without memory or power."""

    def __enter__(self):
        entered = super().__enter__()
        (place,) = [one.partition("=")[2] for one in self.command if one.startswith("--backup-dir=")] or [
            None
        ]
        if place:
            threading.Thread(target=self._kill, args=(pathlib.Path(place) / "big",), daemon=True).start()
        return entered

    def _kill(self, kept):
        end = time.monotonic() + 20
        while not (kept.exists() and kept.stat().st_size > MIB) and time.monotonic() < end:
            time.sleep(0.0005)
        pid = self._process.pid
        # Stopped first, so that it starts no other one meanwhile.
        os.kill(pid, signal.SIGSTOP)
        for one in (*[int(child.name) for child in system.children(pid)], pid):
            os.kill(one, signal.SIGKILL)


def cut(nodes, runs, monkeypatch, whole):
    """A first run whose rsync is killed, and with ``whole`` the program that runs it."""
    item, big = nodes.item("/srv/salt"), nodes.here / "srv/salt/big"
    before = digest(big)
    first = pull.Pull([item], nodes.peer([item]), runs / FIRST, ALL)
    with monkeypatch.context() as patch:
        patch.setattr(pull.rsync, "Pass", KilledRsync)
        if whole:
            patch.setattr(pull.killed, "end_pass", lambda *_: None)
        with pytest.raises(errors.Unavailable):
            first.sync()
    assert digest(big) == before
    return item, before, backup.Folder(runs / FIRST).backup(item.module, 1) / "big"


@pytest.fixture
def cut_short(nodes, runs, monkeypatch):
    """All was killed, and half of the file is in the backup; the path, and what it had."""
    item, before, kept = cut(nodes, runs, monkeypatch, whole=True)
    big = nodes.here / "srv/salt/big"
    if not kept.exists() or kept.stat().st_size == big.stat().st_size:
        pytest.skip("it was over before it could be killed")
    return item, before


def test_a_pass_whose_rsync_was_killed_keeps_no_half_file(nodes, runs, monkeypatch):
    item, before, kept = cut(nodes, runs, monkeypatch, whole=False)
    assert not kept.exists() and backup.Folder(runs / FIRST).manifest_file(item.module, 1).exists()
    done = restore.restore(runs / FIRST, runs / SECOND, root=str(nodes.here))
    assert done["restored"] == 0 and digest(nodes.here / "srv/salt/big") == before


@pytest.mark.parametrize("again", [FIRST, SECOND], ids=["the same run", "another run"])
def test_half_a_copy_is_never_put_back(nodes, runs, cut_short, again):
    item, before = cut_short
    pull.Pull([item], nodes.peer([item]), runs / again, ALL).sync()
    assert (nodes.here / "srv/salt/big").read_text() == "new"
    for number, run in enumerate(sorted({FIRST, again}, reverse=True)):
        restore.restore(runs / run, runs / f"2026010{number + 2}T000000-undo-salt-cccc", root=str(nodes.here))
    assert digest(nodes.here / "srv/salt/big") == before


def test_an_undo_at_once_leaves_what_the_pass_had_not_come_to(nodes, runs, cut_short):
    _, before = cut_short
    for preview in (True, False):
        done = restore.restore(runs / FIRST, runs / SECOND, root=str(nodes.here), preview=preview)
        assert "/srv/salt/big" not in done["restored_names"]
        assert digest(nodes.here / "srv/salt/big") == before


def test_a_kept_file_that_lost_its_end_with_the_power_is_refused(nodes, runs, cut_short):
    """The tree has the new file on its disk, the backup has a part of the old one."""
    item, _ = cut_short
    (nodes.here / "srv/salt/.big").write_text("new")
    (nodes.here / "srv/salt/.big").rename(nodes.here / "srv/salt/big")
    with pytest.raises(errors.Refused, match="big was not kept as a whole.*it had [0-9]+ bytes"):
        restore.restore(runs / FIRST, runs / "undo", root=str(nodes.here))
    # And once the pass was ended, by its manifest.
    killed.end_passes(backup.Folder(runs / FIRST), item, os.fsencode(nodes.here / "srv/salt"))
    with pytest.raises(errors.Refused, match="big was not kept as a whole"):
        restore.restore(runs / FIRST, runs / "undo", root=str(nodes.here))


@pytest.mark.parametrize(
    ("tree", "kept", "left"),
    [
        (b"0123456789", b"01234", {b"file"}),
        # It was replaced, or deleted, by the pass; or somebody has written it since.
        (b"abcdefghij", b"01234", set()),
        (None, b"01234", set()),
        # A whole one may stay where it is.
        (b"0123456789", b"0123456789", set()),
        (b"0123", b"0123456789", set()),
    ],
)
def test_of_a_final_sync_whose_list_has_no_sizes_the_bytes_decide(tmp_path, runs, tree, kept, left):
    nodes = trees.Nodes(tmp_path)
    item, folder = nodes.item("/srv/salt"), backup.Folder(runs / FIRST)
    folder.prepare([item])
    folder.list_file(item.module, 1).touch()
    trees.make(nodes.here / "srv/salt", {"other": "1", **({"file": tree} if tree else {})})
    time.sleep(0.02)
    trees.make(folder.backup(item.module, 1), {"file": kept})
    assert killed.unfinished(folder, item, 1, nodes.here / "srv/salt") == left


def test_what_is_kept_goes_to_the_disk_before_its_manifest_and_what_has_replaced_it(nodes, runs, monkeypatch):
    done = []
    monkeypatch.setattr(
        pull.system, "sync_file_systems", lambda folders: done.append([str(one) for one in folders])
    )
    write = backup.write_manifest
    monkeypatch.setattr(
        pull.backup, "write_manifest", lambda *words: done.append("manifest") or write(*words)
    )
    item = nodes.item("/srv/salt")
    pull.Pull([item], nodes.peer([item]), runs / FIRST, ALL).sync()
    assert done[:2] == [[str(backup.Folder(runs / FIRST).backup(item.module, 1))], "manifest"]


def test_an_undo_that_is_killed_while_it_keeps_a_file_leaves_no_half_one_under_its_name(
    tmp_path, runs, monkeypatch
):
    trees.make(tmp_path / "tree", {"big": "x" * 1000})

    def cut(found, folder, name, go_on=None):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(apart.beneath, "copy", cut)
    kept, tree = apart.Kept(runs / "backup/001"), apart.beneath.Tree(tmp_path / "tree")
    with kept, tree, pytest.raises(KeyboardInterrupt):
        kept.take(tree, b"big")
    assert os.listdir(runs / "backup/001") == [] and (tmp_path / "tree/big").exists()
    monkeypatch.undo()
    with apart.Kept(runs / "backup/001") as kept, apart.beneath.Tree(tmp_path / "tree") as tree:
        kept.take(tree, b"big")
    assert os.listdir(runs / "backup") == ["001"]
    assert (runs / "backup/001/big").read_text() == "x" * 1000 and not (tmp_path / "tree/big").exists()
