"""
The final sync with rsync, in which nobody serves: named files only, over connections that wait already.

It knows paths, rsync and the backup, and nothing of a pair; what a handover adds is in
:py:mod:`failback.recovery.handover_sync`.
"""

import concurrent.futures
import contextlib
import json
import os
import time

from failback import errors
from failback.decisions import limits as change_limits
from failback.host import files
from failback.host import notation
from failback.journal import changes
from failback.recovery import apart
from failback.recovery import backup
from failback.recovery import pull
from failback.recovery import results
from failback.recovery import rsync
from failback.replication import replicated

_LAST_ATTEMPTS = 3


class FinalSync:
    """
    The pass in which nobody serves: all that can be done before it is done when it is made.

    pulled
        The :py:class:`failback.recovery.pull.Pull` whose last pass this is. Its ``max_delete`` holds for each
        path. The passes before have been judged by a look beforehand, for which there is no time here: rsync
        counts, and stops.

    names
        Dict of item to names: see :py:meth:`name`.

    parallel
        How many paths to sync at the same time.

    Attributes that only this pass changes are not recorded: until the pass before they were the
    peer's own. What it overwrites or deletes is kept as ever. :py:meth:`close` it afterwards.
    """

    def __init__(self, pulled, names=None, parallel=8):
        self._pulled = pulled
        self._folder, self._peer, self._items = pulled.folder, pulled.peer, list(pulled.items)
        self._max_delete = pulled.limits.max_delete
        self._folder.prepare(self._items)
        self._deadline = None
        self._stack = contextlib.ExitStack()
        self._locks = {item: self._stack.enter_context(pulled.lock(item)) for item in self._items}
        self._numbers = {item: self._folder.next_pass(item.module) for item in self._items}
        self._names = {}
        self._waiting = {}
        self._parallel = max(1, min(parallel, len(self._items)))
        self._pool = concurrent.futures.ThreadPoolExecutor(self._parallel)
        for item, changed in (names or {}).items():
            self.name(item, changed)

    def expect(self, items):
        """
        Start rsync, here and on the peer, for items that are going to be named.

        Only as many as run at the same time: sshd gives one connection no more than ten sessions.
        """
        for item in items[: self._parallel]:
            command = rsync.named_pull_command(self._peer, item, "-", self._kept(item), self._max_delete)
            waiting = rsync.Pass(command, self._locks[item].fileno(), fed=True)
            waiting.__enter__()
            self._waiting[item] = waiting

    def name(self, item, names):
        """
        Compare only these names of an item; can be called until :py:meth:`run`.

        names
            Bytes, relative to its root, that may have changed since the pass before, from a journal
            of changes. A name of a folder stands for the folder itself, so a new folder's content
            must be named too.

        An item that was not named is compared as a whole. Raises
        :py:class:`failback.errors.Refused` for a name that may not be the item's.
        """
        chosen = set()
        matches = replicated.matching(item)
        for name in names:
            belongs = changes.belonging(item, name, matches)
            if belongs is None or name.startswith(b"/") or b".." in name.split(b"/"):
                raise errors.Refused(f"{notation.readable(name)} may not belong to {item.path}")
            if belongs:
                # rsync writes beside a file and renames, which gives the folder here another time.
                chosen.update((name, os.path.dirname(name) or b"."))
        if item.pattern is not None:
            # The far end hides a name that does not belong, and what it hides would be deleted here.
            chosen.discard(b".")
        self._names[item] = sorted(chosen)

    def run(self, limit=None):
        """
        Do it.

        limit
            Seconds after which rsync is ended and the pass has failed; ``None`` waits for rsync.

        Returns a list of dicts, one an item, with counts, ``names``, ``named`` (how many names were
        compared; None for all) and ``seconds``. Raises :py:class:`failback.errors.Unavailable` unless
        every path is in step.
        """
        self._deadline = None if limit is None else time.monotonic() + limit
        return list(self._pool.map(self._sync, self._items))

    def close(self):
        """Let go of the paths; what waits for names that do not come is ended."""
        self._pool.shutdown()
        for waiting in self._waiting.values():
            waiting.__exit__(errors.FailbackError, None, None)
        self._waiting.clear()
        self._stack.close()

    def finish(self):
        """Write the manifests; it is not in :py:meth:`run` because nobody should wait for it."""
        for item in self._items:
            backup.write_manifest(self._folder, item, self._numbers[item])

    def _kept(self, item):
        return self._folder.backup(item.module, self._numbers[item])

    def _command(self, item):
        if item not in self._names:
            return rsync.pull_command(self._peer, item, backup=self._kept(item), max_delete=self._max_delete)
        names_file = self._folder.path / f".last-{item.module}"
        with open(names_file, "wb", opener=files.private) as handle:
            for name in self._names[item]:
                handle.write(name + b"\0")
        return rsync.named_pull_command(self._peer, item, names_file, self._kept(item), self._max_delete)

    def _passes(self, item):
        """The passes to try, each of which is only begun when the one before was not enough."""
        if item in self._names and item in self._waiting:
            waiting = self._waiting.pop(item)
            waiting.feed(self._names[item], self._deadline)
            yield waiting, (rsync.VANISHED, rsync.PARTIAL, *rsync.CONNECTION_FAILED)
        for _attempt in range(_LAST_ATTEMPTS):
            running = rsync.Pass(self._command(item), self._locks[item].fileno(), self._deadline)
            yield running.__enter__(), (rsync.VANISHED, rsync.PARTIAL, rsync.PROTOCOL)

    def _sync(self, item):
        started = time.monotonic()
        result = results.empty(item, self._peer)
        result["named"] = len(self._names[item]) if item in self._names else None
        if result["named"] == 0:
            result["seconds"] = 0.0
            return result
        list_file = self._folder.list_file(item.module, self._numbers[item])
        with pull.root_unchanged(item, self._peer), results.writer(list_file, append=True) as handle:
            for running, another in self._passes(item):
                with contextlib.ExitStack() as stack:
                    stack.push(running.__exit__)
                    for entry in results.entries(running, item):
                        action = results.happened(entry, self._kept(item))
                        results.count(result, action, entry)
                        described = results.described(item, entry, action)
                        results.name(result, action, described["path"], results.NAMES)
                        handle.write(json.dumps(described) + "\n")
                # Each further pass would delete as many again.
                if running.outcome.code not in another or running.outcome.is_beyond_max_delete:
                    break
        if running.outcome.is_beyond_max_delete:
            terms = (self._pulled.pair, self._pulled.limits.operation)
            raise errors.Refused(change_limits.final_sync_sentence(item.path, self._max_delete, *terms))
        rsync.require_success(running.outcome, item)
        # Before anybody serves here: clients write to the files of the tree, and not to those of the backup.
        apart.separate(self._kept(item), lambda: self._require_time(item))
        result["seconds"] = round(time.monotonic() - started, 4)
        return result

    def _require_time(self, item):
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise errors.Unavailable(
                f"{item.path} is in step, but the backup was not ended in the time it was given: a file with "
                "several names, of which one was overwritten or deleted, must be copied to be kept. Run the "
                "same orchestration again: it copies the file before it releases the addresses."
            )
