"""
The attributes of a file: all that is needed to put them back, and how they are put back.

Not its content, and not the time of its last change of attributes (ctime), which nobody can set.
"""

import base64
import contextlib
import os
import stat

from failback.host import beneath
from failback.host import notation

_KEPT = ("user.", "trusted.", "system.posix_acl_", "security.capability")
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


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
        found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return snapshot_of(found)
    finally:
        os.close(found)


def snapshot_of(found):
    """
    :py:func:`snapshot` of an open file.

    found
        Descriptor, ``O_PATH`` will do; or ``None``, of which there is none.
    """
    if found is None:
        return None
    status = os.fstat(found)
    result = {
        "type": type_of(status),
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
            result["target"] = notation.readable(os.readlink(b"", dir_fd=found))
        place = beneath.through(found)
        for name in os.listxattr(place):
            if name.startswith(_KEPT):
                value = os.getxattr(place, name)
                result["attributes"][name] = base64.b64encode(value).decode()
    return result


def type_of(status):
    """The word for the kind of file that an ``os.stat`` result is of."""
    return TYPES.get(stat.S_IFMT(status.st_mode), "unknown")


def apply(path, before):
    """
    Give a file the attributes of a :py:func:`snapshot`. Its content stays.

    Raises ``OSError``.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        apply_to(found, before)
    finally:
        os.close(found)


def apply_to(found, before, times=True):
    """
    :py:func:`apply` to an open file; ``O_PATH`` will do.

    times
        False: when its content was changed stays as it is.

    Raises ``OSError``.
    """
    place = beneath.through(found)
    os.chown(place, before["uid"], before["gid"])
    if before["type"] != "link":
        os.chmod(place, before["mode"])
    wanted = before["attributes"]
    try:
        present = os.listxattr(place)
    except OSError:
        present = []
    for name in present:
        if name.startswith(_KEPT) and name not in wanted:
            os.removexattr(place, name)
    for name, value in wanted.items():
        os.setxattr(place, name, base64.b64decode(value))
    if times:
        os.utime(place, ns=(before["mtime_ns"], before["mtime_ns"]))
