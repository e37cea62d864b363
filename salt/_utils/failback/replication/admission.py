"""
The other node's rsync is let in to write, and to nothing but the folders that were looked at.

::

    sys.exit(admission.serve(member))

That the paths lie where they should is a fact of one moment. A file system that is unmounted after it leaves an
empty folder: deletions there succeed, what is written there is out of sight once it is mounted again, and
lsyncd would take both for carried. So:

- each folder is opened before it is looked at, and the daemon is given the open folder and not its name
  (``/proc/self/fd``, proc(5)). It stays that folder, whatever is mounted or unmounted meanwhile; and what is open
  is "busy" for an ``umount`` that is not lazy;
- when rsync has ended, the mounts of the paths are read once more. If they are others, as of a disk that is
  mounted below a path, the pass has failed: lsyncd carries the same again.
"""

import fcntl
import os
import signal
import sys

from failback.decisions import places
from failback.host import files
from failback.replication import replicated
from failback.replication import sources

#: The least number of an open folder in the daemon, above those that it uses itself.
FIRST = 100

#: What rsync(1) says of a pass that has carried a part.
PARTIAL = 23
#: Exit codes of a pass that lsyncd takes for done: all of it, and all that had not vanished.
DONE = (0, 24)


def serve(member):
    """
    Be an rsync daemon that may write to the pair's paths, on this process' input and output.

    member
        :py:class:`failback.pair.Member`. Its gate has been asked.

    Returns the exit status of rsync; :py:data:`PARTIAL` if what it wrote may lie in the wrong place.
    """
    items = [
        item
        for one in member.config["replicate"]
        for item in replicated.items_on_disk(one["path"], str(member.paths.root))
    ]
    ground = Ground(items, str(member.paths.root))
    elsewhere = sources.misplaced(member)
    if elsewhere:
        # To whoever asks: of a path that is left out rsync says only that it does not know it.
        _say(places.misplaced_sentence(member.node, elsewhere, member.pair))
    folders = {item: folder for item, folder in ground.folders().items() if item.path not in elsewhere}
    for path in sorted({item.path for item in items if item not in ground.opened} - set(elsewhere)):
        _say(f"{path} is missing on {member.node}: rsync makes a file there, but no folder.")
    target = member.volatile / "rsyncd-write.conf"
    text = replicated.daemon_config(list(folders), True, folders=folders)
    files.write_atomically(target, os.fsencode(text))
    status = _run(["rsync", "--server", "--daemon", f"--config={target}", "."])
    if status in DONE and not ground.is_unchanged():
        _say(f"Something was mounted or unmounted at the paths of {member.pair} on {member.node} meanwhile.")
        return PARTIAL
    return status


class Ground:
    """
    The folders in which some paths lie, open, and what is mounted there and below.

    items
        :py:class:`failback.replication.replicated.Item`; one whose folder is not there is left out.

    root
        Folder that stands for ``/`` (tests).
    """

    def __init__(self, items, root="/"):
        self.opened = {}
        for item in items:
            folder = os.path.join(root, item.root.lstrip("/"))
            try:
                self.opened[item] = (folder, os.open(folder, os.O_PATH | os.O_DIRECTORY))
            except OSError:
                continue
        self._roots = [os.path.realpath(folder) for folder, _ in self.opened.values()]
        self._mounts = self._read()
        # Open as well, so that its number in the kernel is given to no other one while this process lives.
        self._below = [
            os.open(point, os.O_PATH)
            for point in sources.mounts_below(self._mounts, self._roots)
            if os.path.lexists(point)
        ]
        # One that was mounted between the two is what the look at the paths will see, and not what is open.
        self._same = all(
            os.path.samestat(os.stat(folder), os.fstat(opened)) for folder, opened in self.opened.values()
        )

    def folders(self):
        """Dict of each item to the name of its open folder in a child process."""
        names = {}
        for item, (_, opened) in self.opened.items():
            # A copy that a child process inherits.
            names[item] = f"/proc/self/fd/{fcntl.fcntl(opened, fcntl.F_DUPFD, FIRST)}"
        return names

    def is_unchanged(self):
        """Whether the folders have been the places of the paths from the beginning until now."""
        return self._same and self._read() == self._mounts

    def _read(self):
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
            return sources.mounts_about(handle.read(), self._roots)


def _say(sentence):
    print(sentence, file=sys.stderr, flush=True)


def _run(words):
    """Run rsync on this process' input and output until it ends; returns its exit status."""
    # Whoever ends it tells the whole group. This process is the one that was announced, so it ends last.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.execv("/usr/bin/rsync", words)
        finally:
            os._exit(127)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status
