"""A pause of the watch that expires by itself, so that a forgotten one cannot disable it for good."""

import time

from failback import files
from failback.errors import Refused

VERSION = 1

#: A day. Longer is not a pause; `watch: {on: nobody}` in the pillar says that openly.
LONGEST = 86400


def set_hold(pair, paths, seconds, reason, run=None):
    """
    Pause the watch of a pair on this node.

    seconds
        For how long from now, 1 to ``LONGEST``.

    Returns the hold: ``until`` (seconds since the epoch), ``reason``, ``run``. Raises ``Refused``.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST:
        raise Refused(
            f"A hold lasts from 1 to {LONGEST} seconds, not {seconds!r}: it must expire by itself."
        )
    found = read(pair, paths)
    if run is not None and found and found.get("run") is None and found["until"] > time.time() + seconds:
        # The operator asked for a longer one; a run must not shorten it.
        return found
    new = {"version": VERSION, "until": time.time() + seconds, "reason": reason, "run": run}
    files.write_json(paths.hold(pair), new)
    return new


def read(pair, paths):
    """The hold in force on this node, or None when there is none or it has expired."""
    found = files.read_json(paths.hold(pair), f"the hold of {pair}", VERSION)
    if found is None or found.get("until", 0) <= time.time():
        return None
    return found


def clear(pair, paths, run=None):
    """
    End a hold. With a run, only that run's hold: an operator's own outlives the run.

    Returns True when one in force was ended.
    """
    found = read(pair, paths)
    if found is None or (run is not None and found.get("run") != run):
        return False
    paths.hold(pair).unlink(missing_ok=True)
    return True
