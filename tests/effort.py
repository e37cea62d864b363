"""How hard the tests look: ``make test`` always makes the same examples, ``make test-thorough`` many more."""

import os

import hypothesis

#: Times as many examples.
THOROUGH = 20
_thorough = bool(os.environ.get("FAILBACK_THOROUGH"))


def examples(number, thorough=THOROUGH):
    """So many examples in ``make test``, and so many times as many in ``make test-thorough``."""
    return number * (thorough if _thorough else 1)


def rounds(few, many):
    """So many attacks in ``make test``, where each takes a while; and so many in ``make test-thorough``."""
    return many if _thorough else few


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
