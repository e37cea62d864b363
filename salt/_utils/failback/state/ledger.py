"""
A node's own record of who is active in a pair, in which generation.

The generation goes up by one each time the active node changes, and whoever makes it go up writes
it down *before* it takes an address: after any crash the node with the higher generation is the one
that may have served last.
"""

import time

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system

VERSION = 1


def read(pair, paths):
    """
    Read this node's ledger of a pair.

    Returns None when there is none, else a dict: ``generation`` (int), ``active`` (node id),
    ``since`` (ISO 8601, UTC), ``boot_id`` (the boot in which this node was admitted; another one
    now means that it has rebooted since), ``run`` and ``why``; ``unsaved`` is true on a node that gave way
    after it had served: what it alone has is in no backup yet. Raises ``Unreadable``.
    """
    found = files.read_json(paths.ledger(pair), f"the ledger of {pair}", VERSION)
    if found is None:
        return None
    generation = found.get("generation")
    usable = isinstance(generation, int) and not isinstance(generation, bool) and generation >= 0
    if not usable or not all(
        isinstance(found.get(key), str) for key in ("active", "since", "boot_id", "why")
    ):
        # The same sentence as for a file cut off: it proves nothing either way.
        raise Unreadable(
            f"{paths.ledger(pair)}, the ledger of {pair}, has no usable generation and active node. "
            f"Move it aside only when the other node's ledger is right."
        )
    return found


def entry(generation, active, run, why, boot_id):
    """A ledger's content. Without a boot id the node it is written on counts as not admitted."""
    return {
        "version": VERSION,
        "generation": generation,
        "active": active,
        "since": now(),
        "boot_id": boot_id,
        "run": run,
        "why": why,
    }


class Prepared:
    """
    An entry that lies on the disk beside the ledger, so that little is left to do when it counts.

    Arguments as for :py:func:`write`, which puts it in place if it is given the very same. A context
    manager.
    """

    def __init__(self, pair, paths, generation, active, run, why, admitted=True):
        self.arguments = (pair, generation, active, run, why, admitted)
        self.entry = entry(generation, active, run, why, system.boot_id() if admitted else "")
        self.file = files.Prepared(paths.ledger(pair), files.as_json(self.entry))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def write(pair, paths, generation, active, run, why, admitted=True, unsaved=False, since=None, prepared=None):
    """
    Record who is active from now on. The generation never goes down.

    admitted
        True: this node takes part as of this boot. False: only an orchestration may admit it.

    prepared
        A :py:class:`Prepared` that saves time if it is about the same, or None.

    unsaved
        True: what this node alone has must be saved before the other one writes here.

    since
        When the active node began to serve, where that was before this change of hands.

    Returns the entry written. Raises ``Refused`` when the ledger already knows a newer generation.
    """
    with files.locked(paths.state(pair) / ".ledger.flock"):
        found = read(pair, paths)
        if found and found["generation"] > generation:
            raise Refused(
                f"The ledger of {pair} on this node is already at generation {found['generation']} "
                f"({found['active']} active since {found['since']}); going back to generation "
                f"{generation} would make old data pass for new. See `salt-run pair.status {pair}`."
            )
        if found and found["generation"] == generation and found["active"] != active:
            raise Refused(
                f"The ledger of {pair} on this node names {found['active']} active in generation "
                f"{generation}, and now {active} should be: two histories of one generation. "
                f"See `salt-run pair.status {pair}`."
            )
        once_more = found is not None and found["generation"] == generation
        same = prepared is not None and prepared.arguments == (pair, generation, active, run, why, admitted)
        if same and not once_more and not unsaved:
            prepared.file.put()
            return prepared.entry
        new = entry(generation, active, run, why, system.boot_id() if admitted else "")
        if once_more:
            # The same change of hands seen once more: only the admission is new.
            new.update(since=found["since"], run=found["run"], why=found["why"])
        elif since:
            new["since"] = since
        if unsaved:
            new["unsaved"] = True
        files.write_json(paths.ledger(pair), new)
        return new


def is_active(own, node):
    """Does a ledger name this node active, and was the node admitted in its present boot?"""
    return is_admitted(own) and own["active"] == node


def is_admitted(own):
    """Was the node whose ledger this is admitted in its present boot?"""
    return own is not None and own["boot_id"] == system.boot_id()


def changing_hands(pair, paths):
    """One change of hands at a time on this node, whoever makes it; a context."""
    return files.locked(paths.state(pair) / ".change.flock")


def now():
    """The wall clock in UTC, to the second, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
