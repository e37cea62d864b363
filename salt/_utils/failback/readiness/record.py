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
``facts``        what was found, see :py:func:`failback.readiness.facts.now`
===============  =========================================================================================

It is what this node sees by itself. Keys are added, none is renamed.
"""

from failback.errors import FailbackError
from failback.host import files
from failback.host import system

VERSION = 1


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
