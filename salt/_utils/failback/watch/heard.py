"""
Whether others hear this node while it is the active one; a part of the keeper.

The kernel knows when a neighbour has acknowledged something last. The other node does not count: it would
know better who is active. Every half a minute the newest moment is written to the disk, by a thread, for a
disk may hang: see :py:mod:`failback.state.last_heard`. Then the ledger, too, says that this node's claim was
heard, if the disk has refused that.
"""

import contextlib
import threading
import time

from failback.errors import FailbackError
from failback.network import floating
from failback.network import netlink
from failback.network import reachable
from failback.state import last_heard

#: Seconds between two questions to the kernel, which forgets after ``netlink.LATELY``, and between two notes.
ASK_EVERY, NOTE_EVERY = 4.0, 30.0


class HeardRecorder:
    """
    Records it for one pair.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member
        self._generation, self._heard = None, None
        self._next, self._note_at = 0.0, 0.0
        self._thread = None

    def look(self, generation):
        """
        Ask the kernel if it is time, and note if that is due. Takes no time.

        generation
            In which this node is active and has an address; None where it is not so.
        """
        now = time.monotonic()
        if generation != self._generation:
            self._generation, self._heard, self._note_at = generation, None, now + NOTE_EVERY
        if generation is None or now < self._next:
            return
        self._next = now + ASK_EVERY
        age = self._age()
        if age is not None:
            self._heard = time.time() - age
        busy = self._thread is not None and self._thread.is_alive()
        if self._heard is None or now < self._note_at or busy:
            return
        heard, self._heard, self._note_at = self._heard, None, now + NOTE_EVERY
        self._thread = threading.Thread(target=self._note, args=(generation, heard), daemon=True)
        self._thread.start()

    def _age(self):
        """Seconds since a neighbour has shown last that it hears this node, or None."""
        config = self._member.config
        with contextlib.suppress(OSError), netlink.Netlink() as kernel:
            return reachable.heard(kernel, kernel.links(), floating.of_pair(config), reachable.peer(config))
        return None

    def _note(self, generation, heard):
        from failback.handover import claims

        with contextlib.suppress(OSError, FailbackError):  # a full disk: the next note is due soon
            last_heard.note(self._member, generation, heard)
            if self._member.ledger.is_behind():
                claims.catch_up(self._member)
