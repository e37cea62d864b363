"""A verb of a run that does not own the pair changes nothing, and a node that serves is never rebooted."""

import inspect
import shutil

import pytest
import samples
from salt.exceptions import CommandExecutionError

from failback.guests import virsh
from failback.host import files
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.state import ledger

RUN, OTHER = samples.RUN, samples.OTHER_RUN

#: By function: its arguments. The pair is locked by another run.
VERBS = {
    "pair.reboot": (RUN,),
    "pair.take": (RUN,),
    "pair.take_over": (RUN, {"user": "root"}, "salt2", "its power is off"),
    "pair.win": (RUN, 7, "a test"),
    "pair.step_down": (RUN, 7),
    "pair.give_way": (RUN, 7),
    "pair.handover": (RUN,),
    "pair.activate": (RUN,),
    "pair.start_active_services": (RUN,),
    "pair.stand_by": (RUN,),
    "pair.push_git": (RUN,),
    "pair.admit": (7, "salt1", RUN, "a test"),
    "pair.adopt": ("salt1", RUN),
    "pair.record_sources": (RUN, {}),
    "fencing.declare": ("salt2", "its power is off", RUN, {"user": "root"}),
    "reverse_rsync.restored": (RUN, RUN),
    "shared_vm.start": ("idm", RUN),
    "shared_vm.stop": ("idm", RUN),
    "shared_vm.migrate": ("idm", RUN),
}


@pytest.fixture
def ran(monkeypatch):
    """Programs that were called; none of them is."""
    calls = []
    monkeypatch.setattr(system, "run", lambda argv, *_, **__: calls.append(argv) or "")
    monkeypatch.setattr(system, "start_detached", calls.append)
    monkeypatch.setattr(services, "states", lambda wanted: {one["name"]: "active" for one in wanted})
    return calls


@pytest.fixture
def member(minion_opts):
    """salt1, which serves in generation 4; another run owns the pair."""
    member = Member("salt", Paths(minion_opts["failback_root"]))
    config = samples.pair("salt1", vms=["idm"])
    files.write_json(member.paths.pair_config("salt"), config)
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    member.lock.acquire(OTHER, "recover", {"boot_id": "elsewhere"}, 600)
    yield member
    shutil.rmtree(minion_opts["failback_root"], ignore_errors=True)


def contents(member):
    found = [one for one in member.paths.root.rglob("*") if one.is_file() and not one.name.endswith("flock")]
    return {str(one): one.read_bytes() for one in found}


#: What takes the id of a run and needs no lock: what takes, prolongs and gives back that of the run itself,
#: keeps its record, or looks.
WITHOUT = {
    "pair.lock",
    "pair.renew",
    "pair.unlock",
    "pair.open_run",
    "pair.close_run",
    "pair.run_details",
    "reverse_rsync.checked",
    "reverse_rsync.compared",
    # It asks its gate before each pass: see the tests of the gate.
    "reverse_rsync.synced",
}


def test_every_verb_of_a_run_is_asked_here(modules):
    """A new one joins by itself: it fails until it is listed, or needs no lock for a reason."""
    own = {name.partition(".")[0] for name in VERBS} | {"floating_ip", "lease", "lsyncd", "salt_minion"}
    found = {
        name
        for name in modules.sys.list_functions(*own)
        if {"run", "new_run"} & set(inspect.signature(modules[name]).parameters)
    }
    assert found == set(VERBS) | WITHOUT


@pytest.mark.one_release(but="the first case")
@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_does_not_own_the_pair_does_nothing(modules, member, ran, verb):
    before = contents(member)
    with pytest.raises(CommandExecutionError, match=rf"Run {RUN} does not own the lock of salt.*{OTHER}"):
        modules[verb]("salt", *VERBS[verb])
    assert contents(member) == before and ran == []


@pytest.mark.one_release
@pytest.mark.parametrize("verb", VERBS)
def test_nor_does_one_when_nobody_owns_it(modules, member, ran, verb):
    member.lock.release(OTHER)
    before = contents(member)
    with pytest.raises(CommandExecutionError, match="no run owns it"):
        modules[verb]("salt", *VERBS[verb])
    assert contents(member) == before and ran == []


@pytest.mark.one_release
@pytest.mark.parametrize("verb", VERBS)
def test_a_pair_that_the_node_does_not_know_is_an_error_and_no_traceback(modules, member, ran, verb):
    before = contents(member)
    with pytest.raises(CommandExecutionError, match="knows no pair web|no run owns it"):
        modules[verb]("web", *VERBS[verb])
    assert contents(member) == before and ran == []


class Waits(Exception):
    """Somebody else is changing who serves."""


@pytest.mark.one_release
@pytest.mark.parametrize("verb", ["pair.take", "pair.win", "pair.step_down", "pair.take_over"])
def test_two_never_change_at_once_who_serves(modules, member, ran, monkeypatch, verb):
    """See ``test_one_at_a_time``: to enter the lock raises here, so whoever goes past it is seen."""
    member.lock.release(OTHER)
    member.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
    monkeypatch.setattr(floating, "status", lambda one: {"address": one.address, "held": False})
    monkeypatch.setattr(
        type(member.fencing), "record", lambda *_: {"node": "salt2", "reason": "", "user": ""}
    )
    real = files.locked

    def locked(path):
        if path.name == ".change.flock":
            raise Waits
        return real(path)

    monkeypatch.setattr(files, "locked", locked)
    before = contents(member)
    with pytest.raises(Waits):
        modules[verb]("salt", *VERBS[verb])
    assert contents(member) == before and ran == []


# --- the reboot ---------------------------------------------------------------------------------------


@pytest.fixture
def mine(member):
    """The run owns the pair."""
    member.lock.release(OTHER)
    member.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
    return member


def serves(monkeypatch, held):
    def statuses(wanted):
        return [{"address": one.address, "held": held, "carrier": True} for one in wanted]

    monkeypatch.setattr(floating, "statuses", statuses)


def reboots(ran):
    return [argv for argv in ran if argv[-2:] == ["systemctl", "reboot"]]


def test_a_node_with_an_address_is_not_rebooted(modules, mine, ran, monkeypatch):
    serves(monkeypatch, True)
    mine.ledger.write(ledger.Entry(5, "salt2", None, "a test", admitted=False))
    with pytest.raises(CommandExecutionError, match=r"serves salt \(10\.0\.0\.5/24\).*Nothing was done"):
        modules.pair.reboot("salt", RUN)
    assert reboots(ran) == []


def test_a_node_without_one_is(modules, mine, ran, monkeypatch):
    """Also one that its ledger names active: with addresses in the pair, these tell who serves."""
    serves(monkeypatch, False)
    monkeypatch.setattr(virsh, "running", lambda config: [])
    assert modules.pair.reboot("salt", RUN) == system.boot_id()
    assert len(reboots(ran)) == 1


@pytest.mark.parametrize("active", ["salt1", "salt2"])
def test_in_a_pair_without_addresses_the_ledger_tells_who_serves(modules, mine, ran, monkeypatch, active):
    config = samples.pair("salt1", floating_ips=[])
    files.write_json(mine.paths.pair_config("salt"), config)
    monkeypatch.setattr(virsh, "running", lambda config: [])
    mine.ledger.write(ledger.Entry(5, active, None, "a test"))
    if active == "salt1":
        with pytest.raises(CommandExecutionError, match=r"serves salt \(by its ledger\).*Nothing was done"):
            modules.pair.reboot("salt", RUN)
    else:
        modules.pair.reboot("salt", RUN)
    assert len(reboots(ran)) == (active == "salt2")


def test_a_host_with_guests_is_not_rebooted(modules, mine, ran, monkeypatch):
    serves(monkeypatch, False)
    monkeypatch.setattr(virsh, "running", lambda config: ["idm"])
    with pytest.raises(CommandExecutionError, match="runs idm; rebooting it would shut them down"):
        modules.pair.reboot("salt", RUN)
    assert reboots(ran) == []
