"""
Another time for every program in Python on a host: what ``/etc/lab-clock`` says, in seconds ahead.

A module of Python's own imports this (see clock.py). The monotonic clock goes on as it does
when somebody sets the clock of a real host. Kernels stamp files with the machine's time, so programs are told
what a kernel of their own would have written: as the change time (ctime) of files changed since the clock was
set, and as the time of what is renewed again and again in /run/failback. LAB_CLOCK=machine in a program's
environment keeps all this out.
"""

import os
import time

PLACE = "/etc/lab-clock"
RENEWED = "/run/failback/"

_time, _time_ns = time.time, time.time_ns
_gmtime, _localtime, _strftime = time.gmtime, time.localtime, time.strftime
_stat, _lstat, _fstat = os.stat, os.lstat, os.fstat


def ahead():
    """Seconds by which this host's clock is ahead of the machine's."""
    try:
        with open(PLACE) as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


class _Facts:
    """What stat(2) says of a file, by this host's clock."""

    def __init__(self, found, renewed):
        self._found = found
        self._changed = ahead() if renewed or found.st_ctime >= _set_at() else 0
        self._written = ahead() if renewed else 0

    def __getattr__(self, name):
        return getattr(self._found, name)

    def __getitem__(self, number):
        return self._found[number]

    @property
    def st_mtime_ns(self):
        return self._found.st_mtime_ns + self._written * 10**9

    @property
    def st_mtime(self):
        return self._found.st_mtime + self._written

    @property
    def st_ctime_ns(self):
        return self._found.st_ctime_ns + self._changed * 10**9

    @property
    def st_ctime(self):
        return self._found.st_ctime + self._changed


def _set_at():
    try:
        return _stat(PLACE).st_mtime
    except FileNotFoundError:
        return float("inf")


def _stat_as_set(path, *more, **options):
    found = _stat(path, *more, **options)
    named = "" if isinstance(path, int) else os.fsdecode(path)
    return _Facts(found, True) if named.startswith(RENEWED) else found


def _lstat_as_set(path, **options):
    return _Facts(_lstat(path, **options), False)


def _fstat_as_set(descriptor):
    found = _fstat(descriptor)
    try:
        named = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return found
    return _Facts(found, True) if named.startswith(RENEWED) else found


def _as_set():
    os.stat, os.lstat, os.fstat = _stat_as_set, _lstat_as_set, _fstat_as_set
    time.time = lambda: _time() + ahead()
    time.time_ns = lambda: _time_ns() + ahead() * 10**9
    time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
    time.strftime = lambda text, parts=None: _strftime(text, time.localtime() if parts is None else parts)


if os.environ.get("LAB_CLOCK") != "machine":
    _as_set()
