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
from failback.recovery import killed
from failback.recovery import pull
from failback.recovery import restore
from failback.recovery import results
from failback.recovery import rsync
from failback.replication import gate as gates
from failback.replication import on_disk
from failback.replication import replicated
from failback.replication import sources as source_facts
from failback.state import runs

RESULTS = (itemize.OVERWRITTEN, itemize.DELETED, itemize.CREATED, itemize.ATTRIBUTES)

#: In the folder of a run that brought this node home: when, and whether both nodes were compared since
#: (see ``failback.state.runs.uncompared``).
FINAL_SYNC = "last-pass.json"


def items_of(member, sources=None):
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


class ReverseRsync(pull.Pull):
    """
    The sync that brings this node home: a :py:class:`failback.recovery.pull.Pull` of a pair's paths. It is
    made once, where a call comes in, and passed on.

    member
        :py:class:`failback.pair.Member`.

    run
        Id of the run, which owns the lock of the pair; ``None`` for a look that belongs to none.

    sources
        What the serving node reports of its paths now.

    items
        The paths; by default those of the pair. See :py:func:`items_of_run`.

    takeover
        When the serving node took over (:py:class:`failback.decisions.conflicts.Takeover`), or ``None``.

    operation
        What the sentences name for a next command; by default that of the run.

    overrides
        What the operator has said beside the pair: ``max_delete`` and ``max_change_percent``, for this run in
        place of the pair's, and what else a command must repeat, such as ``winner``.

    journals
        :py:class:`failback.journal.service.Both`, whose journals begin a new page with each pass; ``None``
        for a sync that no final sync follows.

    control
        Socket of an SSH connection that is open.

    tell
        Called while the files come, see :py:func:`failback.recovery.meter.telling`.

    remote_shell, gate
        For tests: a program in place of ssh, and a function without arguments in place of the pair's gate.
        The gate is asked before every pass, and raises unless data may move this way.
    """

    def __init__(
        self,
        member,
        run=None,
        sources=None,
        items=None,
        takeover=None,
        operation=None,
        overrides=None,
        journals=None,
        control=None,
        tell=None,
        remote_shell=None,
        gate=None,
    ):
        super().__init__(
            items=items_of(member, sources) if items is None else items,
            peer=rsync_peer(member, remote_shell, control),
            run_folder=member.run_folder(run) if run else member.runs.folder,
            limits=limits(member.config, operation or (runs.operation(run) if run else "recover"), overrides),
            pair=member.pair,
            gate=gate or (lambda: gates.require_pull(member, run)),
            mark=None if journals is None else journals.mark,
            conflict=_conflict(member, takeover),
            tell=tell,
        )
        self.member = member
        self.run = run
        self.sources = sources
        self.journals = journals

    @classmethod
    def of_run(cls, member, run, **details):
        """That of the paths with which a run began, for its final sync and for what comes after."""
        return cls(member, run, items=items_of_run(backup.Folder(member.run_folder(run)), member), **details)

    @property
    def file_systems(self):
        """
        Folders of all file systems of this node that a sync writes to, in the order in which they go to the
        disk: what is kept must be there before what has replaced it.
        """
        here = {item.under(self.member.paths.root) for item in self.items}
        return [str(self.folder.path), *sorted(here.union(on_disk.roots(self.member)))]

    def hooks(self, changed):
        """What is to be reloaded for the paths that have changed, each once (``then`` in the pillar)."""
        wanted = {
            entry["then"]: None
            for entry in self.member.config["replicate"]
            if entry["then"] and notation.readable(os.fsencode(entry["path"])) in changed
        }
        return list(wanted)

    def preview(self, lists=None, names=results.NAMES):
        """
        What a reverse rsync would do on this node, path by path: see
        :py:meth:`failback.recovery.pull.Pull.preview`. The full lists are written below the pair's state
        folder.

        With journals, for a handover that no sync goes before: they begin with this look at the files, and
        what differs now counts as changed.

        Raises :py:class:`failback.errors.Refused` for a path that the serving node does not have where it
        had it.
        """
        # rsync itself would only say that it does not know the path, or cannot enter the folder. Of one that
        # is merely empty the lists show what that would mean.
        absent = self._source_problems(dict.fromkeys(self.sources or {}, 0))
        if absent:
            raise errors.Refused("\n".join(absent))
        lists = lists or self.member.state / "preview"
        if self.journals is None:
            return super().preview(lists, names)
        with self.journals:
            for item in self.items:
                self.journals.mark(item)
            previews = super().preview(lists, names)
            for item, each in zip(self.items, previews):
                self.journals.note(item, _names_in(item, each["list"]))
        return previews

    def source_problems(self, files_here):
        """What the serving node says of its paths, and what it said of them before."""
        return [] if self.sources is None else self._source_problems(files_here)

    def _source_problems(self, files_here):
        recorded = source_facts.recorded(self.member)["peer"]
        return places.source_problems(self.sources or {}, recorded, files_here, self.pair)

    def refusals(self, previews):
        """Everything that speaks against syncing what the previews show: a list of sentences."""
        sentences = self.problems(previews)
        elsewhere = source_facts.misplaced(self.member)
        if elsewhere:
            sentences.append(places.misplaced_sentence(self.member.node, elsewhere, self.pair))
        return sentences

    def sync(self):
        """
        Bring this node's paths in step with the serving node, which goes on serving.

        Returns what :py:meth:`failback.recovery.pull.Pull.sync` returns, with ``changes`` (dict of path to
        counts; empty if nothing changed), ``then`` (hooks of the paths that changed, each once), ``comment``
        and ``journal`` (None, or why there is none) added.
        """
        with self.journals or contextlib.nullcontext():
            report = super().sync()
        report["journal"] = None if self.journals is None else self.journals.why
        # Now, so that little is left to write while nobody serves.
        system.sync_file_systems(self.file_systems)
        changed = [each for each in report["paths"] if each["path"] in report["changed"]]
        report["changes"] = {each["path"]: _changes_of(each) for each in changed}
        report["then"] = self.hooks(report["changed"])
        report["comment"] = _sentence(report, self.member, self.run)
        return report

    def compare(self):
        """
        Compare both nodes after the handover; see :py:func:`failback.recovery.dry_run.compare`.

        It also writes the manifests of the final sync, for which nobody had to wait.
        """
        try:
            record = files.read_json(self.folder.path / FINAL_SYNC, f"the final sync of {self.run}", 1)
        except errors.Unreadable:
            # When it ended is not known any more, so nothing explains a difference; without one all is well.
            record = {"version": 1, "ended": time.time(), "compared": False}
        if record is None:
            raise errors.Refused(
                f"Run {self.run} had no final sync on this node, so there is no time after which changes "
                f"here explain a difference. To see what differs: salt-run pair.plan {self.pair}"
            )
        for item in self.items:
            killed.write_missing_manifests(self.folder, item, self.peer.top(item))
        # Set back since, the clock gives what was written here times from before the end of the final sync.
        since = record["ended"] + min(0.0, system.clock_step(record.get("clocks") or {}))
        comparison = dry_run.compare(self.items, self.peer, since)
        if not comparison["unexplained"]:
            files.write_json(self.folder.path / FINAL_SYNC, {**record, "compared": True})
        return comparison


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
    before = conflicts.just_before(member.config, takeover)
    brought = None

    def reason(path, status, there):
        nonlocal brought
        why = conflicts.reason(status.st_mtime, there, takeover, before)
        if why is None:
            return None
        if brought is None:
            brought = _brought(member, takeover)
        ended, found = brought.get(path, (0, None))
        return None if status.st_ctime <= ended and not _is_as_before(status, found) else why

    return reason


def _is_as_before(status, before):
    """Whether a file is the one that was there before a pass, which never came to it then."""
    known = before and (before["device"], before["inode"], before["mtime_ns"])
    return (status.st_dev, status.st_ino, status.st_mtime_ns) == known


def _brought(member, takeover):
    """
    Files that runs since the takeover were to bring here, each with the time at which its pass ended and what
    was there before it, or None.
    """
    files_brought = {}
    if takeover is None or not member.runs.folder.is_dir():
        return files_brought
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
                    files_brought[entry["path"]] = ended, entry.get("before")
    return files_brought


def restore_run(member, run, new_run, select=None, preview=False, gate=None, conflicts_alone=False):
    """
    Put back what a run overwrote, deleted or changed on this node; see
    :py:func:`failback.recovery.restore.restore`.

    new_run
        Id of the run that keeps what this overwrites.

    conflicts_alone
        Only the conflicts of the run, in place of ``select``.

    gate
        Function without arguments that raises unless files may be put back here; not asked for a preview.
        The default is the pair's gate.
    """
    if not preview:
        (gate or (lambda: gates.require_undo(member, new_run)))()
    if conflicts_alone:
        select = conflicts_of(backup.Folder(member.run_folder(run)))
        if not select:
            raise errors.Refused(
                f"Run {run} had no conflicts, so there is nothing to put back. All that it has overwritten "
                f"or deleted: salt-run pair.undo {run} test=True"
            )
    return restore.restore(
        member.run_folder(run),
        member.run_folder(new_run),
        select=select,
        preview=preview,
        root=str(member.paths.root),
    )


def conflicts_of(folder):
    """The paths of the conflicts that a run has found, sorted; see :py:mod:`failback.decisions.conflicts`."""
    passes = ((item, number) for item in folder.items() for number in folder.passes(item.module))
    entries = (each for item, number in passes for each in backup.entries(folder, item.module, number))
    return sorted({each["path"] for each in entries if each.get("conflict")})


def prune(member, spare=()):
    """Delete the backups that are beyond what the pair keeps, by number and by age. Returns their runs."""
    recovery = member.config["recovery"]
    return backup.prune(member.runs.folder, recovery["keep_backups"], spare, recovery["keep_days"])


def limits(config, operation="recover", overrides=None):
    """
    The :py:class:`failback.recovery.pull.Limits` of a pair, with those given in place of its own.

    operation, overrides
        As for :py:class:`ReverseRsync`.
    """
    recovery = config["recovery"]
    overrides = dict(overrides or {})
    # Beyond one limit, a run must not be told a command that forgets what it was allowed of the other.
    repeated = {key: overrides.pop(key, None) for key in ("max_delete", "max_change_percent")}
    repeated = {key: value for key, value in repeated.items() if value not in (None, recovery[key])}
    allowed = {**recovery, **repeated}
    return pull.Limits(
        max_delete=allowed["max_delete"],
        max_change_percent=allowed["max_change_percent"],
        small_pass=recovery["small_pass"],
        max_passes=recovery["max_passes"],
        parallel=max(1, min(len(config["replicate"]), 2 * (os.cpu_count() or 1))),
        operation=operation,
        overrides={**overrides, **repeated},
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


def items_of_run(folder, member):
    """The items that a run began with; those of the pair, for one that has kept nothing yet."""
    if (folder.path / "items.json").exists():
        return folder.items()
    return items_of(member)


def _changes_of(report):
    """What a state or a person is told of a path that changed: what was not nothing."""
    changes = {action: report[action] for action in RESULTS if report[action]}
    return {**changes, "conflicts": report["conflict_names"]} if report["conflicts"] else changes


def _sentence(report, member, run):
    source = member.peer["id"]
    if not report["changed"]:
        return f"All paths are already in step with {source}."
    counts = {action: sum(each[action] for each in report["paths"]) for action in RESULTS}
    parts = [f"{count} {action}" for action, count in counts.items() if count]
    text = f"In step with {source}: " + ", ".join(parts)
    if not report["settled"]:
        text += "; the serving node changes files faster than they were carried over"
    missed = sum(each["conflicts"] for each in report["paths"])
    if missed:
        text += (
            f". {missed} of those had been changed here, or were newer here: what they held is in the "
            f"backup. To see them, and to bring all of them back once the pair is home: salt-run pair.undo "
            f"{run} conflicts=True test=True, and without test=True"
        )
    return text + "."
