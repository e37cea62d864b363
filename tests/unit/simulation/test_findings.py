"""
What was found, each by a history of its own, and by chance from nothing.

What the code does not promise (docs/guarantees.md) is expected to fail, and must not pass by itself.
"""

import pytest
from hypothesis import Phase
from hypothesis import given
from hypothesis import settings

from effort import examples
from simulation import histories
from simulation import seams
from simulation.configurations import BOTH_WATCH
from simulation.configurations import LEASE
from simulation.configurations import NO_EXCUSE
from simulation.configurations import NOBODY_ASKED
from simulation.configurations import ROUTER_ASKED
from simulation.configurations import without
from simulation.histories import deafen
from simulation.histories import isolate
from simulation.histories import kill_at
from simulation.histories import lose_packets
from simulation.histories import lose_power
from simulation.histories import mend
from simulation.histories import mute
from simulation.histories import operate
from simulation.histories import part
from simulation.histories import run
from simulation.histories import slow_disk
from simulation.histories import stop_at
from simulation.judge import MOMENT
from simulation.judge import TAKEN_BACK
from simulation.judge import Broken
from simulation.world import CLIENT

pytestmark = pytest.mark.one_release


def not_promised(sentence):
    return pytest.mark.xfail(raises=Broken, strict=True, reason=sentence)


TWO_HOLD = "without a lease, two nodes that do not hear each other both have the address"

#: Steps on salt2 from the moment at which it is alone: these lie between the generation in its
#: ledger and the address. See ``test_the_steps_between_ledger_and_address``.
BETWEEN = tuple(range(23, 31))


@pytest.mark.parametrize("seconds", [3, 45])
def test_the_standby_that_was_cut_off_does_not_win(seconds):
    """salt1 serves every client all the time; after the mend it must not give way."""
    run([(1, isolate("salt2")), (seconds, mend())], NOBODY_ASKED)


def test_it_does_not_win_either_if_the_router_answered_just_before():
    history = [(0.3, deafen("salt2", "salt1")), (1, isolate("salt2")), (7, mend())]
    run(history, ROUTER_ASKED)


@pytest.mark.parametrize("seconds", [3, 25])
def test_a_standby_that_hears_the_router_and_that_nobody_hears_takes_nothing(seconds):
    """What a router says to others is no answer to who asks it."""
    end = run([(1, mute("salt2")), (seconds, mend())], ROUTER_ASKED)
    assert (end.serving, end.ledgers) == ("salt1", [(5, "salt1"), (5, "salt1")])


@pytest.mark.parametrize("seconds", [4.5, 5, 5.5, 6, 6.5])
def test_a_primary_that_was_cut_off_does_not_win_by_an_answer_that_came_late(seconds):
    """salt2 has served all clients since; it asked salt1 when nobody had heard it yet."""
    end = run([(1, isolate("salt1")), (seconds, mend()), (10, mend())], ROUTER_ASKED)
    assert end.serving == "salt2"


@pytest.mark.parametrize("configuration", [NOBODY_ASKED, ROUTER_ASKED], ids=lambda one: one.name)
def test_an_answer_that_a_second_cut_takes_does_not_leave_two_holders(configuration):
    """salt1 serves on in the generation that salt2 has offered, and salt2 does not hear of it."""
    history = [(0, slow_disk("salt1", 0.2)), (0.3, deafen("salt1", "salt2")), (3, mend())]
    run([*history, (0.3, isolate("salt1")), (7, mend())], configuration)


@not_promised(TWO_HOLD)
@pytest.mark.parametrize("cut", [part, deafen], ids=["both ways", "one way"])
def test_a_partial_partition_does_not_make_two_holders(cut):
    """Both nodes hear the client, whom the watch asks."""
    run([(1, cut("salt1", "salt2")), (20, mend())], NO_EXCUSE)


@not_promised("a standby that serves for a moment renounces its claim when the other node is heard again")
def test_what_is_written_to_a_standby_in_a_moment_is_in_the_service():
    """salt1 is mute for just as long as a takeover needs."""
    run([(1, mute("salt1")), (4.9, mend()), (3, mend())], without(BOTH_WATCH, MOMENT))


GIVER_CUT_OFF = [(1, operate("failover")), (2.3, isolate("salt1")), (14, mend())]


@not_promised("a giver that asks nobody takes the pair back although it is the one that is cut off")
def test_a_giver_that_is_cut_off_takes_nothing_back():
    run(GIVER_CUT_OFF, without(NOBODY_ASKED, TAKEN_BACK))


def test_one_that_asks_a_router_does_not():
    run(GIVER_CUT_OFF, ROUTER_ASKED)


@pytest.mark.parametrize("cut", [part, deafen], ids=["both ways", "one way"])
def test_with_a_lease_it_does_not(cut):
    run([(1, cut("salt1", "salt2")), (20, mend())], LEASE)


def cut_off_with(fault, wait):
    return [(1, isolate("salt2")), (0, fault), (2.5, mend()), (wait, mend())]


@pytest.mark.parametrize("step", BETWEEN)
def test_a_takeover_that_is_killed_before_the_address_leaves_no_split_brain(step):
    run(cut_off_with(kill_at("salt2", step), 3), NOBODY_ASKED)


@pytest.mark.parametrize("step", BETWEEN)
def test_a_takeover_that_stood_still_before_the_address_does_not_take_it(step):
    run(cut_off_with(stop_at("salt2", step, 12.0), 15), NOBODY_ASKED)


def test_a_takeover_on_a_slow_disk_does_not_take_what_is_served_meanwhile():
    run(cut_off_with(slow_disk("salt2", 6.0), 20), NOBODY_ASKED)


def test_the_site_loses_power_just_after_a_takeover_and_is_started_without_holes():
    run([(1, lose_power("salt1")), (3.5, lose_power("salt2"))], NOBODY_ASKED)


def test_holes_are_named_although_the_other_node_has_stepped_down_to_that_generation():
    """salt2 has told salt1 to step down when it loses power, and with it what lsyncd had brought."""
    run([(14, lose_packets(0.9)), (0, slow_disk("salt2", 1.5)), (7, lose_power("salt2", 3))], NOBODY_ASKED)


def test_a_claim_that_nobody_was_known_to_hear_does_not_win_after_a_loss_of_power():
    """salt1 serves on for as long as it likes: salt2, which did not hear it, is off since its takeover."""
    history = [(0, deafen("salt1", "salt2")), (3, lose_power("salt2")), (7, lose_power("salt1"))]
    assert run(history, NOBODY_ASKED).verdict == "split-brain"


def test_of_two_that_clients_have_heard_the_newer_generation_wins_after_a_loss_of_power():
    history = [(0, deafen("salt1", "salt2")), (7, lose_power("salt2")), (0.3, lose_power("salt1"))]
    end = run(history, NOBODY_ASKED)
    assert (end.verdict, end.ledgers) == ("cold", [(5, "salt1"), (6, "salt2")])


def test_of_two_that_clients_have_heard_a_person_is_asked_if_the_older_one_has_served_for_long():
    """The client was with salt2 first, and then with salt1 for more than a minute."""
    history = [(0, part("salt1", "salt2")), (15, part("salt2", CLIENT)), (80, lose_power("salt2"))]
    assert run([*history, (0.3, lose_power("salt1"))], NOBODY_ASKED).verdict == "split-brain"


def test_one_that_was_cut_off_was_heard_by_nobody_and_asks_nobody():
    """It has the address for as long: no client has been told anything by it."""
    history = [(0, isolate("salt1")), (70, lose_power("salt2")), (0.3, lose_power("salt1"))]
    end = run(history, NOBODY_ASKED)
    assert (end.verdict, end.ledgers) == ("cold", [(5, "salt1"), (6, "salt2")])


@pytest.mark.parametrize("seconds", [17.5, 18, 19, 20, 22, 24])
def test_a_node_with_a_slow_disk_that_clients_have_heard_is_not_rolled_back(seconds):
    """What people are told, and that it was heard, waits for the disk; who meets the other node does not."""
    history = [(0, isolate("salt1")), (0, slow_disk("salt2", 6.0)), (seconds, mend()), (10, mend())]
    end = run(history, BOTH_WATCH)
    assert end.serving == "salt2"


def test_a_node_does_not_step_down_to_one_that_has_lost_power():
    """salt2 has taken over while it heard nobody, and has booted since: all it has is the generation."""
    run([(1, deafen("salt1", "salt2")), (4.9, lose_power("salt2"))], BOTH_WATCH)


def test_a_node_that_steps_down_to_one_that_dies_meanwhile_says_what_is_unsaved():
    """salt2 has asked it to: what salt1 alone was told is kept there, as if salt2 still served."""
    history = [(0, lose_packets(0.9)), (0, stop_at("salt1", 1, 1.0)), (3, lose_power("salt2"))]
    world = run(history, NOBODY_ASKED).world
    with seams.inhabited(world), world.on("salt1") as member:
        own = member.ledger.read()
    assert (own["active"], own["generation"], own["unsaved"]) == ("salt2", 6, True)


def test_the_steps_between_ledger_and_address():
    """``BETWEEN`` is what it says: the ledger has the new generation, and the address is not taken."""
    steps = []

    def count(world):
        def plan(process, what, detail):
            if process.node.name == "salt2":
                steps.append((what, detail, world.nodes["salt2"].has(world.packed), world.ledgers()[1][0]))

        world.plans.append(plan)

    run([(1, isolate("salt2")), (0, count), (2.5, mend())], NOBODY_ASKED)
    between = [
        number for number, (_, _, has, generation) in enumerate(steps, 1) if generation == 6 and not has
    ]
    assert tuple(between) == BETWEEN, [(one[0], one[3]) for one in steps[:16]]


# --- from nothing ---------------------------------------------------------------------------------------


def search(configuration, *names, most=3, number=400):
    """Look for a history of these faults that breaks the configuration's promises."""

    @settings(max_examples=examples(number), phases=[Phase.generate])
    @given(histories.histories(*names, most=most, leased=bool(configuration.ttl)))
    def lives_through(history):
        run(history, configuration)

    lives_through()


NETWORK = ("deafen", "part", "isolate", "mute", "mend", "unplug")


def test_no_cut_lets_a_node_win_that_nobody_heard():
    search(NOBODY_ASKED, *NETWORK)


@not_promised(TWO_HOLD)
def test_no_cut_makes_two_holders():
    search(NO_EXCUSE, *NETWORK)


def test_with_a_lease_none_does():
    search(LEASE, *NETWORK, number=80)


def test_no_process_that_stops_or_dies_leaves_two_holders_or_a_split_brain():
    # A cable that is out is no partition: nothing else of what is not kept yet can be found with these.
    names = ("unplug", "mend", "kill_at", "stop_at", "slow_disk")
    search(ROUTER_ASKED, *names, most=5)


def test_no_loss_of_power_takes_what_lsyncd_had_brought():
    search(NOBODY_ASKED, "lose_power", "boot", "mend")
