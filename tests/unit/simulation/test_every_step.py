"""
Each change of hands is cut short at each of its steps, all of them.

A step is what others can see or what lasts: a lock, a file made, written, synced, renamed, an address taken
or released, a command sent. At each the process is killed, or its node loses power and keeps what was synced.
The node comes back, an operator does what the verdict says, and the invariants are asked.
"""

import functools

import pytest

from effort import examples
from effort import rounds
from simulation import configurations
from simulation import histories
from simulation.disk import LOST
from simulation.disk import NAMES
from simulation.histories import deafen
from simulation.histories import freeze
from simulation.histories import isolate
from simulation.histories import lose_power
from simulation.histories import mend
from simulation.histories import operate
from simulation.histories import part
from simulation.histories import thaw

pytestmark = pytest.mark.one_release

#: Who serves, and what happens, with the time before it.
CHANGES = {
    "a takeover": ("salt1", [(1, lose_power("salt1"))]),
    "a takeover from a node that is cut off": ("salt1", [(1, isolate("salt1")), (8, mend())]),
    "a partial partition": ("salt1", [(1, part("salt1", "salt2")), (6, mend())]),
    "a node that is heard and hears nothing": ("salt1", [(1, deafen("salt1", "salt2")), (6, mend())]),
    "a failover": ("salt1", [(1, operate("failover"))]),
    "the way home": ("salt2", [(1, operate("recover"))]),
}
#: The same of a pair with a lease, which has to run out first.
CHANGES_WITH_A_LEASE = {
    "a takeover from a node that is cut off": ("salt1", [(1, isolate("salt1")), (20, mend())]),
    "a takeover from a node that stands still": ("salt1", [(1, freeze("salt1")), (16, thaw("salt1"))]),
    "a failover": ("salt1", [(1, operate("failover"))]),
    "the way home": ("salt2", [(1, operate("recover"))]),
}
#: Seconds that the last one has.
LASTS = 9


class CutShort:
    """Ends what makes a node's so-manieth step, and counts the steps."""

    def __init__(self, name, number=None, end=None):
        self._name, self._number, self._end = name, number, end
        self.steps = []

    def __call__(self, world):
        world.plans.append(functools.partial(self._step, world))

    def _step(self, world, process, what, detail):
        if process.node.name == self._name and process.node.power:
            self.steps.append((process.name, what, detail))
            if len(self.steps) == self._number:
                self._end(world, process)


def dies(world, process):
    world.engine.kill(process)


def lose(fate):
    def end(world, process):
        world.lose_power(process.node.name, fate)

    return end


def live_through(change, cut_short, configuration=configurations.ROUTER_ASKED):
    active, happens = (CHANGES_WITH_A_LEASE if configuration.ttl else CHANGES)[change]
    history = [(0, cut_short), *happens, (LASTS + (configuration.ttl or 0), mend())]
    return histories.run(history, configuration, active=active)


ENDS = (dies, lose(LOST), lose(NAMES))


def cut_short_at_each_step(change, name, every=1, configuration=configurations.ROUTER_ASKED):
    whole = CutShort(name)
    live_through(change, whole, configuration)
    for number, step in list(enumerate(whole.steps, 1))[::every]:
        for end in (ENDS * 2)[number % len(ENDS) :][: examples(1, thorough=len(ENDS))]:
            try:
                live_through(change, CutShort(name, number, end), configuration)
            except AssertionError as error:
                raise AssertionError(f"cut short at step {number} of {name}, {step}: {error}") from error


@pytest.mark.parametrize("name", ["salt1", "salt2"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_step_is_the_last_the_invariants_hold(change, name):
    """Each step by each end in ``make test-thorough``; otherwise by one of them, in turn."""
    cut_short_at_each_step(change, name)


@pytest.mark.parametrize("name", ["salt1", "salt2"])
@pytest.mark.parametrize("change", CHANGES_WITH_A_LEASE)
def test_with_a_lease_they_hold_without_an_excuse(change, name):
    """Each step in ``make test-thorough``; otherwise every so-manieth, for a guard makes many."""
    cut_short_at_each_step(change, name, rounds(7, 1), configurations.LEASE)
