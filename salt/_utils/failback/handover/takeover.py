"""
An active node that has gone, a node that takes over, and a node that steps down.

These are the changes of hands that no orchestration makes: they work with no master and no minion.
"""

import contextlib
import json

from failback.decisions import generations
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.handover import phases
from failback.host import services
from failback.host import system
from failback.network import address_holder
from failback.network import floating
from failback.peer import ssh
from failback.replication import gate
from failback.replication import incoming
from failback.state import ledger


def take_over(member, reason, run=None):
    """
    Make this node active: raise the generation, take all addresses, announce them.

    The ledger is written first. Should this node die in between, its higher generation says that it
    may have served, which is the safe side to be wrong on.

    member
        :py:class:`failback.pair.Member`.

    reason
        Why, for the ledger: ``salt-gw did not answer for 2.0 s``.

    run
        The orchestration on whose behalf this happens, or None for the watch.

    Returns ``{"generation": n, "addresses": [...]}``, no addresses where this node serves already. Raises
    ``Refused`` when this node was not admitted in this boot, when its data do not lie where they did, or when
    another host answers for one of the addresses.
    """
    pair, node, other = member.pair, member.node, member.peer["id"]
    wanted = floating.of_pair(member.config)
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if not ledger.is_admitted(own):
            raise Refused(
                f"{node} has not been admitted to {pair} since it booted, so its data may be old and "
                f"it takes no address. Run `salt-run pair.status {pair}` on the master."
            )
        _require_no_handover(member)
        if wanted and ledger.is_active(own, node) and all(floating.status(one)["held"] for one in wanted):
            # The watch looked just before a handover that had failed gave the addresses back to this node.
            return {"generation": own["generation"], "addresses": []}
        # A record that cannot be read says nothing against it, and nobody else serves.
        with contextlib.suppress(Unreadable):
            gate.require_in_place(
                member,
                f"{node} does not take {pair} over.",
                f"or, if its data are where they lie now and {other} is off, say so: salt-run "
                f"state.orch orch.failover pillar='{{pair: {pair}, fenced: {other}, moved: true, "
                f"reason: <how you know>}}'",
            )
        with address_holder.Holder(wanted) as holder:
            # The fastest settings must not spend most of their time on this question.
            holder.check(wait=min(0.3, member.config["watch"]["patience"] / 4))
            new = member.ledger.write(ledger.Entry(own["generation"] + 1, node, run, reason))
            # A stale primary that is merely cut off may be writing here at this moment.
            incoming.stop(member)
            taken = holder.take(wanted, check=False)
    address_holder.announce_later(member)
    incoming.end(member)
    system.log(f"{node} is active in {pair}, generation {new['generation']}: {reason}")
    # The old holder may be alive and merely unheard: it must stop serving, and its lsyncd with it. It
    # may as well be dead, and then this must not be waited for.
    verb = "activate" if run is None and starts_services(member.config) else "ask-to-yield"
    system.start_detached([str(member.paths.program), verb, pair])
    return {"generation": new["generation"], "addresses": taken}


def _require_no_handover(member):
    """In the middle of a handover its own timer decides who serves, and two must not."""
    state = phases.read_state(member)
    under_way = state.get("phase") in (phases.RELEASED, phases.COMMITTED, phases.TAKING)
    if under_way and system.boottime() < state["deadline"] + phases.COMMIT_MARGIN:
        raise Refused(
            f"A handover of {member.pair} is under way (run {state['run']}): it ends by itself, and the "
            f"node that served takes the addresses back if it fails."
        )


def starts_services(config):
    """Whether a takeover by the watch also starts what only the active node runs: ``mode: automatic``."""
    return config["mode"] == "automatic" and bool(config["active_services"])


def activate(member):
    """
    Start the active services on a node that has taken over by itself: in order, each proved up.

    The other node is asked first to stop what it runs of them, for it may be alive and merely unheard.
    In a ``manual`` pair nothing is started: that is ``orch.failover``'s. lsyncd never is, because it
    carries from the primary to the secondary only.

    Returns sentences, for the log: what was started, and why the rest was not. Raises nothing that
    concerns one service.
    """
    pair, node = member.pair, member.node
    if not starts_services(member.config):
        return [f"{node} starts no services of {pair}: there are none, or its mode is manual."]
    told = [_asked_to_yield(member)]
    for one in member.config["active_services"]:
        reason = _not_serving(member)
        if reason:
            return [*told, f"{one['name']} and what follows it were not started: {reason}"]
        try:
            done = services.start(pair, "active_services", one, node)
        except FailbackError as error:
            return [*told, str(error)]
        told.append(f"{pair}: {one['name']} on {node}: {done}.")
        reason = _not_serving(member)
        if reason:
            # Whoever took the pair away has stopped what ran then; this was started behind its back.
            return [
                *told,
                f"{reason} {one['name']} was stopped again. {' '.join(_stop_all(member.config))}".strip(),
            ]
    return told


def _asked_to_yield(member):
    try:
        return ask_to_yield(member, timeout=60)
    except FailbackError as error:
        return str(error)


def _not_serving(member):
    """Why this node must not start what only the active node runs, or None."""
    pair, node = member.pair, member.node
    try:
        own = member.ledger.read()
        state = phases.read_state(member)
    except FailbackError as error:
        return str(error)
    if not ledger.is_active(own, node):
        return f"{node} is not the active node of {pair} any more."
    unsettled = (phases.ARMED, phases.RELEASED, phases.COMMITTED, phases.TAKING)
    if state.get("phase") in unsettled and system.boottime() < state["deadline"] + phases.COMMIT_MARGIN:
        return f"A handover of {pair} is under way (run {state['run']}), which starts and stops them itself."
    return None


def conflict(member, macs):
    """
    Another host answers for an address that this node holds: the older generation steps down.

    macs
        The link-layer addresses that answered.

    Returns a sentence about what was done.
    """
    pair = member.pair
    own = member.ledger.read()
    try:
        theirs = json.loads(ssh.ask(member, "report", timeout=5)).get("ledger")
    except (FailbackError, ValueError) as error:
        return f"{', '.join(macs)} answers for an address of {pair} too, and the peer does not: {error}"
    if own and theirs and theirs["generation"] > own["generation"]:
        return yield_to(member, theirs["generation"], theirs["active"])
    return ask_to_yield(member)


def ask_to_yield(member, timeout=10):
    """
    Tell the peer in which generation this node is active. Returns its answer, or why there is none.

    timeout
        Seconds for it to step down and to stop its services; one that is dead takes less.
    """
    own = member.ledger.read()
    if own is None or own["active"] != member.node:
        return f"{member.node} is not active in {member.pair}, so nobody is asked to step down."
    try:
        return ssh.ask(member, "yield", str(own["generation"]), timeout=timeout).strip()
    except FailbackError as error:
        return f"The peer was not told to step down: {error}"


def yield_to(member, generation, active, run=None):
    """
    Step down for a newer generation: stop lsyncd and the active services, release the addresses.

    generation
        The other node's; an equal or lower one is refused, and one that cannot be true.

    active
        The node that is active in it.

    run
        The orchestration that wants it, if one does.

    Returns a sentence. Raises ``Refused``, and ``Unavailable`` when this node stepped down and something of
    it still runs.
    """
    pair, node = member.pair, member.node
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if active == node:
            raise Refused(f"{node} does not step down to itself.")
        if own is None or generation <= own["generation"]:
            known = "no generation" if own is None else f"generation {own['generation']}"
            raise Refused(f"{node} knows {known} of {pair} and does not step down to {generation}.")
        unlikely = generations.problem(own["generation"], generation)
        if unlikely:
            sentence = f"{node} does not step down to {active} in {pair}: {unlikely}."
            system.log(sentence)
            raise Refused(f"{sentence} {generations.advice(pair, node, active)}")
        with address_holder.Holder(floating.of_pair(member.config)) as holder:
            # Addresses first: from here on no new write is acknowledged by this node.
            holder.release()
        # Also in an earlier boot: what it has written then is on no other node.
        served = own["active"] == node
        why = f"stepped down to {active}" + (", after it had served too" if served else "")
        # Not an admission to the new generation: this node has missed writes. Written before anything
        # that can fail, for a node still named active would take over again.
        unsaved = served or bool(own.get("unsaved"))
        member.ledger.write(ledger.Entry(generation, active, run, why, admitted=False, unsaved=unsaved))
        still = _stop_all(member.config)
    sentence = f"{node} stepped down to {active} in {pair}, generation {generation}"
    system.log(" ".join([sentence, *still]))
    if still:
        raise Unavailable(f"{sentence}, but not all has stopped there. {' '.join(still)}")
    return sentence


def _stop_all(config):
    """Stop what only the active node runs, last started first. Returns what did not stop, as sentences."""
    still = []
    for key, one in services.of_the_active_node(config):
        try:
            # Each on its own: one that does not stop must not keep the others running.
            services.stop(config["name"], key, one, config["node"])
        except FailbackError as error:
            still.append(str(error))
    return still
