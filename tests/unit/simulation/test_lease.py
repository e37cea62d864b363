"""A pair with a lease, in histories of its own: who serves in the end, and what each part of it is for."""

import dataclasses
import errno

import pytest
import samples

from failback.decisions import lease
from failback.network import netlink
from simulation.cluster import MEMBERS
from simulation.configurations import LEASE
from simulation.configurations import TTL
from simulation.disk import LOST
from simulation.histories import freeze
from simulation.histories import isolate
from simulation.histories import lose_power
from simulation.histories import mend
from simulation.histories import operate
from simulation.histories import part
from simulation.histories import run
from simulation.histories import slow_disk
from simulation.histories import slow_etcd
from simulation.histories import thaw
from simulation.judge import Broken
from simulation.test_every_step import CutShort
from simulation.test_every_step import dies
from simulation.test_every_step import lose

pytestmark = pytest.mark.one_release

#: No majority of etcd's members hear each other.
ETCD_GONE = [(1, isolate(MEMBERS[0])), (0, isolate(MEMBERS[1]))]
#: salt1 hears none of them; the others do.
SALT1_WITHOUT_ETCD = [(1, part("salt1", MEMBERS[0])), *((0, part("salt1", one)) for one in MEMBERS[1:])]
#: Longer than any right lasts.
LONG = 3 * TTL
#: Its kernel goes on answering whoever hears it.
FROZEN_AND_UNHEARD = [(1, freeze("salt1")), (0, part("salt1", "salt2")), (LONG, thaw("salt1")), (9, mend())]


@pytest.mark.parametrize(
    ("history", "serving", "generation"),
    [
        ([(1, freeze("salt1")), (LONG, thaw("salt1"))], "salt2", 6),
        ([(1, isolate("salt1")), (LONG, mend())], "salt2", 6),
        ([(1, lose_power("salt1")), (LONG, mend())], "salt2", 6),
        ([(1, isolate("salt2")), (LONG, mend())], "salt1", 5),
        ([(1, part("salt1", "salt2")), (LONG, mend())], "salt1", 5),
        ([*ETCD_GONE, (LONG, mend())], "salt1", 5),
        ([*ETCD_GONE, (LONG, lose_power("salt1")), (LONG, mend())], "salt2", 6),
        ([*ETCD_GONE, (5, part("salt1", "salt2")), (LONG, mend())], "salt1", 5),
        ([*SALT1_WITHOUT_ETCD, (LONG, mend())], "salt1", 5),
        ([(1, slow_etcd(1.9)), (LONG, mend())], "salt1", 5),
        ([(1, slow_etcd(30.0)), (LONG, mend())], "salt1", 5),
        ([(1, operate("failover")), (LONG, mend())], "salt2", 6),
    ],
    ids=["frozen", "cut off", "without power", "the standby is cut off", "the nodes do not hear each other",
         "etcd is gone", "etcd is gone and then the active node", "etcd and the other node are gone",
         "the active node does not reach etcd", "slow etcd", "etcd is too slow", "failover"],
)  # fmt: skip
def test_who_serves_in_the_end(history, serving, generation):
    end = run(history, LEASE)
    assert (end.serving, end.ledgers[int(serving[-1]) - 1]) == (serving, (generation, serving))


def no_end_in_the_kernel(patch):
    whole = netlink.lifetime
    patch.setattr(netlink, "lifetime", lambda _, preferred=True: whole(None, preferred))


def no_end_in_time(patch):
    patch.setattr(lease, "MARGIN", -TTL / 2)


def _judged_by(patch, change):
    whole = lease.acquisition_refusal
    patch.setattr(lease, "acquisition_refusal", lambda *given, **more: whole(*change(*given), **more))


def no_wait(patch):
    def change(key, *others):
        return (dataclasses.replace(key, since=key.since - 2 * TTL), *others)

    _judged_by(patch, change)


def no_promise(patch):
    def change(key, node, generation, now, promised_until=None, *others):
        return (key, node, generation, now, None, *others)

    _judged_by(patch, change)


@pytest.mark.parametrize(
    ("without", "history"),
    [
        (no_end_in_the_kernel, FROZEN_AND_UNHEARD),
        (no_end_in_time, FROZEN_AND_UNHEARD),
        (no_wait, [(1, part("salt1", "salt2")), (LONG, mend())]),
        (no_promise, [*SALT1_WITHOUT_ETCD, (LONG, part("salt1", "salt2")), (LONG, mend())]),
    ],
    ids=["the address's end in the kernel", "the end of a right in time", "waiting for the other one's end",
         "the promise"],
)  # fmt: skip
def test_without_each_part_two_nodes_have_the_address(monkeypatch, without, history):
    run(history, LEASE)
    without(monkeypatch)
    with pytest.raises(Broken, match="salt1 and salt2 have the address"):
        run(history, LEASE)


# --- a takeover that ends between the lease's key and the address -----------------------------------------

#: salt1 does not reach anybody for as long as a takeover needs, and salt2 takes over.
CUT_OFF = [(1, isolate("salt1")), (30, mend())]


def is_served_by(name):
    """Not a fault: the node has the address at this moment, and nobody else."""

    def look(world):
        assert world.serving() == name, (world.serving(), world.cluster.value)

    return look


def key_says(**expected):
    def look(world):
        assert {one: world.cluster.value.get(one) for one in expected} == expected, world.cluster.value

    return look


def between_the_key_and_the_address():
    """The numbers of salt2's steps behind its first write to etcd, up to that which raises the generation."""
    whole = CutShort("salt2")
    run([(0, whole), *CUT_OFF], LEASE)
    writes = [number for number, step in enumerate(whole.steps, 1) if step[1:] == ("etcd", "write")]
    taken = [number for number, step in enumerate(whole.steps, 1) if step[1] == "take"]
    assert writes[0] < writes[1] < taken[0] < writes[2]
    return range(writes[0] + 1, writes[1] + 1)


def test_a_standby_that_loses_power_in_a_takeover_leaves_the_other_node_in_service():
    """What it has written into the key does not count before it has had an address."""
    for number in between_the_key_and_the_address():
        history = [(0, CutShort("salt2", number, lose(LOST))), *CUT_OFF, (2.5 * TTL, is_served_by("salt1"))]
        end = run(history, LEASE)
        assert end.serving == "salt1", number


def test_a_takeover_that_is_killed_leaves_one_node_in_service():
    for number in between_the_key_and_the_address():
        end = run([(0, CutShort("salt2", number, dies)), *CUT_OFF], LEASE)
        assert end.serving in ("salt1", "salt2"), number


@pytest.mark.parametrize("seconds", [12.0, 15.5, 17.0])
def test_a_standby_with_a_slow_disk_that_loses_power_in_a_takeover_has_taken_nothing(seconds):
    history = [(0, slow_disk("salt2", 6.0)), (1, freeze("salt1")), (seconds, lose_power("salt2"))]
    history += [(0, thaw("salt1")), (2.5 * TTL, is_served_by("salt1"))]
    assert run(history, LEASE).ledgers == [(5, "salt1"), (5, "salt1")]


def no_room_for_the_ledger(name):
    """The file system of /var/lib/failback is full on a node."""

    def fault(world):
        def plan(process, what, detail):
            if process.node.name == name and what == "write" and "/.ledger.json." in str(detail):
                raise OSError(errno.ENOSPC, "No space left on device", detail)

        world.plans.append(plan)
        # A fault of the code is logged with its traceback, and this one is none.
        world.log = lambda sentence: world.node.log.append((world.engine.now, sentence))

    return fault


def test_a_standby_that_cannot_write_its_ledger_does_not_raise_the_generation():
    history = [(0, no_room_for_the_ledger("salt2")), (1, freeze("salt1")), (15, key_says(generation=5))]
    history += [(0, thaw("salt1")), (2.5 * TTL, is_served_by("salt1")), (0, key_says(holder="salt1"))]
    assert run(history, LEASE).ledgers == [(5, "salt1"), (5, "salt1")]


def paused_at(name, step):
    """An operator pauses the watch of a node when it makes that step."""

    def fault(world):
        def plan(process, what, _detail):
            if process.node.name == name and what == step:
                world.plans.remove(plan)
                node = world.nodes[name]
                world.start("pause", node, lambda: world.member(node).pause.set(600, "an operator"))

        world.plans.append(plan)

    return fault


def test_a_claim_that_is_withdrawn_before_the_address_does_not_lock_the_other_node_out():
    """salt2 is refused by a pause that comes behind its ledger, and then it is gone for good."""
    history = [(0, paused_at("salt2", "stop incoming")), (1, freeze("salt1")), (19, lose_power("salt2"))]
    history += [(0, key_says(holder=None, generation=5, claims=None)), (0, thaw("salt1"))]
    history += [(2.5 * TTL, is_served_by("salt1"))]
    run(history, LEASE)


def test_a_takeover_asks_etcd_once_more_than_for_the_lease_itself():
    steps = []

    def note(world):
        def plan(process, what, detail):
            if process.node.name == "salt2" and process.name.startswith("watch"):
                steps.append(detail if what == "etcd" else f"{what} …")

        world.plans.append(plan)

    run([(0, note), *CUT_OFF], LEASE)
    asked = [one for one in steps[: steps.index("take …")] if one in ("read", "write")]
    assert asked == ["read", "write", "write"]


# --- the guard of a node that is given the pair -----------------------------------------------------------


def sentences(world, *words):
    """What the nodes have said that has one of these words in it."""
    said = [
        (node.name, one[1]) for node in world.nodes.values() for one in node.log if isinstance(one, tuple)
    ]
    return [one for one in said if any(word in one[1] for word in words)]


@pytest.mark.parametrize("seconds", [1.0, 1.06, 1.12, 1.18])
def test_the_guard_of_a_taker_releases_nothing_by_a_right_that_it_had_long_ago(seconds):
    """Without paths a taker's ledger names it before it has the lease; salt1 gave the pair away before."""
    changes = {"replicate": [], "recovery": {**samples.pair("salt1")["recovery"], "reboot": False}}
    history = [(seconds, operate("failover")), (40, operate("recover")), (40, mend())]
    end = run(history, LEASE, **changes)
    assert (end.serving, end.ledgers) == ("salt1", [(7, "salt1"), (7, "salt1")])
    assert sentences(end.world, "has released the addresses", "may not serve", "has put back") == []


@pytest.mark.parametrize(
    "history",
    [
        [*ETCD_GONE, (0, part("salt1", "salt2")), (LONG, mend()), (LONG, mend())],
        [(1, isolate("salt1")), (0, isolate("salt2")), (LONG, mend()), (LONG, mend())],
        *([(seconds, freeze("salt1")), (11, thaw("salt1")), (LONG, mend())] for seconds in (1.15, 1.2)),
    ],
    ids=["etcd and the other node are gone", "nobody is heard", "a takeover", "a takeover, later"],
)
def test_what_was_just_taken_is_not_said_to_be_put_back(history):
    """The guard has missed the addresses a moment before: the kernel has deleted nothing then."""
    assert sentences(run(history, LEASE).world, "has put back") == []
