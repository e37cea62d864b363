"""What every test level shares: where the tree is, and its pure package on the path."""

import pathlib
import sys

import hypothesis
import pytest

TREE = pathlib.Path(__file__).resolve().parent.parent

sys.path.insert(0, str(TREE / "salt" / "_utils"))

# These tests run beside a lab on the same cores: how long an example takes says nothing about it.
hypothesis.settings.register_profile(
    "beside a lab", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("beside a lab")


@pytest.fixture(scope="session")
def tree():
    """The checkout under test."""
    return TREE
