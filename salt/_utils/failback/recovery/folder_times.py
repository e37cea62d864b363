"""
The times of the folders in which an undo changes something: they are as before when it has ended.

An undo that is killed leaves folders with new times. So the old ones are written down before anything is
changed, for the two that may come next: another undo of the same run, and the undo of the one that was
killed. What is written down goes when the undo has ended.
"""

import contextlib
import json
import os

from failback.host import files
from failback.recovery import backup


class FolderTimes:
    """
    Those of one pass in one replicated path.

    item, tree
        The path, and its :py:class:`failback.host.beneath.Tree`.

    earlier
        Files in which an undo that was killed may have written them down; the first that has a folder counts.

    places
        Files in which this one does.
    """

    def __init__(self, item, tree, earlier, places):
        self._item, self._tree = item, tree
        self._earlier, self._places = earlier, places
        self._times = {}

    def note(self, names):
        """Of the folders above these names, as they are now or were before an undo that was killed."""
        for place in self._earlier:
            for name, device, inode, mtime_ns in _entries(self._item, place):
                self._times.setdefault(name, (device, inode, mtime_ns))
        for above in {os.path.dirname(name) for name in names} - self._times.keys():
            with contextlib.suppress(OSError), self._tree.folder(above) as folder:
                self.know(above, os.fstat(folder))
        for place in self._places:
            files.make_folder(place.parent)
            with open(place, "w", encoding="utf-8", opener=files.private) as handle:
                for name, (device, inode, mtime_ns) in self._times.items():
                    entry = {
                        "path": backup.absolute(self._item, name),
                        "device": device,
                        "inode": inode,
                        "mtime_ns": mtime_ns,
                    }
                    handle.write(json.dumps(entry) + "\n")
                handle.flush()
                os.fsync(handle.fileno())

    def know(self, name, status, mtime_ns=None):
        """The folder of a name is that of ``os.stat``'s result; its time is that one or another."""
        self._times[name] = (
            status.st_dev,
            status.st_ino,
            status.st_mtime_ns if mtime_ns is None else mtime_ns,
        )

    def give_back(self):
        """Set them, in the folders that are still the same."""
        for name, (device, inode, mtime_ns) in self._times.items():
            with contextlib.suppress(OSError), self._tree.folder(name) as folder:
                status = os.fstat(folder)
                if (status.st_dev, status.st_ino) == (device, inode):
                    os.utime(folder, ns=(mtime_ns, mtime_ns))

    def forget(self):
        """The undo has ended: what comes next is to find the folders as they are then."""
        for place in self._places:
            place.unlink(missing_ok=True)


def _entries(item, place):
    for line in backup.lines_of(place):
        # A power failure may have cut the last one off, and then nothing was changed yet.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            numbers = [int(entry[key]) for key in ("device", "inode", "mtime_ns")]
            yield (backup.relative(item, entry["path"]), *numbers)
