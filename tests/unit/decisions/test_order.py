"""The order of several pairs."""

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.decisions import order
from failback.errors import Refused

KNOWN = ["mgmt", "mx", "salt", "slurm"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [("all", KNOWN), ("mx", ["mx"]), (["slurm", "mx"], ["slurm", "mx"]), (["mx", "mx"], ["mx"])],
)
def test_what_an_operator_means(wanted, names):
    assert order.chosen(wanted, KNOWN) == names


@pytest.mark.parametrize(
    "wanted", [None, [], "", "ALL", ["mx", "nox"], {"mx": 1}, 7, True, ["mx", 7], [["mx"]]]
)
def test_what_nobody_means(wanted):
    with pytest.raises(Refused, match="Nothing was done"):
        order.chosen(wanted, KNOWN)


def configs(**after):
    return {name: {"after": others} for name, others in after.items()}


def test_only_chosen_pairs_are_waited_for():
    assert order.predecessors(configs(mx=["salt"], slurm=["mx"])) == {"mx": set(), "slurm": {"mx"}}


@pytest.mark.parametrize(
    "pairs", [configs(mx=["slurm"], slurm=["mx"]), configs(mx=["slurm"], slurm=["salt"], salt=["mx"])]
)
def test_a_circle_is_refused_by_name(pairs):
    with pytest.raises(Refused, match="mx, .*circle"):
        order.predecessors(pairs)


@given(
    strategies.data(),
    strategies.integers(1, 5),
    strategies.dictionaries(
        strategies.integers(0, 9), strategies.lists(strategies.integers(0, 9), max_size=3), min_size=1
    ),
)
def test_every_pair_has_its_turn_after_its_predecessors(data, at_once, drawn):
    # Only to smaller numbers: an order without a circle.
    pairs = {
        str(name): {"after": [str(one) for one in others if one < name]} for name, others in drawn.items()
    }
    after = order.predecessors(pairs)
    waiting, running, ended = sorted(pairs), [], []
    while waiting or running:
        begin = order.ready(after, waiting, running, ended, at_once)
        for name in begin:
            assert after[name] <= set(ended)
            waiting.remove(name)
            running.append(name)
        assert running and len(running) <= at_once, "nothing is under way, so nothing would ever end"
        ended.append(running.pop(data.draw(strategies.integers(0, len(running) - 1))))
    assert sorted(ended) == sorted(pairs)
