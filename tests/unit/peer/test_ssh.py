"""The connection to the other node: what is asked over it, and how it ends."""

import signal
import subprocess
import sys
import time

import pytest
import samples

from failback.errors import Unavailable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair("salt1"), Paths(tmp_path))


def test_a_verb_is_asked_by_the_pair_s_own_configuration(member, monkeypatch):
    asked = []
    monkeypatch.setattr(system, "run", lambda *arguments: asked.append(arguments) or "an answer")
    assert ssh.ask(member, "yield", "7", timeout=3) == "an answer"
    words = ["/usr/bin/ssh", "-F", str(member.paths.ssh_config), "10.0.0.12", "--", "yield", "7"]
    assert asked == [(words, 3, "ask salt2 over SSH for `yield 7`")]
    assert ssh.command(member, "-M", "-S", "x")[3:] == ["-M", "-S", "x", "10.0.0.12"]


def test_a_node_that_does_not_answer_is_named(member, monkeypatch):
    def run(argv, timeout, what):
        raise Unavailable(f"Cannot {what}: no end within {timeout} seconds.")

    monkeypatch.setattr(system, "run", run)
    with pytest.raises(Unavailable, match="Cannot ask salt2 over SSH for `report`: no end within 15 seconds"):
        ssh.report(member)


def connected(script):
    program = [sys.executable, "-S", "-c", f"import signal, sys, time\n{script}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe)
    if "ready" in script:
        assert process.stdout.readline() == b"ready\n"
    return process


def streams(process):
    return [one.closed for one in (process.stdin, process.stdout, process.stderr)]


def test_a_connection_ends_with_its_input():
    process = connected("sys.stdin.read()\nsys.exit(7)")
    ssh.hang_up(process)
    assert process.returncode == 7 and streams(process) == [True] * 3


def test_one_that_does_not_end_is_killed():
    """A node that has lost its power: ssh itself would notice in some seconds, or never."""
    process = connected("print('ready', flush=True)\nsignal.pause()")
    began = time.monotonic()
    ssh.hang_up(process, limit=0.2)
    assert process.returncode == -signal.SIGKILL and streams(process) == [True] * 3
    assert time.monotonic() - began >= 0.2


def test_one_that_has_ended_with_something_unsaid_is_let_go():
    process = connected("sys.exit(3)")
    process.wait()
    # What is still to be written cannot be.
    process.stdin.write(b"yield")
    ssh.hang_up(process)
    assert process.returncode == 3 and process.stderr.closed
