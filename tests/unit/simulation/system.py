"""The standard library as the code sees it in the simulation: clocks, files, waiting, threads, programs."""

import errno
import fcntl as real_fcntl
import os as real_os
import pathlib as real_pathlib
import select as real_select
import selectors as real_selectors
import subprocess as real_subprocess
import threading as real_threading
import time as real_time
import types

from simulation import here
from simulation.disk import SimPath
from simulation.disk import Status
from simulation.hosts import EPOCH


def _now():
    world = here.world
    world.alive()
    return world.engine.now


# --- clocks -------------------------------------------------------------------------------------------


class Time:
    """``time``: each node's clocks since its boot, and a wall clock that can be set."""

    CLOCK_BOOTTIME = real_time.CLOCK_BOOTTIME
    CLOCK_MONOTONIC = real_time.CLOCK_MONOTONIC

    @staticmethod
    def monotonic():
        node = here.world.node
        return _now() - (node.booted_at if node else 0.0)

    def monotonic_ns(self):
        return int(self.monotonic() * 1e9)

    def clock_gettime(self, _clock):
        return self.monotonic()

    @staticmethod
    def time():
        node = here.world.node
        return EPOCH + _now() + (node.wall if node else 0.0)

    def time_ns(self):
        return int(self.time() * 1e9)

    def strftime(self, form, when=None):
        return real_time.strftime(form, when or self.gmtime())

    def gmtime(self, seconds=None):
        return real_time.gmtime(self.time() if seconds is None else seconds)

    @staticmethod
    def sleep(seconds):
        here.world.engine.wait(here.world.engine.now + seconds)


# --- files --------------------------------------------------------------------------------------------


class Os:
    """``os``: the files of the node whose process asks, and nothing of the machine that simulates."""

    path = types.SimpleNamespace(
        join=real_os.path.join,
        basename=real_os.path.basename,
        dirname=real_os.path.dirname,
        islink=lambda path: False,
        exists=lambda path: str(path) in here.world.disk.names,
    )
    devnull, environ, PathLike = real_os.devnull, {}, real_os.PathLike
    fsencode, strerror = staticmethod(real_os.fsencode), staticmethod(real_os.strerror)

    def __getattr__(self, name):
        if name.isupper():
            return getattr(real_os, name)
        raise AssertionError(f"os.{name} is not simulated")

    @staticmethod
    def getpid():
        return here.world.engine.current.pid

    @staticmethod
    def open(path, flags, mode=0o777):
        return here.world.open_descriptor(str(path), flags).number

    @staticmethod
    def close(number):
        here.world.handles.pop(number).close()

    @staticmethod
    def fdopen(number, mode="r"):
        return here.world.handles[number]

    @staticmethod
    def fchmod(number, mode):
        here.world.alive()

    @staticmethod
    def fsync(number):
        here.world.fsync(here.world.handles[number])

    @staticmethod
    def replace(source, target):
        here.world.step("rename", str(target))
        here.world.disk.replace(str(source), str(target))
        here.world.file_changed(str(target))

    @staticmethod
    def unlink(path):
        here.world.step("unlink", str(path))
        here.world.disk.unlink(str(path))

    @staticmethod
    def stat(path):
        return Status(here.world.disk.inode(str(path)))

    @staticmethod
    def listdir(path):
        here.world.alive()
        names = {
            one[len(f"{path}/") :].partition("/")[0]
            for one in here.world.disk.names
            if one.startswith(f"{path}/")
        }
        if not names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return sorted(names)

    @staticmethod
    def write(number, data):
        here.world.handles[number].write(data)
        return len(data)

    @staticmethod
    def pread(number, size, offset):
        here.world.alive()
        return here.world.handles[number].inode.data[offset : offset + size]

    @staticmethod
    def read(stream, size):
        return stream.take()


class Fcntl:
    """``fcntl``: locks that last as long as their file is open."""

    LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN = (
        real_fcntl.LOCK_EX,
        real_fcntl.LOCK_NB,
        real_fcntl.LOCK_SH,
        real_fcntl.LOCK_UN,
    )

    @staticmethod
    def flock(handle, operation):
        world, inode = here.world, handle.inode
        world.step("lock", handle.path)
        while inode.owner not in (None, handle):
            if operation & real_fcntl.LOCK_NB:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            world.engine.wait(None, [inode])
        inode.owner = handle


class Tempfile:
    """``tempfile``."""

    @staticmethod
    def mkstemp(prefix, dir):
        world = here.world
        world.step("create", f"{dir}/{prefix}")
        path = world.disk.temporary(prefix, str(dir))
        return world.open_descriptor(path, real_os.O_RDWR).number, path


def sim_open(path, mode="r", **_):
    """``open``."""
    return here.world.open(str(path), mode)


def sim_print(*words, file=None, **_):
    """``print``: to the program's output, or to its node's log."""
    world = here.world
    world.alive()
    process = world.engine.current
    target = process.output if file is None else process.node.log
    target.append(" ".join(str(one) for one in words))


# --- waiting ------------------------------------------------------------------------------------------


#: The least that is waited for, in seconds.
GRAIN = 1e-6


class Poll:
    """``select.poll()``."""

    def __init__(self):
        self._sources = []

    def register(self, source, _events=None):
        self._sources.append(source)

    def poll(self, milliseconds=None):
        ready = [(one, real_select.POLLIN) for one in self._sources if one.readable()]
        if ready or milliseconds == 0:
            return ready
        engine = here.world.engine
        # As a kernel does, it rounds up: a clock that counts from a later boot is finer than the engine's.
        seconds = None if milliseconds is None else max(milliseconds / 1000, GRAIN)
        engine.wait(None if seconds is None else engine.now + seconds, self._sources)
        return [(one, real_select.POLLIN) for one in self._sources if one.readable()]


class Select:
    """``select``."""

    POLLIN = real_select.POLLIN
    poll = Poll

    @staticmethod
    def select(reading, _writing, _failing, timeout=None):
        poll = Poll()
        for one in reading:
            poll.register(one)
        return [one for one, _ in poll.poll(None if timeout is None else timeout * 1000)], [], []


class Selectors:
    """``selectors``."""

    EVENT_READ = real_selectors.EVENT_READ

    class DefaultSelector:
        def __init__(self):
            self._poll = Poll()

        def register(self, source, _events):
            self._poll.register(source)

        def select(self, timeout=None):
            return self._poll.poll(None if timeout is None else timeout * 1000)

        def close(self):
            pass


class Thread:
    """``threading.Thread``: another process of the same node, which dies with the one that started it."""

    def __init__(self, target, args=(), daemon=None, kwargs=None, name=None):
        self._call = lambda: target(*args, **(kwargs or {}))
        self._process = None

    def start(self):
        world = here.world
        parent = world.engine.current
        self._process = world.start(f"{parent.name}, thread", parent.node, self._call)
        self._process.program = parent.program
        parent.program.threads.append(self._process)

    def is_alive(self):
        return self._process is not None and not self._process.finished

    def join(self, timeout=None):
        engine = here.world.engine
        if self.is_alive():
            engine.wait(None if timeout is None else engine.now + timeout, [self._process])


class Event:
    """``threading.Event``."""

    def __init__(self):
        self._set = False
        self.waiters = {}

    def set(self):
        self._set = True
        here.world.engine.news(self)

    def clear(self):
        self._set = False

    def wait(self, timeout=None):
        engine = here.world.engine
        if not self._set:
            engine.wait(None if timeout is None else engine.now + timeout, [self])
        return self._set


class Threading:
    """``threading``."""

    Thread = Thread
    Event = Event

    def __getattr__(self, name):
        return getattr(real_threading, name)


# --- programs -----------------------------------------------------------------------------------------


class Subprocess:
    """``subprocess``: ssh, and what is started to go on by itself."""

    PIPE, DEVNULL, TimeoutExpired = (
        real_subprocess.PIPE,
        real_subprocess.DEVNULL,
        real_subprocess.TimeoutExpired,
    )
    CompletedProcess = real_subprocess.CompletedProcess

    @staticmethod
    def run(argv, **_):
        here.world.run(argv)

    @staticmethod
    def Popen(argv, **_):  # noqa: N802 (the standard library's name)
        return here.world.popen(argv)


class Syslog:
    """``syslog``."""

    LOG_PID = LOG_DAEMON = LOG_NOTICE = LOG_ERR = 0

    @staticmethod
    def openlog(*_):
        pass

    @staticmethod
    def syslog(*words):
        here.world.log(words[-1])


#: By the name of the module that each stands for.
STANDS_FOR = {
    "time": Time(),
    "os": Os(),
    "fcntl": Fcntl(),
    "tempfile": Tempfile(),
    "select": Select(),
    "selectors": Selectors(),
    "threading": Threading(),
    "subprocess": Subprocess(),
    "syslog": Syslog(),
    "pathlib": types.SimpleNamespace(Path=SimPath, PurePosixPath=real_pathlib.PurePosixPath),
}
