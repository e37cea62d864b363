"""
What a pass would do, without doing it: the look before a sync, and the comparison after a handover.

Both run rsync with ``--dry-run``. Before, each entry is judged: how much is lost, and does somebody miss
it. Afterwards, every difference must explain itself by a change that was made here since.
"""

import contextlib
import json
import os
import stat
import time

from failback.host import beneath
from failback.host import notation
from failback.recovery import apart
from failback.recovery import attributes
from failback.recovery import itemize
from failback.recovery import results
from failback.recovery import rsync
from failback.recovery import workers


def preview(item, peer, list_file=None, limit=results.NAMES, attributes_too=False, conflict=None):
    """
    Find out what a sync of one path would do here, without doing it.

    item
        :py:class:`failback.replication.replicated.Item`.

    peer
        :py:class:`failback.recovery.rsync.Peer`.

    list_file
        File for the full list (JSON lines); ``None`` for none.

    limit
        How many names of each action the result holds.

    attributes_too
        Write owner, mode, times, ACLs and extended attributes of what is here into the list.

    conflict
        Function that says why a file that is to be replaced is one that somebody may miss, or ``None``: of
        its path in the notation of :py:mod:`failback.host.notation`, its ``os.lstat`` here, and the seconds
        of the source's last change (``None``: it is to be deleted). See
        :py:mod:`failback.decisions.conflicts`.

    Returns a dict: ``path``, ``source`` (host), counts ``created``, ``overwritten``, ``deleted``,
    ``attributes``, ``conflicts``, ``total_files`` (here, before), ``source_files``, ``bytes`` (coming in),
    ``kept_bytes`` (of what is overwritten and deleted), ``copied_files`` and ``copied_bytes`` (of those that
    have another name, which stays: they are copied), ``longest`` and ``longest_path`` (of those, the bytes of
    the longest name, relative to the item, and its path), ``names`` (the first paths of each action),
    ``conflict_names`` (the first conflicts, path to reason), ``truncated`` (whether there are more),
    ``list`` (the list file or ``None``), ``digest`` (of the set of deleted paths) and ``seconds``.

    Raises :py:class:`failback.errors.Unavailable` if rsync did not end well.
    """
    started = time.monotonic()
    result = results.empty(item, peer)
    digest = itemize.Digest()
    outside = apart.Outside()
    root_created = 0
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(tree_of(peer.folder(item)))
        handle = stack.enter_context(results.writer(list_file)) if list_file else None
        running = stack.enter_context(rsync.Pass(rsync.pull_command(peer, item, dry_run=True)))
        for entry in results.entries(running, item):
            status, before = _look(tree, entry.name.rstrip(b"/"), attributes_too and handle is not None)
            exists, size = status is not None, status.st_size if status else 0
            action = entry.action
            root_created += action == itemize.CREATED and entry.name == b"./"
            if action == itemize.CREATED and exists:
                # Something of another type bears the name; rsync calls that created.
                action = itemize.OVERWRITTEN
            results.count(result, action, entry, size)
            if status and action in (itemize.OVERWRITTEN, itemize.DELETED):
                outside.add(status)
                results.lengthen(result, item, entry, status)
            described = results.described(item, entry, action)
            results.name(result, action, described["path"], limit)
            if action == itemize.DELETED:
                # Not what is overwritten: while clients write, that is another set every second.
                digest.add(notation.raw(described["path"]), action)
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
    if not rsync.looked_well(running.outcome):
        rsync.require_success(running.outcome, item)
    # rsync counts the root as a file. It is none of those that a limit is about.
    result["source_files"] = max(0, running.outcome.source_files - 1)
    result["total_files"] = max(
        0, result["source_files"] - result["created"] + root_created + result["deleted"]
    )
    result.update(copied_files=outside.files, copied_bytes=outside.bytes)
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


def compare(items, peer, since, limit=results.NAMES, parallel=2):
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
        differences, unexplained, names = 0, 0, []
        with (
            tree_of(peer.folder(item)) as tree,
            rsync.Pass(rsync.pull_command(peer, item, dry_run=True)) as running,
        ):
            for entry in results.entries(running, item):
                differences += 1
                if changed_since(tree, entry.name.rstrip(b"/"), since_ns):
                    continue
                unexplained += 1
                if len(names) < limit:
                    names.append(results.path_of(item, entry))
        rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED))
        return differences, unexplained, names, max(0, running.outcome.source_files - 1)

    found = workers.each(one, items, parallel)
    names = [name for each in found for name in each[2]]
    return {
        "files": sum(each[3] for each in found),
        "differences": sum(each[0] for each in found),
        "unexplained_count": sum(each[1] for each in found),
        "unexplained": names[:limit],
        "truncated": sum(each[1] for each in found) > len(names[:limit]),
    }


@contextlib.contextmanager
def tree_of(top):
    """The tree of an item, or None while it is not there."""
    try:
        tree = beneath.Tree(top)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    with tree:
        yield tree


def _look(tree, name, attributes_too):
    """
    What is here of a name: its ``os.stat``, and its attributes if wanted; None for what is not there.

    Behind a link that a user has put in place of a folder there is nothing of ours: the attributes of a file
    outside would else be given to one inside by an undo.
    """
    if tree is None:
        return None, None
    with contextlib.suppress(beneath.InTheWay), tree.opened(name) as found:
        if found is not None:
            return os.fstat(found), attributes.snapshot_of(found) if attributes_too else None
    return None, None


def changed_since(tree, name, since_ns):
    """
    Whether a file has been changed since a moment; of one that is gone, its folder.

    tree
        What :func:`tree_of` gives.

    name
        Bytes, relative to it.

    since_ns
        Nanoseconds since the epoch, compared with the change time (ctime), which no program can set back.
    """
    if tree is None:
        return False
    while True:
        with contextlib.suppress(beneath.InTheWay), tree.opened(name) as found:
            if found is not None:
                return os.fstat(found).st_ctime_ns >= since_ns
        if not name:
            return False
        name = os.path.dirname(name)
