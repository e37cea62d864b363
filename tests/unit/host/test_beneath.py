"""No step below a top goes through a link, whoever puts one there and whenever."""

import errno
import os
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


@pytest.mark.parametrize("other_disk", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_what_is_moved_is_the_thing_itself(top, tmp_path, monkeypatch, kind, other_disk):
    place, target = top / "d/it", tmp_path / "kept"
    {
        "file": lambda: place.write_text("content"),
        "link": lambda: place.symlink_to("/etc/shadow"),
        "fifo": lambda: os.mkfifo(place),
    }[kind]()
    if other_disk:

        def elsewhere(*_, **__):
            raise OSError(errno.EXDEV, "another disk")

        monkeypatch.setattr(os, "rename", elsewhere)
    with beneath.Tree(top) as tree, tree.parent(b"d/it") as (folder, last):
        assert beneath.move(folder, last, os.fsencode(target))
    assert not os.path.lexists(place)
    mode = target.lstat().st_mode
    assert {"file": stat.S_ISREG, "link": stat.S_ISLNK, "fifo": stat.S_ISFIFO}[kind](mode)


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_folder_is_not_moved(top, tmp_path, monkeypatch, other_disk):
    if other_disk:

        def elsewhere(*_, **__):
            raise OSError(errno.EXDEV, "another disk")

        monkeypatch.setattr(os, "rename", elsewhere)
    target = os.fsencode(tmp_path / "kept")
    with beneath.Tree(top) as tree, tree.parent(b"d/deep") as (folder, last), pytest.raises(beneath.InTheWay):
        beneath.move(folder, last, target)
    assert (top / "d/deep/file").exists() and not (tmp_path / "kept").exists()


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
