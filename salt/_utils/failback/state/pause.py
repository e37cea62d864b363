"""
A pause of the watch that expires by itself, so that a forgotten one cannot disable it for good.

It lasts as long as was asked for when somebody sets the node's clock meanwhile, and no longer.
"""

import time

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system
from failback.state import lock

VERSION = 1

#: Seconds for which the hold of a dead run is left in force. What the run had begun on the nodes, a handover
#: above all, may still be under way without it, and has ended by then.
OUTLIVES_ITS_RUN = 60.0

#: A day. Longer is not a pause; `watch: {on: nobody}` in the pillar says that openly.
LONGEST = 86400


def set_hold(pair, paths, seconds, reason, run=None):
    """
    Pause the watch of a pair on this node.

    An operator's hold and that of a run stand side by side: neither shortens nor ends the other.

    seconds
        For how long from now, 1 to ``LONGEST``.

    run
        The run on whose behalf, or None for an operator.

    Returns the hold: ``until`` (seconds since the epoch), ``reason``, ``run``. Raises ``Refused``.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST:
        raise Refused(f"A hold lasts from 1 to {LONGEST} seconds, not {seconds!r}: it must expire by itself.")
    now = system.clocks()
    new = {"until": now["wall"] + seconds, "reason": reason, "run": run, "set": now}
    with _alone(pair, paths):
        try:
            others = [one for one in _in_force(pair, paths) if one["run"] != run]
        except Unreadable:
            # Asked for by name: a damaged file must not keep an operator from pausing the watch.
            others = []
        _write(pair, paths, [*others, new])
    return new


def read(pair, paths):
    """The hold in force on this node that lasts longest, or None."""
    found = last(pair, paths)
    return found if found and found["until"] > time.time() else None


def last(pair, paths):
    """The hold on this node that lasts longest, expired or not, or None. Raises ``Unreadable``."""
    return max(_all(pair, paths), key=lambda one: one["until"], default=None)


def clear(pair, paths, run=None):
    """
    End the holds. With a run, only that run's: an operator's own outlives the run.

    Returns True when one in force was ended.
    """
    with _alone(pair, paths):
        found = _in_force(pair, paths)
        left = [one for one in found if run is not None and one["run"] != run]
        _write(pair, paths, left)
    return len(left) < len(found)


def _alone(pair, paths):
    # A run that renews its hold must not undo what an operator sets in the same moment.
    return files.locked(paths.state(pair) / ".hold.flock")


class Orphans:
    """
    Ends the holds of runs that have died, so that they do not keep the watch idle for hours.

    A run has died when its lock on this node is that of a process which this node can prove to be gone, or
    when another run, or none, has the lock.
    """

    def __init__(self, pair, paths):
        self._pair, self._paths = pair, paths
        self._run, self._since = None, None

    def ended(self, hold, now):
        """
        Look at the hold in force, and end it if it is an orphan and has been one for long enough.

        now
            Seconds of a clock that never goes back.

        Returns the run whose hold was ended, or None.
        """
        run = hold.get("run") if hold else None
        if run is None or not self._is_dead(run):
            self._run = None
        elif run != self._run:
            self._run, self._since = run, now
        elif now - self._since >= OUTLIVES_ITS_RUN:
            self._run = None
            clear(self._pair, self._paths, run)
            return run
        return None

    def _is_dead(self, run):
        try:
            found = lock.read(self._pair, self._paths)
        except Unreadable:
            return False
        return found is None or found["run"] != run or found["state"] == "dead"


def _in_force(pair, paths):
    return [one for one in _all(pair, paths) if one["until"] > time.time()]


def _all(pair, paths):
    content = files.read_json(paths.hold(pair), f"the hold of {pair}", VERSION)
    if content is None:
        return []
    holds = content.get("holds")
    if not isinstance(holds, list) or not all(
        isinstance(one, dict) and isinstance(one.get("until"), (int, float)) for one in holds
    ):
        raise Unreadable(
            f"{paths.hold(pair)}, the hold of {pair}, is damaged. The watch stays paused; remove the file, "
            f"or run `salt-run pair.hold {pair} 1`."
        )
    return [_on_this_clock(one) for one in holds]


def _on_this_clock(hold):
    """A hold as the wall clock would have it, had it always been set as it is now."""
    then = hold.get("set")
    step = system.clock_step(then) if isinstance(then, dict) else 0.0
    if not step:
        return hold
    return {**hold, "until": hold["until"] + step, "set": {**then, "wall": then["wall"] + step}}


def _write(pair, paths, holds):
    if holds:
        files.write_json(paths.hold(pair), {"version": VERSION, "holds": holds})
    else:
        paths.hold(pair).unlink(missing_ok=True)
