"""The way back: trees as they were, judged by fingerprints taken before and after."""

import calendar
import json
import os
import shutil
import signal
import stat
import subprocess

import pytest
import trees

from failback import errors
from failback.recovery import attributes
from failback.recovery import backup
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import taken_back

PASS = taken_back.PassTakenBack
ALL = pull.Limits(max_delete=100_000, max_change_percent=100)


@pytest.fixture
def nodes(tmp_path):
    return trees.Nodes(tmp_path)


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def changed(nodes, runs):
    """Two trees that differ in every way; returns item, folder here and peer."""
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.hard_tree(there)
    trees.hard_tree(here)
    trees.make(here, {b"names/" + name: b"OLD " + name for name in trees.HARD_NAMES})
    trees.make(here, {b"gone/" + name + b"/file": b"gone" for name in trees.HARD_NAMES})
    trees.make(here, {"linked/old": "old", "nothing/at/all/": ""})
    os.link(here / "linked/old", here / "linked/old too")
    os.link(here / "linked/old", here / "also old")
    subprocess.run(["setfacl", "-m", "g:777:r", str(here / "attributes/file")], check=True)
    os.setxattr(here / "attributes/file", "user.colour", b"blue")
    os.setxattr(here / "nothing", "user.why", b"because")
    os.chown(here / "owned", 1, 2)
    os.utime(here / "nothing/at", (9, 9))
    # One name, two types: a folder here and a file there, and the other way round.
    trees.make(here, {"kind one/a/b": "1", "kind one/empty/": "", "kind two": "file"})
    trees.make(there, {"kind one": "file", "kind two/a": "1"})
    os.symlink("old target", here / "link")
    os.symlink("new target", there / "link")
    os.symlink("a link", here / "link to file")
    trees.make(there, {"link to file": "file"})
    return item, here, nodes.peer([item])


@pytest.mark.needs("attributes")
def test_all_that_was_lost_comes_back_exactly(nodes, runs, changed):
    item, here, peer = changed
    before = trees.fingerprint(here)
    pull.Pull([item], peer, runs / "one", ALL).sync()
    there = trees.fingerprint(nodes.there / "srv/salt")
    assert trees.differences(there, trees.fingerprint(here)) == {}
    done = restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    after = trees.without(trees.fingerprint(here), done["created_names"])
    assert trees.differences(before, after) == {}
    # What had taken the place of a file that came back, so it could not stay.
    assert done["created_names"] == ["/srv/salt/kind two/a"]


@pytest.mark.needs("attributes")
def test_created_files_are_listed_and_left(nodes, runs, changed):
    item, here, peer = changed
    trees.make(nodes.there / "srv/salt", {"only there": "1"})
    pull.Pull([item], peer, runs / "one", ALL).sync()
    done = restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert "/srv/salt/only there" in done["created_names"]
    assert (here / "only there").read_text() == "1"


@pytest.mark.needs("attributes")
def test_an_undo_can_be_undone(nodes, runs, changed):
    item, here, peer = changed
    pull.Pull([item], peer, runs / "one", ALL).sync()
    synced = trees.fingerprint(here)
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert trees.fingerprint(here) != synced
    restore.restore(runs / "two", runs / "three", root=str(nodes.here))
    assert trees.differences(synced, trees.fingerprint(here)) == {}


@pytest.mark.needs("attributes")
def test_an_undo_repeated_changes_nothing_more(nodes, runs, changed):
    item, here, peer = changed
    before = trees.fingerprint(here)
    pull.Pull([item], peer, runs / "one", ALL).sync()
    for name in ("two", "three"):
        restore.restore(runs / "one", runs / name, root=str(nodes.here))
    assert trees.differences(before, trees.fingerprint(here)) == {}


@pytest.mark.needs("attributes")
def test_preview_of_an_undo_changes_nothing(nodes, runs, changed):
    item, here, peer = changed
    pull.Pull([item], peer, runs / "one", ALL).sync()
    before = trees.fingerprint(here)
    seen = restore.restore(runs / "one", runs / "two", root=str(nodes.here), preview=True)
    assert trees.fingerprint(here) == before
    assert not (runs / "two").exists()
    done = restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert seen == done


@pytest.mark.needs("attributes")
def test_preview_of_an_undo_of_an_undo_says_what_it_is_going_to_do(nodes, runs, changed):
    """What the first undo has brought back is created by it, and is not left alone."""
    item, here, peer = changed
    pull.Pull([item], peer, runs / "one", ALL).sync()
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    before = trees.fingerprint(here)
    seen = restore.restore(runs / "two", runs / "three", root=str(nodes.here), preview=True)
    assert trees.differences(before, trees.fingerprint(here)) == {}
    assert "/srv/salt/linked/old" in seen["removed_names"]
    assert (here / "linked/old").exists()
    assert (seen["created"], seen["created_names"]) == (0, [])
    assert seen == restore.restore(runs / "two", runs / "three", root=str(nodes.here))
    assert not [name for name in seen["removed_names"] if os.path.lexists(nodes.here / name.lstrip("/"))]


def killed_in_the_middle(*arguments):
    """Put back in a process of its own, which is killed when it has put back five files."""
    child = os.fork()
    if not child:
        real, left = os.replace, iter(range(5))

        def replace(*names, **words):
            real(*names, **words)
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            os.replace = replace
            restore.restore(*arguments[:2], root=str(arguments[2]))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def killed_at(moment, patch, *arguments):
    """Put back, and be ended where this function is called."""

    def end(*_):
        raise KeyboardInterrupt

    [place] = [each for each in (PASS, attributes, backup) if hasattr(each, moment)]
    patch.setattr(place, moment, end)
    with pytest.raises(KeyboardInterrupt):
        restore.restore(*arguments[:2], root=str(arguments[2]))


@pytest.mark.needs("attributes")
@pytest.mark.parametrize(
    "moment",
    ["move_created", "make_folders", "put_back", "in the middle", "link_again", "apply_to", "write_manifest"],
)
def test_an_undo_that_was_killed_can_be_run_again_and_undone(nodes, runs, changed, monkeypatch, moment):
    item, here, peer = changed
    wanted, begun = trees.fingerprint(here), "one"
    pull.Pull([item], peer, runs / "one", ALL).sync()
    started = trees.fingerprint(here)
    if moment == "move_created":
        # Done by the undo of an undo alone.
        restore.restore(runs / "one", runs / "two", root=str(nodes.here))
        wanted, started, begun = started, trees.fingerprint(here), "two"
    with monkeypatch.context() as patch:
        terms = (runs / begun, runs / "killed", nodes.here)
        killed_in_the_middle(*terms) if moment == "in the middle" else killed_at(moment, patch, *terms)
    left = trees.fingerprint(here)
    again = restore.restore(runs / begun, runs / "again", root=str(nodes.here))
    found = trees.without(trees.fingerprint(here), again["created_names"])
    assert trees.differences(wanted, found) == {}
    # Each takes back what it has done itself: first to where the killed one ended, then to the beginning.
    restore.restore(runs / "again", runs / "undo of the second", root=str(nodes.here))
    assert trees.differences(left, trees.fingerprint(here)) == {}
    restore.restore(runs / "killed", runs / "undo of the killed", root=str(nodes.here))
    assert trees.differences(started, trees.fingerprint(here)) == {}


@pytest.mark.parametrize("moment", ["make_folders", "link_again", "apply_to", "write_manifest"])
def test_the_time_of_a_folder_that_both_had_alike_is_put_back_after_a_kill(nodes, runs, monkeypatch, moment):
    """No list of a pass has such a folder: nothing was to be done to it itself."""
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"folder/file": "old", "folder/gone": "old"})
    trees.make(there, {"folder/file": "newer", "folder/other": "new"})
    for each in (here, there):
        for name in ("folder", "."):
            os.utime(each / name, (1_700_000_000, 1_700_000_000))
    before = trees.fingerprint(here)
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    started = trees.fingerprint(here)
    with monkeypatch.context() as patch:
        killed_at(moment, patch, runs / "one", runs / "two", nodes.here)
    done = restore.restore(runs / "one", runs / "three", root=str(nodes.here))
    again = trees.without(trees.fingerprint(here), done["created_names"])
    assert trees.differences(before, again) == {}
    assert not list(runs.glob("*/undone/*/*")) and not list(runs.glob("three/times/*/*"))
    # What a killed undo has done is taken back too, to the times before it.
    restore.restore(runs / "three", runs / "four", root=str(nodes.here))
    restore.restore(runs / "two", runs / "five", root=str(nodes.here))
    assert trees.differences(started, trees.fingerprint(here)) == {}


def test_several_passes_go_back_to_the_state_before_the_first(nodes, runs):
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"file": "original", "kept": "1"})
    before = trees.fingerprint(here)
    for content in ("second", "third", "fourth"):
        trees.make(there, {"file": content, "kept": "1"})
        shutil.copystat(here / "kept", there / "kept")
        pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert trees.differences(before, trees.fingerprint(here)) == {}


def test_only_what_was_chosen_comes_back(nodes, runs):
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"a/one": "old", "b/two": "old", "ab": "old"})
    trees.make(there, {"a/one": "new!", "b/two": "new!", "ab": "new!"})
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    done = restore.restore(runs / "one", runs / "two", select=["/srv/salt/a"], root=str(nodes.here))
    found = {name: (here / name).read_text() for name in ("a/one", "b/two", "ab")}
    assert found == {"a/one": "old", "b/two": "new!", "ab": "new!"}
    assert done["restored_names"] == ["/srv/salt/a/one"]


def test_a_link_between_a_changed_and_an_unchanged_name_comes_back(nodes, runs):
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"one": "shared"})
    os.link(here / "one", here / "two")
    trees.make(there, {"one": "its own", "two": "shared"})
    shutil.copystat(here / "two", there / "two")
    before = trees.fingerprint(here)
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    assert (here / "one").stat().st_ino != (here / "two").stat().st_ino
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert trees.differences(before, trees.fingerprint(here)) == {}


def test_manifest_describes_what_is_kept(nodes, runs):
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {b"line\nbreak": "old content", "mode": "1", "empty/": ""})
    trees.make(there, {b"line\nbreak": "new", "mode": "1"})
    shutil.copystat(here / "mode", there / "mode")
    os.chmod(there / "mode", 0o600)
    os.chown(here / os.fsdecode(b"line\nbreak"), 11, 12)
    old = os.lstat(here / "line\nbreak")
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    text = backup.Folder(runs / "one").manifest_file(item.module, 1).read_text()
    entries = {each["path"]: each for each in map(json.loads, text.splitlines())}
    kept = entries["/srv/salt/line\\#012break"]
    assert kept["sha256"] == trees.hashlib.sha256(b"old content").hexdigest()
    assert (kept["size"], kept["uid"], kept["gid"]) == (11, 11, 12)
    assert kept["mtime_ns"] == old.st_mtime_ns
    assert entries["/srv/salt/mode"]["mode"] == 0o644
    assert entries["/srv/salt/empty"]["type"] == "directory"


@pytest.mark.parametrize("part", ["", "backup", "backup/MODULE", "items.json"])
def test_a_backup_removed_by_hand_is_refused_with_the_next_step(nodes, runs, part):
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"file": "old"})
    trees.make(there, {"file": "newer"})
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    removed = runs / "one" / part.replace("MODULE", item.module)
    if removed.is_dir():
        shutil.rmtree(removed)
    else:
        removed.unlink()
    with pytest.raises(errors.Refused, match=r"pair\.history"):
        restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert (here / "file").read_text() == "newer"


def two_passes(nodes, runs):
    """A run of two passes, each of which has overwritten a file and changed a mode; returns the item."""
    item = nodes.item("/srv/salt")
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(here, {"one": "old", "two": "old", "mode": "1"})
    trees.make(there, {"one": "newer", "two": "old", "mode": "1"})
    for name in ("two", "mode"):
        shutil.copystat(here / name, there / name)
    os.chmod(there / "mode", 0o600)
    os.symlink("old", here / "link")
    os.symlink("newer", there / "link")
    pull.Pull([item], nodes.peer([item]), runs / "one", ALL).sync()
    trees.make(there, {"two": "newer"})
    pull.Pull([item], nodes.peer([item]), runs / "one", ALL).sync()
    return item


def damaged(kept, what):
    one = kept / "001/one"
    if what == "a pass":
        shutil.rmtree(kept / "001")
    elif what == "a file":
        one.unlink()
    elif what == "its content":
        times = one.stat()
        one.write_text("0ld")
        os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif what == "its type":
        one.unlink()
        one.mkdir()
    elif what == "a link":
        (kept / "001/link").unlink()
        os.symlink("other", kept / "001/link")
    elif what == "a list":
        (kept.parent.parent / "lists" / kept.name / "001.jsonl").unlink()


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a pass", "/srv/salt/one is missing"),
        ("a file", "/srv/salt/one is missing"),
        ("its content", "/srv/salt/one has changed since it was kept"),
        ("its type", "/srv/salt/one has changed since it was kept"),
        ("a link", "/srv/salt/link has changed since it was kept"),
        ("a list", r"001\.jsonl is missing"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_before_anything_is_changed(nodes, runs, what, said, preview):
    item = two_passes(nodes, runs)
    before = trees.fingerprint(nodes.here / "srv/salt")
    damaged(runs / "one/backup" / item.module, what)
    with pytest.raises(errors.Refused, match=rf"is not whole: .*{said}.*Nothing was put back.*pair\.history"):
        restore.restore(runs / "one", runs / "two", root=str(nodes.here), preview=preview)
    assert trees.differences(before, trees.fingerprint(nodes.here / "srv/salt")) == {}
    assert not (runs / "two").exists()


def test_what_is_missing_keeps_nothing_else_from_being_put_back_by_name(nodes, runs):
    item = two_passes(nodes, runs)
    damaged(runs / "one/backup" / item.module, "its content")
    done = restore.restore(runs / "one", runs / "two", select=["/srv/salt/two"], root=str(nodes.here))
    assert done["restored_names"] == ["/srv/salt/two"]
    assert (nodes.here / "srv/salt/two").read_text() == "old"


def test_a_backup_that_lacks_very_much_is_told_in_a_sentence(nodes, runs):
    item = nodes.item("/srv/salt")
    trees.make(nodes.here / "srv/salt", {f"{number}": "old" for number in range(30)})
    trees.make(nodes.there / "srv/salt", {f"{number}": "newer" for number in range(30)})
    pull.Pull([item], nodes.peer([item]), runs / "one", ALL).sync()
    shutil.rmtree(runs / "one/backup" / item.module / "001")
    with pytest.raises(errors.Refused, match="and 20 more"):
        restore.restore(runs / "one", runs / "two", root=str(nodes.here))


def test_a_damaged_manifest_proves_nothing(nodes, runs):
    item = two_passes(nodes, runs)
    manifest = backup.Folder(runs / "one").manifest_file(item.module, 1)
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(errors.Unreadable, match="Nothing was put back"):
        restore.restore(runs / "one", runs / "two", root=str(nodes.here))


def test_a_killed_pass_puts_back_what_it_had_come_to_and_leaves_the_rest_as_it_is(nodes, runs):
    """Its list names all that it was about to do, and it has no manifest."""
    item = two_passes(nodes, runs)
    folder = backup.Folder(runs / "one")
    folder.manifest_file(item.module, 1).unlink()
    (folder.backup(item.module, 1) / "one").unlink()
    here = nodes.here / "srv/salt"
    trees.make(here, {"one": "written by a client since"})
    since = attributes.snapshot(os.fsencode(here / "one"))
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert (here / "one").read_text() == "written by a client since"
    assert attributes.snapshot(os.fsencode(here / "one")) == since
    assert os.readlink(here / "link") == "old"


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("select", [["/srv/salt/tow"], ["/srv/salt/two", "/srv/tw"], ["/srv/salt/two/more"]])
def test_a_path_of_which_the_run_knows_nothing_is_refused(nodes, runs, select, preview):
    two_passes(nodes, runs)
    with pytest.raises(errors.Refused, match=rf"nothing at {select[-1]}, so nothing was put back"):
        restore.restore(runs / "one", runs / "two", select, root=str(nodes.here), preview=preview)
    assert (nodes.here / "srv/salt/two").read_text() == "newer"
    assert not (runs / "two").exists()


@pytest.mark.parametrize("select", ["/srv/salt/two", "/srv/salt/mode", "/srv/salt/", "/srv"])
def test_a_path_is_one_that_the_run_has_touched_or_a_folder_above(nodes, runs, select):
    two_passes(nodes, runs)
    done = restore.restore(runs / "one", runs / "two", [select], root=str(nodes.here))
    assert done["restored"] + done["attributes"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99, "items": []}'])
def test_a_damaged_or_newer_index_is_not_guessed_at(nodes, runs, text):
    (runs / "one" / "backup").mkdir(parents=True)
    (runs / "one" / "items.json").write_text(text)
    with pytest.raises(errors.Unreadable):
        restore.restore(runs / "one", runs / "two", root=str(nodes.here))


def test_a_list_cut_off_by_a_crash_is_read_up_to_there(nodes, runs):
    item = nodes.item("/srv/salt")
    trees.make(nodes.here / "srv/salt", {"file": "old"})
    trees.make(nodes.there / "srv/salt", {"file": "newer"})
    pull.Pull([item], nodes.peer([item]), runs / "one").sync()
    listing = backup.Folder(runs / "one").list_file(item.module, 1)
    listing.write_text(listing.read_text() + '{"action": "overwr')
    restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    assert (nodes.here / "srv/salt/file").read_text() == "old"


@pytest.mark.parametrize(("keep", "left"), [(0, ["3"]), (1, ["3"]), (2, ["2", "3"]), (9, ["1", "2", "3"])])
def test_pruning_never_takes_the_newest(runs, keep, left):
    for number in (1, 2, 3):
        trees.make(runs, {f"{number}/backup/file": "1"})
        os.utime(runs / str(number), (number, number))
    (runs / ".lock").touch()
    backup.prune(runs, keep)
    assert sorted(each.name for each in runs.iterdir() if each.is_dir()) == left
    assert (runs / ".lock").exists()


@pytest.mark.parametrize(
    ("keep", "days", "left"),
    [
        (1, 0, ["22"]),
        (1, 3, ["19", "20", "21", "22"]),
        (1, 2.5, ["20", "21", "22"]),
        (3, 1, ["20", "21", "22"]),
        (9, 0, ["18", "19", "20", "21", "22"]),
        (1, 100, ["18", "19", "20", "21", "22"]),
    ],
)
def test_pruning_takes_what_is_neither_new_nor_young(runs, keep, days, left):
    for day in range(18, 23):
        trees.make(runs, {f"202611{day}T120000-recover-salt-4f2a/backup/file": "1"})
    noon = calendar.timegm((2026, 11, 22, 12, 0, 0))
    removed = backup.prune(runs, keep, days=days, now=noon)
    found = sorted(each.name[6:8] for each in runs.iterdir())
    assert found == left
    assert len(removed) == 5 - len(left)


def test_a_run_that_replaced_nothing_does_not_push_a_real_backup_out(runs):
    day = "202611{:02}T120000-recover-salt-4f2a"
    for number in (18, 19, 20):
        trees.make(runs / day.format(number), {"backup/module/001/folder/file": "1"})
    for number in (21, 22, 23, 24):
        trees.make(runs / day.format(number), {"backup/module/001/": "", "run.json": ""})
    backup.prune(runs, 2)
    kept = sorted(each.name[6:8] for each in runs.iterdir() if (each / "backup").is_dir())
    assert kept == ["19", "20", "23", "24"]
    assert (runs / day.format(21) / "run.json").exists()


def test_pruning_spares_the_run_that_goes_on(runs):
    for number in (1, 2, 3):
        trees.make(runs, {f"{number}/backup/file": "1"})
        os.utime(runs / str(number), (number, number))
    assert backup.prune(runs, 1, spare=["1"]) == ["2"]


def test_pruning_does_not_follow_links(runs, tmp_path):
    trees.make(tmp_path, {"precious/file": "1", "runs/new/file": "1"})
    os.symlink(tmp_path / "precious", runs / "0")
    backup.prune(runs, 1)
    assert (tmp_path / "precious/file").exists()


def test_pruning_nothing(tmp_path):
    assert backup.prune(tmp_path / "none", 3) == []


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR])
def test_attributes_go_back_and_forth(tmp_path, kind):
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir() if kind == stat.S_IFDIR else path.write_text("1")
    subprocess.run(["setfacl", "-m", "u:54321:rw", str(one)], check=True)
    os.setxattr(one, "user.a", b"\x00\xff")
    os.setxattr(other, "user.b", b"to go")
    os.chmod(other, 0o777)
    os.utime(one, ns=(5, 1_600_000_000_123_456_789))
    attributes.apply(os.fsencode(other), attributes.snapshot(os.fsencode(one)))
    wanted, found = attributes.snapshot(os.fsencode(one)), attributes.snapshot(os.fsencode(other))
    for key in ("mode", "uid", "gid", "mtime_ns", "attributes"):
        assert found[key] == wanted[key], key
