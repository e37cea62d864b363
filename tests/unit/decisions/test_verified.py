"""What a comparison by checksum has found: when it counts, what is said of it, what a repair may delete."""

import pytest
import samples

from failback.decisions import plan
from failback.decisions import readiness
from failback.decisions import verdict
from failback.decisions import verified


def record(differing=0, **changes):
    differences = [{"path": f"/srv/salt/{n}", "what": verified.DIFFERS} for n in range(min(differing, 5))]
    known = {"at": 1_000_000.0, "generation": 7, "files": 12, "busy": 0, "repaired": 0, "current": True}
    return {**known, "differing": differing, "differences": differences, **changes}


@pytest.mark.parametrize(
    "known, said",
    [
        (None, None),
        (record(), None),
        (record(busy=3), None),
        (record(2, current=False), None),
        (record(1), "1 file on salt2"),
        (record(7), "/srv/salt/0 differs, /srv/salt/1 differs, /srv/salt/2 differs and 4 more"),
        (record(2), "salt-run state.orch orch.verify pillar='{pair: salt, repair: true}'"),
    ],
)
def test_what_is_wrong_with_a_standby_that_was_compared(known, said):
    found = verified.finding(samples.pair(), "salt2", known)
    assert found is None if said is None else said in found


def test_a_standby_that_differs_is_not_ready_and_the_pair_is_not_moved_to_it():
    config = samples.pair()
    readies = {"beats": True, "verified": record(2)}
    active = samples.report("salt1", samples.ledger(7, "salt1"), ("10.0.0.5/24",), readiness=readies)
    standby = samples.report("salt2", samples.ledger(7, "salt1"), readiness={"verified": record(2)})
    found = verdict.judge(config, active, standby)
    assert found.name == verdict.NORMAL and len(found.unready) == 1 and "2 files on salt2" in found.drift[0]
    assert "orch.verify" in plan.decide(plan.FAILOVER, config, found).refusal
    # Said once, by the node that serves: the standby has it only for the case that this one dies.
    assert readiness.wrong(config, standby, readiness.STANDS_BY) == ()


@pytest.mark.parametrize(
    "known, said",
    [
        (record(), "salt2 has the same files as salt1 (12 files compared by checksum)."),
        (record(repaired=2), "2 files repaired on salt2. salt2 has the same files as salt1"),
        (record(1), "1 file on salt2 differs from salt1 and will not be carried: /srv/salt/0 differs (12"),
        (record(busy=1), "1 file changed all the time and could not be judged."),
    ],
)
def test_what_has_come_of_a_comparison(known, said):
    assert said in verified.outcome("salt1", "salt2", known)


def test_a_repair_that_would_delete_more_than_it_may_names_the_command_that_allows_it():
    config = samples.pair()
    assert verified.repair_refusal(config, "salt2", 100, 100) is None
    refusal = verified.repair_refusal(config, "salt2", 200, 100)
    assert "would delete 200 files" in refusal
    assert refusal.endswith("orch.verify pillar='{pair: salt, repair: true, max_delete: 250}'")


@pytest.mark.parametrize(
    "repair, limit, max_delete, said",
    [
        (None, None, None, None),
        (True, 3600, 0, None),
        (False, 0.5, None, "limit must be"),
        (False, True, None, "limit must be"),
        ("yes", None, None, "repair must be true or false"),
        (True, None, -1, "max_delete must be"),
        (True, "6h", None, "limit must be"),
    ],
)
def test_what_may_be_given(repair, limit, max_delete, said):
    found = verified.problem(repair, limit, max_delete)
    assert found is None if said is None else said in found
