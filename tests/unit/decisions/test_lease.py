"""Who may serve a pair that has a lease: the tables of the judgement, and histories of two nodes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import effort
from failback.decisions import lease

TTL = 10.0
#: The kernel deletes an address no later than this after the end of its lifetime.
KERNEL = 1.25


def key(holder="salt1", generation=4, since=100.0, revision=7, ttl=TTL):
    return lease.Key(revision, holder, generation, ttl, since)


def claim(holder="salt1", generation=4, claims=5, **more):
    return dataclasses.replace(key(holder, generation, **more), claims=claims)


def right(asked=100.0, generation=4, source=lease.LEASE):
    return lease.Right(generation, asked, TTL, source)


# --- how long a right lasts


@pytest.mark.parametrize(
    ("now", "in_force", "lifetime"),
    [
        (99.9, False, 0),  # before it was asked for: the clock of another boot
        (100.0, True, 8),
        (104.4, True, 4),
        (107.5, True, 1),
        (107.6, True, 0),
        (108.5, False, 0),
        (200.0, False, 0),
    ],
)
def test_a_right_lasts_from_the_moment_of_asking(now, in_force, lifetime):
    assert right().in_force(now) is in_force
    assert lease.lifetime(right(), now) == lifetime


def test_the_kernel_has_deleted_an_address_before_another_node_may_take_it():
    for now in (100.0, 101.3, 105.0, 107.4):
        assert now + lease.lifetime(right(), now) + KERNEL < 100.0 + TTL


def test_there_is_time_to_ask_the_other_node_before_a_right_runs_out():
    for ttl in (6.0, 10.0, 30.0):
        spent = ttl * (lease.RENEW_AFTER + lease.ASK_ETCD_WITHIN + lease.ASK_PEER_WITHIN)
        assert spent < ttl - lease.MARGIN
        assert lease.Right(4, 100.0, ttl).in_force(100.0 + spent)


# --- who may write himself into the lease


@pytest.mark.parametrize(
    ("found", "generation", "now", "more", "refusal"),
    [
        (key(), 5, 109.9, {}, "salt1 has the lease of salt, for another 0.1 s"),
        (key(), 5, 109.9, {"exact": False}, "salt1 has the lease of salt still"),
        (key(), 5, 110.0, {}, None),
        (key(ttl=30.0), 5, 129.0, {}, "for another 1.0 s"),
        (key(holder=None), 5, 100.0, {}, None),
        (key(holder="salt2"), 4, 100.0, {}, None),
        (key(holder="salt2", generation=6), 5, 200.0, {}, "its data are older"),
        (key(holder=None, generation=6), 5, 200.0, {}, "given back since"),
        (key(), 4, 200.0, {}, "two histories of one generation"),
        (lease.Key(0), 5, 200.0, {}, "Nobody has had the lease"),
        (lease.Key(0), 5, 200.0, {"create": True}, None),
        (key(), 5, 200.0, {"promised_until": 201.0}, "for another 1.0 s"),
        (key(holder=None), 5, 200.0, {"promised_until": 201.0}, "has promised"),
        (key(), 5, 200.0, {"promised_until": 199.0}, None),
        # Of a claim only the time counts, for who serves in the generation of the key and for a newer one.
        (claim(), 4, 109.9, {}, "salt1 has the lease of salt, for another 0.1 s"),
        (claim(), 4, 110.0, {}, None),
        (claim(), 6, 109.9, {}, "salt1 has the lease of salt, for another 0.1 s"),
        (claim(), 6, 110.0, {}, None),
        (claim(), 5, 110.0, {}, "two histories of one generation"),
        (claim(), 3, 110.0, {}, "its data are older"),
        (claim("salt2"), 5, 100.0, {}, None),
    ],
)
def test_who_may_have_the_lease(found, generation, now, more, refusal):
    answer = lease.acquisition_refusal(found, "salt2", generation, now, pair="salt", **more)
    assert (answer is None) if refusal is None else refusal in answer


@pytest.mark.parametrize(
    ("found", "generation", "claims", "answer"),
    [
        (key("salt1"), 5, True, True),
        (key(None), 5, True, True),
        (key("salt2"), 5, True, True),
        (key("salt1"), 4, True, False),  # nothing is raised: it served in it, or another one did
        (key("salt1"), 5, False, False),  # it has the addresses
        (claim("salt2"), 5, False, True),  # the guard renews it, and nothing was taken yet
        (claim("salt1"), 5, False, False),
        (lease.Key(0), 5, True, False),  # no generation that it could leave there
    ],
)
def test_what_is_written_as_a_claim(found, generation, claims, answer):
    assert lease.is_claim(found, "salt2", generation, claims) is answer


@pytest.mark.parametrize(
    ("found", "least"), [(None, 0), (key(), 0), (claim(), 6), (claim("salt2"), 0), (claim(None), 0)]
)
def test_the_generation_that_another_node_claims_is_left_to_it(found, least):
    assert lease.above_the_claim(found, "salt2") == least


@pytest.mark.parametrize(
    ("own", "more", "refusal"),
    [
        ((4, "salt1", True), {}, None),
        ((None, None, False), {}, "no ledger"),
        ((4, "salt2", True), {}, "does not agree"),
        ((5, "salt2", True), {}, "does not agree"),
        ((5, "salt1", True), {}, "does not agree"),
        ((3, "salt1", True), {}, "does not agree"),
        ((3, "salt2", False), {}, None),
        ((5, "salt2", False), {}, "does not agree"),
        ((4, "salt1", True), {"right": right(asked=95.0)}, "until just now"),
        ((4, "salt1", True), {"right": right(asked=90.0)}, None),
        ((4, "salt1", True), {"acquiring": 100.5}, "about to take over"),
        ((4, "salt1", True), {"acquiring": 99.5}, None),
    ],
)
def test_who_promises_to_take_nothing(own, more, refusal):
    more = {"right": None, "acquiring": None, **more}
    answer = lease.promise_refusal("salt2", "salt1", *own, generation=4, now=100.0, **more)
    assert (answer is None) if refusal is None else refusal in answer


def test_the_same_write_keeps_the_moment_at_which_it_was_seen_first():
    first = lease.seen(None, 7, "salt1", 4, TTL, 100.0)
    assert lease.seen(first, 7, "salt1", 4, TTL, 108.0).since == 100.0
    assert lease.seen(first, 8, "salt1", 4, TTL, 108.0).since == 108.0
    # Also if a program of an earlier release has noted it, and left the claim out.
    assert lease.seen(first, 7, "salt1", 4, TTL, 108.0, claims=5) == claim(since=100.0)


# --- what the guard does

SERVES = lease.Observation(now=101.0, generation=4, active=True, right=right(), key=key(), asked_last=100.0)

#: Its right has run out.
RELEASED = {"now": 110.0, "released": 4, "ended": 108.5}


@pytest.mark.parametrize(
    ("changes", "action", "sentence"),
    [
        ({}, lease.NOTHING, "salt1 serves salt by the lease"),
        ({"now": 102.0}, lease.RENEW, "salt1 serves salt by the lease"),
        ({"right": right(source=lease.PROMISE)}, lease.NOTHING, "by the other node's promise"),
        ({"now": 108.5}, lease.RELEASE, "may not serve salt any more"),
        ({"now": 108.5, "released": 3}, lease.RELEASE, "may not serve"),
        ({"now": 108.5, "released": 4}, lease.ACQUIRE, "it asks again"),
        ({"now": 108.5, "released": 4, "asked_last": 108.0}, lease.NOTHING, "it asks again"),
        # Its own programs ran late before the release, or have since: the other node has the first turn.
        ({**RELEASED, "late": 107.0}, lease.LOOK, "the other node goes first"),
        ({**RELEASED, "late": 109.0}, lease.LOOK, "the other node goes first"),
        ({**RELEASED, "late": 109.0, "asked_last": 109.5}, lease.NOTHING, "the other node goes first"),
        ({**RELEASED, "late": 98.0}, lease.ACQUIRE, "it asks again"),
        ({**RELEASED, "late": 109.0, "now": 108.5 + 1.5 * TTL}, lease.ACQUIRE, "it asks again"),
        ({**RELEASED, "late": 109.0, "ended": None}, lease.ACQUIRE, "it asks again"),
        ({**RELEASED, "late": 109.0, "key": key("salt2", 5)}, lease.STEP_DOWN, "salt2 has the lease"),
        ({"released": 4}, lease.RESUME, "nobody else has had it since"),
        ({"released": 4, "busy": "the watch is paused"}, lease.NOTHING, "the watch is paused"),
        ({"released": 4, "busy": "a handover", "now": 102.0}, lease.RENEW, "a handover"),
        ({"lacks": True}, lease.PUT_BACK, "not all of its addresses"),
        ({"lacks": True, "busy": "a handover"}, lease.NOTHING, "by the lease"),
        ({"lacks": True, "now": 108.5}, lease.RELEASE, "may not serve"),
        ({"lacks": True, "active": False}, lease.NOTHING, "does not serve"),
        ({"right": None, "now": 102.0}, lease.ACQUIRE, "without a lease so far"),
        ({"right": None}, lease.NOTHING, "without a lease so far"),
        ({"right": lease.Right(0, 0.0, 0.0)}, lease.RELEASE, "may not serve"),
        ({"key": key("salt2", 5), "now": 108.5, "released": 4}, lease.STEP_DOWN, "salt2 has the lease"),
        ({"key": key("salt2", 4)}, lease.NOTHING, "by the lease"),
        # It has had no address: nobody steps down to that.
        ({"key": claim("salt2"), "now": 108.5, "released": 4}, lease.ACQUIRE, "it asks again"),
        ({"key": claim("salt2", 5, 6), "now": 108.5, "released": 4}, lease.STEP_DOWN, "salt2 has the lease"),
        ({"ledger_error": "damaged", "active": False, "now": 102.0}, lease.RENEW, "damaged"),
        ({"ledger_error": "damaged", "active": False, "now": 108.5}, lease.LOOK, "does not serve"),
        (
            {"active": False, "right": None, "now": 102.0},
            lease.LOOK,
            "does not serve salt; salt1 has the lease",
        ),
        ({"active": False, "right": None, "key": None, "now": 102.0}, lease.LOOK, "was not seen yet"),
        ({"active": False, "right": None}, lease.NOTHING, "does not serve"),
    ],
)
def test_what_the_guard_does(changes, action, sentence):
    found = lease.judge(dataclasses.replace(SERVES, **changes), "salt1", TTL, "salt")
    assert found[0] == action
    assert sentence in found[1]


# --- two nodes and a key, with every delay there is


class Node:
    """What a node remembers, and what its kernel does; the rules are those of ``decisions.lease``."""

    def __init__(self, name, offset):
        self.name, self.offset = name, offset
        self.right = self.key = self.promised_until = self.acquiring = self.pending = None
        #: When the kernel deletes the address at the latest, in everybody's time; None: not there.
        self.address_until = None
        self.generation, self.active = 1, name == "salt1"

    def clock(self, now):
        return now + self.offset


class Histories:
    """A cluster, two nodes, and a client's view of who has the address."""

    def __init__(self):
        self.now = 1000.0
        self.revision, self.value = 0, None
        self.nodes = {"salt1": Node("salt1", 0.0), "salt2": Node("salt2", 5000.0)}

    def peer(self, node):
        return self.nodes["salt2" if node.name == "salt1" else "salt1"]

    def look(self, node):
        """A read whose answer arrives at once."""
        holder, generation, ttl = self.value or (None, 0, 0.0)
        node.key = lease.seen(node.key, self.revision, holder, generation, ttl, node.clock(self.now))

    def ask(self, node):
        """It decides that it may have the lease, and asks; the request is on its way."""
        if node.pending or node.key is None:
            return
        now = node.clock(self.now)
        generation = node.generation if node.active else node.generation + 1
        refusal = lease.acquisition_refusal(
            node.key, node.name, generation, now, node.promised_until, create=node.active
        )
        if refusal is None:
            node.acquiring = now + TTL + lease.MARGIN
            node.pending = {"asked": now, "at": node.key.revision, "generation": generation, "done": None}

    def arrive(self, node):
        """The request has come to a majority of the members."""
        if not node.pending or node.pending["done"] is not None:
            return
        node.pending["done"] = node.pending["at"] == self.revision
        if node.pending["done"]:
            self.revision += 1
            self.value = (node.name, node.pending["generation"], TTL)

    def answer(self, node):
        """The answer has come back: an active node has its right, another one takes over with it."""
        if not node.pending or node.pending["done"] is None:
            return
        pending, node.pending = node.pending, None
        self.look(node)
        if not pending["done"]:
            node.acquiring = None
            return
        self._granted(node, lease.Right(pending["generation"], pending["asked"], TTL))
        node.acquiring = node.promised_until = None

    def renew(self, node):
        """All of it at once, as when nothing is slow."""
        for step in (self.look, self.ask, self.arrive, self.answer):
            step(node)

    def lose(self, node):
        """The answer, or the process that waits for it, is gone."""
        node.pending = None

    def promise(self, node):
        """An active node that etcd does not answer asks the other one, which answers at once."""
        if not node.active:
            return
        other = self.peer(node)
        there = other.clock(self.now)
        refusal = lease.promise_refusal(
            other.name, node.name, other.generation, other.name if other.active else node.name, True,
            node.generation, other.right, other.acquiring, there,
        )  # fmt: skip
        if refusal is None:
            other.promised_until = there + TTL
            self._granted(node, lease.Right(node.generation, node.clock(self.now), TTL, lease.PROMISE))

    def _granted(self, node, right):
        node.right = right
        seconds = lease.lifetime(right, node.clock(self.now))
        if seconds:
            node.generation, node.active = right.generation, True
            node.address_until = self.now + seconds + KERNEL

    def learn(self, node):
        """It sees that another one serves in a newer generation, and steps down."""
        self.look(node)
        if node.active and node.key.holder not in (None, node.name) and node.key.generation > node.generation:
            node.active, node.generation, node.address_until = False, node.key.generation, None
            node.right = None

    def holders(self):
        return [one.name for one in self.nodes.values() if one.address_until and one.address_until > self.now]


STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["look", "renew", "ask", "arrive", "answer", "promise"] * 3 + ["lose", "learn"]),
        st.sampled_from(["salt1", "salt2"]),
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 1.0, 2.5, 6.0, 8.4, 9.99, 10.0, 30.0])),
)


def play(steps):
    """What came of a history that begins with salt1 serving: who had the address after each step."""
    history, held = Histories(), []
    history.renew(history.nodes["salt1"])
    history.look(history.nodes["salt2"])
    for what, who in steps:
        if what == "wait":
            history.now += who
        else:
            getattr(history, what)(history.nodes[who])
        held.append(history.holders())
    return held


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=effort.examples(2000), deadline=None)
def test_no_history_gives_two_holders(steps):
    assert all(len(holders) < 2 for holders in play(steps))


def test_such_a_history_can_hand_the_address_over_and_back():
    taken = [("wait", 10.0), ("ask", "salt2"), ("arrive", "salt2"), ("answer", "salt2")]
    held = play([*taken, ("learn", "salt1"), ("wait", 10.0), ("renew", "salt1")])
    assert held[3:] == [["salt2"], ["salt2"], [], ["salt1"]]


def test_a_promise_keeps_the_other_node_from_the_lease():
    taken = [("ask", "salt2"), ("arrive", "salt2"), ("answer", "salt2")]
    assert play([("wait", 8.4), ("wait", 2.5), *taken])[-1] == ["salt2"]
    assert play([("wait", 8.4), ("promise", "salt1"), ("wait", 2.5), *taken])[-1] == ["salt1"]


def test_nothing_is_promised_while_the_lease_is_asked_for():
    asked = [("wait", 10.0), ("ask", "salt2"), ("promise", "salt1"), ("arrive", "salt2"), ("answer", "salt2")]
    held = play(asked)
    assert held[-1] == ["salt2"]
    assert all(len(holders) < 2 for holders in held)
