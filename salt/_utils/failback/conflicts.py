"""
Which of the files that a reverse rsync replaces somebody may miss.

Most of what a recovery overwrites or deletes on the returned node is merely old. A file is a conflict when
this node's version holds something that the serving node never had:

=============================  =========================================================================
``changed on both nodes``      here and on the serving node since that one took over
``changed here since``         here since the serving node took over
``changed here just before``   here in the last seconds before, which lsyncd may not have carried
``newer here``                 the serving node's version, which replaces it, is the older one
=============================  =========================================================================

Pure. What tells is the time of the last change of a file's content (mtime).
"""

import calendar
import time

BOTH = "changed on both nodes since the takeover"
HERE = "changed here since the takeover"
BEFORE = "changed here just before the takeover"
NEWER = "newer here than on the serving node"

#: Seconds beyond what the watch and lsyncd wait for, in which a write may not have been carried.
MARGIN = 5.0


def taken_over(serving, returned):
    """
    When the serving node took over, on the clock of the returned one.

    serving, returned
        What the nodes report: ``time`` is each one's own clock at about the same moment, ``since`` in the
        ledger that of the serving node.

    Returns seconds since the epoch, or None when the serving node has no ledger.
    """
    own = serving.get("ledger")
    if not own:
        return None
    since = calendar.timegm(time.strptime(own["since"], "%Y-%m-%dT%H:%M:%SZ"))
    return since + returned["time"] - serving["time"]


def just_before(config):
    """For how many seconds before a takeover a write of the lost node may be on it alone."""
    return config["watch"]["patience"] + config["lsyncd"]["delay"] + MARGIN


def reason(here, there, takeover, before=MARGIN):
    """
    Why a file that is to be replaced is a conflict, or None when it is merely old.

    here
        When it was changed last on this node, in seconds since the epoch.

    there
        When the version of the serving node was; None when that node does not have the file.

    takeover
        When the serving node took over, on this node's clock; None when nobody knows.

    before
        See ``just_before``.

    Returns one of the sentences of this module.
    """
    if takeover is not None and here >= takeover:
        return BOTH if there is not None and there >= takeover else HERE
    # Before the other: it says more than which of two versions is the newer one.
    if takeover is not None and here >= takeover - before:
        return BEFORE
    # The serving node's time is known to the second only.
    if there is not None and int(here) > there:
        return NEWER
    return None
