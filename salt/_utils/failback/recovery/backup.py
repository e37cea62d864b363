"""
What a sync overwrote, deleted or changed: how it is kept and listed, and finally pruned.

A run's folder holds, for every replicated path (by its module name) and every pass::

    items.json                     which module stands for which path
    lists/<module>/001.jsonl       what the pass was about to do, with the attributes from before
    backup/<module>/001/…          what rsync moved away: a mirror of the path
    manifest/<module>/001.jsonl    what is kept: type, size, SHA-256, owner, group, mode, mtime

A pass never writes into the folders of an earlier one, so the first original of a file that was
overwritten twice is safe. Names in the lists are in the notation of :py:mod:`failback.host.notation`.
:py:mod:`failback.recovery.restore` puts a run back.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import stat
import time

from failback import errors
from failback.host import beneath
from failback.host import files
from failback.host import notation
from failback.recovery import itemize
from failback.replication import replicated

_KEPT_ATTRIBUTES = ("user.", "trusted.", "system.posix_acl_", "security.capability")
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
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


def snapshot(path):
    """
    The attributes of a file, all that is needed to put them back.

    path
        Bytes; symbolic links are not followed.

    Returns a JSON-able dict, or ``None`` if nothing is there: ``type``, ``size`` (bytes), ``mode``,
    ``uid``, ``gid``, ``mtime_ns``, ``device``, ``inode``, ``links``, ``attributes`` (extended ones
    and ACLs, base64) and, of a symbolic link, ``target``.
    """
    try:
        found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return snapshot_of(found)
    finally:
        os.close(found)


def snapshot_of(found):
    """
    :py:func:`snapshot` of an open file.

    found
        Descriptor, ``O_PATH`` will do; or ``None``, of which there is none.
    """
    if found is None:
        return None
    status = os.fstat(found)
    result = {
        "type": TYPES.get(stat.S_IFMT(status.st_mode), "unknown"),
        "size": status.st_size,
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime_ns": status.st_mtime_ns,
        "device": status.st_dev,
        "inode": status.st_ino,
        "links": status.st_nlink,
        "attributes": {},
    }
    with contextlib.suppress(OSError):
        if result["type"] == "link":
            result["target"] = notation.readable(os.readlink(b"", dir_fd=found))
        place = beneath.through(found)
        for name in os.listxattr(place):
            if name.startswith(_KEPT_ATTRIBUTES):
                value = os.getxattr(place, name)
                result["attributes"][name] = base64.b64encode(value).decode()
    return result


def apply(path, before):
    """
    Give a file the attributes of a :py:func:`snapshot`. Its content stays.

    Raises ``OSError``.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        apply_to(found, before)
    finally:
        os.close(found)


def apply_to(found, before):
    """
    :py:func:`apply` to an open file; ``O_PATH`` will do.

    Raises ``OSError``.
    """
    place = beneath.through(found)
    os.chown(place, before["uid"], before["gid"])
    if before["type"] != "link":
        os.chmod(place, before["mode"])
    wanted = before["attributes"]
    try:
        present = os.listxattr(place)
    except OSError:
        present = []
    for name in present:
        if name.startswith(_KEPT_ATTRIBUTES) and name not in wanted:
            os.removexattr(place, name)
    for name, value in wanted.items():
        os.setxattr(place, name, base64.b64decode(value))
    os.utime(place, ns=(before["mtime_ns"], before["mtime_ns"]))


def write_manifest(folder, item, number):
    """
    Write down what is kept of a pass, from what is really in its backup.

    Attributes of kept files are those that rsync moved away with them. Folders, and files of which
    only attributes changed, come from the pass's list. Returns the number of entries.
    """
    target = folder.manifest_file(item.module, number)
    temporary = target.with_suffix(".new")
    count = 0
    with open(temporary, "w", encoding="utf-8", opener=files.private) as manifest:
        for name in kept_names(folder.backup(item.module, number)):
            path = os.fsencode(folder.backup(item.module, number)) + b"/" + name
            entry = {"path": absolute(item, name), "kept": True, **snapshot(path)}
            if entry["type"] == "file":
                entry["sha256"] = checksum(path)
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


def write_missing_manifests(folder, item):
    """Write the manifests of passes that ended without: killed ones, and the last of a handover."""
    for number in folder.passes(item.module):
        if not folder.manifest_file(item.module, number).exists():
            write_manifest(folder, item, number)


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
    top = os.fsencode(top)
    pending = [b""]
    while pending:
        relative = pending.pop()
        try:
            found = os.scandir(os.path.join(top, relative))
        except FileNotFoundError:
            continue
        with found:
            for entry in found:
                name = os.path.join(relative, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                else:
                    yield name


def checksum(path):
    """SHA-256 of a file's content, 64 characters."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
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
        for part in each.iterdir():
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
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
