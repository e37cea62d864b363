"""Pulling with a real rsync from a real rsync daemon, judged by the folders afterwards."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import trees
from segment import eventually

from failback import errors
from failback.decisions import conflicts
from failback.host import notation
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import final_sync
from failback.recovery import itemize
from failback.recovery import meter
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import rsync
from failback.replication import replicated

ALL = pull.Limits(max_delete=100_000, max_change_percent=100)
FEW = pull.Limits(max_delete=5)


@pytest.fixture
def nodes(tmp_path):
    return trees.Nodes(tmp_path)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run1"


def folder_pair(nodes, path="/srv/salt"):
    here, there = nodes.here / path[1:], nodes.there / path[1:]
    there.mkdir(parents=True)
    return nodes.item(path), here, there


def same(one, other):
    return trees.differences(trees.fingerprint(one), trees.fingerprint(other)) == {}


@pytest.mark.needs("attributes")
def test_everything_about_a_tree_is_carried_over(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.hard_tree(there)
    report = pull.Pull([item], nodes.peer([item]), run).sync()
    assert trees.differences(trees.fingerprint(there), trees.fingerprint(here)) == {}
    assert report["settled"]
    assert report["changed"] == ["/srv/salt"]


@pytest.mark.needs("attributes")
def test_a_second_sync_changes_nothing(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.hard_tree(there)
    pull.Pull([item], nodes.peer([item]), run).sync()
    before = trees.fingerprint(here)
    report = pull.Pull([item], nodes.peer([item]), run).sync()
    assert report["changed"] == []
    assert report["paths"][0]["passes"] == 1
    assert trees.fingerprint(here) == before


def test_a_pass_with_many_changes_need_not_say_them_and_the_report_has_them(nodes, run, monkeypatch):
    item, _here, there = folder_pair(nodes)
    trees.make(there, {f"file{number}": "1" for number in range(30)})
    commands = []
    real = rsync.pull_command

    def noted(*arguments, **options):
        commands.append(real(*arguments, **options))
        return commands[-1]

    monkeypatch.setattr(rsync, "pull_command", noted)
    [report] = pull.Pull([item], nodes.peer([item]), run).sync()["paths"]
    passes = [command for command in commands if "--dry-run" not in command]
    assert [itemize.FORMAT in command for command in passes] == [False, True]
    assert report["settled"] and report["passes"] == 2
    assert report["created"] == 31 and "/srv/salt/file7" in report["names"]["created"]


def test_rewrite_of_same_size_in_the_same_second_is_seen(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"file": "new"})
    trees.make(here, {"file": "old"})
    second = 1_700_000_000 * 10**9
    os.utime(there / "file", ns=(second + 2, second + 2))
    os.utime(here / "file", ns=(second + 1, second + 1))
    pull.Pull([item], nodes.peer([item]), run).sync()
    assert (here / "file").read_text() == "new"
    assert (here / "file").stat().st_mtime_ns == second + 2


def test_preview_changes_nothing_and_lists_all(nodes, tmp_path):
    item, here, there = folder_pair(nodes)
    trees.make(there, {b"new/" + name: "1" for name in trees.HARD_NAMES})
    trees.make(there, {b"changed/" + name: "12345" for name in trees.HARD_NAMES})
    trees.make(here, {b"changed/" + name: "1" for name in trees.HARD_NAMES})
    trees.make(here, {b"gone/" + name: "123" for name in trees.HARD_NAMES})
    before = trees.fingerprint(here)
    listing = tmp_path / "list"
    seen = dry_run.preview(item, nodes.peer([item]), list_file=listing, limit=5)
    assert trees.fingerprint(here) == before
    entries = [json.loads(line) for line in listing.read_text().splitlines()]
    names = len(trees.HARD_NAMES)

    def listed(action):
        return {notation.raw(each["path"]) for each in entries if each["action"] == action}

    assert listed("overwritten") == {b"/srv/salt/changed/" + name for name in trees.HARD_NAMES}
    assert listed("deleted") == {b"/srv/salt/gone/" + name for name in (*trees.HARD_NAMES, b"")}
    assert listed("created") == {b"/srv/salt/new/" + name for name in (*trees.HARD_NAMES, b"")}
    assert seen["overwritten"] == names
    assert seen["deleted"] == names + 1
    assert seen["bytes"] == names + 5 * names
    assert seen["total_files"] == 2 * names + 2
    assert seen["source_files"] == 2 * names + 2
    assert len(seen["names"]["deleted"]) == 5
    assert seen["truncated"]
    assert listing.stat().st_mode & 0o777 == 0o600


def test_digest_is_of_what_would_be_lost(nodes):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"a": "1", "b": "1"})
    trees.make(here, {"a": "0", "x": "0"})
    peer = nodes.peer([item])
    first = dry_run.preview(item, peer)["digest"]
    assert dry_run.preview(item, peer)["digest"] == first
    trees.make(there, {"another": "new"})
    assert dry_run.preview(item, peer)["digest"] == first
    trees.make(here, {"y": "one more to delete"})
    assert dry_run.preview(item, peer)["digest"] != first


def test_digest_is_not_of_what_clients_overwrite_meanwhile(nodes):
    item, here, there = folder_pair(nodes)
    trees.make(here, {"a": "0", "b": "0", "x": "0"})
    trees.make(there, {"a": "0", "b": "0"})
    peer = nodes.peer([item])
    first = dry_run.preview(item, peer)["digest"]
    trees.make(there, {"a": "overwritten meanwhile", "b": "this one too"})
    seen = dry_run.preview(item, peer)
    assert seen["overwritten"] == 2
    assert seen["digest"] == first


def test_conflicts_are_told_apart_and_listed(nodes, tmp_path):
    item, here, there = folder_pair(nodes)
    both = {"same": "1", "old": "1", "both": "1", "newer": "1", "gone": "1"}
    trees.make(here, {**both, "before": "1", "folder/alone": "1"})
    trees.make(there, {**both, "old": "22", "both": "22", "newer": "22"})
    (there / "gone").unlink()
    for name, mine, theirs in (
        ("same", 100, 100),
        ("old", 100, 2000),
        ("both", 1500, 2000),
        ("newer", 800, 700),
        ("gone", 100, None),
        ("before", 995, None),
        ("folder/alone", 1100, None),
    ):
        os.utime(here / name, (mine, mine))
        if theirs:
            os.utime(there / name, (theirs, theirs))
    listing = tmp_path / "list"

    def reason(path, status, seconds):
        return conflicts.reason(status.st_mtime, seconds, conflicts.Takeover(1000, 1000), before=10)

    seen = dry_run.preview(item, nodes.peer([item]), list_file=listing, conflict=reason)
    wanted = {
        f"{item.path}/both": conflicts.BOTH,
        f"{item.path}/newer": conflicts.NEWER,
        f"{item.path}/before": conflicts.BEFORE,
        f"{item.path}/folder/alone": conflicts.HERE,
    }
    assert seen["conflict_names"] == wanted
    assert seen["conflicts"] == 4
    listed = [json.loads(line) for line in listing.read_text().splitlines()]
    assert {one["path"]: one["conflict"] for one in listed if "conflict" in one} == wanted
    few = dry_run.preview(item, nodes.peer([item]), conflict=reason, limit=2)
    assert len(few["conflict_names"]) == 2 and few["conflicts"] == 4 and few["truncated"]


def test_no_reply_is_an_error_in_rsyncs_words(nodes, run):
    item, _here, _there = folder_pair(nodes)
    peer = nodes.peer([item], before="echo the link is cut >&2; exit 255")
    with pytest.raises(errors.Unavailable, match="the link is cut"):
        pull.Pull([item], peer, run).sync()


@pytest.mark.needs("mounts")
def test_a_partial_transfer_is_an_error(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"first": "1", "second": "2"})
    trees.make(here, {"first": "0"})
    # A folder that cannot be replaced: something is mounted on it.
    trees.make(here, {"second/": ""})
    subprocess.run(["mount", "-t", "tmpfs", "none", str(here / "second")], check=True)
    try:
        with pytest.raises(errors.Unavailable, match="exit code 23"):
            pull.Pull([item], nodes.peer([item]), run, ALL).sync()
    finally:
        subprocess.run(["umount", str(here / "second")], check=True)
    kept = backup.Folder(run).backup(item.module, 1) / "first"
    assert kept.read_text() == "0"
    pull.Pull([item], nodes.peer([item]), run, ALL).sync()
    assert (here / "second").read_text() == "2"


def test_too_many_deletions_are_refused(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"kept": "1"})
    trees.make(here, {"kept": "1", **{f"gone{number}": "" for number in range(101)}})
    before = trees.fingerprint(here)
    with pytest.raises(errors.Refused, match="101 files would be deleted") as refusal:
        pull.Pull([item], nodes.peer([item]), run, pair="salt").sync()
    assert "{pair: salt, max_delete: 130, max_change_percent: 100}" in str(refusal.value)
    assert trees.fingerprint(here) == before
    allowed = pull.Limits(max_delete=101, max_change_percent=100)
    pull.Pull([item], nodes.peer([item]), run, allowed).sync()
    assert os.listdir(here) == ["kept"]


def test_empty_source_is_refused_whatever_the_limits(nodes, run):
    item, here, _there = folder_pair(nodes)
    trees.make(here, {"precious": "1"})
    with pytest.raises(errors.Refused, match="empty on the serving node"):
        pull.Pull([item], nodes.peer([item]), run, ALL).sync()
    assert (here / "precious").read_text() == "1"


def test_missing_source_is_refused(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(here, {"precious": "1"})
    there.rmdir()
    with pytest.raises(errors.Unavailable):
        pull.Pull([item], nodes.peer([item]), run, ALL).sync()
    assert (here / "precious").read_text() == "1"


def test_a_file_where_a_folder_is_expected_is_never_compared(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(here, {"precious": "1"})
    there.rmdir()
    there.write_text("not a folder")
    with pytest.raises(errors.Unavailable, match="Unknown module"):
        pull.Pull([item], nodes.peer([nodes.item("/srv/salt", False)]), run, ALL).sync()
    assert (here / "precious").read_text() == "1"


def test_one_file_is_synced_without_its_neighbours(nodes, run):
    item = nodes.item("/etc/hosts -- warewulf", is_directory=False)
    trees.make(nodes.there, {"etc/hosts -- warewulf": "new", "etc/shadow": "theirs"})
    trees.make(nodes.here, {"etc/hosts -- warewulf": "old", "etc/passwd": "ours"})
    os.chmod(nodes.there / "etc", 0o700)
    os.utime(nodes.here / "etc", (7, 7))
    pull.Pull([item], nodes.peer([item]), run).sync()
    assert sorted(os.listdir(nodes.here / "etc")) == ["hosts -- warewulf", "passwd"]
    assert (nodes.here / "etc/hosts -- warewulf").read_text() == "new"
    status = (nodes.here / "etc").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o755, 7)


def test_a_glob_deletes_only_what_matches(nodes, run):
    item = nodes.item("/etc/qemu/shared-*", is_directory=False)
    trees.make(nodes.there, {"etc/qemu/shared-new": "1", "etc/qemu/local": "theirs"})
    trees.make(nodes.here, {"etc/qemu/shared-old": "1", "etc/qemu/private": "ours"})
    report = pull.Pull([item], nodes.peer([item]), run).sync()
    assert sorted(os.listdir(nodes.here / "etc/qemu")) == ["private", "shared-new"]
    assert report["paths"][0]["names"]["deleted"] == ["/etc/qemu/shared-old"]


def test_nothing_of_an_earlier_pass_is_overwritten_in_the_backup(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(here, {"file": "original"})
    for content in ("second", "third!"):
        trees.make(there, {"file": content})
        pull.Pull([item], nodes.peer([item]), run).sync()
    folder = backup.Folder(run)
    kept = [
        (folder.backup(item.module, number) / "file").read_text()
        for number in folder.passes(item.module)
        if (folder.backup(item.module, number) / "file").exists()
    ]
    assert kept == ["original", "second"]


def test_passes_repeat_until_one_is_small(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {f"file{number}": "1" for number in range(30)})
    asked = []

    def before_pass():
        # The serving node goes on: before the second pass, half a dozen more files.
        asked.append(True)
        if len(asked) == 2:
            trees.make(there, {f"late{number}": "1" for number in range(6)})

    limits = pull.Limits(small_pass=10)
    report = pull.Pull([item], nodes.peer([item]), run, limits, gate=before_pass).sync()
    assert report["paths"][0]["passes"] == len(asked) == 2
    assert same(here, there)


def test_passes_end_when_the_source_never_rests(nodes, run):
    item, _here, there = folder_pair(nodes)
    count = []

    def before_pass():
        count.append(1)
        trees.make(there, {f"{len(count)}-{number}": "1" for number in range(5)})

    trees.make(there, {"file": "1"})
    limits = pull.Limits(small_pass=1, max_passes=3)
    report = pull.Pull([item], nodes.peer([item]), run, limits, gate=before_pass).sync()
    assert report["paths"][0]["passes"] == 3
    assert not report["settled"]


def test_a_closed_gate_stops_before_anything_changes(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"file": "new"})
    trees.make(here, {"file": "old"})

    def closed():
        raise errors.Refused("The other node no longer serves.")

    with pytest.raises(errors.Refused, match="no longer serves"):
        pull.Pull([item], nodes.peer([item]), run, gate=closed).sync()
    assert (here / "file").read_text() == "old"


def test_it_tells_how_far_the_files_are_while_they_come(nodes, run, monkeypatch):
    monkeypatch.setattr(meter, "EVERY", 0.05)
    heard, lists = [], []
    for path, size in (("/srv/salt", 40), ("/srv/other", 20)):
        item, here, there = folder_pair(nodes, path)
        lists.append(item)
        (there / "large").write_bytes(os.urandom(size << 20))
        for number in range(50):
            (there / f"small {number}").write_text("x")
    # A path is done when its second pass is at the gate: however little time the machine has for who tells.
    due = iter((0, 1, 1, 2))

    def gate():
        wanted = next(due)
        eventually(lambda: len(heard) >= wanted, 60, f"told {wanted} times")

    limits = dataclasses.replace(ALL, parallel=1, small_pass=1)
    pulled = pull.Pull(
        lists, nodes.peer(lists), run, limits, gate=gate, tell=lambda *what: heard.append(what)
    )
    pulled.sync()
    assert next(due, None) is None
    assert len(heard) > 1 and len({whole for _, whole, _ in heard}) == 1
    assert heard[0][1] == (60 << 20) + 100
    done = [one[0] for one in heard]
    assert done == sorted(done) and 0 < done[0] <= heard[0][1] and all(one[2] > 0 for one in heard)
    # And it is over with the sync.
    count = len(heard)
    time.sleep(0.3)
    assert len(heard) == count


def test_several_paths_at_once(nodes, run):
    items = []
    for number in range(4):
        item, _here, there = folder_pair(nodes, f"/srv/path {number}")
        trees.make(there, {f"file{each}": str(number) for each in range(50)})
        items.append(item)
    report = pull.Pull(items, nodes.peer(items), run, pull.Limits(parallel=4)).sync()
    assert [each["path"] for each in report["paths"]] == [item.path for item in items]
    for item in items:
        assert same(nodes.here / item.path[1:], nodes.there / item.path[1:])


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=200", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs("mounts")
def test_no_room_for_the_backup_is_refused(nodes, small_disk):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"big": b"n" * 3_000_000})
    trees.make(here, {"big": b"o" * 3_000_000})
    with pytest.raises(errors.Refused, match="must remain") as refusal:
        pull.Pull([item], nodes.peer([item]), small_disk / "runs" / "run1").sync()
    assert str(small_disk) in str(refusal.value)
    assert (here / "big").read_bytes() == b"o" * 3_000_000


@pytest.mark.needs("mounts")
def test_no_inodes_for_the_backup_are_refused(nodes, small_disk):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"kept": "1"})
    trees.make(here, {"kept": "1", **{f"gone{number}": "" for number in range(200)}})
    with pytest.raises(errors.Refused, match="more files"):
        pull.Pull([item], nodes.peer([item]), small_disk / "runs" / "run1", ALL).sync()
    assert len(os.listdir(here)) == 201


@pytest.mark.needs("mounts")
def test_a_backup_on_another_file_system_is_complete(nodes, small_disk):
    item, here, there = folder_pair(nodes)
    here.mkdir(parents=True)
    trees.make(here, {"old/one": "1", "old/changed": "before"})
    os.link(here / "old/one", here / "old/two")
    subprocess.run(["setfacl", "-m", "u:54321:rw", str(here / "old/one")], check=True)
    os.chown(here / "old/changed", 5, 6)
    trees.make(there, {"old/changed": "after"})
    before = trees.fingerprint(here)
    run = small_disk / "runs" / "run1"
    pull.Pull([item], nodes.peer([item]), run).sync()
    assert same(here, there)
    restore.restore(run, small_disk / "runs" / "undo", root=str(nodes.here))
    assert trees.differences(before, trees.fingerprint(here)) == {}


SYNC = """
import pathlib
from failback.recovery import dry_run, pull, rsync
from failback.replication import replicated
item = replicated.item("/srv/salt", True)
peer = rsync.Peer("peer", sys.argv[1], root=sys.argv[2])
pull.Pull([item], peer, sys.argv[3], pull.Limits(max_delete=10**6, max_change_percent=100)).sync()
"""


@pytest.mark.parametrize("victim", ["caller", "rsync"])
def test_a_killed_pass_is_continued_and_nothing_is_lost(nodes, run, victim):
    item, here, there = folder_pair(nodes)
    trees.make(there, {f"file{number:04d}": f"new {number}" for number in range(3000)})
    trees.make(here, {f"file{number:04d}": f"old {number}" for number in range(3000)})
    trees.make(here, {f"gone{number:04d}": f"gone {number}" for number in range(1000)})
    before = trees.fingerprint(here)
    peer = nodes.peer([item])
    program = f"import sys; sys.path[:0] = {sys.path!r}\n" + SYNC
    process = subprocess.Popen(
        [sys.executable, "-c", program, peer.remote_shell, peer.root, run],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kept = backup.Folder(run).backup(item.module, 1)
    limit = time.monotonic() + 30
    while not (kept.is_dir() and len(os.listdir(kept)) > 50):
        assert time.monotonic() < limit, "no pass began within 30 s"
        assert process.poll() is None
    if victim == "caller":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if victim == "rsync":
        # Killed, but not gone yet: on a busy machine it may still end what it was about to delete.
        rsync.lock(run.parent / f".{item.module}.lock", wait=30).close()
        assert not same(here, there)
    pull.Pull([item], peer, run, ALL).sync()
    assert same(here, there)
    assert backup.Folder(run).passes(item.module)[0] == 1
    restore.restore(run, run.parent / "undo", root=str(nodes.here))
    # What the killed rsync was writing was there when the next pass began, under a name of rsync's own.
    differing = trees.differences(before, trees.fingerprint(here))
    assert [name for name in differing if not name.startswith(b".file")] == []


def test_a_running_rsync_keeps_the_next_one_out(nodes, run):
    item, _here, there = folder_pair(nodes)
    trees.make(there, {"file": "1"})
    run.mkdir(parents=True)
    lock_file = run.parent / f".{item.module}.lock"
    with rsync.lock(lock_file), pytest.raises(errors.Refused, match="still runs"):
        rsync.lock(lock_file, wait=0.2)


@trees.needs_rsync_that_knows_missing_names
def test_final_sync_of_names_looks_at_nothing_else(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"a/changed": "1", "a/gone": "1", "a/unseen": "1"})
    peer = nodes.peer([item])
    pull.Pull([item], peer, run).sync()
    trees.make(there, {"a/changed": "22", "a/unseen": "22", b"a/new \n\xff/file": "3"})
    os.unlink(there / "a/gone")
    names = [b"a", b"a/changed", b"a/gone", b"a/new \n\xff", b"a/new \n\xff/file"]
    last = final_sync.FinalSync(pull.Pull([item], peer, run), {item: names})
    [found] = last.run(limit=10)
    last.finish()
    assert (here / "a/changed").read_text() == "22"
    assert (here / "a/unseen").read_text() == "1"
    assert not (here / "a/gone").exists()
    assert (here / os.fsdecode(b"a/new \n\xff/file")).read_text() == "3"
    assert found["deleted"] == found["overwritten"] == 1
    numbers = backup.Folder(run).passes(item.module)
    kept = backup.Folder(run).backup(item.module, numbers[-1])
    assert sorted(os.listdir(kept / "a")) == ["changed", "gone"]


@trees.needs_rsync_that_knows_missing_names
@pytest.mark.parametrize("named", [True, False], ids=["named", "everything compared"])
def test_final_sync_stops_at_the_limit_on_deletions(nodes, run, named):
    item, here, there = folder_pair(nodes)
    names = [f"file {number}" for number in range(9)]
    trees.make(there, {name: "1" for name in names})
    trees.make(there, {"stays": "1"})
    peer = nodes.peer([item])
    pull.Pull([item], peer, run).sync()
    for name in names[:6]:
        os.unlink(there / name)
    chosen = {item: [os.fsencode(name) for name in names]} if named else None
    last = final_sync.FinalSync(pull.Pull([item], peer, run, FEW, "salt"), chosen)
    with pytest.raises(errors.Refused, match="More than 5 files of /srv/salt .*max_delete: 100"):
        last.run(limit=10)
    last.close()
    assert len(os.listdir(here)) == 5
    numbers = backup.Folder(run).passes(item.module)
    assert len(os.listdir(backup.Folder(run).backup(item.module, numbers[-1]))) == 5
    again = final_sync.FinalSync(pull.Pull([item], peer, run, FEW, "salt"), chosen)
    again.run(limit=10)
    again.close()
    assert sorted(os.listdir(here)) == sorted(os.listdir(there))


def test_final_sync_fails_in_the_time_it_was_given(nodes, run):
    item, _here, there = folder_pair(nodes)
    trees.make(there, {"file": "1"})
    last = final_sync.FinalSync(pull.Pull([item], nodes.peer([item], before="exec sleep 60"), run))
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable, match="in the time it was given"):
        last.run(limit=0.5)
    assert time.monotonic() - begun < 10


def test_comparison_explains_only_what_was_changed_here_since(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"same": "1", "lost": "1", "folder/deleted": "1"})
    peer = nodes.peer([item])
    pull.Pull([item], peer, run).sync()
    trees.make(here, {"stale": "from before"})
    os.utime(here, ns=(there.stat().st_mtime_ns,) * 2)
    since = time.time() + 0.05
    threading.Event().wait(0.1)
    trees.make(here, {"folder/new": "1"})
    os.utime(here / "folder/new", (1, 1))
    os.unlink(here / "folder/deleted")
    found = dry_run.compare([item], peer, since)
    assert found["unexplained"] == ["/srv/salt/stale"]
    assert found["differences"] == 4
    assert found["files"] == 4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("::other/", "Unknown module"),
        ("::MODULE/../../etc/", "failed"),
        ("::MODULE/hidden", "failed"),
    ],
)
def test_the_daemon_gives_nothing_else(nodes, tmp_path, source, words):
    item = nodes.item("/etc/only", is_directory=False)
    trees.make(nodes.there, {"etc/only": "1", "etc/hidden": "secret"})
    peer = nodes.peer([item])
    target = tmp_path / "target"
    target.mkdir()
    done = subprocess.run(
        ["rsync", "-a", "-e", peer.remote_shell]
        + ["peer" + source.replace("MODULE", item.module), f"{target}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert words in done.stderr
    assert [*target.iterdir()] == []


@pytest.mark.parametrize("option", ["--remove-source-files", "--copy-links", "--copy-dirlinks"])
def test_the_daemon_refuses_options_nobody_needs(nodes, tmp_path, option):
    item, _here, there = folder_pair(nodes)
    trees.make(there, {"file": "1"})
    peer = nodes.peer([item])
    done = subprocess.run(
        ["rsync", "-a", option, "-e", peer.remote_shell]
        + [f"peer::{item.module}/", str(tmp_path / "target")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "refuse" in done.stderr
    assert not (tmp_path / "target").exists()
    assert (there / "file").exists()


@pytest.mark.parametrize("writable", [False, True])
def test_writing_needs_a_writable_daemon(nodes, tmp_path, writable):
    item, _here, there = folder_pair(nodes)
    trees.make(there, {"file": "old"})
    source = tmp_path / "source"
    trees.make(source, {"file": "newer"})
    peer = nodes.peer([item], writable=writable)
    done = subprocess.run(
        ["rsync", *replicated.OPTIONS, "-e", peer.remote_shell] + [f"{source}/", f"peer::{item.module}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == writable
    assert (there / "file").read_text() == ("newer" if writable else "old")
    if not writable:
        assert "read only" in done.stderr


def test_a_link_out_of_the_path_is_carried_but_not_followed(nodes, tmp_path):
    item, _here, there = folder_pair(nodes)
    trees.make(nodes.there, {"secret/file": "secret"})
    os.symlink("../../secret", there / "way out")
    peer = nodes.peer([item])
    subprocess.run(
        ["rsync", "-a", "-e", peer.remote_shell]
        + [f"peer::{item.module}/way out/", str(tmp_path / "stolen")],
        capture_output=True,
        check=False,
    )
    assert not (tmp_path / "stolen" / "file").exists()


PREVIEW = """
from failback.recovery import dry_run, pull, rsync
from failback.replication import replicated
item = replicated.item("/srv/salt", True)
peer = rsync.Peer("peer", sys.argv[1], root=sys.argv[2])
start = peak()
dry_run.preview(item, peer, list_file=sys.argv[3])
print(peak() - start)
"""


@pytest.mark.slow_test
def test_memory_does_not_grow_with_the_number_of_files(nodes, tmp_path):
    item, here, there = folder_pair(nodes)
    trees.make(there, {f"{number % 50}/few{number}": "" for number in range(500)})
    peer = nodes.peer([item])
    few = trees.resident_growth(PREVIEW, peer.remote_shell, peer.root, tmp_path / "list")
    trees.make(there, {f"{number % 50}/{'long name ' * 10}{number}": "" for number in range(20_000)})
    many = trees.resident_growth(PREVIEW, peer.remote_shell, peer.root, tmp_path / "list")
    assert len((tmp_path / "list").read_text().splitlines()) > 20_000
    assert many - few < 4 * 1024, "KiB"
    assert not here.exists()


def test_the_folders_are_roots_alone(nodes, run):
    item, here, there = folder_pair(nodes)
    trees.make(there, {"file": "new"})
    trees.make(here, {"file": "old"})
    pull.Pull([item], nodes.peer([item]), run).sync()
    for path in [run, *run.rglob("*")]:
        relative = path.relative_to(run).parts
        if path.is_dir() and len(relative) < 3:
            assert path.stat().st_mode & 0o077 == 0, path
        if path.suffix in (".jsonl", ".json"):
            assert path.stat().st_mode & 0o077 == 0, path
