"""
What was proved of a pair, and when: that both nodes have the same files, that a takeover works.

Kept on both nodes, for whoever asks them later::

    proofs.verified(member)       # {"at": 1764213000.2, "files": 5120, "differing": 0, "current": True, …}
    proofs.ages(member)           # {"verify_age": 3600.4}

============================  ===========================================================================
``/var/lib/failback/<pair>/``
``verified.json``             the last whole comparison: see ``failback.recovery.verify``
``drilled.json``              the last drill that went there and back: ``at``, ``windows`` (milliseconds
                              without service, by operation), ``runs`` (their ids, by operation)
============================  ===========================================================================
"""

import time

from failback.errors import FailbackError
from failback.host import files

VERSION = 1

#: How many of the differences a report has: the file has more.
SHOWN = 10

#: What a record must have to be shown, and of which kind.
_VERIFIED = {"at": (int, float), "generation": int, "files": int, "differing": int, "differences": list}
_DRILLED = {"at": (int, float), "windows": dict, "runs": dict}


def keep_verified(member, record):
    """Keep what a comparison has found; what was found before is replaced."""
    files.write_json(member.state / "verified.json", {**record, "version": VERSION})


def keep_drilled(member, record):
    """Keep that a drill has ended well."""
    files.write_json(member.state / "drilled.json", {**record, "version": VERSION})


def verified(member):
    """
    The last comparison of both nodes, or None.

    Returns what ``failback.recovery.verify`` describes, with ``current``: whether the pair is still in the
    generation in which it was made. A file that cannot be read proves nothing: None.
    """
    found = _read(member.state / "verified.json", _VERIFIED)
    return found and {**found, "current": found["generation"] == _generation(member)}


def drilled(member):
    """The last drill that ended well, or None."""
    return _read(member.state / "drilled.json", _DRILLED)


def known(member):
    """Both for a report, ``{"verified": …, "drilled": …}``; of what differs, the first few."""
    found = verified(member)
    if found:
        found = {**found, "differences": found["differences"][:SHOWN]}
    return {"verified": found, "drilled": drilled(member)}


def ages(member):
    """``verify_age`` and ``drill_age`` in seconds, for monitoring; what is not known is left out."""
    found = {"verify_age": verified(member), "drill_age": drilled(member)}
    return {key: round(max(0.0, time.time() - one["at"]), 1) for key, one in found.items() if one}


def _read(path, form):
    try:
        found = files.read_json(path, "what was proved of the pair", VERSION)
    except FailbackError:
        return None
    fits = found and all(isinstance(found.get(key), kinds) for key, kinds in form.items())
    return found if fits else None


def _generation(member):
    try:
        own = member.ledger.read()
    except FailbackError:
        return None
    return own["generation"] if own else None
