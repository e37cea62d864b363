"""Small file systems of a node that can be filled up, and unmounted, for real.

They are mounted on the machine and bound into the host by its keeper (see lab/keeper.py), so they outlive a
loss of power as a disk does.
"""

import ctypes
import os

from lab import cache

#: Name to the place in the host.
PLACES = {"small": "/srv/small", "runs": "/var/lib/failback/salt/runs"}
SIZE = 64 << 20

OPEN_TREE_CLONE, AT_RECURSIVE, AT_FDCWD = 1, 0x8000, -100
MOVE_MOUNT_F_EMPTY_PATH = 4
SYS_MOVE_MOUNT, SYS_OPEN_TREE = 429, 428


def prepare(host):
    """Make the volumes of a host that is off. Nothing if it has them."""
    if host.volumes():
        return
    for name, place in PLACES.items():
        folder = host.disk / "volumes" / name
        folder.mkdir(parents=True)
        cache.call(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", f"lab-{name}", folder])
        target = host.root / place.lstrip("/")
        for above in (host.root / "var/lib/failback", host.root / "var/lib/failback/salt"):
            if name == "runs":
                above.mkdir(mode=0o700, exist_ok=True)
        target.mkdir(mode=0o700 if name == "runs" else 0o755, exist_ok=True)
        if name == "runs":
            for each in target.iterdir():
                cache.call(["cp", "-a", each, folder])
            folder.chmod(0o700)
    host.bind_volumes({name: place for name, place in PLACES.items()})


def fill(host, name):
    """From now on not one more page can be written to it."""
    status = os.statvfs(host.disk / "volumes" / name)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    _resize(host, name, max(used, status.f_frsize))


def make_room(host, name):
    """Undo ``fill``."""
    _resize(host, name, SIZE)


def _resize(host, name, size):
    cache.call(["mount", "-o", f"remount,size={size}", host.disk / "volumes" / name])


def mount_again(host, name):
    """Bind a volume into the running host again after an umount in it."""
    init = host.init()
    if init is None or _mounted(init, PLACES[name]):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    source = os.fsencode(host.disk / "volumes" / name)
    tree = libc.syscall(SYS_OPEN_TREE, AT_FDCWD, source, OPEN_TREE_CLONE)
    if tree < 0:
        raise OSError(ctypes.get_errno(), f"open_tree {source!r}")
    child = os.fork()
    if child == 0:
        # The name space can be left by a process without threads alone.
        try:
            space = os.open(f"/proc/{init}/ns/mnt", os.O_RDONLY)
            root = os.open(f"/proc/{init}/root", os.O_RDONLY)
            done = libc.setns(space, 0)
            os.fchdir(root)
            os.chroot(".")
            place = os.fsencode(PLACES[name])
            done = done or libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH)
            os._exit(1 if done else 0)
        except BaseException:
            os._exit(2)
    os.close(tree)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(f"{host.name}: {PLACES[name]} could not be mounted again.")


def _mounted(init, place):
    with open(f"/proc/{init}/mountinfo") as handle:
        return any(line.split()[4] == place for line in handle)
