"""
The way back of a handover: the node that served serves again, whatever has died.

It is armed before anything is stopped or released: a timer of systemd takes the addresses back at the
deadline, unless the handover has ended by then. The table in :py:mod:`failback.handover.phases` says what it
does in each phase.
"""

import contextlib
import subprocess

from failback.decisions import places
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.host import system
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.network import reachable
from failback.replication import sources
from failback.state import ledger


def _timer(config):
    return f"failback-take-back-{config['name']}"


def arm(member, run, seconds, again=False):
    """
    Arm this node's own way back, before it stops or releases anything; or set its deadline anew.

    seconds
        After which the addresses are taken back unless the handover has ended by then.

    again
        It must be armed by this run: what has been stopped since must not run again already.

    Raises ``Refused`` when this node does not have the lock for this run, or does not serve.
    """
    pair, node = member.pair, member.node
    member.lock.require(run)
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if not ledger.is_active(own, node):
            raise Refused(f"{node} does not serve {pair}, so there is nothing to hand over.")
        _require_own_sources(member)
        before = phases.read_state(member)
        if again and (before.get("run"), before.get("phase")) != (run, phases.ARMED):
            raise Refused(
                f"It took too long to get ready for the handover: {node} has started again what it had "
                f"stopped, and serves {pair} on. Run it again."
            )
        phases.require_no_other(member.config, run, before)
        _stop_timer(member.config)
        unfinished = (phases.ARMED, phases.RELEASED, phases.TAKEN_BACK)
        phases.write_state(
            member,
            run=run,
            phase=phases.ARMED,
            deadline=system.boottime() + seconds,
            generation=own["generation"],
            stopped=before.get("stopped", []) if before.get("phase") in unfinished else [],
        )
    system.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={_timer(member.config)}",
            f"--on-active={seconds}",
            "--timer-property=AccuracySec=50ms",
            # A cable that is out at that very moment must not be the end of it.
            "--property=Restart=on-failure",
            "--property=RestartSec=1",
            "--property=StartLimitIntervalSec=0",
            f"--description=Takes the addresses of {pair} back when a handover does not end",
            str(member.paths.program),
            "take-back",
            pair,
            run,
        ],
        10,
        "arm the timer that takes the addresses back",
    )
    return {"armed": True}


def _start_again(member):
    """What ``quiesce`` has stopped runs again, for this node serves on; the gate still judges lsyncd."""
    stopped = phases.read_state(member).get("stopped")
    if stopped:
        # Not waited for: this must end within the time in which somebody has to serve.
        system.run(["systemctl", "start", "--no-block", "--", *reversed(stopped)], 10, "start services again")
        phases.write_state(member, stopped=[])


def _require_own_sources(member):
    """
    The paths that are handed over must be where they were.

    The pre-sync has looked at this minutes ago. A path that has been unmounted since is empty, and the last
    pass would make it empty on the other node, which then serves.
    """
    pair = member.pair
    now = sources.facts([one["path"] for one in member.config["replicate"]], str(member.paths.root))
    recorded = sources.recorded(member)["own"]
    problems = places.own_source_problems(now, recorded, pair, places.FINAL_SYNC_WOULD)
    if problems:
        raise Refused(f"{member.node} does not hand {pair} over and serves on. {' '.join(problems)}")


def disarm(member, run):
    """End this run's handover: the timer is stopped, nothing is taken back any more."""
    with member.ledger.changing_hands():
        state = phases.read_state(member)
        if state.get("run") != run:
            raise Refused(f"The handover of {member.pair} is not that of run {run}.")
        if state.get("phase") in (phases.RELEASED, phases.TAKEN_BACK):
            raise Refused(f"{member.node} serves {member.pair} again, or is about to.")
        if state.get("phase") == phases.ARMED:
            # First: should it fail, the timer does it.
            _start_again(member)
        phases.write_state(member, phase=phases.DONE)
        _stop_timer(member.config)
    return {"disarmed": True}


def _stop_timer(config):
    # Its service too: that may have begun, waits for the caller then, and would find that there is nothing to
    # do; meanwhile no timer of this name could be set. One that does not exist is no error.
    units = [f"{_timer(config)}.timer", f"{_timer(config)}.service"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["systemctl", "stop", *units],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )


def take_back(member, run, asked=False):
    """
    Serve again when a handover did not end. Run by the giver itself, and by the timer.

    asked
        The taker gives the pair back: it can be heard, so this node is not cut off.

    Returns a sentence about what was done.
    """
    pair, node = member.pair, member.node
    with member.ledger.changing_hands():
        reason = _nothing_to_take_back(member, run) or _not_this_nodes_turn(member, asked)
        if reason:
            return reason
        own = member.ledger.read()
        given_away = own["active"] != node
        generation = own["generation"] + 1 if given_away else own["generation"]
        # With a lease this may raise, and the timer's unit tries again: until the taker's has run out.
        right.obtain(member, generation, serving=True, claims=given_away)
        if given_away:
            # Whatever the phase says: a crash may lie between the two.
            why, unsynced = "nobody answered after a handover", bool(member.config["replicate"])
            # The other node's disk has all that was handed over; this one's need not.
            member.ledger.write(ledger.Entry(generation, node, run, why, unsynced=unsynced))
        wanted = floating.of_pair(member.config)
        with address_holder.Holder(wanted) as holder:
            right.take(member, holder, wanted)
        phases.write_state(member, phase=phases.TAKEN_BACK)
        address_holder.announce_later(member)
        _start_again(member)
    if given_away:
        # The taker's ledger may name it active already, and its watch would rely on that.
        system.start_detached([str(member.paths.program), "ask-to-yield", pair])
    sentence = f"{node} took the addresses of {pair} back: the handover of run {run} did not end"
    system.log(sentence, system.WARNING)
    return sentence


def _nothing_to_take_back(member, run):
    """Why there is no address to take back, a sentence; what was stopped for the handover starts again."""
    state = phases.read_state(member)
    phase = state.get("phase") if state.get("run") == run else None
    if phase == phases.ARMED:
        # The time is over before anything was released, and nothing may be released any more.
        _start_again(member)
        phases.write_state(member, phase=phases.DONE)
    elif phase == phases.TAKEN_BACK:
        # Once more, after an end in which not everything had been started again.
        _start_again(member)
    if phase not in (phases.RELEASED, phases.COMMITTED):
        return f"Nothing to take back in {member.pair}: the handover of run {run} has ended."
    if floating.of_pair(member.config):
        return None
    if phase == phases.RELEASED:
        # Its ledger still names it active: without addresses that is all there is to serving.
        _start_again(member)
    phases.write_state(member, phase=phases.DONE)
    return f"{member.pair} has no addresses to take back."


def _not_this_nodes_turn(member, asked):
    """Why this node leaves its addresses to the other one, a sentence, or None."""
    pair, node, state = member.pair, member.node, phases.read_state(member)
    committed = state["phase"] == phases.COMMITTED
    if committed and system.boottime() > state["deadline"] + phases.TAKEN_BACK_WITHIN:
        phases.write_state(member, phase=phases.DONE)
        sentence = (
            f"{node} leaves the addresses of {pair} alone: it could not look in time whether the other "
            f"node has them, which may have served since. See salt-run pair.status {pair}"
        )
        system.log(sentence, system.WARNING)
        return sentence
    wanted = floating.of_pair(member.config)
    linked, _ = floating.by_link(wanted)
    # With no link at all this raises, and the timer's unit tries again. So it does while this node may be
    # the one that is cut off: the other one has been given the pair, and clients may be with it.
    if committed and not asked and reachable.answers(member.config) is False:
        names = ", ".join(reachable.targets(member.config).names) or "those that it could ask"
        raise Unavailable(
            f"None of {names} answers {node}, which may be the one that is cut off: the addresses of {pair} "
            f"were given away, and are not taken back."
        )
    answering = neighbours.answering(linked or wanted, timeout=0.3)
    if answering:
        phases.write_state(member, phase=phases.DONE)
        return f"{', '.join(answering)} answers for {pair}: {node} leaves the addresses alone."
    return None
