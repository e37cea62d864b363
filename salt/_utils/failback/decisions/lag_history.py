"""
The worst lag of each hour, for as long as a pair's page looks back. Pure.

Kept by each node for itself::

    hours = noted(hours, now, 4.2)    # {490064: 4.2, …}: hours since the epoch, seconds
"""

HOUR = 3600
#: A pair's page shows 90 days; the hour in which those begin is among them.
KEPT = 90 * 24 + 1


def noted(hours, now, lag):
    """
    The history with one more look in it.

    hours
        ``{hours since the epoch: worst lag in seconds}``.

    now
        Seconds since the epoch.

    lag
        Seconds.

    Returns the history anew. Hours that are too old are dropped, and those after this one: the clock was
    wrong then.
    """
    this = int(now // HOUR)
    known = {hour: worst for hour, worst in hours.items() if this - KEPT < hour <= this}
    return {**known, this: max(lag, known.get(this, 0.0))}


def merged(histories):
    """One history of those of both nodes: of each hour the worst that a node has seen."""
    found = {}
    for hours in histories:
        for hour, worst in hours.items():
            found[hour] = max(worst, found.get(hour, 0.0))
    return found


def as_list(hours):
    """For JSON, oldest first: ``[seconds since the epoch at which the hour begins, worst lag]``."""
    return [[hour * HOUR, worst] for hour, worst in sorted(hours.items())]


def from_list(entries):
    """What :func:`as_list` made; an entry that is none is left out."""
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) == 2 and all(map(_is_number, entry)):
            found[int(entry[0] // HOUR)] = max(0.0, float(entry[1]))
    return found


def _is_number(value):
    # JSON of Python's may have NaN and infinities, which no page can draw.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12
