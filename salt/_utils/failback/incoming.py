"""
The other node's rsync that writes here right now.

Whether it may write is asked when it connects. When this node changes hands the answer changes too, and
a transfer that has begun must not go on.
"""

import contextlib
import os
import signal

from failback import files
from failback import system


def _folder(pair, paths):
    return paths.volatile(pair) / "incoming"


def announce(pair, paths):
    """This process is about to become an rsync that may write; it keeps its process id."""
    folder = _folder(pair, paths)
    files.make_folder(folder)
    _sweep(folder)
    pid = os.getpid()
    files.write_atomically(folder / str(pid), str(system.process_started(pid)))


def withdraw(pair, paths):
    """This process will not write after all."""
    (_folder(pair, paths) / str(os.getpid())).unlink(missing_ok=True)


def end(pair, paths):
    """End every rsync that may write here. Returns how many there were."""
    ended = 0
    for pid in _sweep(_folder(pair, paths)):
        # sshd makes each command a session leader, so its group is that rsync and its child alone.
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
                ended += 1
    return ended


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
