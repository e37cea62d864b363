"""What a part of the tests costs: seconds of a processor, of its processes and of the hosts that it boots."""

import os
import time

from lab import cgroups

#: Seconds between two looks. A lab is gone before its tests have ended: what its hosts used last is not seen.
PAUSE = 0.3


class Meter:
    """
    Waits for one process, and counts.

    process
        A ``subprocess.Popen``. Nobody else waits for it, unless to kill it.

    is_its_own
        Says of a lab's name whether the process has made it.
    """

    def __init__(self, process, is_its_own=lambda lab: False):
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
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        except ChildProcessError:  # whoever has killed it was told
            return self._process.wait() is not None
        if not pid:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._own = usage.ru_utime + usage.ru_stime
        return True

    def _look(self):
        found = {lab: seconds for lab, seconds in cgroups.used().items() if self._is_its_own(lab)}
        for lab, seconds in self._labs.items():
            # A lab of the same name that was made anew counts from zero.
            if found.get(lab, 0.0) < seconds:
                self._before += seconds
        self._labs = found
