"""
A host whose clock somebody sets, forward or back, while everything runs.

A container has no clock of its own, and may not set the machine's. What decides anything on a node is a
program in Python, so those are told another time (``lab_clock``). Kernels stamp files with the machine's time
all the same: the load gives its files the time of their host itself. What the campaign looks with keeps the
machine's time.
"""

import contextlib
import pathlib
import time

from lab.faults import lab_clock

#: What keeps the machine's time, as a line of a unit.
MACHINES_TIME = "Environment=LAB_CLOCK=machine"
#: Python's own modules, those of each Python that a host has.
LIBRARIES = "/usr/lib/python3.[0-9]*"
#: One of them that every program here imports, also one that starts without ``site``; it is no frozen one.
IMPORTED = "contextlib.py"
#: What is asked whether it has the other time: Failback's Python, and Salt's.
PROGRAMS = (["/usr/bin/python3", "-IS"], ["/opt/saltstack/salt/bin/python"])
#: Seconds by which their answers may differ from it.
NEAR = 60
NOT_FOR_ALL = "The rehearsal's clock is not that of all programs on {host}: {found} s ahead, not {wanted}."


@contextlib.contextmanager
def settable(host):
    """While this lasts, ``set_ahead`` sets the clock of a host; afterwards it has the machine's again."""
    host.write(lab_clock.PLACE, "0\n")
    program = pathlib.Path(lab_clock.__file__).read_text()
    changed = {}
    for library in host.run(["/bin/sh", "-c", f"ls -d {LIBRARIES}"]).stdout.split():
        path = f"{library}/{IMPORTED}"
        changed[path] = host.read(path)
        host.write(f"{library}/lab_clock.py", program)
        host.write(path, f"{changed[path]}\nimport lab_clock\n")
    _begin_anew(host)
    try:
        yield
    finally:
        for path, text in changed.items():
            host.write(path, text)
        host.run(["rm", "-f", lab_clock.PLACE])
        _begin_anew(host)


def set_ahead(host, seconds):
    """Set the clock of a host that is ``settable`` so much ahead of the machine's; negative: behind."""
    # At once: a program would find half a number.
    host.write(f"{lab_clock.PLACE}.new", f"{seconds}\n")
    host.run(["mv", f"{lab_clock.PLACE}.new", lab_clock.PLACE])
    for program in PROGRAMS:
        text = host.run([*program, "-c", "import contextlib, time; print(time.time())"]).stdout
        found = float(text) - time.time()
        if abs(found - seconds) > NEAR:
            raise RuntimeError(NOT_FOR_ALL.format(host=host.name, found=round(found), wanted=seconds))


def _begin_anew(host):
    """The daemons of Failback and of Salt start again, with or without the other clock."""
    listed = ["systemctl", "list-units", "--plain", "--no-legend", "--type=service", "--state=active"]
    said = host.run([*listed, "failback-*", "salt-minion.service", "salt-master.service"]).stdout
    host.run(["systemctl", "restart", *(line.split()[0] for line in said.splitlines())], timeout=120)
