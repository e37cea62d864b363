"""The one SSH connection between the two nodes of a pair, seen from the node that asks."""

import contextlib
import subprocess

from failback.decisions import roles
from failback.errors import Unavailable
from failback.host import system
from failback.peer import answers

#: Seconds for a connection to be set up and authenticated.
CONNECT_TIMEOUT = 5


def client_config(peers, paths):
    """
    The text of the SSH client's configuration for the pair's key.

    peers
        ``{"id": …, "host": …}`` of the nodes to reach, with ``ssh_port`` where it is not 22 and ``ssh_user``
        where it is not root; the host name is looked up by ssh.

    The file holds all options, so that rsync, lsyncd, git and this package connect alike. Nothing of
    root's own SSH configuration applies.
    """
    lines = ["# Written by Failback's highstate; the pair's key and nothing else.", "Host *"]
    lines += [
        f"    IdentityFile {paths.private_key}",
        f"    UserKnownHostsFile {paths.known_hosts}",
        "    GlobalKnownHostsFile /dev/null",
        "    IdentitiesOnly yes",
        "    PreferredAuthentications publickey",
        "    StrictHostKeyChecking yes",
        # Host keys are recorded under the id of the node, whatever address it is reached by.
        "    CheckHostIP no",
        "    BatchMode yes",
        f"    ConnectTimeout {CONNECT_TIMEOUT}",
        # A peer that lost power must be noticed: without these a connection hangs for minutes.
        "    ServerAliveInterval 2",
        "    ServerAliveCountMax 3",
        "    Compression no",
        # With AES in the processor they cost a fraction of the default's time; the peer may refuse them.
        "    Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com",
        "    ForwardAgent no",
        "    ForwardX11 no",
        "    LogLevel ERROR",
    ]
    for one in peers:
        lines += [f"Host {one['host']}", f"    HostKeyAlias {one['id']}", f"    User {roles.ssh_user(one)}"]
        lines += [f"    Port {one['ssh_port']}"] if "ssh_port" in one else []
    return "\n".join(lines) + "\n"


def command(member, *options):
    """Argument list of ssh to the peer, without the remote command."""
    return [
        "/usr/bin/ssh",
        "-F",
        str(member.paths.ssh_config),
        *options,
        member.peer["host"],
    ]


def ask(member, *words, timeout=15):
    """
    Run one verb of ``failback.peer_requests`` on the peer and return what it prints.

    words
        The verb and its arguments, such as ``yield 7``.

    timeout
        Seconds until the answer must be there.

    Raises ``Unavailable`` when the peer does not answer or refuses.
    """
    other = member.peer["id"]
    return system.run(
        [*command(member), "--", *words],
        timeout,
        f"ask {other} over SSH for `{' '.join(words)}`",
    )


def report(member, timeout=15):
    """
    What the peer reports of itself, live and without Salt.

    timeout
        Seconds until the answer must be there.

    Raises ``Unavailable``.
    """
    text = ask(member, "report", timeout=timeout)
    found = answers.object_in(text)
    if found is None:
        raise Unavailable(answers.unreadable(text, member.peer["id"]))
    return found


def hang_up(process, limit=10):
    """
    End a connection to the peer: its input is closed, and it is killed if that does not end it.

    process
        ssh with pipes for all three streams, as ``subprocess.Popen`` returns it.

    limit
        Seconds for it to end by itself.
    """
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stderr.close()
