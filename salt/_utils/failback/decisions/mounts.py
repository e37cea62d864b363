"""
Which mounts below a replicated path count: of which something is missing when they are gone.

What is not mounted looks like an empty folder, and lsyncd deletes on the other node what is missing here. So
it is remembered what is mounted below a path, and nothing is carried while that is not there. Each mount
counts, whatever its source is called: a disk, a dataset of ZFS, a folder of NFS, CephFS or virtiofs. But
these come and go by themselves, so they must refuse nothing:

- :py:data:`TRANSIENT`: the kernel's own, those in memory, triggers of autofs, the layers of containers;
- what a container runtime mounts in its own store (:py:data:`RUNTIMES`), as volumes while a container runs;
- what a user has mounted (FUSE): he must be able neither to stop lsyncd nor to close its gate;
- what is mounted when somebody walks there: by autofs (a disk counts all the same), an export that lies in
  another one (NFS), a snapshot in ``.zfs``;
- a folder that is mounted onto itself, as runtimes do: without the mount the same files are there.

The same for lsyncd, which looks while it runs: :py:mod:`failback.replication.lsyncd_program`. Pure.
"""

import re

#: Types of file systems that hold no data, or none that outlast a reboot, or the layers of a container.
TRANSIENT = (
    # The kernel's own, and triggers.
    *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "fusectl", "mqueue", "nfsd", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs"),
    *("selinuxfs", "sysfs", "tracefs"),
    # In memory.
    *("hugetlbfs", "ramfs", "tmpfs"),
    # Of containers.
    *("aufs", "fuse.fuse-overlayfs", "fuse.lxcfs", "overlay"),
)

#: Where container runtimes keep their state. A disk of the site is mounted there, or at a folder directly in
#: it; what is mounted further down is the runtime's.
RUNTIMES = (
    "/var/lib/containerd/",
    "/var/lib/containers/storage/",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
)

#: The kernel mounts a snapshot of ZFS here when somebody looks into it, and unmounts it after some minutes.
SNAPSHOTS = "/.zfs/snapshot/"

_OF_A_RUNTIME = re.compile(f"(?:{'|'.join(map(re.escape, RUNTIMES))})[^/]+/.")


def counts(mount, above):
    """
    Whether something is missing when a mount below a replicated path is gone.

    mount
        Dict with ``mount`` (where), ``type``, ``source`` and ``root`` (the folder of the file system); with
        ``by_user``, if it is known, whether a user has mounted it.

    above
        The same of the mount that it lies on; ``None`` if that is not known.
    """
    if mount["type"] in TRANSIENT or mount.get("by_user"):
        return False
    if SNAPSHOTS in mount["mount"] or _OF_A_RUNTIME.match(mount["mount"]):
        return False
    if above is None:
        return True
    if above["type"] == "autofs":
        return mount["source"].startswith("/dev/")
    return not _continues(mount, above)


def recorded(fact):
    """
    Those of the mounts below a path, as a record has them, that count.

    An earlier release has recorded every disk, and each folder of a disk that was mounted somewhere else.

    fact
        Dict with ``file_system`` and ``below``, as :py:func:`failback.replication.sources.facts` returns them
        for one path.
    """
    below = fact.get("below") or []
    known = [one for one in [fact["file_system"], *below] if one]
    return [one for one in below if counts(one, _above(one, known))]


def _above(mount, known):
    covering = [one for one in known if mount["mount"].startswith(one["mount"].rstrip("/") + "/")]
    return max(covering, key=lambda one: len(one["mount"]), default=None)


def _continues(mount, above):
    """Whether the same files are there without a mount, or come when somebody walks there."""
    place = above["mount"].rstrip("/")
    if not (mount["mount"] + "/").startswith(place + "/"):
        return False
    rest = mount["mount"][len(place) :]
    if mount["type"] == above["type"] and mount["source"] == above["source"]:
        return mount["root"] == (above["root"].rstrip("/") + rest or "/")
    return (
        mount["type"].startswith("nfs")
        and above["type"].startswith("nfs")
        and mount["source"] == above["source"].rstrip("/") + rest
    )
