"""
What a host's kernel says of an address, heard from the machine.

The observer on the host says the same, but stands still with it: it would read what was said when it goes on.
"""

import datetime
import os
import re
import subprocess

from lab.host import kill_session


class Monitor:
    """
    Hears from now on until :py:meth:`stop`.

    host
        A host that runs.

    address
        Without its network.
    """

    def __init__(self, host, address):
        self._node, self._address = host.name, address
        self._process = subprocess.Popen(
            host.beside(["stdbuf", "-oL", "ip", "-ts", "-o", "-4", "monitor", "address"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TZ": "UTC"},
            start_new_session=True,
        )

    def stop(self):
        """Returns what was heard, as the observer's lines are: a list of dicts."""
        kill_session(self._process)
        text, _ = self._process.communicate()
        return list(heard(text, self._address))


def heard(text, address):
    """The lines of ``ip -ts -o monitor address`` about one address, as the observer has them. Pure."""
    for line in text.splitlines():
        found = re.match(r"\[(\S+)\] (Deleted )?.* inet (\S+)/", line)
        if found and found[3] == address:
            moment = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.timezone.utc)
            yield {"time": moment.timestamp(), "what": "holds", "holds": not found[2]}
