"""The short way of what cron starts every minute: the same answer as the lock of what runs gives."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from failback.host.paths import Paths
from failback.watch import resident
from failback.watch import running
from failback.watch.place import Place

TREE = pathlib.Path(__file__).parents[3]


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "node")


@pytest.fixture
def lock(paths):
    """Takes what a command locks for as long as it runs, as the command itself does."""

    def take(words):
        command, name = words
        if command == "watch":
            return Place(name, paths).single()
        return resident.single(paths.volatile(name) / "keeper.lock")

    return take


@pytest.mark.parametrize("words", [["keep", "salt"], ["watch", "gateway-ip"]], ids=" ".join)
def test_it_runs_for_as_long_as_its_lock_is_held(paths, lock, words):
    assert not running.is_running(words, paths.root)
    held = lock(words)
    assert running.is_running(words, paths.root) and running.is_running(words, paths.root)
    assert lock(words) is None
    held.close()
    assert not running.is_running(words, paths.root)
    # Whoever looked has left nothing behind.
    lock(words).close()


@pytest.mark.parametrize(
    "words",
    [[], ["keep"], ["keep", "mx"], ["watch", "salt"], ["keep", "gateway-ip"], ["keep", "salt", "more"],
     ["watch-service", "gateway-ip"], ["keep", "--help"], ["keep", "sa\0lt"], ["watch", "gateway-ip/"]],
    ids=str,
)  # fmt: skip
def test_any_other_command_line_goes_the_long_way(paths, lock, words):
    with lock(["keep", "salt"]), lock(["watch", "gateway-ip"]):
        assert not running.is_running(words, paths.root)


def test_one_who_looks_is_not_taken_for_one_that_runs(paths, lock, monkeypatch):
    """Two starts at one moment: if each took the other's look for a lock, none would stay."""
    lock(["keep", "salt"]).close()
    seen = []
    close = running.os.close

    def looked(descriptor):
        if not seen:
            seen.append(None)
            seen[0] = running.is_running(["keep", "salt"], paths.root)
        close(descriptor)

    monkeypatch.setattr(running.os, "close", looked)
    assert not running.is_running(["keep", "salt"], paths.root)
    assert seen == [False]


@pytest.mark.parametrize(("runs", "said"), [(True, ""), (False, "the long way\n")])
def test_the_program_ends_before_it_loads_anything(paths, lock, tmp_path, runs, said):
    library = tmp_path / "current/failback"
    (library / "watch").mkdir(parents=True)
    shutil.copy(running.__file__, library / "watch")
    (library / "cli.py").write_text("def main():\n    print('the long way')\n    return 0\n")
    text = (TREE / "salt/pair/files/failback").read_text()
    for old, new in {
        "/usr/local/lib/failback": str(tmp_path),
        "/var/cache/failback": str(tmp_path / "cache"),
        "is_running(sys.argv[1:])": f"is_running(sys.argv[1:], {str(paths.root)!r})",
    }.items():
        assert old in text
        text = text.replace(old, new)
    held = lock(["keep", "salt"])
    if not runs:
        held.close()
    command = [sys.executable, "-IS", "-c", text, "keep", "salt"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, said)
