"""
Users of a replicated tree who work against root while it previews, syncs, compares and puts back.

Nothing outside the tree is made, read into a backup or a list, changed or deleted, and what the attacker does
not touch goes its way.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess

import attacker
import pytest
import trees

import effort
from failback import errors
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import final_sync
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import taken_back

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")

ALL = pull.Limits(max_delete=100_000, max_change_percent=100, max_passes=1)
NAMES = (b"file", b"new", b"gone", b"mode")
ROUNDS = effort.rounds(5, 1000)


class Place:
    """Two trees of a user's, one on each node, what lies outside of them, and a run that has changed all."""

    def __init__(self, folder):
        (folder / "nodes").mkdir()
        self.nodes = trees.Nodes(folder / "nodes")
        self.victim = attacker.victim(folder / "victim")
        self.item = self.nodes.item("/srv/home")
        self.here, self.there = self.nodes.here / "srv/home", self.nodes.there / "srv/home"
        old = {
            "u/deep/file": "old",
            "d/deep/file": "old",
            "d/deep/gone": "old",
            "d/deep/mode": "same",
            "d/empty/": "",
        }
        trees.make(self.here, {**old, "safe/file": "old", "safe/gone": "old", "safe/linked": "old"})
        os.link(self.here / "safe/linked", self.here / "safe/linked too")
        trees.make(
            self.there,
            {"u/deep/file": "newer", "d/deep/file": "newer", "d/deep/mode": "same", "safe/file": "newer"},
        )
        for each in (self.here, self.there):
            os.utime(each / "d/deep/mode", (5, 5))
            os.utime(each / "u", (5, 5))
            attacker.give(each)
            for path in (each.parent, each.parent.parent, self.nodes.folder):
                path.chmod(0o755)
        os.chmod(self.here / "d/deep/mode", 0o640)
        self.runs = folder / "runs"
        self.peer = self.nodes.peer([self.item])

    def sync(self, run):
        pull.Pull([self.item], self.peer, self.runs / run, ALL).sync()

    def sync_last(self, run, names):
        """As in a handover: the names that have changed on the other node, and nothing else."""
        pulled = pull.Pull([self.item], self.peer, self.runs / run, ALL)
        with contextlib.closing(final_sync.FinalSync(pulled, {self.item: names})) as last:
            last.run(limit=60)
            last.finish()

    def put_back(self, run, number):
        new = self.runs / f"2026{number}"
        return restore.restore(self.runs / run, new, root=str(self.nodes.here))

    def kept(self):
        """All that is in lists and backups, as text."""
        found = subprocess.run(["grep", "-ral", "SECRET", str(self.runs)], capture_output=True, text=True)
        return found.stdout


@pytest.fixture
def place():
    with attacker.workplace() as folder:
        yield Place(folder)


@pytest.fixture
def place_without_room():
    """On a small file system of its own, with the backups."""
    with attacker.workplace() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=711", "none", folder], check=True)
        try:
            yield Place(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def nothing_has_left(place, before):
    assert attacker.state(place.victim) == before
    assert place.kept() == ""
    strangers = {path.stat().st_ino for path in place.victim.rglob("*")}
    for listing in place.runs.rglob("*.jsonl"):
        for line in listing.read_text().splitlines():
            assert (json.loads(line).get("before") or {}).get("inode") not in strangers, line


@pytest.mark.parametrize("way", ["swap", "fifo", "hard_link", "everything"])
def test_an_undo_against_a_user_who_changes_names_all_the_while(place, way):
    place.sync("one")
    before = attacker.state(place.victim)
    swept = attacker.Attacker(place.here, way, place.victim)
    with swept:
        for number in range(ROUNDS):
            done = place.put_back("one", number)
            assert (place.here / "safe/file").read_text() == "old"
            assert (place.here / "safe/gone").read_text() == "old"
            assert not [name for name in done["left_names"] if "/safe/" in name]
            assert attacker.state(place.victim) == before
    assert swept.rounds
    nothing_has_left(place, before)
    assert (place.here / "safe/linked").stat().st_ino == (place.here / "safe/linked too").stat().st_ino


def test_what_somebody_was_in_the_way_of_is_said_and_put_back_by_the_next_undo(place):
    place.sync("one")
    before = attacker.state(place.victim)
    (place.here / "u").rename(place.here / "mine")
    (place.here / "u").symlink_to(place.victim)
    done = place.put_back("one", 1)
    assert "/srv/home/u/deep/file" in done["left_names"] and done["left"] == len(done["left_names"])
    assert any("in place of a folder" in why for why in done["left_because"])
    assert (place.here / "safe/file").read_text() == "old"
    nothing_has_left(place, before)
    (place.here / "u").unlink()
    (place.here / "mine").rename(place.here / "u")
    assert place.put_back("one", 2)["left"] == 0
    assert (place.here / "u/deep/file").read_text() == "old"
    assert stat.S_IMODE((place.here / "d/deep/mode").stat().st_mode) == 0o640


def test_a_link_that_an_undo_has_kept_leads_nothing_out_of_its_backup(place, monkeypatch):
    """It was in place of a folder when it was kept, and the folder is back when its files are to be kept."""
    place.sync("one")
    before = attacker.state(place.victim)
    (place.here / "d").rename(place.here / "mine")
    (place.here / "d").symlink_to(place.victim)
    put_back = taken_back.PassTakenBack.put_back

    def change_back_and_put_back(this):
        (place.here / "d").rename(place.here / "made")
        (place.here / "mine").rename(place.here / "d")
        (place.here / "d/deep/gone").write_text("since")
        put_back(this)

    monkeypatch.setattr(taken_back.PassTakenBack, "put_back", change_back_and_put_back)
    done = place.put_back("one", 1)
    kept = place.runs / "20261/backup" / place.item.module / "001/d"
    assert kept.is_symlink() and done["left"] == 2
    assert {"/srv/home/d/deep/file", "/srv/home/d/deep/gone"} == set(done["left_names"])
    assert (place.here / "d/deep/gone").read_text() == "since"
    nothing_has_left(place, before)


def test_the_attributes_of_a_file_outside_come_into_no_list(place):
    """Else an undo would give the owner and the set-uid bit of a program of root's to one of the user's."""
    program = place.victim / "deep/mode"
    program.chmod(0o4755)
    (place.here / "d").rename(place.here / "mine")
    (place.here / "d").symlink_to(place.victim)
    folder = backup.Folder(place.runs / "one")
    folder.prepare([place.item])
    listing = folder.list_file(place.item.module, 1)
    dry_run.preview(place.item, place.peer, list_file=listing, attributes_too=True)
    found = [json.loads(line) for line in listing.read_text().splitlines()]
    assert found and not [one for one in found if (one.get("before") or {}).get("mode", 0) & stat.S_ISUID]


@pytest.mark.parametrize("way", ["swap", "everything"])
def test_looks_and_comparisons_against_a_user_who_changes_names_all_the_while(place, way):
    before = attacker.state(place.victim)
    folder = backup.Folder(place.runs / "one")
    folder.prepare([place.item])
    swept = attacker.Attacker(place.here, way, place.victim)
    with swept:
        for number in range(ROUNDS):
            listing = folder.list_file(place.item.module, number)
            try:
                dry_run.preview(place.item, place.peer, list_file=listing, attributes_too=True)
                dry_run.compare([place.item], place.peer, 0)
            except errors.Unavailable as error:
                assert "rsync" in str(error)
    assert swept.rounds
    nothing_has_left(place, before)


def test_a_file_of_root_s_under_a_second_name_keeps_its_owner_and_mode(place):
    """Where the kernel lets a user make such a link (fs.protected_hardlinks = 0); root makes it here."""
    place.sync("one")
    (place.here / "d/deep/mode").unlink()
    os.link(place.victim / "secret", place.here / "d/deep/mode")
    before = attacker.state(place.victim)
    done = place.put_back("one", 1)
    assert done["left_names"] == ["/srv/home/d/deep/mode"]
    assert attacker.state(place.victim) == before


def test_an_undo_gives_a_users_program_no_rights_of_roots(place):
    """The run took a program from root and gave it to the user, who has changed it since."""
    for each in (place.here, place.there):
        (each / "d/tool").write_text("#!/bin/sh\n")
        os.utime(each / "d/tool", (5, 5))
    os.chown(place.there / "d/tool", attacker.UID, attacker.UID)
    os.chown(place.here / "d/tool", 0, 0)
    os.chmod(place.here / "d/tool", 0o4755)
    place.sync("one")
    (place.here / "d/tool").write_text("#!/bin/sh\nid\n")
    done = place.put_back("one", 1)
    found = (place.here / "d/tool").stat()
    assert (found.st_uid, found.st_mode & stat.S_ISUID) == (attacker.UID, 0)
    assert done["left_names"] == ["/srv/home/d/tool"]


def test_a_deep_tree_in_place_of_a_file_is_moved_away(place):
    place.sync("one")
    (place.here / "safe/file").unlink()
    deep = place.here / "safe/file" / "/".join(["x"] * 300)
    deep.mkdir(parents=True)
    (deep / "kept").write_text("his")
    done = place.put_back("one", 1)
    assert done["left"] == 0 and (place.here / "safe/file").read_text() == "old"
    assert [path.read_text() for path in (place.runs / "20261/backup").rglob("kept")] == ["his"]


@pytest.mark.parametrize("final", [False, True], ids=["a pass", "the final sync"])
def test_a_sync_against_a_user_who_changes_names_all_the_while(place, final):
    """rsync itself takes no step through a link since 3.5; an older one is not what this shows."""
    version = subprocess.run(["rsync", "--version"], capture_output=True, text=True).stdout.split()[2]
    if [int(part) for part in version.split(".")[:2]] < [3, 5]:
        pytest.skip(f"rsync {version} follows links that come in between")
    before = attacker.state(place.victim)
    swept = attacker.Attacker(place.here, "swap", place.victim)
    with swept:
        for number in range(ROUNDS):
            try:
                if final:
                    trees.make(place.there, {"d/deep/file": f"{number}", "d/deep/new": f"{number}"})
                    place.sync_last(f"run{number}", [b"d", *(b"d/deep/" + name for name in NAMES)])
                else:
                    place.sync(f"run{number}")
            except errors.Unavailable as error:
                assert "rsync" in str(error)  # in step it is not, and says so
            assert attacker.state(place.victim) == before
    assert swept.rounds
    nothing_has_left(place, before)


@pytest.mark.needs("mounts")
def test_an_undo_against_a_user_who_fills_the_file_system(place_without_room):
    """What there was room for is whole, and the next undo does the rest."""
    place = place_without_room
    place.sync("one")
    before, refused = attacker.state(place.victim), 0
    with attacker.Attacker(place.here, "fill", place.victim) as filled:
        for number in range(ROUNDS):
            try:
                place.put_back("one", number)
            except errors.FailbackError as error:
                refused += 1
                assert "No space is left" in str(error) and "run the same command again" in str(error), error
            # Never half a file: it is written beside, and takes its name then.
            assert (place.here / "safe/file").read_text() in ("old", "newer")
            shutil.rmtree(place.runs / f"2026{number}", ignore_errors=True)
    print(f"{refused} of {ROUNDS} undos found no room")
    assert filled.rounds
    (place.here / "d/fills").unlink()
    place.put_back("one", ROUNDS)
    assert (place.here / "safe/file").read_text() == (place.here / "safe/gone").read_text() == "old"
    assert attacker.state(place.victim) == before


def test_pruning_against_a_user_who_still_has_a_file_of_a_backup_open(place):
    place.sync("20261122T183000-recover-salt-4f2a")
    os.symlink(place.victim, place.runs / "20261122T183000-recover-salt-4f2a/backup/way-out")
    for day in range(10, 12):
        trees.make(place.runs, {f"202612{day}T183000-recover-salt-4f2a/backup/module/001/file": "1"})
    before = attacker.state(place.victim)
    assert backup.prune(place.runs, 1)
    assert attacker.state(place.victim) == before
