"""Small files that must be whole or not be there at all."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from failback.errors import Unreadable
from failback.host import files
from failback.host import system


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_again_and_is_for_root_alone(tmp_path):
    place = tmp_path / "state" / "ledger.json"
    files.write_json(place, {"version": 1, "name": "grüße\n"})
    assert files.read_json(place, "a test", 1) == {"version": 1, "name": "grüße\n"}
    assert mode(place) == 0o600 and mode(place.parent) == 0o700


def test_folders_above_are_for_root_alone_too(tmp_path):
    files.make_folder(tmp_path / "one" / "two" / "three")
    assert [mode(tmp_path / one) for one in ("one", "one/two", "one/two/three")] == [0o700] * 3


@pytest.mark.parametrize("content", ["text", b"\xff\x00bytes", ""], ids=["text", "bytes", "nothing"])
def test_text_and_bytes_are_written_as_they_are(tmp_path, content):
    files.write_atomically(tmp_path / "file", content, 0o640)
    found = (tmp_path / "file").read_bytes()
    assert found == (content.encode() if isinstance(content, str) else content)
    assert mode(tmp_path / "file") == 0o640


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, call):
    place = tmp_path / "file"
    files.write_json(place, {"version": 1})

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, broken)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(place, {"version": 1, "more": "x" * 100})
    assert files.read_json(place, "a test", 1) == {"version": 1}
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("moment", ["replace", "fsync", "open"])
def test_a_process_killed_in_the_middle_leaves_the_old_content_or_the_new(tmp_path, moment):
    """Killed for good, by a signal that cannot be caught, at each system call that matters."""
    place = tmp_path / "file"
    files.write_json(place, {"version": 1, "is": "old"})
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]);"
        "from failback.host import files;"
        f"os.{moment} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL);"
        "files.write_json(sys.argv[2], {'version': 1, 'is': 'new'})"
    )
    package = str(system.PACKAGE.parent)
    done = subprocess.run([sys.executable, "-c", program, package, str(place)], check=False, timeout=30)
    assert done.returncode == -9
    # os.open is also what opens the folder, after the rename.
    assert files.read_json(place, "a test", 1)["is"] in ("old", "new")
    files.write_json(place, {"version": 1, "is": "newer"})
    assert files.read_json(place, "a test", 1)["is"] == "newer"


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*arguments, name=name, real=real):
            order.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noted)
    files.write_atomically(tmp_path / "file", "text")
    assert order == ["fsync", "replace", "fsync"]


def test_no_file_is_no_error(tmp_path):
    assert files.read_json(tmp_path / "none", "a test") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "damaged .0 bytes", id="empty"),
        pytest.param(b'{"version": 1, "gen', "damaged", id="cut off"),
        pytest.param(b"\0" * 4096, "damaged .4096 bytes", id="zeros, as after a power failure"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b"null", "not a JSON object", id="null"),
        pytest.param(b"\xff\xfe", "cannot be read", id="no text"),
        pytest.param(b'{"version": 2}', "format version 2.*newer Failback", id="a newer version"),
        pytest.param(b'{"version": "1"}', "format version '1'", id="a version that is no number"),
        pytest.param(b"{}", "format version None", id="no version"),
    ],
)
def test_what_is_damaged_says_so_and_names_the_file(tmp_path, content, words):
    place = tmp_path / "ledger.json"
    place.write_bytes(content)
    with pytest.raises(Unreadable, match=words) as error:
        files.read_json(place, "the ledger of salt", 1)
    assert str(place) in str(error.value) and "the ledger of salt" in str(error.value)


def test_a_folder_in_its_place_is_unreadable(tmp_path):
    with pytest.raises(Unreadable, match="cannot be read"):
        files.read_json(tmp_path, "a test")


def test_every_prefix_of_a_file_is_either_whole_or_refused(tmp_path):
    """Wherever a file was cut off."""
    place = tmp_path / "ledger.json"
    files.write_json(place, {"version": 1, "generation": 12, "active": "salt1"})
    whole = place.read_text()
    for length in range(len(whole)):
        place.write_text(whole[:length])
        try:
            assert files.read_json(place, "a test", 1) == json.loads(whole)
        except Unreadable:
            continue


def test_two_writers_wait_for_each_other(tmp_path):
    inside, order = threading.Event(), []

    def second():
        inside.wait(10)
        with files.locked(tmp_path / "state" / ".flock"):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with files.locked(tmp_path / "state" / ".flock"):
        inside.set()
        other.join(0.2)
        assert other.is_alive()
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_lock_ends_with_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / ".flock"):
        raise ZeroDivisionError
    with files.locked(tmp_path / ".flock"):
        pass


def test_a_lock_that_somebody_has_is_not_waited_for(tmp_path):
    place = tmp_path / "state" / ".flock"
    with files.locked_at_once(place) as first:
        assert first is True
        with files.locked_at_once(place) as second:
            assert second is False
    with files.locked_at_once(place) as again:
        assert again is True
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_lock_that_cannot_be_had_is_not_one_that_somebody_has(tmp_path, monkeypatch):
    """A file system without locks: nobody would ever do what waits for it."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks available"), files.locked_at_once(tmp_path / ".flock"):
        pass
