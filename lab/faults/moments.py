"""The boundaries of an orchestration's phases, as facts that can be seen from outside.

A moment is ``<function>:new`` (a master publishes that job), ``<function>:ret`` (its answer has come), or
the phase of a handover on the node that serves (its state file). ``<moment>#2`` is the second time.
``random:<n>`` is n tenths of the time that an undisturbed run takes: as measured, else ``UNDISTURBED``.

Where the pair just serves there is no run: the fault comes at once, and ``lasts:<n>`` is how long it lasts.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import threading
import time

#: What the table of a campaign has as columns, and the moments of each, in the order in which an undisturbed
#: run passes them.
_OPENING = (
    "pair.lock:new",
    "pair.open_run:ret",
    "pair.renew:new",
    "pair.renew:ret",
)  # begins the pause
_HANDOVER = ("armed", "released", "committed", "done")
#: After a handover, in either direction.
_SETTLING = (
    "pair.push_git:new#2",
    "reverse_rsync.compared:new",
    "reverse_rsync.compared:ret",
    "pair.stand_by:new",
    "pair.activate:new",
    "pair.activate:ret",
)
_CLOSING = ("pair.close_run:new", "pair.close_run:ret")
ORCHESTRATIONS = ("recover", "failover", "boot")
#: What is no orchestration: the pair serves, as it is shipped, with a lease, and with agents that fence.
SERVING = ("serving", "serving_lease", "serving_fence")
_LASTING = {f"{seconds} s": (f"lasts:{seconds}",) for seconds in (5, 20, 90)}
#: Only with ``recovery: {reboot: true}``.
REBOOT = ("pair.reboot:new", "pair.reboot:ret", "down", "up")
PHASES = {
    "recover": {
        "opening": _OPENING,
        "static": ("state.apply:new", "state.apply:ret", *REBOOT),
        "pre-sync": (
            "pair.start_services:ret",
            "reverse_rsync.synced:new",
            "reverse_rsync.synced:ret",
            "pair.push_git:new",
        ),
        "handover": _HANDOVER,
        "settling": (*_SETTLING, "lsyncd.first_pass:new", "lsyncd.first_pass:ret", "pair.admit:ret"),
        "closing": _CLOSING,
    },
    "failover": {
        "opening": _OPENING,
        "draining": (
            "pair.start_services:ret",
            "lsyncd.drain:new",
            "lsyncd.drain:ret",
            "pair.push_git:new",
            "pair.push_git:ret",
        ),
        "handover": _HANDOVER,
        "settling": _SETTLING,
        "closing": _CLOSING,
    },
    "boot": {
        "opening": (*_OPENING, "pair.start_services:ret"),
        "taking": ("pair.admit:new", "pair.admit:ret", "pair.take:new", "pair.take:ret"),
        "settling": (
            "pair.stand_by:new",
            "pair.activate:new",
            "pair.activate:ret",
            "lsyncd.first_pass:new",
            "lsyncd.first_pass:ret",
            "pair.admit:ret#3",  # the standby, after both nodes before the address was taken
        ),
        "closing": _CLOSING,
    },
    **dict.fromkeys(SERVING, _LASTING),
}
BY_OPERATION = {
    operation: tuple(moment for group in phases.values() for moment in group)
    for operation, phases in PHASES.items()
}
RANDOM = tuple(f"random:{tenths}" for tenths in range(1, 10))
#: Seconds that an undisturbed run takes on a machine that is not busy, where none has been measured.
UNDISTURBED = {"recover": 30.0, "failover": 25.0, "boot": 30.0}


def configuration(operation):
    """How the pair is configured: as it is shipped (an empty string), with a ``lease`` or with ``fence``."""
    return operation.removeprefix("serving_") if operation in SERVING[1:] else ""


def lasts(moment):
    """Seconds that a fault lasts while the pair just serves."""
    return int(moment.removeprefix("lasts:"))


def phase(operation, moment):
    """The phase to which a moment of an operation belongs; a random one is in none: ``by chance``."""
    # The second time of a moment may be another phase's; where it is not named it is that of the first.
    for one in (moment, moment.partition("#")[0]):
        for name, group in PHASES[operation].items():
            if one in group:
                return name
    return "by chance"


@dataclasses.dataclass
class Seen:
    """When a moment was seen (CLOCK_REALTIME), or None: the run ended before it."""

    moment: str
    time: float | None = None


def wait(moment, rehearsal, process, expected, limit):
    """Wait for a moment of a running orchestration.

    rehearsal
        Its ``jobs`` (lines of jobs.py so far), ``far_end`` (host that serves), ``returned`` (host that is
        rebooted) are looked at.

    process
        The orchestration.

    expected
        Seconds that an undisturbed run takes, for ``random:<n>``.

    Returns a ``Seen``.
    """
    begun = time.monotonic()
    fact = _fact(moment, rehearsal, expected, begun)
    while time.monotonic() - begun < limit:
        if fact():
            return Seen(moment, time.time())
        if process.poll() is not None:
            return Seen(moment)
        time.sleep(0.002)
    return Seen(moment)


def _fact(moment, rehearsal, expected, begun):
    kind, _, what = moment.partition(":")
    if kind == "random":
        return lambda: time.monotonic() - begun >= expected * int(what) / 10
    if kind in _HANDOVER:
        init = rehearsal.far_end.init()
        # The host's file, read from the machine: no program need be started in the host.
        path = pathlib.Path(f"/proc/{init}/root/run/failback/salt/handover.json")
        before = _phase(path)

        def reached():
            found = _phase(path)
            if found is None or found == before:
                return False
            return _HANDOVER.index(found[1]) >= _HANDOVER.index(kind)

        return reached
    if kind in ("down", "up"):
        host, boot = rehearsal.returned, rehearsal.returned.boot_id()
        if kind == "down":
            return lambda: host.init() is None or _boot(host) not in (None, boot)
        return lambda: _boot(host) not in (None, boot)
    wanted, _, number = moment.partition("#")
    return lambda: rehearsal.jobs.count(wanted) >= int(number or 1)


def _phase(path):
    """``(run, phase)`` of a handover, or None when there is none that one can read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return (content.get("run"), content["phase"]) if content.get("phase") in _HANDOVER else None


def _boot(host):
    try:
        init = host.init()
        return init and (init, pathlib.Path(f"/proc/{init}/root/etc/hostname").exists()) and host.boot_id()
    except Exception:  # it is on its way down or up
        return None


class Jobs:
    """What a master publishes, read from jobs.py in a thread of its own."""

    def __init__(self, host):
        self.seen = []
        self._process = host.spawn(
            ["/opt/saltstack/salt/bin/python", "-"],
            stdin=-1,
            stderr=-3,
        )
        program = pathlib.Path(__file__).with_name("jobs.py").read_bytes()
        self._process.stdin.write(program)
        self._process.stdin.close()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._listening = threading.Event()
        self._thread.start()
        if not self._listening.wait(30):
            raise TimeoutError("Waited 30 s for the event bus of the master.")

    def _read(self):
        for line in self._process.stdout:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if found["event"] == "listening":
                self._listening.set()
            else:
                self.seen.append(found)

    def count(self, moment):
        """How often ``<function>:<event>`` was seen."""
        return sum(1 for one in list(self.seen) if f"{one['function']}:{one['event']}" == moment)

    def stop(self):
        from lab.host import kill_session

        kill_session(self._process)
        self._process.wait()


def at_random(operation, generator: random.Random):
    """A moment of an operation."""
    return generator.choice(BY_OPERATION[operation] + RANDOM)
