"""
The other node's rsync is let in to write, and to nothing but the folders that were looked at.

::

    sys.exit(admission.serve(member))

That the paths lie where they should is a fact of one moment. A file system that is unmounted after it leaves
an empty folder: deletions there succeed, what is written there is out of sight once it is mounted again, and
lsyncd would take both for carried. So:

- each folder is opened before it is looked at, and the daemon is given the open folder and not its name
  (``/proc/self/fd``, proc(5)). It stays that folder, whatever is mounted or unmounted meanwhile; and what is
  open is "busy" for an ``umount`` that is not lazy;
- its configuration, which names them by number, is a file of its own;
- when rsync has ended, the mounts of the paths are read once more. If they are others, as of a disk that is
  mounted below a path, the pass has failed: lsyncd carries the same again.
"""

import contextlib
import os
import sys

from failback.decisions import places
from failback.host import files
from failback.replication import admitted
from failback.replication import replicated
from failback.replication import sources

#: More open folders than this have no short way.
FEW = 40


def serve(member, before=None):
    """
    Be an rsync daemon that may write to the pair's paths, on this process' input and output.

    member
        :py:class:`failback.pair.Member`. Its gate has been asked.

    before
        What :py:func:`facts` returned before the gate was asked; the answer is then kept for the next one.

    Returns the exit status of rsync; ``admitted.PARTIAL`` if what it wrote may lie in the wrong place.
    """
    # Where it is told when all was carried last. Without the folder rsync refuses that one file alone.
    with contextlib.suppress(OSError):
        files.make_folder(member.volatile / replicated.IN_STEP)
    items = items_of(member)
    ground = Ground(items, str(member.paths.root))
    elsewhere = sources.misplaced(member)
    if elsewhere:
        # To whoever asks: of a path that is left out rsync says only that it does not know it.
        _say(places.misplaced_sentence(member.node, elsewhere, member.pair))
    names = {item: number for item, number in ground.numbers().items() if item.path not in elsewhere}
    for path in sorted({item.path for item in items if item not in ground.opened} - set(elsewhere)):
        _say(f"{path} is missing on {member.node}: rsync makes a file there, but no folder.")
    folders = {item: f"/proc/self/fd/{number}" for item, number in names.items()}
    text = os.fsencode(replicated.daemon_config(list(folders), True, folders=folders))
    if before is not None and list(names) == items and len(items) + len(ground.below) < FEW:
        _keep(member, before, ground, names, text)
    status = admitted.run(str(member.volatile), text)
    if status in admitted.DONE and not ground.is_unchanged():
        _say(f"Something was mounted or unmounted at the paths of {member.pair} on {member.node} meanwhile.")
        return admitted.PARTIAL
    return status


def items_of(member):
    """The paths as this node has them, two for one that could become a file or folder; and the one beside."""
    paths, root = [one["path"] for one in member.config["replicate"]], str(member.paths.root)
    items = [item for path in paths for item in replicated.items_on_disk(path, root)]
    return [*items, replicated.in_step(member.pair)]


def facts(member):
    """What the answer to the other node is made from (:py:mod:`failback.replication.admitted`), or None."""
    root = str(member.paths.root)
    items = items_of(member)
    folders = [item.under(root) for item in items]
    try:
        return admitted.facts(root, member.pair, [item.path for item in items], folders)
    except OSError:
        return None


def _keep(member, before, ground, names, text):
    """Keep the answer for the next one, if what it was made from has been the same all the time."""
    if not ground.is_unchanged() or facts(member) != before:
        return
    answer = {
        "facts": before,
        "paths": [item.path for item in names],
        "folders": [ground.opened[item][0] for item in names],
        "numbers": list(names.values()),
        "below": ground.points,
        "text": text,
    }
    admitted.keep(str(member.volatile), answer)


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
            folder = item.under(root)
            try:
                self.opened[item] = (folder, os.open(folder, os.O_PATH | os.O_DIRECTORY))
            except OSError:
                continue
        self._roots = [os.path.realpath(folder) for folder, _ in self.opened.values()]
        self._mounts = self._read()
        # Open as well, so that its number in the kernel is given to no other one while this process lives.
        self.points = [
            point for point in sources.mounts_below(self._mounts, self._roots) if os.path.lexists(point)
        ]
        self.below = [os.open(point, os.O_PATH) for point in self.points]
        # One that was mounted between the two is what the look at the paths will see, and not what is open.
        self._same = all(
            os.path.samestat(os.stat(folder), os.fstat(opened)) for folder, opened in self.opened.values()
        )

    def numbers(self):
        """Dict of each item to the number of its open folder in a child process."""
        return {item: admitted.for_a_child(opened) for item, (_, opened) in self.opened.items()}

    def is_unchanged(self):
        """Whether the folders have been the places of the paths from the beginning until now."""
        return self._same and self._read() == self._mounts

    def _read(self):
        with open(admitted.MOUNTS, encoding="utf-8", errors="surrogateescape") as handle:
            return sources.mounts_about(handle.read(), self._roots)


def _say(sentence):
    print(sentence, file=sys.stderr, flush=True)
