"""
Putting back what a run overwrote, deleted or changed, as :py:mod:`failback.recovery.backup` has kept it.

The passes of the run are taken from the last to the first; what remains at the end is the state before
the first. Of a pass that was killed, what it had moved is in its backup, and what it had not done has nothing
to be taken back; for half a file see :py:mod:`failback.recovery.killed`. What is overwritten meanwhile is
kept as a run of its own, so putting back can be taken back the same way.
"""

import contextlib
import itertools
import json
import os

from failback import errors
from failback.host import beneath
from failback.host import notation
from failback.host import system
from failback.recovery import apart
from failback.recovery import attributes
from failback.recovery import backup
from failback.recovery import folder_times
from failback.recovery import itemize
from failback.recovery import killed
from failback.recovery import taken_back

#: How many sentences of what is missing in a backup are said.
_NAMED_PROBLEMS = 10
_NOT_WHOLE = "was not kept as a whole, because the pass was killed or the node lost power"


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
    names as ``restored_names``, ``created_names`` and ``removed_names``, and ``truncated``; ``left`` and
    ``left_names``, what was not put back because somebody was in the way, with ``left_because``: each reason,
    and the first path it is about.

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
    _require_whole(folder, items, wanted, root)
    result = {
        "restored": 0,
        "attributes": 0,
        "created": 0,
        "removed": 0,
        "restored_names": [],
        "created_names": [],
        "removed_names": [],
        "left": 0,
        "left_names": [],
        "left_because": {},
        "truncated": False,
        "paths": [],
    }
    undo = backup.Folder(undo_folder)
    remove_created = folder.origin() is not None
    try:
        if not preview:
            undo.prepare(items, origin=folder.path.name)
        for item in items:
            before = result["restored"] + result["attributes"] + result["removed"]
            for number in reversed(folder.passes(item.module)):
                _restore_pass(
                    folder, undo, item, number, wanted, preview, root, result, limit, remove_created
                )
            if result["restored"] + result["attributes"] + result["removed"] > before:
                result["paths"].append(item.path)
    except OSError as error:
        raise errors.Unavailable(
            f"Not all that run {folder.path.name} changed is put back; each file is as it was, or put back "
            f"whole. {errors.of_the_system(error)}"
        ) from error
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


def _require_whole(folder, items, wanted, root):
    """All that is to be put back must be in the backup, and be what was kept."""
    told, count = [], 0
    for item in items:
        kept = folder.path / "backup" / item.module
        for problem in itertools.chain(
            (f"{folder.list_file(item.module, one)} is missing" for one in folder.unlisted(item.module)),
            [] if kept.is_dir() or not _chosen(folder, item, wanted) else [f"{kept} is missing"],
            *(_not_as_kept(folder, item, number, wanted) for number in folder.passes(item.module)),
            *(_not_whole(folder, item, number, wanted, root) for number in folder.passes(item.module)),
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
    top = folder.backup(item.module, number)
    with backup.kept_tree(top) as tree:
        for entry in _manifest(folder.manifest_file(item.module, number)):
            if not entry.get("kept") or not wanted(entry["path"]):
                continue
            name = backup.relative(item, entry["path"])
            why = _what_is_not_as_kept(tree, name, entry)
            if why:
                yield f"{entry['path']} {why} ({notation.readable(os.fsencode(top) + b'/' + name)})"


def _not_whole(folder, item, number, wanted, root):
    """What a pass without a manifest has kept a part of alone: sentences."""
    if folder.manifest_file(item.module, number).exists():
        return
    left = killed.unfinished(folder, item, number, item.under(root))
    for name, size in killed.truncated(folder, item, number).items():
        path = backup.absolute(item, name)
        if name not in left and wanted(path):
            yield f"{path} {_NOT_WHOLE}: it had {size} bytes"


def _what_is_not_as_kept(tree, name, entry):
    """What a file of a backup is not, by its entry in the manifest; None if it is as it was."""
    if entry["type"] == "file" and entry["sha256"] is None:
        return _NOT_WHOLE
    if tree is None:
        return "is missing"
    try:
        with tree.opened(name) as opened:
            if opened is None:
                return "is missing"
            found = attributes.snapshot_of(opened)
            if all(found.get(key) == entry.get(key) for key in ("type", "target")) and (
                found["type"] != "file"
                or (found["size"] == entry["size"] and backup.checksum(opened) == entry["sha256"])
            ):
                return None
    except beneath.InTheWay:
        return "is missing"
    return "has changed since it was kept"


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
    kept = folder.backup(item.module, number)
    left = killed.unfinished(folder, item, number, item.under(root))
    names = [
        name for name in backup.kept_names(kept) if name not in left and wanted(backup.absolute(item, name))
    ]
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
    top = item.under(root)
    os.makedirs(top, exist_ok=True)
    undo_number = undo.next_pass(item.module)
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(beneath.Tree(top))
        content = stack.enter_context(backup.kept_tree(kept))
        moved = apart.Kept(undo.backup(item.module, undo_number))
        noted = folder.undone_times(item.module, number)
        own = undo.times(item.module, undo_number)
        times = folder_times.FolderTimes(item, tree, [noted, folder.times(item.module, number)], [noted, own])
        back = taken_back.PassTakenBack(item, tree, content, stack.enter_context(moved), times, names, chosen)
        back.write_list(undo.list_file(item.module, undo_number), remove_created)
        back.note_folder_times()
        if remove_created:
            back.move_created()
        back.make_folders()
        back.put_back()
        back.link_again()
        times.give_back()
        back.set_attributes()
    # What is kept goes to the disk before what has replaced it.
    system.sync_file_systems([undo.backup(item.module, undo_number), top])
    backup.write_manifest(undo, item, undo_number)
    times.forget()
    for path, why in back.left.items():
        _note(result, "left", path, limit)
        result["left_because"].setdefault(why, path)


def _replaced(entry):
    """Whether an entry is of a file whose old content is in the backup, if the pass has come to it."""
    before = entry.get("before")
    return bool(before) and before["type"] == "file" and entry["action"] != itemize.ATTRIBUTES


def _reversed_entries(folder, item, number):
    # rsync lists a folder before its content when it creates, and after it when it deletes.
    # Attributes must go the other way round: content first, so that a folder's time stays.
    found = list(backup.entries(folder, item.module, number))
    return sorted(found, key=lambda each: each["path"], reverse=True)


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
