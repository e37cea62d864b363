"""
Which run owns the lock of a pair. The lock lies on both nodes, because two masters can exist.

It expires, is renewed by the living run several times a minute, and a dead run's lock is taken over: a node
that finds that the owning process was its own and is gone knows so at once, the others wait for the expiry.

Its time goes on when somebody sets the node's clock: while the node has not booted since, it is judged by the
clock that nobody sets.

A step that would go on without its run has a lock that holds for longer than ``LEASE``. It does not go on
on a node that has booted since: there the lock is an ordinary one again.
"""

import time

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system
from failback.state import ledger

VERSION = 1

#: Seconds for which a lock holds that nobody renews: as long as a dead run can keep the next one waiting.
LEASE = 60


class Lock:
    """
    The lock of one pair on this node.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member

    @property
    def path(self):
        """The file."""
        return self._member.paths.lock(self._member.pair)

    def read(self):
        """The lock on this node as a dict with a ``state`` of ``held``, ``expired`` or ``dead``, or None."""
        pair = self._member.pair
        found = files.read_json(self.path, f"the lock of {pair}", VERSION)
        if found is not None:
            owner = found.get("owner")
            expires = found.get("expires")
            if not isinstance(owner, (dict, type(None))) or not isinstance(expires, (int, float)):
                raise Unreadable(
                    f"{self.path}, the lock of {pair}, is damaged. If `salt-run pair.history {pair}` "
                    f"shows that no run is in progress, remove it."
                )
            step = system.clock_step({**found, "wall": found.get("renewed")})
            for key in ("expires", "renewed"):
                if isinstance(found.get(key), (int, float)):
                    found[key] += step
            at = found.pop("step", None)
            if isinstance(at, dict) and isinstance(at.get("began"), (int, float)):
                found["step"] = {**at, "began": at["began"] + step}
            found["expires"] = expiry(found, system.boot_id(), time.time() - system.boottime())
            found["state"] = "dead" if owner_has_ended(owner) else judge(found, time.time())
        return found

    def acquire(self, run, operation, owner, seconds, dead_runs=()):
        """
        Take the pair for a run, or renew what the run already has.

        owner
            ``{"master": id, "machine": …, "boot_id": …, "pid": …, "started": …, "user": …}`` of the
            orchestrating process.

        seconds
            How long it holds without being renewed.

        dead_runs
            Runs that the other node has proved dead.

        Returns the lock written; its key ``taken_over`` names the dead or expired run that had it. Raises
        ``Refused``, naming the run that owns the lock.
        """
        with files.locked(self._member.state / ".lock.flock"):
            found = self.read()
            taken_over = None
            if found and found["run"] != run:
                if found["state"] == "held" and found["run"] not in dead_runs:
                    raise Refused(refusal(self._member.pair, found))
                taken_over = found["run"]
            new = {
                "version": VERSION,
                "run": run,
                "operation": operation,
                "owner": owner,
                "since": found["since"] if found and found["run"] == run else ledger.now(),
                **_term(seconds),
            }
            files.write_json(self.path, new)
            return {**new, "taken_over": taken_over}

    def renew(self, run, seconds, step=None):
        """
        Prolong the lock of a run; never take one that it does not have: it may have been closed meanwhile.

        step
            What the run is at: ``{"name": "static", "seconds": 12.0}``, since when, or None. It is kept in
            the lock as ``{"name", "began"}``, by this node's clock, for whoever looks.

        Returns True when the run had it.
        """
        with files.locked(self._member.state / ".lock.flock"):
            found = self.read()
            if not found or found["run"] != run:
                return False
            found.pop("state")
            new = {**found, **_term(seconds)}
            if step:
                new["step"] = {"name": step["name"], "began": new["renewed"] - step["seconds"]}
            files.write_json(self.path, new)
            return True

    def release(self, run):
        """Give the pair back. True when this run had it; another run's lock is left alone."""
        with files.locked(self._member.state / ".lock.flock"):
            found = self.read()
            if not found or found["run"] != run:
                return False
            self.path.unlink()
            return True

    def require(self, run):
        """Raise ``Refused`` unless this run owns the lock on this node."""
        pair = self._member.pair
        found = self.read()
        if not found or found["run"] != run:
            owner = f"run {found['run']} owns it" if found else "no run owns it"
            raise Refused(
                f"Run {run} does not own the lock of {pair} on this node ({owner}), so it must not go on: "
                f"another orchestration may be running. See `salt-run pair.status {pair}`, then run it again."
            )


def expiry(lock, boot_id, booted):
    """
    When a lock ends that is not renewed, in seconds since the epoch. Pure.

    boot_id, booted
        Of the node on which it lies: its boot, and when that began by its clock as it is set now.
    """
    expires, renewed = lock.get("expires", 0), lock.get("renewed")
    if lock.get("boot_id") == boot_id or not isinstance(renewed, (int, float)):
        return expires
    # It was renewed before this boot, however far back the clock may be after it.
    return min(expires, min(renewed, booted) + LEASE)


def judge(lock, now):
    """Whether a lock of which nothing is known but its time still counts: ``held`` or ``expired``. Pure."""
    return "expired" if lock.get("expires", 0) <= now else "held"


def owner_has_ended(owner):
    """True when this node can prove that the process which orchestrated a run is gone; see ``ended``."""
    return ended(owner or {}, system.machine_id(), system.boot_id(), system.process_started)


def ended(owner, machine, boot_id, process_started):
    """
    Whether the machine that asks can prove that an orchestrating process is gone. Pure, but for the look-up
    of a process that it is given.

    machine, boot_id
        Of the node that judges. It can speak only for processes of its own; those of an earlier boot of its
        own are gone.

    process_started
        Function from a pid to its start time, or None where there is no such process.
    """
    if owner.get("boot_id") == boot_id:
        return process_started(owner.get("pid")) != owner.get("started")
    return bool(machine) and owner.get("machine") == machine


def _term(seconds):
    now = system.clocks()
    return {
        "renewed": now["wall"],
        "expires": now["wall"] + seconds,
        "boottime": now["boottime"],
        "boot_id": now["boot_id"],
    }


def refusal(pair, found):
    """The sentence for a pair whose lock another run owns."""
    owner = found.get("owner") or {}
    left = max(0, round(found.get("expires", 0) - time.time()))
    return (
        f"{pair} is locked by run {found['run']} ({found.get('operation')}, started {found.get('since')} "
        f"by {owner.get('user')} on {owner.get('master')}); two runs at once could move data both ways. "
        f"Wait for it, or if it is dead, until its lock expires in {left} s: "
        f"`salt-run pair.status {pair}` shows it."
    )
