"""
A node's own record of who is active in a pair, in which generation.

The generation goes up by one each time the active node changes, and whoever makes it go up writes
it down *before* it takes an address: after any crash the node with the higher generation is the one
that may have served last.
"""

import contextlib
import dataclasses
import time
from typing import Optional

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """
    What is to be written: who is active from now on.

    admitted
        True: this node takes part as of this boot. False: only an orchestration may admit it.

    unsaved
        True: what this node alone has must be saved before the other one writes here.

    unsynced
        True: what has come to this node lately may not be on its disk yet; see ``replication.on_disk``.

    since
        When the active node began to serve, where that was before this change of hands (ISO 8601, UTC).

    heard
        False: a claim that nobody has heard yet; True: somebody has since. None: whoever wrote this asked the
        other node, or a person.

    withdrawn
        True: this node has given its claim back, because nobody heard it.

    in_step
        Of a takeover: until when all that the other node was told had been carried here, in seconds since the
        epoch on that node's clock. None where this node did not know.
    """

    generation: int
    active: str
    run: Optional[str]
    why: str
    admitted: bool = True
    unsaved: bool = False
    since: Optional[str] = None
    heard: Optional[bool] = None
    withdrawn: bool = False
    unsynced: bool = False
    in_step: Optional[float] = None

    def content(self):
        """The file's content. Without a boot id the node it is written on counts as not admitted."""
        content = {
            "version": VERSION,
            "generation": self.generation,
            "active": self.active,
            "since": self.since or now(),
            "boot_id": system.boot_id() if self.admitted else "",
            "run": self.run,
            "why": self.why,
        }
        # Keys that are not there mean the same to a release that does not know them.
        more = {
            "unsaved": self.unsaved or None,
            "unsynced": self.unsynced or None,
            "heard": self.heard,
            "withdrawn": self.withdrawn or None,
            "in_step": self.in_step,
        }
        return {**content, **{key: value for key, value in more.items() if value is not None}}


class Ledger:
    """
    The ledger of one pair on this node.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member

    @property
    def path(self):
        """The file."""
        return self._member.paths.ledger(self._member.pair)

    @property
    def _heard(self):
        return self._member.volatile / "heard.json"

    def note_heard(self, own):
        """
        Note that somebody has heard this node's claim, where no disk is waited for: it counts from now on.

        The ledger is to say it too, for the time after a reboot.

        own
            The ledger, of which ``heard`` is false.
        """
        with contextlib.suppress(OSError):  # a full /run: the ledger says it a moment later
            files.write_json(self._heard, self._note_for(own))

    def _is_noted_as_heard(self, own):
        """Whether this node has been heard since a claim, although its file does not say so yet."""
        if own.get("heard") is not False or own.get("withdrawn"):
            return False
        with contextlib.suppress(FailbackError):  # a note that cannot be read is none
            noted = files.read_json(self._heard, "the note of who was heard")
            return noted is not None and noted == self._note_for(own)
        return False

    def is_behind(self):
        """Whether the file does not say yet that this node's claim was heard: a slow disk, or a full one."""
        own = files.read_json(self.path, f"the ledger of {self._member.pair}", VERSION)
        return own is not None and self._is_noted_as_heard(own)

    def _note_for(self, own):
        return {"generation": own["generation"], "boot_id": system.boot_id()}

    def read(self):
        """
        What it says.

        Returns None when there is none, else a dict: ``generation`` (int), ``active`` (node id),
        ``since`` (ISO 8601, UTC), ``boot_id`` (the boot in which this node was admitted; another one
        now means that it has rebooted since), ``run`` and ``why``; ``unsaved`` is true on a node that gave
        way after it had served: what it alone has is in no backup yet. ``heard`` is false on a node that
        claimed the pair and was heard by nobody since, true on one that was; ``withdrawn`` is true when it
        has given that claim back. ``unsynced`` is true on one that has taken over and whose files may not be
        on its disk yet. ``in_step`` is until when all had been carried to it before it took over, see
        :py:class:`Entry`. Raises ``Unreadable``.
        """
        pair = self._member.pair
        found = files.read_json(self.path, f"the ledger of {pair}", VERSION)
        if found is None:
            return None
        generation = found.get("generation")
        usable = isinstance(generation, int) and not isinstance(generation, bool) and generation >= 0
        if not usable or not all(
            isinstance(found.get(key), str) for key in ("active", "since", "boot_id", "why")
        ):
            # The same sentence as for a file cut off: it proves nothing either way.
            raise Unreadable(
                f"{self.path}, the ledger of {pair}, has no usable generation and active node. "
                f"Move it aside only when the other node's ledger is right."
            )
        if self._is_noted_as_heard(found):
            found["heard"] = True
        return found

    def prepared(self, entry):
        """An entry that lies on the disk already; see :py:class:`Prepared`."""
        return Prepared(self.path, entry)

    def write(self, entry, prepared=None):
        """
        Record who is active from now on. The generation never goes down.

        entry
            An :py:class:`Entry`.

        prepared
            A :py:class:`Prepared` that saves time if it is of the very same entry, or None.

        Returns the content written. Raises ``Refused`` when the ledger already knows a newer generation.
        """
        pair = self._member.pair
        with files.locked(self._member.state / ".ledger.flock"):
            found = self.read()
            if found and found["generation"] > entry.generation:
                raise Refused(
                    f"The ledger of {pair} on this node is already at generation {found['generation']} "
                    f"({found['active']} active since {found['since']}); going back to generation "
                    f"{entry.generation} would make old data pass for new. See `salt-run pair.status {pair}`."
                )
            if found and found["generation"] == entry.generation and found["active"] != entry.active:
                raise Refused(
                    f"The ledger of {pair} on this node names {found['active']} active in generation "
                    f"{entry.generation}, and now {entry.active} should be: two histories of one generation. "
                    f"See `salt-run pair.status {pair}`."
                )
            once_more = found is not None and found["generation"] == entry.generation
            if prepared is not None and prepared.entry == entry and not once_more:
                prepared.put()
                return prepared.content
            new = entry.content()
            if once_more:
                # The same change of hands seen once more: only the admission is new.
                kept = ("since", "run", "why", "unsynced", "in_step")
                new.update({key: found[key] for key in kept if key in found})
            files.write_json(self.path, new)
            return new

    def synced(self, generation):
        """What the entry of a generation speaks of is on the disk: take ``unsynced`` out of it."""
        with files.locked(self._member.state / ".ledger.flock"):
            found = self.read()
            if found and found["generation"] == generation and found.pop("unsynced", False):
                files.write_json(self.path, found)

    def is_active(self):
        """Does it name this node active, and was this node admitted in its present boot?"""
        return is_active(self.read(), self._member.node)

    def changing_hands(self):
        """One change of hands at a time on this node, whoever makes it; a context."""
        return files.locked(self._member.state / ".change.flock")


class Prepared:
    """
    An entry that lies on the disk beside the ledger, so that little is left to do when it counts.

    A context manager; see :py:meth:`Ledger.write`.
    """

    def __init__(self, path, entry):
        self.entry = entry
        self.content = entry.content()
        self._file = files.Prepared(path, files.as_json(self.content))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def put(self):
        """Put it in place, once."""
        self._file.put()


def is_same_entry(one, other):
    """Are two ledgers the same, but for what the keeper does by itself: files that are on the disk by now?"""
    if one is None or other is None:
        return one is other
    return {**one, "unsynced": None} == {**other, "unsynced": None}


def is_active(own, node):
    """
    Does a ledger name this node active, and was the node admitted in its present boot?

    One that has withdrawn its claim is not active, although it may claim the pair again.
    """
    return is_admitted(own) and own["active"] == node and not own.get("withdrawn")


def is_admitted(own):
    """Was the node whose ledger this is admitted in its present boot?"""
    return own is not None and own["boot_id"] == system.boot_id()


def now():
    """The wall clock in UTC, to the second, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
