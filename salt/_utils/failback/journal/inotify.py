"""
The kernel's notices about changed files: inotify(7), through the C library.

Python's standard library has no inotify, and a node has nothing but the standard library.
"""

import collections
import contextlib
import ctypes
import errno
import os
import struct

from failback.errors import Unavailable

# <sys/inotify.h>; inotify(7) says what each of them means.
MODIFY, ATTRIB, CLOSE_WRITE, OPEN = 0x2, 0x4, 0x8, 0x20
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
ONLY_DIRECTORY, DO_NOT_FOLLOW, IS_DIRECTORY = 0x1000000, 0x2000000, 0x40000000

#: Everything that changes a file or a folder: content, attributes, names.
CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF

_HEADER = struct.Struct("iIII")
# A read returns whole events only; one has at most a header and a name of 255 bytes with its zero.
_READ = 1 << 18

Event = collections.namedtuple("Event", "watch mask name")
Event.__doc__ = "One notice: number of the watch, mask, and the name in that folder (bytes, may be empty)."


class Full(Unavailable):
    """The kernel gives no more watches: ``fs.inotify.max_user_watches``."""


class Inotify:
    """
    One queue of events.

    A context manager with ``fileno``; reading never blocks.
    """

    def __init__(self):
        self._library = ctypes.CDLL(None, use_errno=True)
        self._file = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise Unavailable(
                f"The kernel gives no queue for changed files: {_reason()}. A node's limit is "
                f"fs.inotify.max_user_instances; see it with: sysctl fs.inotify"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        """The descriptor that select waits for."""
        return self._file

    def close(self):
        """Let go of the queue and of all its watches."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def watch(self, path, mask=CHANGES):
        """
        Watch a file, or a folder with what lies directly in it.

        path
            Bytes.

        Returns the number of the watch, the same for one that exists already. Raises
        ``FileNotFoundError`` or ``NotADirectoryError`` when it is gone, :py:class:`Full` when the
        kernel gives no more, and ``OSError`` for anything else.
        """
        number = self._library.inotify_add_watch(self._file, path, mask)
        if number >= 0:
            return number
        code = ctypes.get_errno()
        if code == errno.ENOSPC:
            raise Full(
                "the kernel gives no more watches (sysctl fs.inotify.max_user_watches; one is needed "
                "for each folder and each file with several names)"
            )
        raise OSError(code, os.strerror(code), path)

    def events(self):
        """All events that are waiting now, oldest first; an iterator."""
        while True:
            try:
                data = os.read(self._file, _READ)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size
                yield Event(watch, mask, data[at : at + length].rstrip(b"\0"))
                at += length

    def forget(self, number):
        """End a watch; one that has ended by itself is no error."""
        with contextlib.suppress(OSError):
            self._library.inotify_rm_watch(self._file, number)


def _reason():
    return os.strerror(ctypes.get_errno())
