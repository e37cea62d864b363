"""A pair with a lease, in histories of its own: who serves in the end, and what each part of it is for."""

import dataclasses

import pytest

from failback.decisions import lease
from failback.network import netlink
from simulation.cluster import MEMBERS
from simulation.configurations import LEASE
from simulation.configurations import TTL
from simulation.histories import freeze
from simulation.histories import isolate
from simulation.histories import lose_power
from simulation.histories import mend
from simulation.histories import operate
from simulation.histories import part
from simulation.histories import run
from simulation.histories import slow_etcd
from simulation.histories import thaw
from simulation.judge import Broken

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
