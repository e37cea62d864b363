"""
Until when others have heard this node as the active one: what is left of that after a loss of power.

Without a lease two nodes that do not hear each other may both serve, each heard by its own clients. If they
lose their power before they meet, the newer generation alone does not say who has served last. So an active
node notes in ``/var/lib/failback/<pair>/last-heard.json`` when somebody else than the other node has heard it
last, and the verdict over a pair that is off looks at that (:py:mod:`failback.decisions.verdict`).
"""

from failback.errors import FailbackError
from failback.host import files

VERSION = 1


def _file(member):
    return member.state / "last-heard.json"


def note(member, generation, at):
    """
    Note it on the disk.

    generation
        In which the node is active.

    at
        In seconds since the epoch.

    Raises ``OSError``.
    """
    files.write_json(_file(member), {"version": VERSION, "generation": generation, "at": round(at, 1)})


def read(member):
    """``{"generation": 7, "at": 1764213000.2}``, or None. What cannot be read proves nothing: None."""
    try:
        found = files.read_json(_file(member), "when this node was heard last", VERSION)
    except FailbackError:
        return None
    if not found or not isinstance(found.get("at"), (int, float)):
        return None
    return {"generation": found.get("generation"), "at": found["at"]}
