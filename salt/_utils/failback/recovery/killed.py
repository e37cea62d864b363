"""
What a pass that was killed, or lost its power, has left in its backup where that is no whole file.

Within a file system rsync moves a file into the backup: it is there whole, or not at all. From one to another
rsync copies it, under its own name, and replaces the file after that. So half a file may lie in the backup
beside the whole one in the tree; and after a loss of power, a short one beside a tree that has the new.
"""

import contextlib
import glob
import os
import stat

from failback.host import beneath
from failback.recovery import apart
from failback.recovery import backup

_CHUNK = 1 << 20


def end_passes(folder, item, top):
    """
    End what was killed of the passes of a path: the manifests of this run's, and the backups of all runs' are
    parted from the tree. Those of another run get no manifest: that reads all of a backup.

    Call it with the lock of the path: no pass is at work then, so those without a manifest were killed.

    folder
        :py:class:`failback.recovery.backup.Folder` of the run that goes on, among those of the others.

    top
        Where the item lies on this node.
    """
    write_missing_manifests(folder, item, top)
    for lists in sorted(folder.path.parent.glob(f"*/lists/{glob.escape(item.module)}")):
        run = backup.Folder(lists.parent.parent)
        for number in run.passes(item.module):
            if not run.manifest_file(item.module, number).exists():
                # An old backup that cannot be read keeps no recovery waiting; the next one tries again.
                with contextlib.suppress(OSError):
                    _drop(run, item, number, top)
                    apart.separate(run.backup(item.module, number))


def write_missing_manifests(folder, item, top):
    """Write the manifests of passes that ended without: killed ones, and the last of a handover."""
    for number in folder.passes(item.module):
        if not folder.manifest_file(item.module, number).exists():
            end_pass(folder, item, number, top)


def end_pass(folder, item, number, top):
    """Write the manifest of a pass that did not end by itself; see :func:`end_passes`."""
    _drop(folder, item, number, top)
    backup.write_manifest(folder, item, number, truncated(folder, item, number))


def unfinished(folder, item, number, top):
    """
    What a pass had not come to replace: the tree has it still, and the backup a part of it.

    folder, item, number
        :py:class:`failback.recovery.backup.Folder`, the item and the number of a pass without a manifest.

    top
        Where the item lies on this node.

    Returns names (bytes), a set.
    """
    if folder.manifest_file(item.module, number).exists():
        return set()
    with backup.kept_tree(folder.backup(item.module, number)) as kept, backup.kept_tree(top) as tree:
        if kept is None or tree is None:
            return set()
        listed = _cut_off(folder, item, number, kept)
        found = {name for name, before in listed if _is_the_same(_status(tree, name), before)}
        return found | {name for name in _unlisted(folder, item, number, kept) if _goes_on(kept, tree, name)}


def truncated(folder, item, number):
    """Kept files of such a pass that are not whole: a dict of name to the bytes that the file had."""
    with backup.kept_tree(folder.backup(item.module, number)) as kept:
        if kept is None:
            return {}
        return {name: before["size"] for name, before in _cut_off(folder, item, number, kept)}


def _drop(folder, item, number, top):
    """Take what is :func:`unfinished` out of the backup: the tree has all of it."""
    names = unfinished(folder, item, number, top)
    if names:
        with beneath.Tree(folder.backup(item.module, number)) as kept:
            for name in names:
                with kept.parent(name) as (above, last):
                    os.unlink(last, dir_fd=above)


def _cut_off(folder, item, number, kept):
    """Names of kept files that are shorter than the look before the pass has found them, with that."""
    for entry in backup.entries(folder, item.module, number):
        before = entry.get("before")
        if not before or before["type"] != "file":
            continue
        name = backup.relative(item, entry["path"])
        status = _status(kept, name)
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_size < before["size"]:
            yield name, before


def _unlisted(folder, item, number, kept):
    """Names of kept files of a pass whose list knows nothing of what was there: a final sync's."""
    listed = any(entry.get("before") for entry in backup.entries(folder, item.module, number))
    for name, status in () if listed else kept.statuses():
        if stat.S_ISREG(status.st_mode):
            yield name


def _is_the_same(status, before):
    """Whether a file is the one that was there before the pass, and nobody has written to it since."""
    if status is None:
        return False
    found = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return found == tuple(before[key] for key in ("device", "inode", "size", "mtime_ns"))


def _goes_on(kept, tree, name):
    """Whether the tree has the file of which a backup holds the beginning, and nobody has changed it."""
    with kept.opened(name) as copy:
        copied = os.fstat(copy)
        original = _status(tree, name)
        if original is None or not stat.S_ISREG(original.st_mode) or original.st_dev == copied.st_dev:
            return False
        if original.st_size <= copied.st_size or original.st_ctime_ns >= copied.st_ctime_ns:
            return False
        with tree.opened(name) as found:
            return _begins_with(found, copy)


def _begins_with(found, copy):
    with open(beneath.through(found), "rb") as whole, open(beneath.through(copy), "rb") as part:
        while data := part.read(_CHUNK):
            if whole.read(len(data)) != data:
                return False
    return True


def _status(tree, name):
    """The ``os.lstat`` of a name in a tree; None where it is not, or somebody is in the way."""
    try:
        with tree.opened(name) as found:
            return None if found is None else os.fstat(found)
    except beneath.InTheWay:
        return None
