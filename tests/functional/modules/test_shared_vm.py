"""The execution module shared_vm as Salt loads it: nothing is started while the other host may run it."""

import functools
import pathlib
import shutil
import tempfile

import guest_host
import pytest
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError
from two_guest_hosts import Two

from failback.errors import Unavailable
from failback.guests import claims
from failback.guests import migration
from failback.guests import virsh
from failback.host import system
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


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (
            ("running", 1),
            "will be migrated live from salt2 to salt1. That is what orch.vm does; nothing was done",
        ),
        (("paused", 2), "will be resumed there. That is what orch.vm does; nothing was done"),
        (("paused", 1), "it is paused by a person on salt2"),
        (("crashed", 1), "it is crashed on salt2"),
    ],
)
def test_a_guest_is_not_started_while_it_is_on_the_other_host(shared_vm, host, state, why):
    host.peer = host.peer_with(idm=state)
    with pytest.raises(CommandExecutionError, match=why):
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


def test_one_that_does_not_run_after_its_start_was_not_started(shared_vm, host, monkeypatch):
    real = host.call

    def call(*words, **terms):
        said = real(*words, **terms)
        if words[0] == "start":
            host.domains["idm"] = [guest_host.PAUSED, 5]
        return said

    monkeypatch.setattr(virsh, "call", call)
    with pytest.raises(CommandExecutionError, match="idm was started on salt1 and is paused"):
        shared_vm.start("mgmt", "idm")
    assert not claims.claimed(host.member, "idm")


def test_one_whose_processes_stay_was_not_stopped(shared_vm, host, monkeypatch):
    """libvirt calls it off, and its disk is still written to."""
    host.domains["idm"] = [guest_host.RUNNING, 1]
    host.only_looks = True
    monkeypatch.setattr(virsh, "emulators", lambda names: {"shared-idm": [4711]})
    with pytest.raises(
        CommandExecutionError, match=r"was shut down on salt1 and still has processes: \[4711\]"
    ):
        shared_vm.stop("mgmt", "idm")


def test_which_guests_run_is_known_while_libvirt_hangs(shared_vm, host, monkeypatch):
    host.domains["repo"] = [guest_host.RUNNING, 1]
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: pytest.fail("libvirt was asked"))
    assert shared_vm.running("mgmt") == ["repo"]


def test_what_highstate_asks_for(shared_vm, host, monkeypatch):
    assert shared_vm.pairs() == ["mgmt"] and shared_vm.hosts("mgmt") == ["salt1", "salt2"]
    assert shared_vm.lock_config("mgmt") == (host.paths.root / "etc/libvirt/qemu-lockd.conf").read_text()
    assert shared_vm.storage_gone("mgmt") is None and shared_vm.marked("mgmt") == []
    (host.paths.root / "srv/vms/.failback-storage").unlink()
    missing = [str(host.paths.root / "srv/vms/.failback-storage")]
    assert shared_vm.marked("mgmt") == missing == shared_vm.mark_storage("mgmt")


def test_libvirt_reads_its_configuration_again_and_leaves_the_guests_running(shared_vm, host, monkeypatch):
    done = []
    monkeypatch.setattr(system, "run", lambda words, *_, **__: done.append(words) or "")
    assert shared_vm.renew_libvirt() is True
    # Not `restart`: where it does not run nobody wants it to.
    assert done == [["systemctl", "try-restart", "libvirtd.service"]]


def test_a_plan_names_what_it_would_take(shared_vm, host):
    host.only_looks = True
    host.peer = host.peer_with(idm=("running", 1))
    found = shared_vm.plan("mgmt", "idm")
    assert (found["action"], found["source"], found["refusal"]) == ("migrate", "salt2", None)
    assert "will be migrated live from salt2 to salt1" in found["sentence"]
    assert shared_vm.plan("mgmt", "idm", how="restart")["action"] == "restart"
    assert shared_vm.plan("mgmt", "repo")["action"] == "start"
    assert shared_vm.plan("mgmt", "repo", only_if_active=True)["action"] == "nothing"
    host.peer["guests"]["idm"]["claimed"] = True
    assert "just being started" in shared_vm.plan("mgmt", "idm")["refusal"]
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


# --- with the other host's own modules --------------------------------------------------------------


@pytest.fixture
def two(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="vm-") as root:
        found = Two(pathlib.Path(root), monkeypatch)
        for one in found.hosts.values():
            one.hold()
        yield found
    assert found.twice == set(), "a guest ran on both hosts"


def on(two, node, verb, guest="idm", run=guest_host.RUN):
    """A verb of ``shared_vm`` on a host."""
    with two.on(node) as host:
        return getattr(host.modules["shared_vm"], verb)("mgmt", guest, run)


def test_of_two_hosts_that_start_a_guest_at_once_one_alone_does(two, monkeypatch):
    """Each claims it before it asks the other one; so whoever asks later sees the claim."""
    refused, real = [], migration.ask_peer

    def ask(member):
        if member.node == "salt1" and not refused:
            with pytest.raises(CommandExecutionError) as error:
                on(two, "salt2", "start")
            refused.append(str(error.value))
        return real(member)

    monkeypatch.setattr(migration, "ask_peer", ask)
    assert on(two, "salt1", "start")["done"] == "started"
    assert "just being started, moved or stopped on salt1" in refused[0]
    assert two.where()["idm"] == ["salt1"]


@pytest.mark.parametrize("verb", ["start", "stop", "migrate"])
def test_a_guest_that_somebody_is_at_is_left_alone(two, verb, monkeypatch):
    two.place("idm", "salt1")
    monkeypatch.setattr(claims, "claim", functools.partial(claims.claim, limit=0.05))
    with (
        claims.claim(two.hosts["salt1"].member, "idm"),
        pytest.raises(CommandExecutionError, match="just being started, moved or stopped on this host"),
    ):
        on(two, "salt1", verb)
    assert two.done == [] and two.where()["idm"] == ["salt1"]


@pytest.mark.parametrize("verb", ["start", "stop", "migrate"])
def test_it_is_claimed_for_as_long_as_something_is_done_to_it(two, verb, monkeypatch):
    if verb != "start":
        two.place("idm", "salt1")
    real, seen = virsh.call, []

    def call(*words, **terms):
        if words[0] in ("start", "shutdown", "migrate"):
            seen.append((words[0], claims.claimed(two.hosts["salt1"].member, "idm")))
        return real(*words, **terms)

    monkeypatch.setattr(virsh, "call", call)
    on(two, "salt1", verb)
    assert seen == [({"stop": "shutdown"}.get(verb, verb), True)]
    assert not claims.claimed(two.hosts["salt1"].member, "idm")


def test_a_guest_is_migrated_and_runs_there_alone(two):
    two.place("idm", "salt1")
    found = on(two, "salt1", "migrate")
    assert found == {"done": "migrated", "comment": "idm was migrated live to salt2."}
    assert two.where()["idm"] == ["salt2"]
    found = on(two, "salt1", "migrate")
    assert found == {"done": "nothing", "comment": "idm: runs on salt2."} and len(two.done) == 1


#: What a migration may leave although libvirt calls it done, by host.
LEFT = {
    "it runs here still": {"salt1": (guest_host.RUNNING, 1)},
    "it is paused here": {"salt1": (guest_host.PAUSED, 2)},
    "it is paused there": {"salt2": (guest_host.PAUSED, 2)},
    "it runs nowhere": {"salt2": (guest_host.OFF, 1)},
}


@pytest.mark.parametrize("left", LEFT.values(), ids=list(LEFT))
def test_a_migration_is_proved_on_both_hosts(two, left, monkeypatch):
    two.place("idm", "salt1")

    def migrate(member, name, run, limit):
        for node, state in {"salt1": (guest_host.OFF, 1), "salt2": (guest_host.RUNNING, 1), **left}.items():
            two.place("idm", node, state)

    monkeypatch.setattr(migration, "migrate", migrate)
    with pytest.raises(CommandExecutionError, match="After its migration idm is .* on salt1 and .* on salt2"):
        on(two, "salt1", "migrate")


def test_a_guest_is_not_migrated_to_a_host_that_may_not_have_it(two):
    two.place("idm", "salt1")
    (two.hosts["salt2"].folder / "shared-idm.xml").write_text(
        "<domain type='kvm'><name>other</name></domain>"
    )
    with pytest.raises(CommandExecutionError, match="libvirt on salt2 does not know"):
        on(two, "salt1", "migrate")
    assert two.done == [] and two.where()["idm"] == ["salt1"]


def test_a_migration_has_as_long_as_the_pillar_says(two, monkeypatch):
    two.place("idm", "salt1")
    given = []
    monkeypatch.setattr(
        migration, "migrate", lambda member, name, run, limit: given.append((name, run, limit))
    )
    with pytest.raises(CommandExecutionError):
        on(two, "salt1", "migrate")
    config = two.hosts["salt1"].config()
    assert given == [("shared-idm", guest_host.RUN, config["virtualization"]["migration_timeout"])]


def test_the_paths_are_those_of_the_test(host):
    """Else a test here could touch the machine's own libvirt."""
    assert isinstance(host.paths, Paths) and str(host.paths.root) != "/"
