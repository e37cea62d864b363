"""
A host whose clock somebody sets, forward or back, while everything runs.

A container has no clock of its own, and may not set the machine's. What decides anything on a node is a
program in Python, so those are told another time (``lab_clock``). Kernels stamp files with the machine's time
all the same: the load gives its files the time of their host itself. What the campaign looks with keeps the
machine's time.
"""

import contextlib
import pathlib

from lab.faults import lab_clock

#: What keeps the machine's time, as a line of a unit.
MACHINES_TIME = "Environment=LAB_CLOCK=machine"
#: Where Python looks for modules that every program imports: Debian's own, and Salt's.
PLACES = ("/usr/lib/python3/dist-packages", "/opt/saltstack/salt/lib/python3.*/site-packages")
#: What looks, and takes over.
OWN = ("failback-watch@gateway-ip", "failback-look@salt")


@contextlib.contextmanager
def settable(host):
    """While this lasts, ``set_ahead`` sets the clock of a host; afterwards it has the machine's again."""
    set_ahead(host, 0)
    found = host.run(["/bin/sh", "-c", f"ls -d {' '.join(PLACES)}"]).stdout.split()
    written = [f"{place}/lab_clock.{kind}" for place in found for kind in ("py", "pth")]
    program = pathlib.Path(lab_clock.__file__).read_text()
    for path in written:
        host.write(path, "import lab_clock\n" if path.endswith(".pth") else program)
    _begin_anew(host)
    try:
        yield
    finally:
        host.run(["rm", "-f", lab_clock.PLACE, *written])
        _begin_anew(host)


def set_ahead(host, seconds):
    """Set the clock of a host that is ``settable`` so much ahead of the machine's; negative: behind."""
    # At once: a program would find half a number.
    host.write(f"{lab_clock.PLACE}.new", f"{seconds}\n")
    host.run(["mv", f"{lab_clock.PLACE}.new", lab_clock.PLACE])


def _begin_anew(host):
    """The daemons of Failback and of Salt start again, with or without the other clock."""
    host.run(["systemctl", "try-restart", "salt-minion", "salt-master", *OWN], timeout=120)
