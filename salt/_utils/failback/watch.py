"""
The automatic flip: sees that the holder of a pair's addresses has gone, and takes them.

``/etc/cron.d/<name>`` starts ``failback watch <name>`` every minute. The first start becomes the
watch and goes on in the background; every later one finds it running and ends at once, so the watch
is back a minute after anything that ended it. One process watches all addresses on this node whose
``watch: {cron: <name>}`` says so, of whatever pair.

It needs neither Salt nor the other node. Once every ``interval`` it asks the network who answers
for each address, and :func:`failback.watch_decision.decide` judges what that means. It starts
itself anew when its own files or the node's configuration have changed.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import re
import select
import sys
import syslog
import threading
import time
import traceback

from failback import address
from failback import configuration
from failback import files
from failback import hold as holds
from failback import ledger as ledgers
from failback import reachable
from failback import system
from failback import watch_decision
from failback.errors import FailbackError
from failback.errors import Refused
from failback.paths import Paths

#: Seconds between two looks at the own files and at interfaces that were missing.
HOUSEKEEPING = 1.0

#: Seconds after which the status file is written although nothing has changed, and interfaces and
#: addresses are read although the kernel has told of no change.
REFRESH = 10.0

#: Whose files are watched for changes of the watch itself.
PACKAGE = pathlib.Path(__file__).resolve().parent

#: The names that cron accepts in /etc/cron.d (Debian's cron(8)); others would never run.
CRON_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")


def main(cron, paths=None, take_over=None, on_conflict=None, foreground=False, restart=None):
    """
    Be the watch of one cron name, or end at once if there is one.

    cron
        Name of the file in ``/etc/cron.d``.

    paths
        ``Paths`` of the node.

    take_over
        Called with ``(config, reason)`` to take a pair's addresses. Default:
        ``failback.takeover.take_over``.

    on_conflict
        Called with ``(config, hardware addresses)``, in a thread of its own, when another host
        answers for what this node holds. Default: ``failback.takeover.conflict``.

    foreground
        Stay in the foreground and write to standard error as well as to the system's log.

    restart
        Called when files have changed. Default: run the same command line anew in this process.

    Returns 0 when another watch runs, or when nothing on this node is watched under this name;
    otherwise it does not return. Raises ``Refused`` for a name that cron would not run.
    """
    if not isinstance(cron, str) or not CRON_NAME.match(cron):
        raise Refused(
            f"{cron!r} cannot be the name of a file in /etc/cron.d: cron runs only those made of "
            f"letters, digits, _ and -."
        )
    paths = paths or Paths()
    if take_over is None or on_conflict is None:
        from failback import takeover

        take_over = take_over or (lambda one, reason: takeover.take_over(one, reason, paths))
        on_conflict = on_conflict or (lambda one, macs: takeover.conflict(one, macs, paths))
    lock = single(paths, cron)
    if lock is None:
        return 0
    with lock:
        watch = Watch(cron, paths, take_over, on_conflict, foreground)
        if not watch.pairs and not watch.unreadable:
            return 0
        if not foreground and not _detach():
            return 0
        syslog.openlog("failback", syslog.LOG_PID, syslog.LOG_DAEMON)
        watch.run()
        watch.say(f"watch {cron}: files have changed, starting anew")
        watch.close()
    return (restart or _start_anew)() or 0


def status_file(paths, cron):
    """Where the watch of a cron name says how things stand: JSON, see :meth:`Watch.status`."""
    return paths.root / "run/failback" / f"watch-{cron}.json"


def single(paths, cron):
    """
    The lock of a watch, held while the returned file is open; None if another process has it.

    paths, cron
        As for :func:`main`.
    """
    place = paths.root / "run/failback" / f"watch-{cron}.lock"
    files.make_folder(place.parent)
    handle = open(place, "ab")  # noqa: SIM115 (open as long as the watch runs)
    os.fchmod(handle.fileno(), 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return handle


class Watch:
    """
    All watched pairs of one cron name on this node.

    The parameters are those of :func:`main`.
    """

    def __init__(self, cron, paths, take_over, on_conflict, foreground):
        self.cron = cron
        self.paths = paths
        self.take_over = take_over
        self.on_conflict = on_conflict
        self.foreground = foreground
        self.began = time.time()
        self.fingerprint = _fingerprint(paths)
        self.boot_id = system.boot_id()
        self.pairs, self.unreadable = [], []
        for name in configuration.names(paths):
            try:
                one = WatchedPair.of(configuration.load(name, paths), cron, paths, self.boot_id)
            except (FailbackError, KeyError, TypeError, ValueError) as error:
                self.unreadable.append(f"{name}: not watched, unusable configuration: {error}")
                continue
            if one:
                self.pairs.append(one)
        self._kernel = None
        self._news = None
        self._conflicts = {}
        self._written = None

    def run(self):
        """Watch until the package's files or the configuration change."""
        for sentence in self.unreadable:
            self.say(sentence)
        self._kernel = address.Netlink()
        self._news = address.Netlink(address.CHANGES)
        now = time.monotonic()
        housekeeping, refresh = now + HOUSEKEEPING, now + REFRESH
        suspicious = None
        self._look_at_interfaces()
        while True:
            for pair in self.pairs:
                if time.monotonic() >= pair.wake:
                    self._judge(pair)
            self._wait(min([housekeeping, *(pair.wake for pair in self.pairs)]))
            now = time.monotonic()
            if self._news.drain() or now >= refresh:
                self._look_at_interfaces()
            if now >= refresh:
                refresh = now + REFRESH
                self._write_status()
            if now >= housekeeping:
                housekeeping = now + HOUSEKEEPING
                found = _fingerprint(self.paths)
                # The same change seen twice: whoever writes the files has come to an end.
                settled = found != self.fingerprint and found == suspicious
                if settled and not any(one.is_alive() for one in self._conflicts.values()):
                    return
                suspicious = found

    def close(self):
        """Close every socket."""
        for opened in (self._kernel, self._news, *self.pairs):
            if opened is not None:
                opened.close()

    def say(self, sentence):
        """One line in the system's log."""
        syslog.syslog(syslog.LOG_NOTICE, sentence)
        if self.foreground:
            print(f"failback: {sentence}", file=sys.stderr, flush=True)

    def status(self):
        """
        How things stand, for the node's report.

        Returns ``cron``, ``pid``, ``since`` and ``updated`` (seconds since the epoch), ``problems``
        (sentences) and ``pairs``: name to ``sentence`` and ``addresses``, name to ``held``,
        ``seen``, ``answered_by``, ``silent_seconds``.
        """
        return {
            "cron": self.cron,
            "pid": os.getpid(),
            "since": self.began,
            "updated": time.time(),
            "problems": self.unreadable,
            "pairs": {pair.settings.pair: pair.status() for pair in self.pairs},
        }

    def _wait(self, until):
        """Until something arrives, or the time has come. Collects the answers that have arrived."""
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        for pair in self.pairs:
            for opened in pair.sockets():
                poll.register(opened, select.POLLIN)
        ready = poll.poll(max(0.0, (until - time.monotonic()) * 1000 + 0.5))
        if ready:
            for pair in self.pairs:
                pair.read()

    def _look_at_interfaces(self):
        links, borne = self._kernel.links(), self._kernel.addresses()
        for pair in self.pairs:
            pair.look(links, borne)

    def _judge(self, pair):
        action, sentence = pair.judge()
        if action == watch_decision.TAKE:
            self._take(pair, sentence)
            return
        if action == watch_decision.CONFLICT:
            self._tell_conflict(pair)
        self._note(pair, sentence)

    def _take(self, pair, reason):
        self.say(f"{reason}: {pair.settings.node} takes the addresses of {pair.settings.pair}")
        try:
            self.take_over(pair.config, reason)
        except FailbackError as error:
            self.say(str(error))
            pair.failed()
        except Exception:  # a fault in the code must not end the watch of the other pairs
            self.say(f"{pair.settings.pair}: {traceback.format_exc()}")
            pair.failed()
        self._look_at_interfaces()

    def _tell_conflict(self, pair):
        name = pair.settings.pair
        if name in self._conflicts and self._conflicts[name].is_alive():
            return

        def call(config, macs):
            try:
                answer = self.on_conflict(config, macs)
            except Exception as error:
                answer = f"{name}: {error}"
            if answer:
                self.say(str(answer))

        # It asks the other node over SSH: the other pairs cannot wait for that.
        self._conflicts[name] = threading.Thread(
            target=call, args=(pair.config, pair.strangers()), daemon=True
        )
        self._conflicts[name].start()

    def _note(self, pair, sentence):
        if sentence != pair.sentence:
            pair.sentence = sentence
            self.say(sentence)
            self._write_status()

    def _write_status(self):
        # For monitoring, which need not be root; the network tells as much to whoever listens.
        with contextlib.suppress(OSError):  # a full /run is no reason to stop watching
            files.write_json(status_file(self.paths, self.cron), self.status(), mode=0o644)


class WatchedPair:
    """One pair: its sockets, what was heard on them, and the state of its judgement."""

    def __init__(self, config, settings, addresses, paths, boot_id):
        self.config = config
        self.settings = settings
        self.addresses = addresses
        self.paths = paths
        self.boot_id = boot_id
        self.sentence = None
        self.wake = 0.0
        self._next_probe = 0.0
        self._reachable, far = reachable.near_and_far(settings.reachable, addresses)
        self._echo = reachable.Echo(far)
        self._prober = None
        self._links = {}
        self._answers, self._reached = {}, None
        self._held, self._connected = frozenset(), frozenset()
        self._ledger = _Remembered(paths.ledger(settings.pair), lambda: ledgers.read(settings.pair, paths))
        self._hold = _Remembered(
            paths.hold(settings.pair),
            lambda: holds.last(settings.pair, paths),
        )
        self._orphans = holds.Orphans(settings.pair, paths)
        self._next_look_for_orphans = 0.0
        self._seen_file = paths.volatile(settings.pair) / "seen.json"
        self._state = watch_decision.State(seen=self._read_seen())

    @classmethod
    def of(cls, config, cron, paths, boot_id):
        """
        The watch of a pair under a cron name on this node; None if nothing of it is watched here.

        config
            The node's configuration of the pair.
        """
        role = configuration.role(config)
        entries = [
            one
            for one in config["floating_ips"]
            if one["watch"]["cron"] == cron and watch_decision.covers(one["watch"]["on"], role)
        ]
        if not entries:
            return None
        addresses = [address.FloatingAddress.from_pair(one) for one in entries]
        watch = config["watch"]
        both = any(one["watch"]["on"] == "both" for one in entries)
        settings = watch_decision.Settings(
            pair=config["name"],
            node=config["node"],
            addresses={one.ip: (one.name, one.interface) for one in addresses},
            interval=float(watch["interval"]),
            patience=float(watch["patience"]),
            reachable=tuple(watch["reachable"]),
            # Where both watch, the primary goes first and the secondary sees it answer.
            delay=float(watch["patience"]) if both and role == "secondary" else 0.0,
        )
        return cls(config, settings, addresses, paths, boot_id)

    def sockets(self):
        """For select."""
        return [*(self._prober.sockets() if self._prober else ()), *self._echo.sockets()]

    def close(self):
        """Close every socket."""
        self._echo.close()
        if self._prober:
            self._prober.close()

    def look(self, links, borne):
        """Take notice of the interfaces and addresses of this node."""
        indexes = {name: link.index for name, link in links.items()}
        held = frozenset(
            one.ip
            for one in self.addresses
            if any(
                other.packed == one.packed and other.index == indexes.get(one.interface) for other in borne
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
            for one in [*self.addresses, *self._reachable]
            if one.interface in links
        }
        mine["sources"] = [address.link_local(links[one], borne) for one in sorted(mine)]
        if mine != self._links or self._prober is None:
            self._links = mine
            if self._prober:
                self._prober.close()
                self._prober = None
            with contextlib.suppress(OSError, FailbackError):  # looked at again with the next news
                self._prober = address.Prober(
                    [one for one in [*self.addresses, *self._reachable] if one.interface in mine],
                    links,
                    borne,
                )

    def read(self):
        """Take notice of the answers that have arrived."""
        now = time.monotonic()
        near = {one.ip for one in self._reachable}
        for ip, mac in self._prober.read() if self._prober else ():
            if ip in near:
                self._reached = now
            if ip in self.settings.addresses:
                macs = self._answers.get(ip, (0, frozenset()))[1]
                self._answers[ip] = (now, macs | {mac})
        if self._echo.read():
            self._reached = now
        if self._answers and not self._state.holding:
            quiet = self._state.silence.values()
            if any(one.probes > 1 for one in quiet):
                self.wake = 0.0  # an end of a silence is news

    def judge(self):
        """Ask again if it is time, and judge what was seen. Returns ``(action, sentence)``."""
        now = time.monotonic()
        asked = frozenset()
        if now >= self._next_probe and self._prober:
            asked = frozenset(one.ip for one in self._prober.ask(self._present(self.addresses)))
            if any(one.probes for one in self._state.silence.values()) and not self._state.holding:
                self._prober.ask(self._present(self._reachable))
                self._echo.ask()
        ledger, ledger_error = self._ledger.read()
        hold, hold_error = self._hold.read()
        if hold and now >= self._next_look_for_orphans:
            self._next_look_for_orphans = now + HOUSEKEEPING
            run = self._orphans.ended(hold, now)
            if run:
                system.log(f"the pause of the watch of {self.settings.pair} is over: run {run} has died")
                hold, hold_error = self._hold.read()
        before = self._state
        self._state, action, sentence = watch_decision.decide(
            before,
            watch_decision.Observation(
                now=now,
                wall=time.time(),
                boot_id=self.boot_id,
                ledger=ledger,
                ledger_error=ledger_error,
                hold=hold,
                hold_error=hold_error,
                held=self._held,
                answers=self._answers,
                asked=asked,
                connected=self._connected,
                reached=self._reached,
            ),
            self.settings,
        )
        self._strangers = sorted({mac for _, macs in self._answers.values() for mac in macs})
        self._answers, self._reached = {}, None
        if self._state.seen != before.seen:
            self._write_seen()
        if asked or now >= self._next_probe:
            self._next_probe = now + watch_decision.pause(self._state, self.settings)
        elif before.holding and not self._state.holding:
            self._next_probe = now
        due = watch_decision.due(self._state, self.settings)
        self.wake = self._next_probe if due is None or due <= now else min(self._next_probe, due)
        return action, sentence

    def strangers(self):
        """The hardware addresses that answered for what this node holds, when last judged."""
        return self._strangers

    def failed(self):
        """A claim has failed: count the silence anew."""
        self._state = watch_decision.failed(self._state, time.monotonic(), self.settings)

    def status(self):
        """See :meth:`Watch.status`."""
        now = time.monotonic()
        state = self._state
        return {
            "sentence": self.sentence,
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


def _fingerprint(paths):
    """What tells whether the package or the configuration of this node have changed."""
    found = {"release": os.readlink(paths.release) if os.path.islink(paths.release) else None}
    for folder, end in ((PACKAGE, ".py"), (paths.pairs, ".json")):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for one in entries:
                if one.name.endswith(end):
                    facts = one.stat()
                    found[one.path] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found


def _detach():
    """Go on in the background, away from cron. Returns True there, False in the foreground."""
    if os.fork():
        return False
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
    return True


def _start_anew():
    command = getattr(sys, "orig_argv", None)  # Python 3.10; it has the interpreter's options
    command = [sys.executable, *command[1:]] if command else [sys.executable, *sys.argv]
    os.execv(sys.executable, command)
