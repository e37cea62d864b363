"""
An active node that has gone, a node that takes over, and a node that steps down.

These are the changes of hands that no orchestration makes: they work with no master and no minion.
"""

import contextlib

from failback.decisions import events
from failback.decisions import generations
from failback.decisions import hearing
from failback.decisions import readiness
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.fence import proof
from failback.handover import claims
from failback.handover import phases
from failback.host import services
from failback.host import system
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.notify import tell
from failback.peer import answers
from failback.peer import ssh
from failback.replication import gate
from failback.replication import in_step
from failback.replication import incoming
from failback.state import ledger


def take_over(member, reason, run=None, serves=None, silent=0.0):
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

    serves
        Called when this node serves, before people are told: that may wait for a disk.

    silent
        For how many seconds the active node has not been heard.

    Returns ``{"generation": n, "addresses": [...]}``, no addresses where this node serves already. Raises
    ``Refused`` when this node was not admitted in this boot, when its data do not lie where they did, or when
    another host answers for one of the addresses or has the lease of the pair; ``Unavailable`` when the lease
    cannot be asked for, and when this node stood still between its ledger and the addresses. A claim that
    fails behind the ledger is given up, see :py:mod:`failback.handover.claims`.
    """
    pair, node = member.pair, member.node
    wanted = floating.of_pair(member.config)
    # Before anybody is switched off, and not once more: a standby grows no older while an agent works.
    missing = _missing(member, run, silent)
    if run is None:
        reason = _with_the_other_node_off(member, wanted, reason)
    with member.ledger.changing_hands():
        own = member.ledger.read()
        _require_entitled(member, own)
        if _serves(member, own, wanted):
            # The watch looked just before a handover that had failed gave the addresses back to this node.
            return {"generation": own["generation"], "addresses": []}
        known = _in_step(member, own)
        reason = f"{reason}; {missing}" if missing else reason
        with address_holder.Holder(wanted) as holder:
            # The fastest settings must not spend most of their time on this question.
            # Half of it before the ledger, half of it after: writing that may take long.
            wait = min(0.3, member.config["watch"]["patience"] / 4) / 2
            holder.check(wait=wait)
            generation = claims.next_generation(member, own)
            on_the_disk = claims.prepared(member, generation, reason, run, known)
            the_lease = right.to_take_over(member, generation, patient=run is not None)
            with on_the_disk as prepared, the_lease:
                new = claims.begin(member, generation, reason, run, known, prepared)
                with _or_given_up(member, new):
                    # A stale primary that is merely cut off may be writing here at this moment.
                    incoming.stop(member)
                    claims.note_what_came(member, new)
                    taken = _taken_if_still_right(member, holder, wanted, new, wait, run)
    address_holder.announce_later(member)
    incoming.end(member)
    sentence = f"{node} is active in {pair}, generation {new['generation']}"
    system.log(f"{sentence}: {reason}", system.WARNING)
    # The old holder may be alive and merely unheard: it must stop serving, and its lsyncd with it. It
    # may as well be dead, and then this must not be waited for.
    verb = "activate" if run is None and starts_services(member.config) else "ask-to-yield"
    system.start_detached([str(member.paths.program), verb, pair])
    if serves is not None:
        serves()
    if run is None:
        _remember(member, "takeover", reason, sentence)
        tell.tell(member, events.TAKEOVER, f"{sentence}: {reason}", reason=reason)
    return {"generation": new["generation"], "addresses": [one["address"] for one in taken]}


def _in_step(member, own):
    """Until when all had been carried here, see ``in_step.read``; None where this node receives nothing."""
    if own["active"] == member.node or member.role != "secondary" or not member.config["replicate"]:
        return None
    return in_step.read(member)


def _missing(member, run, silent):
    """
    How far behind this node is, a sentence, where that is more than the pillar allows; else None.

    What the active node has been silent for does not count: that is no fault of who carries.

    Raises ``Refused`` if the pillar wants no such takeover. A person who has a run take over has decided.
    """
    own = member.ledger.read()
    known = _in_step(member, own) if ledger.is_admitted(own) else None
    if known:
        ages = ("age", "admitted_for")
        known = {**known, **{one: max(0.0, known[one] - silent) for one in ages if known[one] is not None}}
    sentence = known and readiness.behind(member.config, known)
    if not sentence:
        return None
    if run is None and readiness.refuses(member.config):
        raise Refused(
            f"{sentence}, and `watch: {{beyond_max_lag: refuse}}` forbids a takeover that would lose what "
            f"was written since: {member.node} takes nothing of {member.pair}. Bring {member.peer['id']} "
            f"back, or if it is off for good, say so: salt-run state.orch orch.failover "
            f"pillar='{{pair: {member.pair}, fenced: {member.peer['id']}, reason: <how you know>}}'"
        )
    return f"{sentence}: what was written there since is missing here"


def _with_the_other_node_off(member, wanted, reason):
    """
    The reason of a takeover, with what a fence agent said, where the pillar names one; see ``proof``.

    Nobody is switched off for a node that must not serve, or while somebody answers for the addresses. All of
    it is looked at again afterwards, for an agent may take long.
    """
    own = member.ledger.read()
    if not proof.configured(member) or _serves(member, own, wanted):
        return reason
    _require_entitled(member, own)
    with address_holder.Holder(wanted) as holder:
        holder.check()
    return proof.before_takeover(member, reason)


def _serves(member, own, wanted):
    held = all(floating.status(one)["held"] for one in wanted)
    return bool(wanted) and ledger.is_active(own, member.node) and held


def _require_entitled(member, own):
    """This node may take over by what its own files say."""
    if not ledger.is_admitted(own):
        raise Refused(
            f"{member.node} has not been admitted to {member.pair} since it booted, so its data may be old "
            f"and it takes no address. Run `salt-run pair.status {member.pair}` on the master."
        )
    _require_no_handover(member)
    # A record that cannot be read says nothing against it, and nobody else serves.
    with contextlib.suppress(Unreadable):
        gate.require_in_place(
            member,
            f"{member.node} does not take {member.pair} over.",
            f"or, if its data are where they lie now and {member.peer['id']} is off, say so: salt-run "
            f"state.orch orch.failover pillar='{{pair: {member.pair}, fenced: {member.peer['id']}, "
            f"moved: true, reason: <how you know>}}'",
        )


class _Answered(Refused):
    """Another host answers for the addresses that this node was about to take."""


@contextlib.contextmanager
def _or_given_up(member, claim):
    """Whatever fails between the ledger and the addresses: the claim is given up."""
    try:
        yield
    except Exception as error:  # also a fault in the code: the claim must not stay as it is
        answered = isinstance(error, _Answered)
        claims.give_up(member, claim, answered)
        if answered:
            # It serves, and must be told in which generation.
            system.start_detached([str(member.paths.program), "renounce", member.pair])
        raise


def _taken_if_still_right(member, holder, wanted, claim, wait, run):
    """
    Take the addresses, if all that spoke for it still does: this process may have stood still since.

    Raises ``Refused`` and ``Unavailable``; ``_Answered`` when another host serves.
    """
    begun = system.boottime()
    try:
        holder.check(wait=wait)
    except Refused as error:
        raise _Answered(f"{error} It answers since {member.node} has written its ledger.") from error
    claims.about_to_take(member, claim)
    if run is None and member.pause.read():
        raise Refused(f"The watch of {member.pair} was paused meanwhile: {member.node} takes nothing.")
    if not ledger.is_same_entry(member.ledger.read(), claim):
        raise Refused(f"The ledger of {member.pair} has changed meanwhile: {member.node} takes nothing.")
    if system.boottime() - begun > phases.TAKE_WITHIN:
        raise Unavailable(f"{member.node} stood still before it could take {member.pair}: it looks again.")
    taken = right.take(member, holder, wanted)
    if system.boottime() - begun > phases.TAKE_WITHIN:
        # In that very moment: whoever has served meanwhile is the one to serve on.
        macs = _others_that_answer(member)
        if macs:
            raise _Answered(
                f"{member.node} stood still while it took {member.pair}; {', '.join(macs)} answers."
            )
    return taken


def _others_that_answer(member):
    """The hardware addresses of other hosts that answer for the pair's addresses."""
    linked, _ = floating.by_link(floating.of_pair(member.config))
    return neighbours.answering(linked, timeout=0.3) if linked else []


def _remember(member, operation, reason, sentence):
    """The history tells of it. Whoever serves by now goes on, also with a disk that is full."""
    try:
        member.runs.note(operation, reason, sentence)
    except (FailbackError, OSError) as error:
        system.log(f"The history of {member.pair} lacks this: {sentence}. {error}", system.ERR)


def _require_no_handover(member):
    """In the middle of a handover its own timer decides who serves, and two must not."""
    state = phases.read_state(member)
    if phases.under_way(state, system.boottime()):
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
            still = " ".join(services.stop_active(member.config))
            return [*told, f"{reason} {one['name']} was stopped again. {still}".strip()]
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
    if phases.unsettled(state, system.boottime()):
        return f"A handover of {pair} is under way (run {state['run']}), which starts and stops them itself."
    return None


def conflict(member, macs):
    """
    Another host answers for what this node has, or what its ledger says is its own: one of them steps down.

    macs
        The link-layer addresses that answered.

    Returns a sentence about what was done, an empty one where it is left to a person. Raises
    ``FailbackError``.
    """
    own = member.ledger.read()
    holds = any(floating.status(one)["held"] for one in floating.of_pair(member.config))
    if own and not holds:
        # Whatever the other node says: while another host serves, this one must not take over later.
        claims.renounce_here(member)
        own = member.ledger.read()
    if holds:
        answering = f"{', '.join(macs)} answers for addresses of {member.pair} that {member.node} has too"
        tell.tell(member, events.SPLIT_BRAIN, f"{answering}: their clients are split between two hosts.")
    try:
        report = ssh.report(member, timeout=5)
    except FailbackError as error:
        return _conflict_without_the_peer(member, own, holds, macs, error)
    # An answer takes its time, and somebody may have heard this node in it.
    own = member.ledger.read()
    do = hearing.meeting(own, holds, report)
    if do == hearing.STEP_DOWN:
        return yield_to(member, report["ledger"]["generation"], report["ledger"]["active"])
    if do == hearing.SERVE_ON:
        claims.serve_on(member, report["ledger"]["generation"])
        return ask_to_yield(member)
    if do == hearing.RENOUNCE:
        return _renounced(member, own, holds, report)
    if do == hearing.LEAVE:
        return ""
    return _told_to_yield(member, own, 10)


def _conflict_without_the_peer(member, own, holds, macs, error):
    """Another host answers, and the peer cannot be asked whether it is the one. Returns a sentence."""
    said = f"{', '.join(macs)} answers for an address of {member.pair} too, and the peer does not: {error}"
    if holds and hearing.unheard(own):
        return claims.withdraw(member, f"{said} Nobody has heard {member.node} since its claim.")
    # The peer judges by its own ledger whether it has to step down; nothing here depends on its answer.
    return f"{said}. {ask_to_yield(member)}" if holds else said


def _renounced(member, own, holds, report):
    """Nobody has heard this node since its claim, and the other one serves. Returns a sentence."""
    other = member.peer["id"]
    if claims.SERVE_ON not in report.get("requests", ()):
        # A release that does not know it; of two holders it is the older generation that steps down there.
        return _told_to_yield(member, own, 10) if holds else f"{other} cannot be asked to serve on."
    # First: each moment with two holders costs somebody's writes.
    said = []
    if holds:
        said = [claims.withdraw(member, f"{other} serves {member.pair}.")]
        own = member.ledger.read()
        if not own.get("withdrawn"):
            # Heard at the last moment, or this node is not active any more.
            return _told_to_yield(member, own, 10)
    generation = claims.renounce(member, own)
    if member.ledger.read()["generation"] >= generation:
        # The watch and the process that a failed takeover leaves behind may both be at it.
        return " ".join(said)
    said.append(yield_to(member, generation, other))
    if not member.ledger.read().get("unsaved"):
        said.append(claims.admit_again(member, report))
    return " ".join(said)


def ask_to_yield(member, timeout=10):
    """
    Tell the peer in which generation this node is active. Returns its answer, or why there is none.

    A node that nobody has heard since its claim first looks whether the peer serves: then it is this one that
    steps down.

    timeout
        Seconds for it to step down and to stop its services; one that is dead takes less.
    """
    own = member.ledger.read()
    if own is None or own["active"] != member.node or own.get("withdrawn"):
        return f"{member.node} is not active in {member.pair}, so nobody is asked to step down."
    try:
        if hearing.unheard(own):
            text = ssh.ask(member, "report", timeout=10)
            # What cannot be read is no reason not to tell it.
            report = answers.object_in(text, "ledger") or {}
            # To connect may have taken seconds, in which clients have come here.
            own = member.ledger.read()
            if hearing.meeting(own, True, report) == hearing.RENOUNCE and _others_that_answer(member):
                return _renounced(member, own, True, report)
        said = _told_to_yield(member, own, timeout)
    except FailbackError as error:
        return f"The peer was not told to step down: {error}"
    if hearing.unheard(own):
        claims.heard(member)
    return said


def _told_to_yield(member, own, timeout):
    """What the peer answers when it is told to step down. Raises ``FailbackError``."""
    if own is None or own["active"] != member.node or own.get("withdrawn"):
        return f"{member.node} is not active in {member.pair}, so nobody is asked to step down."
    return answers.last_line(ssh.ask(member, "yield", str(own["generation"]), timeout=timeout))


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
        served = own["active"] == node and claims.may_have_served(member, own)
        why = f"stepped down to {active}" + (", after it had served too" if served else "")
        # Not an admission to the new generation: this node has missed writes. Written before anything
        # that can fail, for a node still named active would take over again.
        unsaved = served or bool(own.get("unsaved"))
        member.ledger.write(ledger.Entry(generation, active, run, why, admitted=False, unsaved=unsaved))
        still = services.stop_active(member.config)
    sentence = f"{node} stepped down to {active} in {pair}, generation {generation}"
    system.log(" ".join([sentence, *still]), system.ERR if still else system.WARNING)
    if run is None:
        _remember(member, "stepdown", why, sentence)
        tell.tell(member, events.STEP_DOWN, " ".join([f"{sentence}.", *still]), reason=why)
    if still:
        raise Unavailable(f"{sentence}, but not all has stopped there. {' '.join(still)}")
    return sentence
