"""
Who may serve a pair that has a lease, and until when: the judgement, no I/O.

The lease is one key in etcd. It names the holder and the generation in which it serves, and stays there for
ever: what runs out is the *right* that a node draws from its last write. Two rules make two holders
impossible, whatever is slow, frozen, cut off or killed:

1. The holder counts from the moment at which it **asked**, and ends ``MARGIN`` before its time is over.
2. The other node counts from the moment at which it **saw** that very write for the first time, waits the
   whole
   time, and then replaces the write only if it is still the last one (compare-and-set on its revision).

What is seen was written before, and was asked for before that. So the second count ends after the first.
Nothing is compared between two clocks, and no clock of etcd's is relied on.

The generation in the key is the newest in which a node may have had the addresses. A node without them that
asks for a newer one *claims* it first: the key names it the holder, and the generation stays as it was. That
goes up in a write of its own, when the addresses are about to be taken. A claim that ends before that has
changed nothing.

While etcd does not answer, the *promise* of the other node takes its place. Only two nodes can serve a pair:
if the other one promises not to for a time, the serving one may go on for that time, counted in the same way.

All times are seconds on the boot clock of the node that counts, which goes on while the machine is suspended.
"""

import dataclasses

#: Seconds before the end of its time at which the holder has certainly stopped. The kernel deletes an address
#: up to 1.25 s after its lifetime (net/ipv4/devinet.c looks once a second, rounded by a quarter), and the
#: rest is for two clocks that do not run alike.
MARGIN = 1.5

#: Parts of the TTL: when to renew; for one question to etcd; for one to the other node. Together they leave
#: time before the end: after a renewal that failed, the other node is asked while the right is still in
#: force.
RENEW_AFTER, ASK_ETCD_WITHIN, ASK_PEER_WITHIN = 0.2, 0.2, 0.3

#: For how many TTL a slow node leaves the lease to the other one, from its end on. That one has seen its
#: last write up to ``RENEW_AFTER`` late, waits for a whole TTL, and needs a look of its watch.
STANDS_BACK = 1.5

#: Where a right comes from.
LEASE, PROMISE = "lease", "promise"

#: What the guard does next.
NOTHING, LOOK, RENEW, ACQUIRE, RELEASE, RESUME, PUT_BACK, STEP_DOWN = (
    "nothing", "look", "renew", "acquire", "release", "resume", "put back", "step down",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Right:
    """
    What a node was granted last.

    generation
        In which it may serve.

    asked
        When it asked for it, on its own boot clock.

    ttl
        Seconds for which it was granted.

    source
        ``LEASE`` or ``PROMISE``.
    """

    generation: int
    asked: float
    ttl: float
    source: str = LEASE

    @property
    def until(self):
        """When the node must have stopped."""
        return self.asked + self.ttl - MARGIN

    def in_force(self, now):
        """Whether the node may serve at this moment."""
        return self.asked <= now < self.until


@dataclasses.dataclass(frozen=True)
class Key:
    """
    The lease as etcd had it when this node looked.

    revision
        Of its last write; 0 if there is no such key.

    holder
        Minion id of the node that has it, None if it was given back.

    generation
        In which the holder serves; of one given back or claimed, the last one.

    ttl
        Seconds for which the holder counts.

    since
        When this node saw this write for the first time, on its own boot clock.

    claims
        The newer generation that the holder claims, in which it has had no address yet; None: it claims none.
    """

    revision: int
    holder: str = None
    generation: int = 0
    ttl: float = 0.0
    since: float = 0.0
    claims: int = None

    def is_claimed_by(self, node):
        """Whether this node has it, and no address yet in the generation that it wants."""
        return self.holder == node and self.claims is not None


@dataclasses.dataclass(frozen=True)
class Observation:
    """
    What the guard of one node knows.

    now
        Boot clock.

    generation
        Of the node's ledger, None if it has none.

    active
        Whether its ledger names this node and admits it in the present boot.

    ledger_error
        Why the ledger cannot be read, or None.

    right, key
        The last :class:`Right` and :class:`Key`, or None.

    released, ended
        The generation in which the guard has released the addresses, and when the right to serve had run out;
        None: it has not released them, or not said when.

    late
        When a step of the guard came later than it should, the last time.

    asked_last
        When it asked last for anything.

    busy
        Why the node changes hands or is paused at this moment, or None: then nothing is taken up again.

    lacks
        Whether an address was not on the node when its last right was granted.
    """

    now: float
    generation: int = None
    active: bool = False
    ledger_error: str = None
    right: Right = None
    key: Key = None
    released: int = None
    ended: float = None
    late: float = float("-inf")
    asked_last: float = float("-inf")
    busy: str = None
    lacks: bool = False


def lifetime(right, now):
    """
    For how many whole seconds from now the kernel may keep the addresses; 0 if not for one.

    right
        A :class:`Right`, or None.

    now
        Boot clock.
    """
    return max(0, int(right.until - now)) if right and right.in_force(now) else 0


def seen(before, revision, holder, generation, ttl, now, claims=None):
    """
    The key after a look at it: the same write keeps the moment at which it was seen first.

    before
        The :class:`Key` of the last look, or None.

    now
        Boot clock *after* the answer.
    """
    since = before.since if before and before.revision == revision else now
    return Key(revision, holder, generation, ttl, since, claims)


def is_claim(key, node, generation, claims):
    """
    Whether a node that is about to write itself into the lease claims the generation only.

    key
        The :class:`Key` over which it writes.

    claims
        Whether it has no address yet. Its own claim stays one until it takes them.
    """
    raises = bool(key.revision) and generation > key.generation
    return raises and (claims or key.is_claimed_by(node))


def above_the_claim(key, node):
    """The least generation above the one that another node claims; 0 if none does."""
    claimed = key is not None and key.holder not in (None, node) and key.claims is not None
    return key.claims + 1 if claimed else 0


def acquisition_refusal(
    key, node, generation, now, promised_until=None, create=False, pair="the pair", exact=True
):
    """
    Why a node may not write itself into the lease now; None if it may.

    key
        The last :class:`Key` seen. The write itself must compare its revision.

    generation
        In which the node wants to serve.

    promised_until
        Until when this node has promised the other one not to, or None.

    create
        Whether it may be the first holder: only a node that its ledger, or an orchestration, calls active.

    exact
        Name the seconds that are left. Without them the sentence stays the same while it is true.

    Returns a sentence.
    """
    if promised_until is not None and promised_until > now:
        left = f", for another {promised_until - now:.1f} s" if exact else ""
        return (
            f"{node} has promised to take nothing of {pair}, because the other node serves it while etcd "
            f"does not answer there{left}."
        )
    if not key.revision and create:
        return None
    if not key.revision:
        return (
            f"Nobody has had the lease of {pair} yet, so it cannot be told that it has run out. The active "
            f"node gets it when its guard runs and etcd answers. If there is none: salt-run pair.status "
            f"{pair}"
        )
    if key.generation > generation:
        return (
            f"The lease of {pair} was granted for generation {key.generation} "
            f"({key.holder or 'given back since'}), and {node} knows only generation {generation}: its data "
            f"are older. See salt-run pair.status {pair}"
        )
    if key.holder in (None, node):
        return None
    # Whoever claims a newer one does not serve in the key's.
    if generation == (key.generation if key.claims is None else key.claims):
        return (
            f"{key.holder} has the lease of {pair} for generation {generation}, in which {node} wants to "
            f"serve too: two histories of one generation. See salt-run pair.status {pair}"
        )
    left = key.since + key.ttl - now
    if left <= 0:
        return None
    return f"{key.holder} has the lease of {pair}" + (f", for another {left:.1f} s." if exact else " still.")


def promise_refusal(node, peer, own_generation, own_active, admitted, generation, right, acquiring, now):
    """
    Why a node does not promise the other one to take nothing; None if it does.

    own_generation, own_active, admitted
        What this node's ledger says, and whether it admits it in the present boot. None: no ledger.

    generation
        In which the other node serves.

    right
        This node's own last :class:`Right`, or None.

    acquiring
        Until when a process of this node may be about to get the lease, or None.

    Returns a sentence.
    """
    if own_generation is None:
        return f"{node} has no ledger, so it does not know who is active."
    # One that was not admitted does not serve, and concedes a newer generation.
    behind = own_generation < generation and not admitted
    if not behind and (own_generation, own_active) != (generation, peer):
        return (
            f"{node} does not agree that {peer} is active in generation {generation}: its ledger names "
            f"{own_active} in generation {own_generation}."
        )
    if right and now < right.asked + right.ttl:
        return f"{node} has had the right to serve itself until just now."
    if acquiring is not None and now < acquiring:
        return f"{node} is about to take over."
    return None


def judge(observation, node, ttl, pair="the pair"):
    """
    What the guard does next.

    observation
        An :class:`Observation`.

    ttl
        Of the pair, seconds.

    Returns ``(action, sentence)``, one of the actions above. The sentence stays the same while things do.
    """
    now, right, key = observation.now, observation.right, observation.key
    due = now >= observation.asked_last + ttl * RENEW_AFTER
    in_force = right is not None and right.in_force(now)
    if observation.ledger_error and in_force:
        # It says nothing against what was granted.
        sentence = f"{node} serves {pair} on, although its ledger cannot be read: {observation.ledger_error}"
        return (RENEW if due else NOTHING), sentence
    if observation.ledger_error or not observation.active:
        return _of_the_standby(observation, node, pair, due)
    if _taken_by_another(key, node, observation.generation):
        return (
            STEP_DOWN,
            f"{key.holder} has the lease of {pair}, in generation {key.generation}: {node} steps down",
        )
    if right is None and observation.released is None:
        sentence = f"{node} is active in {pair} without a lease so far, and asks etcd for it"
        return (ACQUIRE if due else NOTHING), sentence
    if not in_force:
        if observation.released != observation.generation:
            return RELEASE, f"{node} may not serve {pair} any more: what it was granted last has run out"
        if _stands_back(observation, ttl):
            sentence = f"{node} has released {pair}, and its own programs run late: the other node goes first"
            return (LOOK if due else NOTHING), sentence
        sentence = (
            f"{node} has released {pair}, because it could not renew its right to serve it; it asks again"
        )
        return (ACQUIRE if due else NOTHING), sentence
    if observation.released is not None:
        if observation.busy:
            return (RENEW if due else NOTHING), f"{node} takes {pair} not up again yet: {observation.busy}"
        return RESUME, f"{node} has the right to serve {pair} again, and nobody else has had it since"
    if observation.lacks and not observation.busy:
        return PUT_BACK, f"{node} has the right to serve {pair}, and not all of its addresses"
    what = "the lease" if right.source == LEASE else "the other node's promise, because etcd does not answer"
    return (RENEW if due else NOTHING), f"{node} serves {pair} by {what}"


def _stands_back(observation, ttl):
    """
    Whether a node that has released its addresses leaves the lease to the other one for a while.

    One that gets too little of a processor to renew its right in time may get it again, and be too slow to
    serve by it: then nobody serves, again and again.
    """
    ended = observation.ended
    if ended is None or observation.late < ended - ttl:
        return False
    return observation.now < ended + STANDS_BACK * ttl


def _taken_by_another(key, node, generation):
    """Whether etcd has shown that another node serves in a newer generation."""
    return bool(key and key.holder and key.holder != node and key.generation > generation)


def _of_the_standby(observation, node, pair, due):
    """It looks at the lease, so that it knows since when nobody has renewed it."""
    if observation.ledger_error:
        sentence = f"{node} does not serve {pair}: {observation.ledger_error}"
    elif observation.key is None:
        sentence = f"{node} does not serve {pair}; the lease was not seen yet"
    else:
        holder = observation.key.holder or "nobody"
        sentence = f"{node} does not serve {pair}; {holder} has the lease"
    return (LOOK if due else NOTHING), sentence
