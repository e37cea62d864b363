"""What third hosts see of a pair, and what that says of a node that does not answer."""

import pytest
import samples

from failback.decisions import plan
from failback.decisions import verdict
from failback.decisions import witnessed

GW, HOST1 = "10.0.0.5/24", "10.0.0.11"
ONE, TWO, THIRD = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
CONFIG = samples.pair(witnesses=["client", "other"])


def report_of_salt2(held=(GW,)):
    own = samples.report("salt2", samples.ledger(4, "salt2"), held)
    return {**own, "addresses": [{**one, "mac": TWO} for one in own["addresses"]]}


def contradiction(seen, silent="salt1", report=None):
    return witnessed.contradiction(CONFIG, silent, report or report_of_salt2(), seen)


def test_the_witnesses_are_asked_for_the_silent_node_itself_if_the_pillar_has_its_address():
    assert witnessed.asked(CONFIG, "salt1") == [GW, HOST1]
    assert witnessed.asked(CONFIG, "salt2") == [GW, "10.0.0.12"]
    by_name = {"primary": {"id": "salt1", "host": "salt1.example"}}
    assert witnessed.asked({**CONFIG, **by_name}, "salt1") == [GW]
    six = {"primary": {"id": "salt1", "host": "fd00::11"}}
    assert witnessed.asked({**CONFIG, **six}, "salt1") == [GW, "fd00::11"]


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"client": {}},
        {"client": {GW: [], HOST1: []}},
        {"client": {GW: [TWO], HOST1: []}, "other": {GW: [TWO]}},
    ],
)
def test_what_a_dead_node_leaves_to_be_seen_contradicts_nothing(seen):
    assert contradiction(seen) is None


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"client": {GW: [ONE, TWO]}}, "client sees 2 hosts answer for 10.0.0.5/24"),
        (
            {"client": {GW: [THIRD]}},
            "client sees 02:00:00:00:00:03 answer for 10.0.0.5/24, which is not salt2",
        ),
        ({"client": {HOST1: [ONE]}}, "client sees salt1 itself answer for 10.0.0.11"),
        ({"client": {GW: [TWO]}, "other": {GW: [ONE]}}, "other sees 02:00:00:00:00:01"),
    ],
)
def test_a_node_that_somebody_sees_is_not_off(seen, words):
    said = contradiction(seen)
    assert words in said and "salt1 is not off" in said and "salt-run pair.status salt" in said


def test_of_a_secondary_likewise():
    report = samples.report("salt1", samples.ledger(4, "salt1"), [GW])
    report["addresses"] = [{**one, "mac": ONE} for one in report["addresses"]]
    assert witnessed.contradiction(CONFIG, "salt2", report, {"client": {GW: [ONE]}}) is None
    said = witnessed.contradiction(CONFIG, "salt2", report, {"client": {"10.0.0.12": [TWO]}})
    assert "salt2 is not off" in said


@pytest.mark.parametrize("operation", plan.OPERATIONS)
@pytest.mark.parametrize("name", [verdict.PRIMARY_DOWN, verdict.SECONDARY_DOWN])
def test_nothing_is_done_to_a_pair_whose_silent_node_is_seen_and_nobodys_word_is_asked_for(operation, name):
    silent = "salt1" if name == verdict.PRIMARY_DOWN else "salt2"
    found = verdict.Verdict(name, f"{silent} does not answer.", contradicted=f"client sees {silent}.")
    for word in ({}, {"fenced": silent}):
        decided = plan.decide(operation, CONFIG, found, **word)
        assert decided.refusal == f"client sees {silent}." and decided.steps == ()
