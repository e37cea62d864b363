"""
What a node of a pair keeps by itself in every role: the addresses that it has, while it is the active one,
and what the other node has brought, while it stands by.

``/etc/cron.d/failback-keep-<pair>`` starts ``failback keep <pair>`` every minute, on both nodes. The first
start goes on in the background.

Beside that it has the facts noted that everybody may know: see :py:mod:`failback.monitoring.facts`.

It is not the watch, and no part of it. The watch takes what another node had, and runs where the pillar wants
it (``watch.on``), most often on the secondary alone. The keeper runs on both nodes, takes nothing over, and
asks nobody while all is well: the kernel tells it when an address has gone.
"""

import contextlib
import select
import sys
import syslog
import time
import traceback

from failback.decisions import keeping
from failback.errors import FailbackError
from failback.handover import put_back
from failback.host import files
from failback.host import system
from failback.network import floating
from failback.network import netlink
from failback.replication import on_disk
from failback.state import configuration
from failback.watch import heard
from failback.watch import resident

#: Seconds between two looks at the own files.
HOUSEKEEPING = 2.0


def main(member, foreground=False, restart=None, beside=None):
    """
    Be the keeper of one pair, or end at once if there is one.

    member
        :py:class:`failback.pair.Member`.

    foreground
        Stay in the foreground and write to standard error as well as to the system's log.

    restart
        Called when files have changed. Default: run the same command line anew in this process.

    beside
        Called with the member once this is the keeper: it begins what is done beside, and returns.

    Returns 0 when another keeper runs, or when the pair has nothing to keep; otherwise it does not return.
    """
    if beside is None and not member.config["floating_ips"] and not member.config["replicate"]:
        return 0
    lock = resident.single(member.volatile / "keeper.lock")
    if lock is None:
        return 0
    with lock:
        if not foreground and not resident.detach():
            return 0
        syslog.openlog("failback", syslog.LOG_PID, syslog.LOG_DAEMON)
        if beside is not None:
            beside(member)
        with contextlib.closing(Keeper(member, foreground)) as keeper:
            try:
                keeper.run()
            except Exception:
                if member.pair not in configuration.names(member.paths):
                    return 0  # no pair of this node any more: there is nothing to keep
                # Nobody reads its standard error. Cron starts the next one within a minute.
                syslog.syslog(syslog.LOG_ERR, f"keeper of {member.pair}: {traceback.format_exc()}")
                raise
    return (restart or resident.start_anew)() or 0


class Keeper:
    """
    The keeper of one pair on this node.

    member, foreground
        As for :func:`main`.
    """

    def __init__(self, member, foreground=False):
        self.member = member
        self.foreground = foreground
        self._changes = resident.Changes(member.paths)
        self._news = netlink.Netlink(netlink.CHANGES)
        self._file = member.volatile / "kept.json"
        self._had = self._read()
        self._syncer = on_disk.Syncer(member, self._say_of_the_disk)
        self._heard = heard.HeardRecorder(member)
        self._carriers, self._failures, self._next, self._said = None, 0, 0.0, None

    def close(self):
        """Close the socket."""
        self._news.close()

    def run(self):
        """Keep until the package's files or the configuration change."""
        while not self._changes.settled():
            end = time.monotonic() + HOUSEKEEPING
            while time.monotonic() < end:
                due = min(self.look(), end)
                self._syncer.look()
                select.select([self._news], [], [], max(0.0, due - time.monotonic()))
                self._news.drain()

    def look(self):
        """
        Look at the addresses once, and put back what has to be.

        Returns when to look again without news, by the monotonic clock.
        """
        wanted = floating.of_pair(self.member.config)
        statuses = floating.statuses(wanted)
        known = put_back.facts(self.member)
        self._note(known, frozenset(one.ip for one, now in zip(wanted, statuses) if now["held"]))
        carriers = [one["carrier"] for one in statuses]
        if carriers != self._carriers:
            # An interface that has come back is a reason to try at once.
            self._carriers, self._failures, self._next = carriers, 0, 0.0
        away = put_back.missing(self.member, self._had.addresses) if known.active else []
        if not away:
            self._failures, self._next, self._said = 0, 0.0, None
            return time.monotonic() + keeping.LOOK_EVERY
        if time.monotonic() >= self._next:
            self._put_back(known, ", ".join(one.name for one in away))
        return self._next

    def _note(self, known, held):
        before = self._had
        generation = known.ledger["generation"] if known.active else None
        self._heard.look(generation if held else None)
        self._had = keeping.noted(before, generation, held, system.boottime())
        if (self._had.generation, self._had.addresses) != (before.generation, before.addresses):
            self._write()

    def _say_of_the_disk(self, sentence):
        self._log(sentence, syslog.LOG_ERR)

    def say(self, sentence):
        """One line in the system's log, once for each thing that is to be said."""
        if sentence == self._said:
            return
        self._said = sentence
        self._log(sentence, syslog.LOG_NOTICE)

    def _log(self, sentence, priority):
        syslog.syslog(priority, sentence)
        if self.foreground:
            print(f"failback: {sentence}", file=sys.stderr, flush=True)

    def _put_back(self, known, names):
        reason = keeping.refusal(known)
        try:
            if not reason:
                patience = float(self.member.config["watch"]["patience"])
                asks = keeping.may_have_been_followed(self._had, system.boottime(), patience)
                sentence = put_back.put_back(self.member, self._had.addresses, asks)
                if sentence:
                    self.say(sentence)
                self._failures, self._next = 0, time.monotonic() + keeping.AGAIN
                return
        except FailbackError as error:
            reason = str(error)
        except Exception as error:  # the next attempt may succeed; nobody else would make one
            reason = f"{type(error).__name__}: {error}"
        self._failures += 1
        self._next = time.monotonic() + keeping.next_attempt(self._failures)
        self.say(f"{names} has gone from {self.member.node} and is not put back: {reason}")

    def _read(self):
        with contextlib.suppress(FailbackError, TypeError):
            found = files.read_json(self._file, "what this node has had") or {}
            if found.get("boot_id") == system.boot_id():
                return keeping.Had(found.get("generation"), frozenset(found.get("addresses", ())))
        return keeping.Had()

    def _write(self):
        # A full /run costs the next start of this program what it would have known.
        with contextlib.suppress(OSError):
            known = {"generation": self._had.generation, "addresses": sorted(self._had.addresses)}
            files.write_json(self._file, {"boot_id": system.boot_id(), **known})
