"""Which of the files that are replaced somebody may miss."""

import pytest
import samples

from failback import conflicts
from failback.conflicts import BEFORE
from failback.conflicts import BOTH
from failback.conflicts import HERE
from failback.conflicts import NEWER


@pytest.mark.parametrize(
    ("here", "there", "takeover", "reason"),
    [
        pytest.param(500, 400, 1000, NEWER, id="old on both, and newer here"),
        pytest.param(400, 500, 1000, None, id="merely old"),
        pytest.param(400.9, 400, 1000, None, id="the serving node's time is known to the second only"),
        pytest.param(401, 400, 1000, NEWER, id="a second newer"),
        pytest.param(400, 1200, 1000, None, id="changed there alone"),
        pytest.param(400, None, 1000, None, id="deleted there, old here"),
        pytest.param(1100, 400, 1000, HERE, id="changed here alone"),
        pytest.param(1000, 400, 1000, HERE, id="at that very moment"),
        pytest.param(1100, None, 1000, HERE, id="here alone"),
        pytest.param(1100, 1200, 1000, BOTH, id="changed on both, newer there"),
        pytest.param(1200, 1100, 1000, BOTH, id="changed on both, newer here"),
        pytest.param(995, None, 1000, BEFORE, id="made just before, and not carried"),
        pytest.param(990, None, 1000, BEFORE, id="at the edge of that"),
        pytest.param(989.9, None, 1000, None, id="long enough before to have been carried"),
        pytest.param(995, 400, 1000, BEFORE, id="changed just before, and not carried"),
        pytest.param(995, 1200, 1000, BEFORE, id="changed just before, and there since"),
        pytest.param(1100, 400, None, NEWER, id="nobody knows when: newer"),
        pytest.param(400, 1100, None, None, id="nobody knows when: older"),
        pytest.param(1100, None, None, None, id="nobody knows when: deleted"),
    ],
)
def test_reasons(here, there, takeover, reason):
    assert conflicts.reason(here, there, takeover, before=10) == reason


def report(clock, since="2026-11-22T18:30:00Z"):
    return {"time": clock, "ledger": {"since": since} if since else None}


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_the_takeover_is_told_on_the_returned_node_s_own_clock(ahead):
    moment = 1795372200  # 2026-11-22T18:30:00Z
    assert conflicts.taken_over(report(moment + 60), report(moment + 60 + ahead)) == moment + ahead


def test_without_a_ledger_nobody_knows_when():
    assert conflicts.taken_over(report(1, since=None), report(1)) is None


def test_what_was_on_its_way_is_as_long_as_the_pair_waits():
    slow = samples.pair(lsyncd={"delay": 30}, watch={"patience": 5})
    assert conflicts.just_before(slow) == 40
