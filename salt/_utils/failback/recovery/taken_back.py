"""
One pass of a run, taken back in one replicated path: what :py:mod:`failback.recovery.restore` does of it.

Users work in that path meanwhile. See :py:mod:`failback.host.beneath` for how it is entered.
"""

import collections
import contextlib
import itertools
import json
import os
import stat

from failback.host import beneath
from failback.host import files
from failback.recovery import attributes
from failback.recovery import backup
from failback.recovery import itemize

#: What a user's change in between makes of a step.
_IN_THE_WAY = (
    beneath.InTheWay,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)

#: Permissions, and an extended attribute, with which a program has rights that its caller has not.
_SET_ID = stat.S_ISUID | stat.S_ISGID
_CAPABILITY = "security.capability"


class PassTakenBack:
    """
    One pass, taken back in one path.

    Users work in that path meanwhile, and may put a link in place of a folder at any moment. So each step
    below ``tree`` is taken from an open folder. Where somebody is in the way, ``left`` says so by path, and
    the rest goes on.

    kept
        Backup of the pass that is taken back, a :py:class:`failback.host.beneath.Tree`; None if it has none.

    moved
        That of the run that takes it back: :py:class:`failback.recovery.apart.Kept`.

    times
        :py:class:`failback.recovery.folder_times.FolderTimes` of the pass.

    names, chosen
        What has content in the backup, and the entries of the pass's list.
    """

    def __init__(self, item, tree, kept, moved, times, names, chosen):
        self._item, self._tree = item, tree
        self._kept, self._moved = kept, moved
        self._names, self._chosen = names, chosen
        self._times = times
        self._ours = set()
        self._first_names = {}
        self._inside = None
        self.left = {}

    def _name(self, each):
        return backup.relative(self._item, each["path"])

    @contextlib.contextmanager
    def _or_left(self, name):
        """Note what somebody is in the way of, and go on with the next."""
        try:
            yield
        except _IN_THE_WAY as error:
            self._leave(name, f"{error.strerror or error}")

    def _leave(self, name, why):
        self.left.setdefault(backup.absolute(self._item, name), why)

    def write_list(self, path, remove_created):
        """The list of the restoring run: the attributes of everything it is about to touch."""
        steps, codes = {}, {}
        for name in self._names:
            for above in self._missing_above(name):
                steps.setdefault(above, itemize.CREATED)
            steps[name] = itemize.OVERWRITTEN
        for each in self._chosen:
            if each["action"] != itemize.CREATED:
                name = self._name(each)
                is_moved = _was_folder(each) and self._is_file(name)
                steps.setdefault(name, itemize.OVERWRITTEN if is_moved else itemize.ATTRIBUTES)
                codes[name] = each["code"] if each["action"] == itemize.ATTRIBUTES else ""
            elif remove_created:
                steps.setdefault(self._name(each), itemize.DELETED)
        for name in self._names:
            with contextlib.suppress(OSError):
                # What has taken the place of a file: it goes, with all that is in it.
                for one in itertools.chain(*self._below(name)):
                    steps.setdefault(one, itemize.DELETED)
        with open(path, "w", encoding="utf-8", opener=files.private) as handle:
            for name, action in steps.items():
                self._write(handle, name, action, codes.get(name, ""))
            handle.flush()
            os.fsync(handle.fileno())

    def _missing_above(self, name):
        """The folders above a name that are not there."""
        above = os.path.dirname(name)
        with contextlib.suppress(OSError):
            while above and not self._tree.exists(above):
                yield above
                above = os.path.dirname(above)

    def _write(self, handle, name, action, code):
        before = None
        # What is behind a link is not what this run is about to touch: its attributes belong to nothing here.
        with contextlib.suppress(beneath.InTheWay), self._tree.opened(name) as found:
            before = attributes.snapshot_of(found)
        entry = {
            "action": action if before is not None else itemize.CREATED,
            "path": backup.absolute(self._item, name),
            "size": 0,
            "code": code,
        }
        if before is not None:
            entry["before"] = before
        handle.write(json.dumps(entry) + "\n")

    def note_folder_times(self):
        """Of all folders in which something is about to change."""
        self._times.note([*self._names, *map(self._name, self._chosen)])

    def move_created(self):
        """Take away what the run has created, which was an undo itself."""
        for each in self._chosen:
            if each["action"] != itemize.CREATED:
                continue
            name = self._name(each)
            with self._or_left(name), contextlib.suppress(FileNotFoundError):
                self._move(name)

    def _move(self, name):
        with self._tree.parent(name) as (folder, last):
            if stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                with contextlib.suppress(OSError):
                    os.rmdir(last, dir_fd=folder)
                return
        self._moved.take(self._tree, name)

    def make_folders(self):
        """Those that were deleted, and those that a file in the backup lies in."""
        for each in reversed([each for each in self._chosen if _was_folder(each)]):
            name = self._name(each)
            with self._or_left(name):
                if self._is_file(name):
                    self._move(name)
                self._tree.make_folders(name)
        for name in self._names:
            above = os.path.dirname(name)
            with self._or_left(name):
                if above and not self._tree.exists(above):
                    self._copy_folder(above)

    def _is_file(self, name):
        """Whether something that is no folder bears a name; what is behind a link does not."""
        with contextlib.suppress(beneath.InTheWay), self._tree.opened(name) as found:
            return found is not None and not stat.S_ISDIR(os.fstat(found).st_mode)
        return False

    def _copy_folder(self, name):
        # A folder that the list does not know: rsync gave its copy in the backup the same attributes.
        above = os.path.dirname(name)
        if above and not self._tree.exists(above):
            self._copy_folder(above)
        with self._tree.parent(name) as (folder, last):
            os.mkdir(last, mode=0o700, dir_fd=folder)
        with self._tree.folder(name) as made, self._kept.opened(name) as found:
            # Root's and empty: nobody else has put it there since.
            if os.fstat(made).st_uid == os.geteuid() and not os.listdir(made):
                before = attributes.snapshot_of(found)
                attributes.apply_to(made, before)
                self._times.know(name, os.fstat(made), before["mtime_ns"])

    def put_back(self):
        """
        The content. What it replaces goes to the backup of this run.

        Not by rsync: its releases before 3.5 follow a link that comes in between, and every one waits for
        ever where a named pipe does.
        """
        for name in self._names:
            with self._or_left(name), self._kept.opened(name) as source:
                self._put(name, source)

    def _put(self, name, source):
        with self._tree.parent(name) as (folder, last), _Temporary(folder) as temporary:
            made = self._tie(source, temporary)
            if made is None:
                made = temporary.make(lambda new: beneath.copy(source, folder, new))
                attributes.apply_to(made, attributes.snapshot_of(source))
            self._make_room(name, folder, last)
            temporary.rename(last)
            status, kept = os.fstat(made), os.fstat(source)
            self._ours.add((status.st_dev, status.st_ino))
            if kept.st_nlink > 1:
                self._first_names[kept.st_dev, kept.st_ino] = name, status

    def _tie(self, source, temporary):
        """One more name for what is one file in the backup, so that its content takes room once; or None."""
        kept = os.fstat(source)
        first, status = self._first_names.get((kept.st_dev, kept.st_ino), (None, None))
        if first is None:
            return None
        with contextlib.suppress(OSError), self._tree.parent(first) as (here, own):
            made = temporary.link(here, own)
            if beneath.same_file(os.fstat(made), status):
                return made
        # Somebody has changed the first name since. Its content is not that of this one.
        temporary.drop()
        return None

    def _make_room(self, name, folder, last):
        """Keep what is there. A file stays there too, until another takes its place."""
        try:
            is_folder = stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if not is_folder:
            self._moved.take(self._tree, name, stays=True)
            return
        content, folders = self._below(name)
        for one in content:
            self._move(one)
        for one in reversed(folders):
            with self._tree.parent(one) as (above, own):
                os.rmdir(own, dir_fd=above)

    def _below(self, name):
        """What is in a folder: names of files, and of folders, those above first and itself among them."""
        content, folders = [], [name]
        for above in folders:
            with self._tree.folder(above) as folder, os.scandir(folder) as found:
                for one in found:
                    kind = folders if one.is_dir(follow_symlinks=False) else content
                    kind.append(os.path.join(above, os.fsencode(one.name)))
        return content, folders

    def link_again(self):
        """Names that were one file become one file again."""
        groups = {}
        for each in self._chosen:
            before = each.get("before")
            if not before or before["links"] < 2 or before["type"] == "directory":
                continue
            if each["action"] == itemize.ATTRIBUTES:
                continue
            key = (before["device"], before["inode"])
            # rsync lists some deletions twice: each name counts once.
            names = groups.setdefault(key, (before, []))[1]
            if self._name(each) not in names:
                names.append(self._name(each))
        incomplete = {key for key, (before, names) in groups.items() if len(names) < before["links"]}
        remaining = self._find_inodes(incomplete) if incomplete else {}
        for key, (before, names) in groups.items():
            first = remaining.get(key, names[0])
            for name in names:
                with self._or_left(name):
                    if name != first and self._same_content(first, name, before):
                        self._link(first, name)

    def _link(self, first, name):
        with (
            self._tree.parent(first) as (here, own),
            self._tree.parent(name) as (folder, last),
            _Temporary(folder) as temporary,
        ):
            temporary.link(here, own)
            temporary.rename(last)

    def _find_inodes(self, wanted):
        found = {}
        for name, status in self._tree.statuses():
            key = (status.st_dev, status.st_ino)
            if key in wanted:
                found.setdefault(key, name)
        return found

    def _same_content(self, first, second, before):
        """Whether two names are two files that may become one: they are alike, and what it was before."""
        with self._tree.opened(first) as one, self._tree.opened(second) as other:
            if one is None or other is None:
                return False
            found = [attributes.snapshot_of(each) for each in (one, other)]
            keys = ("type", "target", *(("size", "mtime_ns") if before["type"] == "file" else ()))
            if any(each.get(key) != before.get(key) for each in found for key in keys):
                return False
            first, second = os.fstat(one), os.fstat(other)
            if beneath.same_file(first, second) or first.st_rdev != second.st_rdev:
                return False
            return before["type"] != "file" or beneath.same_content(one, other)

    def set_attributes(self):
        """Owner, mode, times and extended attributes of all that the pass has touched."""
        for each in self._chosen:
            before, name = each.get("before"), self._name(each)
            if not before:
                continue
            with self._or_left(name), self._tree.opened(name) as found:
                if found is None or attributes.type_of(os.fstat(found)) != before["type"]:
                    continue
                if self._may_be_a_stranger(os.fstat(found), before):
                    self._leave(name, "it is a link to a file that may lie elsewhere")
                elif self._may_be_forged(os.fstat(found), before):
                    self._leave(name, "its owner could have changed it, and it would get rights of another's")
                else:
                    attributes.apply_to(found, before, times=_has_other_times(each, os.fstat(found)))

    def _may_be_forged(self, status, before):
        """
        Whether attributes would give a user's content the rights of somebody else: root's, or set-id bits.

        A file of which only attributes are to be put back has the content that its present owner gave it.
        """
        key = (status.st_dev, status.st_ino)
        is_his = status.st_uid not in (0, before["uid"]) and key not in self._ours
        rights = before["uid"] == 0 or before["mode"] & _SET_ID or _CAPABILITY in before["attributes"]
        return before["type"] == "file" and is_his and bool(rights)

    def _may_be_a_stranger(self, status, before):
        """
        Whether a file with several names may have one outside of the tree: it may be any file then.

        It is none if this undo has just put it back, if it was here before, or if all of its names are here.
        """
        key = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode) or status.st_nlink < 2:
            return False
        if key in self._ours or key == (before["device"], before["inode"]):
            return False
        if self._inside is None:
            self._inside = collections.Counter(
                (one.st_dev, one.st_ino) for _, one in self._tree.statuses() if one.st_nlink > 1
            )
        return self._inside[key] < status.st_nlink


def _has_other_times(entry, status):
    """
    Whether a pass may have changed when something was changed, so that this is to be put back.

    Content that somebody has written since must not bear an earlier time: rsync passes over a file whose size
    and time are those of the other node's.
    """
    before = entry["before"]
    if entry["action"] != itemize.ATTRIBUTES or before["type"] == "directory":
        return True
    return itemize.has_other_time(entry["code"]) and status.st_size == before["size"]


def _was_folder(entry):
    """Whether a folder was there that the pass has deleted or replaced, or of which it changed attributes."""
    before = entry.get("before")
    return entry["action"] != itemize.CREATED and bool(before) and before["type"] == "directory"


class _Temporary:
    """
    A name in a user's folder for something that is going to have another one there.

    A context manager: at its end there is none, and what was made is closed. A name of the user's is never
    taken for it.
    """

    def __init__(self, folder):
        self._folder = folder
        self._name = self._made = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def make(self, function):
        """Make it by a function of the name, which returns it open; returns that."""
        self._name, self._made = beneath.new_name(function)
        return self._made

    def link(self, folder, name):
        """Make it another name of a file; returns that, open (``O_PATH``)."""

        def tie(new):
            os.link(name, new, src_dir_fd=folder, dst_dir_fd=self._folder, follow_symlinks=False)
            return os.open(new, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)

        return self.make(tie)

    def rename(self, name):
        """Give it its name in the same folder. It stays open."""
        os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def drop(self):
        """Delete what has not got its name."""
        if self._made is not None:
            os.close(self._made)
            # Also after the rename: where both names were one file already, rename(2) has left both.
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
            self._name = self._made = None
