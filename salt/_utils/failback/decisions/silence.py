"""
When the watch takes a pair's addresses, and when it leaves them alone: the judgement, no I/O.

The watch looks, tells :func:`decide` what it saw, and does what it is told. Addresses are taken
only if all of this is true:

1. this node's ledger is readable, and admits the node in the present boot;
2. this node does not hold the addresses already;
3. each of them has been seen since this node booted, so that silence is news and not a cut cable;
4. nobody has answered for any of them for ``patience`` seconds and several probes;
5. no pause is in force;
6. this node itself is connected: carrier, and an answer from one of the ``reachable`` addresses; where there
   is nobody to ask, nothing is taken unless the site wants that;
7. the pair's watch is for this node's role, which the caller has settled by watching at all.

The silence is counted anew whenever the node could not have heard an answer, or should not have
listened: after a cut link, after a pause, after the watch itself was stopped for a while.

After a claim the watch looks for somebody who hears this node. Until it has found one, its ledger says that
it was heard by nobody; if it finds none in time, it takes the claim back
(:py:mod:`failback.decisions.hearing`).
"""

import dataclasses

from failback.decisions import hearing

NOTHING = "nothing"
TAKE = "take"
CONFLICT = "conflict"
HEARD = "heard"
WITHDRAW = "withdraw"

#: Unanswered probes needed, and one more that may still be on its way.
PROBES = 3

#: Rounds of probes in which another host must answer for an address held here. One may be an old
#: announcement, delivered late.
CONFLICT_ROUNDS = 2

#: Seconds after which a conflict that lasts is reported again.
CONFLICT_AGAIN = 10.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """
    What the pillar says about one pair's watch on this node.

    addresses
        Dictionary of address (without prefix length) to ``(name, interface)``: those that move
        together.

    interval, patience
        Seconds between two probes, and of silence before a claim.

    reachable
        Addresses one of which must answer during the silence. Empty: there is nobody to ask, and nothing is
        taken. None: the site wants takeovers without asking anybody.

    delay
        Seconds of further silence. Where both nodes watch, the secondary lets the primary go first.
    """

    pair: str
    node: str
    addresses: dict
    interval: float = 0.5
    patience: float = 2.0
    reachable: tuple = None
    delay: float = 0.0

    @property
    def quick(self):
        """Seconds between two probes once an address is silent."""
        return max(0.01, min(self.interval, self.patience / 8))

    @property
    def evidence(self):
        """Seconds that must lie between the first unanswered probe and a claim."""
        return self.patience - min(self.interval, self.patience / 3) + self.delay

    @property
    def settled(self):
        """Seconds that must lie between two signs that this node is heard, with no other host answering."""
        return min(self.patience / 2, 1.0)

    @property
    def unheard_for(self):
        """Seconds after which a claim that nobody has heard is taken back."""
        return min(max(2 * self.patience, 1.0), 5.0)


@dataclasses.dataclass(frozen=True)
class Observation:
    """
    What the watch saw since the last one.

    now, wall
        Monotonic clock, and seconds since the epoch.

    boot_id
        Of the present boot.

    ledger, ledger_error
        This node's ledger, or None and why it cannot be read.

    pause, pause_error
        The pause as written, expired or not; or None and why it cannot be read.

    held
        Addresses that this node holds.

    answers
        Dictionary of address to ``(when, hardware addresses)``: who else answered.

    asked
        Addresses asked for at ``now``.

    connected
        Interfaces with a carrier.

    reached
        When one of the ``reachable`` addresses answered last, or None.

    confirmed
        When a neighbour on the interfaces of the addresses showed last, by the kernel's word, that it hears
        this node; or None.
    """

    now: float
    wall: float
    boot_id: str
    ledger: dict = None
    ledger_error: str = None
    pause: dict = None
    pause_error: str = None
    held: frozenset = frozenset()
    answers: dict = dataclasses.field(default_factory=dict)
    asked: frozenset = frozenset()
    connected: frozenset = frozenset()
    reached: float = None
    confirmed: float = None


@dataclasses.dataclass(frozen=True)
class Silence:
    """
    Since when nobody has answered for an address.

    heard
        Time of the last answer, or since when one would have been heard.

    first, probes
        Time of the first probe without an answer, and how many there have been.
    """

    heard: float
    first: float = None
    probes: int = 0


@dataclasses.dataclass(frozen=True)
class State:
    """What the watch remembers of a pair between two observations."""

    now: float = None
    seen: frozenset = frozenset()
    silence: dict = dataclasses.field(default_factory=dict)
    answered_by: dict = dataclasses.field(default_factory=dict)
    reached_since: float = None
    reached_last: float = None
    not_before: float = None
    doubled: int = 0
    reported: float = None
    #: Whether the node holds all addresses: only to choose the pace of probing.
    holding: bool = False
    #: The generation of a claim that nobody has heard yet, since when it was watched, and the first and the
    #: last sign of somebody who hears this node, with no other host answering in between.
    claim: int = None
    claimed: float = None
    sign_first: float = None
    sign_last: float = None


def decide(state, observation, settings):
    """
    Judge one observation.

    state
        The :class:`State` that the last call returned; ``State()`` at first, or one with ``seen``.

    observation
        An :class:`Observation`.

    settings
        The :class:`Settings` of the pair.

    Returns ``(state, action, sentence)``. The action is ``take``; ``conflict``, another host answers for what
    this node has or what its ledger says is its own; ``heard`` or ``withdraw``, for a claim that nobody had
    heard; or ``nothing``. The sentence says how things stand and why; it stays the same while they do, so
    that a log of its changes is short.
    """
    state = _note_signs(_take_notice(state, observation, settings), observation, settings)
    held = [one for one in settings.addresses if one in observation.held]
    away = [one for one in settings.addresses if one not in observation.held]
    if held:
        state, action, sentence = _watch_for_second_holder(state, observation, settings, held)
        if action == NOTHING and state.claim is not None:
            action, more = _heard_or_not(state, observation, settings)
            sentence = more or sentence
        if not away or action != NOTHING:
            return state, action, sentence
    else:
        state, sentence = _watch_for_another_active_node(state, observation, settings, away)
        if sentence:
            return state, CONFLICT, sentence
    sentence = (
        _not_entitled(observation, settings, held)
        or _held_back(observation, settings)
        or _disconnected(observation, settings)
        or _nobody_to_ask(settings)
        or _not_silent(state, observation, settings, away)
        or _unproved(state, observation, settings)
    )
    if sentence:
        return state, NOTHING, sentence
    if state.not_before is not None and observation.now < state.not_before:
        again = f"{_names(settings, away)}: the last attempt failed, the next follows."
        return state, NOTHING, again
    return state, TAKE, f"{_names(settings, away)} did not answer for {settings.patience:g} s"


def failed(state, now, settings):
    """
    The state after a claim that failed: the silence is counted anew before the next.

    state, now, settings
        As for :func:`decide`.
    """
    state = _from_here(state, now, settings)
    return dataclasses.replace(state, not_before=now + settings.patience)


def until_next_probe(state, settings):
    """
    Seconds until the next probe.

    state, settings
        As for :func:`decide`.
    """
    if any(one.probes > 1 for one in state.silence.values()) and not state.holding:
        return settings.quick
    if state.claim is not None:
        return settings.quick
    # A second holder is urgent for nobody's service; once a second is soon enough.
    return max(settings.interval, 1.0) if state.holding else settings.interval


def due(state, settings):
    """
    When :func:`decide` could say ``take`` at the earliest, None if nothing is silent.

    state, settings
        As for :func:`decide`.
    """
    if state.holding or not state.silence:
        return None
    if any(one.probes <= PROBES for one in state.silence.values()):
        return None
    return max(
        max(one.heard + settings.patience + settings.delay, one.first + settings.evidence)
        for one in state.silence.values()
    )


def covers(on, role):
    """
    Whether a watch set ``on`` the given nodes runs on a node of this role.

    on
        ``secondary``, ``both`` or ``nobody``.

    role
        ``primary`` or ``secondary``.
    """
    return on == "both" or on == role


def _take_notice(state, observation, settings):
    """The state with what was observed in it."""
    now = observation.now
    stopped = state.now is not None and now - state.now > max(2 * settings.interval, settings.patience / 2)
    disconnected = any(interface not in observation.connected for _, interface in settings.addresses.values())
    if state.now is None or stopped or disconnected or _in_force(observation):
        state = _from_here(state, now, settings)
    if stopped or _in_force(observation):
        # Whoever did not listen cannot say that nobody has answered.
        state = dataclasses.replace(state, claimed=now, sign_first=None, sign_last=None)
    silence, answered_by = {}, dict(state.answered_by)
    seen = set(state.seen) | (observation.held & set(settings.addresses))
    for one in settings.addresses:
        quiet = state.silence.get(one) or Silence(now)
        if one in observation.answers:
            when, macs = observation.answers[one]
            quiet = Silence(when)
            answered_by[one] = sorted(macs)
            seen.add(one)
        if one in observation.held:
            quiet = Silence(now)
        elif one in observation.asked:
            first = now if quiet.first is None else quiet.first
            quiet = Silence(quiet.heard, first, quiet.probes + 1)
        if quiet.probes > 1:
            answered_by.pop(one, None)
        silence[one] = quiet
    return dataclasses.replace(
        _note_reached(state, observation, settings),
        now=now,
        seen=frozenset(seen),
        silence=silence,
        answered_by=answered_by,
        holding=all(one in observation.held for one in settings.addresses),
    )


def _note_signs(state, observation, settings):
    """
    Who has heard this node since a claim of which its ledger says that nobody has.

    A sign counts only while no other host answers: when a cut network heals, the one that served all the time
    is heard at the same moment as all others.
    """
    own, now = observation.ledger, observation.now
    if not (hearing.unheard(own) and own.get("active") == settings.node and observation.held):
        return dataclasses.replace(state, claim=None, claimed=None, sign_first=None, sign_last=None)
    if state.claim != own["generation"]:
        # The first sight of it: what was answered before was asked before.
        return dataclasses.replace(
            state, claim=own["generation"], claimed=now, sign_first=None, sign_last=None
        )
    if any(one in observation.answers for one in settings.addresses):
        return dataclasses.replace(state, sign_first=None, sign_last=None)
    signs = [one for one in (observation.reached, observation.confirmed) if one and one > state.claimed]
    if not signs:
        return state
    last = max(signs)
    return dataclasses.replace(
        state, sign_first=last if state.sign_first is None else state.sign_first, sign_last=last
    )


def _heard_or_not(state, observation, settings):
    """What becomes of a claim that nobody had heard: ``(action, sentence or None)``."""
    node, pair = settings.node, settings.pair
    if state.sign_first is not None and state.sign_last - state.sign_first >= settings.settled:
        return HEARD, None
    since = state.claimed if state.sign_last is None else state.sign_last
    if not settings.reachable or _in_force(observation) or observation.now - since < settings.unheard_for:
        return NOTHING, f"{pair}: taken by {node}, and heard by nobody yet."
    return WITHDRAW, (
        f"{pair}: nobody has heard {node} since it took the addresses, not even "
        f"{', '.join(settings.reachable)}, so {node} is the one that is cut off: it releases them."
    )


def _watch_for_another_active_node(state, observation, settings, away):
    """Another host answers for what this node's ledger says is its own, and this node has nothing of it."""
    own = observation.ledger
    macs = sorted({mac for one in away for mac in observation.answers.get(one, (0, ()))[1]})
    # Of an earlier boot only what nobody has heard: all else is for whoever brings the node home.
    mine = bool(own) and own.get("active") == settings.node
    if not mine or not (hearing.unheard(own) or own.get("boot_id") == observation.boot_id):
        return dataclasses.replace(state, doubled=0, reported=None), None
    if not macs:
        quiet = state.doubled if not observation.asked else 0
        return dataclasses.replace(state, doubled=quiet, reported=state.reported if quiet else None), None
    state = dataclasses.replace(state, doubled=state.doubled + 1)
    lately = state.reported is not None and observation.now - state.reported < CONFLICT_AGAIN
    if state.doubled < CONFLICT_ROUNDS or lately or _in_force(observation):
        return state, None
    return dataclasses.replace(state, reported=observation.now), (
        f"{_names(settings, away)}: answered by {', '.join(macs)}, although the ledger of {settings.node} "
        f"names {settings.node} active. See salt-run pair.status {settings.pair}."
    )


def _nobody_to_ask(settings):
    if settings.reachable is None or settings.reachable:
        return None
    return hearing.nobody_to_ask(settings.pair, settings.node)


def _from_here(state, now, settings):
    return dataclasses.replace(
        state, silence={one: Silence(now) for one in settings.addresses}, reached_since=None
    )


def _note_reached(state, observation, settings):
    """Since when, without a gap, one of the reachable addresses has answered."""
    since, last = state.reached_since, state.reached_last
    if observation.reached is not None:
        if since is None or (last is not None and observation.reached - last > _gap(settings)):
            since = observation.reached
        last = observation.reached
    if last is None or observation.now - last > _gap(settings):
        since = None
    return dataclasses.replace(state, reached_since=since, reached_last=last)


def _gap(settings):
    return max(2 * settings.interval, settings.patience / 2)


def _watch_for_second_holder(state, observation, settings, held):
    macs = sorted({mac for one in held for mac in observation.answers.get(one, (0, ()))[1]})
    names = _names(settings, held)
    if not macs:
        quiet = state.doubled if not observation.asked else 0
        state = dataclasses.replace(state, doubled=quiet, reported=state.reported if quiet else None)
        return state, NOTHING, f"{names}: held by this node, {settings.node}."
    state = dataclasses.replace(state, doubled=state.doubled + 1)
    if state.doubled < CONFLICT_ROUNDS:
        return state, NOTHING, f"{names}: held by this node, {settings.node}."
    sentence = (
        f"{names}: held by this node, {settings.node}, and answered by {', '.join(macs)} too; its "
        f"clients are split between the two. See salt-run pair.status {settings.pair}"
    )
    if _in_force(observation):
        return state, NOTHING, f"{sentence} (left to what set the pause)."
    if state.reported is not None and observation.now - state.reported < CONFLICT_AGAIN:
        return state, NOTHING, f"{sentence}."
    return dataclasses.replace(state, reported=observation.now), CONFLICT, f"{sentence}."


def _not_entitled(observation, settings, held):
    pair, node = settings.pair, settings.node
    if observation.ledger_error:
        return f"{node} takes nothing of {pair}: {observation.ledger_error}"
    if observation.ledger is None:
        return (
            f"{node} takes nothing of {pair}: it has no ledger, so it was never admitted to the "
            f"pair. Run orch.adopt, then orch.boot or orch.recover."
        )
    if observation.ledger.get("boot_id") != observation.boot_id:
        return (
            f"{node} takes nothing of {pair}: it was not admitted since it booted, so its data may "
            f"be old. Run orch.recover, or orch.boot if neither node serves."
        )
    if held and observation.ledger.get("active") != node:
        return (
            f"{node} takes nothing of {pair}: it holds {_names(settings, held)} although its "
            f"ledger names {observation.ledger.get('active')} active. See salt-run pair.status "
            f"{pair}."
        )
    return None


def _in_force(observation):
    """Whether the watch is paused. A pause that cannot be read counts: somebody wanted one."""
    if observation.pause_error:
        return True
    if observation.pause is None:
        return False
    until = observation.pause.get("until")
    return not isinstance(until, (int, float)) or until > observation.wall


def _held_back(observation, settings):
    if not _in_force(observation):
        return None
    if observation.pause_error:
        return (
            f"{settings.pair}: the watch is paused, because its pause cannot be read: "
            f"{observation.pause_error}"
        )
    pause = observation.pause
    why = pause.get("reason") or "no reason given"
    run = f", run {pause['run']}" if pause.get("run") and pause["run"] not in why else ""
    return (
        f"{settings.pair}: the watch is paused ({why}{run}). It ends by itself, or with "
        f"salt-run pair.resume {settings.pair}."
    )


def _disconnected(observation, settings):
    lost = sorted(
        {interface for _, interface in settings.addresses.values() if interface not in observation.connected}
    )
    if not lost:
        return None
    return (
        f"{settings.pair}: {', '.join(lost)} of this node has no carrier, so what is silent is "
        f"this node: nothing is taken."
    )


def _not_silent(state, observation, settings, away):
    """Why the silence is none, or not long enough, or does not count."""
    unseen = [one for one in away if one not in state.seen]
    if any(state.silence[one].probes <= 1 for one in unseen):
        return f"{_names(settings, away)}: asked for."
    silent = [one for one in away if state.silence[one].probes > 1 and one not in unseen]
    answered = [one for one in away if one not in silent and one not in unseen]
    if unseen:
        return (
            f"{_names(settings, unseen)}: never answered since this node booted, so nothing can be "
            f"told from the silence, and nothing is taken. Start the pair with orch.boot."
        )
    if silent and answered:
        return (
            f"{_names(settings, silent)}: not answered, but {_names(settings, answered)} is, so "
            f"the other node is there and nothing is taken. Look at its interfaces."
        )
    if not silent:
        names = _names(settings, away)
        if any(one not in state.answered_by for one in away):
            return f"{names}: asked for."
        if observation.ledger.get("active") == settings.node:
            return (
                f"{names}: answered by another host, although the ledger of {settings.node} names "
                f"{settings.node} active. See salt-run pair.status {settings.pair}."
            )
        return f"{names}: answered by another host; {settings.node} stands by."
    now = state.now
    for one in silent:
        quiet = state.silence[one]
        if (
            quiet.probes <= PROBES
            or now < quiet.heard + settings.patience + settings.delay
            or now < quiet.first + settings.evidence
        ):
            wait = f"{settings.patience + settings.delay:g}"
            return f"{_names(settings, silent)}: not answered; taken after {wait} s of silence."
    return None


def _unproved(state, observation, settings):
    if settings.reachable is None:
        return None
    since = state.reached_since
    # Half the patience: when a switch comes back, the holder is heard within that time as well.
    if since is not None and observation.now - since >= settings.patience / 2:
        return None
    if since is not None:
        return f"{settings.pair}: one of {', '.join(settings.reachable)} has just answered."
    return (
        f"{settings.pair}: none of {', '.join(settings.reachable)} answers either, so this node "
        f"may be the one that is cut off: nothing is taken."
    )


def _names(settings, addresses):
    return ", ".join(settings.addresses[one][0] for one in addresses)
