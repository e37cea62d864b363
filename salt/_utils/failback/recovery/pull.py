"""
Pulling the paths of a pair from the node that serves them, with a backup of all they replace.

In the order in which a recovery uses it::

    peer = rsync.Peer("salt2", replicated.ssh_command(paths))
    previews = dry_run.previewed(items, peer)
    report = pull.synced(items, peer, run_folder, limits)   # while the peer still serves
    last = final_sync.FinalSync(items, peer, run_folder)      # before the addresses are released
    last.run(limit=5.0)                                     # while nobody serves
    dry_run.compared(items, peer, since)                    # afterwards
"""

import contextlib
import dataclasses
import os
import time

from failback import errors
from failback.decisions import limits as change_limits
from failback.decisions import places
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import results
from failback.recovery import rsync
from failback.recovery import workers


@dataclasses.dataclass(frozen=True)
class Limits:
    """
    What a sync may do before it asks.

    max_delete, max_change_percent
        See :py:func:`failback.decisions.limits.limit_problems`.

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


def problems(previews, peer, items, run_folder, limits, pair="PAIR", now=None, recorded=None):
    """
    Everything that speaks against a sync: limits, sources, room for the backup.

    now, recorded
        Facts about the sources: see :py:func:`failback.decisions.places.source_problems`; ``None`` leaves
        them out.

    Returns a list of sentences.
    """
    allowed = (limits.max_delete, limits.max_change_percent)
    found = change_limits.limit_problems(previews, *allowed, pair, limits.operation, limits.words)
    if now is not None:
        files_here = {each["path"]: each["total_files"] for each in previews}
        found += places.source_problems(now, recorded, files_here, pair)
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
    return found + change_limits.room_problems(demands, pair)


def synced(
    items,
    peer,
    run_folder,
    limits=None,
    pair="PAIR",
    now=None,
    recorded=None,
    before_pass=None,
    limit=results.NAMES,
    conflict=None,
    mark=None,
):
    """
    Make the paths here equal to the peer's, and keep everything that is overwritten or deleted.

    items
        :py:class:`failback.replication.replicated.Item` each.

    peer
        :py:class:`failback.recovery.rsync.Peer`.

    run_folder
        Folder of the run; one that was begun earlier is continued.

    limits
        :py:class:`Limits`.

    pair
        Name of the pair, for the sentences.

    now, recorded
        Facts about the sources: see :py:func:`failback.decisions.places.source_problems`.

    before_pass
        Called without arguments before every pass; raises if data may not move (any more).

    conflict
        See :py:func:`failback.recovery.dry_run.preview`; asked in the first look alone, for later the files
        here are the peer's.

    mark
        Called with the item before every pass: a journal of changes begins a new page.

    Returns a dict: ``paths`` (one dict a path: ``path``, counts as in a preview,
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
        locks = {item: stack.enter_context(lock(folder, item)) for item in items}
        for item in items:
            backup.write_missing_manifests(folder, item)
        numbers = {item: folder.next_pass(item.module) for item in items}

        def look(item):
            list_file = folder.list_file(item.module, numbers[item])
            return dry_run.preview(
                item, peer, list_file=list_file, limit=limit, attributes_too=True, conflict=conflict
            )

        first = workers.each(look, items, limits.parallel)
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

        paths = workers.each(sync, items, limits.parallel)
    return {
        "paths": paths,
        "changed": [each["path"] for each in paths if results.changes(each)],
        "settled": all(each["settled"] for each in paths),
        "seconds": round(time.monotonic() - started, 3),
    }


def _synced_path(item, peer, folder, limits, pair, before_pass, lock, number, looked, limit, mark):
    started = time.monotonic()
    total = results.empty(item, peer)
    total.update(passes=0, settled=False, total_files=looked["total_files"])
    total.update(conflicts=looked["conflicts"], conflict_names=looked["conflict_names"])
    while True:
        if before_pass is not None:
            before_pass()
        if mark is not None:
            mark(item)
        # More than may be left for the last one: another pass follows, and says what it does.
        known = looked if results.changes(looked) > limits.small_pass else None
        one = _one_pass(item, peer, folder, number, lock, limit, known)
        total["passes"] += 1
        results.add(total, one, looked, limit)
        complete = one["code"] == 0
        if complete and results.changes(one) <= limits.small_pass:
            total["settled"] = True
            break
        if total["passes"] >= limits.max_passes:
            break
        number = folder.next_pass(item.module)
        list_file = folder.list_file(item.module, number)
        looked = dry_run.preview(item, peer, list_file=list_file, limit=limit, attributes_too=True)
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
    result = results.empty(item, peer)
    if looked is not None:
        result.update({key: looked[key] for key in (*results.ACTIONS, "bytes", "names", "truncated")})
    with root_unchanged(item, peer), rsync.Pass(command, lock) as running:
        for entry in results.entries(running, item):
            results.count(result, entry.action, entry)
            results.name(result, entry.action, results.path_of(item, entry), limit)
    backup.write_manifest(folder, item, number)
    rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED))
    result["code"] = running.outcome.code
    return result


@contextlib.contextmanager
def root_unchanged(item, peer):
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
        need = change_limits.room_needed([each])
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


def lock(folder, item):
    """Hold a path against any other pass; returns the open file, which is the lock."""
    runs = folder.path.parent
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    return rsync.locked(runs / f".{item.module}.lock")
