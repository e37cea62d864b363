"""The other node's rsync that writes here is ended: nothing of it lands later, and nothing of it is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import trees

from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import incoming
from failback.replication import replicated

#: What the peer does when rsync is asked for; sshd makes it the leader of a session of its own.
FAR_END = """#!{python}
import os, sys, time
# A slow network, for the peer accepts no --bwlimit.
reading, writing = os.pipe()
if not os.fork():
    os.close(reading)
    while data := os.read(0, 1 << 16):
        time.sleep(0.05)
        os.write(writing, data)
    os._exit(0)
os.close(writing)
os.dup2(reading, 0)
os.close(reading)
os.setsid()
sys.path[:0] = {path!r}
from failback.replication import incoming
from failback.host.paths import Paths
from failback.pair import Member
incoming.announce(Member("salt", Paths({root!r})))
os.execvp("rsync", ["rsync", "--server", "--daemon", "--config={configuration}", "."])
"""


@pytest.fixture
def member(tmp_path):
    return Member("salt", Paths(tmp_path / "node"))


@pytest.fixture
def pushing(tmp_path, member):
    """An rsync that has begun to write a large file here; returns its target."""
    target = tmp_path / "srv"
    trees.make(tmp_path, {"srv/large": "old", "source/large": os.urandom(8 << 20)})
    item = replicated.item("/srv", is_directory=True)
    configuration = tmp_path / "rsyncd.conf"
    configuration.write_text(replicated.daemon_config([item], True, str(tmp_path)))
    shell = tmp_path / "shell"
    terms = {"python": sys.executable, "path": sys.path, "root": str(tmp_path / "node")}
    shell.write_text(FAR_END.format(**terms, configuration=configuration))
    shell.chmod(0o755)
    command = ["rsync", "--recursive", "-e", str(shell)]
    client = subprocess.Popen(
        [*command, f"{tmp_path}/source/", f"peer::{item.module}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: temporary(target))
    yield target
    client.kill()
    client.wait()


def temporary(target):
    return [one.name for one in target.iterdir() if one.name.startswith(".large.") and one.stat().st_size]


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


#: rsync.h: WRITE_SIZE.
ONE_WRITE = 32 * 1024


@pytest.fixture
def stubborn(tmp_path, member):
    """An rsync that does not end when it is told to, and writes on; returns its file."""
    written = tmp_path / "written"
    child = os.fork()
    if not child:
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            incoming.announce(member)
            with open(written, "w", buffering=1) as handle:
                while True:
                    handle.write("more\n")
        finally:
            os._exit(1)
    wait_until(lambda: written.exists() and written.stat().st_size)
    yield written
    os.waitpid(child, 0)


@pytest.mark.needs("root", "rsync")
def test_it_leaves_no_temporary_file_in_the_data_that_are_served(pushing, member):
    assert incoming.end(member) == 1
    assert [one.name for one in pushing.iterdir()] == ["large"]
    assert (pushing / "large").read_text() == "old"


@pytest.mark.needs("root", "rsync")
def test_one_that_is_told_to_end_writes_nothing_more_and_is_not_waited_for(pushing, member):
    (name,) = temporary(pushing)
    begun = time.monotonic()
    assert len(incoming.stop(member)) == 1
    assert time.monotonic() - begun < 0.3, "its pause of 0.4 s would be one of the service"
    sizes = set()
    # Until it removes the file: a write that was being made may still end (the kernel shows it in steps), and
    # what had been read is not written.
    with contextlib.suppress(FileNotFoundError):
        while time.monotonic() < begun + 20:
            sizes.add((pushing / name).stat().st_size)
    assert max(sizes) - min(sizes) <= ONE_WRITE and not temporary(pushing)
    assert (pushing / "large").read_text() == "old"


def test_when_the_call_returns_nothing_writes_any_more(stubborn, member):
    begun = time.monotonic()
    assert incoming.end(member) == 1
    size = stubborn.stat().st_size
    assert time.monotonic() - begun < incoming.ENDS_WITHIN + incoming.KILLED_WITHIN + 0.5
    time.sleep(0.2)
    assert stubborn.stat().st_size == size


def test_where_nothing_writes_nobody_is_waited_for(member, monkeypatch):
    def waits(*_):
        raise AssertionError

    monkeypatch.setattr(incoming, "_living", waits)
    assert incoming.end(member) == 0
    incoming.announce(member)
    # This process leads no session of its own here: it is no rsync.
    monkeypatch.setattr(incoming.os, "getpgid", lambda pid: pid + 1)
    assert incoming.end(member) == 0
