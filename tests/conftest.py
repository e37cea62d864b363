"""What every test level shares: where the tree is, and its pure package on the path."""

import pathlib
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parent.parent

sys.path.insert(0, str(TREE / "salt" / "_utils"))


@pytest.fixture(scope="session")
def tree():
    """The checkout under test."""
    return TREE
