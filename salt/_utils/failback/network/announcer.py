"""
Announce an address that was taken by hand again over the next seconds, apart from who took it.

It is what ``failback announce <pair>`` is for the addresses of a pair, on any minion: neither the program nor
a pair is needed. ``failback.network`` lies where Salt has put it, so the process is told where that is::

    announcer.start(FloatingAddress("10.0.0.5/24", "eth0"))
"""

import os
import pathlib
import subprocess
import sys

from failback.network import address_holder
from failback.network.floating import FloatingAddress


def start(floating):
    """
    Start a process that announces an address at once and at ``ANNOUNCE_TIMES``, as long as this node has it.

    floating
        :py:class:`failback.network.floating.FloatingAddress`.

    Returns its process id; None if it could not be started, which is no failure: the address was announced
    once already.
    """
    library = str(pathlib.Path(__file__).resolve().parents[2])
    command = [
        sys.executable or "/usr/bin/python3",
        "-B",
        "-m",
        __name__,
        floating.address,
        floating.interface,
    ]
    try:
        return subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": library},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).pid
    except OSError:
        return None


if __name__ == "__main__":
    address_holder.announce_repeatedly([FloatingAddress(sys.argv[1], sys.argv[2])])
