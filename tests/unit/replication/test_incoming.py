"""The rsyncs of the other node that write here: announced, found, and not disturbed by the next one."""

import os
import subprocess
import sys

import pytest

from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import incoming

NOBODY = 2**22 + 1  # beyond the highest process id there is


@pytest.fixture
def member(tmp_path):
    return Member("salt", Paths(tmp_path))


def names(member):
    return sorted(os.listdir(member.volatile / "incoming"))


def test_one_that_announces_itself_removes_the_traces_of_those_that_are_gone(member):
    incoming.announce(member)
    folder = member.volatile / "incoming"
    for name in (str(NOBODY), f".{NOBODY}.x4f2a", "what.is.this"):
        (folder / name).write_text("7")
    (folder / "1").write_text("a start time that is not that of process 1")
    incoming.announce(member)
    assert names(member) == [str(os.getpid())]
    assert (folder / str(os.getpid())).read_text() == str(system.process_started(os.getpid()))


def test_two_at_once_do_not_remove_what_the_other_one_is_just_writing(member, monkeypatch):
    """Seen in the lab: the second one's sweep came between the first one's file and its name."""
    replaced = []

    def another_comes(source, target, replace=os.replace):
        replaced.append(os.path.basename(source))
        if len(replaced) == 1:
            incoming.announce(member)
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", another_comes)
    incoming.announce(member)
    assert len(replaced) == 2
    assert names(member) == [str(os.getpid())]


def test_whoever_asks_for_the_end_of_all_does_not_end_itself(member):
    """Seen in a test that was the leader of its session, as what sshd starts is."""
    program = (
        "import os, sys\n"
        "from failback.replication import incoming\n"
        "from failback.host.paths import Paths\n"
        "from failback.pair import Member\n"
        "os.setsid()\n"
        "member = Member('salt', Paths(sys.argv[1]))\n"
        "incoming.announce(member)\n"
        "print(incoming.end(member))\n"
    )
    library = str(system.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", program, str(member.paths.root)],
        env={**os.environ, "PYTHONPATH": library},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_there_is_nothing_to_end_where_nobody_ever_came(member):
    assert incoming.end(member) == 0
