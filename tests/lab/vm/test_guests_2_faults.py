"""Lost power, two operators, lost storage, odd guests: at no moment do two hosts run one guest.

The fixture ``guests`` looks from outside all the time; each test here ends with the guest running on one
host.
"""

import os

import pytest

from lab import cgroups
from lab.host import until

REASON = "the test has cut its power"


def in_lock(guests):
    """The run holds the pair."""
    return any(
        os.path.exists(f"/proc/{host.init()}/root/var/lib/failback/mgmt/lock.json") for host in guests.hosts
    )


def claimed(host):
    """Somebody on a host is at the guest: the claim's file is locked."""

    def fact(guests):
        pid = host(guests).init()
        place = f"/proc/{pid}/root/run/failback/mgmt/guest-idm.claim"
        try:
            inode = os.stat(place).st_ino
        except OSError:
            return False
        with open("/proc/locks") as handle:
            return any(f":{inode} " in line and "WRITE" in line for line in handle)

    return fact


def emulator(host):
    """A host has an emulator of the guest."""
    return lambda guests: host(guests).name in guests.runs_on("idm")


def both_emulators(guests):
    """The target of a migration waits for the guest."""
    return len(guests.runs_on("idm")) == 2


def mgmt1(guests):
    return guests.mgmt1


def mgmt2(guests):
    return guests.mgmt2


def at(guests, process, fact):
    """Wait for a step of what an operator has begun; whether it was seen before that ended."""
    seen = []

    def there():
        if fact(guests):
            seen.append(True)
        return seen or process.poll() is not None

    until(there, 240, "the step", pause=0.002)
    return bool(seen)


START = [
    pytest.param(in_lock, mgmt1, id="host, the run holds the pair"),
    pytest.param(claimed(mgmt1), mgmt1, id="host, the guest is claimed"),
    pytest.param(emulator(mgmt1), mgmt1, id="host, the emulator begins"),
    pytest.param(in_lock, mgmt2, id="other host, the run holds the pair"),
    pytest.param(claimed(mgmt1), mgmt2, id="other host, the guest is claimed"),
]


@pytest.mark.parametrize("fact, victim", START)
def test_power_is_lost_in_a_start(guests, fact, victim):
    process = guests.begin_vm(guests.salt1, vm="idm", host="mgmt1")
    assert at(guests, process, fact), process.communicate()[0].decode()
    victim(guests).power_off()
    process.communicate(timeout=900)
    _settle(guests, victim(guests), guests.salt1)


MIGRATION = [
    pytest.param(claimed(mgmt1), mgmt1, id="source, the guest is claimed"),
    pytest.param(both_emulators, mgmt1, id="source, the target waits"),
    pytest.param(claimed(mgmt1), mgmt2, id="target, the guest is claimed"),
    pytest.param(both_emulators, mgmt2, id="target, the target waits"),
]


@pytest.mark.parametrize("fact, victim", MIGRATION)
def test_power_is_lost_in_a_migration(guests, fact, victim):
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    process = guests.begin_vm(guests.salt2, vm="idm", host="mgmt2")
    assert at(guests, process, fact), process.communicate()[0].decode()
    victim(guests).power_off()
    process.communicate(timeout=900)
    _settle(guests, victim(guests), guests.salt2)


def _settle(guests, victim, master):
    """The host is dead: without a word nothing is started; with it, the guest runs on the other one."""
    (other,) = (host for host in guests.hosts if host != victim and host.name != victim.name)
    if guests.state(other, "idm") != "running":
        done = guests.vm(master, vm="idm", host=other.name)
        assert done.returncode != 0, done.stdout
    word = {"fenced": victim.name, "reason": REASON}

    def runs():
        # libvirt needs a moment to give up a migration whose other side is gone.
        done = guests.vm(master, vm="idm", host=other.name, **word)
        assert done.returncode == 0 or "cut off" in done.stdout or "paused" in done.stdout, done.stdout
        return done.returncode == 0

    until(runs, 240, "the guest to run on the host that is left", pause=2)
    assert guests.runs_on("idm") == [other.name]
    guests.wait_beats("idm")
    victim.power_on()
    guests.wait_answers()
    assert guests.runs_on("idm") == [other.name]
    assert guests.status()["guests"]["idm"] == f"running on {other.name}"


def test_the_word_that_a_host_is_off(guests):
    """Recorded, good for the next guest as well, and void as soon as the host answers."""
    guests.mgmt1.power_off()
    silent = guests.vm(guests.salt1, vm="idm", host="mgmt2")
    assert silent.returncode != 0 and "mgmt1 does not say" in " ".join(silent.stdout.split()), silent.stdout
    done = guests.vm(guests.salt1, vm="idm", host="mgmt2", fenced="mgmt1", reason=REASON)
    assert done.returncode == 0, done.stdout
    another = guests.vm(guests.salt2, vm="repo", host="mgmt2")
    assert another.returncode == 0, another.stdout
    assert guests.runs_on("repo") == ["mgmt2"]
    kept = guests.mgmt2.read("/var/lib/failback/mgmt/fenced.json")
    assert REASON in kept

    guests.mgmt1.power_on(wait=False)
    until(
        lambda: guests.mgmt2.run(["ls", "/var/lib/failback/mgmt/fenced.json"], check=False).returncode,
        120,
        "the word to be void",
        pause=0.2,
    )
    guests.mgmt1.power_off()
    gone = guests.vm(guests.salt1, vm="syslog", host="mgmt2")
    assert gone.returncode != 0 and "mgmt1 does not say" in " ".join(gone.stdout.split()), gone.stdout
    history = guests.salt1.run(["salt-run", "pair.history", "mgmt"], check=False, timeout=300).stdout
    assert "-vm-mgmt-" in history


def test_two_operators_on_two_masters(guests):
    """One guest, two hosts, at once: one of them is refused, or both; the guest runs on one host at most."""
    for _ in range(2):
        begun = [
            guests.begin_vm(guests.salt1, vm="idm", host="mgmt1"),
            guests.begin_vm(guests.salt2, vm="idm", host="mgmt2"),
        ]
        ended = [(process.communicate(timeout=900)[0].decode(), process.returncode) for process in begun]
        assert len(guests.runs_on("idm")) <= 1
        for said, status in ended:
            assert status == 0 or "Refused" in said, said
    if not guests.runs_on("idm"):
        # Each saw the other one and gave way.
        assert guests.vm(guests.salt1, vm="idm", host="mgmt1").returncode == 0
    guests.wait_beats("idm")


def test_two_hosts_begin_at_once(guests):
    """No master between them: both hosts are told to start it in the same moment."""
    for _ in range(3):
        words = ["salt-call", "--local", "shared_vm.start", "mgmt", "idm"]
        begun = [host.spawn(words) for host in guests.hosts]
        for process in begun:
            process.communicate(timeout=240)
        assert len(guests.runs_on("idm")) <= 1
        for host in guests.hosts:
            guests.virsh(host, "destroy", "shared-idm", check=False)


def test_storage_that_is_gone_from_one_host(guests):
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    guests.mgmt2.run(["umount", "-l", "/srv/vms"])
    try:
        done = guests.vm(guests.salt1, vm="idm", host="mgmt2")
        said = " ".join(done.stdout.split())
        assert done.returncode != 0 and "/srv/vms is not mounted on mgmt2" in said, done.stdout
        shown = guests.status()
        assert any("/srv/vms" in one for one in shown["guests_wrong"]), shown
        assert guests.runs_on("idm") == ["mgmt1"]
        guests.wait_beats("idm")
    finally:
        guests.mgmt2.power_off()
        guests.mgmt2.power_on()


def test_a_guest_that_is_paused(guests):
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.virsh(guests.mgmt1, "suspend", "shared-idm")
    for host in ("mgmt1", "mgmt2"):
        done = guests.vm(guests.salt1, vm="idm", host=host)
        said = " ".join(done.stdout.split())
        assert done.returncode != 0 and "paused by a person on mgmt1, and is not touched" in said, done.stdout
    assert "idm is paused by a person on mgmt1." in guests.status()["guests_wrong"]
    assert guests.runs_on("idm") == ["mgmt1"]


def test_a_guest_that_has_crashed(guests):
    """Its emulator is gone; libvirt says so, and it may be started on either host."""
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    ((_, pid),) = guests.processes()["idm"]
    assert pid in cgroups.members(guests.mgmt1.group)
    os.kill(pid, 9)
    until(lambda: guests.state(guests.mgmt1, "idm") == "shut off", 30, "libvirt to notice")
    done = guests.vm(guests.salt1, vm="idm", host="mgmt2")
    assert done.returncode == 0, done.stdout
    assert guests.runs_on("idm") == ["mgmt2"]


def test_a_guest_that_is_defined_on_one_host_only(guests):
    place = "/etc/libvirt/qemu/shared-repo.xml"
    text = guests.mgmt2.read(place)
    guests.virsh(guests.mgmt2, "undefine", "shared-repo")
    try:
        for host, why in (("mgmt2", "not defined on mgmt2"), ("mgmt1", "defined on mgmt1 alone")):
            done = guests.vm(guests.salt1, vm="repo", host=host)
            assert done.returncode != 0 and why in " ".join(done.stdout.split()), done.stdout
        assert "repo is defined on mgmt1 alone." in guests.status()["guests_wrong"]
    finally:
        guests.mgmt2.write("/root/repo.xml", text, 0o600)
        guests.virsh(guests.mgmt2, "define", "/root/repo.xml")


def test_an_emulator_that_libvirt_does_not_know(guests):
    """libvirt has lost a guest that runs: it is not off, whatever libvirt says."""
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    lose = "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
    guests.mgmt1.run(["/bin/sh", "-c", f"{lose}; rm -f /run/libvirt/qemu/shared-idm.*"])
    guests.mgmt1.run(["systemctl", "start", "libvirtd.socket", "libvirtd.service"])
    try:
        assert guests.state(guests.mgmt1, "idm") == "shut off"
        for host in ("mgmt1", "mgmt2"):
            done = guests.vm(guests.salt1, vm="idm", host=host)
            said = " ".join(done.stdout.split())
            assert done.returncode != 0 and "that libvirt there does not know" in said, done.stdout
        assert guests.runs_on("idm") == ["mgmt1"]
    finally:
        for _, pid in guests.processes().get("idm", []):
            os.kill(pid, 9)
