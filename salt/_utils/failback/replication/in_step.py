"""
When everything that was written had been carried last: proved where lsyncd runs, known on the standby.

The node that serves proves it for itself as :py:func:`failback.replication.lsyncd_status.drain` does, without
waiting: a name appears in lsyncd's own marker folder, lsyncd notes it, and whatever was in its queue then has
left it since, or has been carried as lsyncd says. All that was changed before that name appeared is on the
standby.

It then writes that moment into a file of the same folder (:data:`NAME`), and lsyncd carries it like any other
change: its own rsync, through the pair's SSH connection, to the daemon of the other node. So the standby
knows when it was last in step without asking anybody, also when the other node is dead::

    in_step.Prover(member).look(unit_state)         # the node that serves, about once a second
    in_step.last(member)                            # the standby: InStep(at=1764213000.2, age=7.4)

A file that does not arrive is not tried again: the next one follows within :data:`EVERY` seconds.
"""

import collections
import contextlib
import json
import os
import secrets
import stat
import time

from failback.host import system
from failback.replication import lsyncd_config
from failback.replication import lsyncd_status
from failback.replication import replicated

#: The file: in lsyncd's marker folder on the node that serves, in a folder of its own on the standby.
NAME = replicated.IN_STEP

#: Seconds between a proof and the beginning of the next.
EVERY = 10.0

#: Seconds for lsyncd to note a name, after which another one is made: a drain may have come in between.
NOTED_WITHIN = 5.0

#: More bytes than such a file has.
SIZE = 400

InStep = collections.namedtuple("InStep", "at age")
InStep.__doc__ = """
``at``: the moment, in seconds since the epoch on the clock of the node that served. ``age``: for how many
seconds that is over.
"""


def folder(member):
    """Where the standby finds the file."""
    return member.volatile / NAME


def last(member):
    """
    When this node, the standby, was last in step: an :py:class:`InStep`, or None when it does not know.

    The age is counted by this node's own clock from when the file came: the other one's may be wrong.
    """
    place = folder(member) / NAME
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        # What the other node has put there: nothing that could be waited for, or that leads elsewhere.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                return None
            found = json.loads(os.read(descriptor, SIZE))
        finally:
            os.close(descriptor)
        # Set by the kernel when rsync put it there; mtime is the other node's.
        came = facts.st_ctime
        at, old = float(found["in_step"]), float(found["old"])
        if 0 <= old < 86400 and at > 0:
            return InStep(at, round(max(0.0, time.time() - came) + old, 1))
    return None


def beats(member, pid):
    """
    Whether the lsyncd that runs tells the standby: its configuration says so, and it began with that.

    pid
        Of lsyncd.
    """
    config, ticks = lsyncd_config.places(member).config, system.process_started(pid) if pid else None
    if ticks is None:
        return False
    began = time.time() - system.boottime() + ticks / os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(OSError):
        # A second: the two clocks are not read at once.
        return f'"{NAME}"' in config.read_text(errors="replace") and os.stat(config).st_mtime < began + 1
    return False


class Prover:
    """
    Proves again and again that all has been carried, on the node on which lsyncd runs.

    member
        :py:class:`failback.pair.Member`.

    It looks, and never waits.
    """

    def __init__(self, member):
        self._member = member
        self._place = lsyncd_config.places(member)
        self._marker, self._began, self._next = None, None, 0.0
        self._read, self._earlier = None, None
        #: The newest proof, an :py:class:`InStep` whose age is that of the proof's end, or None.
        self.proved = None
        #: Boot time of the proof's end.
        self.proved_at = None
        self._failures = Failures(self._place.failed)

    def look(self, unit_state):
        """
        Go on with the proof that is under way, or begin the next one if it is time.

        unit_state
            What ``lsyncd_status.unit`` returned lately.

        Returns whether something has been proved anew.
        """
        if unit_state.get("ActiveState") != "active":
            self.close()
            return False
        if self._marker is None:
            if time.monotonic() >= self._next:
                self._begin()
            return False
        if system.clock_step(self._began) < -lsyncd_status.SET_BACK:
            # What was written until now may bear a later time than what follows.
            self.close()
            return False
        noted = lsyncd_status.seen_at(self._member, self._marker.name)
        if noted is None:
            if system.boottime() - self._began["boottime"] > NOTED_WITHIN:
                self.close()
            return False
        if not (
            lsyncd_status.carried_since(self._member, self._marker.name) or self._has_left(unit_state, noted)
        ):
            return False
        self._note()
        return True

    def failing(self):
        """What rsync fails with since the last proof: see :py:meth:`Failures.since_proof`."""
        return self._failures.since_proof()

    def lag(self):
        """Seconds since the moment of the newest proof, by a clock that nobody sets; None without one."""
        if self.proved is None:
            return None
        return round(system.boottime() - self.proved_at + self.proved.age, 1)

    def forget(self):
        """What was proved counts no more: the node does not serve."""
        self.proved = self.proved_at = None

    def close(self):
        """Give up the proof that is under way."""
        if self._marker is not None:
            with contextlib.suppress(OSError):
                self._marker.unlink()
        self._marker = None

    def _begin(self):
        if not self._place.marker.is_dir():
            return
        self._began, self._read, self._earlier = system.clocks(), None, None
        self._marker = self._place.marker / f"look-{secrets.token_hex(8)}"
        try:
            self._marker.touch()
        except OSError:  # a full /run: the next look tries again
            self.close()

    def _has_left(self, unit_state, noted):
        """Whether what was in the queue when lsyncd noted the name has left it."""
        with contextlib.suppress(OSError):
            mark = os.stat(self._place.status).st_mtime_ns
            if mark == self._read or mark <= noted:
                return False
            status, written, waiting = lsyncd_status.look(self._member, unit_state)
            if not status["trustworthy"] or written <= noted:
                return False
            self._read = written
            self._earlier = waiting if self._earlier is None else self._earlier & waiting
            return not self._earlier and bool(waiting or not lsyncd_status.children(status["pid"]))
        return False

    def _note(self):
        old = system.boottime() - self._began["boottime"]
        self.proved, self.proved_at = InStep(self._began["wall"], round(old, 2)), system.boottime()
        self._failures.proved()
        self.close()
        self._next = time.monotonic() + EVERY
        content = json.dumps({"in_step": round(self.proved.at, 3), "old": self.proved.age})
        # Whole, and moved in from a folder that lsyncd does not watch: that is one event, and one rsync.
        aside = self._member.volatile / f".{NAME}"
        with contextlib.suppress(OSError):
            aside.write_text(f"{content}\n")
            os.replace(aside, self._place.marker / NAME)


class Failures:
    """
    The exit codes of lsyncd's rsyncs that failed, since a proof.

    place
        The file in which lsyncd's shell keeps them, one a line.
    """

    def __init__(self, place):
        self._place = place
        self._before = len(self._codes())
        self._since = None

    def _codes(self):
        with contextlib.suppress(OSError):
            return self._place.read_text(errors="replace").split()
        return []

    def proved(self):
        """All has been carried: what failed until now does not count."""
        self._before, self._since = len(self._codes()), None

    def since_proof(self):
        """Returns ``{"code", "times", "since"}`` (since the epoch), or None when nothing has failed."""
        codes = self._codes()
        if len(codes) < self._before:  # lsyncd has started anew
            self._before = 0
        new = codes[self._before :]
        if not new:
            self._since = None
            return None
        self._since = self._since or time.time()
        return {"code": new[-1], "times": len(new), "since": round(self._since, 1)}


def read(member):
    """What the standby reports of it: ``{"at", "age", "admitted_for"}``, see ``failback.readiness.facts``."""
    found = last(member)
    try:
        # From then on something can come.
        written = os.stat(member.ledger.path).st_mtime
    except OSError:
        written = None
    return {
        "at": found.at if found else None,
        "age": found.age if found else None,
        "admitted_for": None if written is None else round(max(0.0, time.time() - written), 1),
    }
