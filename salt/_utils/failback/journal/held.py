"""
Which files the processes of this node have open or mapped, and where each lies in its file system.

The kernel reports no change that a program makes through a memory mapping. So a journal names what is
mapped::

    for one in held.mapped_files():
        one.path, one.device, one.inside    # b"/export/salt/a", "254:0", b"/srv/salt/a"

A path alone does not say which file it is: the same one can be reached by a bind mount, and by another path
in each container. What does say it is the file system, and the path in it. It follows from the mount through
which the file was opened, which the kernel names (``mnt_id``, proc_pid_fdinfo(5)), and from the mounts of the
process (proc_pid_mountinfo(5)): they have the folder of the file system that is mounted there.

A mount that is in neither list was taken away while the file was open (``umount --lazy``), or belongs to a
process that is not to be seen. Then the path in the file system (``inside``) is not known.
"""

import contextlib
import ctypes
import dataclasses
import errno
import functools
import glob
import itertools
import os
import re
import stat
import struct

from failback.replication import sources

# proc_pid_maps(5): address, permissions (w: writable, s: shared), offset, device, inode, path.
_MAPPED = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) .w.s \S+ ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*) +(/.*)$", re.MULTILINE
)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_MOUNT = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)
#: What the kernel adds to the path of a file whose name is gone.
_GONE = b" (deleted)"

# <linux/stat.h>, statx(2): not from a server, for one that is dead would be waited for.
_AT_FDCWD, _NO_AUTOMOUNT, _AS_IT_IS = -100, 0x800, 0x4000
_WANTED = 0x1 | 0x2 | 0x4 | 0x100  # type, mode, number of names, inode
_READABLE_AND_WRITABLE = stat.S_IRUSR | stat.S_IWUSR


@dataclasses.dataclass(frozen=True)
class Held:
    """
    A file that a process has open or mapped.

    path
        As the kernel names it; bytes.

    identity
        ``(st_dev, st_ino)``.

    device
        The file system as mountinfo has it (``major:minor``), or ``None``.

    inside
        Its path there, in bytes; ``None`` if that is not known.

    why
        In that case: how it is that it is not known, the end of a sentence about the file.
    """

    path: bytes
    identity: tuple
    device: "str | None" = None
    inside: "bytes | None" = None
    why: "str | None" = None


def open_files():
    """What processes have open so that they can read and write it, or map it: a list of :class:`Held`."""
    mounts = _Mounts()
    found = {}
    for place in glob.iglob("/proc/[1-9]*/fd/*"):
        with contextlib.suppress(OSError):
            path = os.readlink(os.fsencode(place))
            # proc(5): the mode of the link is that of the descriptor.
            if not path.startswith(b"/"):
                continue
            if os.lstat(place).st_mode & _READABLE_AND_WRITABLE != _READABLE_AND_WRITABLE:
                continue
            status = _status(place)
            if status.is_file and status.names:
                process, _, number = place.rpartition("/fd/")
                mount = _mount_number(f"{process}/fdinfo/{number}")
                found.setdefault((path, mount, status), process)
    return [mounts.held(path, process, status, mount) for (path, mount, status), process in found.items()]


def mapped_files():
    """What processes have mapped into their memory so that they can write to it: a list of :class:`Held`."""
    mounts = _Mounts()
    found, seen = [], set()
    for name in glob.iglob("/proc/[1-9]*/maps"):
        try:
            with open(name, "rb") as handle:
                text = handle.read()
        except OSError:
            continue
        if b"s " not in text:
            continue
        process = os.path.dirname(name)
        for *key, area in [(*match.groups()[2:], match) for match in _MAPPED.finditer(text)]:
            # Of many that map the same file, as those of a database, one is asked for all.
            key = (mounts.namespace(process), *key)
            if key not in seen:
                seen.add(key)
                found.extend(_mapped(process, area, mounts))
    return found


def _mapped(process, area, mounts):
    first, last, major, minor, inode, path = area.groups()
    place = f"{process}/map_files/{int(first, 16):x}-{int(last, 16):x}"
    try:
        status = _status(place)
        if not status.is_file or not status.names:
            return []
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # It may have been unmapped, or be in several parts now; or this is a container, where none is shown.
        path = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), path)
        return [mounts.held_by_path(path, process, (int(major, 16), int(minor, 16)), int(inode))]
    try:
        path = os.readlink(os.fsencode(f"/proc/self/fd/{opened}"))
        return [mounts.held(path, process, status, _mount_number(f"/proc/self/fdinfo/{opened}"))]
    finally:
        os.close(opened)


@dataclasses.dataclass(frozen=True)
class _Status:
    is_file: bool
    #: How many names it has.
    names: int
    identity: tuple


def _status(place):
    """What the kernel knows of a file without asking its file system, if that is possible."""
    data = ctypes.create_string_buffer(256)
    name, flags = os.fsencode(place), _NO_AUTOMOUNT | _AS_IT_IS
    try:
        failed = _library().statx(_AT_FDCWD, name, flags, _WANTED, data)
    except AttributeError:
        failed = -1
        ctypes.set_errno(errno.ENOSYS)
    if failed and ctypes.get_errno() == errno.ENOSYS:
        found = os.stat(place)
        return _Status(stat.S_ISREG(found.st_mode), found.st_nlink, (found.st_dev, found.st_ino))
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)
    names, _user, _group, mode, inode = struct.unpack_from("=IIIHxxQ", data, 16)
    major, minor = struct.unpack_from("=II", data, 136)
    return _Status(stat.S_ISREG(mode), names, (os.makedev(major, minor), inode))


@functools.cache
def _library():
    return ctypes.CDLL(None, use_errno=True)


def _mount_number(place):
    """The kernel's number of the mount through which a file was opened."""
    with open(place, "rb") as handle:
        found = _MOUNT.search(handle.read())
    return os.fsdecode(found[1]) if found else None


class _Mounts:
    """The mounts of this node, and of the processes that have others."""

    def __init__(self):
        self._namespace = self.namespace("/proc/self")
        self._lists = {self._namespace: _read("/proc/self/mountinfo")}

    @staticmethod
    def namespace(process):
        """Which mounts a process has: a text that is the same for all with the same ones, or ``None``."""
        try:
            return os.readlink(f"{process}/ns/mnt")
        except OSError:
            return None

    def held(self, path, process, status, number):
        """A file that was opened through the mount of that number."""
        mount = self._lists[self._namespace].get(number) or self._others(process).get(number)
        inside = mount and _inside(path, mount)
        if inside is None:
            return Held(path, status.identity, why=_through(process, "a mount that is not to be seen"))
        if path.endswith(_GONE):
            return Held(path, status.identity, mount["device"], why=_through(process, "a name that is gone"))
        return Held(path, status.identity, mount["device"], inside)

    def held_by_path(self, path, process, device, inode):
        """A file of which no more is known than a line of ``maps``; the path must lie on that file system."""
        identity, device = (os.makedev(*device), inode), "{}:{}".format(*device)
        here = self.namespace(process) == self._namespace
        mounts = self._lists[self._namespace] if here else self._others(process)
        mount = _covering(path, mounts.values())
        if mount is None or mount["device"] != device or path.endswith(_GONE):
            return Held(path, identity, device, why=_through(process, "a mount that is not to be seen"))
        return Held(path, identity, device, _inside(path, mount))

    def _others(self, process):
        """The mounts of a process that are not those of this one."""
        namespace = self.namespace(process)
        if namespace in (None, self._namespace):
            return {}
        if namespace not in self._lists:
            self._lists[namespace] = self._list_of(namespace, process)
        return self._lists[namespace]

    def _list_of(self, namespace, process):
        # A process with another root is shown a part of the list, with other paths: one beside it is asked.
        for one in itertools.chain([process], glob.iglob("/proc/[1-9]*")):
            with contextlib.suppress(OSError):
                if os.readlink(f"{one}/root") == "/" and self.namespace(one) == namespace:
                    return _read(f"{one}/mountinfo")
        return {}


def _read(place):
    with open(place, encoding="utf-8", errors="surrogateescape") as handle:
        return {mount["id"]: mount for mount in sources.parsed_mounts(handle.read())}


def _covering(path, mounts):
    covering = [mount for mount in mounts if _inside(path, mount) is not None]
    # Of those at one place the last one, which hides the others.
    return max(reversed(covering), key=lambda mount: len(mount["mount"].rstrip("/")), default=None)


def _inside(path, mount):
    """The path in its file system of what is reached through a mount; None if the path is not below it."""
    point = os.fsencode(mount["mount"]).rstrip(b"/")
    if path != point and not path.startswith(point + b"/"):
        return None
    return os.fsencode(mount["root"]).rstrip(b"/") + path[len(point) :]


def _through(process, what):
    number = os.path.basename(process)
    try:
        with open(f"{process}/comm", "rb") as handle:
            program = os.fsdecode(handle.read()).strip()
    except OSError:
        program = "a process that has ended"
    return f"is open or mapped in {program} ({number}) through {what}"
