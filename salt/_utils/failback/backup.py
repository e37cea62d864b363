"""
What a sync overwrote, deleted or changed: how it is kept, listed, put back and finally pruned.

A run's folder holds, for every replicated path (by its module name) and every pass::

    items.json                     which module stands for which path
    lists/<module>/001.jsonl       what the pass was about to do, with the attributes from before
    backup/<module>/001/…          what rsync moved away: a mirror of the path
    manifest/<module>/001.jsonl    what is kept: type, size, SHA-256, owner, group, mode, mtime

A pass never writes into the folders of an earlier one, so the first original of a file that was
overwritten twice is safe. Putting a run back takes its passes from the last to the first; what
remains at the end is the state before the first. A pass that was killed is no special case: what it
had moved is in its backup, what it had not done has nothing to be taken back.

Names in the lists are in the notation of :py:mod:`failback.itemize`.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import stat
import subprocess
import time

from failback import errors
from failback import files
from failback import itemize
from failback import replication
from failback import rsync

_KEPT_ATTRIBUTES = ("user.", "trusted.", "system.posix_acl_", "security.capability")
_TYPES = {
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
#: How many sentences of what is missing in a backup are said.
_NAMED_PROBLEMS = 10


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
                    "path": itemize.readable(os.fsencode(each.path)),
                    "root": itemize.readable(os.fsencode(each.root)),
                    "pattern": each.pattern and itemize.readable(os.fsencode(each.pattern)),
                }
                for each in known.values()
            ],
        }
        files.write_json(self._index, content)

    def items(self):
        """The items of this run; raises :py:class:`failback.errors.Unreadable`."""
        content = self._content()
        return [
            replication.Item(
                os.fsdecode(itemize.raw(each["path"])),
                os.fsdecode(itemize.raw(each["root"])),
                each["pattern"] and os.fsdecode(itemize.raw(each["pattern"])),
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
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    result = {
        "type": _TYPES.get(stat.S_IFMT(status.st_mode), "unknown"),
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
            result["target"] = itemize.readable(os.readlink(path))
        for name in os.listxattr(path, follow_symlinks=False):
            if name.startswith(_KEPT_ATTRIBUTES):
                value = os.getxattr(path, name, follow_symlinks=False)
                result["attributes"][name] = base64.b64encode(value).decode()
    return result


def apply(path, before):
    """
    Give a file the attributes of a :py:func:`snapshot`. Its content stays.

    Raises ``OSError``.
    """
    os.chown(path, before["uid"], before["gid"], follow_symlinks=False)
    if before["type"] != "link":
        os.chmod(path, before["mode"])
    wanted = before["attributes"]
    try:
        present = os.listxattr(path, follow_symlinks=False)
    except OSError:
        present = []
    for name in present:
        if name.startswith(_KEPT_ATTRIBUTES) and name not in wanted:
            os.removexattr(path, name, follow_symlinks=False)
    for name, value in wanted.items():
        os.setxattr(path, name, base64.b64decode(value), follow_symlinks=False)
    os.utime(path, ns=(before["mtime_ns"], before["mtime_ns"]), follow_symlinks=False)


def write_manifest(folder, item, number):
    """
    Write down what is kept of a pass, from what is really in its backup.

    Attributes of kept files are those that rsync moved away with them. Folders, and files of which
    only attributes changed, come from the pass's list. Returns the number of entries.
    """
    target = folder.manifest_file(item.module, number)
    temporary = target.with_suffix(".new")
    count = 0
    with open(temporary, "w", encoding="utf-8", opener=_private) as manifest:
        for name in kept_names(folder.backup(item.module, number)):
            path = os.fsencode(folder.backup(item.module, number)) + b"/" + name
            entry = {"path": _absolute(item, name), "kept": True, **snapshot(path)}
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
    for line in _lines(folder.list_file(module, number)):
        try:
            yield json.loads(line)
        except ValueError:
            return


def _lines(path):
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


def restore(run_folder, undo_folder, select=None, preview=False, root="/", limit=200):
    """
    Put back what a run overwrote, deleted or changed the attributes of.

    run_folder
        Folder of the run to take back.

    undo_folder
        Folder of a new run, which keeps what this one overwrites: so it can be taken back the same
        way.

    select
        Absolute paths, in the notation of :py:mod:`failback.itemize`; only these, and what lies
        below them, are put back. ``None`` means all.

    preview
        Only say what would be done.

    root
        Folder that stands for ``/`` (tests).

    limit
        How many names the result holds of each kind.

    Returns a dict: ``restored`` (count of files with content), ``attributes`` (count of entries
    whose attributes are set), ``created`` (count of files that the run created, which are left alone),
    ``removed`` (those, if the run was itself a restore: then they are moved to the new backup), the first
    names as ``restored_names``, ``created_names`` and ``removed_names``, and ``truncated``.

    Before anything is changed, and for a preview, each file that is to be put back is compared with the
    manifest, by its SHA-256: that reads all of them once, in constant memory. A pass that was killed
    has no manifest; of that what is in its backup is put back as it is.

    Raises :py:class:`failback.errors.Refused` if nothing is there to be put back, if one of ``select``
    matches nothing, or if something of the backup is missing or is not what was kept; and
    :py:class:`failback.errors.Unavailable` if putting back failed; running it again continues.
    """
    folder = Folder(run_folder)
    items = folder.items()
    if not (folder.path / "backup").is_dir():
        raise errors.Refused(
            f"The backup of this run was removed ({folder.path / 'backup'} is not there). What it "
            "overwrote cannot be put back from here. To see other runs: salt-run pair.history"
        )
    wanted = _selection(select)
    _require_matches(folder, items, select)
    _require_whole(folder, items, wanted)
    result = {
        "restored": 0,
        "attributes": 0,
        "created": 0,
        "removed": 0,
        "restored_names": [],
        "created_names": [],
        "removed_names": [],
        "truncated": False,
        "paths": [],
    }
    undo = Folder(undo_folder)
    if not preview:
        undo.prepare(items, origin=folder.path.name)
    remove_created = folder.origin() is not None
    for item in items:
        before = result["restored"] + result["attributes"] + result["removed"]
        for number in reversed(folder.passes(item.module)):
            _restore_pass(folder, undo, item, number, wanted, preview, root, result, limit, remove_created)
        if result["restored"] + result["attributes"] + result["removed"] > before:
            result["paths"].append(item.path)
    return result


def _require_matches(folder, items, select):
    """A path that was mistyped must not be taken for one that nothing had happened to."""
    left = set(select or ())
    passes = [(item, number) for item in items for number in folder.passes(item.module)]
    for item, number in passes if left else ():
        kept = (_absolute(item, name) for name in kept_names(folder.backup(item.module, number)))
        for path in itertools.chain((each["path"] for each in entries(folder, item.module, number)), kept):
            left -= {each for each in left if _selection([each])(path)}
    if left:
        raise errors.Refused(
            f"Run {folder.path.name} has overwritten, deleted or changed nothing at "
            f"{', '.join(sorted(left))}, so nothing was put back. What there is, named as paths= wants it: "
            f"salt-run pair.undo {folder.path.name} test=True"
        )


def _require_whole(folder, items, wanted):
    """All that is to be put back must be in the backup, and be what was kept."""
    told, count = [], 0
    for item in items:
        kept = folder.path / "backup" / item.module
        for problem in itertools.chain(
            (f"{folder.list_file(item.module, one)} is missing" for one in folder.unlisted(item.module)),
            [] if kept.is_dir() or not _chosen(folder, item, wanted) else [f"{kept} is missing"],
            *(_not_as_kept(folder, item, number, wanted) for number in folder.passes(item.module)),
        ):
            count += 1
            if count <= _NAMED_PROBLEMS:
                told.append(problem)
    if count > len(told):
        told.append(f"and {count - len(told)} more")
    if told:
        raise errors.Refused(
            f"The backup of run {folder.path.name} is not whole: {'; '.join(told)}. Nothing was put back, "
            "for the rest alone would mix two states, and old attributes would get on new files. If a copy "
            "of the backup exists, put back what is missing in it; or choose others with paths=; or another "
            "run: salt-run pair.history"
        )


def _chosen(folder, item, wanted):
    """Whether anything that a run did to an item is to be put back."""
    passes = folder.passes(item.module)
    return any(wanted(each["path"]) for number in passes for each in entries(folder, item.module, number))


def _not_as_kept(folder, item, number, wanted):
    """What a pass has kept, by its manifest, and is not in its backup like that: sentences."""
    top = os.fsencode(folder.backup(item.module, number))
    for entry in _manifest(folder.manifest_file(item.module, number)):
        if not entry.get("kept") or not wanted(entry["path"]):
            continue
        path = top + b"/" + _relative(item, entry["path"])
        found = snapshot(path)
        if found is None:
            yield f"{entry['path']} is missing ({itemize.readable(path)})"
        elif any(found.get(key) != entry.get(key) for key in ("type", "target")) or (
            found["type"] == "file"
            and (found["size"] != entry["size"] or checksum(path) != entry["sha256"])
        ):
            yield f"{entry['path']} has changed since it was kept ({itemize.readable(path)})"


def _manifest(path):
    """The entries of a manifest, one at a time; none if a killed pass has left none."""
    for line in _lines(path):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise errors.Unreadable(
                f"{path} is damaged ({error}), so it is not known whether the backup is whole. "
                "Nothing was put back. The files are still there: look at "
                f"{path.parent.parent.parent / 'backup'}"
            ) from error


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
    # A run that replaced nothing must not be what a real backup gives way to.
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


def _restore_pass(folder, undo, item, number, wanted, preview, root, result, limit, remove_created):
    top = os.fsencode(os.path.join(root, item.root.lstrip("/"))).rstrip(b"/")
    kept = os.fsencode(folder.backup(item.module, number))
    names = [name for name in kept_names(kept) if wanted(_absolute(item, name))]
    for name in names:
        _note(result, "restored", _absolute(item, name), limit)
    chosen = [each for each in _reversed_entries(folder, item, number) if wanted(each["path"])]
    reached = set(names)
    # A pass that was killed had not come to this file: what is there now is newer than these attributes.
    chosen = [each for each in chosen if not _replaced(each) or _relative(item, each["path"]) in reached]
    for each in chosen:
        if each["action"] == itemize.CREATED:
            _note(result, "removed" if remove_created else "created", each["path"], limit)
        elif each.get("before"):
            result["attributes"] += 1
    if preview:
        return
    undo_number = undo.next_pass(item.module)
    _write_undo_list(undo, item, undo_number, top, names, chosen, remove_created)
    times = _folder_times(item, top, names, chosen)
    moved = undo.backup(item.module, undo_number)
    if remove_created:
        _move_created(item, top, chosen, os.fsencode(moved))
    _make_folders(item, top, kept, names, chosen, os.fsencode(moved))
    _put_back(folder, undo, item, number, undo_number, top, names)
    _link_again(item, top, chosen)
    for path, mtime_ns in times.items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.utime(path, ns=(mtime_ns, mtime_ns))
    for each in chosen:
        before = each.get("before")
        path = top + b"/" + _relative(item, each["path"])
        if before and _same_type(path, before):
            apply(path, before)
    write_manifest(undo, item, undo_number)


def _replaced(entry):
    """Whether an entry is of a file whose old content is in the backup, if the pass has come to it."""
    before = entry.get("before")
    return bool(before) and before["type"] == "file" and entry["action"] != itemize.ATTRIBUTES


def _reversed_entries(folder, item, number):
    # rsync lists a folder before its content when it creates, and after it when it deletes.
    # Attributes must go the other way round: content first, so that a folder's time stays.
    found = list(entries(folder, item.module, number))
    return sorted(found, key=lambda each: each["path"], reverse=True)


def _write_undo_list(undo, item, number, top, names, chosen, remove_created):
    """The list of the restoring run: the attributes of everything it is about to touch."""
    with open(undo.list_file(item.module, number), "w", encoding="utf-8", opener=_private) as handle:

        def write(path_text, action):
            before = snapshot(top + b"/" + _relative(item, path_text))
            if before is None:
                action = itemize.CREATED
            entry = {"action": action, "path": path_text, "size": 0, "code": ""}
            if before is not None:
                entry["before"] = before
            handle.write(json.dumps(entry) + "\n")

        seen = set()
        for name in names:
            write(_absolute(item, name), itemize.OVERWRITTEN)
            seen.add(_absolute(item, name))
        for each in chosen:
            path_text = each["path"].rstrip("/")
            if path_text in seen:
                continue
            if each["action"] != itemize.CREATED:
                write(path_text, itemize.ATTRIBUTES)
            elif remove_created:
                write(path_text, itemize.DELETED)
        handle.flush()
        os.fsync(handle.fileno())


def _move_created(item, top, chosen, moved):
    for each in chosen:
        if each["action"] != itemize.CREATED:
            continue
        name = _relative(item, each["path"])
        path = top + b"/" + name
        if os.path.isdir(path) and not os.path.islink(path):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        elif os.path.lexists(path):
            _move(path, moved + b"/" + name)


def _move(path, target):
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    shutil.move(path, target)


def _folder_times(item, top, names, chosen):
    times = {}
    changed = [*names, *(_relative(item, each["path"]) for each in chosen)]
    for name in changed:
        parent = os.path.dirname(top + b"/" + name)
        if parent not in times:
            with contextlib.suppress(OSError):
                times[parent] = os.stat(parent).st_mtime_ns
    return times


def _make_folders(item, top, kept, names, chosen, moved):
    gone = [
        each
        for each in chosen
        if each["action"] != itemize.CREATED and each.get("before") and each["before"]["type"] == "directory"
    ]
    for each in reversed(gone):
        name = _relative(item, each["path"])
        path = top + b"/" + name
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            _move(path, moved + b"/" + name)
        os.makedirs(path, exist_ok=True)
    for name in names:
        parent = os.path.dirname(name)
        if parent and not os.path.lexists(top + b"/" + parent):
            _copy_folder(kept, top, parent)


def _copy_folder(kept, top, name):
    # A folder that the list does not know: rsync gave its copy in the backup the same attributes.
    above = os.path.dirname(name)
    if above and not os.path.lexists(top + b"/" + above):
        _copy_folder(kept, top, above)
    os.mkdir(top + b"/" + name)
    apply(top + b"/" + name, snapshot(kept + b"/" + name))


def _put_back(folder, undo, item, number, undo_number, top, names):
    if not names:
        return
    names_file = undo.path / f".names-{item.module}"
    with open(names_file, "wb", opener=_private) as handle:
        for name in names:
            handle.write(name + b"\0")
    command = [
        "rsync",
        *[option for option in replication.OPTIONS if option != "--delete"],
        "--no-recursive",
        "--no-implied-dirs",
        "--omit-dir-times",
        "--ignore-times",
        "--force",
        "--from0",
        f"--files-from={names_file}",
        "--backup",
        f"--backup-dir={undo.backup(item.module, undo_number)}",
        f"{folder.backup(item.module, number)}/",
        top + b"/",
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=rsync.environment(),
        check=False,
    )
    names_file.unlink()
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise errors.Unavailable(
            f"Putting back {item.path} ended with exit code {done.returncode} of rsync: {words}. "
            "What was overwritten up to then is kept. Mend this, then run the same undo again."
        )


def _link_again(item, top, chosen):
    """Names that were one file become one file again."""
    groups = {}
    for each in chosen:
        before = each.get("before")
        if not before or before["links"] < 2 or before["type"] != "file":
            continue
        if each["action"] == itemize.ATTRIBUTES:
            continue
        key = (before["device"], before["inode"])
        groups.setdefault(key, (before, []))[1].append(top + b"/" + _relative(item, each["path"]))
    incomplete = {key for key, (before, paths) in groups.items() if len(paths) < before["links"]}
    remaining = _find_inodes(top, incomplete) if incomplete else {}
    for key, (before, paths) in groups.items():
        first = remaining.get(key, paths[0])
        for path in paths:
            if path == first or not _same_file(first, path, before):
                continue
            temporary = path + b".failback-link"
            os.link(first, temporary, follow_symlinks=False)
            os.replace(temporary, path)
            with contextlib.suppress(FileNotFoundError):
                # rename(2) does nothing when both names are one file already.
                os.unlink(temporary)


def _find_inodes(top, wanted):
    found = {}
    for name in kept_names(top):
        path = top + b"/" + name
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            key = (status.st_dev, status.st_ino)
            if key in wanted:
                found.setdefault(key, path)
    return found


def _same_file(first, second, before):
    try:
        one, two = os.lstat(first), os.lstat(second)
    except FileNotFoundError:
        return False
    return (
        (one.st_size, one.st_mtime_ns)
        == (two.st_size, two.st_mtime_ns)
        == (before["size"], before["mtime_ns"])
    )


def _same_type(path, before):
    try:
        return _TYPES.get(stat.S_IFMT(os.lstat(path).st_mode)) == before["type"]
    except (FileNotFoundError, NotADirectoryError):
        return False


def _note(result, kind, path, limit):
    result[kind] += 1
    if len(result[f"{kind}_names"]) < limit:
        result[f"{kind}_names"].append(path)
    else:
        result["truncated"] = True


def _selection(select):
    if select is None:
        return lambda path: True
    chosen = [each.rstrip("/") for each in select]
    return lambda path: any(path.rstrip("/") == each or path.startswith(each + "/") for each in chosen)


def _absolute(item, name):
    return itemize.readable(os.fsencode(item.root).rstrip(b"/") + b"/" + name.rstrip(b"/"))


def _relative(item, path):
    return itemize.raw(path)[len(os.fsencode(item.root).rstrip(b"/")) + 1 :].rstrip(b"/")


def _private(path, flags):
    return os.open(path, flags, 0o600)
