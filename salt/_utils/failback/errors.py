"""The ways in which this package says no. A message is a sentence that an operator can act on."""

import errno


class FailbackError(Exception):
    """Anything this package reports to its caller."""


class Refused(FailbackError):
    """Nothing was changed: the message says what was found, why that is dangerous, what to run next."""


class Unreadable(FailbackError):
    """A file of ours is empty, cut off, or written by a newer version."""


class Unavailable(FailbackError):
    """Something that must answer did not, or an operation of the system failed."""


def of_the_system(error):
    """
    An ``OSError`` in words: what the operating system said, and for a full or broken disk what to do.

    Returns a ``str``.
    """
    # A write does not know the name of its file; the lists and the backup of a run are what is written here.
    where = " on a disk of this node (/var/lib/failback: see df)"
    if error.filename:
        where = f" for {error.filename}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space is left{where}. Nothing was done after that; what was overwritten before is in the "
            f"run's backup. Make room on that file system (old runs lie in /var/lib/failback/<pair>/runs), "
            f"then run the same command again: it continues."
        )
    if error.errno in (errno.EROFS, errno.EIO):
        return (
            f"{error}. The disk may be failing: nothing was done after that. Look at the kernel's log on "
            f"that node (journalctl -k), then run the same command again: it continues."
        )
    return str(error)
