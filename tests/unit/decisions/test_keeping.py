"""When an active node puts its own missing address back."""

import pytest

from failback.decisions import keeping
from failback.decisions.keeping import Had

ACTIVE = {"pair": "salt", "node": "salt1", "ledger": {"generation": 4, "active": "salt1"}, "active": True}
PAUSE = {"until": 1e12, "reason": "a switch is changed", "run": "20261122T183000-recover-salt-0001"}


def test_an_active_node_may():
    assert keeping.refusal(keeping.Facts(**ACTIVE)) is None


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"ledger": None, "active": False}, "has no ledger of salt"),
        ({"ledger": None, "active": False, "ledger_error": "It is damaged."}, "It is damaged."),
        ({"active": False}, "does not name it active in salt in this boot"),
        ({"pause": PAUSE}, "paused (a switch is changed, run 20261122T183000-recover-salt-0001)"),
        ({"pause": {"until": 1e12}}, "paused (no reason given)"),
        ({"pause_error": "It is damaged."}, "cannot be read: It is damaged."),
        ({"handover": "a handover is under way."}, "a handover is under way."),
        ({"leased": True}, "has a lease"),
    ],
)
def test_who_may_not_says_why(changes, said):
    assert said in keeping.refusal(keeping.Facts(**{**ACTIVE, **changes}))


def looks(*seen):
    """What is known after looks: ``(when, generation, addresses)``."""
    had = Had()
    for now, generation, held in seen:
        had = keeping.noted(had, generation, frozenset(held), now)
    return had


@pytest.mark.parametrize(
    "seen, generation, addresses",
    [
        ([(1, 4, "ab")], 4, "ab"),
        ([(1, 4, "ab"), (2, 4, "a")], 4, "ab"),
        # One that comes later belongs to it as well.
        ([(1, 4, "a"), (2, 4, "b")], 4, "ab"),
        ([(1, 4, "ab"), (2, 5, "a")], 5, "a"),
        ([(1, 4, "ab"), (2, 5, "")], 5, ""),
        # Not active meanwhile: whatever it gets back is a claim of its own.
        ([(1, 4, "ab"), (2, None, "ab"), (3, 4, "")], 4, ""),
        ([(1, None, "ab")], None, ""),
    ],
)
def test_what_it_had_is_what_it_had_in_its_present_generation(seen, generation, addresses):
    had = looks(*seen)
    assert (had.generation, had.addresses) == (generation, frozenset(addresses))


@pytest.mark.parametrize(
    "seen, now, asks",
    [
        ([(1, 4, "ab"), (5.5, 4, "a")], 6.4, False),
        ([(1, 4, "ab"), (5.5, 4, "a")], 6.5, True),
        ([(1, 4, "ab"), (5.5, 4, "a"), (6, 4, "a")], 6.4, False),
        ([(1, 4, "ab"), (7.0, 4, "a")], 7.1, False),
        # It had stood still, and does not know when the address went.
        ([(1, 4, "ab"), (7.1, 4, "a")], 7.2, True),
        ([(1, 4, "ab"), (2, 4, "a"), (60, 4, "ab"), (64, 4, "b")], 64.1, False),
    ],
)
def test_the_other_node_is_asked_when_it_may_have_taken_over(seen, now, asks):
    assert keeping.may_have_been_followed(looks(*seen), now, 2.0) is asks


def test_after_a_restart_it_does_not_know_since_when():
    had = keeping.noted(Had(4, frozenset("ab")), 4, frozenset("a"), 100.0)
    assert had.addresses == frozenset("ab")
    assert keeping.may_have_been_followed(had, 100.1, 2.0)


def test_attempts_become_rarer_and_never_end():
    assert [keeping.next_attempt(failures) for failures in (1, 2, 3, 5, 6, 10_000)] == [1, 2, 4, 16, 16, 16]
