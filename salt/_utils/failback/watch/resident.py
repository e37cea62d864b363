"""
What a program needs that cron starts every minute and that stays in the background: the watch, the keeper.

The first start stays, each later one finds it running and ends. It starts itself anew when its own files or
the node's configuration have changed.
"""

import contextlib
import os
import sys
import time

from failback.errors import Refused
from failback.host import files
from failback.host import system

#: Whose files are watched for changes of the program itself.
PACKAGE = system.PACKAGE

#: Seconds after which it is said that a lock is still waited for.
LONG = 30.0


def single(place):
    """
    The lock of such a program, held while the returned file is open; None if another process has it.

    place
        Path of its lock file.
    """
    files.make_folder(place.parent)
    handle = open(place, "ab")  # noqa: SIM115 (open as long as the program runs)
    os.fchmod(handle.fileno(), 0o600)
    try:
        locked = files.lock_now(handle)
    except OSError:
        handle.close()
        raise
    if not locked:
        handle.close()
        return None
    return handle


@contextlib.contextmanager
def awaited(place, say, alive=lambda: None):
    """
    The lock of such a program, waited for: whoever has it sees by a second one that it is to go.

    place
        Path of the lock file. The second one, which is taken first, has ``.next`` behind it.

    say
        Function that is given a sentence when it takes long.

    alive
        Function that is called while it waits.

    Gives the open file. Raises ``Refused`` when another process waits for it already.
    """
    first = single(_next(place))
    if first is None:
        raise Refused(f"Another process waits for {place} already.")
    with first:
        begun, said = time.monotonic(), False
        while True:
            lock = single(place)
            if lock is not None:
                break
            if not said and time.monotonic() - begun > LONG:
                said = True
                say(f"still waiting for the process that has {place}")
            alive()
            time.sleep(0.05)  # there is nothing to wait on with a limit: flock(2)
        with lock:
            yield lock


def is_awaited(place):
    """Whether a process waits for a lock, or was given it, by :func:`awaited`."""
    try:
        # Read only: where no service has ever waited, there is no such file.
        handle = open(_next(place), "rb")  # noqa: SIM115 (closed below)
    except OSError:
        return False
    with handle:
        return not files.lock_now(handle)


def _next(place):
    return place.with_name(f"{place.name}.next")


class Changes:
    """
    Whether the program's files or the configuration have changed since it started.

    paths
        ``Paths`` of the node.
    """

    def __init__(self, paths):
        self._paths = paths
        self._first = self._fingerprint()
        self._suspicious = None

    def settled(self):
        """True when the same change is seen twice: whoever writes the files has come to an end."""
        found = self._fingerprint()
        if found != self._first and found == self._suspicious:
            return True
        self._suspicious = found
        return False

    def _fingerprint(self):
        """What tells whether the program or the configuration of this node is another."""
        release = self._paths.release
        found = {"release": os.readlink(release) if os.path.islink(release) else None}
        for top, end in ((PACKAGE, ".py"), (self._paths.pairs, ".json")):
            for folder, _, names in os.walk(top):
                for name in names:
                    if not name.endswith(end):
                        continue
                    place = os.path.join(folder, name)
                    with contextlib.suppress(OSError):  # gone since: the next look sees that
                        facts = os.stat(place)
                        found[place] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        return found


def detach():
    """Go on in the background, away from cron. Returns True there, False in the foreground."""
    if os.fork():
        return False
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
    return True


def start_anew():
    """Run the same command line anew in this process."""
    command = getattr(sys, "orig_argv", None)  # Python 3.10; it has the interpreter's options
    command = [sys.executable, *command[1:]] if command else [sys.executable, *sys.argv]
    os.execv(sys.executable, command)
