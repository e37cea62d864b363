"""
A tree in which users work, as root must enter it: no step below its top goes through a link.

Between two system calls a user may replace a folder of his by a symbolic link to somewhere else. So nothing
below the top is named by a path: a folder is opened from its top without following a link (openat2(2)), and
what is in it is looked at and changed through that open folder, or through the open file itself::

    with Tree("/srv/home") as tree:
        with tree.opened(b"anna/notes") as found:
            print(os.fstat(found))
        with tree.parent(b"anna/notes") as (folder, name):
            os.unlink(name, dir_fd=folder)

Names are bytes, relative to the top, without ``..``.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import stat

#: Its number is the same on all processors of Linux, and glibc has no function for it (openat2(2)).
_OPENAT2 = 437
#: RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS.
_RESOLVE = 0x08 | 0x04 | 0x02

#: What a step says where a link, something that is no folder, or a path that is too long is in the way.
_IN_THE_WAY = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EXDEV)

_CHUNK = 1 << 20
#: Makes a file share the room of another one, where the file system can (ioctl_ficlone(2)).
_FICLONE = 0x40049409
#: Names that are drawn at most until one is nobody's.
_TRIES = 100

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class InTheWay(OSError):
    """A folder on the way to a name is a link, or no folder: somebody has put it there."""


class Tree:
    """
    A folder and what is below it. A context manager.

    top
        Path of the folder; links in it are followed, for it is the administrator's.

    walk
        Take each step by itself also where the kernel could take them at once (tests).

    Raises ``OSError`` if it cannot be entered.
    """

    def __init__(self, top, walk=False):
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open = self._walked if walk else _openat2() or self._walked

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Let go of the top."""
        if self._top is not None:
            os.close(self._top)
            self._top = None

    @contextlib.contextmanager
    def opened(self, name):
        """
        What a name stands for, be it a link, open for a look at it (``O_PATH``); or None if there is nothing.

        Raises :py:class:`InTheWay`.
        """
        found = self._opened_or_none(name, _ANYTHING)
        try:
            yield found
        finally:
            if found is not None:
                os.close(found)

    @contextlib.contextmanager
    def folder(self, name):
        """
        A folder, open for reading.

        Raises :py:class:`InTheWay` if a link or a file is in its place or on the way, and
        ``FileNotFoundError``.
        """
        found = self._step(name, _FOLDER)
        try:
            yield found
        finally:
            os.close(found)

    @contextlib.contextmanager
    def parent(self, name):
        """The folder in which a name is, open for reading, and the last part of the name."""
        above, last = os.path.split(name.rstrip(b"/"))
        with self.folder(above) as found:
            yield found, last or b"."

    def exists(self, name):
        """Whether there is anything of that name. Raises :py:class:`InTheWay`."""
        with self.opened(name) as found:
            return found is not None

    def names(self):
        """Names of all in the tree but the folders, in constant memory a level; no link is followed."""
        for name, _ in self._walk(lambda entry: None):
            yield name

    def statuses(self):
        """As :py:meth:`names`, each with its ``os.lstat``."""
        for name, status in self._walk(lambda entry: entry.stat(follow_symlinks=False)):
            if status is not None:
                yield name, status

    def _walk(self, look):
        pending = [b""]
        while pending:
            above = pending.pop()
            entries = []
            try:
                with self.folder(above) as folder, os.scandir(folder) as found:
                    for one in found:
                        name = os.path.join(above, os.fsencode(one.name))
                        if one.is_dir(follow_symlinks=False):
                            pending.append(name)
                            continue
                        with contextlib.suppress(FileNotFoundError):
                            entries.append((name, look(one)))
            except (FileNotFoundError, InTheWay):
                continue
            yield from entries

    def make_folders(self, name):
        """Make a folder and those above it that are missing. Raises :py:class:`InTheWay`."""
        missing = []
        while name and not self.exists(name):
            missing.append(name)
            name = os.path.dirname(name)
        for one in reversed(missing):
            with self.parent(one) as (folder, last), contextlib.suppress(FileExistsError):
                os.mkdir(last, dir_fd=folder)
        if missing:
            with self.folder(missing[0]):
                pass

    def _opened_or_none(self, name, flags):
        try:
            return self._step(name, flags)
        except FileNotFoundError:
            return None

    def _step(self, name, flags):
        if b".." in name.split(b"/") or name.startswith(b"/"):
            raise InTheWay(errno.EXDEV, "leads out of the tree", name)
        name = name.rstrip(b"/") or b"."
        try:
            return self._open(self._top, name, flags)
        except OSError as error:
            if error.errno in _IN_THE_WAY:
                why = "a link or a file is in place of a folder"
                if error.errno == errno.ENAMETOOLONG:
                    why = "its path is too long"
                raise InTheWay(error.errno, why, name) from error
            raise

    @staticmethod
    def _walked(top, name, flags):
        """As ``openat2``, one step at a time."""
        *above, last = name.split(b"/")
        here = os.dup(top)
        try:
            for part in above:
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            return os.open(last, flags, dir_fd=here)
        finally:
            os.close(here)


def same_file(one, other):
    """Whether two ``os.stat`` results are of one and the same file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def through(descriptor):
    """
    A path that is an open file and nothing else, for system calls that take no ``O_PATH`` descriptor.

    Such a link of proc(5) leads to the file itself; if that is a symbolic link, to that and no further.
    """
    return f"/proc/self/fd/{descriptor}"


def move(folder, name, target, into=None):
    """
    Move something that is no folder out of an open folder to a place of ours, on the same file system.

    folder
        Open folder, of which a user may change the content meanwhile.

    target, into
        Name, bytes, in an open folder of ours; or without that an absolute path.

    What turns out to be a folder is put back: whoever works in one could go on changing our copy. Raises
    ``OSError``, with ``EXDEV`` for another file system.
    """
    os.rename(name, target, src_dir_fd=folder, dst_dir_fd=into)
    if stat.S_ISDIR(os.stat(target, dir_fd=into, follow_symlinks=False).st_mode):
        with contextlib.suppress(OSError):
            os.rename(target, name, src_dir_fd=into, dst_dir_fd=folder)
        raise InTheWay(errno.ENOTDIR, "a folder is in place of a file", name)


def copy(found, folder, name, go_on=None):
    """
    Copy a file that is no folder into an open folder, under a name that is new there.

    found
        The file, open (``O_PATH`` will do). A link is copied as a link; a socket and a device get a new node.

    folder
        Open folder.

    go_on
        Called now and then; what it raises ends the copy.

    Returns the copy, open; its attributes are root's. Nothing is left of one that did not end. Raises
    ``FileExistsError``.
    """
    copied = _new_like(found, folder, name)
    try:
        if stat.S_ISREG(os.fstat(found).st_mode):
            _copy_content(found, copied, go_on)
    except BaseException:
        os.close(copied)
        # Half a copy, on a full disk for instance, is nothing that anybody should find.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return copied


def _new_like(found, folder, name):
    """Make something new, empty and of the same type; returns it, open."""
    status = os.fstat(found)
    if stat.S_ISREG(status.st_mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=folder)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(b"", dir_fd=found), name, dir_fd=folder)
    else:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=folder)
    made = os.open(name, _ANYTHING, dir_fd=folder)
    now = os.fstat(made)
    if (stat.S_IFMT(now.st_mode), now.st_uid, now.st_nlink) != (stat.S_IFMT(status.st_mode), os.geteuid(), 1):
        # A user has put something else there, which would get the attributes that the copy is to have.
        os.close(made)
        raise InTheWay(errno.EEXIST, "somebody has changed a temporary file", name)
    return made


def _copy_content(found, target, go_on):
    """The content of a regular file; it shares the room where it can, and holes stay holes."""
    source = os.open(through(found), os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.ioctl(target, _FICLONE, source)
            return
        except OSError:
            pass  # a file system that cannot, or two of them
        size = os.fstat(source).st_size
        for position, end in _extents(source, size):
            while position < end:
                if go_on is not None:
                    go_on()
                data = os.pread(source, min(_CHUNK, end - position), position)
                if not data:  # cut off meanwhile
                    size = min(size, os.fstat(source).st_size)
                    break
                position += os.pwrite(target, data, position)
        os.ftruncate(target, size)
    finally:
        os.close(source)


def _extents(source, size):
    """Begin and end of each part of a file that is no hole."""
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
            end = os.lseek(source, position, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            end = size  # a file system that knows no holes
        yield position, end
        position = end


def same_content(one, other):
    """Whether two regular files, open (``O_PATH`` will do), hold the same bytes."""
    if os.fstat(one).st_size != os.fstat(other).st_size:
        return False
    with open(through(one), "rb", buffering=0) as first, open(through(other), "rb", buffering=0) as second:
        while True:
            data = first.read(_CHUNK)
            if data != second.read(_CHUNK):
                return False
            if not data:
                return True


def remove(top):
    """
    Delete a folder of ours with all that is in it, however deep: no path of it is longer than two names.

    Each folder in it is moved to the top before it is emptied. Links are deleted, not followed. One that was
    interrupted is ended by the next. Raises ``OSError``.
    """
    with Tree(top) as tree, tree.folder(b"") as above:
        numbers = itertools.count()
        emptied = False
        while not emptied:
            folders = _empty(above)
            emptied = not folders
            for name in folders:
                with tree.folder(name) as folder:
                    for below in _empty(folder):
                        _move_up(folder, below, above, numbers)
                os.rmdir(name, dir_fd=above)
    os.rmdir(top)


def _empty(folder):
    """Delete all in an open folder but the folders, and return the names of those."""
    with os.scandir(folder) as found:
        entries = [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in found]
    for name, is_folder in entries:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in entries if is_folder]


def _move_up(folder, name, above, numbers):
    for number in numbers:
        # A folder takes the place of an empty one, which is to go as well; of another it does not.
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.rename(name, b"%d" % number, src_dir_fd=folder, dst_dir_fd=above)
            return


def new_name(make):
    """
    Make something in a user's folder under a name that is nobody's: what his files are called is his choice.

    make
        Function of a name that raises ``FileExistsError`` if there is one.

    Returns the name and what the function returned.
    """
    for _ in range(_TRIES):
        # Short: every file system takes it, however long the name is that this is going to have.
        name = b".failback-" + secrets.token_hex(8).encode()
        with contextlib.suppress(FileExistsError):
            return name, make(name)
    raise FileExistsError(errno.EEXIST, f"{_TRIES} temporary names were all taken", name)


_found = []


def _openat2():
    """A function ``(top, name, flags)``, or None where the kernel or a sandbox does not have openat2(2)."""
    if not _found:
        _found.append(_made_openat2())
    return _found[0]


def _made_openat2():
    # Not at the top: see ``failback.host.system.sync_file_systems``.
    import ctypes

    class How(ctypes.Structure):
        _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(How), ctypes.c_size_t)

    def openat2(top, name, flags):
        how = How(flags, 0, _RESOLVE)
        while True:
            opened = call(_OPENAT2, top, name, ctypes.byref(how), ctypes.sizeof(how))
            if opened >= 0:
                return opened
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), name)

    root = os.open("/", _FOLDER)
    try:
        os.close(openat2(root, b".", _FOLDER))
    except OSError:
        return None
    finally:
        os.close(root)
    return openat2
