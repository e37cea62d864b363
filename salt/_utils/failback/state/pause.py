"""
A pause of the watch that expires by itself, so that a forgotten one cannot disable it for good.

It lasts as long as was asked for when somebody sets the node's clock meanwhile, and no longer: it is judged
by the clock that counts from boot. After a reboot that tells only that the whole uptime has passed since; the
wall clock says the rest.
"""

import time

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system

VERSION = 1

#: Seconds for which the pause of a dead run is left in force. What the run had begun on the nodes, a handover
#: above all, may still be under way without it, and has ended by then.
OUTLIVES_ITS_RUN = 60.0

#: A day. Longer is not a pause; `watch: {on: nobody}` in the pillar says that openly.
LONGEST = 86400


class Pause:
    """
    The pauses of one pair's watch on this node.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member

    @property
    def path(self):
        """The file."""
        return self._member.paths.pause(self._member.pair)

    def set(self, seconds, reason, run=None, user=None):
        """
        Pause the watch of a pair on this node.

        An operator's pause and that of a run stand side by side: neither shortens nor ends the other.

        seconds
            For how long from now, 1 to ``LONGEST``.

        run
            The run on whose behalf, or None for an operator.

        user
            The operator's name, or None.

        Returns the pause: ``until`` (seconds since the epoch), ``reason``, ``run``, ``user``. Raises
        ``Refused``.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST:
            raise Refused(
                f"A pause lasts from 1 to {LONGEST} seconds, not {seconds!r}: it must expire by itself."
            )
        now = system.clocks()
        new = {"until": now["wall"] + seconds, "reason": reason, "run": run, "user": user, "set": now}
        with self._alone():
            try:
                others = [one for one in self._in_force() if one["run"] != run]
            except Unreadable:
                # Asked for by name: a damaged file must not keep an operator from pausing the watch.
                others = []
            self._write([*others, new])
        return new

    def read(self):
        """The pause in force on this node that lasts longest, or None."""
        found = self.last()
        return found if found and found["until"] > time.time() else None

    def last(self):
        """The pause on this node that lasts longest, expired or not, or None. Raises ``Unreadable``."""
        return longest(self.written())

    def clear(self, run=None):
        """
        End the pauses. With a run, only that run's: an operator's own outlives the run.

        Returns True when one in force was ended.
        """
        with self._alone():
            found = self._in_force()
            left = [one for one in found if run is not None and one["run"] != run]
            self._write(left)
        return len(left) < len(found)

    def _in_force(self):
        # As they were written: written once more, the clocks in them must still be those of then.
        return [one for one in self.written() if _on_this_clock(one)["until"] > time.time()]

    def written(self):
        """
        The pauses as they were written, a list.

        Who keeps it must not compare their ``until`` with the clock of a later moment: that is what
        :py:func:`longest` is for. Raises ``Unreadable``.
        """
        pair = self._member.pair
        content = files.read_json(self.path, f"the pause of {pair}", VERSION)
        if content is None:
            return []
        holds = content.get("holds")
        if not isinstance(holds, list) or not all(
            isinstance(one, dict) and isinstance(one.get("until"), (int, float)) for one in holds
        ):
            raise Unreadable(
                f"{self.path}, the pause of {pair}, is damaged. The watch stays paused; remove the file, "
                f"or run `salt-run pair.pause {pair} 1`."
            )
        return holds

    def _write(self, holds):
        if holds:
            files.write_json(self.path, {"version": VERSION, "holds": holds})
        else:
            self.path.unlink(missing_ok=True)

    def _alone(self):
        # A run that renews its pause must not undo what an operator sets in the same moment.
        return files.locked(self._member.state / ".hold.flock")


class Orphans:
    """
    Ends the pauses of runs that have died, so that they do not keep the watch idle for hours.

    A run has died when its lock on this node is that of a process which this node can prove to be gone, or
    when another run, or none, has the lock.
    """

    def __init__(self, member):
        self._member = member
        self._run, self._since = None, None

    def ended(self, pause, now):
        """
        Look at the pause in force, and end it if it is an orphan and has been one for long enough.

        now
            Seconds of a clock that never goes back.

        Returns the run whose pause was ended, or None.
        """
        run = pause.get("run") if pause else None
        if run is None or not self._is_dead(run):
            self._run = None
        elif run != self._run:
            self._run, self._since = run, now
        elif now - self._since >= OUTLIVES_ITS_RUN:
            self._run = None
            self._member.pause.clear(run)
            return run
        return None

    def _is_dead(self, run):
        try:
            found = self._member.lock.read()
        except Unreadable:
            return False
        return found is None or found["run"] != run or found["state"] == "dead"


def longest(written):
    """
    The one of some pauses that lasts longest, expired or not, with ``until`` by the wall clock as it is now.

    written
        What :py:meth:`Pause.written` returned, now or earlier.
    """
    return max(map(_on_this_clock, written), key=lambda one: one["until"], default=None)


def _on_this_clock(pause):
    """A pause as the wall clock would have it, had it always been set as it is now."""
    then = pause.get("set")
    if not isinstance(then, dict):
        return pause
    if then.get("boot_id") != system.boot_id():
        return {**pause, "until": min(pause["until"], _end_by_uptime(pause, then))}
    return {**pause, "until": pause["until"] + system.clock_step(then)}


def _end_by_uptime(pause, then):
    """
    When a pause of an earlier boot is over at the latest: it was set before this boot began.

    A clock that comes back with an earlier time would prolong it by years. One that comes back with a later
    time ends it too early, which does no harm: a node that has rebooted takes nothing until an orchestration
    admits it.
    """
    wall = then.get("wall")
    if not isinstance(wall, (int, float)):
        return pause["until"]
    return time.time() + (pause["until"] - wall) - system.boottime()
