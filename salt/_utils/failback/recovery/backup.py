"""
What a sync overwrote, deleted or changed: how it is kept and listed, and finally pruned.

A run's folder holds, for every replicated path (by its module name) and every pass::

    items.json                     which module stands for which path
    lists/<module>/001.jsonl       what the pass was about to do, with the attributes from before
    backup/<module>/001/…          what rsync moved away: a mirror of the path
    manifest/<module>/001.jsonl    what is kept: type, size, SHA-256, owner, group, mode, mtime
    times/<module>/001.jsonl       times of folders, of a pass of an undo that was killed
    undone/<module>/001.jsonl      the same, where an undo of this pass was killed

A pass never writes into the folders of an earlier one, so the first original of a file that was
overwritten twice is safe. Names in the lists are in the notation of :py:mod:`failback.host.notation`.
:py:mod:`failback.recovery.restore` puts a run back.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import time

from failback import errors
from failback.host import beneath
from failback.host import files
from failback.host import notation
from failback.recovery import apart
from failback.recovery import attributes
from failback.recovery import itemize
from failback.replication import replicated

_CHUNK = 1 << 20
_HIDDEN = "."


class Folder:
    """
    The files of one run.

    path
        Folder of the run; made (0700) when first written to.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def list_file(self, module, number):
        """What a pass was about to do."""
        return self.path / "lists" / module / f"{number:03d}.jsonl"

    def backup(self, module, number):
        """What a pass moved away."""
        return self.path / "backup" / module / f"{number:03d}"

    def manifest_file(self, module, number):
        """What is kept of a pass."""
        return self.path / "manifest" / module / f"{number:03d}.jsonl"

    def times(self, module, number):
        """The times of folders before a pass of an undo: only while it lasts, or when it was killed."""
        return self.path / "times" / module / f"{number:03d}.jsonl"

    def undone_times(self, module, number):
        """The same, of an undo that takes this pass back."""
        return self.path / "undone" / module / f"{number:03d}.jsonl"

    def prepare(self, items, origin=None):
        """
        Make the folders and write down which module stands for which path.

        origin
            Run that this one puts back, if it does.
        """
        for part in (self.path, *(self.path / name for name in ("lists", "backup", "manifest"))):
            files.make_folder(part)
        for item in items:
            for name in ("lists", "backup", "manifest"):
                (self.path / name / item.module).mkdir(mode=0o700, exist_ok=True)
        known = {each.module: each for each in self.items()} if self._index.exists() else {}
        known.update({item.module: item for item in items})
        content = {
            "version": 1,
            "origin": origin,
            "items": [
                {
                    "path": notation.readable(os.fsencode(each.path)),
                    "root": notation.readable(os.fsencode(each.root)),
                    "pattern": each.pattern and notation.readable(os.fsencode(each.pattern)),
                }
                for each in known.values()
            ],
        }
        files.write_json(self._index, content)

    def items(self):
        """The items of this run; raises :py:class:`failback.errors.Unreadable`."""
        content = self._content()
        return [
            replicated.Item(
                os.fsdecode(notation.raw(each["path"])),
                os.fsdecode(notation.raw(each["root"])),
                each["pattern"] and os.fsdecode(notation.raw(each["pattern"])),
            )
            for each in content["items"]
        ]

    def origin(self):
        """The run that this one puts back, or ``None``."""
        return self._content().get("origin")

    def passes(self, module):
        """Numbers of the passes that were begun, in order."""
        folder = self.path / "lists" / module
        if not folder.is_dir():
            return []
        return sorted(int(each.stem) for each in folder.glob("[0-9]*.jsonl"))

    def next_pass(self, module):
        """Number for the next pass."""
        return max([*self.passes(module), *self._backups(module)], default=0) + 1

    def unlisted(self, module):
        """Numbers of passes that have a backup and no list: a list is there before its pass begins."""
        return sorted(set(self._backups(module)) - set(self.passes(module)))

    def _backups(self, module):
        folder = self.path / "backup" / module
        return [int(each.name) for each in folder.iterdir() if each.name.isdigit()] if folder.is_dir() else []

    @property
    def _index(self):
        return self.path / "items.json"

    def _content(self):
        if not self.path.is_dir():
            raise errors.Refused(
                f"The run's folder {self.path} does not exist: it was pruned, or removed by hand. "
                "Nothing can be put back from it. To see the runs that are kept: "
                "salt-run pair.history"
            )
        try:
            content = json.loads(self._index.read_text(encoding="utf-8"))
            version = content["version"]
        except FileNotFoundError:
            raise errors.Refused(
                f"The run in {self.path} kept nothing: it overwrote and deleted no file, or its "
                "index was removed by hand. To see the runs that are kept: salt-run pair.history"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise errors.Unreadable(
                f"{self._index} is cut off or damaged ({error}), so it is not known where its "
                f"files belong. They are still there: look at {self.path / 'backup'}"
            ) from error
        if version != 1:
            raise errors.Unreadable(
                f"{self._index} was written by a newer Failback (version {version}). Update this "
                "node with: salt-call state.highstate, then run again."
            )
        return content


def write_manifest(folder, item, number, truncated=()):
    """
    Write down what is kept of a pass, from what is really in its backup, which shares no file with the tree
    from then on (:py:mod:`failback.recovery.apart`).

    Attributes of kept files are those that rsync moved away with them. Folders, and files of which
    only attributes changed, come from the pass's list. Returns the number of entries.

    truncated
        Names of kept files that are not whole: they get no checksum, so an undo refuses them.
    """
    target = folder.manifest_file(item.module, number)
    files.make_folder(target.parent)
    temporary = target.with_suffix(".new")
    count = 0
    apart.separate(folder.backup(item.module, number))
    with (
        open(temporary, "w", encoding="utf-8", opener=files.private) as manifest,
        kept_tree(folder.backup(item.module, number)) as tree,
    ):
        for name in tree.names() if tree else ():
            with tree.opened(name) as found:
                entry = {"path": absolute(item, name), "kept": True, **attributes.snapshot_of(found)}
                if entry["type"] == "file":
                    entry["sha256"] = None if name in truncated else checksum(found)
            manifest.write(json.dumps(entry) + "\n")
            count += 1
        for entry in entries(folder, item.module, number):
            before = entry.get("before")
            only_attributes = entry["action"] == itemize.ATTRIBUTES
            if before and (only_attributes or before["type"] == "directory"):
                described = {"path": entry["path"].rstrip("/"), **before}
                manifest.write(json.dumps(described) + "\n")
                count += 1
        manifest.flush()
        os.fsync(manifest.fileno())
    os.replace(temporary, target)
    return count


@contextlib.contextmanager
def kept_tree(path):
    """A backup as a :py:class:`failback.host.beneath.Tree`, or None where a pass has kept nothing."""
    try:
        tree = beneath.Tree(path)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    with tree:
        yield tree


def entries(folder, module, number):
    """
    Read a pass's list, one dict an entry.

    A last line that was cut off by a crash is left out: what it stood for had not begun.
    """
    for line in lines_of(folder.list_file(module, number)):
        try:
            yield json.loads(line)
        except ValueError:
            return


def lines_of(path):
    """The lines of a list or a manifest, one at a time; none if there is no file."""
    try:
        handle = open(path, encoding="utf-8")  # noqa: SIM115
    except FileNotFoundError:
        return
    with handle:
        yield from handle


def kept_names(top):
    """Names (bytes, relative) of all in a backup but the folders, in constant memory a level."""
    with kept_tree(top) as tree:
        if tree is not None:
            yield from tree.names()


def checksum(found):
    """SHA-256 of the content of an open file (``O_PATH`` will do), 64 characters."""
    digest = hashlib.sha256()
    with open(beneath.through(found), "rb", buffering=0) as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def prune(runs_folder, keep, spare=(), days=0, now=None):
    """
    Delete the oldest backups. What is known of their runs, ``run.json``, stays: it is the history.

    A backup goes when it is neither one of the newest nor young enough.

    runs_folder
        Folder with one folder a run.

    keep
        How many of the newest to keep, of those runs that have a file in their backup; the newest is always
        kept. Of the others, which replaced nothing, as many.

    spare
        Names of runs that are kept as well, for instance the one that is going on.

    days
        Younger backups are kept however many they are. The time of a run is in its id, in UTC.

    now
        Seconds since the epoch; the wall clock's by default.

    Returns the names of the runs whose backup was deleted, oldest first.
    """
    folder = pathlib.Path(runs_folder)
    if not folder.is_dir():
        return []
    # A run's id begins with its time, so the names are in order.
    runs = sorted(
        each
        for each in folder.iterdir()
        if (each / "backup").is_dir() and not each.is_symlink() and not each.name.startswith(_HIDDEN)
    )
    removed = []
    young = time.strftime("%Y%m%dT%H%M%S", time.gmtime((time.time() if now is None else now) - days * 86400))
    # A run that replaced nothing must not be what a real backup makes room for.
    real = [each for each in runs if next(kept_names(each / "backup"), None) is not None]
    empty = [each for each in runs if each not in real]
    for each in sorted([*real[: -max(1, keep)], *empty[: -max(1, keep)]]):
        if each.name in spare or (days and each.name >= young):
            continue
        # The backup last: by it the next pruning finds a run of which this one was killed.
        for part in sorted(each.iterdir(), key=lambda part: part.name == "backup"):
            if part.is_dir() and not part.is_symlink():
                beneath.remove(part)
            elif part.name != "run.json":
                part.unlink()
        if not any(each.iterdir()):
            each.rmdir()
        removed.append(each.name)
    return removed


def absolute(item, name):
    """The path of a name in a backup, as the lists have it."""
    return notation.readable(os.fsencode(item.root).rstrip(b"/") + b"/" + name.rstrip(b"/"))


def relative(item, path):
    """The name in a backup of a path in the lists; the reverse of :py:func:`absolute`."""
    return notation.raw(path)[len(os.fsencode(item.root).rstrip(b"/")) + 1 :].rstrip(b"/")
