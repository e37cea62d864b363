"""The kernel's own notices, and the pass that relies on them: both trees are equal, whatever was done."""

import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import hypothesis
import pytest
import trees
from hypothesis import strategies as st

from effort import examples
from failback import errors
from failback.host import notation
from failback.journal import changes
from failback.journal import held
from failback.journal import inotify
from failback.recovery import final_sync
from failback.recovery import pull
from failback.replication import replicated

ALL = pull.Limits(max_delete=100_000, max_change_percent=100)
NAMES = [b"a", b"b", b"c", b"\xff \n", b"#x", b"-r", b"*", rb"\#012"]


class Pair:
    """Two folders in step, and a journal of the one that serves since just before."""

    def __init__(self, folder, path="/srv/salt", is_directory=True, begin=None, many=changes.MANY):
        self.nodes = trees.Nodes(folder)
        self.item = self.nodes.item(path, is_directory)
        self.here = self.nodes.here / self.item.root[1:]
        self.there = self.nodes.there / self.item.root[1:]
        self.there.mkdir(parents=True)
        if begin:
            begin(self.there)
        self.peer = self.nodes.peer([self.item])
        self.run = folder / "runs" / "run1"
        self.journal = changes.Journal(self.item, str(self.nodes.there), many)
        pull.Pull([self.item], self.peer, self.run, ALL, mark=lambda item: self.journal.mark()).sync()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.journal.close()

    def final_sync(self):
        """The final sync as the handover makes it. Returns what it did, and what the journal said."""
        found = self.journal.changes()
        with contextlib.closing(final_sync.FinalSync(pull.Pull([self.item], self.peer, self.run))) as last:
            last.expect([self.item])
            if found.why is None:
                names = set(found.names)
                for folder in found.folders:
                    names.update(changes.directly_in(os.fsencode(self.here), folder))
                last.name(self.item, names)
            [done] = last.run(limit=30)
        return done, found

    def differences(self):
        return trees.differences(trees.fingerprint(self.there), trees.fingerprint(self.here))


@pytest.fixture
def pair(tmp_path):
    def begin(there):
        trees.make(there, {"a/one": "1", "a/b/two": "2", "gone/deep/file": "3", "kept": "4"})

    with Pair(tmp_path, begin=begin) as made:
        yield made


def test_nothing_has_changed_and_nothing_is_named(pair):
    assert pair.journal.changes() == changes.Changes()


@pytest.mark.needs("attributes")
def test_a_hard_tree_that_is_new_is_carried_over_by_its_names(pair):
    trees.hard_tree(pair.there / "new")
    done, found = pair.final_sync()
    assert found.why is None
    assert done["named"] == len(found.names) > 20
    assert pair.differences() == {}


@trees.needs_rsync_that_knows_missing_names
@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "kept").write_text("44"),
        lambda top: (top / "a/one").chmod(0o600),
        lambda top: os.utime(top / "a/b/two", (1, 1)),
        lambda top: os.chown(top / "a", 7, 7),
        lambda top: os.chmod(top, 0o711),
        lambda top: os.setxattr(top / "a/b/two", "user.x", b"1"),
        lambda top: os.truncate(top / "kept", 0),
        lambda top: (top / "kept").unlink(),
        lambda top: shutil.rmtree(top / "gone"),
        lambda top: (top / "a").rename(top / "z"),
        lambda top: ((top / "gone").rename(top / "x"), (top / "a").rename(top / "gone")),
        lambda top: (shutil.rmtree(top / "gone"), (top / "gone").write_text("a file now")),
        lambda top: ((top / "kept").unlink(), trees.make(top / "kept", {"now/a/folder": "1"})),
        lambda top: os.symlink("kept", top / "link"),
        lambda top: os.mkfifo(top / "a/fifo"),
        lambda top: trees.make(top, {"n/e/w/file": "1", "n/e/other": "2"}),
        lambda top: (trees.make(top, {"n/file": "1"}), (top / "n").rename(top / "a/n")),
        lambda top: trees.make(top, {name + b"/" + name: "1" for name in trees.HARD_NAMES}),
    ],
)
def test_one_change_is_named_and_brought_over(pair, change):
    change(pair.there)
    done, found = pair.final_sync()
    assert found.why is None
    assert done["named"] is not None
    assert pair.differences() == {}


@trees.needs_rsync_that_knows_missing_names
def test_what_happens_in_a_folder_before_it_can_be_watched_is_found_with_it(pair):
    # The journal reads its queue long after all of this.
    for number in range(5):
        trees.make(pair.there, {f"new{number}/x/y/file": str(number)})
        (pair.there / f"new{number}").rename(pair.there / f"renamed{number}")
        (pair.there / f"renamed{number}/x/y/file").write_text("again")
    assert pair.final_sync()[1].why is None
    assert pair.differences() == {}


def test_a_folder_that_was_watched_is_followed_to_its_new_name(pair):
    (pair.there / "a").rename(pair.there / "moved")
    pair.journal.mark()
    (pair.there / "moved/b/two").write_text("after the rename")
    assert pair.journal.changes().names == {b"moved/b/two"}


def test_a_file_with_two_names_is_carried_over_by_both(tmp_path):
    def begin(there):
        trees.make(there, {"a/one": "1"})
        os.link(there / "a/one", there / "other")

    with Pair(tmp_path, begin=begin) as pair:
        (pair.there / "other").write_text("22")
        assert {b"a/one", b"other"} <= pair.journal.changes().names
        assert pair.final_sync()[1].why is None
        assert pair.differences() == {}
        assert (pair.here / "other").stat().st_ino == (pair.here / "a/one").stat().st_ino


def test_a_change_under_a_name_outside_of_the_path_is_seen(tmp_path):
    def begin(there):
        trees.make(there, {"one": "1"})
        os.link(there / "one", tmp_path / "outside")

    with Pair(tmp_path, begin=begin) as pair:
        (tmp_path / "outside").write_text("22")
        assert pair.journal.changes().names == {b"one"}


def test_a_second_name_of_a_file_whose_first_is_not_known_makes_it_incomplete(pair):
    os.link(pair.there / "kept", pair.there / "second")
    done, found = pair.final_sync()
    assert "other names" in found.why
    assert done["named"] is None
    assert pair.differences() == {}


MAPS = """
import mmap, sys

def step():
    print(flush=True)
    sys.stdin.readline()

step()
handle = open(sys.argv[1], "r+b")
step()
mapped = mmap.mmap(handle.fileno(), 1)
handle.close()
step()
mapped[0:1] = b"M"
step()
"""


MOMENTS = ("before it is opened", "before it is mapped", "when it is mapped")


@pytest.mark.parametrize("looked", ["never", *MOMENTS])
def test_a_mapped_file_is_named_although_nobody_reports_its_changes(pair, looked):
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", MAPS, pair.there / "kept"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def go_on():
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()

    with process:
        process.stdout.readline()
        pair.journal.mark()
        for moment in MOMENTS:
            if looked == moment:
                changes.look_closely([pair.journal])
            go_on()
        found = pair.journal.changes()
        process.stdin.close()
    assert b"kept" in found.names
    assert b"a/one" not in found.names


BIND = 'mount --bind "$top" "$way" && run "$way/kept"'
#: How a program comes to a file of a folder, and whether its mounts are its own.
WAYS = [
    pytest.param(BIND, False, id="a bind mount"),
    pytest.param(BIND, True, id="a bind mount of a container"),
    pytest.param(
        'mount --bind "$top" "$way" && mount --bind "$top/a" "$top" && run "$way/kept"',
        True,
        id="a container that has another folder at the path",
    ),
    pytest.param(
        'sleep 300 & mount --rbind / "$way" && chroot "$way" /usr/bin/python3 -c "$program" "$top/kept"',
        True,
        id="another root, and a process beside it",
    ),
]


@contextlib.contextmanager
def program(top, way, command, private):
    """A program that opens, maps and changes a file, a step at each call of what this yields."""
    way.mkdir()
    script = 'run() { exec /usr/bin/python3 -c "$program" "$1"; }; ' + command
    process = subprocess.Popen(
        [*(["unshare", "--mount"] if private else []), "/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "top": str(top), "way": str(way), "program": MAPS},
        start_new_session=True,
    )

    def go_on():
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()

    with process:
        try:
            process.stdout.readline()
            yield go_on
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            subprocess.run(["umount", "--lazy", way], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("looked", ["never", *MOMENTS])
@pytest.mark.parametrize(("command", "private"), WAYS)
def test_a_file_that_is_mapped_by_another_way_is_named(pair, tmp_path, looked, command, private):
    with program(pair.there, tmp_path / "way", command, private) as go_on:
        for moment in MOMENTS:
            if looked == moment:
                pair.journal.mark()
                changes.look_closely([pair.journal])
            go_on()
        if looked == "never":
            pair.journal.mark()
        found = pair.journal.changes()
    assert (pair.there / "kept").read_text() == "M"
    assert found.why is None
    assert b"kept" in found.names


@pytest.mark.needs("mounts")
def test_a_file_of_a_mount_below_that_is_mapped_by_another_way_is_named(pair, tmp_path):
    folder = pair.there / "a"
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        trees.make(folder, {"deep/kept": "1"})
        pair.journal._begin()
        with program(folder / "deep", tmp_path / "way", BIND, True) as go_on:
            for _ in MOMENTS:
                go_on()
            pair.journal.mark()
            assert pair.journal.changes() == changes.Changes(frozenset([b"a/deep/kept"]))
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("looked", [False, True])
def test_a_mount_that_is_gone_while_a_file_of_it_is_mapped_makes_it_incomplete(pair, tmp_path, looked):
    with program(pair.there, tmp_path / "way", BIND, False) as go_on:
        for _ in MOMENTS:
            go_on()
        subprocess.run(["umount", "--lazy", tmp_path / "way"], check=True)
        pair.journal.mark()
        if looked:
            changes.look_closely([pair.journal])
        why = pair.journal.changes().why
    assert why.startswith("'/kept' is open or mapped in python3 (")
    assert why.endswith(") through a mount that is not to be seen")
    pair.journal.mark()
    assert pair.journal.changes() == changes.Changes()


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize(
    ("command", "private"), [*WAYS, pytest.param('run "$top/kept"', True, id="as it is")]
)
def test_what_is_mapped_elsewhere_on_the_same_file_system_is_no_matter(
    pair, tmp_path, looked, command, private
):
    trees.make(tmp_path, {"var/kept": "a database", "var/a/": ""})
    with program(tmp_path / "var", tmp_path / "way", command, private) as go_on:
        for _ in MOMENTS:
            go_on()
        pair.journal.mark()
        if looked:
            changes.look_closely([pair.journal])
        assert pair.journal.changes() == changes.Changes()


@pytest.mark.parametrize("looked", [False, True])
def test_a_file_that_is_mapped_under_a_name_outside_of_the_path_is_named(tmp_path, looked):
    def begin(there):
        trees.make(there, {"one": "1"})
        (tmp_path / "outside").mkdir()
        os.link(there / "one", tmp_path / "outside/kept")

    with Pair(tmp_path, begin=begin) as pair:
        with program(tmp_path / "outside", tmp_path / "way", 'run "$top/kept"', False) as go_on:
            for _ in MOMENTS:
                go_on()
            pair.journal.mark()
            if looked:
                changes.look_closely([pair.journal])
            found = pair.journal.changes()
        assert found == changes.Changes(frozenset([b"one"]))


def test_where_mappings_cannot_be_opened_their_line_has_to_do(pair, tmp_path, monkeypatch):
    """As in a container without privileges, where ``map_files`` is not to be followed."""
    opened = os.open

    def refuse(path, *more, **others):
        if "/map_files/" in os.fsdecode(path):
            raise PermissionError(1, "Operation not permitted", path)
        return opened(path, *more, **others)

    monkeypatch.setattr(held.os, "open", refuse)
    with program(pair.there, tmp_path / "way", 'run "$top/kept"', False) as go_on:
        for _ in MOMENTS:
            go_on()
        pair.journal.mark()
        assert pair.journal.changes() == changes.Changes(frozenset([b"kept"]))


def test_a_journal_that_looks_closely_asks_no_process_when_it_is_asked(pair, monkeypatch):
    changes.look_closely([pair.journal])
    monkeypatch.setattr(held, "mapped_files", lambda: pytest.fail("every process was asked"))
    (pair.there / "a/one").read_text()
    os.listdir(pair.there / "a")
    (pair.there / "new").mkdir()
    (pair.there / "new/file").write_text("1")
    (pair.there / "new/file").read_text()
    assert pair.journal.changes().names == {b"a/one", b".", b"new", b"new/file"}
    pair.journal.mark()
    monkeypatch.setattr(held, "mapped_files", list)
    assert pair.journal.changes().names == set()


def test_a_second_name_by_which_a_file_is_mapped_is_seen(tmp_path):
    def begin(there):
        trees.make(there, {"one": "1", "deep/": ""})
        os.link(there / "one", there / "deep/two")

    with Pair(tmp_path, begin=begin) as pair:
        changes.look_closely([pair.journal])
        (pair.there / "deep/two").read_text()
        assert pair.journal.changes().names == {b"one", b"deep/two"}


def test_a_queue_that_ran_over_makes_it_incomplete_until_the_next_pass(pair):
    limit = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit // 3 + 100):
        (pair.there / "kept").write_text("x")
        (pair.there / f"n{number % 7}").touch()
    done, found = pair.final_sync()
    assert "queue" in found.why
    assert done["named"] is None
    assert pair.differences() == {}
    pair.journal.mark()
    (pair.there / "kept").write_text("y")
    assert pair.journal.changes() == changes.Changes(frozenset([b"kept"]))


def test_no_more_watches_make_it_incomplete(tmp_path, monkeypatch):
    plain = inotify.Inotify.watch

    def full(self, path, mask=inotify.CHANGES):
        if path.endswith(b"/a"):
            raise inotify.Full("no more watches")
        return plain(self, path, mask)

    monkeypatch.setattr(inotify.Inotify, "watch", full)
    with Pair(tmp_path, begin=lambda there: trees.make(there, {"a/one": "1"})) as pair:
        (pair.there / "a/one").write_text("2")
        assert "no more watches" in pair.final_sync()[1].why
        assert pair.differences() == {}


def test_too_many_changes_make_it_incomplete(tmp_path):
    with Pair(tmp_path, many=5) as pair:
        trees.make(pair.there, {f"file{number}": "1" for number in range(6)})
        assert "more than 5" in pair.final_sync()[1].why
        assert pair.differences() == {}


def test_another_folder_under_the_same_path_makes_it_incomplete(pair):
    pair.there.rename(pair.there.with_name("before"))
    trees.make(pair.there, {"other": "1"})
    assert "not the folder" in pair.final_sync()[1].why
    assert pair.differences() == {}


def test_a_file_system_of_other_hosts_makes_it_incomplete(pair, monkeypatch):
    monkeypatch.setattr(changes, "LOCAL", frozenset())
    pair.journal._begin()
    assert "other hosts" in pair.journal.changes().why


@pytest.mark.needs("mounts")
def test_a_mount_makes_it_incomplete(pair):
    folder = pair.there / "a"
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        assert "mounted" in pair.journal.changes().why
        pair.journal.mark()
        pair.journal._begin()
        (folder / "inside").write_text("1")
        assert pair.journal.changes().names == {b"a", b"a/inside"}
    finally:
        subprocess.run(["umount", folder], check=True)
    assert "mounted" in pair.journal.changes().why


@pytest.fixture
def pattern(tmp_path):
    def begin(there):
        trees.make(there, {"shared-one": "1", "shared-x/y": "2", "private": "3"})

    with Pair(tmp_path, "/etc/qemu/shared-*", False, begin) as made:
        trees.make(made.here, {"private": "this node's own", "here": "too"})
        os.utime(made.here, (5, 5))
        yield made


def test_of_a_pattern_nothing_else_is_named_or_touched(pattern):
    trees.make(pattern.there, {"private": "33", "other/file": "4", "shared-two": "5", "shared-x/z": "6"})
    (pattern.there / "shared-one").unlink()
    done, found = pattern.final_sync()
    assert found.why is None
    assert all(name.startswith(b"shared-") for name in found.names)
    assert done["deleted"] == 1
    assert (pattern.here / "private").read_text() == "this node's own"
    assert (pattern.here / "here").read_text() == "too"
    assert sorted(os.listdir(pattern.here)) == ["here", "private", "shared-two", "shared-x"]
    assert (pattern.here / "shared-x/z").read_text() == "6"
    assert os.stat(pattern.here).st_mtime == 5


def test_a_name_that_the_far_end_would_hide_is_never_asked_for(pattern):
    # It would be taken for deleted.
    with contextlib.closing(
        final_sync.FinalSync(pull.Pull([pattern.item], pattern.peer, pattern.run))
    ) as last:
        last.name(pattern.item, [b"private", b"here", b".", b"shared-one"])
        [done] = last.run(limit=30)
    assert done["named"] == 1
    assert (pattern.here / "private").exists()
    assert (pattern.here / "here").exists()


@pytest.mark.parametrize("name", [b"../x", b"/etc/passwd", b"shared-x/../../y"])
def test_a_name_that_leads_out_of_the_path_is_refused(pattern, name):
    last = contextlib.closing(final_sync.FinalSync(pull.Pull([pattern.item], pattern.peer, pattern.run)))
    with last as opened, pytest.raises(errors.Refused):
        opened.name(pattern.item, [name])


def test_one_file(tmp_path):
    def begin(there):
        trees.make(there, {"hosts--warewulf": "1"})

    with Pair(tmp_path, "/etc/hosts--warewulf", False, begin) as pair:
        trees.make(pair.here, {"passwd": "root"})
        trees.make(pair.there, {"hosts--warewulf": "2", "passwd": "other"})
        assert pair.final_sync()[1].names == {b"hosts--warewulf"}
        assert (pair.here / "hosts--warewulf").read_text() == "2"
        assert (pair.here / "passwd").read_text() == "root"


# --- anything that a program may do ---

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), paths, st.binary(max_size=3)),
        st.tuples(st.just("mkdir"), paths, st.none()),
        st.tuples(st.just("remove"), paths, st.none()),
        st.tuples(st.just("rename"), paths, paths),
        st.tuples(st.just("link"), paths, paths),
        st.tuples(st.just("symlink"), paths, paths),
        st.tuples(st.just("mode"), paths, st.sampled_from([0o600, 0o640, 0o755, 0o700])),
        st.tuples(st.just("time"), paths, st.integers(0, 10**9)),
        st.tuples(st.just("drain"), st.just(b""), st.none()),
    ),
    max_size=14,
)


def perform(top, what, path, more):
    one = os.path.join(os.fsencode(top), path)
    with contextlib.suppress(OSError, shutil.Error):
        if what == "write":
            with open(one, "wb") as handle:
                handle.write(more)
        elif what == "mkdir":
            os.makedirs(one)
        elif what == "remove":
            if os.path.isdir(one) and not os.path.islink(one):
                shutil.rmtree(one)
            else:
                os.unlink(one)
        elif what == "rename":
            os.rename(one, os.path.join(os.fsencode(top), more))
        elif what == "link":
            os.link(one, os.path.join(os.fsencode(top), more), follow_symlinks=False)
        elif what == "symlink":
            os.symlink(more, one)
        elif what == "mode":
            if not os.path.islink(one):  # Linux cannot change the mode of a link
                os.chmod(one, more)
        elif what == "time":
            os.utime(one, ns=(more, more), follow_symlinks=False)


@trees.needs_rsync_that_knows_missing_names
@pytest.mark.slow_test
@hypothesis.settings(max_examples=examples(120))
@hypothesis.given(before=operations, after=operations)
def test_whatever_was_done_both_trees_are_equal_and_the_journal_named_it(before, after):
    with tempfile.TemporaryDirectory() as folder:

        def begin(there):
            trees.make(there, {"a/a": "1", "a/b/c": "2", "b/a/a": "3", "c": "4"})
            for one in before:
                if one[0] != "drain":
                    perform(there, *one)

        with Pair(pathlib.Path(folder), begin=begin) as pair:
            assert pair.differences() == {}
            for one in after:
                if one[0] == "drain":
                    pair.journal.drain()
                else:
                    perform(pair.there, *one)
            _done, found = pair.final_sync()
            # Hard links of which the journal does not know every name are all that it may give up on.
            assert found.why is None or "other names" in found.why
            hypothesis.event("named" if found.why is None else "a full pass")
            assert pair.differences() == {}, sorted(map(notation.readable, found.names))


# --- what cannot be watched ---------------------------------------------------------------------------


def watched(folder, path="/srv/data", is_directory=True, **options):
    """A journal of a folder alone, and that folder."""
    top = folder / path.rpartition("/")[0][1:] if not is_directory else folder / path[1:]
    top.mkdir(parents=True, exist_ok=True)
    return changes.Journal(replicated.item(path, is_directory), str(folder), **options), top


def refusing(monkeypatch, end, error):
    """The kernel refuses to watch what ends so."""
    plain = inotify.Inotify.watch

    def watch(self, path, mask=inotify.CHANGES):
        if path.endswith(end):
            raise error
        return plain(self, path, mask)

    monkeypatch.setattr(inotify.Inotify, "watch", watch)


DENIED = PermissionError(errno.EACCES, "Permission denied")
VANISHED = FileNotFoundError(errno.ENOENT, "No such file or directory")
FULL = inotify.Full("the kernel gives no more watches")


@pytest.mark.parametrize(
    ("error", "why"),
    [(DENIED, "/srv/data/a' cannot be watched: Permission denied"), (FULL, str(FULL)), (VANISHED, None)],
)
@pytest.mark.parametrize("when", ["at its beginning", "later", "when it looks closely"])
def test_a_folder_that_cannot_be_watched_makes_it_incomplete_if_it_is_there(
    tmp_path, monkeypatch, error, why, when
):
    if when != "later":
        trees.make(tmp_path / "srv/data/a", {"file": "1"})
    if when == "at its beginning":
        refusing(monkeypatch, b"/a", error)
    journal, top = watched(tmp_path)
    with journal:
        refusing(monkeypatch, b"/a", error)
        if when == "later":
            (top / "a").mkdir()
        elif when == "when it looks closely":
            monkeypatch.setattr(held, "open_files", lambda: [])
            monkeypatch.setattr(held, "mapped_files", lambda: [])
            changes.look_closely([journal])
        found = journal.changes(mapped=[])
        assert (why in found.why) if why else found.why is None
        if why:
            # With the next pass it begins anew, and all is as before if the kernel lets it.
            monkeypatch.undo()
            journal.mark()
            assert journal.changes(mapped=[]) == changes.Changes()


@pytest.mark.parametrize("error", [FULL, VANISHED])
def test_a_file_of_two_names_that_cannot_be_watched_makes_it_incomplete_if_it_is_there(
    tmp_path, monkeypatch, error
):
    trees.make(tmp_path / "srv/data", {"one": "1"})
    os.link(tmp_path / "srv/data/one", tmp_path / "srv/data/two")
    refusing(monkeypatch, b"/one", error)
    refusing(monkeypatch, b"/two", error)
    with watched(tmp_path)[0] as journal:
        assert journal.changes(mapped=[]).why == (str(FULL) if error is FULL else None)


def test_a_folder_that_is_not_there_has_no_journal(tmp_path):
    journal, top = watched(tmp_path)
    journal.close()
    top.rmdir()
    with changes.Journal(journal.item, str(tmp_path)) as journal:
        assert journal.changes(mapped=[]).why == "/srv/data is not there"


def test_a_name_of_which_rsync_may_think_otherwise_makes_it_incomplete(tmp_path):
    """rsync matches bytes, and a wildcard for one character may be half of one."""
    journal, top = watched(tmp_path, "/etc/qemu/shared-?", False)
    with journal:
        (top / "shared-x").write_text("1")
        assert journal.changes(mapped=[]).names == {b"shared-x"}
        (top / "shared-ü").write_text("1")
        assert "'shared-ü' may or may not match shared-?" in journal.changes(mapped=[]).why


@pytest.mark.parametrize(("number", "complete"), [(10, True), (11, False)])
@pytest.mark.parametrize("way", ["noted", "also", "seen", "in a new folder"])
def test_so_many_names_are_as_much_as_everything(tmp_path, number, complete, way):
    journal, top = watched(tmp_path, many=10)
    names = [f"f{one}".encode() for one in range(number)]
    with journal:
        if way == "noted":
            journal.note(names)
        elif way == "seen":
            # The folder is one of them.
            trees.make(top, dict.fromkeys(names[1:], "1"))
        elif way == "in a new folder":
            # Moved in, so that no more than its name is reported; it and the top are names as well.
            trees.make(tmp_path / "new", dict.fromkeys(names[2:], "1"))
            (tmp_path / "new").rename(top / "new")
        found = journal.changes(names if way == "also" else (), mapped=[])
        assert (found.why is None) is complete
        assert complete or found.why == "more than 10 files have changed"
        assert len(found.names) == (number if complete else 0)


def test_what_is_open_elsewhere_is_no_matter_of_a_folder(tmp_path):
    """Its own file is named by its place in the file system, whatever the path says."""
    journal, top = watched(tmp_path)
    (top / "mine").write_text("1")
    with journal:
        journal.mark()
        ground = journal._grounds[0]

        def mapped(inside, device=ground.device, why=None, identity=(1, 2)):
            return journal.changes(mapped=[held.Held(b"/x", identity, device, inside, why)])

        assert mapped(ground.inside + b"/mine").names == {b"mine"}
        assert mapped(ground.inside + b"-beside/mine").names == set()
        assert mapped(ground.inside).names == set()
        assert mapped(ground.inside + b"/mine", device="0:9999").names == set()
        # Where it lies is not known: that matters on the same file system alone.
        assert mapped(None, device="0:9999", why="is open").why is None
        assert mapped(None, device=None, why="is open", identity=(os.makedev(8, 99), 1)).why is None
        assert mapped(None, device=ground.device, why="is open").why == "'/x' is open"


def test_a_place_of_which_only_the_number_is_known_is_taken_for_the_item_s(tmp_path):
    journal, top = watched(tmp_path)
    with journal:
        major, minor = map(int, journal._grounds[0].device.split(":"))
        unknown = held.Held(b"/x", (os.makedev(major, minor), 1), None, None, "is open")
        assert journal.changes(mapped=[unknown]).why == "'/x' is open"
