"""
The short way of what cron starts every minute and what then finds that it runs: the watch, the keeper.

Nearly every start is such a one. The long way judges the same by the same lock; to load what it needs takes
most of its time. This module imports nothing of the package, so that it loads in a millisecond.
"""

import fcntl
import os

#: By the command, the lock that it has for as long as it runs: see ``watch.keeper`` and ``watch.place``.
LOCKS = {"keep": "{}/keeper.lock", "watch": "watch-{}.lock"}


def is_running(words, root="/"):
    """
    Whether another process is what this command line would become.

    words
        Arguments of the program ``failback``.

    root
        Folder that stands for ``/`` (tests).

    Returns True only if it is: False may mean that it is not, that the command is another one, or that it has
    to be said what is wrong with it.
    """
    if len(words) != 2 or words[0] not in LOCKS:
        return False
    place = os.path.join(root, "run/failback", LOCKS[words[0]].format(words[1]))
    try:
        # Read only: nothing is made here.
        descriptor = os.open(place, os.O_RDONLY)
    except (OSError, ValueError):
        return False
    try:
        # Shared: two that look at the same moment do not take each other for it.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
