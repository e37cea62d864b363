"""
One watched pair: its sockets, what was heard on them, and what the node's own files say of it.

It collects an observation; :py:mod:`failback.decisions.silence` judges it.
"""

import contextlib
import dataclasses
import os
import time

from failback.decisions import hearing
from failback.decisions import silence
from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.lease import right
from failback.network import floating
from failback.network import neighbours
from failback.network import netlink
from failback.network import reachable
from failback.state import pause as pauses
from failback.watch import telling

#: Seconds between two looks for a pause whose run has died.
ORPHANS_EVERY = 1.0


class WatchedPair:
    """One pair: its sockets, what was heard on them, and the state of its judgement."""

    def __init__(self, member, settings, addresses, boot_id):
        self.member = member
        self.settings = settings
        self.addresses = addresses
        self.boot_id = boot_id
        self.sentence = None
        self.wake = 0.0
        self._next_probe = 0.0
        self._targets = reachable.Targets(unasked=settings.reachable is None)
        self._echo = reachable.Echo(())
        self._prober = None
        self._links = {}
        self._answers, self._reached, self._confirmed = {}, None, None
        self._answered_at = None
        self._held, self._connected = frozenset(), frozenset()
        self._ledger = _Remembered(member.ledger.path, member.ledger.read)
        self._pause = _Remembered(member.pause.path, member.pause.written)
        self._orphans = pauses.Orphans(member)
        self._telling = telling.Pauses(member)
        self._next_look_for_orphans = 0.0
        self._seen_file = member.volatile / "seen.json"
        self._state = silence.State(seen=self._read_seen())

    @classmethod
    def of(cls, member, cron, boot_id):
        """
        The watch of a pair under a cron name on this node; None if nothing of it is watched here.

        member
            :py:class:`failback.pair.Member`.
        """
        role = member.role
        entries = [
            one
            for one in member.config["floating_ips"]
            if one["watch"]["cron"] == cron and silence.covers(one["watch"]["on"], role)
        ]
        if not entries:
            return None
        addresses = [floating.FloatingAddress.from_pair(one) for one in entries]
        watch = member.config["watch"]
        both = any(one["watch"]["on"] == "both" for one in entries)
        settings = silence.Settings(
            pair=member.pair,
            node=member.node,
            addresses={one.ip: (one.name, one.interface) for one in addresses},
            interval=float(watch["interval"]),
            patience=float(watch["patience"]),
            # Whom to ask is known when the routes are; see :meth:`look`.
            reachable=None if hearing.asked(member.config) == hearing.NOBODY else (),
            delay=_waits_longer(member.config) if both and role == "secondary" else 0.0,
        )
        return cls(member, settings, addresses, boot_id)

    def sockets(self):
        """For select."""
        return [*(self._prober.sockets() if self._prober else ()), *self._echo.sockets()]

    def close(self):
        """Close every socket."""
        self._echo.close()
        if self._prober:
            self._prober.close()

    def look(self, links, borne, gateways=frozenset()):
        """Take notice of the interfaces, the addresses and the gateways of this node."""
        anew = self._know_whom_to_ask(links, borne, gateways)
        held = frozenset(
            one.ip
            for one in self.addresses
            if one.interface in links
            and any(
                other.packed == one.packed and other.index == links[one.interface].index and not other.failed
                for other in borne
            )
        )
        connected = frozenset(
            one.interface for one in self.addresses if one.interface in links and links[one.interface].carrier
        )
        if (held, connected) != (self._held, self._connected):
            self.wake = 0.0
        self._held, self._connected = held, connected
        mine = {
            one.interface: links[one.interface]
            for one in [*self.addresses, *self._targets.near]
            if one.interface in links
        }
        mine["sources"] = [netlink.link_local(links[one], borne) for one in sorted(mine)]
        if anew or mine != self._links or self._prober is None:
            self._links = mine
            if self._prober:
                self._prober.close()
                self._prober = None
            with contextlib.suppress(OSError, FailbackError):  # looked at again with the next news
                self._prober = neighbours.Prober(
                    [one for one in [*self.addresses, *self._targets.near] if one.interface in mine],
                    links,
                    borne,
                )

    def _know_whom_to_ask(self, links, borne, gateways):
        """Who must answer before this node takes anything, by its routes. Returns whether that is news."""
        found = reachable.targets(self.member.config, links, gateways, borne)
        if found == self._targets:
            return False
        if found.far != self._targets.far:
            self._echo.close()
            self._echo = reachable.Echo(found.far)
        self._targets = found
        self.settings = dataclasses.replace(self.settings, reachable=found.names)
        return True

    def hear(self, kernel):
        """
        While nobody has heard a claim: when did a neighbour show last that it hears this node?

        kernel
            An open :class:`failback.network.netlink.Netlink`.
        """
        if self._state.claim is None:
            return
        age = reachable.heard(kernel, self._links, self.addresses)
        if age is not None:
            self._confirmed = time.monotonic() - age

    def read(self):
        """Take notice of the answers that have arrived."""
        now = time.monotonic()
        near = {one.ip for one in self._targets.near}
        for ip, mac, answers_us in self._prober.read() if self._prober else ():
            if ip in near and answers_us:
                # A router that is merely heard need not hear this node.
                self._reached = now
            if ip in self.settings.addresses:
                self._answered_at = now
                macs = self._answers.get(ip, (0, frozenset()))[1]
                self._answers[ip] = (now, macs | {mac})
        if self._echo.read():
            self._reached = now
        if self._answers and not self._state.holding:
            quiet = self._state.silence.values()
            if any(one.probes > 1 for one in quiet):
                self.wake = 0.0  # an end of a silence is news

    def silent_for(self):
        """For how many seconds no other host has answered for an address; 0 where none has in this watch."""
        return 0.0 if self._answered_at is None else time.monotonic() - self._answered_at

    def judge(self):
        """Ask again if it is time, and judge what was seen. Returns ``(action, sentence)``."""
        now = time.monotonic()
        asked = frozenset()
        if now >= self._next_probe and self._prober:
            asked = frozenset(one.ip for one in self._prober.ask(self._present(self.addresses)))
            quiet = any(one.probes for one in self._state.silence.values()) and not self._state.holding
            if quiet or self._state.claim is not None:
                self._prober.ask(self._present(self._targets.near))
                self._echo.ask()
        ledger, ledger_error = self._ledger.read()
        pause, pause_error = self._pause_now()
        if pause and now >= self._next_look_for_orphans:
            self._next_look_for_orphans = now + ORPHANS_EVERY
            if self._end_orphan(pause, now):
                pause, pause_error = self._pause_now()
        before = self._state
        self._state, action, sentence = silence.decide(
            before,
            silence.Observation(
                now=now,
                wall=time.time(),
                boot_id=self.boot_id,
                ledger=ledger,
                ledger_error=ledger_error,
                pause=pause,
                pause_error=pause_error,
                held=self._held,
                answers=self._answers,
                asked=asked,
                connected=self._connected,
                reached=self._reached,
                confirmed=self._confirmed,
            ),
            self.settings,
        )
        self._strangers = sorted({mac for _, macs in self._answers.values() for mac in macs})
        self._answers, self._reached, self._confirmed = {}, None, None
        if self._state.seen != before.seen:
            self._write_seen()
        if asked or now >= self._next_probe:
            self._next_probe = now + silence.until_next_probe(self._state, self.settings)
        elif before.holding and not self._state.holding:
            self._next_probe = now
        due = silence.due(self._state, self.settings)
        self.wake = self._next_probe if due is None or due <= now else min(self._next_probe, due)
        return self._with_the_lease(action, sentence)

    def _end_orphan(self, pause, now):
        """End the pause of a run that has died. Returns whether there was one."""
        pair = self.settings.pair
        try:
            run = self._orphans.ended(pause, now)
        except (FailbackError, OSError) as error:  # a full disk: the watch of the other pairs goes on
            system.log(f"the pause of the watch of {pair} is that of a run that has died, and stays: {error}")
            return False
        if run:
            system.log(f"the pause of the watch of {pair} is over: run {run} has died")
            telling.run_died(self.member, run)
        return bool(run)

    def _with_the_lease(self, action, sentence):
        """Silence is not enough where the pair has a lease: nothing is taken before that has run out."""
        if action == silence.TAKE:
            try:
                refusal = right.takeover_refusal(self.member)
            except FailbackError as error:
                refusal = str(error)
            if refusal:
                return silence.NOTHING, refusal
        return action, sentence

    def _pause_now(self):
        """The pause that lasts longest, by the clock as it is set in this moment: ``(pause, why not)``."""
        written, error = self._pause.read()
        if error is None:
            self._telling.look(written or ())
        return pauses.longest(written or ()), error

    def strangers(self):
        """The hardware addresses that answered for what this node holds, when last judged."""
        return self._strangers

    def failed(self):
        """A claim has failed: count the silence anew."""
        self._state = silence.failed(self._state, time.monotonic(), self.settings)

    def status(self):
        """See :meth:`Watch.status`."""
        now = time.monotonic()
        state = self._state
        asks = self.settings.reachable
        return {
            "sentence": self.sentence,
            "asks": None if asks is None else list(asks),
            "addresses": {
                name: {
                    "held": ip in self._held,
                    "seen": ip in state.seen,
                    "answered_by": [] if ip in self._held else state.answered_by.get(ip, []),
                    "silent_seconds": round(now - state.silence[ip].heard, 1)
                    if ip in state.silence and state.silence[ip].probes > 1
                    else 0,
                }
                for ip, (name, _) in self.settings.addresses.items()
            },
        }

    def _present(self, addresses):
        return [one for one in addresses if one.interface in self._links]

    def _read_seen(self):
        with contextlib.suppress(FailbackError):
            found = files.read_json(self._seen_file, f"what was seen of {self.settings.pair}")
            if found and found.get("boot_id") == self.boot_id:
                return frozenset(found.get("seen", ())) & frozenset(self.settings.addresses)
        return frozenset()

    def _write_seen(self):
        # Those of another cron name's watch are in the same file.
        with contextlib.suppress(OSError, FailbackError):
            found = files.read_json(self._seen_file, "what was seen") or {}
            known = set(found.get("seen", ())) if found.get("boot_id") == self.boot_id else set()
            known |= self._state.seen
            files.write_json(self._seen_file, {"boot_id": self.boot_id, "seen": sorted(known)})


def _waits_longer(config):
    """Seconds of further silence for the secondary where both watch: the primary goes first, and is heard."""
    fence = config.get("fence") or {}
    # And has had time to switch this node off, before this one does the same to it.
    return float(config["watch"]["patience"]) + (float(fence["delay"]) if fence.get("nodes") else 0.0)


class _Remembered:
    """A file's content, read again only when the file is another."""

    def __init__(self, path, read):
        self._path, self._read = path, read
        self._mark, self._found = "never read", (None, None)

    def read(self):
        """Returns ``(content, None)`` or ``(None, why not)``."""
        mark = _mark(self._path)
        if mark != self._mark:
            try:
                self._found = (self._read(), None)
            except FailbackError as error:
                self._found = (None, str(error))
            self._mark = mark
        return self._found


def _mark(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
