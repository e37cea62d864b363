"""
Two random trees of everything that a file system can hold, for one path on two nodes.

What a tree is made of is drawn as a list of steps, so that hypothesis can shrink a failure to the few that
matter. Some steps are for both trees: names that are the same, or the same but for an attribute, are where an
undo goes wrong.
"""

import contextlib
import os
import stat
import struct

from hypothesis import strategies

#: Names of 1 to 255 bytes, of the user's and such as programs of ours, rsync's and lsyncd's draw.
NAMES = (
    b"a",
    b"b",
    b"c",
    b"d e\n",
    b"\xff" * 255,
    b"-" + b"x" * 250,
    b"\\#012",
    b".failback-0123456789abcdef",
    b".copy",
    b".a.Xy12Zq",
)
#: Links that lead on, astray, round and round, and out.
TARGETS = (b"a", b"b", b"../a", b"a/b", b".", b"..", b"/nowhere", b"b/../b", b"x" * 4000)
OWNERS = ((11, 12), (13, 14), (11, 14))
MODES = (0o644, 0o400, 0o777, 0o4755, 0o2711, 0o1777, 0)
TIMES = (0, 1, 1_234_567_890_123_456_789, 2_000_000_000_000_000_001)
_ATTRIBUTES = (
    ("user.colour", b"\x00\xffgreen"),
    ("user.colour", b"blue"),
    ("user." + "n" * 200, b"v" * 300),
    ("trusted.kind", b"1"),
    # Version 2, effective, cap_net_bind_service permitted (linux/capability.h).
    ("security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)),
    ("system.posix_acl_access", None),
    ("system.posix_acl_default", None),
)


def _acl(user, rights):
    """The kernel's form of an ACL that gives one user some rights (linux/posix_acl_xattr.h)."""
    nobody = 0xFFFFFFFF
    entries = ((1, 6, nobody), (2, rights, user), (4, 4, nobody), (16, 7, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


# Few names, so that steps meet; a name and what is below it, so that kinds change.
_names = strategies.one_of(strategies.sampled_from(NAMES[:3]), strategies.sampled_from(NAMES))
_paths = strategies.lists(_names, min_size=1, max_size=3).map(b"/".join)
_content = strategies.integers(0, 3)
_step = strategies.one_of(
    strategies.tuples(strategies.just("file"), _paths, _content),
    strategies.tuples(strategies.just("sparse"), _paths, _content),
    strategies.tuples(strategies.just("folder"), _paths, strategies.none()),
    strategies.tuples(strategies.just("link"), _paths, strategies.sampled_from(TARGETS)),
    strategies.tuples(strategies.just("node"), _paths, strategies.integers(0, 3)),
    strategies.tuples(strategies.just("hard link"), _paths, _paths),
    strategies.tuples(strategies.just("hard link"), _paths, strategies.sampled_from(NAMES[:3])),
    strategies.tuples(strategies.just("gone"), _paths, strategies.none()),
    strategies.tuples(strategies.just("owner"), _paths, strategies.sampled_from(OWNERS)),
    strategies.tuples(strategies.just("mode"), _paths, strategies.sampled_from(MODES)),
    strategies.tuples(strategies.just("time"), _paths, strategies.sampled_from(TIMES)),
    strategies.tuples(strategies.just("attribute"), _paths, strategies.integers(0, len(_ATTRIBUTES) - 1)),
)
#: Steps for both trees, for that here, and for that there.
STEPS = strategies.tuples(
    strategies.lists(_step, min_size=4, max_size=30),
    strategies.lists(_step, min_size=2, max_size=12),
    strategies.lists(_step, min_size=2, max_size=12),
)


def build(top, steps):
    """Take the steps in a folder that is made; those that cannot be taken there are left out."""
    top.mkdir(parents=True)
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for kind, path, value in steps:
            with contextlib.suppress(OSError):
                if kind == "hard link":
                    value = _there(here, value)
                _TAKEN[kind](here, path if kind in _MAKING else _there(here, path), value)
    finally:
        os.close(here)


def _there(here, path):
    """The path if there is anything, else another one that is there: most steps are to meet something."""
    with contextlib.suppress(OSError):
        os.stat(path, dir_fd=here, follow_symlinks=False)
        return path
    found = []
    for folder, folders, files, _ in os.fwalk(b".", dir_fd=here):
        found += [os.path.join(folder, name)[2:] for name in (*folders, *files)]
    return sorted(found)[sum(path) % len(found)] if found else path


def _make_room(here, path):
    """Remove what is there, and what is in the place of a folder above it."""
    parts = path.split(b"/")
    for count in range(1, len(parts)):
        above = b"/".join(parts[:count])
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(above, dir_fd=here, follow_symlinks=False).st_mode):
                os.unlink(above, dir_fd=here)
        with contextlib.suppress(FileExistsError):
            os.mkdir(above, dir_fd=here)
    _remove(here, path)


def _remove(here, path, _=None):
    try:
        os.unlink(path, dir_fd=here)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        for name in os.listdir(_at(here, path)):
            _remove(here, path + b"/" + name)
        os.rmdir(path, dir_fd=here)


def _at(here, path):
    """A path that needs no permission, and is no link in itself."""
    return b"/proc/self/fd/%d/" % here + path


def _file(here, path, content):
    _make_room(here, path)
    with open(_at(here, path), "xb") as handle:
        handle.write(b"content" * content)
    # Where the content differs, the time does: rsync looks no further.
    os.utime(_at(here, path), ns=(0, 1_700_000_000_000_000_000 + content))


def _sparse(here, path, content):
    _make_room(here, path)
    with open(_at(here, path), "xb") as handle:
        handle.seek(content << 20)
        handle.write(b"data")
        handle.truncate(5 << 20)
    os.utime(_at(here, path), ns=(0, 1_600_000_000_000_000_000 + content))


def _folder(here, path, _):
    _make_room(here, path)
    os.mkdir(path, dir_fd=here)


def _link(here, path, target):
    _make_room(here, path)
    os.symlink(target, path, dir_fd=here)


def _node(here, path, number):
    _make_room(here, path)
    kind = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)[number]
    os.mknod(path, kind | 0o600, os.makedev(7, number), dir_fd=here)


def _hard_link(here, path, other):
    if stat.S_ISDIR(os.stat(other, dir_fd=here, follow_symlinks=False).st_mode):
        return
    if other != path and not other.startswith(path + b"/") and not path.startswith(other + b"/"):
        _make_room(here, path)
        os.link(other, path, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)


def _owner(here, path, owner):
    os.chown(path, *owner, dir_fd=here, follow_symlinks=False)


def _mode(here, path, mode):
    if not stat.S_ISLNK(os.stat(path, dir_fd=here, follow_symlinks=False).st_mode):
        os.chmod(path, mode, dir_fd=here)


def _time(here, path, when):
    # Of a file it goes with the content.
    if not stat.S_ISREG(os.stat(path, dir_fd=here, follow_symlinks=False).st_mode):
        os.utime(path, ns=(when, when), dir_fd=here, follow_symlinks=False)


def _attribute(here, path, number):
    name, value = _ATTRIBUTES[number]
    os.setxattr(_at(here, path), name, value or _acl(20_001 + number, 5), follow_symlinks=False)


_MAKING = ("file", "sparse", "folder", "link", "node", "hard link")
_TAKEN = {
    "file": _file,
    "sparse": _sparse,
    "folder": _folder,
    "link": _link,
    "node": _node,
    "hard link": _hard_link,
    "gone": _remove,
    "owner": _owner,
    "mode": _mode,
    "time": _time,
    "attribute": _attribute,
}
