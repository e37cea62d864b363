"""
What the node that brings files home says of them while the run waits for it. Pure.

It fires ``failback/<pair>/<run>/pre-sync/moved``: see ``reverse_rsync.synced``.
"""


def sentence(event, node):
    """
    ``312 of 1,204 MB, 48.1 MB/s``, or None for an event of somebody else, or of another form.

    event
        What the bus has given, or None; ``data`` is what the node has sent, ``id`` which node it was.
    """
    if not isinstance(event, dict) or event.get("id") != node:
        return None
    try:
        done, whole, each_second = (int(event["data"][key]) for key in ("done", "whole", "per_second"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return f"{_megabytes(done)} of {_megabytes(whole)} MB, {_megabytes(each_second)} MB/s"


def _megabytes(number):
    """Three figures of what is small, all of what is large."""
    return f"{number / 1e6:,.1f}" if number < 100e6 else f"{number / 1e6:,.0f}"
