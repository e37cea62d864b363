"""
``salt-run`` from a process that has imported Salt already: the half second of each import is spent once.

A server, started by :class:`SaltRun`, forks a child for each command. The child is a process of its own with
the arguments, the standard output and the exit status that the program would have. It knows no option of an
earlier one, for the server has read no configuration.
"""

import json
import os
import signal
import socket
import subprocess
import sys

#: What ``salt-run`` imports before it reads its options, and what it always imports afterwards: of itself,
#: and for its runners, its pillar and its file server. Nothing of the tree is among it.
IMPORTED = (
    *("salt.scripts", "salt.cli.run", "salt.runner", "salt.client", "salt.state", "salt.output"),
    *("git", "salt.fileserver.gitfs", "salt.pillar.git_pillar", "salt.runners.winrepo", "salt.utils.mine"),
    *("salt.netapi", "salt.client.ssh", "salt.utils.thin", "salt.daemons.masterapi", "salt.master"),
    *("salt.modules.cmdmod", "salt.modules.file", "salt.modules.network", "salt.grains.extra"),
    *("salt.utils.dns", "salt.utils.reactor", "salt.serializers.yaml"),
)


class SaltRun:
    """
    Starts commands.

    words
        The options that each of them has.
    """

    def __init__(self, words):
        self._words = [str(word) for word in words]
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen([sys.executable, __file__], stdin=theirs)

    def start(self, *words):
        """Start ``salt-run`` with more words; returns a ``Process``."""
        output, theirs = os.pipe()
        status, told = os.pipe()
        request = json.dumps([*self._words, *words]).encode()
        socket.send_fds(self._socket, [request], [theirs, told])
        os.close(theirs)
        os.close(told)
        return Process(output, status)

    def close(self):
        self._socket.close()
        self._server.wait(10)


class Process:
    """One command, with what is used of ``subprocess.Popen``."""

    def __init__(self, output, status):
        self.returncode = None
        self._output = open(output)  # noqa: SIM115
        self._status = open(status)  # noqa: SIM115
        self.pid = int(self._status.readline())

    def communicate(self, timeout=None):
        """Wait for its end. Returns what it printed, and None; raises ``subprocess.TimeoutExpired``."""
        # cat does the waiting with a limit; what is printed may be more than a pipe holds.
        reader = subprocess.Popen(["cat"], stdin=self._output, stdout=subprocess.PIPE, text=True)
        try:
            text, _ = reader.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            reader.kill()
            reader.communicate()
            raise
        self.returncode = int(self._status.readline())
        self._output.close()
        self._status.close()
        return text, None

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


def serve(requests):
    """Fork a child for each request until the other side is closed."""
    for name in IMPORTED:
        __import__(name)
    # The children that wait for commands are nobody's: the kernel need not keep their status.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, (*descriptors,), *_ = socket.recv_fds(requests, 65536, 2)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _wait_for(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for(words, output, status):
    """Run a command in a child; tell its pid, and at its end its exit status as a shell would."""
    child = os.fork()
    if child == 0:
        os.close(status)
        _run(words, output)
    os.close(output)
    os.write(status, f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(status, f"{code}\n".encode())
    os._exit(0)


def _run(words, output):
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    for descriptor in (null, output):
        os.close(descriptor)
    sys.argv = words
    import salt.scripts

    # What follows is the end of any program: handlers at exit run, and a text is printed and is status 1.
    sys.exit(salt.scripts.salt_run())


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
