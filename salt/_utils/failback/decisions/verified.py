"""
What a comparison of both nodes by checksum has found, in words, and what a repair may do about it. Pure.

:py:mod:`failback.recovery.verify` compares, :py:mod:`failback.state.proofs` keeps what it has found.
"""

from failback.decisions import commands
from failback.decisions import limits

#: What is wrong with a file on the standby.
DIFFERS, MISSING, EXTRA, ATTRIBUTES = "differs", "is missing", "is there alone", "has other attributes"

#: Names in a sentence.
NAMED = 3

#: Seconds for a comparison, unless somebody says otherwise, and the most that may be said.
LIMIT, LONGEST = 6 * 3600, 7 * 86400

OPERATION = "verify"


def plural(number):
    """``1 file``, ``2 files``."""
    return f"{number} file{'' if number == 1 else 's'}"


def listed(record):
    """The first of what differs, as ``/srv/a differs, /srv/b is missing and 5 more``."""
    shown = [f"{one['path']} {one['what']}" for one in record["differences"][:NAMED]]
    more = record["differing"] - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def finding(config, other, record):
    """
    What is wrong with a standby that was compared, a sentence; None when nothing is, or nobody knows.

    other
        The standby.

    record
        As of ``failback.state.proofs.verified``, or None. One of an earlier generation says nothing of now:
        the other node has served since.
    """
    if not record or not record["current"] or not record["differing"]:
        return None
    return (
        f"{plural(record['differing'])} on {other} differ from what is served, and nothing carries them, as "
        f"a comparison by checksum found: {listed(record)}. After a takeover {other} would serve them so. "
        f"Run: {commands.command(OPERATION, config['name'], {'repair': True})}"
    )


def outcome(node, other, record):
    """What has come of a comparison, a sentence for whoever asked for it."""
    compared = f"{plural(record['files'])} compared by checksum"
    busy = record["busy"]
    rest = f" {plural(busy)} changed all the time and could not be judged." if busy else ""
    mended = f"{plural(record['repaired'])} repaired on {other}. " if record["repaired"] else ""
    if record["differing"]:
        differ = "differs" if record["differing"] == 1 else "differ"
        return (
            f"{mended}{plural(record['differing'])} on {other} {differ} from {node} and will not be carried: "
            f"{listed(record)} ({compared}).{rest}"
        )
    return f"{mended}{other} has the same files as {node} ({compared}).{rest}"


def repair_refusal(config, other, doomed, max_delete):
    """
    Why a repair is not begun, a sentence; or None.

    doomed
        How many files it would delete on the standby.

    max_delete
        How many it may.
    """
    if doomed <= max_delete:
        return None
    allowed = {"repair": True, "max_delete": int(doomed * (1 + limits.ROOM))}
    return (
        f"The repair would delete {plural(doomed)} that {other} alone has (max_delete: {max_delete}). If a "
        f"file system is not mounted where it serves, that would lose them. Nothing was repaired. See the "
        f"list with `salt '{config['node']}' pair.verified {config['name']}`; if that is what is meant, run: "
        f"{commands.command(OPERATION, config['name'], allowed)}"
    )


def problem(repair, limit, max_delete):
    """What is wrong with what was given, a sentence; or None."""
    if repair not in (None, True, False):
        return f"repair must be true or false, not {repair!r}."
    for key, value, least, most in (("limit", limit, 1, LONGEST), ("max_delete", max_delete, 0, 10**9)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            return f"{key} must be a number from {least} to {most}, not {value!r}."
    return None
