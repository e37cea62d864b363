"""
What the lookout has found, in ``/run/failback/<pair>/readiness.json``, for whoever wants to know at any time.

The file is of this boot, written anew at least every ten seconds:

===============  =========================================================================================
``version``      1
``pair``         name of the pair
``node``         minion id of this node
``time``         when, in seconds since the epoch
``looked_at``    the same in seconds since boot
``boot_id``      which boot
``role``         ``serves``, ``stands by``, or null: by its ledger it takes no part in this boot
``ready``        whether nothing was found; null where it takes no part
``findings``     list of ``about`` (a word), ``sentence``, and ``stops`` (a planned move would fail)
``not_ready``    ``since`` (seconds since boot), ``about`` and ``told`` of the spell in which it is not ready,
                 or null. It is over when the node has been ready for a minute
``facts``        what was found, see :py:func:`failback.readiness.facts.now`

``answers``      which question of :func:`look_now` that round of looks was for, or null
===============  =========================================================================================

It is what this node sees by itself. Keys are added, none is renamed.
"""

import secrets
import time

from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.host import files
from failback.host import system

VERSION = 1

#: Seconds for a round of looks that somebody waits for: the other node's answer takes longest.
ANSWERS_WITHIN = 15.0


def read(member):
    """What the lookout wrote last in this boot, or None."""
    try:
        found = files.read_json(member.paths.readiness(member.pair), "what this node is worth", VERSION)
    except FailbackError:
        return None
    if not found or found.get("boot_id") != system.boot_id() or not isinstance(found.get("facts"), dict):
        return None
    return found if isinstance(found.get("looked_at"), (int, float)) else None


def write(member, content):
    """Replace it. For monitoring, which need not be root. Raises ``OSError``."""
    files.write_json(member.paths.readiness(member.pair), {"version": VERSION, **content}, mode=0o644)


def _question(member):
    return member.volatile / "look.json"


def asked(member):
    """What :func:`look_now` has asked last, or None."""
    try:
        return (files.read_json(_question(member), "the question to the lookout") or {}).get("token")
    except FailbackError:
        return None


def look_now(member, limit=ANSWERS_WITHIN):
    """
    Have the lookout look at once, and wait for what it finds.

    limit
        Seconds to wait at most.

    Returns what :func:`read` does. Raises ``Unavailable`` when nobody answers in time.
    """
    token = secrets.token_hex(8)
    files.write_json(_question(member), {"token": token})
    end = time.monotonic() + limit
    while True:
        found = read(member)
        if found and found.get("answers") == token:
            return found
        if time.monotonic() >= end:
            unit = f"failback-look@{member.pair}"
            raise Unavailable(
                f"Nobody has looked at what {member.node} is worth to {member.pair} within {limit:g} s: "
                f"{unit} does not run there, or hangs. Run on {member.node}: systemctl restart {unit}"
            )
        time.sleep(0.1)
