"""Does a guest run twice? Looked at from outside all hosts, all the time."""

import pathlib
import threading
import time

from lab.roles import hypervisor

#: Seconds between two looks.
LOOK_EVERY = 0.2
#: A processor that is only played (no /dev/kvm) sleeps alike whether it is paused or idle. One that runs is
#: woken by its clock 18 times a second, so it is asked how often in each of three times so many seconds.
WOKEN_IN = 0.5
#: The words of /proc/<pid>/syscall for ioctl(…, KVM_RUN), on the amd64 that the lab is built for.
IOCTL, KVM_RUN = "16", "0xae80"


class Checker:
    """
    Looks from entering to leaving, and fails at the end when it has seen what must never be.

    It knows nothing of Failback and asks no libvirt. What it looks at are the emulators of all hosts, and the
    disks:

    - A virtual processor that runs waits in the kernel's KVM_RUN for its next tick; one of a paused guest, or
      of one that waits to be migrated to, is never in there. Of two emulators the first is looked at, the
      second, and the first again: if all three are, both run. One that is busy just then is seen later.
    - A guest keeps the number of its beats and boots in memory and writes it, so of two that run and are not
      each other's copies the older one writes an older number.
    """

    def __init__(self, guests):
        self._guests = guests
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._wakes = {}
        self._numbers = {}
        #: Sentences about what must never be.
        self.wrong = []
        #: How many looks there were, and how many of them saw two emulators of one guest.
        self.looks = 0
        self.twos = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join(10)
        if exception[0] is None:
            assert self.looks > 0 and not self._thread.is_alive(), "the checker did not look"
            assert not self.wrong, self.wrong

    def _watch(self):
        while not self._stop.is_set():
            for guest, places in self._guests.processes().items():
                if len(places) > 1:
                    self.twos += 1
                    if self._run_at_once([pid for _, pid in places]):
                        self.wrong.append(f"{guest} runs on {places} at once")
            for guest in hypervisor.GUESTS:
                self._look_at_disk(guest)
            self.looks += 1
            self._stop.wait(LOOK_EVERY)

    def _run_at_once(self, pids):
        if all(in_kvm(pid) for pid in (*pids, pids[0])):
            return True
        return all([self._woken_all_the_time(pid) for pid in pids])

    def _woken_all_the_time(self, pid):
        """For an emulator without KVM: was its processor woken in each of the last three times?"""
        known = self._wakes.setdefault(pid, [])
        known.append((time.monotonic(), wakes(pid)))
        now = known[-1][0]
        edges = []
        for back in (3, 2, 1, 0):
            before = [count for at, count in known if at <= now - back * WOKEN_IN]
            edges.append(before[-1] if before else None)
        known[:] = [one for one in known if now - one[0] <= 4 * WOKEN_IN]
        return None not in edges and all(b - a >= 3 for a, b in zip(edges, edges[1:]))

    def _look_at_disk(self, guest):
        found = self._guests.beats(guest)
        before = self._numbers.get(guest, (0, 0))
        # A write may be seen half done, not twice in a row.
        if (found[0] < before[0] or found[1] < before[1]) and self._guests.beats(guest) == found:
            self.wrong.append(f"{guest} wrote {found} after {before}")
        self._numbers[guest] = found


def in_kvm(pid):
    """Whether a virtual processor of an emulator runs by the kernel's word: it is inside KVM_RUN."""
    found = _processors(pid, "/KVM", "syscall")
    return any(words[0] == IOCTL and words[2] == KVM_RUN for words in found)


def wakes(pid):
    """How often the played processors of an emulator were let run (schedstat, field 3); None without any."""
    found = [int(words[2]) for words in _processors(pid, "/TCG", "schedstat")]
    return sum(found) if found else None


def _processors(pid, kind, file):
    """The words of a file about each of an emulator's virtual processors of a kind."""
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip().endswith(kind):
                yield (task / file).read_text().split()
    except OSError:
        return  # it has ended
