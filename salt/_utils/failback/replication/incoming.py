"""
The other node's rsync that writes here right now.

Whether it may write is asked when it connects. When this node changes hands the answer changes too, and
a transfer that has begun must not go on.

It is told to end (SIGTERM), so that it removes its temporary file, which would be served as ``.name.XXXXXX``
else. rsync 3 does so after a pause of 0.4 s, in which it writes nothing (its ``sig_int``).
What has not ended by ``ENDS_WITHIN`` is killed.
"""

import contextlib
import os
import pathlib
import signal
import time

from failback.host import files
from failback.host import system

#: Seconds for an rsync to end by itself, and after that for the kernel to end it.
ENDS_WITHIN = 0.9
KILLED_WITHIN = 1.0


def _folder(member):
    return member.volatile / "incoming"


def announce(member):
    """This process is about to become an rsync that may write; it keeps its process id."""
    folder = _folder(member)
    files.make_folder(folder)
    _sweep(folder)
    pid = os.getpid()
    files.write_atomically(folder / str(pid), str(system.process_started(pid)))


def withdraw(member):
    """This process will not write after all."""
    (_folder(member) / str(os.getpid())).unlink(missing_ok=True)


def mark(member):
    """Something that is another after each announcement and each end of one; None before the first."""
    try:
        return os.stat(_folder(member)).st_mtime_ns
    except FileNotFoundError:
        return None


def writing(member):
    """Whether an rsync that may write here is at work."""
    return bool(_sweep(_folder(member)))


def stop(member):
    """
    Tell every rsync that may write here to end: it writes nothing more. Returns their process groups.

    This takes no time, for whoever has to serve at once; :py:func:`end` then sees to it that they are gone.
    """
    groups = []
    for pid in _sweep(_folder(member)):
        # sshd makes each command a session leader, so its group is that rsync and its child alone.
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            # Whoever asks for this is no rsync, though it may have been about to become one.
            if pid != os.getpid() and os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGTERM)
                groups.append(pid)
    return groups


def end(member):
    """
    End every rsync that may write here, and wait until it has ended. Returns how many there were.

    Costs nothing where there is none, and under two seconds in any case: one that hangs in the kernel, in a
    file system of the network for instance, must not keep this node from serving.
    """
    groups = stop(member)
    if groups and _living(groups, ENDS_WITHIN):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        _living(groups, KILLED_WITHIN)
    return len(groups)


def _living(groups, seconds):
    """Whether one of these process groups still has a living process after so many seconds at most."""
    end = time.monotonic() + seconds
    while any(_members(groups)):
        if time.monotonic() >= end:
            return True
        time.sleep(0.01)
    return False


def _members(groups):
    """The living processes of some process groups; one that only waits for its parent writes nothing."""
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit():
                # proc(5): after the command in parentheses, which may hold anything.
                facts = pathlib.Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                state, _parent, group = facts[:3]
                if int(group) in groups and state not in "ZX":
                    yield int(name)


def _sweep(folder):
    """The processes that are still the ones announced; traces of others are removed."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    alive = []
    for name in names:
        path = folder / name
        try:
            if name.isdigit() and path.read_text() == str(system.process_started(int(name))):
                alive.append(int(name))
            elif not _being_written(name):
                path.unlink()
        except OSError:
            continue
    return alive


def _being_written(name):
    """Whether a living process is announcing itself under that name (``.<pid>.<random>``) in this moment."""
    pid = name.split(".")[1] if name.startswith(".") else ""
    return pid.isdigit() and system.process_started(int(pid)) is not None
