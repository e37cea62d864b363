"""Backup, undo, and undo of the undo, to the byte, the link and the folder's time: the hard cases by name."""

import contextlib
import json
import os
import stat
import subprocess

import pytest
import trees

from failback import errors
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import final_sync
from failback.recovery import pull
from failback.recovery import restore
from failback.replication import replicated

ALL = pull.Limits(max_delete=100_000, max_change_percent=100)


class Place:
    """Both sides of one path, and its runs."""

    def __init__(self, folder):
        self.nodes = trees.Nodes(folder)
        self.item = self.nodes.item("/srv/salt")
        self.here, self.there = self.nodes.here / "srv/salt", self.nodes.there / "srv/salt"
        for each in (self.here, self.there):
            each.mkdir(parents=True)
        self.runs = folder / "runs"
        self.peer = self.nodes.peer([self.item])

    def sync(self, run="one"):
        """Bring the tree here in step; returns the report of the path."""
        [report] = pull.Pull([self.item], self.peer, self.runs / run, ALL).sync()["paths"]
        assert trees.differences(trees.fingerprint(self.there), self.seen()) == {}
        return report

    def undo(self, run, new, **options):
        return restore.restore(self.runs / run, self.runs / new, root=str(self.nodes.here), **options)

    def seen(self):
        return trees.fingerprint(self.here)

    def kept(self, run="one", number=1):
        """The backup of a pass."""
        return backup.Folder(self.runs / run).backup(self.item.module, number)

    def there_and_back(self):
        """Recover, undo, undo the undo: all is as it was, but for what the recovery has created."""
        before = self.seen()
        self.sync()
        synced = self.seen()
        done = self.undo("one", "two")
        assert trees.differences(before, trees.without(self.seen(), done["created_names"])) == {}
        self.undo("two", "three")
        assert trees.differences(synced, self.seen()) == {}
        return done


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def shared(folder):
    """Names in a backup that are one file with something outside of it."""
    names = {}
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            status = path.lstat()
            names.setdefault((status.st_dev, status.st_ino, status.st_nlink), []).append(path)
    return [paths for (_, _, links), paths in names.items() if links != len(paths)]


def linked(place, *names, content="shared"):
    """One file here with several names."""
    trees.make(place.here, dict.fromkeys(names, ""))
    (place.here / names[0]).write_text(content)
    for name in names[1:]:
        (place.here / name).unlink()
        os.link(place.here / names[0], place.here / name)


@pytest.mark.parametrize("gone", ["changed", "deleted"])
def test_a_backup_shares_no_file_with_the_tree(place, gone):
    linked(place, "name1", "name2", "also changed", "also changed 2")
    trees.make(place.there, {"name1": "shared"})
    if gone == "changed":
        trees.make(place.there, {"name2": "its own"})
    os.utime(place.there / "name1", ns=((place.here / "name1").stat().st_mtime_ns,) * 2)
    before = place.seen()
    place.sync()
    assert shared(place.runs) == []
    # Names of one file that all went are still one file: they need its room once.
    kept = place.kept()
    assert (kept / "also changed").stat().st_ino == (kept / "also changed 2").stat().st_ino
    with open(place.here / "name1", "a") as handle:
        handle.write(", and written since")
    assert (kept / "name2").read_text() == "shared"
    assert place.undo("one", "two")["left"] == 0
    assert (place.here / "name2").read_text() == "shared"
    assert set(before) <= set(place.seen())
    assert shared(place.runs) == []


def test_a_link_into_another_path_is_no_less_one_file(place):
    trees.make(place.here, {"name": "shared"})
    outside = place.nodes.here / "outside"
    os.link(place.here / "name", outside)
    trees.make(place.there, {"other": "1"})
    place.sync()
    outside.write_text("other")
    assert (place.kept() / "name").read_text() == "shared"
    place.undo("one", "two")
    assert (place.here / "name").read_text() == "shared"


@pytest.mark.needs("attributes")
def test_the_copy_in_a_backup_has_all_that_the_file_had(place):
    linked(place, "name1", "name2")
    os.symlink("nowhere", place.here / "link1")
    os.link(place.here / "link1", place.here / "link2", follow_symlinks=False)
    os.mkfifo(place.here / "pipe1")
    os.link(place.here / "pipe1", place.here / "pipe2")
    with open(place.here / "name1", "r+b") as handle:
        handle.truncate(3 << 20)
    subprocess.run(["setfacl", "-m", "u:54321:rw", str(place.here / "name1")], check=True)
    os.setxattr(place.here / "name1", "user.colour", b"blue")
    os.chown(place.here / "name1", 11, 12)
    os.chown(place.here / "link1", 11, 12, follow_symlinks=False)
    os.utime(place.here / "link1", (5, 5), follow_symlinks=False)
    subprocess.run(["rsync", "-aHAXS", f"{place.here}/", f"{place.there}/"], check=True)
    for name in ("name2", "link2", "pipe2"):
        (place.there / name).unlink()
    before = place.seen()
    place.sync()
    assert shared(place.runs) == []
    found = trees.fingerprint(place.kept())
    for name in (b"name2", b"link2"):
        assert found[name] == before[name]
    place.undo("one", "two")
    assert trees.differences(before, place.seen()) == {}


@trees.needs_rsync_that_knows_missing_names
def test_the_final_sync_leaves_no_file_shared_for_whoever_serves_next(place):
    linked(place, "name1", "name2")
    subprocess.run(["rsync", "-aHAXS", f"{place.here}/", f"{place.there}/"], check=True)
    pulled = pull.Pull([place.item], place.peer, place.runs / "one", ALL)
    pulled.sync()
    (place.there / "name2").unlink()
    last = final_sync.FinalSync(pulled, {place.item: [b"name2"]})
    last.run(limit=10)
    last.close()
    # Clients write from here on; the manifests come later.
    (place.here / "name1").write_text("written by a client")
    last.finish()
    assert shared(place.runs) == []
    place.undo("one", "two")
    assert (place.here / "name2").read_text() == "shared"


def test_what_an_undo_keeps_is_no_users_open_door(place):
    """An undo runs where clients write: what it keeps is no file of the tree at any moment."""
    linked(place, "a/one", "a/two", "b/three")
    trees.make(place.there, {"b/three": "shared"})
    place.sync()
    linked(place, "a/one", "a/two", "outside", content="new, by a client")
    place.undo("one", "two")
    assert shared(place.runs) == []
    (place.here / "outside").write_text("by a client again")
    assert (place.kept("two") / "a/one").read_text() == "new, by a client"
    assert (place.kept("two") / "a/one").stat().st_ino == (place.kept("two") / "a/two").stat().st_ino


def test_a_pass_that_was_killed_is_ended_by_the_next_run(place):
    """Its backup still shares files with the tree, in which somebody may write any time."""
    linked(place, "name1", "name2")
    trees.make(place.there, {"name1": "shared"})
    place.sync()
    folder = backup.Folder(place.runs / "one")
    folder.manifest_file(place.item.module, 1).unlink()
    (place.kept() / "name2").unlink()
    os.link(place.here / "name1", place.kept() / "name2")
    place.sync("another")
    assert shared(place.runs) == []
    (place.here / "name1").write_text("written since")
    place.undo("one", "two")
    assert (place.here / "name2").read_text() == "shared"


LOOPS = {"itself": [("a", "a")], "each other": [("a", "b"), ("b", "a")], "through it": [("a", "a/f")]}


@pytest.mark.parametrize("side", ["here", "there"])
@pytest.mark.parametrize("links", LOOPS.values(), ids=LOOPS)
def test_a_link_that_leads_nowhere_changes_places_with_a_folder(place, links, side):
    one, other = (place.here, place.there) if side == "here" else (place.there, place.here)
    for name, target in links:
        os.symlink(target, one / name)
        trees.make(other, {f"{name}/f": "1", f"{name}/deep/er/f": "1"})
    place.there_and_back()


@pytest.mark.parametrize("here", ["a link to itself", "a file"])
def test_hard_links_below_a_folder_that_is_something_else_here(place, here):
    """A dry run of rsync ends with 23 there; it is a look, and the pass that follows is not one."""
    os.symlink("a", place.here / "a") if here == "a link to itself" else trees.make(place.here, {"a": "1"})
    trees.make(place.here, {"z": "old"})
    trees.make(place.there, {"z": "shared", "a/c/": ""})
    for name in ("a/b", "a/c/d"):
        os.link(place.there / "z", place.there / name)
    place.there_and_back()


def test_a_name_that_rsync_lists_twice_is_one_name(place):
    """The links of a file are counted: one that is not in the list is looked for in the tree."""
    linked(place, "c", "a/b/x")
    trees.make(place.there, {"c": "shared"})
    os.utime(place.there / "c", ns=((place.here / "c").stat().st_mtime_ns,) * 2)
    os.setxattr(place.there / "c", "user.kind", b"1")
    os.link(place.there / "c", place.there / "a")
    place.there_and_back()


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_one_name_of_a_file_becomes_something_else(place, kind):
    linked(place, "a", "c", "d/e")
    trees.make(place.there, {"a": "changed", "d/e": "changed"})
    {
        "link": lambda path: os.symlink("a", path),
        "folder": os.mkdir,
        "fifo": os.mkfifo,
    }[kind](place.there / "c")
    place.there_and_back()


def test_a_folder_with_a_default_acl_was_a_file_of_two_names(place):
    linked(place, "a", "c")
    trees.make(place.there, {"a": "changed", "c/": ""})
    subprocess.run(["setfacl", "-d", "-m", "u:54321:rx", str(place.there / "c")], check=True)
    place.there_and_back()


@pytest.mark.parametrize("size", [200, 235, 250, 255])
def test_names_as_long_as_they_can_be(place, size):
    one, other = "x" * size, "y" * size
    folder = "z" * size
    linked(place, one, other)
    trees.make(place.here, {f"{folder}/{one}": "old", f"{folder}/gone": "1"})
    trees.make(place.there, {one: "changed", other: "shared", f"{folder}/{one}": "new"})
    os.utime(place.here / folder, (7, 7))
    place.there_and_back()


def deep(top, length, content):
    """A file whose name below ``top`` has so many bytes."""
    folder, name = os.open(top, os.O_RDONLY), ""
    while length - len(name) > 255:
        part = "d" * min(240, length - len(name) - 2)
        os.mkdir(part, dir_fd=folder)
        below = os.open(part, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder, name = below, f"{name}{part}/"
    last = "f" * (length - len(name))
    with open(os.open(last, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder), "w") as handle:
        handle.write(content)
    os.close(folder)


@pytest.mark.parametrize("there", ["changed", "gone", "a file in place of its folders"])
@pytest.mark.parametrize("beyond", [0, 1])
def test_a_path_that_is_as_long_as_it_can_be_in_a_backup(place, beyond, there):
    """One byte more, and rsync would stop in the middle: so it is refused before anything is changed."""
    length = 4095 - len(f"{place.kept()}/") + beyond
    deep(place.here, length, "old")
    trees.make(place.here, {"other": "old"})
    trees.make(place.there, {"other": "newer"})
    if there == "changed":
        deep(place.there, length, "newer")
    elif there != "gone":
        trees.make(place.there, {"d" * 240: "1"})
    if not beyond:
        place.there_and_back()
        return
    with pytest.raises(errors.Refused, match=r"would have 4096 bytes, .*pair\.plan"):
        place.sync()
    assert (place.here / "other").read_text() == "old"


def test_files_of_the_user_that_are_called_like_temporary_ones(place, monkeypatch):
    """Whatever name is drawn: one that is taken is not ours."""
    drawn = iter([b"0" * 16] * 3 + [b"%016x" % number for number in range(100)])
    monkeypatch.setattr("secrets.token_hex", lambda size=8: next(drawn).decode())
    trees.make(place.here, {"file": "old", ".failback-" + "0" * 16: "the user's"})
    linked(place, "one", "two")
    trees.make(place.there, {"file": "newer", ".failback-" + "0" * 16: "the user's", "one": "changed"})
    os.utime(place.there / (".failback-" + "0" * 16), (5, 5))
    place.there_and_back()


@pytest.mark.parametrize("empty", [True, False])
def test_a_file_that_became_folders(place, empty):
    trees.make(place.here, {"c": "file", "beside": "1"})
    linked(place, "d", "e")
    last = "" if empty else "f"
    trees.make(place.there, {f"c/b/q/{last}": "", f"d/x/y/{last}": "", "beside": "1"})
    for name in ("c", "c/b", "c/b/q"):
        os.utime(place.there / name, (11, 11))
        os.chown(place.there / name, 3, 4)
    place.there_and_back()


def test_owners_of_hard_links(place):
    linked(place, "a", "b", "c")
    os.chown(place.here / "a", 21, 22)
    trees.make(place.there, {"a": "changed", "b": "shared", "c": "shared"})
    os.chown(place.there / "b", 31, 32)
    place.there_and_back()


def test_times_of_folders_in_which_names_come_and_go(place):
    trees.make(place.here, {"gone/deep/f": "1", "kind": "1", "stays/gone": "1", "stays/kept": "1"})
    trees.make(place.there, {"kind/f": "1", "stays/kept": "1", "stays/new/deep/f": "1"})
    for top, name, when in (
        (place.here, "stays", 5),
        (place.here, "gone/deep", 6),
        (place.here, "gone", 7),
        (place.here, ".", 8),
        (place.there, "stays/new/deep", 9),
        (place.there, "stays/new", 10),
        (place.there, "kind", 11),
        (place.there, "stays", 12),
        (place.there, ".", 13),
    ):
        os.utime(top / name, (when, when))
    place.there_and_back()


KINDS = {
    "file": lambda path: path.write_text("1"),
    "folder": lambda path: trees.make(path, {"f": "1"}),
    "empty folder": lambda path: path.mkdir(),
    "link": lambda path: os.symlink("nowhere", path),
    "fifo": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


@pytest.mark.parametrize("here", KINDS)
def test_plan_and_run_call_a_change_of_kind_by_one_word(place, here):
    for there in KINDS:
        if there != here:
            KINDS[here](place.here / f"to {there}")
            KINDS[there](place.there / f"to {there}")
    planned = dry_run.preview(place.item, place.peer)
    done = place.sync()
    for action in ("created", "overwritten", "deleted"):
        assert done[action] == planned[action], action
        assert sorted(done["names"][action]) == sorted(planned["names"][action])


def test_the_manifest_of_a_copy_describes_the_copy(place):
    linked(place, "name1", "name2")
    trees.make(place.there, {"name1": "shared"})
    place.sync()
    text = backup.Folder(place.runs / "one").manifest_file(place.item.module, 1).read_text()
    [entry] = [each for each in map(json.loads, text.splitlines()) if each["path"] == "/srv/salt/name2"]
    assert entry["inode"] == (place.kept() / "name2").stat().st_ino


@pytest.mark.needs("mounts")
def test_an_undo_whose_backup_lies_on_another_disk(place, tmp_path):
    """Nothing can be moved or linked there: it is copied, and has all that it had."""
    place.runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(place.runs)], check=True)
    try:
        linked(place, "a/one", "a/two", "a/three")
        trees.make(place.here, {"kind": "1", "b/gone": "1"})
        trees.make(place.there, {"a/one": "changed", "kind/below": "1", "a/three": "shared"})
        os.chown(place.there / "a/one", 41, 42)
        os.chmod(place.there / "kind/below", 0o640)
        place.there_and_back()
        assert (place.kept("two") / "a/one").stat().st_uid == 41
        assert stat.S_IMODE((place.kept("two") / "kind/below").stat().st_mode) == 0o640
    finally:
        subprocess.run(["umount", str(place.runs)], check=True)


def test_room_for_what_must_be_copied_is_asked_for_before(place):
    """Two of three names go, one stays: a file. Both of two go: none."""
    linked(place, "one", "two", "three", content="x" * 1000)
    linked(place, "a", "b", content="y" * 500)
    trees.make(place.there, {"one": "x" * 1000})
    os.utime(place.there / "one", ns=((place.here / "one").stat().st_mtime_ns,) * 2)
    seen = dry_run.preview(place.item, place.peer)
    assert (seen["copied_files"], seen["copied_bytes"]) == (1, 1000)
    place.sync()
    kept = {path.lstat().st_ino for path in place.kept().iterdir()}
    assert len(kept) == 2 and len(list(place.kept().iterdir())) == 4


def test_a_folder_that_a_hard_link_replaces_needs_a_second_pass_and_no_second_run(place):
    """rsync asks the file for the default ACL of the folder that was there, and ends with 23."""
    trees.make(place.here, {"a": "", "b/": ""})
    trees.make(place.there, {"b": ""})
    os.link(place.there / "b", place.there / "a")
    os.utime(place.there / "b", (5, 5))
    os.utime(place.here / "a", (5, 5))
    place.there_and_back()


@trees.needs_rsync_that_knows_missing_names
def test_a_copy_that_takes_too_long_ends_the_final_sync_and_not_the_backup(place, monkeypatch):
    linked(place, "name1", "name2", content="shared" * 1000)
    subprocess.run(["rsync", "-aHAXS", f"{place.here}/", f"{place.there}/"], check=True)
    pulled = pull.Pull([place.item], place.peer, place.runs / "one", ALL)
    pulled.sync()
    (place.there / "name2").unlink()
    last = final_sync.FinalSync(pulled, {place.item: [b"name2"]})

    def late(*_):
        last._deadline = 0
        return True

    with monkeypatch.context() as patch:
        patch.setattr("failback.recovery.rsync.require_success", late)
        with pytest.raises(errors.Unavailable, match=r"not ended in the time.*Run the same"):
            last.run(limit=60)
    last.close()
    place.sync()
    assert shared(place.runs) == []
    assert (place.kept("one", 2) / "name2").read_text() == "shared" * 1000


def test_a_copy_that_was_killed_leaves_nothing_to_be_put_back(place):
    linked(place, "name1", "name2")
    trees.make(place.there, {"name1": "shared"})
    place.sync()
    beside = place.kept().parent
    (beside / ".copy").write_text("half of")
    (beside / ".link").write_text("half of")
    linked(place, "name1", "name3")
    place.sync()
    assert sorted(os.listdir(beside)) == ["001", "002"]


def test_an_undo_gives_no_earlier_time_to_what_somebody_has_written_since(tmp_path):
    """The run changed its mode alone. With size and time alike lsyncd would pass over it."""
    nodes = trees.Nodes(tmp_path)
    item, here, there = nodes.item("/srv/salt"), nodes.here / "srv/salt/a", nodes.there / "srv/salt/a"
    for side, mode in ((nodes.here, 0o600), (nodes.there, 0o644)):
        trees.make(side / "srv/salt", {"a": "0123456789"})
        os.utime(side / "srv/salt/a", (1000, 1000))
        os.chmod(side / "srv/salt/a", mode)
    pull.Pull([item], nodes.peer([item]), tmp_path / "runs/one", ALL).sync()
    here.write_text("ABCDEFGHIJ")
    written = here.stat().st_mtime_ns
    restore.restore(tmp_path / "runs/one", tmp_path / "runs/two", root=str(nodes.here))
    assert (here.stat().st_mode & 0o777, here.stat().st_mtime_ns) == (0o600, written)
    carry = ["rsync", *replicated.CARRYING, f"{here.parent}/", f"{there.parent}/"]
    subprocess.run(carry, check=True)
    assert there.read_text() == "ABCDEFGHIJ"


def test_an_undo_gives_back_a_time_that_the_run_has_changed_and_its_own_undo_too(tmp_path):
    nodes = trees.Nodes(tmp_path)
    item, here = nodes.item("/srv/salt"), nodes.here / "srv/salt"
    for side, moment in ((nodes.here, 1000), (nodes.there, 2000)):
        trees.make(side / "srv/salt", {"folder/a": "0123456789"})
        for name in ("folder/a", "folder"):
            os.utime(side / "srv/salt" / name, (moment, moment))
    pull.Pull([item], nodes.peer([item]), tmp_path / "runs/one", ALL).sync()
    times = [(here / name).stat().st_mtime for name in ("folder/a", "folder")]
    assert times == [2000, 2000]
    restore.restore(tmp_path / "runs/one", tmp_path / "runs/two", root=str(nodes.here))
    assert [(here / name).stat().st_mtime for name in ("folder/a", "folder")] == [1000, 1000]
    restore.restore(tmp_path / "runs/two", tmp_path / "runs/three", root=str(nodes.here))
    assert [(here / name).stat().st_mtime for name in ("folder/a", "folder")] == [2000, 2000]


def test_a_final_sync_stops_deleting_once_also_where_something_else_fails(tmp_path):
    """A folder has become a file: rsync cannot replace it, and ends with another code than for the limit."""
    nodes = trees.Nodes(tmp_path)
    item, here = nodes.item("/srv/salt"), nodes.here / "srv/salt"
    trees.make(here, {"a": "1", **{f"d/{number}": "0" for number in range(50)}})
    trees.make(nodes.there / "srv/salt", {"a": "0", "d": "a file now"})
    whole = pull.Pull([item], nodes.peer([item]), tmp_path / "runs/one", pull.Limits(max_delete=5))
    last = final_sync.FinalSync(whole, {item: [b"d"]})
    with contextlib.closing(last), pytest.raises(errors.Refused, match="max_delete"):
        last.run(20)
    assert len(os.listdir(here / "d")) == 45
