"""
What a node says about its replicated paths: whether they are really there.

A path that is not mounted looks like an empty folder. An empty folder makes rsync delete everything
on the other side, and what rsync writes into it is out of sight as soon as the file system is mounted
again. So each node records where its data lie, and looks again before anything is carried from there
or to there::

    facts = sources.facts(["/srv/salt"])
    {"/srv/salt": {"exists": True, "empty": False, "kind": "directory",
                   "file_system": {"mount": "/srv", "type": "xfs", "source": "/dev/vdb1", "root":
                   "/"}}}

The judgement on these facts is in :py:mod:`failback.guard`.
"""

import os
import re

from failback import files
from failback import guard
from failback import replication

#: Of the record.
VERSION = 1

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
    matches), ``kind`` (``directory``, ``file``, ``pattern`` or ``None``) and ``file_system``
    (``mount``, ``type``, ``source``, ``root`` or ``None``), also of a path that does not exist: where it
    would be made.
    """
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as handle:
        mounts = parsed_mounts(handle.read())
    return {path: _fact(replication.items_on_disk(path, root)[0], root, mounts) for path in paths}


def record(pair, paths, peer):
    """
    Remember where the data lie on both nodes, while the pair is known to be well.

    peer
        What the other node reports of its paths; what this node finds of its own is added.
    """
    own = facts(list(peer), str(paths.root))
    files.write_json(paths.state(pair) / "sources.json", {"version": VERSION, "own": own, "peer": peer})


def recorded(pair, paths):
    """What :py:func:`record` remembered: ``{"own": facts or None, "peer": facts or None}``."""
    path = paths.state(pair) / "sources.json"
    content = files.read_json(path, f"the recorded sources of {pair}", VERSION) or {}
    return {"own": content.get("own"), "peer": content.get("peer")}


def misplaced(config, paths):
    """
    The replicated paths of this node that lie elsewhere than they did when the pair was last known to be
    well: nothing is carried from there or to there. See :py:func:`failback.guard.misplaced`.
    """
    now = facts([one["path"] for one in config["replicate"]], str(paths.root))
    return guard.misplaced(now, recorded(config["name"], paths)["own"])


def parsed_mounts(text):
    """
    Read a mountinfo file.

    Returns a list of dicts with ``mount``, ``type``, ``source`` and ``root`` (the folder of the
    file system that is mounted: it tells Btrfs subvolumes and bind mounts apart), in the file's
    order: later ones hide earlier ones.
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
            }
        )
    return mounts


def file_system(path, mounts):
    """
    The mount that a path lies on.

    path
        Absolute, existing or not; symbolic links in it are followed.

    mounts
        As :py:func:`parsed_mounts` returns them.
    """
    resolved = os.path.realpath(path)
    best = None
    for mount in mounts:
        point = mount["mount"].rstrip("/")
        covers = resolved == point or resolved.startswith(point + "/")
        if covers and (best is None or len(point) >= len(best["mount"].rstrip("/"))):
            best = mount
    return best


def _fact(item, root, mounts):
    here = os.path.join(root, item.path.lstrip("/"))
    folder = os.path.join(root, item.root.lstrip("/"))
    where = file_system(folder, mounts)
    try:
        if item.pattern is None:
            with os.scandir(here) as entries:
                empty = next(entries, None) is None
            kind, exists = "directory", True
        elif replication.has_wildcards(os.path.basename(item.path)):
            matches = replication.matching(item)
            with os.scandir(folder) as entries:
                empty = not any(matches(entry.name) for entry in entries)
            kind, exists = "pattern", True
        else:
            os.lstat(here)
            kind, exists, empty = "file", True, False
    except OSError:
        return {"exists": False, "empty": True, "kind": None, "file_system": where}
    return {"exists": exists, "empty": empty, "kind": kind, "file_system": where}


def _plain(field):
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), field)
