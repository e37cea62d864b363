"""
What a part of the tests costs: seconds of a processor, of its processes and of the hosts that it boots. And
how quick a processor is here.
"""

import os
import pathlib
import time

from lab import cgroups

#: Seconds between two looks. A lab is gone before its tests have ended: what its hosts used last is not seen.
PAUSE = 0.3

#: So many empty rounds take so many seconds of a processor where ``suites`` was measured.
LOOP, SECONDS_OF_LOOP = 1_000_000, 0.028
#: A machine that is quick by itself has others beside it, and is slower a minute later: no pace is less.
QUICKEST = 0.75


def pace():
    """How long a processor takes here for what takes it a second where ``suites`` was measured; at most 1."""
    tries = []
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(LOOP):
            pass
        tries.append(time.thread_time() - begun)
    return min(1.0, max(QUICKEST, min(tries) / SECONDS_OF_LOOP))


class Meter:
    """
    Waits for one process, and counts.

    process
        A ``subprocess.Popen``. Nobody else waits for it, unless to kill it.

    is_its_own
        Says of a lab's name whether the process has made it; None for a process that makes none.
    """

    def __init__(self, process, is_its_own=None):
        self._process = process
        self._is_its_own = is_its_own
        self._own = 0.0
        self._before = 0.0
        self._labs = {}

    @property
    def seconds(self):
        """So far. What a daemon of the tests used that nobody has waited for is not among it."""
        return self._own + self._before + sum(self._labs.values())

    def wait(self, limit):
        """
        Until the process has ended.

        limit
            Seconds.

        Returns its exit status, or None after the limit.
        """
        deadline = time.monotonic() + limit
        while not self._has_ended():
            if time.monotonic() > deadline:
                return None
            self._look()
            time.sleep(PAUSE)
        return self._process.returncode

    def _has_ended(self):
        try:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
        except ChildProcessError:  # whoever has killed it was told
            return self._process.wait() is not None
        # Until it is waited for, proc(5) has its times: its own, and those of its children. The host that a
        # process has booted is a child of it, and its group counts it already.
        times = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        ticks = map(int, times[:2] if self._is_its_own else times)
        self._own = sum(ticks) / os.sysconf("SC_CLK_TCK")
        return self._process.wait() is not None

    def _look(self):
        if not self._is_its_own:
            return
        found = {lab: seconds for lab, seconds in cgroups.used().items() if self._is_its_own(lab)}
        for lab, seconds in found.items():
            # A lab of the same name that was made anew counts from zero. One that is not seen for a moment
            # is the same when it is seen again.
            if seconds < self._labs.get(lab, 0.0):
                self._before += self._labs[lab]
        self._labs |= found
