"""
What a node says about its replicated paths: whether they are really there.

A path that is not mounted looks like an empty folder. An empty folder makes rsync delete everything
on the other side, and what rsync writes into it is out of sight as soon as the file system is mounted
again. So each node records where its data lie, and looks again before anything is carried from there
or to there::

    facts = sources.facts(["/srv/salt"])
    {"/srv/salt": {"exists": True, "empty": False, "kind": "directory",
                   "file_system": {"mount": "/srv", "type": "xfs", "source": "/dev/vdb1", "root":
                   "/", "uuid": "3f0c…"}, "below": []}}

The judgement on these facts is in :py:mod:`failback.decisions.places`.
"""

import os
import re

from failback.decisions import mounts as mount_rules
from failback.decisions import places
from failback.errors import Unreadable
from failback.host import files
from failback.replication import replicated

#: Of the record.
VERSION = 1

#: A link for each disk with a file system, named by its UUID (udev(7), 60-persistent-storage.rules).
UUIDS = "/dev/disk/by-uuid"

_ESCAPE = re.compile(r"\\([0-7]{3})")


def facts(paths, root="/", mountinfo="/proc/self/mountinfo"):
    """
    Look at some replicated paths on this node.

    paths
        As the pillar writes them.

    root
        Folder that stands for ``/`` (tests).

    mountinfo
        File in the format of proc_pid_mountinfo(5).

    Returns a dict of path to ``exists``, ``empty`` (a folder without entries, or a pattern without
    matches), ``kind`` (``directory``, ``file``, ``pattern`` or ``None``), ``file_system`` (``mount``,
    ``type``, ``source``, ``root`` and ``uuid``, or ``None``), also of a path that does not exist: where it
    would be made; and ``below``, the same of what is mounted below it and counts
    (:py:mod:`failback.decisions.mounts`).
    """
    items = {path: replicated.items_on_disk(path, root)[0] for path in paths}
    looked = {path: _looked(item, root) for path, item in items.items()}
    # Read afterwards: an automount is there only when it was asked for.
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as handle:
        mounts = parsed_mounts(handle.read())
    return {path: {**looked[path], **_place(item, root, mounts)} for path, item in items.items()}


def record(member, peer, moved=False):
    """
    Remember where the data lie on both nodes, while the pair is known to be well.

    peer
        What the other node reports of its paths; what this node finds of its own is added.

    moved
        Also of paths that lie elsewhere than they did: an operator says that they were moved.
    """
    before = {"own": None, "peer": None} if moved else recorded(member)
    # Of this node's own pillar: nothing that the other one names beside it is looked at here.
    paths = [one["path"] for one in member.config["replicate"] if one["path"] in peer]
    own = places.kept(before["own"], facts(paths, str(member.paths.root)))
    _write(member, own, places.kept(before["peer"], {path: peer[path] for path in paths}))


def record_moved(member):
    """Remember where this node's own data lie, wherever that is: an operator says that they were moved."""
    try:
        peer = recorded(member)["peer"]
    except Unreadable:
        peer = None
    own = facts([one["path"] for one in member.config["replicate"]], str(member.paths.root))
    _write(member, own, peer)


def recorded(member):
    """What :py:func:`record` remembered: ``{"own": facts or None, "peer": facts or None}``."""
    path = member.state / "sources.json"
    advice = (
        f"Mount all that belongs to these paths on both nodes, then record it anew: "
        f"salt-run state.orch orch.adopt pillar='{{pair: {member.pair}, moved: true}}'"
    )
    content = (
        files.read_json(path, f"the record of where the paths of {member.pair} lie", VERSION, advice) or {}
    )
    return {"own": content.get("own"), "peer": content.get("peer")}


def _write(member, own, peer):
    files.write_json(member.state / "sources.json", {"version": VERSION, "own": own, "peer": peer})


def misplaced(member):
    """
    The replicated paths of this node that lie elsewhere than they did when the pair was last known to be
    well: nothing is carried from there or to there. See :py:func:`failback.decisions.places.misplaced`.
    """
    now = facts([one["path"] for one in member.config["replicate"]], str(member.paths.root))
    return places.misplaced(now, recorded(member)["own"])


def parsed_mounts(text):
    """
    Read a mountinfo file.

    Returns a list of dicts with ``mount``, ``type``, ``source``, ``root`` (the folder of the file
    system that is mounted: it tells Btrfs subvolumes and bind mounts apart), ``device``
    (``major:minor``), ``id`` and ``parent`` (the kernel's numbers of the mount, and of the one that it
    lies on) and ``by_user`` (FUSE: a user has mounted it), in the file's order: later ones hide earlier ones.
    """
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(more) < 2:
            continue
        mounts.append(
            {
                "mount": _plain(fields[4]),
                "type": more[0],
                "source": _plain(more[1]),
                "root": _plain(fields[3]),
                "device": fields[2],
                "id": fields[0],
                "parent": fields[1],
                "by_user": _by_user(more),
            }
        )
    return mounts


def _by_user(more):
    """Whether a user has mounted a file system of FUSE: mount.fuse3(8), ``user_id``."""
    if more[0] != "fuse" and not more[0].startswith("fuse."):
        return False
    users = [one for one in more[-1].split(",") if one.startswith("user_id=")]
    return bool(users) and users[0] != "user_id=0"


def mounts_about(text, folders):
    """
    The lines of a mountinfo file about some folders: what they lie on, and what is mounted below them.

    text
        As of proc_pid_mountinfo(5). Its lines begin with the kernel's number of a mount, so what is mounted
        again has another line.

    folders
        Without symbolic links.
    """
    found = []
    for line in text.splitlines():
        point = _plain(line.split(" ", 5)[4])
        if any(_covers(point, folder) or _covers(folder, point) for folder in folders):
            found.append(line)
    return found


def mounts_below(lines, folders):
    """Where something is mounted below some folders, by lines as of :py:func:`mounts_about`."""
    points = [_plain(line.split(" ", 5)[4]) for line in lines]
    return [
        point for point in points if any(_covers(folder, point) and point != folder for folder in folders)
    ]


def file_system(path, mounts):
    """
    The mount that a path lies on.

    path
        Absolute, existing or not; symbolic links in it are followed.

    mounts
        As :py:func:`parsed_mounts` returns them.
    """
    resolved = os.path.realpath(path)
    covering = [mount for mount in mounts if _covers(mount["mount"], resolved)]
    # One that is mounted over a folder hides what is mounted below it. Btrfs has device numbers of its own.
    device = _device(resolved)
    real = [mount for mount in covering if mount.get("device") == device]
    depth = {id(mount): (len(mount["mount"].rstrip("/")), number) for number, mount in enumerate(mounts)}
    return max(real or covering, key=lambda mount: depth[id(mount)], default=None)


def _covers(point, path):
    point = point.rstrip("/")
    return path == point or path.startswith(point + "/")


def _device(path):
    try:
        number = os.stat(path).st_dev
    except OSError:
        return None
    return f"{os.major(number)}:{os.minor(number)}"


def _place(item, root, mounts):
    """Where an item lies, and what is mounted below it and counts."""
    folder = item.under(root)
    found = file_system(folder, mounts)
    inside = os.path.realpath(folder).rstrip("/") + "/"
    matches = replicated.matching(item)
    by_number = {mount["id"]: mount for mount in mounts}
    below = [
        mount
        for mount in mounts
        if mount["mount"].startswith(inside)
        and mount_rules.counts(mount, by_number.get(mount["parent"]))
        and (item.pattern is None or matches(mount["mount"][len(inside) :].partition("/")[0]))
    ]
    uuids = _uuids([mount["source"] for mount in [*below, *([found] if found else [])]])
    described = {id(mount): _described(mount, uuids) for mount in [*below, *([found] if found else [])]}
    return {
        "file_system": described[id(found)] if found else None,
        "below": sorted((described[id(mount)] for mount in below), key=lambda one: one["mount"]),
    }


def _described(mount, uuids):
    told = {key: mount[key] for key in ("mount", "type", "source", "root")}
    return {**told, "uuid": uuids.get(os.path.realpath(mount["source"]))}


def _uuids(sources):
    """The UUIDs of those of some sources that are disks, by device file, as udev has found them."""
    if not any(one.startswith("/dev/") for one in sources):
        return {}
    try:
        with os.scandir(UUIDS) as entries:
            return {os.path.realpath(entry.path): entry.name for entry in entries}
    except OSError:
        return {}


def _looked(item, root):
    """Whether an item is there, is empty, and what it is."""
    here = os.path.join(root, item.path.lstrip("/"))
    folder = item.under(root)
    try:
        if item.pattern is None:
            with os.scandir(here) as entries:
                empty = next(entries, None) is None
            kind, exists = "directory", True
        elif replicated.has_wildcards(os.path.basename(item.path)):
            matches = replicated.matching(item)
            with os.scandir(folder) as entries:
                empty = not any(matches(entry.name) for entry in entries)
            kind, exists = "pattern", True
        else:
            os.lstat(here)
            kind, exists, empty = "file", True, False
    except OSError:
        return {"exists": False, "empty": True, "kind": None}
    return {"exists": exists, "empty": empty, "kind": kind}


def _plain(field):
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), field)
