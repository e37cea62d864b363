"""
The reverse rsync of a pair on the node that has come back: what its files need to be current again.

It joins the node's configuration with the passes (:py:mod:`failback.recovery.pull`), the judgements on
limits and places in :py:mod:`failback.decisions` (may it begin), :py:mod:`failback.replication.gate` (may
data move in this direction) and :py:mod:`failback.recovery.backup` (the way back). The execution module of
the same name calls this.
"""

import contextlib
import json
import os
import time

from failback import errors
from failback.decisions import conflicts
from failback.decisions import places
from failback.host import files
from failback.host import notation
from failback.host import system
from failback.peer import ssh
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import itemize
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import results
from failback.recovery import rsync
from failback.replication import gate as gates
from failback.replication import replicated
from failback.replication import sources as source_facts
from failback.state import runs

RESULTS = (itemize.OVERWRITTEN, itemize.DELETED, itemize.CREATED, itemize.ATTRIBUTES)

#: In the folder of a run that brought this node home: when, and whether both nodes were compared since
#: (see ``failback.state.runs.uncompared``).
FINAL_SYNC = "last-pass.json"


def items(member, sources=None):
    """
    The replicated paths of a pair, of the kind that the serving node has.

    member
        :py:class:`failback.pair.Member`.

    sources
        What the serving node reports of its paths (:py:func:`failback.replication.sources.facts`); it is
        asked if this is ``None`` and a path is not here to be looked at.

    Returns a list of :py:class:`failback.replication.replicated.Item`.
    """
    result = []
    for entry in member.config["replicate"]:
        path = entry["path"]
        if sources is None:
            here = replicated.items_on_disk(path, str(member.paths.root))
            if len(here) == 1:
                result += here
                continue
            sources = _sources_of_peer(member)
        kind = sources.get(path, {}).get("kind")
        if kind is None:
            result.append(replicated.items_on_disk(path, str(member.paths.root))[0])
        else:
            result.append(replicated.item(path, is_directory=kind == "directory"))
    return result


def preview(member, sources=None, names=results.NAMES, remote_shell=None, takeover=None, journals=None):
    """
    What a reverse rsync would do on this node, path by path: :py:func:`failback.recovery.dry_run.preview`.

    takeover
        When the serving node took over (:py:class:`failback.decisions.conflicts.Takeover`), or ``None``.

    journals
        :py:class:`failback.journal.service.Both`, for a handover that no sync goes before: they begin with
        this look at the files, and what differs now counts as changed.

    The full lists are written below the pair's state folder; ``list`` in each result names its
    file. Raises :py:class:`failback.errors.Refused` for a path that the serving node does not have where
    it had it.
    """
    # rsync itself would only say that it does not know the path, or cannot enter the folder. Of one that is
    # merely empty the lists show what that would mean.
    recorded = source_facts.recorded(member)["peer"]
    absent = places.source_problems(sources or {}, recorded, dict.fromkeys(sources or {}, 0), member.pair)
    if absent:
        raise errors.Refused("\n".join(absent))
    folder = member.state / "preview"
    chosen = items(member, sources)
    with contextlib.ExitStack() as stack:
        if journals is not None:
            stack.enter_context(journals)
            for item in chosen:
                journals.mark(item)
        previews = dry_run.previewed(
            chosen,
            rsync_peer(member, remote_shell),
            folder=folder,
            limit=names,
            parallel=_parallel(member.config),
            conflict=_conflict(member, takeover),
        )
        if journals is not None:
            for item, each in zip(chosen, previews):
                journals.note(item, _names_in(item, each["list"]))
    return previews


def _names_in(item, listing):
    """The names in the list of a preview, relative to the root of its item, as the list writes them."""
    root = notation.readable(os.fsencode(item.root)).rstrip("/") + "/"
    with open(listing, encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)["path"].removeprefix(root).rstrip("/") or "."


def _conflict(member, takeover):
    """
    The function that tells a conflict; see :py:func:`failback.recovery.dry_run.preview`.

    What an earlier, interrupted recovery has brought here from the serving node is none: its lists name it.
    """
    before = conflicts.just_before(member.config)
    brought = None

    def reason(path, status, there):
        nonlocal brought
        found = conflicts.reason(status.st_mtime, there, takeover, before)
        if found is None:
            return None
        if brought is None:
            brought = _brought(member, takeover)
        return None if status.st_ctime <= brought.get(path, 0) else found

    return reason


def _brought(member, takeover):
    """Files that runs since the takeover have brought here, each with the time at which its pass ended."""
    found = {}
    if takeover is None or not member.runs.folder.is_dir():
        return found
    for folder in sorted(member.runs.folder.iterdir()):
        # Folder and list were made when the run came to its first pass.
        if not runs.ID.fullmatch(folder.name) or folder.stat().st_mtime < takeover.here:
            continue
        run = backup.Folder(folder)
        for listing in sorted(folder.glob("lists/*/*.jsonl")):
            module, number = listing.parent.name, int(listing.stem)
            manifest = run.manifest_file(module, number)
            # A pass that was killed has none: all that it may have written is from before now.
            ended = manifest.stat().st_mtime if manifest.exists() else time.time()
            for entry in backup.entries(run, module, number):
                if entry["action"] in (itemize.CREATED, itemize.OVERWRITTEN):
                    found[entry["path"]] = ended
    return found


def refusals(member, previews, sources=None, recorded=None, operation="recover", words=None, **allowed):
    """
    Everything that speaks against syncing what the previews show.

    operation, words
        What they were made for, and what the operator has said beside the pair, for the commands in the
        sentences.

    allowed
        ``max_delete``, ``max_change_percent``: for this run, in place of the pair's.

    Returns a list of sentences.
    """
    found = pull.problems(
        previews,
        rsync_peer(member),
        items(member, sources),
        member.runs.folder,
        limits(member.config, operation=operation, words=words, **allowed),
        member.pair,
        sources,
        source_facts.recorded(member)["peer"] if recorded is None else recorded,
    )
    elsewhere = source_facts.misplaced(member)
    if elsewhere:
        found.append(places.misplaced_sentence(member.node, elsewhere, member.pair))
    return found


def synced(member, run, sources=None, remote_shell=None, gate=None, takeover=None, journals=None, **allowed):
    """
    Bring this node's paths in step with the serving node, which goes on serving.

    run
        Id of the run, which holds the lock of the pair.

    sources
        What the serving node reports of its paths now.

    gate
        Function without arguments that raises unless data may move this way; it is asked before
        every pass. The default is the pair's gate.

    takeover
        As for :py:func:`preview`.

    journals
        :py:class:`failback.journal.service.Both`, whose journals begin a new page with each pass;
        ``None`` for a sync that no final sync follows.

    allowed
        ``max_delete``, ``max_change_percent``: for this run, in place of the pair's.

    Returns what :py:func:`failback.recovery.pull.synced` returns, with ``changes`` (dict of path to counts;
    empty if nothing changed), ``then`` (hooks of the paths that changed, each once), ``comment`` and
    ``journal`` (None, or why there is none) added.
    """
    folder = member.run_folder(run)
    with contextlib.ExitStack() as stack:
        if journals is not None:
            stack.enter_context(journals)
        found = pull.synced(
            items(member, sources),
            rsync_peer(member, remote_shell),
            folder,
            limits(member.config, operation=runs.operation(run), **allowed),
            member.pair,
            sources,
            source_facts.recorded(member)["peer"],
            gate or (lambda: gates.require_pull(member, run)),
            conflict=_conflict(member, takeover),
            mark=None if journals is None else journals.mark,
        )
    found["journal"] = None if journals is None else journals.why
    # Now, so that little is left to write while nobody serves.
    system.sync_file_systems(roots(items(member, sources), member.paths))
    changed = [each for each in found["paths"] if each["path"] in found["changed"]]
    found["changes"] = {
        each["path"]: {action: each[action] for action in RESULTS if each[action]} for each in changed
    }
    for each in changed:
        if each["conflicts"]:
            found["changes"][each["path"]]["conflicts"] = each["conflict_names"]
    found["then"] = hooks(member.config, found["changed"])
    found["comment"] = _sentence(found, member, run)
    return found


def compared(member, run, remote_shell=None):
    """
    Compare both nodes after the handover; see :py:func:`failback.recovery.dry_run.compared`.

    It also writes the manifests of the final sync, for which nobody had to wait.
    """
    folder = backup.Folder(member.run_folder(run))
    try:
        record = files.read_json(folder.path / FINAL_SYNC, f"the final sync of {run}", 1)
    except errors.Unreadable:
        # When it ended is not known any more, so nothing explains a difference; without one all is well.
        record = {"version": 1, "ended": time.time(), "compared": False}
    if record is None:
        raise errors.Refused(
            f"Run {run} had no final sync on this node, so there is no time after which changes "
            f"here explain a difference. To see what differs: salt-run pair.plan {member.pair}"
        )
    chosen = items_of_run(folder, member)
    for item in chosen:
        backup.write_missing_manifests(folder, item)
    # Set back since, the clock gives what was written here times from before the end of the final sync.
    since = record["ended"] + min(0.0, system.clock_step(record.get("clocks") or {}))
    found = dry_run.compared(chosen, rsync_peer(member, remote_shell), since)
    if not found["unexplained"]:
        files.write_json(folder.path / FINAL_SYNC, {**record, "compared": True})
    return found


def restored(member, run, new_run, select=None, preview=False, gate=None):
    """
    Put back what a run overwrote, deleted or changed on this node; see
    :py:func:`failback.recovery.restore.restore`.

    new_run
        Id of the run that keeps what this overwrites.

    gate
        Function without arguments that raises unless files may be put back here; not asked for a preview.
        The default is the pair's gate.
    """
    if not preview:
        (gate or (lambda: gates.require_undo(member, new_run)))()
    return restore.restore(
        member.run_folder(run),
        member.run_folder(new_run),
        select=select,
        preview=preview,
        root=str(member.paths.root),
    )


def pruned(member, spare=()):
    """Delete the backups that are beyond what the pair keeps, by number and by age. Returns their runs."""
    recovery = member.config["recovery"]
    return backup.prune(member.runs.folder, recovery["keep_backups"], spare, recovery["keep_days"])


def limits(config, max_delete=None, max_change_percent=None, operation="recover", words=None):
    """The :py:class:`failback.recovery.pull.Limits` of a pair, with those given in place of its own."""
    recovery = config["recovery"]
    given = {"max_delete": max_delete, "max_change_percent": max_change_percent}
    # Beyond one limit, a run must not be told a command that forgets what it was allowed of the other.
    given = {key: value for key, value in given.items() if value not in (None, recovery[key])}
    return pull.Limits(
        max_delete=recovery["max_delete"] if max_delete is None else max_delete,
        max_change_percent=(
            recovery["max_change_percent"] if max_change_percent is None else max_change_percent
        ),
        small_pass=recovery["small_pass"],
        max_passes=recovery["max_passes"],
        parallel=_parallel(config),
        operation=operation,
        words={**(words or {}), **given},
    )


def rsync_peer(member, remote_shell=None, control=None):
    """The serving node, as rsync reaches it; ``control`` is the socket of an SSH connection that is open."""
    return rsync.Peer(
        host=member.peer["host"],
        remote_shell=remote_shell or replicated.ssh_command(member.paths, control),
        root=str(member.paths.root),
    )


def _sources_of_peer(member):
    return ssh.report(member)["sources"]


def roots(chosen, paths):
    """The folders of some items on this node."""
    return sorted({os.path.join(paths.root, item.root.lstrip("/")) for item in chosen})


def items_of_run(folder, member):
    """The items that a run began with; those of the pair, for one that has kept nothing yet."""
    if (folder.path / "items.json").exists():
        return folder.items()
    return items(member)


def hooks(config, changed):
    """What is to be reloaded for the paths that have changed, each once (``then`` in the pillar)."""
    wanted = {
        entry["then"]: None
        for entry in config["replicate"]
        if entry["then"] and notation.readable(os.fsencode(entry["path"])) in changed
    }
    return list(wanted)


def _parallel(config):
    return max(1, min(len(config["replicate"]), 2 * (os.cpu_count() or 1)))


def _sentence(found, member, run):
    source = member.peer["id"]
    if not found["changed"]:
        return f"All paths are already in step with {source}."
    counts = {action: sum(each[action] for each in found["paths"]) for action in RESULTS}
    parts = [f"{count} {action}" for action, count in counts.items() if count]
    text = f"In step with {source}: " + ", ".join(parts)
    if not found["settled"]:
        text += "; the serving node changes files faster than they were carried over"
    missed = sum(each["conflicts"] for each in found["paths"])
    if missed:
        text += (
            f". {missed} of those had been changed here, or were newer here: what they held is in the "
            f"backup. In {member.run_folder(run) / 'lists'} on {member.node} they have `conflict`. To bring "
            f"one back, once the pair is home: salt-run pair.undo {run} paths=<path>"
        )
    return text + "."
