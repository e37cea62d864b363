"""The worst lag of each hour."""

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.decisions import lag_history

NOW = 490_064 * 3600 + 1200.0
THIS = 490_064


@pytest.mark.parametrize(
    ("hours", "lag", "after"),
    [
        ({}, 4.0, {THIS: 4.0}),
        ({THIS: 9.0}, 4.0, {THIS: 9.0}),
        ({THIS: 3.0}, 4.0, {THIS: 4.0}),
        ({THIS - 1: 9.0}, 0.0, {THIS - 1: 9.0, THIS: 0.0}),
        # The hour in which the 90 days begin is the last one of use.
        ({THIS - 2160: 1.0, THIS - 2161: 2.0}, 4.0, {THIS - 2160: 1.0, THIS: 4.0}),
        # The clock was wrong once.
        ({THIS + 5: 1.0}, 4.0, {THIS: 4.0}),
    ],
)
def test_one_more_look(hours, lag, after):
    assert lag_history.noted(hours, NOW, lag) == after


def test_of_two_nodes_the_worse_counts():
    assert lag_history.merged([{1: 2.0, 2: 3.0}, {2: 9.0, 4: 1.0}]) == {1: 2.0, 2: 9.0, 4: 1.0}
    assert lag_history.merged([]) == {}


@given(strategies.dictionaries(strategies.integers(0, 10**6), strategies.floats(0, 10**9)))
def test_what_was_written_is_read(hours):
    assert lag_history.from_list(lag_history.as_list(hours)) == hours


@pytest.mark.parametrize(
    "entries",
    [
        *(None, {}, "x", [1], [[1]], [[1, 2, 3]], [[1, "x"]], [[True, 1]], [[1, float("nan")]]),
        *([[1, float("inf")]], [[1, 1e12]], [[-1e12, 1]]),
    ],
)
def test_what_is_no_history_has_nothing_to_say(entries):
    assert lag_history.from_list(entries) == {}
