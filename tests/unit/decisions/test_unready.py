"""A node that is not ready is told of once, when that has lasted, and once more when it is ready again."""

import pytest
import samples

from failback.decisions import events
from failback.decisions import unready
from failback.decisions.readiness import SERVES
from failback.decisions.readiness import STANDS_BY
from failback.decisions.readiness import Finding
from failback.decisions.unready import Spell

BEHIND = Finding("salt2", "in_step", "salt2 was last in step long ago.")
FULL = Finding("salt2", "room", "/srv/salt has 0 MiB left on salt2.", stops=True)
TOLD = Spell(STANDS_BY, 100.0, ("room",), told=True)
BEGUN = Spell(STANDS_BY, 100.0, ("room",))


def since(spell, moment):
    """The spell, when nothing has been found since that moment."""
    return Spell(spell.role, spell.since, spell.about, moment, spell.told)


@pytest.mark.parametrize(
    ("before", "role", "findings", "busy", "now", "after"),
    [
        # A node that is well, or that takes no part.
        (None, STANDS_BY, (), False, 100, (None, None)),
        (None, None, (), False, 100, (None, None)),
        (BEGUN, None, (), False, 900, (None, None)),
        (TOLD, None, (), False, 900, (None, None)),
        # It begins, lasts, and is told once.
        (None, STANDS_BY, (FULL,), False, 100, (BEGUN, None)),
        (BEGUN, STANDS_BY, (FULL,), False, 699.9, (BEGUN, None)),
        (BEGUN, STANDS_BY, (FULL,), False, 700, (TOLD, "not-ready")),
        (TOLD, STANDS_BY, (FULL,), False, 99999, (TOLD, None)),
        # Another finding does not begin a spell of its own.
        (
            BEGUN,
            STANDS_BY,
            (FULL, BEHIND, FULL),
            False,
            650,
            (Spell(STANDS_BY, 100.0, ("in_step", "room")), None),
        ),
        # It is over after a minute without any: what comes and goes is one spell.
        (BEGUN, STANDS_BY, (), False, 110, (since(BEGUN, 110), None)),
        (since(BEGUN, 110), STANDS_BY, (), False, 169.9, (since(BEGUN, 110), None)),
        (since(BEGUN, 110), STANDS_BY, (), False, 170, (None, None)),
        (since(BEGUN, 110), STANDS_BY, (FULL,), False, 169, (BEGUN, None)),
        (since(BEGUN, 699), STANDS_BY, (), False, 701, (since(BEGUN, 699), None)),
        (since(TOLD, 800), STANDS_BY, (), False, 860, (None, "ready-again")),
        (since(TOLD, 800), STANDS_BY, (), True, 860, (None, "ready-again")),
        # While a run is at work none begins, and none is told; one that was told goes on.
        (None, STANDS_BY, (FULL,), True, 100, (None, None)),
        (BEGUN, STANDS_BY, (FULL,), True, 5000, (None, None)),
        (TOLD, STANDS_BY, (FULL,), True, 5000, (TOLD, None)),
        # Whoever serves now is told of anew, and so is a node that has booted.
        (TOLD, SERVES, (), False, 900, (None, None)),
        (BEGUN, SERVES, (FULL,), False, 900, (Spell(SERVES, 900, ("room",)), None)),
        (BEGUN, STANDS_BY, (FULL,), False, 5, (Spell(STANDS_BY, 5, ("room",)), None)),
    ],
)
def test_a_spell(before, role, findings, busy, now, after):
    assert unready.judged(before, role, findings, busy, now, 600) == after


def test_a_pillar_that_says_at_once_is_told_at_once():
    assert unready.judged(None, STANDS_BY, (FULL,), False, 100, 0) == (TOLD, events.NOT_READY)


@pytest.mark.parametrize(
    ("kind", "role", "lasted", "said"),
    [
        (
            events.NOT_READY,
            STANDS_BY,
            600,
            "salt2, which stands by in salt, has not been ready for 10 minutes: "
            "/srv/salt has 0 MiB left on salt2. salt2 was last in step long ago.",
        ),
        (
            events.READY_AGAIN,
            SERVES,
            75.4,
            "salt2, which serves salt, is ready again. It was not for 75 s.",
        ),
    ],
)
def test_what_is_told_has_what_stops_a_move_first(kind, role, lasted, said):
    spell = Spell(role, 100.0)
    assert unready.sentence(kind, samples.pair("salt2"), spell, 100 + lasted, (BEHIND, FULL)) == said


def test_what_everybody_may_know_names_no_file():
    assert unready.meaning(("room", "ssh")) == (
        "a path has no room left, the other node does not answer over SSH"
    )
    # Of a release to come.
    assert unready.meaning(("weather",)) == "weather"
