"""What the tests of a handover share."""

import pytest
from handover_cases import WORK
from two_nodes import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


@pytest.fixture
def working(tmp_path, monkeypatch):
    """salt2 serves, and runs what only the active node runs."""
    world = World(tmp_path, monkeypatch, active_services=[{"name": WORK, "proof": None, "status": None}])
    world.units["salt2"] = {WORK, "sshd.service"}
    return world
