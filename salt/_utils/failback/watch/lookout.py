"""
The lookout: looks all the time at what this node would be worth if it had to serve, or lost the other one.

``failback-look@<pair>.service`` runs ``failback look <pair>`` on both nodes. It changes nothing, and takes
nothing over. It is a process of its own, so that neither a disk that hangs nor an SSH connection that does
can stop the watch. What may hang is done by a child or a thread with a limit, so that it is known what hangs.

=====================  =====================================================================================
about once a second    where lsyncd runs: whether all has been carried (``replication.in_step``)
every ten seconds      paths, room, inotify, the watches; ``readiness.json`` is written
every minute           whether the other node answers over the pair's SSH connection; sooner after a failure
=====================  =====================================================================================
"""

import contextlib
import json
import os
import re
import select
import signal
import sys
import syslog
import threading
import time
import traceback

from failback.decisions import readiness
from failback.decisions import restarts
from failback.errors import FailbackError
from failback.host import notify
from failback.host import services
from failback.host import system
from failback.journal import inotify
from failback.peer import ssh
from failback.readiness import facts
from failback.readiness import record
from failback.replication import in_step
from failback.replication import lsyncd_status
from failback.state import ledger
from failback.state import proofs
from failback.watch import not_ready
from failback.watch import resident

#: Seconds between two steps, and between two rounds of looks.
STEP, ROUND = 1.0, 10.0

#: Seconds between two looks at the program's own files.
HOUSEKEEPING = 5.0

#: Seconds between two questions to the other node; sooner after one that has failed.
ASK_EVERY, ASK_AGAIN = 60.0, 10.0

#: Seconds for the other node's answer.
ANSWER_WITHIN = 10.0

#: Seconds for the disks to say whether they can be written.
DISKS_WITHIN = 5.0

#: Seconds between two looks at lsyncd's last words while it fails.
WORDS_EVERY = 30.0

#: Seconds for an lsyncd that has just been started to begin its work, before a question is answered.
BEGINS_WITHIN = 10.0

#: The newest lines of a unit's journal, as they were printed.
JOURNAL = ("journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=60")

#: What a child that was started for one look may have said at most.
MOST = 1 << 16


def main(member, foreground=False, restart=None):
    """
    Be the lookout of one pair, or end at once if there is one.

    member
        :py:class:`failback.pair.Member`.

    foreground
        Write to standard error as well as to the system's log.

    restart
        Called when files have changed. Default: run the same command line anew in this process.

    Returns 0 when another lookout runs; otherwise it does not return.
    """
    lock = resident.single(member.volatile / "lookout.lock")
    if lock is None:
        return 0
    with lock:
        syslog.openlog("failback", syslog.LOG_PID, syslog.LOG_DAEMON)
        changes = resident.Changes(member.paths)
        with contextlib.closing(Lookout(member, foreground)) as lookout:
            notify.tell(notify.READY)
            while not changes.settled():
                end = time.monotonic() + HOUSEKEEPING
                while time.monotonic() < end:
                    lookout.step()
                    notify.tell(notify.ALIVE)
                    time.sleep(STEP)  # nothing is waited for: this is how often it looks
    return (restart or resident.start_anew)() or 0


class Lookout:
    """
    The lookout of one pair.

    member
        :py:class:`failback.pair.Member`.

    foreground
        As for :func:`main`.
    """

    def __init__(self, member, foreground=False):
        self.member = member
        self.foreground = foreground
        self._carries = member.role == "primary" and bool(member.config["replicate"])
        self._prover = in_step.Prover(member) if self._carries else None
        self._units, self._restarts = {}, restarts.Counter()
        self._peer = PeerLook(member)
        self._disks = DiskLook(member)
        self._said, self._said_of, self._said_at = None, None, float("-inf")
        self._next, self._told = 0.0, set()
        self._strangers = set()
        self._not_ready = not_ready.NotReady(member)
        #: What was asked last, and what was answered last; see ``record.look_now``.
        self._question = self._answered = None
        self._asked_at = float("-inf")

    def step(self):
        """Go on with what is under way; a round of looks when it is time. Raises nothing."""
        try:
            now = time.monotonic()
            news = self._prover is not None and self._prover.look(self._units.get(services.LSYNCD, {}))
            self._peer.step(now)
            news = self._disks.step() or self._peer.news() or news
            question = record.asked(self.member)
            if now >= self._next or question != self._question:
                self._next = now + ROUND
                self._disks.begin()
                self._ask_systemd()
                news = True
            if question != self._question:
                self._question, self._said_at, self._asked_at = question, float("-inf"), now
                self._peer.at_once()
            elif self._answered != question and not self._disks.busy and not self._peer.busy:
                if self._begun() is False and now - self._asked_at < BEGINS_WITHIN:
                    # It may end in the next moment; then systemd says so.
                    self._ask_systemd()
                else:
                    self._answered, news = question, True
            if news:
                self._write(now)
        except Exception:  # a fault in the code, or a full disk, must not end the looks of the other pairs
            self._say(f"{self.member.pair}: {traceback.format_exc()}", system.ERR)

    def close(self):
        """Leave nothing behind."""
        if self._prover is not None:
            self._prover.close()
        self._disks.close()

    def _write(self, now):
        found = self._facts(now)
        own = self._ledger()
        role = readiness.role_of(own, self.member.node, ledger.is_admitted(own))
        findings = ()
        if role:
            findings = self._settled(readiness.alone(self.member.config, self._report(found), role))
        self._tell(findings)
        if self._prover is not None and role != readiness.SERVES:
            # What was carried then says nothing of what is there after a recovery.
            self._prover.forget()
        spell = self._not_ready.look(role, findings)
        with contextlib.suppress(OSError):  # a full /run: what was written grows old, and that is seen
            record.write(
                self.member,
                {
                    "pair": self.member.pair,
                    "node": self.member.node,
                    "time": time.time(),
                    "looked_at": system.boottime(),
                    "boot_id": system.boot_id(),
                    "role": role,
                    "ready": not findings if role else None,
                    "not_ready": spell,
                    "findings": [
                        {"about": one.about, "sentence": one.sentence, "stops": one.stops} for one in findings
                    ],
                    "facts": found,
                    "answers": self._answered,
                },
            )

    def _begun(self):
        """See ``lsyncd_status.has_begun``; None where lsyncd does not run."""
        if not self._carries:
            return None
        return lsyncd_status.has_begun(self.member, self._units.get(services.LSYNCD, {}))

    def _ledger(self):
        with contextlib.suppress(FailbackError):  # the verdict says so
            return self.member.ledger.read()
        return None

    def _report(self, found):
        """What is judged: the part of a report that costs nothing."""
        lsyncd = self._units.get(services.LSYNCD, {})
        return {
            "node": self.member.node,
            "active_services": {
                one["name"]: self._units.get(one["name"], {}).get("LoadState")
                for one in self.member.config["active_services"]
            },
            "lsyncd": {"state": lsyncd.get("ActiveState"), "begun": self._begun()},
            "readiness": {**facts.now(self.member), **found, "looked": 0.0},
        }

    def _facts(self, now):
        """Those of :func:`failback.readiness.facts.now` that are the lookout's."""
        found = {"paths": self._disks.found, "ssh": self._peer.found}
        # Once more in the file, for who reads that alone.
        found.update(proofs.known(self.member))
        if not self._carries:
            return found
        lsyncd = self._units.get(services.LSYNCD, {})
        state, begun = lsyncd.get("ActiveState"), self._begun()
        runs = state == "active"
        again = self._restarts.look(now, state, int(lsyncd.get("NRestarts") or 0), begun)
        failing = self._prover.failing() if runs else None
        if failing or again:
            self._listen(now, failing and failing["code"])
        else:
            self._said, self._said_of = None, None
        pid = int(lsyncd.get("MainPID") or 0) if runs else 0
        # None: it does not run, and the verdict says so.
        found["beats"] = in_step.beats(self.member, pid) if pid else None
        found["failing"] = {**failing, "said": self._said} if failing else None
        found["restarts"] = {"times": again, "said": self._said} if again else None
        found["inotify"] = _inotify()
        found["proved"] = self._prover.proved.at if self._prover.proved else None
        found["lag"] = self._prover.lag()
        return found

    def _ask_systemd(self):
        names = [services.LSYNCD] if self._carries else []
        names += [one["name"] for one in self.member.config["active_services"]]
        try:
            self._units = services.facts(names)
        except FailbackError as error:
            self._units = {}
            self._say(f"{self.member.pair}: {error}", system.WARNING)

    def _listen(self, now, code):
        """What lsyncd, and the rsync and ssh that it starts, have said last; anew when it is another code."""
        if now - self._said_at < WORDS_EVERY and self._said is not None and code == self._said_of:
            return
        self._said_at, self._said_of = now, code
        with contextlib.suppress(FailbackError):
            text = system.run(
                [
                    "journalctl",
                    "--no-pager",
                    "--quiet",
                    "--output=cat",
                    "--lines=60",
                    "--unit=lsyncd.service",
                ],
                5,
                "read what lsyncd has said",
            )
            self._said = words_of(text)

    def _settled(self, findings):
        """Without two hosts that answer for the first time: in a handover both do for a moment."""
        doubled = {one.sentence for one in findings if one.about == "address"}
        before, self._strangers = self._strangers, doubled
        return tuple(one for one in findings if one.about != "address" or one.sentence in before)

    def _tell(self, findings):
        """One line in the system's log when something is not ready, and when all is again."""
        about = {one.about for one in findings}
        for one in findings:
            if one.about not in self._told:
                self._say(f"{self.member.pair}: {one.sentence}", system.WARNING)
        if self._told and not about:
            self._say(f"{self.member.pair}: {self.member.node} is ready again", system.NOTICE)
        self._told = about

    def _say(self, sentence, priority):
        syslog.syslog(priority, sentence)
        if self.foreground:
            print(f"failback: {sentence}", file=sys.stderr, flush=True)


#: What lsyncd itself says in between; what it calls an error says why it ends.
_LSYNCD = re.compile(r"[0-9:]{8} (Normal|Warn|Call|Exec)")

#: What ssh says of a connection that did not come about. It comes before rsync's own words about that.
_SSH = ("host key verification failed", "permission denied", "connection", "could not resolve", "no route")


def words_of(text):
    """
    The line of lsyncd's journal that says what was wrong last, cut to 300 characters; None if there is none.

    text
        Its newest lines. lsyncd has a line of its own between two rsyncs. Of those of one of them, what ssh
        says tells most, then what rsync says of a file, then rsync's summary.
    """
    block = []
    for line in reversed(text.splitlines()):
        if not _LSYNCD.match(line):
            block.append(line.strip()[:300])
        elif block:
            break
    best = min(block, key=_rank, default=None)
    return best if best is not None and _rank(best) < len(_RANKS) else None


_RANKS = (
    # What the other node's own program says of a path that lies elsewhere.
    lambda line: " lies on " in line and not line.startswith("rsync"),
    lambda line: not line.startswith("rsync") and line.lower().startswith(("ssh:", *_SSH)),
    lambda line: not line.startswith("rsync") and any(one in line.lower() for one in _SSH),
    lambda line: " Error: " in line[:20],
    lambda line: line.startswith(("rsync: [", "@ERROR")),
    lambda line: line.startswith("rsync: "),
    lambda line: line.startswith("rsync error:"),
)


def _rank(line):
    return next((number for number, fits in enumerate(_RANKS) if fits(line)), len(_RANKS))


def _inotify():
    """Why no more files can be watched here, a sentence, or None: one watch is asked for, and given back."""
    try:
        with inotify.Inotify() as queue:
            queue.watch(b"/run")
    except (FailbackError, OSError) as error:
        return str(error)
    return None


class PeerLook:
    """
    Asks the other node over the pair's SSH connection, in a thread: it may take its whole time.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member
        self._thread = None
        self._next = 0.0
        self._failures, self._changed = 0, False
        #: See ``ssh`` of :func:`failback.readiness.facts.now`; None before the first answer.
        self.found = None

    def step(self, now):
        """Begin to ask, if it is time and the last question has ended."""
        if now < self._next or (self._thread and self._thread.is_alive()):
            return
        self._next = now + ASK_EVERY
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def at_once(self):
        """Somebody waits for the answer: ask now, and take the first one for it."""
        self._next, self._failures = 0.0, max(1, self._failures)

    @property
    def busy(self):
        """Whether a question is due or under way."""
        return self._next == 0.0 or bool(self._thread and self._thread.is_alive())

    def news(self):
        """Whether the answer has changed since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def _ask(self):
        problem = ask(self._member)
        self._failures = self._failures + 1 if problem else 0
        if self._failures == 1 and (not self.found or self.found["well"]):
            # One connection that breaks is no finding: an sshd that is restarted does that.
            self._no_later_than(ASK_AGAIN / 2)
            return
        if problem:
            self._no_later_than(ASK_AGAIN)
        before = self.found
        self.found = {
            "node": self._member.peer["id"],
            "well": problem is None,
            "sentence": problem or "answers",
            "at": round(time.time(), 1),
        }
        self._changed = not before or before["well"] != self.found["well"]

    def _no_later_than(self, seconds):
        # Somebody who waits has the next question asked at once.
        self._next = min(self._next, time.monotonic() + seconds)


def ask(member):
    """Ask the other node, and say why that is no connection to rely on: a sentence, or None."""
    other = member.peer["id"]
    try:
        text = ssh.ask(member, "ready", timeout=ANSWER_WITHIN)
    except FailbackError as error:
        said = str(error)
        # Of an earlier release: it does not know the word, so the key was let in.
        known = "is not something that the other node may ask for" in said
        return None if known else words_of(said) or said
    if not text.lstrip().startswith("{"):
        first = text.strip().partition("\n")[0][:80]
        return f"root's shell on {other} prints {first!r} before every answer"
    return None


class DiskLook:
    """
    Looks at the replicated paths in a child process: a disk that hangs holds nobody but the child.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member
        self._child, self._pipe, self._until, self._text = None, None, 0.0, b""
        #: See ``paths`` of :func:`failback.readiness.facts.now`; None before the first answer.
        self.found = None

    @property
    def busy(self):
        """Whether a look is under way that may still end."""
        return self._child is not None and time.monotonic() <= self._until

    def begin(self):
        """Start a look, unless one is under way."""
        if self._child is not None or not self._member.config["replicate"]:
            return
        self._text, self._until = b"", time.monotonic() + DISKS_WITHIN
        self._pipe, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._child = os.fork()
        if self._child == 0:
            _answer(theirs, lambda: facts.paths(self._member))
        os.close(theirs)

    def step(self):
        """Take what the child has said. Returns whether what is known has changed."""
        if self._child is None:
            return False
        before = self.found
        ended, _ = os.waitpid(self._child, os.WNOHANG)
        while self._pipe is not None and select.select([self._pipe], [], [], 0)[0]:
            text = os.read(self._pipe, MOST)
            self._text += text
            if not text:
                self._hang_up()
        if ended:
            self._hang_up()
            self._child = None
            with contextlib.suppress(ValueError):
                self.found = json.loads(self._text)
        elif time.monotonic() > self._until:
            # It may be beyond the reach of a signal. It is looked for again, and no other one is started.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self.found = {
                path: hanging() for path in (one["path"] for one in self._member.config["replicate"])
            }
        return self._errors(before) != self._errors(self.found)

    def close(self):
        """End the child, if that can be done."""
        self._hang_up()
        if self._child is not None:
            with contextlib.suppress(OSError):
                os.kill(self._child, signal.SIGKILL)

    def _hang_up(self):
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    @staticmethod
    def _errors(found):
        return {path: one["error"] for path, one in (found or {}).items()}


def hanging():
    """What is said of a path whose disk gives no answer."""
    return {
        "error": f"its disk gave no answer within {DISKS_WITHIN:g} s",
        "free_bytes": 0,
        "free_files": None,
    }


def _answer(pipe, look):
    """The child: look, say it, and end without whatever the parent would do at its end."""
    code = 1
    try:
        os.write(pipe, json.dumps(look()).encode())
        code = 0
    finally:
        os._exit(code)
