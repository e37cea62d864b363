"""The identity of a machine, by which it knows that a process of an earlier boot of its own is gone."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import samples

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
