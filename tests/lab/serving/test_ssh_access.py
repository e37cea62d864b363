"""What salt1's key towards salt2 lets one do: ask for the verbs of a peer. Everything else is tried here."""

import contextlib
import re
import shlex
import socket

import pytest
from lab_pair import differences

from lab.host import kill_session
from lab.host import until

pytestmark = pytest.mark.usefixtures("failed_over_or_running")

SSH = ["ssh", "-F", "/etc/failback/ssh/config"]
TO = "10.0.0.12"
MARK = "/root/was-here"
KEPT = "many/file-1000"


@pytest.fixture(scope="module")
def failed_over_or_running(pair):
    """Any state will do; only a lab that is new needs its keys first."""
    if pair.ledger(pair.salt1) is None:
        pair.running()
    pair.salt2.run(["rm", "-f", MARK])
    pair.salt2.run(["git", "init", "--quiet", "--bare", "/srv/git/other.git"])
    pair.salt1.write("/root/payload", "should stay here\n")
    return pair


def module(pair, path="/srv/data"):
    """The name of the rsync module of a folder."""
    text = "from failback.replication import replicated\nprint(replicated.item(sys.argv[1], True).module)"
    return pair.python(pair.salt1, text, path)


@pytest.mark.parametrize(
    "command",
    [
        "touch /root/was-here",
        "sh -c 'touch /root/was-here'",
        "report; touch /root/was-here",
        "report && touch /root/was-here",
        "report\ntouch /root/was-here",
        "$(touch /root/was-here)",
        "handover $(touch /root/was-here)",
        "git-receive-pack '/srv/git/site.git; touch /root/was-here'",
        "rsync --server --daemon --config=/tmp/mine .",
        "rsync --server --sender -logDtpre.iLsfxCIvu . /etc/shadow",
        "rsync --server -logDtpre.iLsfxCIvu . /root/was-here",
        "git-receive-pack '/srv/git/other.git'",
        "git-receive-pack '/srv/git/../git/site.git'",
        "git-upload-pack '/srv/git/site.git'",
        "git-upload-archive '/srv/git/site.git'",
        "cat /etc/shadow",
        "/usr/lib/openssh/sftp-server",
        "internal-sftp",
        "failback take-back salt x",
        "",
    ],
)
def test_no_other_command_is_run(pair, command):
    done = pair.salt1.run([*SSH, TO, "--", command], check=False, input="touch /root/was-here\n", timeout=20)
    assert done.returncode != 0
    assert "root:" not in done.stdout
    assert "failback: " in done.stderr
    assert pair.salt2.run(["ls", MARK], check=False).returncode != 0


@pytest.mark.parametrize(
    "command",
    [
        ["scp", "-F", "/etc/failback/ssh/config", "/root/payload", f"{TO}:{MARK}"],
        ["scp", "-O", "-F", "/etc/failback/ssh/config", "/root/payload", f"{TO}:{MARK}"],
        ["scp", "-F", "/etc/failback/ssh/config", f"{TO}:/etc/shadow", "/root/stolen"],
        ["rsync", "-e", shlex.join(SSH), "/root/payload", f"{TO}:{MARK}"],
        ["rsync", "-e", shlex.join(SSH), f"{TO}:/etc/shadow", "/root/stolen"],
        ["rsync", "-e", shlex.join(SSH), f"{TO}::etc/shadow", "/root/stolen"],
        ["rsync", "-e", shlex.join(SSH), f"{TO}::MODULE/../../etc/shadow", "/root/stolen"],
        ["rsync", "-e", shlex.join(SSH), "--copy-links", f"{TO}::MODULE/escape/shadow", "/root/stolen"],
        ["rsync", "-e", shlex.join(SSH), "--remove-source-files", f"{TO}::MODULE/{KEPT}", "/root/stolen"],
    ],
    ids=" ".join,
)
def test_no_file_outside_the_pair_s_paths_comes_or_goes(pair, command):
    pair.salt1.run(["rm", "-f", "/root/stolen"])
    pair.salt2.run(["ln", "-sfn", "/etc", "/srv/data/escape"])
    try:
        words = [word.replace("MODULE", module(pair)) for word in command]
        done = pair.salt1.run(words, check=False, timeout=20)
    finally:
        pair.salt2.run(["rm", "/srv/data/escape"])
    assert done.returncode != 0
    assert pair.salt1.run(["ls", "/root/stolen"], check=False).returncode != 0
    assert pair.salt2.run(["ls", MARK], check=False).returncode != 0
    assert pair.salt2.run(["ls", f"/srv/data/{KEPT}"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "port"),
    [
        (["-N", "-L", "19001:127.0.0.1:22"], 19001),
        (["-N", "-D", "19002"], 19002),
        (["-N", "-W", "127.0.0.1:22"], None),
        (["-N", "-R", "19003:127.0.0.1:22"], None),
        (["-N", "-o", "Tunnel=point-to-point", "-w", "0:0"], None),
    ],
    ids=["local", "dynamic", "standard", "remote", "tunnel"],
)
def test_nothing_is_forwarded(pair, options, port):
    """A connection through it carries no byte; a listener never appears on salt2."""
    if options[1] == "-W":
        options = options[1:]
    process = pair.salt1.spawn([*SSH, "-o", "ExitOnForwardFailure=yes", *options, TO])
    try:
        if port is None:
            output, _ = process.communicate(timeout=10)
            assert process.returncode != 0
            assert b"SSH-2.0" not in output
        else:
            listens = ["ss", "-Htln", "sport", "=", f":{port}"]
            until(lambda: pair.salt1.run(listens).stdout, 10, "ssh to listen on salt1")
            assert through(pair, port) == "nothing"
    finally:
        kill_session(process)
        with contextlib.suppress(ValueError):
            process.communicate()
    assert pair.salt2.run(["ss", "-Htln", "sport", "=", ":19003"]).stdout == ""
    assert "tun0" not in pair.salt2.run(["ip", "-o", "link"]).stdout


def through(pair, port):
    """What salt2's sshd says through a forwarded port of salt1: its banner, or nothing."""
    socks = port == 19002
    text = f"""
import socket
s = socket.create_connection(("127.0.0.1", {port}), 5)
s.settimeout(5)
if {socks}:
    s.sendall(bytes([5, 1, 0])); s.recv(2)
    s.sendall(bytes([5, 1, 0, 1, 127, 0, 0, 1, 0, {socket.htons(22) >> 8}])); s.recv(10)
try:
    print("a banner" if b"SSH-2" in s.recv(99) else "nothing")
except OSError:
    print("nothing")
"""
    return pair.python(pair.salt1, text)


def test_no_terminal_no_agent_and_no_display_is_given(pair):
    """sshd says in its own words what it refused."""
    command = f"{shlex.join(SSH)} -vv -o ForwardAgent=yes -tt {TO} -- report"
    script = f"eval $(ssh-agent) >/dev/null; {command}; kill $SSH_AGENT_PID"
    done = pair.salt1.run(["/bin/sh", "-c", script], check=False, timeout=20)
    assert "PTY allocation request failed" in done.stderr
    (given,) = set(re.findall(r"authorized_keys:\d+: key options:(.*)", done.stderr))
    assert given.split() == ["command"]


def test_a_handover_that_no_run_has_locked_is_refused(pair):
    done = pair.salt1.run(
        [*SSH, TO, "--", "handover", "20260101T000000-recover-salt-0000"],
        input='{"number": 1, "do": "arm", "seconds": 10}\n{"number": 2, "do": "release"}\n',
        timeout=20,
    )
    answers = done.stdout.splitlines()
    assert '"ok": false' in answers[1] and '"ok": false' in answers[2]
    assert len(pair.holders()) == 1


def test_a_node_that_is_not_active_cannot_write_to_the_one_that_is(pair):
    """The way that lsyncd takes, tried by hand from the standby towards the active node."""
    (active,) = pair.holders()
    host, standby = (pair.salt1, pair.salt2) if active == "salt1" else (pair.salt2, pair.salt1)
    before = pair.fingerprint(host)
    standby.run(["/bin/sh", "-c", "mkdir -p /root/stale && echo stale > /root/stale/stale"])
    target = f"{host.address()}::{module(pair)}/"
    rsync = ["rsync", "-a", "--delete", "-e", shlex.join(SSH)]
    assert standby.run([*rsync, f"{target}many/file-1000", "/root/read"], check=False).returncode == 0
    assert standby.run([*rsync, "/root/stale/", target], check=False).returncode != 0
    assert differences(before, pair.fingerprint(host)) == []
