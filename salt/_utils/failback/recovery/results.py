"""
What a pass of rsync did or would do, as a result holds it: counts, and the first names of each action.

Memory stays the same however many files there are: lists go to files, results hold counts and the first
names. All passes, real and dry ones, fill their results with these functions.
"""

import os
import stat

from failback.host import files
from failback.host import notation
from failback.recovery import itemize

NAMES = 200
"""How many names a result holds of a path, unless told otherwise."""

ACTIONS = (itemize.CREATED, itemize.OVERWRITTEN, itemize.DELETED, itemize.ATTRIBUTES)


def entries(running, item):
    """What rsync says of an item, without the folder that a file or a pattern merely lies in."""
    for entry in running:
        if item.pattern is not None and entry.name == b"./":
            continue
        yield entry


def empty(item, peer):
    """The result of a pass over an item that has changed nothing."""
    return {
        "path": notation.readable(os.fsencode(item.path)),
        "source": peer.host,
        itemize.CREATED: 0,
        itemize.OVERWRITTEN: 0,
        itemize.DELETED: 0,
        itemize.ATTRIBUTES: 0,
        "conflicts": 0,
        "bytes": 0,
        "kept_bytes": 0,
        "copied_files": 0,
        "copied_bytes": 0,
        "longest": 0,
        "longest_path": None,
        "total_files": 0,
        "source_files": 0,
        "names": {action: [] for action in ACTIONS},
        "conflict_names": {},
        "truncated": False,
        "list": None,
    }


def path_of(item, entry):
    """The path of an entry, as everything that is returned or written has it."""
    path = os.fsencode(item.root).rstrip(b"/") + b"/" + entry.name
    if entry.name == b"./":
        path = os.fsencode(item.root) + b"/"
    return notation.readable(path)


def happened(entry, kept):
    """
    What a pass has done by an entry of rsync's, which calls created also what replaces another type.

    kept
        The backup of the pass, where what was there is by then. An empty folder leaves no trace in it.
    """
    place = os.path.join(os.fsencode(kept), entry.name.rstrip(b"/"))
    if entry.action == itemize.CREATED and os.path.lexists(place):
        return itemize.OVERWRITTEN
    return entry.action


def described(item, entry, action):
    """An entry as the lists hold it."""
    return {
        "action": action,
        "path": path_of(item, entry),
        "size": entry.size,
        "code": entry.code,
    }


def count(result, action, entry, size_here=0):
    """Count an entry in; ``size_here`` is the size of what it replaces."""
    result[action] += 1
    if entry.code[:2] in (">f", "<f"):
        result["bytes"] += entry.size
    if action in (itemize.OVERWRITTEN, itemize.DELETED):
        result["kept_bytes"] += size_here


def lengthen(result, item, entry, status):
    """Note a name that is going to be in the backup, if it is the longest so far and no folder."""
    length = len(entry.name)
    if length > result["longest"] and not stat.S_ISDIR(status.st_mode):
        result.update(longest=length, longest_path=path_of(item, entry))


def name(result, action, path, limit):
    """Name a path in a result, as long as that holds fewer than so many of the action."""
    if len(result["names"][action]) < limit:
        result["names"][action].append(path)
    else:
        result["truncated"] = True


def add(total, done, looked, limit):
    """Add the result of one more pass, and what the look before it said of the backup, to the total."""
    for key in (*ACTIONS, "bytes"):
        total[key] += done[key]
    total["kept_bytes"] += looked["kept_bytes"]
    total["truncated"] |= done["truncated"]
    for action in ACTIONS:
        for path in done["names"][action]:
            name(total, action, path, limit)


def changes(result):
    """How many entries a pass has changed, of whatever kind."""
    return sum(result[action] for action in ACTIONS)


def writer(path, append=False):
    """A list, open for writing; for root alone."""
    return open(path, "a" if append else "w", encoding="utf-8", opener=files.private)
