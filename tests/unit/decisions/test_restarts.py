"""A service that is active at the moment of a look need not stay up."""

import pytest

from failback.decisions.restarts import Counter


@pytest.mark.parametrize(
    ("looks", "times"),
    [
        # (seconds, systemd's word, its number of starts, whether the process has begun its work)
        ([(0, "active", 0, True)], None),
        ([(0, "active", 0, False)], None),
        ([(0, "inactive", 0, None)], None),
        ([(0, "failed", 0, None)], None),
        # It waits to be started again, or is given up.
        ([(0, "activating", 1, None)], 1),
        ([(0, "failed", 5, None)], 5),
        # Started again once: until it works.
        ([(0, "active", 1, False)], 1),
        ([(0, "active", 1, True)], None),
        # Each look sees one that works, and it is never the same.
        ([(0, "active", 0, True), (10, "active", 1, True)], None),
        ([(0, "active", 0, True), (10, "active", 1, True), (20, "active", 2, True)], 2),
        ([(0, "active", 7, True), (10, "active", 8, True), (20, "active", 9, True)], 9),
        ([(0, "active", 0, True), (59.9, "active", 2, True)], 2),
        ([(0, "active", 0, True), (10, "active", 2, True), (60, "active", 2, True)], 2),
        ([(0, "active", 0, True), (10, "active", 2, True), (70, "active", 2, True)], None),
        # Nobody has looked for long: both starts lie somewhere in between.
        ([(0, "active", 0, True), (500, "active", 2, True)], 2),
        ([(0, "active", 0, True), (500, "active", 2, True), (560, "active", 2, True)], None),
        # Once an hour is no matter.
        ([(0, "active", 0, True), (3600, "active", 1, True), (7200, "active", 2, True)], None),
        # Somebody has started it: systemd counts anew, and so does this.
        ([(0, "active", 0, True), (10, "active", 4, True), (20, "active", 0, True)], None),
        ([(0, "active", 3, True), (10, "active", 0, False), (20, "active", 1, True)], None),
    ],
)
def test_it_stays_up_or_does_not(looks, times):
    counter = Counter()
    found = [counter.look(*one) for one in looks]
    assert found[-1] == times
