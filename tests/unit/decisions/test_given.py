"""What an orchestration does not know is refused by name, with the key that was meant."""

import pytest

from failback.decisions import given

KNOWN = "at_once, max_change_percent, max_delete, pair, plan, reason, vms, winner"


@pytest.mark.parametrize("orchestration", sorted(given.ORCHESTRATIONS))
def test_all_that_it_knows_may_be_given(orchestration):
    assert given.unknown(orchestration, given.ORCHESTRATIONS[orchestration]) is None


@pytest.mark.parametrize(
    "key, meant",
    [
        ("plann", "plan"),
        ("max-delete", "max_delete"),
        ("Max_Delete", "max_delete"),
        ("maxdelete", "max_delete"),
        ("max_change_procent", "max_change_percent"),
        ("winer", "winner"),
        ("vm", "vms"),
        ("pairs", "pair"),
    ],
)
def test_a_slip_is_named_with_what_was_meant(key, meant):
    assert given.unknown("orch.recover", ["pair", key]) == (
        f"orch.recover does not know {key} (did you mean {meant}?); it knows {KNOWN}. Nothing was done. "
        "Usage: salt-run state.orch orch.recover pillar='{pair: <pair>}'"
    )


def test_what_is_like_nothing_is_named_all_the_same():
    assert "does not know 5, xyzzy; it knows" in given.unknown("orch.recover", ["pair", "xyzzy", 5])


def test_a_key_of_another_orchestration_is_unknown():
    assert "does not know fenced" in given.unknown("orch.boot", ["pair", "fenced"])


def test_what_the_masters_pillar_has_of_itself_was_not_given():
    assert given.unknown("orch.boot", ["pair", "users", "pairs"], {"users", "pairs"}) is None


def test_an_orchestration_of_the_sites_own_is_nobodys_business_here():
    assert given.unknown("orch.site", ["anything"]) is None


def test_a_guest_has_a_usage_of_its_own():
    assert given.unknown("orch.vm", ["pear"]).endswith(
        "Usage: salt-run state.orch orch.vm pillar='{vm: <guest or all>, host: <host>}'"
    )
