"""The identity of a machine, by which it knows that a process of an earlier boot of its own is gone."""

import ctypes
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest
import samples

from failback.errors import Unavailable
from failback.host import system


def test_it_is_the_same_every_time_and_holds_the_host_s_name(monkeypatch, tmp_path):
    place = tmp_path / "machine-id"
    monkeypatch.setattr(system, "MACHINE_ID", place)
    assert system.machine_id() == ""
    place.write_text("77c1b2\n")
    first = system.machine_id()
    assert first == system.machine_id() != ""
    assert first.startswith("77c1b2/") and len(first) > len("77c1b2/")


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_the_step_of_a_clock_is_what_somebody_has_set_it_by(monkeypatch, ahead):
    clock = samples.Clock(monkeypatch, system)
    then = system.clocks()
    clock.now += 100
    clock.set_ahead(ahead)
    assert system.clock_step(then) == ahead
    assert system.clock_step({**then, "boot_id": "another boot"}) == 0
    assert system.clock_step({}) == system.clock_step({**then, "wall": "soon"}) == 0


WRITER = """
import os, sys, time

child = os.fork()
with open(sys.argv[1] + str(bool(child)), "wb", buffering=0) as file:
    file.write(bytes(1 << 20))
    if child:
        os.waitpid(child, 0)
    else:
        # Its arguments are others: what it writes is not counted.
        if not os.fork():
            os.execvp("dd", ["dd", "if=/dev/zero", "of=" + sys.argv[1], "bs=1M", "count=8", "status=none"])
        # Not reaped: what a dead child has written counts as its parent's.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        os.write(1, b"written")
        time.sleep(60)
"""


def test_what_a_process_and_its_forks_have_written(tmp_path):
    command = [sys.executable, "-S", "-c", WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout.read(7) == b"written"
            # The first of the two may come last.
            deadline = time.monotonic() + 20
            while system.written_by(process.pid) < 2 << 20:
                assert time.monotonic() < deadline
            assert system.written_by(process.pid) < 3 << 20
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert system.written_by(process.pid) == 0


@pytest.fixture
def package(tmp_path):
    """A copy of the program as highstate lays it out: modules at the top, and wings."""
    folder = tmp_path / "failback"
    for name in ("cli.py", "wing/__init__.py", "wing/gate.py", "wing/inner/deep.py"):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"# {name}\n")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "cli.py").write_text("# another\n"),
        lambda folder: (folder / "wing/gate.py").write_text("# another\n"),
        lambda folder: (folder / "wing/inner/deep.py").write_text("# another\n"),
        lambda folder: (folder / "wing/gate.py").rename(folder / "wing/door.py"),
        lambda folder: (folder / "wing/gate.py").rename(folder / "gate.py"),
        lambda folder: (folder / "wing/gate.py").unlink(),
        lambda folder: (folder / "wing/inner/deep.py").unlink(),
        lambda folder: (folder / "wing/more.py").write_text(""),
    ],
    ids=["top", "wing", "deep", "renamed", "in another wing", "removed", "removed deep", "added"],
)
def test_two_releases_never_have_the_same_digest(package, change):
    before = system.package_digest(package)
    change(package)
    assert system.package_digest(package) != before


def test_the_same_release_has_the_same_digest_wherever_it_lies(package, tmp_path):
    shutil.copytree(package, tmp_path / "elsewhere")
    (package / "__pycache__").mkdir()
    (package / "__pycache__/cli.cpython-39.pyc").write_bytes(b"byte code")
    assert system.package_digest(package) == system.package_digest(tmp_path / "elsewhere")


def test_the_package_is_the_whole_one():
    assert (system.PACKAGE / "cli.py").is_file()
    modules = list(system.PACKAGE.rglob("*.py"))
    assert len(modules) > 40


def test_what_a_program_has_started_has_ended_before_it_does(tmp_path):
    """systemd ends with a unit what its program leaves behind."""
    script = (
        "import sys\n"
        "from failback.host import system\n"
        "system.start_detached(['sh', '-c', 'sleep 0.3; touch \"$1\"', 'sh', sys.argv[1]])\n"
        "system.start_detached(['true'])\n"
        "system.wait_for_started()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(system.PACKAGE.parent)}
    subprocess.run([sys.executable, "-c", script, tmp_path / "told"], env=environment, check=True, timeout=30)
    assert (tmp_path / "told").exists()


def test_the_file_system_of_a_file_is_written_to_the_disk_too(tmp_path):
    """A file can be mounted over another; what does not exist is left out."""
    (tmp_path / "file").write_text("1")
    system.sync_file_systems([str(tmp_path), str(tmp_path / "file"), str(tmp_path / "none")])


# --- programs -----------------------------------------------------------------------------------------


def sh(script, **more):
    return system.run(["/bin/sh", "-c", script], 30, "look", **more)


def test_a_program_is_given_what_it_needs_and_returns_what_it_prints(monkeypatch):
    monkeypatch.setenv("KEPT", "kept")
    assert sh("cat; echo $KEPT $MORE", stdin="read\n", env={"MORE": "more"}) == "read\nkept more\n"
    # It waits for nobody at a terminal, and never dies of a byte.
    assert sh("cat; printf '\\377'") == "\udcff"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo out; echo wrong >&2; exit 3", "exit status 3, wrong."),
        ("echo only out; exit 4", "exit status 4, only out."),
        ("exit 5", "exit status 5, nothing said."),
        ("printf 'a\\033[2Jb' >&2; exit 1", "exit status 1, a"),
        ("kill -9 $$", "exit status -9, nothing said."),
    ],
)
def test_a_program_that_fails_is_quoted_as_one_can_print_it(script, said):
    with pytest.raises(Unavailable, match=re.escape(f"Cannot look: {said}")) as failed:
        sh(script)
    assert str(failed.value).isprintable()


def test_of_what_a_failure_says_the_end_is_quoted():
    with pytest.raises(Unavailable) as failed:
        sh("printf '%2000s' begin >&2; echo ' the end' >&2; exit 1")
    assert "the end." in str(failed.value) and len(str(failed.value)) < 900


def test_an_exit_status_may_be_no_failure():
    assert sh("echo found; exit 3", accept=(0, 3)) == "found\n"
    with pytest.raises(Unavailable):
        sh("exit 4", accept=(0, 3))
    assert system.exit_status(["/bin/sh", "-c", "echo out; exit 3"], 30, "look") == (3, "out")
    assert system.exit_status(["/bin/sh", "-c", "echo out; echo no >&2"], 30, "look") == (0, "no")


@pytest.mark.parametrize("how", [system.run, system.exit_status])
@pytest.mark.parametrize(
    ("program", "said"),
    [
        (["/nonexistent/rsync"], "Cannot look: the program /nonexistent/rsync is not installed."),
        (["/etc/passwd"], "Cannot look: /etc/passwd: .*Permission denied"),
        (["/bin/sleep", "60"], "Cannot look: no end within 0.2 seconds."),
    ],
)
def test_a_program_that_cannot_start_or_does_not_end_is_named(how, program, said):
    with pytest.raises(Unavailable, match=said):
        how(program, 0.2, "look")


def test_what_is_started_to_go_on_has_a_session_of_its_own_and_holds_nothing_open(tmp_path):
    """A minion's job must not wait for it, and what ends its caller must not end it."""
    script = "read -r _ _ _ _ _ session _ < /proc/$$/stat; echo $session > session.new; "
    script += "ls -l /proc/$$/fd > files.new; mv files.new files"
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        system.start_detached(["/bin/sh", "-c", script])
        end = time.monotonic() + 20
        while not (tmp_path / "files").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        os.chdir(before)
    assert int((tmp_path / "session.new").read_text()) != os.getsid(0)
    held = [line.split(" -> ")[1] for line in (tmp_path / "files").read_text().splitlines() if " -> " in line]
    assert held.count("/dev/null") >= 2 and not [one for one in held if one.startswith("pipe:")]


def test_a_disk_that_cannot_take_it_is_named(tmp_path, monkeypatch):
    class Library:
        @staticmethod
        def syncfs(opened):
            asked.append(opened)
            ctypes.set_errno(errno.EIO)
            return -1

    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    with pytest.raises(Unavailable, match=f"{tmp_path} could not be written to the disk: Input/output error"):
        system.sync_file_systems([tmp_path / "none", tmp_path])
    assert len(asked) == 1
    # It is let go of all the same.
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(asked[0])


def test_each_disk_is_written_once(tmp_path, monkeypatch):
    asked = []
    library = types.SimpleNamespace(syncfs=lambda opened: asked.append(os.fstat(opened).st_dev) or 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    (tmp_path / "below").mkdir()
    system.sync_file_systems([tmp_path, tmp_path / "below", "/proc", tmp_path, "/proc/self"])
    assert asked == [os.stat(tmp_path).st_dev, os.stat("/proc").st_dev]


def test_what_is_said_in_the_log_is_one_printable_line(monkeypatch):
    said = []
    monkeypatch.setattr(system.syslog, "syslog", lambda priority, line: said.append((priority, line)))
    system.log("one\nline \x1b[2J")
    system.log("two", system.ERR)
    assert [priority for priority, _ in said] == [system.NOTICE, system.ERR]
    assert said[0][1].startswith("one line ") and said[0][1].isprintable()
