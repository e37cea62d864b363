"""
Putting back what a run overwrote, deleted or changed, as :py:mod:`failback.recovery.backup` has kept it.

The passes of the run are taken from the last to the first; what remains at the end is the state before
the first. A pass that was killed is no special case: what it had moved is in its backup, what it had not
done has nothing to be taken back. What is overwritten meanwhile is kept as a run of its own, so putting
back can be taken back the same way.
"""

import contextlib
import itertools
import json
import os
import shutil
import stat
import subprocess

from failback import errors
from failback.host import files
from failback.host import notation
from failback.recovery import backup
from failback.recovery import itemize
from failback.recovery import rsync
from failback.replication import replicated

#: How many sentences of what is missing in a backup are said.
_NAMED_PROBLEMS = 10


def restore(run_folder, undo_folder, select=None, preview=False, root="/", limit=200):
    """
    Put back what a run overwrote, deleted or changed the attributes of.

    run_folder
        Folder of the run to take back.

    undo_folder
        Folder of a new run, which keeps what this one overwrites: so it can be taken back the same
        way.

    select
        Absolute paths, in the notation of :py:mod:`failback.host.notation`; only these, and what lies
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
    folder = backup.Folder(run_folder)
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
    undo = backup.Folder(undo_folder)
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
        listed = (each["path"] for each in backup.entries(folder, item.module, number))
        kept = (backup.absolute(item, name) for name in backup.kept_names(folder.backup(item.module, number)))
        for path in itertools.chain(listed, kept):
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
    return any(
        wanted(each["path"])
        for number in folder.passes(item.module)
        for each in backup.entries(folder, item.module, number)
    )


def _not_as_kept(folder, item, number, wanted):
    """What a pass has kept, by its manifest, and is not in its backup like that: sentences."""
    top = os.fsencode(folder.backup(item.module, number))
    for entry in _manifest(folder.manifest_file(item.module, number)):
        if not entry.get("kept") or not wanted(entry["path"]):
            continue
        path = top + b"/" + backup.relative(item, entry["path"])
        found = backup.snapshot(path)
        if found is None:
            yield f"{entry['path']} is missing ({notation.readable(path)})"
        elif any(found.get(key) != entry.get(key) for key in ("type", "target")) or (
            found["type"] == "file"
            and (found["size"] != entry["size"] or backup.checksum(path) != entry["sha256"])
        ):
            yield f"{entry['path']} has changed since it was kept ({notation.readable(path)})"


def _manifest(path):
    """The entries of a manifest, one at a time; none if a killed pass has left none."""
    for line in backup.lines_of(path):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise errors.Unreadable(
                f"{path} is damaged ({error}), so it is not known whether the backup is whole. "
                "Nothing was put back. The files are still there: look at "
                f"{path.parent.parent.parent / 'backup'}"
            ) from error


def _restore_pass(folder, undo, item, number, wanted, preview, root, result, limit, remove_created):
    top = os.fsencode(os.path.join(root, item.root.lstrip("/"))).rstrip(b"/")
    kept = os.fsencode(folder.backup(item.module, number))
    names = [name for name in backup.kept_names(kept) if wanted(backup.absolute(item, name))]
    for name in names:
        _note(result, "restored", backup.absolute(item, name), limit)
    chosen = [each for each in _reversed_entries(folder, item, number) if wanted(each["path"])]
    reached = set(names)
    # A pass that was killed had not come to this file: what is there now is newer than these attributes.
    chosen = [
        each for each in chosen if not _replaced(each) or backup.relative(item, each["path"]) in reached
    ]
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
        path = top + b"/" + backup.relative(item, each["path"])
        if before and _same_type(path, before):
            backup.apply(path, before)
    backup.write_manifest(undo, item, undo_number)


def _replaced(entry):
    """Whether an entry is of a file whose old content is in the backup, if the pass has come to it."""
    before = entry.get("before")
    return bool(before) and before["type"] == "file" and entry["action"] != itemize.ATTRIBUTES


def _reversed_entries(folder, item, number):
    # rsync lists a folder before its content when it creates, and after it when it deletes.
    # Attributes must go the other way round: content first, so that a folder's time stays.
    found = list(backup.entries(folder, item.module, number))
    return sorted(found, key=lambda each: each["path"], reverse=True)


def _write_undo_list(undo, item, number, top, names, chosen, remove_created):
    """The list of the restoring run: the attributes of everything it is about to touch."""
    with open(undo.list_file(item.module, number), "w", encoding="utf-8", opener=files.private) as handle:

        def write(path_text, action):
            before = backup.snapshot(top + b"/" + backup.relative(item, path_text))
            if before is None:
                action = itemize.CREATED
            entry = {"action": action, "path": path_text, "size": 0, "code": ""}
            if before is not None:
                entry["before"] = before
            handle.write(json.dumps(entry) + "\n")

        seen = set()
        for name in names:
            write(backup.absolute(item, name), itemize.OVERWRITTEN)
            seen.add(backup.absolute(item, name))
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
        name = backup.relative(item, each["path"])
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
    changed = [*names, *(backup.relative(item, each["path"]) for each in chosen)]
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
        name = backup.relative(item, each["path"])
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
    backup.apply(top + b"/" + name, backup.snapshot(kept + b"/" + name))


def _put_back(folder, undo, item, number, undo_number, top, names):
    if not names:
        return
    names_file = undo.path / f".names-{item.module}"
    with open(names_file, "wb", opener=files.private) as handle:
        for name in names:
            handle.write(name + b"\0")
    command = [
        "rsync",
        *[option for option in replicated.OPTIONS if option != "--delete"],
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
            "What was overwritten up to then is kept. Fix this, then run the same undo again."
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
        groups.setdefault(key, (before, []))[1].append(top + b"/" + backup.relative(item, each["path"]))
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
    for name in backup.kept_names(top):
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
        return backup.TYPES.get(stat.S_IFMT(os.lstat(path).st_mode)) == before["type"]
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
