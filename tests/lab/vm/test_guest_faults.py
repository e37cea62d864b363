"""Lost power, two operators, lost storage, odd guests: at no moment do two hosts run one guest.

The fixture ``guests`` looks from outside all the time; each test here ends with the guest running on one
host.
"""

import os

import lab_guests
import pytest

from lab import cgroups
from lab.host import until

REASON = "the test has cut its power"
FENCED = "/var/lib/failback/mgmt/fenced.json"


# What is waited for, as functions of the guests. Each returns one to ask again and again: where to look is
# found out once.


def in_lock(guests):
    """The run owns the lock."""
    places = [f"/proc/{host.init()}/root/var/lib/failback/mgmt/lock.json" for host in guests.hosts]
    return lambda: any(map(os.path.exists, places))


def claimed(host):
    """Somebody on a host is at the guest: the claim's file is locked."""

    def begin(guests):
        place = f"/proc/{host(guests).init()}/root/run/failback/mgmt/guest-idm.claim"

        def fact():
            try:
                inode = os.stat(place).st_ino
            except OSError:
                return False
            with open("/proc/locks") as handle:
                return any(f":{inode} " in line and "WRITE" in line for line in handle)

        return fact

    return begin


def emulator(host):
    """A host has an emulator of the guest."""
    return lambda guests: lambda: host(guests).name in guests.runs_on("idm")


def both_emulators(guests):
    """The target of a migration waits for the guest."""
    return lambda: len(guests.runs_on("idm")) == 2


def mgmt1(guests):
    return guests.mgmt1


def mgmt2(guests):
    return guests.mgmt2


def at(guests, process, fact):
    """Wait for a step of what an operator has begun; whether it was seen before that ended."""
    seen = []
    is_there = fact(guests)

    def there():
        if is_there():
            seen.append(True)
        return seen or process.poll() is not None

    until(there, 240, "the step", pause=0.01)
    return bool(seen)


START = [
    pytest.param(in_lock, mgmt1, id="host, the run owns the lock"),
    pytest.param(claimed(mgmt1), mgmt1, id="host, the guest is claimed"),
    pytest.param(emulator(mgmt1), mgmt1, id="host, the emulator begins"),
    pytest.param(in_lock, mgmt2, id="other host, the run owns the lock"),
    pytest.param(claimed(mgmt1), mgmt2, id="other host, the guest is claimed"),
]


@pytest.mark.parametrize("fact, victim", START)
def test_power_is_lost_in_a_start(guests, fact, victim):
    process = guests.begin_vm(guests.salt1, vm="idm", host="mgmt1")
    _lose_power(guests, process, fact, victim(guests))
    _comes_back(guests, process, victim(guests), guests.salt1, "mgmt1")


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
    _lose_power(guests, process, fact, victim(guests))
    _comes_back(guests, process, victim(guests), guests.salt2, "mgmt2")


def test_the_word_that_a_host_is_off(guests):
    """mgmt1 dies in a start: nothing is started without a word that it is off, good until it answers."""
    process = guests.begin_vm(guests.salt1, vm="idm", host="mgmt1")
    _lose_power(guests, process, emulator(mgmt1), guests.mgmt1)
    process.communicate(timeout=900)
    silent = guests.vm(guests.salt1, vm="idm", host="mgmt2")
    assert silent.returncode != 0 and "mgmt1 does not say" in " ".join(silent.stdout.split()), silent.stdout
    _runs_on(guests, guests.salt1, "mgmt2", fenced="mgmt1", reason=REASON)
    another = guests.vm(guests.salt2, vm="repo", host="mgmt2")
    assert another.returncode == 0, another.stdout
    assert guests.runs_on("repo") == ["mgmt2"]
    assert REASON in guests.mgmt2.read(FENCED)

    guests.mgmt1.power_on(wait=False)
    look = ["ls", FENCED]
    until(lambda: guests.mgmt2.run(look, check=False).returncode, 120, "the word to be void", pause=0.2)
    guests.mgmt1.power_off()
    gone = guests.vm(guests.salt1, vm="syslog", host="mgmt2")
    assert gone.returncode != 0 and "mgmt1 does not say" in " ".join(gone.stdout.split()), gone.stdout

    guests.mgmt1.power_on()
    guests.wait_answers()
    shown = guests.status()["guests"]
    assert (shown["idm"], shown["repo"]) == ("running on mgmt2", "running on mgmt2")
    history = guests.salt1.run(["salt-run", "pair.history", "mgmt"], check=False, timeout=300).stdout
    assert "-vm-mgmt-" in history and REASON in " ".join(history.split())


def test_the_host_that_is_left_in_a_migration_goes_on(guests):
    """The source dies for good while the target waits for the guest."""
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    process = guests.begin_vm(guests.salt2, vm="idm", host="mgmt2")
    _lose_power(guests, process, both_emulators, guests.mgmt1)
    process.communicate(timeout=900)
    _runs_on(guests, guests.salt2, "mgmt2", fenced="mgmt1", reason=REASON)


def test_the_board_s_word_that_a_host_is_off(guests):
    """mgmt1 is silent and its guest runs: its board switches it off, and no person need know anything."""
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.wait_beats("idm")
    with guests.fenced() as boards:
        guests.mgmt1.cut(silent=True)
        try:
            done = guests.vm(guests.salt1, vm="idm", host="mgmt2", fenced="mgmt1")
            assert done.returncode == 0, done.stdout
            assert [(host, what) for _, host, what in boards.done] == [("mgmt1", "off")]
            assert guests.runs_on("idm") == ["mgmt2"]
            guests.wait_beats("idm")
            history = guests.salt1.run(["salt-run", "pair.history", "mgmt"], check=False, timeout=300).stdout
            assert "mgmt1 was switched off by fence_ipmilan" in " ".join(history.split())
        finally:
            guests.mgmt1.mend()
        guests.mgmt1.power_on()
        guests.wait_answers()


def _lose_power(guests, process, fact, victim):
    assert at(guests, process, fact), process.communicate()[0].decode()
    victim.power_off()


def _comes_back(guests, process, victim, master, wanted):
    """The host has power again at once: nothing starts the guest but an operator who runs the same again."""
    victim.power_on()
    process.communicate(timeout=900)
    guests.wait_answers()
    _runs_on(guests, master, wanted)


def _runs_on(guests, master, host, **word):
    """Running it again is the repair; libvirt needs a moment to give up a migration of one side."""

    def runs():
        done = guests.vm(master, vm="idm", host=host, **word)
        passing = ("cut off", "left paused", "is just being", "locked by run")
        assert done.returncode == 0 or any(one in done.stdout for one in passing), done.stdout
        return guests.runs_on("idm") == [host] and done.returncode == 0

    until(runs, 240, f"the guest to run on {host}", pause=2)
    guests.wait_beats("idm")


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
        # Each saw the other one and stepped down.
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
        # The host serves its pair all the same: its highstate says so, and fails at nothing.
        applied = guests.salt1.run(["salt", "mgmt2", "state.apply"], check=False, timeout=300)
        said = " ".join(applied.stdout.split())
        assert applied.returncode == 0 and "Warnings:" in said and "not mounted on mgmt2" in said, said
    finally:
        guests.mgmt2.power_off()
        guests.mgmt2.power_on()


#: What is odd about a guest: what each host is told who wants it there, and what pair.status says.
ODD = {
    "idm": (
        {host: "paused by a person on mgmt1, and is not touched" for host in ("mgmt1", "mgmt2")},
        "idm is paused by a person on mgmt1.",
    ),
    "repo": (
        {"mgmt1": "defined on mgmt1 alone", "mgmt2": "not defined on mgmt2"},
        "repo is defined on mgmt1 alone.",
    ),
    "syslog": (
        {host: "that libvirt there does not know" for host in ("mgmt1", "mgmt2")},
        "syslog is running unknown to libvirt (process",
    ),
    "warewulf": (
        {host: "its definitions differ" for host in ("mgmt1", "mgmt2")},
        "The definitions of warewulf differ between mgmt1 and mgmt2.",
    ),
}


def test_guests_that_are_odd_are_shown_and_left_alone(guests):
    """One is paused, one defined on one host only, one lost by libvirt, one differs between the hosts."""
    for guest in ("idm", "syslog"):
        guests.virsh(guests.mgmt1, "start", f"shared-{guest}")
        guests.wait_beats(guest)
    guests.virsh(guests.mgmt1, "suspend", "shared-idm")
    texts = {guest: guests.mgmt2.read(f"{lab_guests.DEFINITIONS}/shared-{guest}.xml") for guest in ODD}
    guests.virsh(guests.mgmt2, "undefine", "shared-repo")
    guests.give_memory(guests.mgmt2, "warewulf")
    lose = "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
    guests.mgmt1.run(["/bin/sh", "-c", f"{lose}; rm -f /run/libvirt/qemu/shared-syslog.*"])
    guests.mgmt1.run(["systemctl", "start", "libvirtd.socket", "libvirtd.service"])
    try:
        assert guests.state(guests.mgmt1, "syslog") == "shut off"
        shown = guests.status()
        assert shown["status"] != 0
        for guest, (refusals, sentence) in ODD.items():
            assert any(sentence in one for one in shown["guests_wrong"]), (sentence, shown["guests_wrong"])
            begun = {host: guests.begin_vm(guests.salt1, vm=guest, host=host) for host in refusals}
            for host, process in begun.items():
                said = " ".join(process.communicate(timeout=300)[0].decode().split())
                assert process.returncode != 0 and refusals[host] in said, said
        where = {guest: guests.runs_on(guest) for guest in ODD}
        assert where == {"idm": ["mgmt1"], "repo": [], "syslog": ["mgmt1"], "warewulf": []}
    finally:
        for _, pid in guests.processes().get("syslog", []):
            os.kill(pid, 9)
        for guest in ("repo", "warewulf"):
            guests.mgmt2.write("/root/old.xml", texts[guest], 0o600)
            guests.virsh(guests.mgmt2, "define", "/root/old.xml")


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
