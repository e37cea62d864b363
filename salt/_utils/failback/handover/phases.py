"""
The phases of a handover, its limits, and where a node writes down how far it is.

Addresses change hands: released on the serving node, the last changes brought over, taken on the other one.
Two ends talk over one SSH connection that is opened before anything is released. The *taker*
(:py:mod:`failback.handover.taker`) is the node that becomes active and leads; the *giver*
(:py:mod:`failback.handover.giver`) is the node that serves until then. Whatever dies, somebody serves
again by itself:

=============  ====================================================================================
giver is in  what it does when the taker, the network, or its own process dies
=============  ====================================================================================
``armed``      it still serves; it starts again what ``quiesce`` has stopped
``released``   takes the addresses back in its own generation, at once when the connection ends, and
               at the deadline (a timer of systemd) when even this process is gone
``committed``  at the deadline it looks whether somebody answers for the addresses; if nobody does,
               it takes them back in a new generation, and tells the taker. It leaves that be when it
               could not look in time, the other node may have served since; or when nobody of
               ``watch.reachable`` answers either, so that it may be the one that is cut off
=============  ====================================================================================

Meanwhile the taker is ``taking``: its own watch takes nothing then.

The taker takes the addresses only after the giver has answered ``commit``, and only within
``TAKE_WITHIN`` seconds of asking for it. The giver commits only when its deadline is more than
``COMMIT_MARGIN`` seconds away, which is longer: the two can never both believe that it is their turn.
Both measure on their own monotonic clock, so the wall clocks may differ as they like.
"""

import time

from failback.errors import Refused
from failback.host import files
from failback.host import system

#: Seconds after asking for the commit in which the taker may take the addresses.
TAKE_WITHIN = 2.0
#: Seconds that must be left before the deadline for the giver to commit.
COMMIT_MARGIN = 4.0
#: Seconds to wait for one answer of the giver that costs it no more than some I/O.
ANSWER_WITHIN = 5.0
#: Seconds for the giver to stop lsyncd and the active services; the way back is armed for longer.
QUIESCE_LIMIT = 120.0
#: Seconds after the deadline in which the timer has certainly done its work, or never will.
TAKEN_BACK_WITHIN = 30.0

ARMED, RELEASED, COMMITTED, DONE, TAKEN_BACK = "armed", "released", "committed", "done", "taken back"
#: Of the taker, from before the addresses are released until it has them or has failed.
TAKING = "taking"


def _state_file(member):
    return member.volatile / "handover.json"


def read_state(member):
    """How far a handover is on this node: ``run``, ``phase``, ``deadline``, ``generation``; or ``{}``."""
    return files.read_json(_state_file(member), "the state of a handover") or {}


def write_state(member, **changes):
    """Write down how far it is; keys that are not given stay. Returns the new state."""
    state = {**read_state(member), **changes}
    files.write_json(_state_file(member), state)
    return state


def require_no_other(config, run, before):
    """A handover may go on for seconds after its run has died: the next one waits for its end."""
    left = before.get("deadline", 0) - system.boottime()
    if before.get("phase") == RELEASED and before.get("run") != run and left > -TAKEN_BACK_WITHIN:
        raise Refused(
            f"The handover of run {before['run']} has released the addresses of {config['name']} here and "
            f"has not ended yet. It ends, or {config['node']} takes them back, within "
            f"{max(0.0, left) + TAKEN_BACK_WITHIN:.0f} s; run this again then."
        )


def under_way(state, now):
    """
    Whether a handover decides who has the addresses, so that nobody else on this node may take them.

    state
        What :py:func:`read_state` returned.

    now
        Seconds since boot.
    """
    return _is_one_of(state, (RELEASED, COMMITTED, TAKING), now)


def unsettled(state, now):
    """As :py:func:`under_way`, also of a handover that is only armed: it decides what runs on this node."""
    return _is_one_of(state, (ARMED, RELEASED, COMMITTED, TAKING), now)


def _is_one_of(state, phases, now):
    return state.get("phase") in phases and now < state["deadline"] + COMMIT_MARGIN


class Timeline:
    """What happened when, on this node's own clock."""

    def __init__(self):
        self._start = time.monotonic_ns()
        self.steps = []

    def note(self, what):
        milliseconds = (time.monotonic_ns() - self._start) / 1e6
        self.steps.append({"step": what, "milliseconds": round(milliseconds, 3)})
        return milliseconds
