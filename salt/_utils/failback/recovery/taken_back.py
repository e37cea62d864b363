"""
One pass of a run, taken back in one replicated path: what :py:mod:`failback.recovery.restore` does of it.

Users work in that path meanwhile. See :py:mod:`failback.host.beneath` for how it is entered.
"""

import collections
import contextlib
import json
import os
import secrets
import stat

from failback.host import beneath
from failback.host import files
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

    kept, moved
        Backup of the pass that is taken back, and of the run that takes it back: folders of ours.

    names, chosen
        What has content in the backup, and the entries of the pass's list.
    """

    def __init__(self, item, tree, kept, moved, names, chosen):
        self._item, self._tree = item, tree
        self._kept, self._moved = kept, moved
        self._names, self._chosen = names, chosen
        self._times = {}
        self._ours = set()
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
        seen = set()
        with open(path, "w", encoding="utf-8", opener=files.private) as handle:
            for name in self._names:
                seen.add(backup.absolute(self._item, name))
                self._write(handle, name, itemize.OVERWRITTEN)
            for each in self._chosen:
                if each["path"].rstrip("/") in seen:
                    continue
                if each["action"] != itemize.CREATED:
                    self._write(handle, self._name(each), itemize.ATTRIBUTES)
                elif remove_created:
                    self._write(handle, self._name(each), itemize.DELETED)
            handle.flush()
            os.fsync(handle.fileno())

    def _write(self, handle, name, action):
        before = None
        # What is behind a link is not what this run is about to touch: its attributes belong to nothing here.
        with contextlib.suppress(beneath.InTheWay), self._tree.opened(name) as found:
            before = backup.snapshot_of(found)
        entry = {
            "action": action if before is not None else itemize.CREATED,
            "path": backup.absolute(self._item, name),
            "size": 0,
            "code": "",
        }
        if before is not None:
            entry["before"] = before
        handle.write(json.dumps(entry) + "\n")

    def note_folder_times(self):
        """Of all folders in which something is about to change."""
        for name in [*self._names, *map(self._name, self._chosen)]:
            above = os.path.dirname(name)
            if above not in self._times:
                with contextlib.suppress(OSError), self._tree.folder(above) as folder:
                    status = os.fstat(folder)
                    self._times[above] = (status, status.st_mtime_ns)

    def set_folder_times(self):
        """Give them back to the folders that are still the same."""
        for name, (status, mtime_ns) in self._times.items():
            with contextlib.suppress(OSError), self._tree.folder(name) as folder:
                if beneath.same_file(os.fstat(folder), status):
                    os.utime(folder, ns=(mtime_ns, mtime_ns))

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
            beneath.move(folder, last, self._target(name))

    def make_folders(self):
        """Those that were deleted, and those that a file in the backup lies in."""
        gone = [
            each
            for each in self._chosen
            if each["action"] != itemize.CREATED
            and each.get("before")
            and each["before"]["type"] == "directory"
        ]
        for each in reversed(gone):
            name = self._name(each)
            with self._or_left(name):
                with self._tree.opened(name) as found:
                    is_file = found is not None and not stat.S_ISDIR(os.fstat(found).st_mode)
                if is_file:
                    self._move(name)
                self._tree.make_folders(name)
        for name in self._names:
            above = os.path.dirname(name)
            with self._or_left(name):
                if above and not self._tree.exists(above):
                    self._copy_folder(above)

    def _copy_folder(self, name):
        # A folder that the list does not know: rsync gave its copy in the backup the same attributes.
        above = os.path.dirname(name)
        if above and not self._tree.exists(above):
            self._copy_folder(above)
        with self._tree.parent(name) as (folder, last):
            os.mkdir(last, mode=0o700, dir_fd=folder)
        with self._tree.folder(name) as made:
            # Root's and empty: nobody else has put it there since.
            if os.fstat(made).st_uid == os.geteuid() and not os.listdir(made):
                backup.apply_to(made, backup.snapshot(self._kept + b"/" + name))

    def put_back(self):
        """
        The content. What it replaces goes to the backup of this run.

        Not by rsync: its releases before 3.5 follow a link that comes in between, and every one waits for
        ever where a named pipe does.
        """
        for name in self._names:
            with self._or_left(name), self._tree.parent(name) as (folder, last):
                temporary = b".failback-" + secrets.token_hex(8).encode()
                source = self._kept + b"/" + name
                try:
                    made = beneath.copy(source, folder, temporary)
                    try:
                        backup.apply_to(made, backup.snapshot(source))
                        self._make_room(name, folder, last)
                        os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
                        status = os.fstat(made)
                        self._ours.add((status.st_dev, status.st_ino))
                    finally:
                        os.close(made)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise

    def _make_room(self, name, folder, last):
        """Keep what is there. A file stays there too, until another takes its place."""
        try:
            is_folder = stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if not is_folder:
            beneath.keep(folder, last, self._target(name))
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

    def _target(self, name):
        """Where something is kept; its folders are made, with the attributes of those here."""
        above = os.path.dirname(name)
        missing = []
        while above and not os.path.isdir(self._moved + b"/" + above):
            missing.append(above)
            above = os.path.dirname(above)
        os.makedirs(self._moved, mode=0o700, exist_ok=True)
        for one in reversed(missing):
            os.mkdir(self._moved + b"/" + one, mode=0o700)
            with self._tree.folder(one) as folder:
                backup.apply(self._moved + b"/" + one, backup.snapshot_of(folder))
        return self._moved + b"/" + name

    def link_again(self):
        """Names that were one file become one file again."""
        groups = {}
        for each in self._chosen:
            before = each.get("before")
            if not before or before["links"] < 2 or before["type"] != "file":
                continue
            if each["action"] == itemize.ATTRIBUTES:
                continue
            key = (before["device"], before["inode"])
            groups.setdefault(key, (before, []))[1].append(self._name(each))
        incomplete = {key for key, (before, names) in groups.items() if len(names) < before["links"]}
        remaining = self._find_inodes(incomplete) if incomplete else {}
        for key, (before, names) in groups.items():
            first = remaining.get(key, names[0])
            for name in names:
                with self._or_left(name):
                    if name != first and self._same_content(first, name, before):
                        self._link(first, name)

    def _link(self, first, name):
        with self._tree.parent(first) as (here, own), self._tree.parent(name) as (folder, last):
            temporary = b".failback-" + secrets.token_hex(8).encode()
            os.link(own, temporary, src_dir_fd=here, dst_dir_fd=folder, follow_symlinks=False)
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
            with contextlib.suppress(FileNotFoundError):
                # rename(2) does nothing when both names are one file already.
                os.unlink(temporary, dir_fd=folder)

    def _find_inodes(self, wanted):
        found = {}
        for name, status in self._all_files():
            key = (status.st_dev, status.st_ino)
            if key in wanted:
                found.setdefault(key, name)
        return found

    def _all_files(self):
        for name in self._tree.names():
            with contextlib.suppress(beneath.InTheWay), self._tree.opened(name) as found:
                if found is not None:
                    yield name, os.fstat(found)

    def _same_content(self, first, second, before):
        with self._tree.opened(first) as one, self._tree.opened(second) as other:
            if one is None or other is None:
                return False
            one, other = os.fstat(one), os.fstat(other)
        return (
            (one.st_size, one.st_mtime_ns)
            == (other.st_size, other.st_mtime_ns)
            == (before["size"], before["mtime_ns"])
        )

    def set_attributes(self):
        """Owner, mode, times and extended attributes of all that the pass has touched."""
        for each in self._chosen:
            before, name = each.get("before"), self._name(each)
            if not before:
                continue
            with self._or_left(name), self._tree.opened(name) as found:
                if found is None or backup.TYPES.get(stat.S_IFMT(os.fstat(found).st_mode)) != before["type"]:
                    continue
                if self._may_be_a_stranger(os.fstat(found), before):
                    self._leave(name, "it is a link to a file that may lie elsewhere")
                elif self._may_be_forged(os.fstat(found), before):
                    self._leave(name, "its owner could have changed it, and it would get rights of another's")
                else:
                    backup.apply_to(found, before)

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
                (one.st_dev, one.st_ino) for _, one in self._all_files() if one.st_nlink > 1
            )
        return self._inside[key] < status.st_nlink
