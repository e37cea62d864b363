"""
Pulling the paths of a pair from the node that served them, with a backup of all they replace.

In the order in which a recovery uses it::

    peer = rsync.Peer("salt2", replication.ssh_command(paths))
    previews = [pull.preview(item, peer) for item in items]
    report = pull.synced(items, peer, run_folder, limits)   # while the peer still serves
    last = pull.LastPass(items, peer, run_folder)           # before the addresses are released
    last.run(limit=5.0)                                     # while nobody serves
    pull.compared(items, peer, since)                       # afterwards

Memory stays the same however many files there are: lists go to files, results hold counts, a digest
and the first names.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import stat
import time

from failback import backup
from failback import errors
from failback import guard
from failback import itemize
from failback import journal
from failback import replication
from failback import rsync

NAMES = 200
"""How many names a result holds of a path, unless told otherwise."""

_ACTIONS = (itemize.CREATED, itemize.OVERWRITTEN, itemize.DELETED, itemize.ATTRIBUTES)
_LAST_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Limits:
    """
    What a sync may do before it asks.

    max_delete, max_change_percent
        See :py:func:`failback.guard.limit_problems`.

    small_pass
        A pass that changed no more files than this is the last one.

    max_passes
        How often to repeat at most.

    parallel
        How many paths to sync at the same time.

    operation, words
        What syncs them, and what the operator has said beside the pair, for the commands in sentences.
    """

    max_delete: int = 100
    max_change_percent: float = 25
    small_pass: int = 20
    max_passes: int = 5
    parallel: int = 2
    operation: str = "recover"
    words: dict = dataclasses.field(default_factory=dict)


def preview(item, peer, list_file=None, limit=NAMES, attributes_too=False, conflict=None):
    """
    Find out what a sync of one path would do here, without doing it.

    item
        :py:class:`failback.replication.Item`.

    peer
        :py:class:`failback.rsync.Peer`.

    list_file
        File for the full list (JSON lines); ``None`` for none.

    limit
        How many names of each action the result holds.

    attributes_too
        Write owner, mode, times, ACLs and extended attributes of what is here into the list.

    conflict
        Function that says why a file that is to be replaced is one that somebody may miss, or ``None``: of
        its path in the notation of :py:mod:`failback.itemize`, its ``os.lstat`` here, and the seconds of the
        source's last change (``None``: it is to be deleted). See :py:mod:`failback.conflicts`.

    Returns a dict: ``path``, ``source`` (host), counts ``created``, ``overwritten``, ``deleted``,
    ``attributes``, ``conflicts``, ``total_files`` (here, before), ``source_files``, ``bytes`` (coming in),
    ``kept_bytes`` (of what is overwritten and deleted), ``names`` (the first paths of each action),
    ``conflict_names`` (the first conflicts, path to reason), ``truncated`` (whether there are more),
    ``list`` (the list file or ``None``), ``digest`` (of the set of deleted paths) and ``seconds``.

    Raises :py:class:`failback.errors.Unavailable` if rsync did not end well.
    """
    started = time.monotonic()
    result = _empty(item, peer)
    digest = itemize.Digest()
    root_created = 0
    here = os.fsencode(peer.folder(item))
    with contextlib.ExitStack() as stack:
        handle = stack.enter_context(_writer(list_file)) if list_file else None
        running = stack.enter_context(rsync.Pass(rsync.pull_command(peer, item, dry_run=True)))
        for entry in _own(running, item):
            path = here + b"/" + entry.name.rstrip(b"/")
            status = _look(path)
            exists, size = status is not None, status.st_size if status else 0
            before = backup.snapshot(path) if attributes_too and handle is not None else None
            action = entry.action
            root_created += action == itemize.CREATED and entry.name == b"./"
            if action == itemize.CREATED and exists:
                # Something of another type bears the name; rsync calls that created.
                action = itemize.OVERWRITTEN
            _count(result, action, entry, size)
            described = _described(item, entry, action)
            _name(result, action, described["path"], limit)
            if action == itemize.DELETED:
                # Not what is overwritten: while clients write, that is another set every second.
                digest.add(itemize.raw(described["path"]), action)
            if conflict and status and action in (itemize.OVERWRITTEN, itemize.DELETED):
                there = None if action == itemize.DELETED else itemize.seconds(entry)
                _judge(result, described, conflict, status, there, limit)
            if handle is not None:
                if before is not None:
                    described = {**described, "before": before}
                handle.write(json.dumps(described) + "\n")
        if handle is not None:
            handle.flush()
            os.fsync(handle.fileno())
    rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED))
    # rsync counts the root as a file. It is none of those that a limit is about.
    result["source_files"] = max(0, running.outcome.source_files - 1)
    result["total_files"] = max(
        0, result["source_files"] - result["created"] + root_created + result["deleted"]
    )
    result["list"] = None if list_file is None else str(list_file)
    result["digest"] = digest.hexadecimal()
    result["seconds"] = round(time.monotonic() - started, 3)
    return result


def _judge(result, described, conflict, status, there, limit):
    """Note a conflict in what is said of an entry, and in the result. A folder is none: its files are."""
    if stat.S_ISDIR(status.st_mode):
        return
    reason = conflict(described["path"], status, there)
    if not reason:
        return
    described["conflict"] = reason
    result["conflicts"] += 1
    if len(result["conflict_names"]) < limit:
        result["conflict_names"][described["path"]] = reason
    else:
        result["truncated"] = True


def previewed(items, peer, folder=None, limit=NAMES, parallel=2, conflict=None):
    """
    :py:func:`preview` of several paths at the same time.

    folder
        Where to write the full lists, ``<module>.jsonl`` each; ``None`` for nowhere.

    conflict
        See :py:func:`preview`.

    Returns a list of previews in the order of the items.
    """
    if folder is not None:
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def one(item):
        list_file = None if folder is None else os.path.join(folder, f"{item.module}.jsonl")
        return preview(item, peer, list_file=list_file, limit=limit, conflict=conflict)

    return _each(one, items, parallel)


def problems(previews, peer, items, run_folder, limits, pair="PAIR", now=None, recorded=None):
    """
    Everything that speaks against a sync, judged by :py:mod:`failback.guard`.

    now, recorded
        Facts about the sources: see :py:func:`failback.guard.source_problems`; ``None`` leaves them
        out.

    Returns a list of sentences.
    """
    allowed = (limits.max_delete, limits.max_change_percent)
    found = guard.limit_problems(previews, *allowed, pair, limits.operation, limits.words)
    if now is not None:
        files_here = {each["path"]: each["total_files"] for each in previews}
        found += guard.source_problems(now, recorded, files_here, pair)
    for each in previews:
        here = each["total_files"]
        if here and not each["source_files"]:
            text = f"{each['path']} is empty on the serving node"
            if not any(problem.startswith(text) for problem in found):
                found.append(
                    f"{text}, and not here ({here} entries). Syncing it would delete all of it "
                    "here. Mount or fill it there (or empty it here, if that is what is meant), "
                    f"then run: salt-run pair.plan {pair}"
                )
    demands = _demands(previews, peer, items, run_folder)
    return found + guard.room_problems(demands, pair)


def synced(
    items,
    peer,
    run_folder,
    limits=None,
    pair="PAIR",
    now=None,
    recorded=None,
    before_pass=None,
    limit=NAMES,
    conflict=None,
    mark=None,
):
    """
    Make the paths here equal to the peer's, and keep everything that is overwritten or deleted.

    items
        :py:class:`failback.replication.Item` each.

    peer
        :py:class:`failback.rsync.Peer`.

    run_folder
        Folder of the run; one that was begun earlier is continued.

    limits
        :py:class:`Limits`.

    pair
        Name of the pair, for the sentences.

    now, recorded
        Facts about the sources: see :py:func:`failback.guard.source_problems`.

    before_pass
        Called without arguments before every pass; raises if data may not move (any more).

    conflict
        See :py:func:`preview`; asked in the first look alone, for later the files here are the peer's.

    mark
        Called with the item before every pass: a journal of changes begins a new page.

    Returns a dict: ``paths`` (one dict a path: ``path``, counts as in :py:func:`preview`,
    ``conflict_names``, ``passes``, ``settled``, ``names``, ``truncated``, ``seconds``), ``changed`` (paths
    that had changes), ``settled`` (whether the last pass of each path was small and complete) and
    ``seconds``. Of a pass with more than ``small_pass`` changes, counts and names are those of the look
    before it, whose list is kept: naming them again would take a tenth of its time. Another pass follows it.

    Raises :py:class:`failback.errors.Refused` before anything is changed, with all that was found,
    and :py:class:`failback.errors.Unavailable` if rsync failed on the way.
    """
    limits = limits or Limits()
    started = time.monotonic()
    folder = backup.Folder(run_folder)
    folder.prepare(items)
    with contextlib.ExitStack() as stack:
        locks = {item: stack.enter_context(_lock(folder, item)) for item in items}
        for item in items:
            backup.write_missing_manifests(folder, item)
        numbers = {item: folder.next_pass(item.module) for item in items}

        def look(item):
            list_file = folder.list_file(item.module, numbers[item])
            return preview(
                item, peer, list_file=list_file, limit=limit, attributes_too=True, conflict=conflict
            )

        first = _each(look, items, limits.parallel)
        found = problems(first, peer, items, folder.path, limits, pair, now, recorded)
        if found:
            for item in items:
                folder.list_file(item.module, numbers[item]).unlink()
            raise errors.Refused("\n".join(found))
        looked = dict(zip(items, first))

        def sync(item):
            return _synced_path(
                item,
                peer,
                folder,
                limits,
                pair,
                before_pass,
                locks[item].fileno(),
                numbers[item],
                looked[item],
                limit,
                mark,
            )

        paths = _each(sync, items, limits.parallel)
    return {
        "paths": paths,
        "changed": [each["path"] for each in paths if _changes(each)],
        "settled": all(each["settled"] for each in paths),
        "seconds": round(time.monotonic() - started, 3),
    }


class LastPass:
    """
    The pass in which nobody serves: all that can be done before it is done when it is made.

    items, peer, run_folder
        As for :py:func:`synced`.

    names
        Dict of item to names: see :py:meth:`name`.

    max_delete
        Files that may be deleted in each path; ``None`` for any number. The passes before have been judged by
        a look beforehand, for which there is no time here: rsync counts, and stops.

    pair
        Name of the pair, for the sentence.

    Attributes that only this pass changes are not recorded: until the pass before they were the
    peer's own. What it overwrites or deletes is kept as ever. :py:meth:`close` it afterwards.
    """

    def __init__(
        self,
        items,
        peer,
        run_folder,
        names=None,
        parallel=8,
        max_delete=None,
        pair="PAIR",
        operation="recover",
    ):
        self._folder = backup.Folder(run_folder)
        self._folder.prepare(items)
        self._items = list(items)
        self._peer = peer
        self._max_delete, self._pair, self._operation = max_delete, pair, operation
        self._deadline = None
        self._stack = contextlib.ExitStack()
        self._locks = {item: self._stack.enter_context(_lock(self._folder, item)) for item in items}
        self._numbers = {item: self._folder.next_pass(item.module) for item in items}
        self._names = {}
        self._waiting = {}
        self._parallel = max(1, min(parallel, len(items)))
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
        matches = replication.matching(item)
        for name in names:
            belongs = journal.belonging(item, name, matches)
            if belongs is None or name.startswith(b"/") or b".." in name.split(b"/"):
                raise errors.Refused(f"{itemize.readable(name)} may not belong to {item.path}")
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
        return list(self._pool.map(self._one, self._items))

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
            return rsync.pull_command(
                self._peer, item, backup=self._kept(item), max_delete=self._max_delete
            )
        names_file = self._folder.path / f".last-{item.module}"
        with open(names_file, "wb", opener=_private) as handle:
            for name in self._names[item]:
                handle.write(name + b"\0")
        return rsync.named_pull_command(self._peer, item, names_file, self._kept(item), self._max_delete)

    def _passes(self, item):
        """The passes to try, each of which is only begun when the one before was not enough."""
        if item in self._names and item in self._waiting:
            waiting = self._waiting.pop(item)
            waiting.feed(self._names[item], self._deadline)
            yield waiting, (rsync.VANISHED, *rsync.CONNECTION_FAILED)
        for _attempt in range(_LAST_ATTEMPTS):
            running = rsync.Pass(self._command(item), self._locks[item].fileno(), self._deadline)
            yield running.__enter__(), (rsync.VANISHED,)

    def _one(self, item):
        started = time.monotonic()
        result = _empty(item, self._peer)
        result["named"] = len(self._names[item]) if item in self._names else None
        if result["named"] == 0:
            result["seconds"] = 0.0
            return result
        list_file = self._folder.list_file(item.module, self._numbers[item])
        with _root_unchanged(item, self._peer), _writer(list_file, append=True) as handle:
            for running, another in self._passes(item):
                with contextlib.ExitStack() as stack:
                    stack.push(running.__exit__)
                    for entry in _own(running, item):
                        _count(result, entry.action, entry)
                        described = _described(item, entry, entry.action)
                        _name(result, entry.action, described["path"], NAMES)
                        handle.write(json.dumps(described) + "\n")
                if running.outcome.code not in another:
                    break
        if running.outcome.code == rsync.TOO_MANY_DELETIONS:
            terms = (item.path, self._max_delete, self._pair, self._operation)
            raise errors.Refused(guard.last_pass_sentence(*terms))
        rsync.require_success(running.outcome, item)
        result["seconds"] = round(time.monotonic() - started, 4)
        return result


def compared(items, peer, since, limit=NAMES, parallel=2):
    """
    Compare after the handover: every difference must be a change that was made here since.

    since
        Seconds since the epoch, on this node's clock, at which this node began to serve. A file
        here explains itself by its change time (ctime), which no program can set back; one that is
        gone, by that of its folder.

    Returns a dict: ``files`` (compared), ``differences`` and ``unexplained_count``, ``unexplained``
    (the first paths) and ``truncated``.
    """
    since_ns = int(since * 1_000_000_000)

    def one(item):
        here = os.fsencode(peer.folder(item))
        differences, unexplained, names = 0, 0, []
        with rsync.Pass(rsync.pull_command(peer, item, dry_run=True)) as running:
            for entry in _own(running, item):
                differences += 1
                if _changed_since(here, entry.name.rstrip(b"/"), since_ns):
                    continue
                unexplained += 1
                if len(names) < limit:
                    names.append(_path_of(item, entry))
        rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED))
        return differences, unexplained, names, max(0, running.outcome.source_files - 1)

    found = _each(one, items, parallel)
    names = [name for each in found for name in each[2]]
    return {
        "files": sum(each[3] for each in found),
        "differences": sum(each[0] for each in found),
        "unexplained_count": sum(each[1] for each in found),
        "unexplained": names[:limit],
        "truncated": sum(each[1] for each in found) > len(names[:limit]),
    }


def _synced_path(item, peer, folder, limits, pair, before_pass, lock, number, looked, limit, mark):
    started = time.monotonic()
    total = _empty(item, peer)
    total.update(passes=0, settled=False, total_files=looked["total_files"])
    total.update(conflicts=looked["conflicts"], conflict_names=looked["conflict_names"])
    while True:
        if before_pass is not None:
            before_pass()
        if mark is not None:
            mark(item)
        # More than may be left for the last one: another pass follows, and says what it does.
        known = looked if _changes(looked) > limits.small_pass else None
        one = _one_pass(item, peer, folder, number, lock, limit, known)
        total["passes"] += 1
        _add(total, one, looked, limit)
        complete = one["code"] == 0
        if complete and _changes(one) <= limits.small_pass:
            total["settled"] = True
            break
        if total["passes"] >= limits.max_passes:
            break
        number = folder.next_pass(item.module)
        list_file = folder.list_file(item.module, number)
        looked = preview(item, peer, list_file=list_file, limit=limit, attributes_too=True)
        found = problems([looked], peer, [item], folder.path, limits, pair)
        if found:
            list_file.unlink()
            raise errors.Refused("\n".join(found))
    total["seconds"] = round(time.monotonic() - started, 3)
    return total


def _one_pass(item, peer, folder, number, lock, limit, looked=None):
    """
    One pass, with a backup.

    looked
        The preview that it follows, for a pass that need not say what it does: the result holds the
        preview's counts and names then.
    """
    kept = folder.backup(item.module, number)
    command = rsync.pull_command(peer, item, backup=kept, named=looked is None)
    result = _empty(item, peer)
    if looked is not None:
        result.update({key: looked[key] for key in (*_ACTIONS, "bytes", "names", "truncated")})
    with _root_unchanged(item, peer), rsync.Pass(command, lock) as running:
        for entry in _own(running, item):
            _count(result, entry.action, entry)
            _name(result, entry.action, _path_of(item, entry), limit)
    backup.write_manifest(folder, item, number)
    rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED))
    result["code"] = running.outcome.code
    return result


@contextlib.contextmanager
def _root_unchanged(item, peer):
    """
    Keep the attributes of the parent folder of a file or a pattern.

    The parent is no part of what is replicated, but rsync cannot be told to leave it alone.
    """
    if item.pattern is None:
        yield
        return
    folder = os.fsencode(peer.folder(item)) or b"/"
    before = backup.snapshot(folder)
    try:
        yield
    finally:
        if before is not None:
            backup.apply(folder, before)


def _own(running, item):
    for entry in running:
        if item.pattern is not None and entry.name == b"./":
            continue
        yield entry


def _empty(item, peer):
    return {
        "path": itemize.readable(os.fsencode(item.path)),
        "source": peer.host,
        itemize.CREATED: 0,
        itemize.OVERWRITTEN: 0,
        itemize.DELETED: 0,
        itemize.ATTRIBUTES: 0,
        "conflicts": 0,
        "bytes": 0,
        "kept_bytes": 0,
        "total_files": 0,
        "source_files": 0,
        "names": {action: [] for action in _ACTIONS},
        "conflict_names": {},
        "truncated": False,
        "list": None,
    }


def _path_of(item, entry):
    """The path of an entry, as everything that is returned or written has it."""
    path = os.fsencode(item.root).rstrip(b"/") + b"/" + entry.name
    if entry.name == b"./":
        path = os.fsencode(item.root) + b"/"
    return itemize.readable(path)


def _described(item, entry, action):
    return {
        "action": action,
        "path": _path_of(item, entry),
        "size": entry.size,
        "code": entry.code,
    }


def _count(result, action, entry, size_here=0):
    result[action] += 1
    if entry.code[:2] in (">f", "<f"):
        result["bytes"] += entry.size
    if action in (itemize.OVERWRITTEN, itemize.DELETED):
        result["kept_bytes"] += size_here


def _name(result, action, path, limit):
    if len(result["names"][action]) < limit:
        result["names"][action].append(path)
    else:
        result["truncated"] = True


def _add(total, one, looked, limit):
    for key in (*_ACTIONS, "bytes"):
        total[key] += one[key]
    total["kept_bytes"] += looked["kept_bytes"]
    total["truncated"] |= one["truncated"]
    for action in _ACTIONS:
        for path in one["names"][action]:
            _name(total, action, path, limit)


def _changes(result):
    return sum(result[action] for action in _ACTIONS)


def _look(path):
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _changed_since(here, name, since_ns):
    path = here + b"/" + name
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.lstat(path).st_ctime_ns >= since_ns
        if len(path) <= len(here):
            return False
        path = os.path.dirname(path)


def _demands(previews, peer, items, run_folder):
    """What a sync adds to each file system it writes to, and what that has."""
    demands = {}

    def demand(where, added_bytes, added_files):
        where = _existing(where)
        device = os.stat(where).st_dev
        if device not in demands:
            status = os.statvfs(where)
            demands[device] = {
                "where": str(where),
                "bytes": 0,
                "files": 0,
                "free": status.f_bavail * status.f_frsize,
                "size": status.f_blocks * status.f_frsize,
                "free_files": status.f_favail,
                "all_files": status.f_files,
            }
        demands[device]["bytes"] += added_bytes
        demands[device]["files"] += added_files
        return device

    for item, each in zip(items, previews):
        need = guard.room_needed([each])
        there = demand(peer.folder(item) or "/", need["incoming"], need["incoming_files"])
        kept_on = os.stat(_existing(run_folder)).st_dev
        # Within one file system a kept file is moved, not copied.
        moved = there == kept_on
        demand(run_folder, 0 if moved else need["kept"], 0 if moved else need["kept_files"])
    return list(demands.values())


def _existing(path):
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _each(function, items, parallel):
    """Call a function for each item, several at a time; the first error is raised at the end."""
    items = list(items)
    if len(items) < 2 or parallel < 2:
        return [function(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(min(parallel, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]


def _lock(folder, item):
    runs = folder.path.parent
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    return rsync.locked(runs / f".{item.module}.lock")


def _writer(path, append=False):
    return open(path, "a" if append else "w", encoding="utf-8", opener=_private)


def _private(path, flags):
    return os.open(path, flags, 0o600)
