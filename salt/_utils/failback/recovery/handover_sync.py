"""
The final sync of a handover: which names the journals of both nodes give it, and what it leaves on the disk.

It is made and prepared before the addresses are released; the handover runs it in between, without Salt.
"""

import time

from failback import errors
from failback.host import files
from failback.host import system
from failback.journal import changes
from failback.journal import service
from failback.recovery import final_sync
from failback.recovery import reverse_rsync


class FinalSync:
    """
    The pass of a handover, in which nobody serves.

    All that can be done beforehand is done when it is made and by :py:meth:`expect`; :py:meth:`run` is
    the window. It ends with a record on the disk: until ``compared`` has found both nodes equal, this
    node must not push anything back. :py:meth:`close` it when somebody serves.

    reverse
        :py:class:`failback.recovery.reverse_rsync.ReverseRsync` of the run.
    """

    def __init__(self, reverse):
        self._reverse = reverse
        self._items = reverse.items
        self._pass = final_sync.FinalSync(reverse)
        self._own = {}
        self._why = {}
        self._ended = None
        self._file_systems = ()

    def expect(self, client=None):
        """
        Ask this node's own journals, open the connections, write to the disk what waits for it.

        Call it last before the addresses are released.

        client
            :py:class:`failback.journal.service.Client`; connected to this node's by default.

        Returns the names that have changed here, by module, for the other node's journals. A path
        whose journal is incomplete is going to be compared as a whole; nothing is raised.
        """
        try:
            with client or service.Client(self._reverse.member) as opened:
                own = opened.changes(self._reverse.run)
        except errors.Unavailable as error:
            self._why = {item: str(error) for item in self._items}
        else:
            for item in self._items:
                self._own[item.module] = own.get(item.module, {}).get("names", [])
                why = _changes_of(item, own, None).why
                if why:
                    self._why[item] = f"here {why}"
        self._pass.expect([item for item in self._items if item not in self._why])
        self._file_systems = self._reverse.file_systems
        system.sync_file_systems(self._file_systems)
        # On the disk already, so that the window need not wait for it; ``close`` corrects the time.
        self._record(system.clocks())
        return self._own

    def name(self, theirs, why=None):
        """
        Say what has changed on the node that serves no more: these names are compared, and no others.

        theirs
            What its journals answered, with the names from :py:meth:`expect` in it; or None.

        why
            There is no answer.
        """
        for item in self._items:
            there = _changes_of(item, theirs, why)
            if item not in self._why and there.why:
                self._why[item] = f"on {self._reverse.member.peer['id']} {there.why}"
            if item in self._why:
                continue
            names = set(there.names)
            here = self._reverse.peer.top(item)
            for folder in there.folders:
                # What is here under the name of a folder that is new there.
                names.update(changes.directly_in(here, folder))
            try:
                self._pass.name(item, names)
            except errors.Refused as error:
                self._why[item] = str(error)

    def run(self, limit=None):
        """
        Do it.

        limit
            Seconds after which it has failed.

        Returns a dict: ``paths`` (counts of each; ``named``, how many names were compared, or None for
        all; ``why`` all were), ``changed``, ``then`` and ``seconds``. Raises
        :py:class:`failback.errors.Unavailable` unless every path is in step.
        """
        started = time.monotonic()
        reports = self._pass.run(limit)
        self._ended = system.clocks()
        system.sync_file_systems(self._file_systems)
        for item, each in zip(self._items, reports):
            each["why"] = self._why.get(item) if each["named"] is None else None
        changed = [each["path"] for each in reports if any(each[action] for action in reverse_rsync.RESULTS)]
        return {
            "paths": reports,
            "changed": changed,
            "then": self._reverse.hooks(changed),
            "seconds": round(time.monotonic() - started, 4),
        }

    def close(self):
        """Write down when it ended, and let go of it; what waits for names that do not come is ended."""
        if self._ended:
            self._record(self._ended)
        self._pass.close()

    def _record(self, ended):
        record = {"version": 1, "ended": ended["wall"], "clocks": ended, "compared": False}
        files.write_json(self._reverse.folder.path / reverse_rsync.FINAL_SYNC, record)


def _changes_of(item, answered, why):
    content = (answered or {}).get(item.module)
    if content is None:
        return changes.Changes(why=why or "no journal of changes was kept")
    return service.read(content)
