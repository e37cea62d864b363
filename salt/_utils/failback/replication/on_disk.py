"""
Files before ledger: what lsyncd has brought is on this node's disk before a ledger calls it the newest.

What rsync has written lies in memory for up to half a minute. If the primary dies and the site loses power
seconds later, a ledger would name this node the newest that has holes where files were. So:

- while an rsync of the other node writes here, the file systems are written to the disk every few seconds
  (:class:`Syncer`), by a thread of the keeper, and for no more than a fifth of the time;
- a takeover waits for no disk. If something has come in since the last time, its ledger says that it may not
  be on the disk yet (``unsynced``);
- :func:`settle` does it then, and takes that word out. A node that comes up with it still there is not taken
  for the newest (:py:mod:`failback.decisions.verdict`).
"""

import contextlib
import threading
import time

from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.replication import incoming
from failback.replication import replicated
from failback.replication import sources

#: Seconds between two writings while something comes in, and how many times as long as the last one took they
#: are apart at least.
EVERY, APART = 3.0, 4


def roots(member):
    """The folders whose file systems hold the pair's paths, and what is mounted below them."""
    paths, root = [one["path"] for one in member.config["replicate"]], str(member.paths.root)
    items = (item for path in paths for item in replicated.items_on_disk(path, root))
    found = {item.under(root) for item in items}
    found |= {below["mount"] for one in sources.facts(paths, root).values() for below in one["below"]}
    return sorted(found)


def _file(member):
    return member.volatile / "synced.json"


def is_settled(member):
    """Whether nothing has come in, since this node booted or was last written to the disk as a whole."""
    # In this order: it also forgets those that have ended, which is news.
    if incoming.writing(member):
        return False
    mark = incoming.mark(member)
    if mark is None:
        return True
    with contextlib.suppress(FailbackError):
        return (files.read_json(_file(member), "what is on the disk") or {}).get("mark") == mark
    return False


def settle(member):
    """
    Write the file systems to the disk if the ledger says that this is still to be done, and take it out.

    Returns whether there was anything to do. Raises ``Unavailable`` when a disk does not take it: the
    ledger goes on saying so.
    """
    own = member.ledger.read()
    if not own or not own.get("unsynced") or own["boot_id"] != system.boot_id():
        return False
    # Whoever was writing here has been told to end before the address was taken.
    incoming.end(member)
    system.sync_file_systems(roots(member))
    member.ledger.synced(own["generation"])
    return True


class Syncer:
    """
    A thread that settles, and that writes the file systems to the disk while something comes in.

    member
        :py:class:`failback.pair.Member`.

    say
        Function that is given a sentence when a disk does not take it.
    """

    def __init__(self, member, say):
        self._member, self._say = member, say
        self._next = 0.0
        self._thread = None

    def look(self):
        """Begin what is due, in the background. Takes no time."""
        if self._thread and self._thread.is_alive():
            return
        if time.monotonic() >= self._next:
            self._thread = threading.Thread(target=self.work, daemon=True)
            self._thread.start()

    def work(self):
        """Do what is due, and note when that is next."""
        begun = time.monotonic()
        try:
            # The mark is read before the writing: what comes meanwhile makes another one.
            settled, mark = is_settled(self._member), incoming.mark(self._member)
            if not settle(self._member) and not settled:
                system.sync_file_systems(roots(self._member))
            if not settled:
                files.write_json(_file(self._member), {"mark": mark})
        except (FailbackError, OSError) as error:
            self._say(f"The files of {self._member.pair} are not known to be on the disk: {error}")
        ended = time.monotonic()
        self._next = ended + max(EVERY, APART * (ended - begun))
