"""
Another time for every program in Python on a host: what ``/etc/lab-clock`` says, in seconds ahead.

Python's ``site`` imports this where a program starts (see clock.py). The monotonic clock goes on as it does
when somebody sets the clock of a real host. LAB_CLOCK=machine in a program's environment keeps it out.
"""

import os
import time

PLACE = "/etc/lab-clock"

_time, _time_ns, _gmtime, _localtime, _strftime = (
    time.time,
    time.time_ns,
    time.gmtime,
    time.localtime,
    time.strftime,
)


def ahead():
    """Seconds by which this host's clock is ahead of the machine's."""
    try:
        with open(PLACE) as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def _as_set():
    time.time = lambda: _time() + ahead()
    time.time_ns = lambda: _time_ns() + ahead() * 10**9
    time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
    time.strftime = lambda text, parts=None: _strftime(text, time.localtime() if parts is None else parts)


if os.environ.get("LAB_CLOCK") != "machine":
    _as_set()
