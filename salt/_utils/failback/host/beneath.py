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
import os
import stat

#: Its number is the same on all processors of Linux, and glibc has no function for it (openat2(2)).
_OPENAT2 = 437
#: RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS.
_RESOLVE = 0x08 | 0x04 | 0x02

#: What a step says where a link, something that is no folder, or a path that is too long is in the way.
_IN_THE_WAY = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EXDEV)

_CHUNK = 1 << 20

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
        pending = [b""]
        while pending:
            above = pending.pop()
            try:
                with self.folder(above) as folder, os.scandir(folder) as found:
                    entries = [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in found]
            except (FileNotFoundError, InTheWay):
                continue
            for name, is_folder in entries:
                if is_folder:
                    pending.append(os.path.join(above, name))
                else:
                    yield os.path.join(above, name)

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


def move(folder, name, target):
    """
    Move something that is no folder out of an open folder to a path of ours, on another file system too.

    folder
        Open folder, of which a user may change the content meanwhile.

    target
        Absolute path, bytes, in a folder of ours.

    Returns whether it is there. What turns out to be a folder is put back: whoever works in one could go on
    changing our copy.
    """
    try:
        os.rename(name, target, src_dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _copied(folder, name, target)
    if stat.S_ISDIR(os.lstat(target).st_mode):
        with contextlib.suppress(OSError):
            os.rename(target, name, dst_dir_fd=folder)
        raise InTheWay(errno.ENOTDIR, "a folder is in place of a file", name)
    return True


def keep(folder, name, target):
    """
    As :py:func:`move`, but it stays where it was as well, where one file can have both names.

    Whoever opens it meanwhile finds it; another file is to take its place.
    """
    try:
        os.link(name, target, src_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        return move(folder, name, target)
    return True


def copy(source, folder, name):
    """
    Copy a file that is no folder from a place of ours into an open folder, under a name that is new there.

    source
        Absolute path, bytes; a link is copied as a link.

    folder
        Open folder.

    Returns the copy, open (``O_PATH``); its attributes are root's. Raises ``FileExistsError``.
    """
    found = os.open(source, _ANYTHING)
    try:
        _copied_to(found, folder, name)
    finally:
        os.close(found)
    return os.open(name, _ANYTHING, dir_fd=folder)


def _copied(folder, name, target):
    found = os.open(name, _ANYTHING, dir_fd=folder)
    try:
        status = os.fstat(found)
        if stat.S_ISDIR(status.st_mode):
            raise InTheWay(errno.ENOTDIR, "a folder is in place of a file", name)
        _copied_to(found, None, target)
        if same_file(os.stat(name, dir_fd=folder, follow_symlinks=False), status):
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(found)
    return True


def _copied_to(found, folder, name):
    """Copy an open file; a socket and a device get a new node."""
    status = os.fstat(found)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(b"", dir_fd=found), name, dir_fd=folder)
    elif stat.S_ISREG(status.st_mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=folder), "wb", buffering=0) as writer:
            _copy_content(found, writer.fileno(), status.st_size)
    else:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=folder)


def _copy_content(found, target, size):
    """The content of a regular file; holes stay holes."""
    source = os.open(through(found), os.O_RDONLY | os.O_CLOEXEC)
    try:
        position = 0
        while position < size:
            try:
                position = os.lseek(source, position, os.SEEK_DATA)
                end = os.lseek(source, position, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole up to the end
                    break
                end = size  # a file system that knows no holes
            while position < end:
                data = os.pread(source, min(_CHUNK, end - position), position)
                if not data:
                    break
                position += os.pwrite(target, data, position)
            if not data:
                break
        os.ftruncate(target, size)
    finally:
        os.close(source)


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
