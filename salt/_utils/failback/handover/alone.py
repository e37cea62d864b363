"""
One handover at a time on a node, and one of each run.

A handover is a job of Salt, and two minions with one id both get it: a second minion that somebody has
started by hand, or a copy of the machine. Each would talk to the giver, and the end of one would undo what
the other does. So whoever begins takes a lock (flock, which the kernel releases whatever becomes of the
process), and says in it who it is.
"""

import contextlib
import json
import os
import time

from failback.errors import Refused
from failback.host import files
from failback.host import system
from failback.state import ledger

#: Seconds for the one that has the lock to say who it is.
SAYS_WITHIN = 0.5


@contextlib.contextmanager
def only_one(member, run, side, in_the_way=lambda other: True):
    """
    Be the only handover on this side of this node; a context manager.

    run
        Whose handover this is.

    side
        ``taker`` or ``giver``.

    in_the_way
        Function from what the one at work has written down (``run``, ``pid``, ``since``) to whether it is in
        the way of this one; always, by default.

    Raises ``Refused``, naming the run, the process and since when.
    """
    path = member.volatile / f".handover-{side}.flock"
    files.make_folder(path.parent)
    with open(path, "a+b", opener=files.private) as handle:
        mine = files.lock_now(handle)
        if mine:
            _write(handle, run)
        else:
            other = _written(handle)
            if in_the_way(other):
                leads = member.node if side == "taker" else member.peer["id"]
                raise Refused(refusal(member, leads, other, system.boottime()))
        try:
            yield
        finally:
            if mine:
                handle.truncate(0)


def _write(handle, run):
    """Say who this is; at once, so that nobody reads half of it."""
    now = {"run": run, "pid": os.getpid(), "since": ledger.now(), "boottime": system.boottime()}
    handle.truncate(0)
    os.write(handle.fileno(), json.dumps(now).encode())


def _written(handle):
    """Who has the lock; ``{}`` if it has not said so yet."""
    end = time.monotonic() + SAYS_WITHIN
    while True:
        with contextlib.suppress(ValueError):
            return json.loads(os.pread(handle.fileno(), 4096, 0))
        if time.monotonic() >= end:
            return {}
        time.sleep(0.01)


def refusal(member, leads, other, now):
    """
    The sentence for a second handover.

    leads
        The node that is the taker.

    other
        What the first has written down.

    now
        Seconds since boot.
    """
    who = "it has just begun"
    if other:
        age = max(0.0, now - other["boottime"])
        who = f"run {other['run']}, process {other['pid']}, begun {other['since']}, {age:.0f} s ago"
    return (
        f"A handover of {member.pair} is at work on {member.node} already: {who}. A second one beside it "
        f"would undo what it does, so this one has done nothing, and the first goes on. If both are of one "
        f"run, two salt-minions have the id {leads}: find them with `pgrep -af salt-minion`, or look for a "
        f"copy of that machine. Then see `salt-run pair.status {member.pair}`."
    )
