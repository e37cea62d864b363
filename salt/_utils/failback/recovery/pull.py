"""
Pulling the paths of a pair from the node that serves them, with a backup of all they replace.

In the order in which a recovery uses it::

    pulled = Pull(items, rsync.Peer("salt2", remote_shell), run_folder, limits)
    previews = pulled.preview()
    report = pulled.sync()                                  # while the peer still serves
    last = final_sync.FinalSync(pulled)                     # before the addresses are released
    last.run(limit=5.0)                                     # while nobody serves
    dry_run.compare(items, pulled.peer, since)              # afterwards
"""

import contextlib
import dataclasses
import os
import time
import typing

from failback import errors
from failback.decisions import limits as change_limits
from failback.host import system
from failback.recovery import attributes
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import itemize
from failback.recovery import killed
from failback.recovery import meter
from failback.recovery import results
from failback.recovery import rsync
from failback.recovery import workers


@dataclasses.dataclass(frozen=True)
class Limits:
    """
    What a sync may do before it asks.

    max_delete, max_change_percent
        See :py:func:`failback.decisions.limits.limit_problems`.

    small_pass
        A pass that changed no more files than this is the last one.

    max_passes
        How often to repeat at most.

    parallel
        How many paths to sync at the same time.

    operation, overrides
        What syncs them, and what the operator has said beside the pair, for the commands in sentences.
    """

    max_delete: int = 100
    max_change_percent: float = 25
    small_pass: int = 20
    max_passes: int = 5
    parallel: int = 2
    operation: str = "recover"
    overrides: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Pull:
    """
    All that a sync is made of. It knows paths, rsync and the backup; what a pair adds is in
    :py:class:`failback.recovery.reverse_rsync.ReverseRsync`, which is one.

    items
        :py:class:`failback.replication.replicated.Item` each.

    peer
        :py:class:`failback.recovery.rsync.Peer`.

    run_folder
        Folder of the run; one that was begun earlier is continued.

    limits
        :py:class:`Limits`.

    pair
        Name of the pair, for the sentences.

    gate
        Called without arguments before every pass; raises if data may not move (any more).

    mark
        Called with the item before every pass: a journal of changes begins a new page.

    conflict
        See :py:func:`failback.recovery.dry_run.preview`; asked in the first look alone, for later the files
        here are the peer's.

    tell
        Called while the files come, see :py:func:`failback.recovery.meter.telling`.
    """

    items: list
    peer: rsync.Peer
    run_folder: os.PathLike
    limits: Limits = dataclasses.field(default_factory=Limits)
    pair: str = "PAIR"
    gate: typing.Optional[typing.Callable] = None
    mark: typing.Optional[typing.Callable] = None
    conflict: typing.Optional[typing.Callable] = None
    tell: typing.Optional[typing.Callable] = None

    @property
    def folder(self):
        """The files of the run: a :py:class:`failback.recovery.backup.Folder`."""
        return backup.Folder(self.run_folder)

    def preview(self, lists=None, names=results.NAMES):
        """
        :py:func:`failback.recovery.dry_run.preview` of the paths, several at the same time.

        lists
            Where to write the full lists, ``<module>.jsonl`` each; ``None`` for nowhere.

        names
            How many names of each action a preview holds.

        Returns a list of previews in the order of the items.
        """
        if lists is not None:
            os.makedirs(lists, mode=0o700, exist_ok=True)

        def look(item):
            list_file = None if lists is None else os.path.join(lists, f"{item.module}.jsonl")
            return dry_run.preview(item, self.peer, list_file, limit=names, conflict=self.conflict)

        return workers.each(look, self.items, self.limits.parallel)

    def problems(self, previews, items=None):
        """
        Everything that speaks against a sync: limits, sources, room for the backup, paths too long for it.

        previews
            What :py:meth:`preview` returned.

        items
            Between two passes: those that were looked at again. The facts about the sources are those from
            before the first pass, and are not judged twice.

        Returns a list of sentences.
        """
        allowed = (self.limits.max_delete, self.limits.max_change_percent)
        terms = (self.pair, self.limits.operation, self.limits.overrides)
        problems = change_limits.limit_problems(previews, *allowed, *terms)
        if items is None:
            problems += self.source_problems({each["path"]: each["total_files"] for each in previews})
        for each in previews:
            here = each["total_files"]
            if here and not each["source_files"]:
                text = f"{each['path']} is empty on the serving node"
                if not any(problem.startswith(text) for problem in problems):
                    problems.append(
                        f"{text}, and not here ({here} entries). Syncing it would delete all of it "
                        "here. Mount or fill it there (or empty it here, if that is what is meant), "
                        f"then run: salt-run pair.plan {self.pair}"
                    )
        problems += change_limits.depth_problems(self._longest(items or self.items, previews), self.pair)
        demands = _demands(previews, self.peer, items or self.items, self.run_folder)
        return problems + change_limits.room_problems(demands, self.pair)

    def _longest(self, items, previews):
        """The bytes of the longest path of each item in the backup, and which file has it."""
        for item, each in zip(items, previews):
            top = os.fsencode(self.folder.backup(item.module, 1)) + b"/"
            yield len(top) + each["longest"], each["longest_path"]

    def source_problems(self, files_here):
        """
        What speaks against the sources themselves; nothing is known of them here.

        files_here
            Dict of path to the files in it on this node.
        """
        return []

    def sync(self):
        """
        Make the paths here equal to the peer's, and keep everything that is overwritten or deleted.

        Returns a dict: ``paths`` (one dict a path: ``path``, counts as in a preview,
        ``conflict_names``, ``passes``, ``settled``, ``names``, ``truncated``, ``seconds``), ``changed``
        (paths that had changes), ``settled`` (whether the last pass of each path was small and complete) and
        ``seconds``. Of a pass with more than ``small_pass`` changes, counts and names are those of the look
        before it, whose list is kept: naming them again would take a tenth of its time. Another pass follows
        it.

        Raises :py:class:`failback.errors.Refused` before anything is changed, with all that was found,
        and :py:class:`failback.errors.Unavailable` if rsync failed on the way.
        """
        started = time.monotonic()
        self.folder.prepare(self.items)
        with contextlib.ExitStack() as stack:
            paths = [PathPull(self, item, stack.enter_context(self.lock(item))) for item in self.items]
            previews = workers.each(PathPull.look_first, paths, self.limits.parallel)
            problems = self.problems(previews)
            if problems:
                for path in paths:
                    path.forget()
                raise errors.Refused("\n".join(problems))
            with meter.telling(lambda: _moved(paths), self.tell):
                reports = workers.each(PathPull.sync, paths, self.limits.parallel)
        return {
            "paths": reports,
            "changed": [each["path"] for each in reports if results.changes(each)],
            "settled": all(each["settled"] for each in reports),
            "seconds": round(time.monotonic() - started, 3),
        }

    def lock(self, item):
        """Own a path against any other pass; returns the open file, which is the lock."""
        runs = self.folder.path.parent
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return rsync.lock(runs / f".{item.module}.lock")


class PathPull:
    """
    One path of a :py:class:`Pull`, from the first look to a pass that was small.

    whole
        The :py:class:`Pull`.

    item
        One of its items.

    lock
        What :py:meth:`Pull.lock` returned for it.
    """

    def __init__(self, whole, item, lock):
        self._whole, self._item, self._lock = whole, item, lock
        self._folder = whole.folder
        killed.end_passes(self._folder, item, whole.peer.top(item))
        self._number = self._folder.next_pass(item.module)
        self._looked = None
        self._was_partial = False
        #: The pass at work, and what the first one had to bring.
        self._running, self._expected, self._is_over = None, 0, False

    @property
    def _list_file(self):
        return self._folder.list_file(self._item.module, self._number)

    def look_first(self):
        """The preview of the first pass, with its conflicts; its list is kept with the run."""
        looked = self._look(self._whole.conflict)
        self._expected = looked["bytes"]
        return looked

    def moved(self):
        """Bytes that the first pass has brought, and all that it has to bring; the later ones are small."""
        running = self._running
        written = self._expected if self._is_over else running.written() if running else 0
        return min(written, self._expected), self._expected

    def _look(self, conflict=None):
        terms = {"list_file": self._list_file, "attributes_too": True, "conflict": conflict}
        self._looked = dry_run.preview(self._item, self._whole.peer, **terms)
        return self._looked

    def forget(self):
        """The pass that was looked at does not come: its list must not say that it has begun."""
        self._list_file.unlink()

    def sync(self):
        """Pass after pass. Returns the report of this path; see :py:meth:`Pull.sync`."""
        limits = self._whole.limits
        started = time.monotonic()
        report = results.empty(self._item, self._whole.peer)
        report.update(passes=0, settled=False, total_files=self._looked["total_files"])
        report.update({key: self._looked[key] for key in ("conflicts", "conflict_names")})
        while True:
            if self._whole.gate is not None:
                self._whole.gate()
            if self._whole.mark is not None:
                self._whole.mark(self._item)
            done = self.one_pass()
            report["passes"] += 1
            results.add(report, done, self._looked, results.NAMES)
            if done["code"] == 0 and results.changes(done) <= limits.small_pass:
                report["settled"] = True
                break
            if report["passes"] >= limits.max_passes and done["code"] != rsync.PARTIAL:
                break
            self._look_again()
        report["seconds"] = round(time.monotonic() - started, 3)
        return report

    def _look_again(self):
        self._number = self._folder.next_pass(self._item.module)
        problems = self._whole.problems([self._look()], [self._item])
        if problems:
            self.forget()
            raise errors.Refused("\n".join(problems))

    def one_pass(self):
        """
        One pass, with a backup.

        One with more changes than may be left for the last need not say what it does, for another follows:
        the result holds the counts and names of the look before it.
        """
        item, peer, looked = self._item, self._whole.peer, self._looked
        kept = self._folder.backup(item.module, self._number)
        named = results.changes(looked) <= self._whole.limits.small_pass
        command = rsync.pull_command(peer, item, backup=kept, named=named)
        result = results.empty(item, peer)
        if not named:
            result.update({key: looked[key] for key in (*results.ACTIONS, "bytes", "names", "truncated")})
        replaced = self._replaced() if named else ()
        with root_unchanged(item, peer), rsync.Pass(command, self._lock.fileno()) as running:
            self._running = running
            for entry in results.entries(running, item):
                path, action = results.path_of(item, entry), results.happened(entry, kept)
                if action == itemize.CREATED and path in replaced:
                    action = itemize.OVERWRITTEN
                results.count(result, action, entry)
                results.name(result, action, path, results.NAMES)
        self._is_over = True
        tree = peer.top(item)
        _sync_if_copied(kept, tree)
        if running.outcome.code in (0, rsync.VANISHED):
            backup.write_manifest(self._folder, item, self._number)
        else:
            killed.end_pass(self._folder, item, self._number, tree)
        once = () if self._was_partial else (rsync.PARTIAL, rsync.PROTOCOL)
        rsync.require_success(running.outcome, item, accept=(0, rsync.VANISHED, *once))
        self._was_partial |= running.outcome.code in once
        result["code"] = running.outcome.code
        return result

    def _replaced(self):
        """What bears the name of something of another type, as the look before the pass has seen it."""
        listed = backup.entries(self._folder, self._item.module, self._number)
        return {each["path"] for each in listed if each["action"] == itemize.OVERWRITTEN}


def _sync_if_copied(kept, tree):
    """What a pass has copied to another file system must be there before what has replaced it."""
    with contextlib.suppress(FileNotFoundError):  # it has kept nothing, or there was nothing here
        if os.stat(kept).st_dev != os.stat(tree).st_dev:
            system.sync_file_systems([kept])


def _moved(pulls):
    """Bytes of all paths that have come, and all that come."""
    moved = [each.moved() for each in pulls]
    return sum(done for done, _ in moved), sum(whole for _, whole in moved)


@contextlib.contextmanager
def root_unchanged(item, peer):
    """
    Keep the attributes of the parent folder of a file or a pattern.

    The parent is no part of what is replicated, but rsync cannot be told to leave it alone.
    """
    if item.pattern is None:
        yield
        return
    folder = peer.top(item)
    before = attributes.snapshot(folder)
    try:
        yield
    finally:
        if before is not None:
            attributes.apply(folder, before)


def _demands(previews, peer, items, run_folder):
    """What a sync adds to each file system it writes to, and what that has."""
    demands = {}

    def demand(where, added_bytes, added_files):
        where = _existing(where)
        device = os.stat(where).st_dev
        if device not in demands:
            status = os.statvfs(where)
            demands[device] = {
                "where": str(where),
                "bytes": 0,
                "files": 0,
                "free": status.f_bavail * status.f_frsize,
                "size": status.f_blocks * status.f_frsize,
                "free_files": status.f_favail,
                "all_files": status.f_files,
            }
        demands[device]["bytes"] += added_bytes
        demands[device]["files"] += added_files
        return device

    for item, each in zip(items, previews):
        need = change_limits.room_needed([each])
        there = demand(peer.folder(item) or "/", need["incoming"], need["incoming_files"])
        kept_on = os.stat(_existing(run_folder)).st_dev
        if there == kept_on:
            # Within one file system a kept file is moved; one that keeps another name is copied.
            demand(run_folder, each["copied_bytes"], each["copied_files"])
        else:
            demand(run_folder, need["kept"], need["kept_files"])
    return list(demands.values())


def _existing(path):
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
