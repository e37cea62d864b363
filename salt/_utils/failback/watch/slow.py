"""
What takes its time for one pair, beside the loop that watches all of them.

A takeover asks a fence agent, the other node and a disk. Meanwhile the other pairs are judged as ever, and
its own as soon as it is done but for what people are told. Nothing of the loop's own is touched here: how it
ended is fetched by the loop, which a bell wakes.
"""

import contextlib
import socket
import threading


class Bell:
    """Wakes a loop that waits in ``poll``; rung from any thread."""

    def __init__(self):
        self._inside, self._outside = socket.socketpair()
        for one in (self._inside, self._outside):
            one.setblocking(False)

    def fileno(self):
        """For ``poll``."""
        return self._inside.fileno()

    def ring(self):
        """Wake the loop. Once is enough, however often it is rung."""
        with contextlib.suppress(BlockingIOError):
            self._outside.send(b"!")

    def hear(self):
        """The loop is awake."""
        with contextlib.suppress(BlockingIOError):
            while self._inside.recv(4096):
                pass

    def close(self):
        """Close both ends."""
        self._inside.close()
        self._outside.close()


class Slow:
    """Calls that last, at most one at a time for each name, each in a thread that ends with this process."""

    def __init__(self):
        self.bell = Bell()
        self._under_way, self._threads = set(), []
        self._ended = []

    def begin(self, name, call):
        """
        Begin a call, unless one of this name is under way.

        call
            Function of one argument: ``done``, which it may call with the outcome as soon as the loop may go
            on with that name, although it is not at its end. Otherwise what it returns is the outcome. It
            must not raise.

        Returns whether it was begun.
        """
        if self.busy(name):
            return False

        def work():
            outcomes = []

            def done(outcome):
                if outcomes:
                    return
                outcomes.append(outcome)
                # In this order: what has rung is there to be fetched.
                self._ended.append((name, outcome))
                self.bell.ring()

            done(call(done))

        self._under_way.add(name)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()
        return True

    def busy(self, name):
        """Whether a call of this name is under way, or has ended and was not fetched yet."""
        return name in self._under_way

    @property
    def any(self):
        """Whether anything is under way, or not at its end although the loop may go on."""
        return bool(self._under_way) or any(one.is_alive() for one in self._threads)

    def ended(self):
        """The calls that have ended since, as ``(name, outcome)``, for the loop alone."""
        self.bell.hear()
        found = []
        while self._ended:
            name, outcome = self._ended.pop(0)
            self._under_way.discard(name)
            found.append((name, outcome))
        return found

    def close(self):
        """Close the bell. What is still under way rings in vain."""
        self.bell.close()
