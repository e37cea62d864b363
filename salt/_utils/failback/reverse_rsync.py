"""
The reverse rsync of a pair on the node that has come back: what its files need to be current again.

It joins the node's configuration with :py:mod:`failback.pull` (the passes),
:py:mod:`failback.guard` (may it begin), :py:mod:`failback.gate` (may data move in this direction)
and :py:mod:`failback.backup` (the way back). The execution module of the same name calls this, and
the handover, which runs without Salt.
"""

import os
import time

from . import backup
from . import configuration
from . import errors
from . import files
from . import itemize
from . import pull
from . import replication
from . import rsync

_RESULTS = (itemize.OVERWRITTEN, itemize.DELETED, itemize.CREATED, itemize.ATTRIBUTES)


def items(config, paths, sources=None):
    """
    The replicated paths of a pair, of the kind that the serving node has.

    config
        The node's configuration of the pair.

    paths
        :py:class:`failback.paths.Paths` of this node.

    sources
        What the serving node reports of its paths (:py:func:`failback.sources.facts`); it is asked
        if this is ``None`` and a path is not here to be looked at.

    Returns a list of :py:class:`failback.replication.Item`.
    """
    result = []
    for entry in config["replicate"]:
        path = entry["path"]
        if sources is None:
            here = replication.items_on_disk(path, str(paths.root))
            if len(here) == 1:
                result += here
                continue
            sources = _sources_of_peer(config, paths)
        kind = sources.get(path, {}).get("kind")
        if kind is None:
            result.append(replication.items_on_disk(path, str(paths.root))[0])
        else:
            result.append(replication.item(path, is_directory=kind == "directory"))
    return result


def preview(config, paths, sources=None, names=pull.NAMES, remote_shell=None):
    """
    What a reverse rsync would do on this node, path by path; see :py:func:`failback.pull.preview`.

    The full lists are written below the pair's state folder; ``list`` in each result names its
    file.
    """
    folder = paths.state(config["name"]) / "preview"
    return pull.previewed(
        items(config, paths, sources),
        _peer(config, paths, remote_shell),
        folder=folder,
        limit=names,
        parallel=_parallel(config),
    )


def refusals(config, paths, previews, sources=None, recorded=None, **allowed):
    """
    Everything that speaks against syncing what the previews show.

    allowed
        ``max_delete``, ``max_change_percent``: for this run, in place of the pair's.

    Returns a list of sentences.
    """
    return pull.problems(
        previews,
        _peer(config, paths),
        items(config, paths, sources),
        paths.runs(config["name"]),
        limits(config, **allowed),
        config["name"],
        sources,
        recorded_sources(config["name"], paths) if recorded is None else recorded,
    )


def synced(config, run, paths, sources=None, remote_shell=None, gate=None, **allowed):
    """
    Bring this node's paths in step with the serving node, which goes on serving.

    run
        Id of the run, which holds the lock of the pair.

    sources
        What the serving node reports of its paths now.

    gate
        Function without arguments that raises unless data may move this way; it is asked before
        every pass. The default is the pair's gate.

    allowed
        ``max_delete``, ``max_change_percent``: for this run, in place of the pair's.

    Returns what :py:func:`failback.pull.synced` returns, with ``changes`` (dict of path to counts;
    empty if nothing changed), ``then`` (hooks of the paths that changed, each once) and ``comment``
    added.
    """
    from . import gate as gates

    folder = paths.run_folder(config["name"], run)
    found = pull.synced(
        items(config, paths, sources),
        _peer(config, paths, remote_shell),
        folder,
        limits(config, **allowed),
        config["name"],
        sources,
        recorded_sources(config["name"], paths),
        gate or (lambda: gates.require_pull(config, run, paths)),
    )
    changed = [each for each in found["paths"] if each["path"] in found["changed"]]
    found["changes"] = {
        each["path"]: {action: each[action] for action in _RESULTS if each[action]}
        for each in changed
    }
    found["then"] = _hooks(config, found["changed"])
    found["comment"] = _sentence(found, configuration.peer(config)["id"])
    return found


def last_pass(config, run, paths, control=None, limit=None, names=None, remote_shell=None):
    """
    The pass of a handover, in which nobody serves.

    control
        Socket of the SSH connection that is open already.

    limit
        Seconds after which it has failed.

    names
        See :py:class:`failback.pull.LastPass`.

    Returns a dict: ``paths`` (counts of each), ``changed``, ``then`` and ``seconds``. Raises
    :py:class:`failback.errors.Unavailable` unless every path is in step.
    """
    started = time.monotonic()
    folder = backup.Folder(paths.run_folder(config["name"], run))
    last = pull.LastPass(
        _items_of_run(folder, config, paths),
        _peer(config, paths, remote_shell, control),
        folder.path,
        names,
    )
    found = last.run(limit)
    record = {"version": 1, "ended": time.time()}
    files.write_json(folder.path / "last-pass.json", record)
    changed = [each["path"] for each in found if any(each[action] for action in _RESULTS)]
    return {
        "paths": found,
        "changed": changed,
        "then": _hooks(config, changed),
        "seconds": round(time.monotonic() - started, 4),
    }


def compared(config, run, paths, remote_shell=None):
    """
    Compare both nodes after the handover; see :py:func:`failback.pull.compared`.

    It also writes the manifests of the last pass, for which nobody had to wait.
    """
    folder = backup.Folder(paths.run_folder(config["name"], run))
    record = files.read_json(folder.path / "last-pass.json", f"the last pass of {run}", 1)
    if record is None:
        raise errors.Refused(
            f"Run {run} had no last pass on this node, so there is no time after which changes "
            f"here explain a difference. To see what differs: salt-run pair.plan {config['name']}"
        )
    chosen = _items_of_run(folder, config, paths)
    for item in chosen:
        backup.write_missing_manifests(folder, item)
    return pull.compared(chosen, _peer(config, paths, remote_shell), record["ended"])


def restored(config, run, new_run, paths, select=None, preview=False):
    """
    Put back what a run overwrote, deleted or changed on this node; see
    :py:func:`failback.backup.restore`.

    new_run
        Id of the run that keeps what this overwrites.
    """
    return backup.restore(
        paths.run_folder(config["name"], run),
        paths.run_folder(config["name"], new_run),
        select=select,
        preview=preview,
        root=str(paths.root),
    )


def pruned(config, paths, spare=()):
    """Delete all but the newest runs, as many as the pair keeps. Returns the deleted ones."""
    return backup.prune(paths.runs(config["name"]), config["recovery"]["keep_backups"], spare)


def limits(config, max_delete=None, max_change_percent=None):
    """The :py:class:`failback.pull.Limits` of a pair, with those given in place of its own."""
    recovery = config["recovery"]
    return pull.Limits(
        max_delete=recovery["max_delete"] if max_delete is None else max_delete,
        max_change_percent=(
            recovery["max_change_percent"] if max_change_percent is None else max_change_percent
        ),
        small_pass=recovery["small_pass"],
        max_passes=recovery["max_passes"],
        parallel=_parallel(config),
    )


def record_sources(pair, paths, sources):
    """
    Remember where the peer's data lie, while the pair is known to be well.

    sources
        What the peer reports of its paths. A later sync from other file systems is refused.
    """
    files.write_json(paths.state(pair) / "sources.json", {"version": 1, "sources": sources})


def recorded_sources(pair, paths):
    """What :py:func:`record_sources` remembered, or ``None``."""
    path = paths.state(pair) / "sources.json"
    content = files.read_json(path, f"the recorded sources of {pair}", 1)
    return content and content["sources"]


def _peer(config, paths, remote_shell=None, control=None):
    return rsync.Peer(
        host=configuration.peer(config)["host"],
        remote_shell=remote_shell or replication.ssh_command(paths, control),
        root=str(paths.root),
    )


def _sources_of_peer(config, paths):
    from . import peer

    return peer.report(config, paths)["sources"]


def _items_of_run(folder, config, paths):
    if (folder.path / "items.json").exists():
        return folder.items()
    return items(config, paths)


def _hooks(config, changed):
    wanted = {
        entry["then"]: None
        for entry in config["replicate"]
        if entry["then"] and itemize.readable(os.fsencode(entry["path"])) in changed
    }
    return list(wanted)


def _parallel(config):
    return max(1, min(len(config["replicate"]), 2 * (os.cpu_count() or 1)))


def _sentence(found, source):
    if not found["changed"]:
        return f"All paths are already in step with {source}."
    counts = {action: sum(each[action] for each in found["paths"]) for action in _RESULTS}
    parts = [f"{count} {action}" for action, count in counts.items() if count]
    text = f"In step with {source}: " + ", ".join(parts)
    if not found["settled"]:
        text += "; the serving node changes files faster than they were carried over"
    return text + "."
