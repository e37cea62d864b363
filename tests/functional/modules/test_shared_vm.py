"""The execution module shared_vm as Salt loads it: nothing is started while the other host may run it."""

import shutil

import guest_host
import pytest
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.errors import Unavailable
from failback.guests import claims
from failback.guests import virsh
from failback.host.paths import Paths
from failback.state import fencing

SILENT = Unavailable("Cannot ask salt2 over SSH for `guests`: exit status 255.")


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    # Salt 3006 gives a module its own copy of the options, so this must be known before it is loaded.
    minion_opts["failback_root"] = str(tmp_path_factory.mktemp("host") / "node")
    minion_opts["pillar"] = {"pairs": {"mgmt": guest_host.PILLAR}}
    return minion_opts


@pytest.fixture
def host(minion_opts, monkeypatch):
    yield guest_host.Host(minion_opts["failback_root"], monkeypatch)
    shutil.rmtree(minion_opts["failback_root"])


@pytest.fixture
def shared_vm(modules, host):
    return modules.shared_vm


def test_the_report(shared_vm, host):
    found = shared_vm.report("mgmt")
    assert found["node"] == "salt1" and found["storage_error"] is None and found["locks_error"] is None
    assert {guest: one["state"] for guest, one in found["guests"].items()} == {"idm": "off", "repo": "off"}


def test_a_guest_is_started_when_the_other_host_says_that_it_does_not_run(shared_vm, host):
    host.hold()
    assert shared_vm.start("mgmt", "idm", guest_host.RUN)["done"] == "started"
    assert host.running() == ["idm"]
    assert shared_vm.start("mgmt", "idm", guest_host.RUN)["done"] == "nothing"
    assert host.done == [("start", "idm")]
    assert not claims.claimed(host.member, "idm")


def test_a_guest_is_not_started_while_the_other_host_is_silent(shared_vm, host):
    host.peer = SILENT
    with pytest.raises(CommandExecutionError, match="salt2 does not say whether it runs there"):
        shared_vm.start("mgmt", "idm")
    assert host.done == []


@pytest.mark.parametrize("state", [("running", 1), ("paused", 1), ("paused", 2), ("crashed", 1)])
def test_a_guest_is_not_started_while_it_is_on_the_other_host(shared_vm, host, state):
    host.peer = host.peer_with(idm=state)
    with pytest.raises(CommandExecutionError):
        shared_vm.start("mgmt", "idm")
    assert host.done == []


def test_a_claim_of_the_other_host_counts(shared_vm, host):
    host.peer["guests"]["idm"]["claimed"] = True
    with pytest.raises(CommandExecutionError, match="just being started, moved or stopped on salt2"):
        shared_vm.start("mgmt", "idm")
    assert host.done == []


def test_a_guest_is_claimed_while_it_is_started(shared_vm, host):
    seen = []
    real = host.call

    def call(*words, **terms):
        if words[0] == "start":
            seen.append(claims.claimed(host.member, "idm"))
        return real(*words, **terms)

    virsh.call = call
    shared_vm.start("mgmt", "idm")
    assert seen == [True]


def test_a_word_that_the_other_host_is_off_is_enough_and_ends(shared_vm, host, monkeypatch):
    host.peer = SILENT
    word = {"node": "salt2", "reason": "burnt"}
    answer = {"said": None}
    monkeypatch.setattr(fencing, "answers", lambda name: answer["said"])
    monkeypatch.setattr(fencing.Fencing, "read", lambda fenced: word)
    shared_vm.start("mgmt", "idm")
    assert host.running() == ["idm"]
    answer["said"] = "salt2 answers on port 22"
    with pytest.raises(CommandExecutionError, match="salt2 is not off"):
        shared_vm.start("mgmt", "repo")
    assert host.running() == ["idm"]


def test_virtlockd_has_the_last_word(shared_vm, host):
    host.start_error = "Cannot start shared-idm: exit status 1, resource busy."
    with pytest.raises(CommandExecutionError, match="resource busy"):
        shared_vm.start("mgmt", "idm")
    assert host.running() == []


def test_a_guest_that_a_migration_left_paused_goes_on(shared_vm, host):
    host.domains["idm"] = [guest_host.PAUSED, 2]
    assert shared_vm.start("mgmt", "idm")["done"] == "resumed"
    assert host.running() == ["idm"]


def test_a_run_must_hold_the_pair(shared_vm, host):
    for function in (shared_vm.start, shared_vm.stop, shared_vm.migrate):
        with pytest.raises(CommandExecutionError, match="does not own the lock of mgmt"):
            function("mgmt", "idm", guest_host.RUN)
    host.hold(guest_host.OTHER_RUN)
    for function in (shared_vm.start, shared_vm.stop, shared_vm.migrate):
        with pytest.raises(CommandExecutionError):
            function("mgmt", "idm", guest_host.RUN)
    # Nor may anybody come in a run's way.
    for function in (shared_vm.start, shared_vm.stop):
        with pytest.raises(CommandExecutionError, match=f"locked by run {guest_host.OTHER_RUN}"):
            function("mgmt", "idm")
    assert host.done == []


@pytest.mark.parametrize("name", ["nosuch", "--all", "../idm", "", None, ["idm"], "shared-idm"])
def test_only_guests_of_the_pair(shared_vm, host, name):
    for function in (shared_vm.start, shared_vm.stop, shared_vm.plan):
        with pytest.raises(SaltInvocationError, match="is not a guest of mgmt"):
            function("mgmt", name)
    assert host.done == []


def test_a_guest_is_shut_down_in_order(shared_vm, host):
    host.domains["idm"] = [guest_host.RUNNING, 1]
    host.only_looks = True
    assert shared_vm.stop("mgmt", "idm")["done"] == "stopped"
    assert shared_vm.stop("mgmt", "idm")["done"] == "nothing"
    assert host.done == [("shutdown", "idm")]


def test_a_paused_guest_is_not_shut_down(shared_vm, host):
    host.domains["idm"] = [guest_host.PAUSED, 1]
    with pytest.raises(CommandExecutionError, match="is paused on salt1"):
        shared_vm.stop("mgmt", "idm")
    assert host.done == []


def test_a_guest_that_is_not_here_is_not_migrated(shared_vm, host):
    host.hold()
    with pytest.raises(CommandExecutionError, match="It is not migrated from here"):
        shared_vm.migrate("mgmt", "idm", guest_host.RUN)
    host.peer = host.peer_with(idm=("running", 1))
    assert shared_vm.migrate("mgmt", "idm", guest_host.RUN)["done"] == "nothing"
    assert host.done == []


def test_nothing_is_started_at_boot(shared_vm, host):
    host.autostart = {"idm", "of-somebody-else"}
    assert shared_vm.autostarted("mgmt") == ["idm"]
    assert shared_vm.no_autostart("mgmt") == ["idm"]
    assert shared_vm.autostarted("mgmt") == []


def test_what_is_known_is_not_learned_again(shared_vm, host):
    assert shared_vm.learn("mgmt") == []
    assert host.done == []


def test_the_paths_are_those_of_the_test(host):
    """Else a test here could touch the machine's own libvirt."""
    assert isinstance(host.paths, Paths) and str(host.paths.root) != "/"
