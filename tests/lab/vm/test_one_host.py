"""A guest runs on exactly one host: started, moved, and refused a second time, by Failback and by hand."""

import json
import os
import pathlib
import time

import checker
import pytest

from lab.host import until
from lab.roles import hypervisor


def test_started_moved_restarted(guests):
    done = guests.vm(guests.salt1, vm="idm", host="mgmt1")
    assert done.returncode == 0, done.stdout
    assert guests.runs_on("idm") == ["mgmt1"]
    first = guests.wait_beats("idm")

    again = guests.vm(guests.salt2, vm="idm", host="mgmt1")
    assert again.returncode == 0 and "Nothing to do. idm: runs on mgmt1." in again.stdout, again.stdout

    moved = guests.vm(guests.salt1, vm="idm", host="mgmt2")
    assert moved.returncode == 0, moved.stdout
    assert "migrated from mgmt1 to mgmt2" in moved.stdout
    assert guests.runs_on("idm") == ["mgmt2"]
    second = guests.wait_beats("idm")
    assert second[1] == first[1], "it booted again: that was no live migration"

    restarted = guests.vm(guests.salt1, vm="idm", host="mgmt1", how="restart")
    assert restarted.returncode == 0, restarted.stdout
    assert guests.runs_on("idm") == ["mgmt1"]
    assert guests.wait_beats("idm")[1] == first[1] + 1
    shown = guests.status()
    assert shown["guests"]["idm"] == "running on mgmt1", shown
    assert shown["guests"]["repo"] == "runs nowhere"
    assert not shown["guests_wrong"] and shown["status"] == 0, shown


def test_all_for_maintenance(guests):
    """Those that run leave the host; those that do not stay off."""
    for guest in ("idm", "repo"):
        guests.virsh(guests.mgmt1, "start", f"shared-{guest}")
    done = guests.vm(guests.salt1, vm="all", away_from="mgmt1")
    assert done.returncode == 0, done.stdout
    assert {guest: guests.runs_on(guest) for guest in hypervisor.GUESTS} == {
        **{guest: [] for guest in hypervisor.GUESTS},
        "idm": ["mgmt2"],
        "repo": ["mgmt2"],
    }
    done = guests.vm(guests.salt1, vm="all", host="mgmt1")
    assert done.returncode == 0, done.stdout
    assert all(guests.runs_on(guest) == ["mgmt1"] for guest in hypervisor.GUESTS)


def test_a_test_changes_nothing(guests):
    done = guests.vm(guests.salt1, vm="all", host="mgmt1", test=True)
    assert done.returncode == 0 and "Would do this." in done.stdout, done.stdout
    assert guests.processes() == {}


@pytest.mark.parametrize("emulator", ["/usr/bin/qemu-system-x86_64", hypervisor.UNLOCKED])
def test_a_start_by_hand_on_the_second_host_is_refused(guests, emulator):
    """By virtlockd, whether or not the emulator has locks of its own. The guest on the first host goes on."""
    guests.defined_by_hand("syslog", emulator)
    guests.virsh(guests.mgmt1, "start", "shared-syslog")
    before = guests.wait_beats("syslog")
    done = guests.mgmt2.run(["virsh", "start", "shared-syslog"], check=False)
    assert done.returncode != 0
    if emulator == hypervisor.UNLOCKED:
        assert "resource busy" in done.stderr and "lock" in done.stderr.lower(), done.stderr
    assert guests.runs_on("syslog") == ["mgmt1"]
    after = guests.wait_beats("syslog")
    assert after[1] == before[1]


def test_the_emulator_without_locks_has_none(guests):
    """What the test above rests on: without virtlockd two of them could have one disk."""
    guests.defined_by_hand("syslog", hypervisor.UNLOCKED)
    guests.virsh(guests.mgmt1, "start", "shared-syslog")
    ((_, pid),) = guests.processes()["syslog"]
    assert b'"locking":"off"' in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_host_itself_refuses_what_runs_on_the_other(guests):
    """Without a master's plan: the module on the second host asks the first one."""
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    words = ["salt", "mgmt2", "--out=json"]
    done = guests.salt1.run([*words, "shared_vm.start", "mgmt", "idm"], check=False, timeout=120)
    assert done.returncode != 0 and "That is what orch.vm does" in done.stdout, done.stdout
    state = ["state.single", "shared_vm.running_on", "idm", "host=mgmt2", "pair=mgmt"]
    done = guests.salt1.run([*words, *state], check=False, timeout=120)
    assert done.returncode != 0 and "idm runs on mgmt1. Fetch it from there" in done.stdout, done.stdout
    assert guests.runs_on("idm") == ["mgmt1"]


def test_the_states(guests):
    def apply(function, test=False):
        words = ["salt", "mgmt1", "--out=json", "--static", "state.single", f"shared_vm.{function}", "repo"]
        done = guests.salt1.run([*words, "host=mgmt1", f"test={test}"], check=False, timeout=180)
        (found,) = json.loads(done.stdout)["mgmt1"].values()
        return found["result"], found["changes"]

    started, stopped = {"old": None, "new": "mgmt1"}, {"old": "mgmt1", "new": None}
    assert apply("running_on", test=True) == (None, started)
    assert guests.runs_on("repo") == []
    assert apply("running_on") == (True, started)
    assert apply("running_on") == (True, {})
    assert guests.runs_on("repo") == ["mgmt1"]
    guests.wait_beats("repo")
    assert apply("absent_on", test=True) == (None, stopped)
    assert apply("absent_on") == (True, stopped)
    assert apply("absent_on") == (True, {})
    assert guests.runs_on("repo") == []


#: All of them are in tests/integration/test_orch_vm.py; here are those that hosts have a say in.
WRONG = [
    ({"vm": "nosuch", "host": "mgmt1"}, "There is no guest nosuch (guests: idm, monitor-db"),
    ({"vm": "--all", "host": "mgmt1"}, "'--all' is not the name of a guest"),
    ({"vm": "../../root/x", "host": "mgmt1"}, "is not the name of a guest"),
    ({"vm": "idm", "host": "salt1"}, "host must be one of mgmt1, mgmt2, not 'salt1'"),
    ({"vm": "idm", "host": "mgmt1", "fenced": "mgmt2", "reason": "x"}, "mgmt2 answers, so it is not off"),
    ({"vm": "idm", "hots": "mgmt1"}, "does not know hots"),
]


def test_bad_words_change_nothing(guests):
    begun = [guests.begin_vm(guests.salt1, **pillar) for pillar, _ in WRONG]
    for (_, why), process in zip(WRONG, begun):
        said = " ".join(b"".join(process.communicate(timeout=300)).decode().split())
        assert process.returncode != 0 and why in said and "Traceback" not in said, said
    for host in guests.hosts:
        assert "lock.json" not in host.run(["ls", "/var/lib/failback/mgmt"]).stdout
    assert guests.processes() == {}


def test_a_definition_travels_and_a_running_guest_is_not_disturbed(guests):
    guests.virsh(guests.mgmt2, "start", "shared-warewulf")
    before = guests.wait_beats("warewulf")
    guests.wait_memory(guests.mgmt2, "warewulf", guests.give_memory(guests.mgmt1, "warewulf"))
    after = guests.wait_beats("warewulf")
    assert after[1] == before[1] and guests.runs_on("warewulf") == ["mgmt2"]
    assert guests.status()["status"] == 0


def test_no_boot_starts_a_guest(guests):
    """Not even when somebody has set libvirt's autostart: highstate has taken that away before."""
    guests.virsh(guests.mgmt2, "autostart", "shared-idm")
    assert any("would be started at boot on mgmt2" in one for one in guests.status()["guests_wrong"])
    guests.salt1.run(["salt", "mgmt2", "state.apply"], check=False, timeout=300)
    guests.virsh(guests.mgmt2, "start", "shared-idm")
    guests.wait_beats("idm")
    guests.mgmt2.reboot(limit=240)
    assert guests.mgmt2.run(["virsh", "list", "--name"]).stdout.strip() == ""
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 5, 10, "five seconds in which a guest could have started")
    assert guests.processes() == {}


@pytest.mark.parametrize("played", [False, True], ids=["with the machine's processor", "with a played one"])
def test_the_checker_sees_what_must_not_be(all_guests, played):
    """What all these tests rest on: here it runs twice, with two disks, which no lock forbids."""
    if not played and not os.path.exists("/dev/kvm"):
        pytest.skip("there is no /dev/kvm")
    all_guests.all_off()
    try:
        with pytest.raises(AssertionError, match="idm runs on"), checker.Checker(all_guests) as found:
            for host in all_guests.hosts:
                host.run(["cp", "/srv/vms/idm.img", f"/root/{host.name}.img"])
                text = hypervisor.definition("idm").replace("/srv/vms/idm.img", f"/root/{host.name}.img")
                text = text.replace("type='kvm'", "type='qemu'") if played else text
                host.write("/root/own.xml", text, 0o600)
                all_guests.virsh(host, "create", "/root/own.xml")
            until(lambda: found.wrong, 60, "the checker to see both", pause=0.05)
    finally:
        for host in all_guests.hosts:
            all_guests.virsh(host, "destroy", "shared-idm", check=False)
