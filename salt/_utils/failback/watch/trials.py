"""The fence agents are tried while all is well: one that does not work is known before it is needed."""

import threading
import traceback

from failback.fence import proof
from failback.host import system

#: Seconds between two trials. An agent asks a machine of its own; it need not be asked like the network.
EVERY = 300.0


class Trials:
    """
    Tries the fence agents of some pairs, in a thread of its own: an agent may take its whole time.

    members
        List of :py:class:`failback.pair.Member`.
    """

    def __init__(self, members):
        self._members = [one for one in members if proof.configured(one)]
        self._next = 0.0
        self._thread = None

    def begin(self, now):
        """
        Begin to try them, if it is time and the last trial has ended.

        now
            Seconds of a clock that never goes back.
        """
        if not self._members or now < self._next or (self._thread and self._thread.is_alive()):
            return
        self._next = now + EVERY
        self._thread = threading.Thread(target=self._try_all, daemon=True)
        self._thread.start()

    def _try_all(self):
        for member in self._members:
            try:
                proof.tried(member)
            except Exception:  # a fault in the code must not end the trials of the other pairs
                system.log(f"{member.pair}: {traceback.format_exc()}")
