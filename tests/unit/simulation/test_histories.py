"""
Faults in any order, in any configuration: the invariants hold at every moment, and in the end.

Faults of the network, of processes, disks, clocks and power, and an operator who runs orchestrations and
pauses the watch. ``make test-thorough`` lives through more than a hundred thousand histories.
"""

import pytest
from hypothesis import given
from hypothesis import settings

from effort import examples
from simulation import configurations
from simulation import histories

pytestmark = pytest.mark.one_release


EACH = pytest.mark.parametrize(
    "configuration", [*configurations.ALL, *configurations.WITH_LEASE], ids=lambda one: one.name
)


@EACH
def test_whatever_happens_the_invariants_hold(configuration):
    # One with a lease takes four times as long.
    number = examples(80, thorough=330) if configuration.ttl else examples(250, thorough=105)

    @settings(max_examples=number)
    @given(histories.histories(leased=bool(configuration.ttl)))
    def lives_through(history):
        histories.run(history, configuration)

    lives_through()


@EACH
def test_when_nothing_happens_nothing_changes(configuration):
    end = histories.run([(30, histories.mend())], configuration)
    assert (end.serving, end.verdict) == ("salt1", "normal")
    assert end.ledgers == [(5, "salt1"), (5, "salt1")]
    world = end.world
    assert set(world.client.acknowledged) <= world.data["salt1"].files
    assert len(world.client.acknowledged) > 80
