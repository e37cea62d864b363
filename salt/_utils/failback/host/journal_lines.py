"""What Failback has said in the system's log of this node, in a span of time."""

import json

from failback.host import notation
from failback.host import system

#: Seconds for journalctl to answer.
WITHIN = 20


def of(since, until, limit):
    """
    The lines of Failback between two moments, oldest first.

    since, until
        Seconds since the epoch.

    limit
        How many at most; the newest are kept.

    Returns a list of ``{"time", "priority", "text"}``, all printable; the first in seconds since the epoch.
    Raises ``Unavailable`` where there is no journal.
    """
    # Seconds as journalctl reads them (systemd.time(7)); all of the last second is wanted.
    span = [f"--since=@{int(since)}", f"--until=@{int(until) + 1}"]
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", "--identifier=failback", *span]
    text = system.run([*command, f"--lines={limit}"], WITHIN, "read the system's log")
    return [_line(json.loads(line)) for line in text.splitlines() if line.strip()]


def _line(entry):
    said = entry.get("MESSAGE")
    # journalctl gives what is not UTF-8 as a list of numbers.
    said = bytes(said).decode("utf-8", "replace") if isinstance(said, list) else str(said)
    return {
        "time": int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
        "priority": int(entry.get("PRIORITY", 5)),
        "text": notation.printable(said),
    }
