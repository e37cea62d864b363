"""
Whether both nodes have the same files, found by checksum while the pair serves.

lsyncd and every sync go by size and time: a bit that has flipped on the standby's disk, or a file that
somebody has edited there and set back, is seen by none of them. This reads all files on both nodes::

    record = Verification(member).run()
    record["differing"], record["differences"]

It runs where the pair is served and asks the standby's rsync daemon, in the direction in which lsyncd carries
and with ``--dry-run``: data could move one way only. Both ends have the lowest priority for processor and
disk. What differs may be on its way, so it is looked at again when lsyncd has carried all that there was.
What still differs then, and has not been changed here since, nobody carries.

The record that is kept of it (``verified.json``):

================  ========================================================================================
``at``            when it began, in seconds since the epoch: it says nothing of what happened later
``by``            the node that served
``generation``    the generation in which it served
``files``         how many files, folders and links were compared
``differing``     how many differ and are not on their way
``differences``   the first of them: ``path``, ``of`` (the replicated path), ``name`` (below it), ``what``
``complete``      whether those are all
``busy``          how many differed but were changed all the time, and are not judged
``repaired``      how many were repaired
``seconds``       how long it took
================  ========================================================================================
"""

import contextlib
import os
import threading
import time

from failback import errors
from failback.decisions import verified as decisions
from failback.host import files
from failback.host import notation
from failback.host import system
from failback.peer import answers
from failback.recovery import dry_run
from failback.recovery import itemize
from failback.recovery import results
from failback.recovery import rsync
from failback.replication import gate
from failback.replication import lsyncd_status
from failback.replication import replicated
from failback.state import ledger
from failback.state import proofs

#: The lowest priority for disk and processor: ionice(1), nice(1).
LOWEST = ("ionice", "-t", "-c", "3", "nice", "-n", "19")

#: Differences that are looked at again by name: with more, all is looked at again.
FEW = 1000

#: Differences that a record names, and those beyond which somebody must look who knows the site.
NAMED, MOST = 1000, 100_000

#: Looks at what differs, one after another, two at least, as long as some of it changes; and repairs.
LOOKS, REPAIRS = 3, 3

#: Seconds for lsyncd to carry what there is, and after which files that it always has to carry do not count.
CARRIED_WITHIN, PARTLY = 120.0, 15.0

#: A file's ctime is that of the last tick of the kernel's clock, which may be so many seconds ago.
TICK = 0.02

#: What rsync says of a folder that has another time, and nothing else: each file that is carried into it, or
#: deleted from it, does that for a moment.
FOLDER_TIME = ".d..t......"

WHAT = {
    itemize.CREATED: decisions.MISSING,
    itemize.OVERWRITTEN: decisions.DIFFERS,
    itemize.DELETED: decisions.EXTRA,
    itemize.ATTRIBUTES: decisions.ATTRIBUTES,
}


class Verification:
    """
    One comparison of a pair, on the node that serves it.

    member
        :py:class:`failback.pair.Member`.

    limit
        Seconds after which it is given up.

    remote_shell, unit_reader
        For tests: a program in place of ssh, and a function that returns what systemd says of lsyncd.
    """

    def __init__(self, member, limit=decisions.LIMIT, remote_shell=None, unit_reader=lsyncd_status.unit):
        self._member = member
        self._limit, self._end = limit, time.monotonic() + limit
        self._unit = unit_reader
        self._peer = rsync.Peer(
            host=member.peer["host"],
            remote_shell=remote_shell or replicated.ssh_command(member.paths),
            root=str(member.paths.root),
        )
        self._items = [
            replicated.items_on_disk(one["path"], str(member.paths.root))[0]
            for one in member.config["replicate"]
        ]
        self._files = 0
        self._generation = None

    def run(self, repair=False, max_delete=None):
        """
        Compare, and repair if wanted.

        repair
            Carry what differs once more, by checksum. Where the last comparison has named all that differed,
            and the pair has not changed hands since, these are looked at, and no others.

        max_delete
            Files that a repair may delete on the standby; the pair's if not given.

        Returns the record, which is kept on this node. Raises ``Refused`` when this node must not carry
        anything, or another comparison is at work; ``Unavailable`` when it could not be ended.
        """
        started, began = time.monotonic(), time.time()
        gate.require_lsyncd(self._member)
        with files.locked_at_once(self._member.state / ".verify.flock") as alone:
            if not alone:
                raise errors.Refused(
                    f"Another comparison of {self._member.pair} is at work on {self._member.node}; two would "
                    f"slow each other down. Wait for its end; to end it, see: salt '{self._member.node}' "
                    f"saltutil.running"
                )
            self._generation = self._member.ledger.read()["generation"]
            record = self._repairable() if repair else None
            if record:
                found = self._known(record)
            else:
                record = {"at": round(began, 1)}
                found = self._look()
                record["files"] = self._files
            record.update(generation=self._generation, repaired=0)
            certain, busy = self._settled(found)
            kept = self._keep(record, certain, busy, started)
            if repair and certain:
                certain, busy, repaired = self._repair(certain, max_delete)
                kept = self._keep({**record, "repaired": repaired}, certain, busy, started)
            return kept

    def _keep(self, record, certain, busy, started):
        differences = [
            {
                "path": results.path_of(item, entry).rstrip("/") or "/",
                "of": item.path,
                "name": notation.readable(entry.name),
                "what": WHAT[entry.action],
            }
            for (item, _), entry in list(certain.items())[:NAMED]
        ]
        record = {
            **{key: record[key] for key in ("at", "generation", "files", "repaired")},
            "by": self._member.node,
            "differing": len(certain),
            "differences": differences,
            "complete": len(certain) == len(differences),
            "busy": len(busy),
            "seconds": round(time.monotonic() - started, 1),
        }
        proofs.keep_verified(self._member, record)
        return record

    def _repairable(self):
        """What the last comparison has found, if that is all there is to repair; or None."""
        record = proofs.verified(self._member)
        if not record or not record["current"] or not record["differing"] or not record.get("complete"):
            return None
        # The pillar may name other paths by now.
        paths = {item.path for item in self._items}
        return record if all(one["of"] in paths for one in record["differences"]) else None

    def _known(self, record):
        """What a record names, as a look would have found it; its files were compared then."""
        actions = {what: action for action, what in WHAT.items()}
        items = {item.path: item for item in self._items}
        found = {}
        for one in record["differences"]:
            name = notation.raw(one["name"])
            entry = itemize.Entry(actions[one["what"]], "", 0, name, b"")
            found[items[one["of"]], name] = entry
        return found

    def _repair(self, certain, max_delete):
        """Carry what differs. Returns what still does, what is busy, and how many do not any more."""
        allowed = self._member.config["recovery"]["max_delete"] if max_delete is None else max_delete
        other, all_found = self._member.peer["id"], certain
        doomed = sum(entry.action == itemize.DELETED for entry in certain.values())
        refusal = decisions.repair_refusal(self._member.config, other, doomed, allowed)
        if refusal:
            raise errors.Refused(refusal)
        busy = {}
        for _ in range(REPAIRS):
            gate.require_lsyncd(self._member)
            keys = list(certain)
            for first in range(0, len(keys), FEW):
                self._pass_over(_names(keys[first : first + FEW]), pretend=False)
            # lsyncd may have carried a newer version while this pass still had an older one in its hands:
            # what differs now is found as before, and carried again.
            certain, busy = self._settled(all_found)
            if not certain:
                break
        return certain, busy, sum(key not in certain and key not in busy for key in all_found)

    def _settled(self, found):
        """
        Of what a look has found: what nobody carries, and what cannot be told because it changes.

        Returns two dicts of ``(item, name)`` to the entry.
        """
        certain, busy, proved = {}, {}, set()
        for number in range(LOOKS):
            if not found:
                return {}, {}
            since, waiting = self._carried(len(found))
            found = self._look(_names(found) if len(found) <= FEW else None)
            with self._trees() as trees:
                resting = {
                    key
                    for key in found
                    if not self._waits(*key, waiting)
                    and not dry_run.changed_since(trees[key[0]], key[1].rstrip(b"/"), since)
                }
            # Twice: what one look sees may be a file that lsyncd's rsync has in its hands on the other node.
            certain = {key: found[key] for key in found if key in proved}
            busy = {key: found[key] for key in found if key not in certain}
            proved |= resting
            if number and not busy:
                break
        return certain, busy

    def _carried(self, number):
        """
        Wait until lsyncd has carried all there is.

        Returns since when, in nanoseconds of the epoch, more may be due, and a set of the paths, in bytes,
        that have waited all the time.
        """
        clocks = system.clocks()
        left = min(CARRIED_WITHIN, max(1.0, self._end - time.monotonic()))
        try:
            done = lsyncd_status.drain(self._member, left, self._unit, PARTLY)
        except errors.Unavailable as error:
            raise errors.Unavailable(
                f"{decisions.plural(number)} differ between {self._member.node} and "
                f"{self._member.peer['id']}, and whether they are on their way cannot be told. {error}"
            ) from error
        since = clocks["wall"] + min(0.0, system.clock_step(clocks)) - TICK
        waiting = {
            os.path.join(os.fsencode(source), os.fsencode(path).strip(b"/")).rstrip(b"/")
            for source, path in done["left"]
        }
        return int(since * 1_000_000_000), waiting

    def _waits(self, item, name, waiting):
        """Whether a name, or a folder above it, is among those that wait to be carried."""
        path = os.path.join(os.fsencode(self._peer.folder(item)), name.rstrip(b"/"))
        while len(path) > 1:
            if path in waiting:
                return True
            path = os.path.dirname(path)
        return False

    @contextlib.contextmanager
    def _trees(self):
        with contextlib.ExitStack() as stack:
            yield {
                item: stack.enter_context(dry_run.tree_of(self._peer.folder(item))) for item in self._items
            }

    def _look(self, names=None):
        """Compare all, or some names of each item. Returns a dict of ``(item, name)`` to the entry."""
        return self._pass_over(names, pretend=True)

    def _pass_over(self, names, pretend):
        # One item at a time: this is in no hurry.
        found = {}
        for item in self._items:
            if names is not None and item not in names:
                continue
            for entry in self._pass(item, None if names is None else names[item], pretend):
                if entry.code == FOLDER_TIME:
                    continue
                found[item, entry.name] = entry
                if len(found) > MOST:
                    raise errors.Unavailable(
                        f"More than {MOST} files differ between {self._member.node} and "
                        f"{self._member.peer['id']}: that is no matter of single files. To have lsyncd "
                        f"compare everything and carry it, run: salt '{self._member.node}' lsyncd.start "
                        f"{self._member.pair} anew=True"
                    )
        return found

    def _pass(self, item, names, pretend):
        """One rsync over an item: the entries of what differs."""
        patterns = None if names is None else names_as_patterns(names)
        command = [*LOWEST, *push_command(self._peer, item, patterns is not None, pretend)]
        with (
            rsync.Pass(command, fed=patterns is not None) as running,
            self._ended_in_time(running) as ended,
        ):
            if patterns is not None:
                running.feed(patterns)
            yield from results.entries(running, item)
        if ended:
            raise errors.Unavailable(ended[0])
        self._require_ended_well(running.outcome, item, pretend)
        self._files += max(0, running.outcome.source_files - 1)

    def _require_ended_well(self, outcome, item, pretend):
        if rsync.looked_well(outcome) if pretend else outcome.code in (0, rsync.VANISHED):
            return
        said = " ".join(line.strip() for line in outcome.words) or "nothing"
        other = self._member.peer["id"]
        changed = "Nothing was changed" if pretend else "What was repaired until then is repaired"
        raise errors.Unavailable(
            f"rsync of {item.path} to {other} ended with exit code {outcome.code}, so nothing is known of "
            f"what differs. {changed}. rsync said: {said}{answers.advice(said, other)} Fix that, then run it "
            f"again."
        )

    @contextlib.contextmanager
    def _ended_in_time(self, running):
        """End an rsync when there is a reason to; the list that this gives then holds that reason."""
        over, why = threading.Event(), []

        def watch():
            while not over.wait(1.0):
                reason = self._reason_to_end()
                if reason:
                    why.append(reason)
                    running.end()
                    return

        thread = threading.Thread(target=watch, name="failback-verify", daemon=True)
        thread.start()
        try:
            yield why
        finally:
            over.set()
            thread.join()

    def _reason_to_end(self):
        """Why this comparison must end now, a sentence; or None. Service comes first."""
        pair, node = self._member.pair, self._member.node
        if time.monotonic() > self._end:
            return (
                f"The comparison of {pair} was not ended within {self._limit:g} s, so it proves nothing. "
                f"Give it more time (`limit`), or run it when less is read and written."
            )
        with contextlib.suppress(errors.FailbackError):
            lock = self._member.lock.read()
            if lock and lock["state"] == "held":
                return (
                    f"The comparison of {pair} has made way for run {lock['run']}. Run it again afterwards."
                )
            own = self._member.ledger.read()
            if not ledger.is_active(own, node) or own["generation"] != self._generation:
                return f"{pair} has changed hands, so the comparison on {node} was ended."
        return None


def push_command(peer, item, named, pretend):
    """
    The argument list that compares an item with the peer's by checksum, and carries what differs.

    peer, item
        As for :py:func:`failback.recovery.rsync.pull_command`.

    named
        Only names that match the patterns that come on standard input.

    pretend
        Only say what would be carried.

    It has no limit of its own for silence: where a file is large, both ends read for long. ssh notices a peer
    that is gone, and :py:class:`Verification` has a limit for the whole.
    """
    # Without a whole list at the beginning, both nodes read their files at the same time.
    options = replicated.OPTIONS if pretend else replicated.CARRYING
    command = [peer.program, *options, "--checksum", itemize.FORMAT, "--stats"]
    command += ["--from0", "--include-from=-", "--exclude=*"] if named else replicated.filters(item)
    command += ["--dry-run"] if pretend else []
    # The other node's end has the lowest priority too: see failback.peer_requests.
    command += ["--rsync-path=verify", "-e", peer.remote_shell]
    return [*command, f"{peer.folder(item)}/", peer.module(item)]


def names_as_patterns(names):
    """
    Patterns of rsync that match some names and what leads to them, and nothing else, as lsyncd is told.

    names
        Bytes, relative to the root of the item.

    Returns a list of bytes. A pattern without a wildcard takes a backslash for itself, one with them for an
    escape: rsync(1).
    """
    patterns = {}
    for name in names:
        parts = name.rstrip(b"/").split(b"/")
        for depth in range(1, len(parts)):
            patterns[_literal(b"/".join(parts[:depth])) + b"/"] = None
        if name != b"./":
            patterns[_literal(b"/".join(parts))] = None
    return list(patterns)


def _literal(name):
    if any(one in name for one in b"*?["):
        name = b"".join(b"\\" + bytes([one]) if one in b"\\*?[" else bytes([one]) for one in name)
    return b"/" + name


def _names(found):
    """The names of what was found, by item."""
    names = {}
    for item, name in found:
        names.setdefault(item, []).append(name)
    return names
