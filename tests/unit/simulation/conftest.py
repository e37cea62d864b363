"""What the tests in the simulation share."""

import pytest
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone

from simulation import seams


@pytest.fixture(scope="module", autouse=True)
def machine():
    """The simulated machine in place of this one, for all tests of a module."""
    patch = MonkeyPatch()
    seams.install(patch)
    yield
    patch.undo()
