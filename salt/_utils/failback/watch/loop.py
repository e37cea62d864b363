"""
The automatic flip: sees that the holder of a pair's addresses has gone, and takes them.

``failback-watch@<name>.service`` runs it: systemd starts it again at once when it ends, and ends it when it
says nothing for a while. ``/etc/cron.d/<name>`` starts ``failback watch <name>`` every minute as well. That
finds the watch running and ends at once; else it has systemd start the service, and says so. Where that
fails, it becomes the watch itself, in the background, until the service wants its place. One process
watches all addresses on this node whose ``watch: {cron: <name>}`` says so, of whatever pair.

It needs neither Salt nor the other node. Once every ``interval`` it asks the network who answers
for each address, and :func:`failback.decisions.silence.decide` judges what that means. A takeover
goes on beside it, so that a slow one delays no other pair. It starts itself anew when its own files
or the node's configuration have changed.
"""

import contextlib
import os
import re
import select
import sys
import syslog
import threading
import time
import traceback

from failback.decisions import silence
from failback.errors import FailbackError
from failback.errors import Refused
from failback.host import files
from failback.host import notify
from failback.host import system
from failback.host.paths import Paths
from failback.network import netlink
from failback.pair import Member
from failback.state import configuration
from failback.watch import resident
from failback.watch import slow
from failback.watch import trials
from failback.watch.pair import WatchedPair
from failback.watch.place import Place

#: Seconds between two looks at the own files and at interfaces that were missing.
HOUSEKEEPING = 1.0

#: Seconds after which the status file is written although nothing has changed, and interfaces and
#: addresses are read although the kernel has told of no change.
REFRESH = 10.0

#: The names that cron accepts in /etc/cron.d (Debian's cron(8)); others would never run.
CRON_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")


#: What it ends with where nothing is to be watched: systemd does not start it again then.
NOTHING_TO_WATCH = 4


def main(cron, paths=None, take_over=None, on_conflict=None, foreground=False, restart=None, service=False):
    """
    Be the watch of one cron name, or end at once if there is one.

    cron
        Name of the file in ``/etc/cron.d``.

    paths
        ``Paths`` of the node.

    take_over
        Called with ``(member, reason)``, in a thread of its own, to take a pair's addresses. Default:
        ``failback.handover.takeover.take_over``.

    on_conflict
        Called with ``(member, hardware addresses)``, in a thread of its own, when another host
        answers for what this node holds. Default: ``failback.handover.takeover.conflict``.

    foreground
        Stay in the foreground and write to standard error as well as to the system's log.

    restart
        Called when files have changed. Default: run the same command line anew in this process.

    service
        True: systemd runs it. It waits until another process has left its place to it.

    Returns 0 when another watch runs, when systemd has started the service or the service wants the place;
    ``NOTHING_TO_WATCH`` to systemd, and 0 else, when nothing on this node is watched under this name. Raises
    ``Refused`` for a name that cron would not run.
    """
    if not isinstance(cron, str) or not CRON_NAME.match(cron):
        raise Refused(
            f"{cron!r} cannot be the name of a file in /etc/cron.d: cron runs only those made of "
            f"letters, digits, _ and -."
        )
    place = Place(cron, paths or Paths())
    if take_over is None or on_conflict is None:
        from failback.handover import takeover

        take_over = take_over or takeover.take_over
        on_conflict = on_conflict or takeover.conflict
    lock = place.for_service() if service else place.for_cron(foreground)
    if lock is None:
        return 0
    with lock:
        watch = Watch(place, take_over, on_conflict, foreground, service)
        if not watch.pairs and not watch.unreadable:
            return NOTHING_TO_WATCH if service else 0
        if not foreground and not service and not resident.detach():
            return 0
        syslog.openlog("failback", syslog.LOG_PID, syslog.LOG_DAEMON)
        watch.run()
        awaited = watch.is_awaited()
        watch.say(f"watch {cron}: {'left to its service' if awaited else 'files have changed, restarting'}")
        watch.close()
    return 0 if awaited else (restart or resident.start_anew)() or 0


class Watch:
    """
    All watched pairs of one cron name on this node.

    place
        A :py:class:`failback.watch.place.Place` that this process has. The others are those of :func:`main`.
    """

    def __init__(self, place, take_over, on_conflict, foreground, service=False):
        self.place = place
        self.take_over = take_over
        self.on_conflict = on_conflict
        self.foreground = foreground
        self.service = service
        self.began = time.time()
        self.changes = resident.Changes(place.paths)
        self.boot_id = system.boot_id()
        self.pairs, self.unreadable = [], []
        for name in configuration.names(place.paths):
            try:
                one = WatchedPair.of(Member.load(name, place.paths), place.cron, self.boot_id)
            except (FailbackError, KeyError, TypeError, ValueError) as error:
                self.unreadable.append(f"{name}: not watched, unusable configuration: {error}")
                continue
            if one:
                self.pairs.append(one)
        self._kernel = None
        self._news = None
        self._conflicts = {}
        self._takeovers = slow.Slow()
        self._trials = trials.Trials([pair.member for pair in self.pairs])
        self._written = None

    def run(self):
        """Watch until the package's files or the configuration change, or the service wants the place."""
        for sentence in self.unreadable:
            self.say(sentence)
        self._kernel = netlink.Netlink()
        self._news = netlink.Netlink(netlink.CHANGES)
        now = time.monotonic()
        housekeeping, refresh = now + HOUSEKEEPING, now + REFRESH
        self._look_at_interfaces()
        while True:
            for pair in self._watched():
                if time.monotonic() >= pair.wake:
                    self._judge(pair)
            self._wait(min([housekeeping, *(pair.wake for pair in self._watched())]))
            self._end_takeovers()
            now = time.monotonic()
            if self._news.drain() or now >= refresh:
                self._look_at_interfaces()
            if now >= refresh:
                refresh = now + REFRESH
                self._write_status()
            if now >= housekeeping:
                housekeeping = now + HOUSEKEEPING
                self._trials.begin(now)
                notify.tell(notify.ALIVE)
                if (self.changes.settled() or self.is_awaited()) and not self._at_work():
                    return

    def is_awaited(self):
        """Whether this is cron's process, and the service waits for its place."""
        return not self.service and self.place.is_awaited()

    def close(self):
        """Close every socket."""
        for opened in (self._kernel, self._news, self._takeovers, *self.pairs):
            if opened is not None:
                opened.close()

    def say(self, sentence, priority=system.NOTICE):
        """One line in the system's log."""
        syslog.syslog(priority, sentence)
        if self.foreground:
            print(f"failback: {sentence}", file=sys.stderr, flush=True)

    def status(self):
        """
        How things stand, for the node's report.

        Returns ``cron``, ``pid``, ``since`` and ``updated`` (seconds since the epoch), ``problems``
        (sentences) and ``pairs``: name to ``sentence``, ``asks`` (the addresses of which one must answer
        before a takeover; None for nobody) and ``addresses``, name to ``held``, ``seen``, ``answered_by``,
        ``silent_seconds``.
        """
        return {
            "cron": self.place.cron,
            "pid": os.getpid(),
            "since": self.began,
            "updated": time.time(),
            "problems": self.unreadable,
            "pairs": {pair.settings.pair: pair.status() for pair in self.pairs},
        }

    def _watched(self):
        """The pairs that are to be judged: not those of which a takeover is under way."""
        return [pair for pair in self.pairs if not self._takeovers.busy(pair.settings.pair)]

    def _at_work(self):
        """Whether something goes on beside the loop that a restart would cut off."""
        return self._takeovers.any or any(one.is_alive() for one in self._conflicts.values())

    def _wait(self, until):
        """Until something arrives, or the time has come. Collects the answers that have arrived."""
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        poll.register(self._takeovers.bell, select.POLLIN)
        for pair in self.pairs:
            for opened in pair.sockets():
                poll.register(opened, select.POLLIN)
        ready = poll.poll(max(0.0, (until - time.monotonic()) * 1000 + 0.5))
        if ready:
            for pair in self.pairs:
                pair.read()

    def _look_at_interfaces(self):
        links, borne, gateways = self._kernel.links(), self._kernel.addresses(), self._kernel.gateways()
        for pair in self.pairs:
            pair.look(links, borne, gateways)

    def _judge(self, pair):
        pair.hear(self._kernel)
        action, sentence = pair.judge()
        if action == silence.TAKE:
            self._take(pair, sentence)
            return
        if action == silence.CONFLICT:
            self._tell_conflict(pair)
        if action in (silence.HEARD, silence.WITHDRAW):
            self._settle_claim(pair, action, sentence)
        self._note(pair, sentence)

    def _take(self, pair, reason):
        taking = f"{reason}: {pair.settings.node} takes the addresses of {pair.settings.pair}"
        self.say(taking, system.WARNING)
        silent = pair.silent_for()
        self._takeovers.begin(pair.settings.pair, lambda done: self._taken(pair.member, reason, silent, done))

    def _taken(self, member, reason, silent, done):
        """
        Take the addresses of a pair. Returns why it failed, or None.

        silent
            For how many seconds nobody has answered for them.

        done
            Called with None as soon as this node serves: from then on it is to be seen who hears it.
        """
        served = []

        def serves():
            served.append(True)
            done(None)

        try:
            self.take_over(member, reason, serves=serves, silent=silent)
        except FailbackError as error:
            failure = str(error)
        except Exception:  # a fault in the code must not end the watch of the other pairs
            failure = f"{member.pair}: {traceback.format_exc()}"
        else:
            return None
        if served:
            self.say(failure, system.ERR)
        return failure

    def _end_takeovers(self):
        """Go on watching the pairs whose takeover has ended."""
        ended = dict(self._takeovers.ended())
        if not ended:
            return
        for pair in self.pairs:
            if pair.settings.pair in ended:
                failure = ended[pair.settings.pair]
                if failure:
                    self.say(failure, system.ERR)
                    pair.failed()
                pair.wake = 0.0
        self._look_at_interfaces()

    def _settle_claim(self, pair, action, sentence):
        """Somebody has heard this node since its claim, or nobody has; the ledger is to say so."""
        from failback.handover import claims

        if action == silence.HEARD:
            self._aside(pair, lambda: claims.heard(pair.member) and None)
        elif self._aside(pair, lambda: claims.withdraw(pair.member, sentence)):
            pair.failed()

    def _tell_conflict(self, pair):
        member, macs = pair.member, pair.strangers()
        self._aside(pair, lambda: self.on_conflict(member, macs))

    def _aside(self, pair, call):
        """
        Do something for a pair in a thread of its own: it asks the other node over SSH, or waits for whoever
        changes hands at the moment, and the other pairs cannot wait for that. One at a time for each pair;
        what is still to be done is seen again.

        call
            Function without arguments; it returns a sentence for the log, or None.

        Returns whether it was begun.
        """
        name = pair.settings.pair
        if name in self._conflicts and self._conflicts[name].is_alive():
            return False

        def work():
            try:
                answer = call()
            except Exception as error:
                answer = f"{name}: {error}"
            if answer:
                self.say(str(answer), system.WARNING)

        self._conflicts[name] = threading.Thread(target=work, daemon=True)
        self._conflicts[name].start()
        return True

    def _note(self, pair, sentence):
        if sentence != pair.sentence:
            pair.sentence = sentence
            self.say(sentence)
            self._write_status()

    def _write_status(self):
        # For monitoring, which need not be root; the network tells as much to whoever listens.
        with contextlib.suppress(OSError):  # a full /run is no reason to stop watching
            files.write_json(self.place.status_file, self.status(), mode=0o644)
