"""The guests of the site ``vm``: put into the state that a test needs, asked, and looked at from outside."""

import contextlib
import json

from lab import cgroups
from lab.host import until
from lab.roles import bmc
from lab.roles import hypervisor

DEFINITIONS = "/etc/libvirt/qemu"
PILLAR = "/srv/salt/pillar/pairs/mgmt.sls"


def set_up(lab):
    """Bring a new lab of the site into the state that its snapshot keeps: adopted, and never booted."""
    guests = Guests(lab)
    for host in (guests.salt1, guests.salt2):
        host.run(["salt-run", "saltutil.sync_all"], timeout=300)
    guests.wait_answers()
    guests.orchestrate("adopt")


class Guests:
    """The pair ``mgmt`` and its guests."""

    def __init__(self, site):
        self.site = site
        self.salt1, self.salt2, self.mgmt1, self.mgmt2 = (
            site.host(name) for name in ("salt1", "salt2", "mgmt1", "mgmt2")
        )
        self.hosts = (self.mgmt1, self.mgmt2)
        self.storage = self.mgmt1.shared_folders()[hypervisor.STORAGE]

    # --- its states

    def begun(self):
        """The pair is started; both hosts know the definitions."""
        self.wait_answers()
        self.serving()
        until(lambda: self.known(self.mgmt2) == set(hypervisor.GUESTS), 60, "mgmt2 to know all definitions")
        return self

    def serving(self):
        """mgmt1 serves the pair, whatever has happened to both before: a lost power leaves it with nobody."""
        repair = {"cold": "boot", "failed_over": "recover"}.get(self.status()["verdict"])
        if repair:
            self.orchestrate(repair)

    def orchestrate(self, what):
        """An orchestration of the pair."""
        command = ["salt-run", "--no-color", "state.orch", f"orch.{what}", "pillar={pair: mgmt}"]
        self.salt1.run(command, timeout=900)

    def all_off(self):
        """Both hosts have power and answer, and no guest runs; by hand, with nothing of Failback's."""
        off = [host for host in self.hosts if not host.running]
        for host in off:
            host.power_on()
        if off:
            self.wait_answers()
        for host in self.hosts:
            for name in self.virsh(host, "list", "--name").split():
                self.virsh(host, "destroy", name, check=False)
        until(lambda: self.processes() == {}, 10, "the emulators to end", pause=0.05)
        return self

    def wait_answers(self, limit=240):
        """Until the minions of both hosts answer both masters."""

        def answered(master):
            # Asked before they have connected, Salt would wait for them for its whole timeout.
            connected = ["ss", "-Htn", "state", "established", "sport", "=", ":4505", "dst"]
            if not all(master.run([*connected, host.address()]).stdout for host in self.hosts):
                return False
            command = ["salt", "-L", "mgmt1,mgmt2", "--static", "--out=json", "--timeout=3", "test.ping"]
            done = master.run(command, check=False, timeout=90)
            try:
                return json.loads(done.stdout) == {"mgmt1": True, "mgmt2": True}
            except ValueError:
                return False

        for master in (self.salt1, self.salt2):
            until(lambda master=master: answered(master), limit, "both minions to answer", pause=0.5)

    @contextlib.contextmanager
    def fenced(self):
        """While this lasts, both hosts know each other's boards, and the boards do what they are told."""
        before = self.salt1.read(PILLAR)
        client = self.site.host("client")
        try:
            with bmc.Boards(self.site, client) as boards:
                self.salt1.write(PILLAR, f"{before}    fence: {json.dumps(bmc.fence(self.site))}\n")
                self._highstate()
                yield boards
        finally:
            self.salt1.write(PILLAR, before)
            # A test that has failed leaves a host cut off, or off.
            for host in self.hosts:
                host.mend()
                host.power_on()
            self.wait_answers()
            self._highstate()

    def _highstate(self):
        self.salt1.run(["salt", "-L", "mgmt1,mgmt2", "state.apply"], timeout=300)

    # --- what an operator does

    def vm(self, master, check=False, test=False, **pillar):
        """``orch.vm`` on a master; returns the finished process."""
        return master.run(command(test, **pillar), check=check, timeout=900)

    def begin_vm(self, master, **pillar):
        """The same, started and not waited for."""
        return master.spawn(command(False, **pillar))

    def status(self, master=None):
        """What ``pair.status mgmt`` says, with its exit status under ``status``."""
        done = (master or self.salt1).run(
            ["salt-run", "--out=json", "pair.status", "mgmt", "timeout=10"], check=False, timeout=300
        )
        said = json.loads(done.stdout)
        return {**said["pairs"]["mgmt"], "status": done.returncode}

    def virsh(self, host, *words, check=True):
        """virsh on a host, by hand; returns what it says, errors included."""
        done = host.run(["virsh", "--quiet", *words], check=check, timeout=120)
        return done.stdout + done.stderr

    def defined_by_hand(self, guest, emulator):
        """Both hosts have a definition of a guest that somebody wrote, the first host first."""
        for host in self.hosts:
            host.write("/root/hand.xml", hypervisor.definition(guest, emulator), 0o600)
            self.virsh(host, "define", "/root/hand.xml")
            if host is self.mgmt1:
                # While lsyncd carries it, it deletes what virsh is writing beside it on the other host.
                host.run(["salt-call", "lsyncd.drain", "mgmt"], timeout=120)

    def give_memory(self, host, guest):
        """Change a guest's memory in its definition on a host, like virsh edit. Returns what it has then."""
        text = self.virsh(host, "dumpxml", "--inactive", f"shared-{guest}")
        old, new = ("16384", "20480") if "16384" in text else ("20480", "16384")
        host.write("/root/new.xml", text.replace(old, new), 0o600)
        self.virsh(host, "define", "/root/new.xml")
        return new

    # --- looking

    def wait_memory(self, host, guest, memory):
        """Until libvirt on a host would start a guest with that memory."""

        def known():
            return memory in self.virsh(host, "dumpxml", "--inactive", f"shared-{guest}")

        until(known, 60, f"libvirt on {host.name} to know the new definition of {guest}")

    def known(self, host):
        """The guests that libvirt on a host knows."""
        names = self.virsh(host, "list", "--all", "--name", check=False).split()
        return {name.removeprefix("shared-") for name in names if name.startswith("shared-")}

    def state(self, host, guest):
        """A guest's state by libvirt's word."""
        return self.virsh(host, "domstate", f"shared-{guest}", check=False).strip()

    def processes(self):
        """The emulators of all hosts by the machine's own kernel: ``{guest: [(host, pid), …]}``."""
        found = {}
        for host in self.hosts:
            for pid, guest in hypervisor.emulators(cgroups.seen(host.group)).items():
                found.setdefault(guest.removeprefix("shared-"), []).append((host.name, pid))
        return found

    def runs_on(self, guest):
        """The hosts with an emulator of a guest, by the machine's own kernel."""
        return sorted({host for host, _ in self.processes().get(guest, [])})

    def beats(self, guest):
        """How often a guest has beaten and booted, by its disk."""
        return hypervisor.beats(self.storage / f"{guest}.img")

    def wait_beats(self, guest, limit=60):
        """Until the guest beats: it runs, and writes to its disk."""
        before = self.beats(guest)
        until(lambda: self.beats(guest)[0] > before[0], limit, f"{guest} to beat", pause=0.1)
        return self.beats(guest)


def command(test=False, **pillar):
    """The words of ``orch.vm``."""
    words = ["salt-run", "--no-color", "state.orch", "orch.vm", f"pillar={json.dumps(pillar)}"]
    return words + (["test=True"] if test else [])
