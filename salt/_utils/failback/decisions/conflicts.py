"""
Which of the files that a reverse rsync replaces somebody may miss.

Most of what a recovery overwrites or deletes on the returned node is merely old. A file is a conflict when
this node's version holds something that the serving node never had:

=============================  =========================================================================
``changed on both nodes``      here and on the serving node since that one took over
``changed here since``         here since the serving node took over
``changed here just before``   here since the serving node was last in step, which was not carried; where that
                               moment is not known, in the last seconds before
``newer here``                 the serving node's version, which replaces it, is the older one
=============================  =========================================================================

Pure. What tells is the time of the last change of a file's content (mtime).
"""

import collections
import datetime

BOTH = "changed on both nodes since the takeover"
HERE = "changed here since the takeover"
BEFORE = "changed here just before the takeover"
NEWER = "newer here than on the serving node"

#: The moment of a takeover, in seconds since the epoch, on the clock of the node whose files are replaced and
#: on that of the serving node: one of them may be an hour off. And until when, on the first, all had been
#: carried to the serving node; None where that is not known.
Takeover = collections.namedtuple("Takeover", "here there in_step", defaults=(None,))

#: Seconds by which a file's time may lie before the moment at which it was changed.
COARSE = 1.0

#: Seconds beyond what the watch and lsyncd wait for, in which a write may not have been carried.
MARGIN = 5.0


def taken_over(serving, returned):
    """
    When the serving node took over, on both nodes' clocks.

    serving, returned
        What the nodes report: ``time`` is each one's own clock at about the same moment, ``since`` in the
        ledger that of the serving node.

    Returns a ``Takeover``, or None when the serving node has no ledger.
    """
    own = serving.get("ledger")
    if not own:
        return None
    moment = datetime.datetime.strptime(own["since"], "%Y-%m-%dT%H:%M:%SZ")
    since = int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())
    in_step = own.get("in_step")
    known = isinstance(in_step, (int, float)) and not isinstance(in_step, bool)
    return Takeover(since + returned["time"] - serving["time"], since, in_step if known else None)


def just_before(config, takeover=None):
    """
    For how many seconds before a takeover a write of the lost node may be on it alone.

    takeover
        ``Takeover``, or None. Where it does not know until when all had been carried, the answer is a guess.
    """
    if takeover is not None and takeover.in_step is not None:
        return max(0.0, takeover.here - takeover.in_step) + COARSE
    return config["watch"]["patience"] + config["lsyncd"]["delay"] + MARGIN


def reason(here, there, takeover, before=MARGIN):
    """
    Why a file that is to be replaced is a conflict, or None when it is merely old.

    here
        When it was changed last on this node, in seconds since the epoch.

    there
        When the version of the serving node was; None when that node does not have the file.

    takeover
        ``Takeover``; None when nobody knows when that was.

    before
        See ``just_before``.

    Returns one of the sentences of this module.
    """
    changed_there = takeover is not None and there is not None and there >= takeover.there
    if takeover is not None and here >= takeover.here:
        return BOTH if changed_there else HERE
    # Before the other: it says more than which of two versions is the newer one.
    if takeover is not None and here >= takeover.here - before:
        return BEFORE
    # Of one that changed there since, the times are those of two clocks. Known to the second only there.
    if there is not None and not changed_there and int(here) > there:
        return NEWER
    return None
