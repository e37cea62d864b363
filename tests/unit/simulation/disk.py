"""
The files of a node in memory, as its programs see them, and as a loss of power leaves them.

What is below ``/run`` does not survive. Of the rest survives what was synced: the content of a file by its
fsync, its name by the fsync of its folder. What was not synced may survive all the same, a rename without
the content of the file as well: what the rules allow is up to the *fate* that is given.
"""

import errno
import os
import pathlib
import random
import stat as stat_bits

from simulation import here

#: Nothing that was not synced survives.
LOST = "lost"
#: Everything survives: the kernel was just ahead.
WRITTEN = "written"
#: The names survive, the contents do not: metadata are journalled, data are not.
NAMES = "names"

#: Seconds after which a kernel has written what nobody synced (vm.dirty_expire_centisecs).
WRITTEN_BACK = 30.0


class Inode:
    """One file."""

    numbers = iter(range(1, 1 << 62))

    def __init__(self, data=b""):
        self.number = next(self.numbers)
        self.data = data
        self.synced = None
        self.changed = 0
        #: The handle that has the flock, and who waits for it.
        self.owner = None
        self.waiters = {}


class Disk:
    """
    The files of one node.

    clock
        Function that returns the time, in seconds.
    """

    def __init__(self, clock):
        self._clock = clock
        self.names = {}
        self._durable = {}
        #: By folder: changes of names that are not synced yet, each ``(when, ((path, inode or None), …))``.
        self._unsynced = {}
        self._temporary = 0
        #: Seconds that an fsync takes.
        self.latency = 0.0

    @staticmethod
    def _lasts(path):
        return not path.startswith(("/run/", "/sys/"))

    def inode(self, path):
        """The file, or ``FileNotFoundError``."""
        try:
            return self.names[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def create(self, path):
        """A new file, or the one that is there."""
        found = self.names.get(path)
        if found is None:
            found = self.names[path] = Inode()
            self._note(path, ((path, found),))
        return found

    def temporary(self, prefix, folder):
        """A new file with a name of its own."""
        self._temporary += 1
        path = f"{folder}/{prefix}{self._temporary:06d}"
        self.create(path)
        return path

    def replace(self, source, target):
        """Rename."""
        found = self.inode(source)
        del self.names[source]
        self.names[target] = found
        self._note(target, ((source, None), (target, found)))

    def unlink(self, path):
        """Remove a name."""
        self.inode(path)
        del self.names[path]
        self._note(path, ((path, None),))

    def _note(self, path, change):
        if self._lasts(path):
            self._unsynced.setdefault(path.rpartition("/")[0], []).append((self._clock(), change))

    def sync_folder(self, folder):
        """The names in a folder survive from now on."""
        for _, change in self._unsynced.pop(folder, ()):
            self._apply(change)

    def sync(self):
        """All files and names survive from now on (syncfs)."""
        for folder in list(self._unsynced):
            self.sync_folder(folder)
        for found in self.names.values():
            found.synced = found.data

    def _apply(self, change):
        for path, found in change:
            if found is None:
                self._durable.pop(path, None)
            else:
                self._durable[path] = found

    def lose_power(self, fate):
        """
        Leave what survives.

        fate
            :data:`LOST`, :data:`WRITTEN`, :data:`NAMES`, or a number from which each choice is drawn.
        """
        chance = random.Random(fate)
        for _, changes in sorted(self._unsynced.items()):
            old = sum(self._clock() - when >= WRITTEN_BACK for when, _ in changes)
            count = {LOST: old, WRITTEN: len(changes), NAMES: len(changes)}.get(fate)
            # In their order: a journal writes no later change without the earlier one.
            for _, change in changes[: chance.randint(old, len(changes)) if count is None else count]:
                self._apply(change)
        self._unsynced = {}
        self.names = {}
        for path, old in self._durable.items():
            kept = {LOST: False, NAMES: False, WRITTEN: True}.get(fate)
            kept = chance.random() < 0.5 if kept is None else kept
            new = Inode(old.data if kept else old.synced or b"")
            new.synced = new.data
            self.names[path] = new
        self._durable = dict(self.names)

    def put(self, path, data):
        """A file that has always been there."""
        found = self.names[path] = Inode(data)
        found.synced = data
        if self._lasts(path):
            self._durable[path] = found


class Handle:
    """An open file, or an open folder (without an inode)."""

    def __init__(self, process, number, path, inode):
        self.process, self.number, self.path, self.inode = process, number, path, inode
        process.handles.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self.number

    def write(self, data):
        here.world.step("write", self.path)
        self.inode.data += data.encode() if isinstance(data, str) else data
        self.inode.changed += 1

    def read(self):
        return self.inode.data.decode()

    def truncate(self, size):
        here.world.step("write", self.path)
        self.inode.data = self.inode.data[:size]
        self.inode.changed += 1

    def flush(self):
        pass

    def close(self):
        """Closed by its process, or by the end of it; a lock goes with it."""
        self.process.handles.discard(self)
        if self.inode is not None and self.inode.owner is self:
            self.inode.owner = None
            self.process.engine.news(self.inode)


class Status:
    """As much of ``os.stat_result`` as is asked for."""

    def __init__(self, inode):
        self.st_mtime_ns, self.st_size, self.st_ino = inode.changed, len(inode.data), inode.number
        self.st_mode = stat_bits.S_IFREG | 0o600


class SimPath(pathlib.PurePosixPath):
    """A path on the node whose process asks. Folders need not be made: they are there."""

    _made = {}

    def __truediv__(self, name):
        # The same few hundred paths, all the time.
        key = (str(self), str(name))
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = super().__truediv__(name)
        return found

    @property
    def _disk(self):
        return here.world.disk

    def read_text(self, encoding=None, errors=None):
        here.world.alive()
        return self._disk.inode(str(self)).data.decode()

    def write_text(self, text):
        with here.world.open(str(self), "w") as handle:
            handle.write(text)

    def unlink(self, missing_ok=False):
        try:
            here.world.step("unlink", str(self))
            self._disk.unlink(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def exists(self):
        return str(self) in self._disk.names or self.is_dir()

    def is_dir(self):
        return str(self) not in self._disk.names

    def mkdir(self, mode=0o777, parents=False, exist_ok=False):
        pass

    def glob(self, pattern):
        return [
            SimPath(one)
            for one in sorted(self._disk.names)
            if SimPath(one).parent == self and SimPath(one).match(pattern)
        ]

    def resolve(self):
        return self
