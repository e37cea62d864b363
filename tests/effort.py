"""How hard the tests look: ``make test`` always makes the same examples, ``make test-thorough`` many more."""

import os

import hypothesis

#: Times as many examples.
THOROUGH = 20
#: What a Python or a release does otherwise shows in few examples; the newest makes them all.
FEWER_ON_OLDER = 5
_thorough = bool(os.environ.get("FAILBACK_THOROUGH"))
_older = bool(os.environ.get("FAILBACK_OLDER"))


def examples(number, thorough=THOROUGH):
    """So many examples in ``make test``, and so many times as many in ``make test-thorough``."""
    if _thorough:
        return number * thorough
    return max(1, number // FEWER_ON_OLDER) if _older else number


def rounds(few, many):
    """So many attacks in ``make test``, where each takes a while; and so many in ``make test-thorough``."""
    return many if _thorough else few


def for_this_release(items):
    """
    The tests that this run is for, of those that were collected, and those that the newest release runs.

    A test that is marked ``one_release`` is decided by what is Failback's own, or rsync's, lsyncd's and the
    kernel's: an older release of Salt runs none of it, or with ``but="the first case"`` one case of it. An
    older Python does the same.
    """
    if not _older:
        return items, []
    wanted, left, begun = [], [], set()
    for item in items:
        marker = item.get_closest_marker("one_release")
        function = item.nodeid.partition("[")[0]
        first = bool(marker and marker.kwargs.get("but")) and function not in begun
        begun.add(function)
        (left if marker and not first else wanted).append(item)
    return wanted, left


def load_profile():
    """The settings of every property that sets none of its own."""
    # These tests run beside labs on the same cores: how long an example takes says nothing about it.
    kinds = ("too_slow", "function_scoped_fixture")
    checks = [getattr(hypothesis.HealthCheck, kind, None) for kind in kinds]
    hypothesis.settings.register_profile(
        "beside labs",
        max_examples=examples(100),
        deadline=None,
        derandomize=not _thorough,
        database=None,
        suppress_health_check=[check for check in checks if check],
    )
    hypothesis.settings.load_profile("beside labs")
