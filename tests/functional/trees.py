"""Two nodes in two folders, real rsync on both ends and a pipe in place of SSH; file trees."""

import hashlib
import os
import re
import shlex
import stat
import subprocess
import sys

import pytest

from failback.host import notation
from failback.recovery import rsync
from failback.replication import replicated
from lab import machine

HARD_NAMES = (
    b"with space",
    b" leading and trailing ",
    b'quote\'s "double"',
    b"line\nbreak",
    b"tab\there",
    b"-rf",
    b"--delete",
    b"not utf-8 \xff\xfe",
    b"$(touch owned)",
    b"`id`;&|",
    rb"back\slash",
    rb"looks \#012 escaped",
    rb"\#400 \#999",
    "Ünïcödé".encode(),
    b"* ? [a]",
    b"#comment",
    b"x -> y",
    b"%HOME%",
)


def rsync_version():
    """That of the machine's rsync, as a tuple of numbers; empty without one."""
    try:
        said = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ()
    return tuple(int(number) for number in re.search(r"version v?(\d+)\.(\d+)\.(\d+)", said).groups())


#: Debian 11's rsync, 3.2.3, ends with "invalid file mode 00" there; 3.2.7 is the oldest that was tried else.
needs_rsync_that_knows_missing_names = pytest.mark.skipif(
    rsync_version() < (3, 2, 7), reason="rsync before 3.2.7 fails where a name in its list is missing"
)


class Nodes:
    """
    ``here`` and ``there``: folders that stand for ``/`` of the node that pulls and of its peer.

    The peer is a real rsync daemon with the very configuration that a real peer uses.
    """

    def __init__(self, folder, program="rsync"):
        for what in ("root", "rsync"):  # the daemon changes its root, and owners are carried
            if machine.lacks(what):
                pytest.skip(f"{machine.LACKING}{machine.lacks(what)}")
        self.folder = folder
        self.here = folder / "here"
        self.there = folder / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.program = program

    def item(self, path, is_directory=True):
        return replicated.item(path, is_directory)

    def peer(self, items, writable=False, before=""):
        """A peer that serves the items; ``before`` is shell run by the peer first."""
        configuration = self.folder / "rsyncd.conf"
        text = replicated.daemon_config(items, writable, str(self.there))
        configuration.write_bytes(os.fsencode(text))
        shell = self.folder / "far-end"
        shell.write_text(
            "#!/bin/sh\n"
            f"{before}\n"
            f"exec {shlex.quote(self.program)} --server --daemon "
            f"--config={shlex.quote(str(configuration))} .\n"
        )
        shell.chmod(0o755)
        return rsync.Peer("peer", str(shell), root=str(self.here), program=self.program)


def make(top, files):
    """Write files: a dict of name (text or bytes) to content; a folder's name ends in ``/``."""
    top = os.fsencode(top)
    for name, content in files.items():
        path = os.path.join(top, os.fsencode(name))
        if path.endswith(b"/"):
            os.makedirs(path, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(content if isinstance(content, bytes) else content.encode())


def hard_tree(top):
    """A tree with everything that a copy can get wrong."""
    make(top, {b"names/" + name: b"content of " + name for name in HARD_NAMES})
    make(top, {b"names/folder " + name + b"/inside": b"x" for name in HARD_NAMES})
    make(top, {"linked/one": "shared", "empty/": "", "attributes/file": "1", "owned": "2"})
    os.link(top / "linked/one", top / "linked/two")
    os.symlink("/etc/passwd", top / "absolute")
    os.symlink("nowhere at all", top / "dangling")
    os.symlink("../../../outside", top / "upwards")
    with open(top / "sparse", "wb") as handle:
        handle.seek(8 << 20)
        handle.write(b"end")
    subprocess.run(["setfacl", "-m", "u:54321:rw", str(top / "attributes/file")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:54321:rx", str(top / "attributes")], check=True)
    os.setxattr(top / "attributes/file", "user.colour", b"\x00\xffgreen")
    os.setxattr(top / "attributes", "trusted.kind", b"folder")
    os.chown(top / "owned", 54321, 54322)
    os.chmod(top / "owned", 0o6711)
    os.mkfifo(top / "fifo")
    os.utime(top / "empty", ns=(1_000_000_000_123_456_789,) * 2)


def fingerprint(top, contents=True):
    """
    Everything about a tree, from outside the code under test: name to type, mode, owners, time,
    content, links among each other, extended attributes and ACLs, and whether a big file is sparse.
    """
    top = os.fsencode(top)
    found, inodes = {}, {}
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files, b"."]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, top)
            one = [
                stat.S_IFMT(status.st_mode),
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
            ]
            if stat.S_ISLNK(status.st_mode):
                one.append(os.readlink(path))
            else:
                one.append(
                    sorted((key, os.getxattr(path, key)) for key in os.listxattr(path, follow_symlinks=False))
                )
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as handle:
                    one.append(hashlib.sha256(handle.read()).hexdigest())
                one.append(status.st_size > 1 << 20 and status.st_blocks * 512 < status.st_size)
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
                inodes.setdefault(status.st_ino, set()).add(relative)
            found[relative] = tuple(one)
    found[b"hard links"] = sorted(sorted(group) for group in inodes.values() if len(group) > 1)
    return found


def differences(one, other):
    """What differs between two fingerprints, readable in a failure."""
    return {
        name: (one.get(name), other.get(name)) for name in {*one, *other} if one.get(name) != other.get(name)
    }


def inside(path):
    """A path in the notation of this package as the name that fingerprints of ``/srv/salt`` have."""
    return os.path.relpath(notation.raw(path), b"/srv/salt")


def without(found, created):
    """A fingerprint without what a run has created: paths in the notation of this package, and below them."""
    names = {inside(path) for path in created}

    def stays(name):
        while name not in names and name not in (b"", b"."):
            name = os.path.dirname(name)
        return name not in names

    result = {name: one for name, one in found.items() if name == b"hard links" or stays(name)}
    groups = [[name for name in group if stays(name)] for group in found[b"hard links"]]
    result[b"hard links"] = sorted(group for group in groups if len(group) > 1)
    return result


def resident_growth(code, *arguments):
    """
    Run Python code in a process of its own that prints its own peak growth.

    The code finds ``peak()`` (KiB of resident memory at most so far) and ``sys.argv``.
    """
    prologue = (
        "import resource, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "def peak():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prologue + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)
