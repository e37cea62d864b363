"""The module ``pair`` on one node, loaded as Salt loads it; what needs a peer is in the lab."""

import os
import shutil

import pytest
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback import hold
from failback import lock
from failback import system
from failback.paths import Paths

RUN = "20261122T183000-recover-salt-4f2a"
NEXT = "20261122T184500-recover-salt-77aa"


@pytest.fixture
def node(minion_opts):
    """The folder that stands for the root of the node, empty for each test."""
    yield Paths(minion_opts["failback_root"])
    shutil.rmtree(minion_opts["failback_root"], ignore_errors=True)


def owner(pid, started):
    return {"master": "m", "user": "anna", "boot_id": system.boot_id(), "pid": pid, "started": started}


def living():
    return owner(os.getpid(), system.process_started(os.getpid()))


def hold_the_watch(modules, owner):
    modules.pair.lock("salt", RUN, "recover", owner, 600)
    assert modules.pair.renew("salt", RUN, 600, hold=True)


def test_a_living_run_keeps_the_pair_and_its_pause(modules, node):
    hold_the_watch(modules, living())
    with pytest.raises(CommandExecutionError, match=RUN):
        modules.pair.lock("salt", NEXT, "recover", living(), 600)
    assert hold.read("salt", node)["run"] == RUN
    with pytest.raises(CommandExecutionError, match=RUN):
        modules.pair.resume("salt")


def test_the_pause_of_a_dead_run_ends_with_its_lock(modules, node):
    hold_the_watch(modules, owner(2**22 + 1, 1))
    assert modules.pair.lock("salt", NEXT, "recover", living(), 600)["taken_over"] == RUN
    assert hold.read("salt", node) is None
    assert lock.read("salt", node)["run"] == NEXT


def test_an_operators_pause_outlives_all_runs(modules, node):
    hold.set_hold("salt", node, 900, "switch maintenance")
    hold_the_watch(modules, owner(2**22 + 1, 1))
    modules.pair.lock("salt", NEXT, "recover", living(), 600)
    assert hold.read("salt", node)["reason"] == "switch maintenance"


@pytest.mark.parametrize("name", ["../salt", "", "sa lt", "-x", None])
def test_what_is_no_name_of_a_pair_is_refused(modules, node, name):
    if name is None:
        with pytest.raises(CommandExecutionError, match="no pair configured"):
            modules.pair.report(name)
    else:
        with pytest.raises(CommandExecutionError, match="not the name of a pair"):
            modules.pair.report(name)


@pytest.mark.parametrize("function", ["names", "service_names", "crons"])
def test_a_pillar_that_is_wrong_is_named_and_no_traceback(modules, node, minion_opts, function, monkeypatch):
    words = ["salt"] if function == "service_names" else []
    pillar = {"pairs": {"salt": {"secondary": "salt2"}}}
    monkeypatch.setitem(getattr(modules.pair, function).__globals__, "__pillar__", pillar)
    with pytest.raises(CommandExecutionError, match="salt.*primary"):
        getattr(modules.pair, function)(*words)


def test_a_pair_that_is_not_in_the_pillar_is_named(modules, node):
    with pytest.raises(SaltInvocationError, match="no pair typo"):
        modules.pair.service_names("typo")
