"""Which of the files that are replaced somebody may miss."""

import pytest
import samples

from failback.decisions import conflicts
from failback.decisions.conflicts import BEFORE
from failback.decisions.conflicts import BOTH
from failback.decisions.conflicts import HERE
from failback.decisions.conflicts import NEWER


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
        pytest.param(1100, 1000, 1000, BOTH, id="changed on both, there at that very moment"),
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
    moment = None if takeover is None else conflicts.Takeover(takeover, takeover)
    assert conflicts.reason(here, there, moment, before=10) == reason


@pytest.mark.parametrize("ahead", [-3600, 0, 3600], ids=["behind", "in step", "ahead"])
@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        (900, 1200, None),
        (900, None, None),
        (995, 1200, BEFORE),
        (1100, 1200, BOTH),
        (1100, None, HERE),
    ],
)
def test_a_serving_node_whose_clock_is_off_tells_no_other_story(here, there, reason, ahead):
    """What it changed since bears its own clock's time; what it has from here bears this one's."""
    theirs = None if there is None else there + ahead
    moment = conflicts.Takeover(here=1000, there=1000 + ahead)
    assert conflicts.reason(here, theirs, moment, before=10) == reason


def report(clock, since="2026-11-22T18:30:00Z"):
    return {"time": clock, "ledger": {"since": since} if since else None}


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_the_takeover_is_told_on_each_node_s_own_clock(ahead):
    moment = 1795372200  # 2026-11-22T18:30:00Z
    found = conflicts.taken_over(report(moment + 60), report(moment + 60 + ahead))
    assert found == (moment + ahead, moment, None)


def test_without_a_ledger_nobody_knows_when():
    assert conflicts.taken_over(report(1, since=None), report(1)) is None


def test_what_was_on_its_way_is_as_long_as_the_pair_waits():
    slow = samples.pair(lsyncd={"delay": 30}, watch={"patience": 5})
    assert conflicts.just_before(slow) == 40
    # Where the moment of being in step is known, nobody has to guess: it is on the clock of the lost node.
    known = conflicts.Takeover(here=1000, there=4600, in_step=900)
    assert conflicts.just_before(slow, known) == 100 + conflicts.COARSE
    assert conflicts.just_before(slow, known._replace(in_step=1200)) == conflicts.COARSE
    assert conflicts.just_before(slow, known._replace(in_step=None)) == 40


def test_the_moment_of_being_in_step_comes_from_the_ledger_and_is_a_number_or_nothing():
    serving = report(1795372260)
    for value, expected in ((1795372190.5, 1795372190.5), (None, None), ("yesterday", None), (True, None)):
        serving["ledger"]["in_step"] = value
        assert conflicts.taken_over(serving, report(1795372260)).in_step == expected
