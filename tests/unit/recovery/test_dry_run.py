"""Whether a file was changed since a moment, by a time that no program can set back."""

import os

import pytest

from failback.recovery import dry_run


@pytest.fixture
def top(tmp_path):
    folder = tmp_path / "srv/salt/a/b"
    folder.mkdir(parents=True)
    (folder / "file").write_text("1")
    return tmp_path / "srv/salt"


def changed(top, name, since):
    with dry_run.tree_of(top) as tree:
        return dry_run.changed_since(tree, name, since)


def ctime(place):
    return os.lstat(place).st_ctime_ns


def test_a_file_has_been_changed_since_a_moment_or_not(top):
    place = top / "a/b/file"
    # What a program may set is no matter.
    os.utime(place, (1, 1))
    at = ctime(place)
    assert changed(top, b"a/b/file", at) is True
    assert changed(top, b"a/b/file", at + 1) is False


@pytest.mark.parametrize(("gone", "speaks"), [(1, "a/b"), (2, "a"), (3, ".")])
def test_of_a_file_that_is_gone_its_folder_speaks(top, gone, speaks):
    """Somebody has deleted it: that changed the next folder above that is there."""
    (top / "a/b/file").unlink()
    for folder in ("a/b", "a")[: gone - 1]:
        (top / folder).rmdir()
    at = ctime(top / speaks)
    assert changed(top, b"a/b/file", at) is True
    assert changed(top, b"a/b/file", at + 1) is False


def test_what_is_behind_a_link_is_no_file_of_ours(top, tmp_path):
    (tmp_path / "outside").mkdir()
    (top / "a").rename(tmp_path / "was")
    (top / "a").symlink_to(tmp_path / "outside")
    at = max(ctime(top / "a"), ctime(top))
    (tmp_path / "outside/b").mkdir()
    assert changed(top, b"a/b/file", at) is True
    assert changed(top, b"a/b/file", at + 1) is False


def test_where_the_path_is_not_there_nothing_has_changed(top):
    assert changed(top / "none", b"file", 0) is False
    assert changed(top / "a/b/file", b"", 0) is False
