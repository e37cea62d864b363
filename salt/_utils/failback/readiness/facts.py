"""
The facts that a takeover depends on, beside those that a report has anyway.

Two kinds. Those that cost nothing are found whenever somebody asks (:func:`now`). Those that need time, the
other node or a memory are found by the lookout (:py:mod:`failback.watch.lookout`), which keeps them in the
file of :py:mod:`failback.readiness.record`. :py:mod:`failback.decisions.readiness` judges both.
"""

import contextlib
import os
import time

from failback.decisions import readiness
from failback.decisions import silence
from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.readiness import record
from failback.replication import in_step
from failback.replication import replicated
from failback.state import proofs

#: The unit of the lookout: where it is not installed, nobody is blamed for not looking.
UNIT = "failback-look@.service"


def now(member):
    """
    What is true of this node's readiness.

    Returns a dict of JSON types:

    ``installed``
        Whether highstate has installed the lookout's unit here.
    ``looked``
        Seconds since the lookout's last round, or None.
    ``watch``
        For each cron name whose watch this node has: ``alive``; ``silent``, seconds since it wrote its
        status, or None; ``sentence``, what it sees; ``several``, address to the hardware addresses that
        answer for it where they are more than one.
    ``in_step``
        On the secondary: ``at`` and ``age`` of when it was last in step, see
        ``failback.replication.in_step.last``, and ``admitted_for``, seconds since its ledger was written.
    ``verified``, ``drilled``
        When both nodes' files were compared last, and a drill ended well, with what has come of it, or None:
        see ``failback.state.proofs``.
    ``paths``
        Of the lookout: each replicated path to ``error`` (why it cannot be written, or None), ``free_bytes``
        of ``bytes``, and ``free_files`` of ``files`` (None where the file system does not count them).
    ``ssh``
        Of the lookout: ``node``, ``well``, ``sentence`` and ``at`` of when the other node was asked last.
    ``beats``, ``failing``, ``inotify``, ``restarts``, ``proved``, ``lag``
        Of the lookout on the primary: whether lsyncd tells the other node when all was carried; ``code``,
        ``times``, ``since`` and ``said`` of rsyncs that have failed since that moment, or None; why files
        cannot be watched, or None; ``times`` and ``said`` of a lsyncd that does not stay up, or None; that
        moment; and how many seconds before ``looked`` it was.
    ``ready``, ``not_ready``
        Of the lookout, while it looks: whether it has found nothing, None where the node takes no part; and
        ``for`` (seconds) and ``about`` of the spell in which it finds something, or None.
    """
    known = record.read(member) or {}
    found = {
        "installed": member.paths.unit(UNIT).exists(),
        "looked": None,
        "ready": None,
        "not_ready": None,
        **known.get("facts", {}),
        "watch": watches(member),
        "in_step": in_step.read(member)
        if member.role == "secondary" and member.config["replicate"]
        else None,
        **proofs.known(member),
    }
    if known:
        spell, boottime = known.get("not_ready"), system.boottime()
        found["looked"] = round(max(0.0, boottime - known["looked_at"]), 1)
    if known and found["looked"] <= readiness.LOOKS_WITHIN:
        found["ready"] = known.get("ready")
        if spell:
            lasted = round(max(0.0, boottime - spell["since"]), 1)
            found["not_ready"] = {"for": lasted, "about": spell["about"]}
    return found


def watches(member):
    """What the watches of this node say of the pair, see :func:`now`."""
    crons = {
        one["watch"]["cron"]
        for one in member.config["floating_ips"]
        if silence.covers(one["watch"]["on"], member.role)
    }
    return {cron: _watch(member, cron) for cron in sorted(crons)}


def _watch(member, cron):
    found = {}
    with contextlib.suppress(FailbackError):
        found = files.read_json(member.paths.watch_status(cron), f"the status of the watch {cron}") or {}
    pair = found.get("pairs", {}).get(member.pair, {})
    updated = found.get("updated")
    return {
        "alive": _is_alive(found.get("pid"), updated),
        "silent": None if updated is None else round(max(0.0, time.time() - updated), 1),
        "sentence": pair.get("sentence"),
        "several": {
            name: one["answered_by"]
            for name, one in pair.get("addresses", {}).items()
            if len(one["answered_by"]) > 1
        },
    }


def _is_alive(pid, updated):
    """Whether the process that wrote a status still is that process: its number may have been used again."""
    started = system.process_started(pid) if isinstance(pid, int) and updated else None
    if started is None:
        return False
    began = time.time() - system.boottime() + started / os.sysconf("SC_CLK_TCK")
    return began <= updated + 1


def paths(member):
    """
    Whether the replicated paths can be written, and what room they have.

    Nothing is written for it: what appears in a path would be carried. Asked of the kernel, a file system
    that is read-only and a folder that is immutable say so. A path that does not exist is a matter of
    ``failback.replication.sources``.
    """
    root = str(member.paths.root)
    found = {}
    for path in (one["path"] for one in member.config["replicate"]):
        item = replicated.items_on_disk(path, root)[0]
        folder = item.under(root)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found[path] = _folder(folder)
    return found


def _folder(folder):
    try:
        room = os.statvfs(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        return {"error": error.strerror, "free_bytes": 0, "free_files": None}
    return {
        "error": _why_not_writable(folder, room),
        "free_bytes": room.f_bavail * room.f_frsize,
        "bytes": room.f_blocks * room.f_frsize,
        "free_files": room.f_favail if room.f_files else None,
        "files": room.f_files,
    }


def _why_not_writable(folder, room):
    if room.f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    if not os.access(folder, os.W_OK | os.X_OK):
        # Root may write wherever nothing but the attribute says otherwise: access(2), chattr(1).
        return "the folder is immutable, or its file system refuses writes"
    return None
