"""
How far the standby was behind, hour by hour: ``/var/lib/failback/<pair>/lag.json``, which the keeper notes.

Each node keeps what it knew itself, while it served and while it stood by. It survives a reboot.
"""

from failback.decisions import lag_history
from failback.errors import FailbackError
from failback.host import files

VERSION = 1

#: Seconds between two writes: a power failure loses so much of it at most.
WRITTEN_EVERY = 60.0


class Lags:
    """
    The lags of a pair as this node knew them.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._path = member.state / "lag.json"
        self._hours = None
        self._written, self._written_at = None, None

    def read(self):
        """By hour the worst lag; a file that cannot be read has nothing to say, and is written anew."""
        try:
            found = files.read_json(self._path, "the lags of the pair", VERSION) or {}
        except FailbackError:
            found = {}
        return lag_history.from_list(found.get("hours"))

    def note(self, lag, now, uptime):
        """
        Keep what was found at one look. Raises ``OSError``.

        lag
            Seconds, or None where it is not known.

        now, uptime
            Seconds since the epoch, and since boot: the clock of the first may be set meanwhile.
        """
        if lag is None:
            return
        if self._hours is None:
            self._hours = self._written = self.read()
        self._hours = lag_history.noted(self._hours, now, lag)
        if self._hours == self._written:
            return
        if self._written_at is not None and uptime - self._written_at < WRITTEN_EVERY:
            return
        # Before the write: a disk that is full is not tried again at each look.
        self._written_at = uptime
        files.write_json(self._path, {"version": VERSION, "hours": lag_history.as_list(self._hours)})
        self._written = self._hours
