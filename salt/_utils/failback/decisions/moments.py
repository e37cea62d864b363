"""Moments as they are written and read: ISO 8601 in UTC, to the second. Pure."""

import datetime

FORM = "%Y-%m-%dT%H:%M:%SZ"


def iso(seconds):
    """``2026-11-22T18:00:00Z``, of seconds since the epoch."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(FORM)


def epoch(moment):
    """Seconds since the epoch of such a text, or None for anything else."""
    try:
        found = datetime.datetime.strptime(str(moment), FORM)
    except ValueError:
        return None
    return found.replace(tzinfo=datetime.timezone.utc).timestamp()
