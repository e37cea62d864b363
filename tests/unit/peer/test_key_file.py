"""The block of the other node's key in a file of keys: its text, and a file that is whole or as it was."""

import os
import stat

import pytest

from failback.errors import Refused
from failback.peer import key_file
from failback.peer.key_file import BEGIN
from failback.peer.key_file import END

KEY = "ssh-ed25519 AAAA salt2"


@pytest.fixture
def file(tmp_path):
    """Root's: who runs this owns the folder, and no account is needed."""
    return tmp_path / "root/.ssh/authorized_keys"


def write(file, lines=KEY, **more):
    return key_file.write(str(file), "root", lines, **more)


def mode(place):
    return stat.S_IMODE(place.stat().st_mode)


@pytest.mark.parametrize(
    ("text", "found", "after"),
    [
        ("", None, [BEGIN, KEY, END]),
        ("own", None, ["own", BEGIN, KEY, END]),
        ("own\n", None, ["own", BEGIN, KEY, END]),
        (f"own\n{BEGIN}\nold\n\n{END}\nlast\n", "old", ["own", BEGIN, KEY, END, "last"]),
        (f"{BEGIN}\n{END}\n", "", [BEGIN, KEY, END]),
        # Somebody has copied it: one block is left.
        (f"{BEGIN}\na\n{END}\nown\n{BEGIN}\nb\n{END}\n", "a\nb", [BEGIN, KEY, END, "own"]),
        # What is behind a mark on its line belongs to it.
        (f"x {BEGIN} y\na\nx {END} y\n", "a", [BEGIN, KEY, END]),
    ],
)
def test_what_is_between_the_marks_is_ours_and_nothing_else(text, found, after):
    assert key_file.block(text) == found
    assert key_file.replaced(text, f"\n{KEY}\n\n") == "\n".join(after) + "\n"
    assert key_file.replaced(key_file.replaced(text, KEY), KEY) == "\n".join(after) + "\n"


def test_a_block_without_its_end_is_nobody_s(file):
    text = f"own\n{BEGIN}\n{KEY}\n"
    for call in (key_file.block, lambda text: key_file.replaced(text, KEY)):
        with pytest.raises(Refused, match="so it is not clear what is ours"):
            call(text)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for call in (lambda: write(file), lambda: key_file.remove(str(file), "root")):
        with pytest.raises(Refused, match="Nothing was changed"):
            call()
    assert file.read_text() == text


def test_a_file_is_made_for_root_alone_and_then_there_is_nothing_to_do(file):
    before = os.umask(0)
    try:
        changes = write(file)
    finally:
        os.umask(before)
    assert changes == {"keys": {"old": None, "new": KEY}, "mode": {"old": None, "new": "0600"}}
    assert file.read_text() == f"{BEGIN}\n{KEY}\n{END}\n"
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert write(file) == {} and key_file.has_block(str(file), "root")


def test_a_test_says_it_and_makes_nothing(file):
    assert write(file, test=True)["keys"] == {"old": None, "new": KEY}
    assert not file.parent.exists()
    write(file)
    was = file.read_bytes(), file.stat().st_ino
    assert write(file, "another", test=True) == {"keys": {"old": KEY, "new": "another"}}
    assert key_file.remove(str(file), "root", test=True) == {"keys": {"old": KEY, "new": ""}}
    assert (file.read_bytes(), file.stat().st_ino) == was


def test_the_mode_alone_is_mended(file):
    write(file)
    file.chmod(0o644)
    assert write(file) == {"mode": {"old": "0644", "new": "0600"}}
    assert mode(file) == 0o600


def test_what_is_removed_leaves_the_marks_and_the_rest(file):
    write(file)
    file.write_bytes(b"own \xff\n" + file.read_bytes())
    file.chmod(0o640)
    assert key_file.remove(str(file), "root") == {"keys": {"old": KEY, "new": ""}}
    assert file.read_bytes() == f"own \udcff\n{BEGIN}\n{END}\n".encode(errors="surrogateescape")
    assert mode(file) == 0o640
    assert key_file.remove(str(file), "root") == {}
    file.unlink()
    assert key_file.remove(str(file), "root") == {} and not file.exists()
    assert key_file.has_block(str(file), "root") is False


@pytest.mark.parametrize("kind", ["folder", "pipe", "large"])
def test_what_is_no_file_of_keys_is_left_alone(file, kind):
    file.parent.mkdir(parents=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(b"#" * ((1 << 20) + 1))
    words = "more than a list of keys" if kind == "large" else "it is no ordinary file"
    with pytest.raises(Refused, match=words):
        write(file)
    assert os.listdir(file.parent) == ["authorized_keys"]
    # Whoever asks whether something is to be removed there is sent to look.
    assert key_file.has_block(str(file), "root") is True


def test_a_file_of_the_largest_size_is_read(file):
    file.parent.mkdir(parents=True)
    file.write_bytes(b"#" * (1 << 20))
    write(file)
    assert file.read_text().endswith(f"{BEGIN}\n{KEY}\n{END}\n")


@pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
def test_where_it_cannot_be_written_the_old_one_stays_and_nothing_beside_it(file, monkeypatch, fails):
    """sshd reads it at each login: half of it would lock somebody out."""
    write(file)
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        if fails == "write":
            context.setattr(key_file, "replaced", lambda *_: "\udfff")
            with pytest.raises(UnicodeEncodeError):
                write(file, "another")
        else:
            context.setattr(key_file.os, fails, full)
            with pytest.raises(OSError, match="No space left"):
                write(file, "another")
    assert file.read_bytes() == before and os.listdir(file.parent) == ["authorized_keys"]
    write(file, "another")
    assert key_file.block(file.read_text()) == "another"


def test_it_is_on_the_disk_before_it_has_the_name_and_the_name_after_that(file, monkeypatch):
    write(file)
    order, fsync, rename = [], os.fsync, os.rename

    def noted(what, real):
        def call(*arguments, **more):
            if what == "fsync":
                order.append("folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file")
            else:
                order.append(what)
            return real(*arguments, **more)

        return call

    monkeypatch.setattr(key_file.os, "fsync", noted("fsync", fsync))
    monkeypatch.setattr(key_file.os, "rename", noted("rename", rename))
    write(file, "another")
    assert order == ["file", "rename", "folder"]
