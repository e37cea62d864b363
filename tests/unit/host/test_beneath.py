"""No step below a top goes through a link, whoever puts one there and whenever."""

import contextlib
import os
import secrets
import stat
import time

import attacker
import pytest

import effort
from failback.host import beneath


@pytest.fixture(params=[False, True], ids=["openat2", "step by step"])
def walk(request):
    if not request.param and beneath._openat2() is None:
        pytest.skip("this kernel has no openat2")
    return request.param


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top/d/deep").mkdir(parents=True)
    (tmp_path / "top/d/deep/file").write_text("inside")
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "outside/deep/file").write_text("outside")
    (tmp_path / "top/link").symlink_to(tmp_path / "outside")
    (tmp_path / "top/up").symlink_to("..")
    (tmp_path / "top/d/dangling").symlink_to("nowhere")
    return tmp_path / "top"


def test_what_is_there_is_opened_a_link_as_itself(top, walk):
    with beneath.Tree(top, walk) as tree:
        for name, kind in (
            (b"d/deep/file", stat.S_ISREG),
            (b"d/deep/", stat.S_ISDIR),
            (b"link", stat.S_ISLNK),
        ):
            with tree.opened(name) as found:
                assert kind(os.fstat(found).st_mode)
        with tree.opened(b"d/none") as found:
            assert found is None
        with tree.opened(b"no/such/way") as found:
            assert found is None
        with tree.opened(b"") as found:
            assert beneath.same_file(os.fstat(found), os.stat(top))


@pytest.mark.parametrize(
    "name",
    [
        b"link/deep/file",
        b"link/deep",
        b"link/none",
        b"up/outside",
        b"up/top/d",
        b"d/deep/file/x",
        b"d/dangling/x",
    ]
    + [b"../outside", b"d/../../outside", b"/etc"],
)
def test_what_is_behind_a_link_or_above_is_never_opened(top, walk, name):
    with beneath.Tree(top, walk) as tree:
        with pytest.raises(beneath.InTheWay), tree.opened(name):
            pass
        with pytest.raises(beneath.InTheWay), tree.folder(name):
            pass
        with pytest.raises(beneath.InTheWay):
            tree.make_folders(name)
    assert not (top.parent / "outside/none").exists()


def test_a_link_is_no_folder(top, walk):
    with beneath.Tree(top, walk) as tree, pytest.raises(beneath.InTheWay), tree.folder(b"link"):
        pass


def test_folders_are_made_and_names_found_without_a_step_aside(top, walk):
    with beneath.Tree(top, walk) as tree:
        tree.make_folders(b"a/b/c")
        tree.make_folders(b"a/b/c")
        assert sorted(tree.names()) == [b"d/dangling", b"d/deep/file", b"link", b"up"]
    assert (top / "a/b/c").is_dir()


KINDS = {
    "file": (stat.S_ISREG, lambda path: path.write_text("content")),
    "link": (stat.S_ISLNK, lambda path: path.symlink_to("/etc/shadow")),
    "fifo": (stat.S_ISFIFO, os.mkfifo),
    "socket": (stat.S_ISSOCK, lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
}


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_moved_is_the_thing_itself(top, tmp_path, kind, into):
    place, target = top / "d/it", tmp_path / "kept"
    is_it, make = KINDS[kind]
    make(place)
    with beneath.Tree(top) as tree, tree.parent(b"d/it") as (folder, last), beneath.Tree(tmp_path) as ours:
        where = (b"kept", ours.folder(b"")) if into else (os.fsencode(target), contextlib.nullcontext())
        with where[1] as kept:
            beneath.move(folder, last, where[0], kept)
    assert not os.path.lexists(place)
    assert is_it(target.lstat().st_mode)


def test_a_folder_is_not_moved(top, tmp_path):
    target = os.fsencode(tmp_path / "kept")
    with beneath.Tree(top) as tree, tree.parent(b"d/deep") as (folder, last), pytest.raises(beneath.InTheWay):
        beneath.move(folder, last, target)
    assert (top / "d/deep/file").exists() and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_of_the_thing_itself(top, kind):
    is_it, make = KINDS[kind]
    make(top / "d/it")
    with beneath.Tree(top) as tree, tree.opened(b"d/it") as found, tree.folder(b"d") as folder:
        os.close(beneath.copy(found, folder, b"copy"))
        with pytest.raises(FileExistsError):
            beneath.copy(found, folder, b"copy")
    assert is_it((top / "d/copy").lstat().st_mode)
    if kind == "file":
        assert (top / "d/copy").read_text() == "content"


@pytest.mark.parametrize("parts", [[], [(0, 3)], [(3 << 20, 5)], [(0, 1), (1 << 20, 2 << 20), (8 << 20, 1)]])
def test_holes_of_a_copy_are_where_they_were(top, parts):
    size = 9 << 20
    with open(top / "sparse", "wb") as handle:
        for begin, length in parts:
            handle.seek(begin)
            handle.write(os.urandom(length))
        handle.truncate(size)
    rounds = []
    with beneath.Tree(top) as tree, tree.opened(b"sparse") as found, tree.folder(b"") as folder:
        os.close(beneath.copy(found, folder, b"copy", lambda: rounds.append(1)))
        with tree.opened(b"copy") as copied:
            assert beneath.same_content(found, copied)
    assert (top / "copy").stat().st_blocks <= (top / "sparse").stat().st_blocks
    assert bool(rounds) <= bool(parts)


def test_half_a_copy_leaves_no_name(top):
    (top / "big").write_bytes(b"x" * (3 << 20))
    rounds = iter([None])
    before = sorted(os.listdir(top))
    with beneath.Tree(top) as tree, tree.opened(b"big") as found, tree.folder(b"") as folder:  # noqa: SIM117
        with pytest.raises(StopIteration):
            beneath.copy(found, folder, b"copy", lambda: next(rounds))
    assert sorted(os.listdir(top)) == before


def test_something_else_under_the_name_of_a_copy_is_not_taken_for_it(top, monkeypatch):
    """Its attributes would be changed: so a user who is quick enough could have those of any file changed."""
    (top / "precious").write_text("1")
    os.mkfifo(top / "pipe")
    real = os.mknod

    def mknod(name, *arguments, dir_fd):
        real(name, *arguments, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        os.link(top / "precious", name, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mknod", mknod)
    with beneath.Tree(top) as tree, tree.opened(b"pipe") as found, tree.folder(b"") as folder:  # noqa: SIM117
        with pytest.raises(beneath.InTheWay):
            beneath.copy(found, folder, b"copy")


def test_content_is_compared_to_the_last_byte(top):
    (top / "one").write_bytes(b"x" * (3 << 20))
    (top / "two").write_bytes(b"x" * ((3 << 20) - 1) + b"y")
    with beneath.Tree(top) as tree, tree.opened(b"one") as one, tree.opened(b"two") as two:
        assert beneath.same_content(one, one)
        assert not beneath.same_content(one, two)


def test_a_temporary_name_is_nobodys(top, monkeypatch):
    drawn = iter(["a", "a", "b"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    (top / ".failback-a").write_text("the user's")
    with beneath.Tree(top) as tree, tree.folder(b"") as folder:
        name, _ = beneath.new_name(lambda name: os.mkdir(name, dir_fd=folder))
    assert name == b".failback-b"
    assert (top / ".failback-a").read_text() == "the user's"


def test_a_name_is_not_looked_for_for_ever(top, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda _: "a")
    with pytest.raises(FileExistsError, match="were all taken"), beneath.Tree(top) as tree:
        (top / ".failback-a").mkdir()
        with tree.folder(b"") as folder:
            beneath.new_name(lambda name: os.mkdir(name, dir_fd=folder))


@pytest.mark.parametrize("depth", [1, 3000])
def test_a_folder_of_any_depth_is_removed_and_nothing_else(top, depth):
    (top / "kept").write_text("1")
    (top / "gone").mkdir()
    folder = os.open(top / "gone", os.O_RDONLY)
    for _ in range(depth):
        for name in ("deep", "0", "1"):
            os.mkdir(name, dir_fd=folder)
        os.symlink(top, "link", dir_fd=folder)
        os.close(os.open("file", os.O_CREAT, 0o600, dir_fd=folder))
        below = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    before = sorted(os.listdir(top))
    beneath.remove(top / "gone")
    assert sorted(os.listdir(top)) == [name for name in before if name != "gone"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
def test_whoever_swaps_a_folder_for_a_link_never_gets_root_out(walk):
    """A program of a user's does it in a loop, a thousand looks long."""
    with attacker.workplace() as place:
        outside = attacker.victim(place / "victim")
        (place / "top/d/deep").mkdir(parents=True)
        (place / "top/d/deep/file").write_text("inside")
        attacker.give(place / "top")
        strangers = {path.stat().st_ino for path in outside.rglob("*")}
        seen = {"inside": 0, "in the way": 0}
        user = attacker.Attacker(place / "top", "swap", outside)
        with user, beneath.Tree(place / "top", walk) as tree:
            looks, end = 0, time.monotonic() + 60
            # A thousand, and more where a busy machine lets the other program do nothing meanwhile.
            while looks < effort.examples(1000) or not (all(seen.values()) or time.monotonic() > end):
                looks += 1
                try:
                    with tree.opened(b"d/deep/file") as found:
                        assert found is None or os.fstat(found).st_ino not in strangers
                        seen["inside"] += 1
                    with tree.parent(b"d/deep/secret") as (folder, _):
                        assert "secret" not in os.listdir(folder)
                except beneath.InTheWay:
                    seen["in the way"] += 1
    assert user.rounds and all(seen.values()), seen
