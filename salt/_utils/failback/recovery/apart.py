"""
A backup shares no file with the tree: who writes to it there would change what is kept.

rsync links and moves names into a backup. A file with a second name, in the tree or anywhere else, is then
in both. :py:func:`separate` gives the backup a file of its own, and :py:class:`Kept` does not let it come so
far, for an undo runs where clients write. Names that are all in the backup stay one file. So room is taken
where something forces it, and not even there where the file system lets two files share theirs.
"""

import contextlib
import errno
import os
import pathlib
import stat

from failback.host import beneath
from failback.recovery import attributes

#: Beside the folders of the passes, where nothing of a path's lies; one that was left is from a killed run.
_COPY, _LINK = b".copy", b".link"


def separate(top, go_on=None):
    """
    Give a backup files of its own where it shares one with something outside of it.

    top
        Backup of a pass. The lock of its path keeps other passes out.

    go_on
        Called now and then; what it raises ends it. Another call goes on.

    Returns how many files were copied. Raises ``OSError``.
    """
    top = pathlib.Path(top)
    if not top.is_dir():
        return 0
    copied = 0
    with beneath.Tree(top) as tree, beneath.Tree(top.parent) as beside, beside.folder(b"") as folder:
        _remove_left(folder)
        for names in _linked(tree):
            with tree.opened(names[0]) as found:
                if os.fstat(found).st_nlink > len(names):
                    _give_its_own(tree, names, found, folder, go_on)
                    copied += 1
        _remove_left(folder)
    return copied


def _linked(tree):
    """The names of each file that has several, as far as they are in a tree: a list of lists."""
    groups = {}
    for name, status in tree.statuses():
        if status.st_nlink > 1:
            groups.setdefault((status.st_dev, status.st_ino), []).append(name)
    return list(groups.values())


def _give_its_own(tree, names, found, folder, go_on):
    _remove_left(folder)
    copy = beneath.copy(found, folder, _COPY, go_on)
    try:
        attributes.apply_to(copy, attributes.snapshot_of(found))
        _on_disk(copy)
    finally:
        os.close(copy)
    for name in names:
        os.link(_COPY, _LINK, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        with tree.parent(name) as (above, last):
            os.rename(_LINK, last, src_dir_fd=folder, dst_dir_fd=above)


def _remove_left(folder):
    for name in (_COPY, _LINK):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _on_disk(copy):
    """A rename must not become durable before the content that it puts in place."""
    if stat.S_ISREG(os.fstat(copy).st_mode):
        os.fsync(copy)


class Outside:
    """What :py:func:`separate` is going to copy, if the files that are counted in go to a backup."""

    def __init__(self):
        self._left = {}

    def add(self, status):
        """Count a name in by its ``os.stat``."""
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
            return
        key = (status.st_dev, status.st_ino)
        links, size = self._left.pop(key, (status.st_nlink, status.st_size))
        if links > 1:
            self._left[key] = links - 1, size

    @property
    def files(self):
        """How many files have a name that was not counted in."""
        return len(self._left)

    @property
    def bytes(self):
        """Their size together."""
        return sum(size for _, size in self._left.values())


class Kept:
    """
    The backup of an undo: what it replaces goes there, name by name. A context manager.

    top
        Its folder, absolute; made.
    """

    def __init__(self, top):
        os.makedirs(top, mode=0o700, exist_ok=True)
        self._tree = beneath.Tree(top)
        self._beside = beneath.Tree(pathlib.Path(top).parent)
        self._copies = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._beside.close()
        self._tree.close()

    def take(self, tree, name, stays=False):
        """
        Keep something that is no folder, and take it away.

        tree, name
            :py:class:`failback.host.beneath.Tree` in which it is, and its name there.

        stays
            It may stay where it is as well, for whoever opens it meanwhile: another is to take its place.

        Raises ``FileNotFoundError``, or :py:class:`failback.host.beneath.InTheWay` for a folder.
        """
        with tree.parent(name) as (folder, last), self._place(tree, name) as (into, target):
            found = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                status = os.fstat(found)
                if stat.S_ISDIR(status.st_mode):
                    raise beneath.InTheWay(errno.ENOTDIR, "a folder is in place of a file", name)
                is_last = status.st_nlink == 1 and (status.st_dev, status.st_ino) not in self._copies
                if is_last and _moved(folder, last, into, target, stays):
                    return
                self._copy(name, found, into, target)
                if not stays and beneath.same_file(
                    os.stat(last, dir_fd=folder, follow_symlinks=False), status
                ):
                    os.unlink(last, dir_fd=folder)
            finally:
                os.close(found)

    def _copy(self, name, found, into, target):
        """Kept names of one file are one file here too, unless it was changed between."""
        before = attributes.snapshot_of(found)
        before.pop("links")
        first, known = self._copies.get((before["device"], before["inode"]), (None, None))
        if known == before:
            with self._tree.opened(first) as copy, self._tree.parent(first) as (folder, last):
                if before["type"] != "file" or beneath.same_content(copy, found):
                    os.link(last, target, src_dir_fd=folder, dst_dir_fd=into, follow_symlinks=False)
                    return
        # Under its name when it is whole: half a copy would pass for what was kept.
        with self._beside.folder(b"") as folder:
            _remove_left(folder)
            copy = beneath.copy(found, folder, _COPY)
            try:
                attributes.apply_to(copy, before)
            finally:
                os.close(copy)
            os.link(_COPY, target, src_dir_fd=folder, dst_dir_fd=into, follow_symlinks=False)
            _remove_left(folder)
        self._copies[before["device"], before["inode"]] = name, before

    @contextlib.contextmanager
    def _place(self, tree, name):
        """Where something is kept; its folders are made, with the attributes of those in the tree."""
        above = os.path.dirname(name)
        missing = []
        while above and not self._tree.exists(above):
            missing.append(above)
            above = os.path.dirname(above)
        for one in reversed(missing):
            with self._tree.parent(one) as (folder, last):
                os.mkdir(last, mode=0o700, dir_fd=folder)
            with tree.folder(one) as found, self._tree.opened(one) as made:
                attributes.apply_to(made, attributes.snapshot_of(found))
        with self._tree.parent(name) as place:
            yield place


def _moved(folder, name, into, target, stays):
    """Whether something could be kept without a copy."""
    try:
        if stays:
            os.link(name, target, src_dir_fd=folder, dst_dir_fd=into, follow_symlinks=False)
        else:
            beneath.move(folder, name, target, into)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        return False
    return True
