"""
SSH between the nodes.

A command runs on the other node as ``failback far-end`` would run it; its answer arrives if the two hear each
other by then. The connection of a handover carries lines both ways; what is sent into a cut waits, as TCP
does, and after ``DEAD_AFTER`` seconds the end that leads knows that the connection is dead.
"""

import json

from failback import peer_requests
from failback.errors import FailbackError
from failback.errors import Unavailable
from simulation import here

#: Seconds after the first at which TCP tries again to connect (tcp(7)), as far as ssh waits for it.
AGAIN = (1.0, 3.0)
#: ssh's ConnectTimeout, and ServerAliveInterval times ServerAliveCountMax with its own grain.
CONNECT, DEAD_AFTER = 5.0, 8.0


def answer(world, node, command):
    """What the other node does for a command; its output, or an exit status in an exception."""
    process = world.engine.current
    peer_requests.main(world.member(node), command)
    return "\n".join(process.output) + "\n"


def ask(world, words, timeout, what):
    """
    In place of ``ssh <peer> -- <words>``.

    Raises ``Unavailable`` as ``system.run`` does.
    """
    engine, node = world.engine, world.node
    peer = world.other(node)
    world.step("ssh", words[0])
    if not _connects(world, node, peer, min(CONNECT, timeout)):
        raise Unavailable(f"Cannot {what}: exit status 255, no connection.")
    far = world.start(f"far end, {words[0]}", peer, lambda: answer(world, peer, " ".join(words)))
    end = engine.now + timeout
    if not far.finished:
        engine.wait(end, [far])
    if not far.finished or far.dead or not world.segment.talk(node, peer):
        _wait_in_vain(engine, min(end, engine.now + DEAD_AFTER) - engine.now)
        raise Unavailable(f"Cannot {what}: no end within {timeout} seconds.")
    if far.error is not None:
        if not isinstance(far.error, (FailbackError, OSError)):
            raise far.error
        raise Unavailable(f"Cannot {what}: exit status 1, {far.error}.")
    return far.result


def _connects(world, node, peer, limit):
    """Whether the other node hears one of the attempts to connect: a cut may be mended meanwhile."""
    engine, begun = world.engine, world.engine.now
    for after in (0.0, *AGAIN, limit):
        engine.wait(begun + min(after, limit))
        if after < limit and world.segment.talk(node, peer) and peer.acts:
            return True
    return False


def _wait_in_vain(engine, seconds):
    engine.wait(engine.now + max(0.0, seconds))


class Stream:
    """One direction of a connection, as its reader sees it."""

    def __init__(self, connection):
        self._connection = connection
        self.arrived, self.on_its_way, self.ended = [], [], False
        self.waiters = {}

    def fileno(self):
        return self

    def readable(self):
        return bool(self.arrived) or self.ended

    def take(self):
        """``os.read``: what has arrived, empty at the end."""
        engine = here.world.engine
        while not self.readable():
            engine.wait(None, [self])
        data, self.arrived = b"".join(self.arrived), []
        return data

    def end(self):
        self.ended = True
        here.world.engine.news(self)

    def close(self):
        pass


class Requests:
    """The giver's standard input: lines of text."""

    def __init__(self, stream):
        self._stream, self._buffer = stream, b""

    def __iter__(self):
        return self

    def __next__(self):
        while b"\n" not in self._buffer:
            data = self._stream.take()
            if not data:
                raise StopIteration
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


class Writer:
    """One end's output."""

    def __init__(self, connection, stream):
        self._connection, self._stream = connection, stream

    def write(self, data):
        here.world.step("send", "answer" if isinstance(data, str) else json.loads(data).get("do"))
        if self._connection.closed:
            raise BrokenPipeError(32, "Broken pipe")
        self._stream.on_its_way.append(data.encode() if isinstance(data, str) else data)
        self._connection.carry()

    def flush(self):
        pass

    def close(self):
        self._connection.hung_up()


class _Silent:
    """Standard error."""

    @staticmethod
    def read(_size=-1):
        return b""

    @staticmethod
    def close():
        pass


class Connection:
    """In place of ssh as the taker starts it: the giver is a process of the other node."""

    def __init__(self, world, run):
        self._world = world
        self.near, self.far = world.node, world.other(world.node)
        self.closed = False
        self._requests, self._answers = Stream(self), Stream(self)
        self.stdin, self.stdout, self.stderr = Writer(self, self._requests), self._answers, _Silent()
        self.process = None
        self.owner = world.engine.current
        self._dead_at = None
        world.connections.append(self)
        if self.far.acts and self._whole():
            self.process = world.start("giver", self.far, lambda: self._serve(run))
        else:
            world.engine.after(CONNECT, self.break_)

    def _whole(self):
        return self._world.segment.talk(self.near, self.far)

    def _serve(self, run):
        try:
            from failback.handover import giver

            giver.serve(
                self._world.member(self.far), run, Requests(self._requests), Writer(self, self._answers)
            )
        finally:
            if not self.process.dead:
                self._answers.end()

    def carry(self):
        """What is on its way arrives, if it can; called when something was sent or the network changed."""
        engine = self._world.engine
        if self.closed:
            return
        if not self._whole():
            if self._dead_at is None:
                self._dead_at = engine.after(DEAD_AFTER, self._still_cut)
            return
        if self._dead_at is not None:
            engine.cancel(self._dead_at)
            self._dead_at = None
        for stream in (self._requests, self._answers):
            if stream.on_its_way:
                stream.arrived += stream.on_its_way
                stream.on_its_way = []
                engine.news(stream)

    def _still_cut(self):
        self._dead_at = None
        if not self._whole():
            self.break_()

    def break_(self):
        """ssh gives up; sshd on the other side does not know."""
        self.closed = True
        self._answers.end()

    def process_ended(self, process):
        """An end of one of the two: the kernel closes its side, and the other one hears of it if it can."""
        if process is self.process:
            if self._whole():
                self._answers.end()
        elif process is self.owner:
            self.hung_up()

    def hung_up(self):
        """The taker has closed its side, or is gone."""
        if not self.closed:
            self.closed = True
            if self._whole() and self.near.power:
                self._requests.end()

    def tcp_gives_up(self):
        """Minutes after the taker has vanished the giver's side knows."""
        self.closed = True
        self._requests.end()

    def wait(self, timeout=None):
        engine = self._world.engine
        if self.process is not None and not self.process.finished and self._whole():
            engine.wait(None if timeout is None else engine.now + timeout, [self.process])

    def kill(self):
        self.closed = True
