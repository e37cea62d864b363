"""A pause of the watch that expires by itself, so that a forgotten one cannot disable it for good."""

import time

from failback import files
from failback.errors import Refused
from failback.errors import Unreadable

VERSION = 1

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
    new = {"until": time.time() + seconds, "reason": reason, "run": run}
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
    found = _in_force(pair, paths)
    left = [one for one in found if run is not None and one["run"] != run]
    _write(pair, paths, left)
    return len(left) < len(found)


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
    return holds


def _write(pair, paths, holds):
    if holds:
        files.write_json(paths.hold(pair), {"version": VERSION, "holds": holds})
    else:
        paths.hold(pair).unlink(missing_ok=True)
