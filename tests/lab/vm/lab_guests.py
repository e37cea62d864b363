"""The guests of the site ``vm``: put into the state that a test needs, asked, and looked at from outside."""

import json
import pathlib
import threading
import time

from lab import cgroups
from lab.host import until
from lab.roles import hypervisor

DEFINITIONS = "/etc/libvirt/qemu"
#: Seconds between two looks of the checker.
LOOK_EVERY = 0.05
#: A virtual processor that runs is woken by its clock 18 times a second; one that is paused is not.
RUNS_IN = 0.5


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
        """The pair is adopted and booted; both hosts know the definitions."""
        try:
            json.loads(self.mgmt1.read("/var/lib/failback/mgmt/ledger.json"))
        except Exception:
            for host in (self.salt1, self.salt2):
                host.run(["salt-run", "saltutil.sync_all"], timeout=300)
            for what in ("adopt", "boot"):
                command = ["salt-run", "--no-color", "state.orch", f"orch.{what}", "pillar={pair: mgmt}"]
                self.salt1.run(command, timeout=900)
        until(lambda: self.known(self.mgmt2) == set(hypervisor.GUESTS), 60, "mgmt2 to know all definitions")
        return self

    def all_off(self):
        """Both hosts have power and answer, and no guest runs; by hand, with nothing of Failback's."""
        for host in self.hosts:
            if not host.running:
                host.power_on()
        self.wait_answers()
        for host in self.hosts:
            for name in self.virsh(host, "list", "--name").split():
                self.virsh(host, "destroy", name, check=False)
        assert self.processes() == {}
        return self

    def wait_answers(self, limit=240):
        """Until the minions of both hosts answer both masters, and are idle, and nobody holds the pair."""

        def idle(master):
            command = ["salt", "-L", "mgmt1,mgmt2", "--static", "--out=json", "--timeout=5"]
            done = master.run([*command, "saltutil.is_running", "state.*"], check=False, timeout=90)
            try:
                return json.loads(done.stdout) == {"mgmt1": [], "mgmt2": []}
            except ValueError:
                return False

        for master in (self.salt1, self.salt2):
            until(lambda master=master: idle(master), limit, "both minions to answer and be idle", pause=0.5)

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
            ["salt-run", "--out=json", "pair.status", "mgmt"], check=False, timeout=300
        )
        said = json.loads(done.stdout)
        return {**said["mgmt"], "status": done.returncode}

    def virsh(self, host, *words, check=True):
        """virsh on a host, by hand; returns what it says, errors included."""
        done = host.run(["virsh", "--quiet", *words], check=check, timeout=120)
        return done.stdout + done.stderr

    # --- looking

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
            for pid, guest in hypervisor.emulators(cgroups.members(host.group)).items():
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


class Checker:
    """
    Looks at all hosts from outside, all the time: does a guest run twice?

    It knows nothing of Failback and asks no libvirt. What it looks at are the emulators of all hosts, whose
    virtual processors the machine's scheduler lets run or not, and the disks: a guest keeps the number
    of its beats
    and boots in memory and writes it, so of two that run the older one would write an older number.
    """

    def __init__(self, guests):
        self._guests = guests
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        #: Sentences about what must never be.
        self.wrong = []
        #: How many looks there were, and the most emulators of one guest at a time.
        self.looks = 0
        self.most = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join(10)
        assert self.looks > 0
        if exception[0] is None:
            assert not self.wrong, self.wrong

    def _watch(self):
        woken, numbers = {}, {}
        while not self._stop.is_set():
            found = self._guests.processes()
            now = time.monotonic()
            for guest, places in found.items():
                self.most[guest] = max(self.most.get(guest, 0), len(places))
                running = [one for one in places if self._runs(woken, one, now)]
                if len({host for host, _ in running}) > 1:
                    self.wrong.append(f"{guest} runs on {running} at once")
            for guest in hypervisor.GUESTS:
                beats, boots = self._guests.beats(guest)
                before = numbers.get(guest, (0, 0))
                # A write may be seen half done, not twice in a row.
                if (beats < before[0] or boots < before[1]) and self._guests.beats(guest) == (beats, boots):
                    self.wrong.append(f"{guest} wrote {(beats, boots)} after {before}")
                numbers[guest] = (beats, boots)
            self.looks += 1
            self._stop.wait(LOOK_EVERY)

    def _runs(self, woken, place, now):
        """Has a virtual processor of this emulator run all the time, for half a second now?"""
        count = _wakes(place[1])
        known = woken.setdefault(place, [])
        known.append((now, count))
        known[:] = [one for one in known if now - one[0] <= 2 * RUNS_IN]
        first = [one for one in known if now - one[0] >= RUNS_IN]
        if not first or count is None:
            return False
        halves = [(known[0], known[len(known) // 2]), (known[len(known) // 2], known[-1])]
        return all(None not in (a[1], b[1]) and b[1] - a[1] >= 2 for a, b in halves)


def _wakes(pid):
    """How often the virtual processors of an emulator were let run (schedstat, field 3), or None."""
    total = 0
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().startswith("CPU "):
                total += int((task / "schedstat").read_text().split()[2])
    except (OSError, IndexError):
        return None
    return total
