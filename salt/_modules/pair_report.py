"""
What this node knows of a run, and of the lag, for the pages about them. Functions of the module ``pair``, by
its virtual name.

.. code-block:: bash

    salt 'salt1' pair.run_details salt 20261122T183000-recover-salt-4f2a
"""

import calendar
import time

import salt_errors
from failback.decisions import lag_history
from failback.decisions import moments
from failback.errors import FailbackError
from failback.host import journal_lines
from failback.monitoring import lags as history
from failback.recovery import listed
from failback.state import runs
from salt_node import member as _member

__virtualname__ = "pair"

#: Seconds of the log before and after a run that belong to it.
AROUND = 30

#: Seconds of the log of a run that never closed.
UNCLOSED = 1800


def __virtual__():
    return __virtualname__


@salt_errors.translated
def run_details(pair, run, names=500, lines=500):
    """
    Tell what this node has kept of a run: its record, its files by kind, the log of that time.

    pair
        Name of the pair.

    run
        Id of the run.

    names
        How many file names of each kind for each path; the counts are complete.

    lines
        How many lines of the log.

    Returns ``record`` (or None), ``files`` (see ``failback.recovery.listed``), ``log`` (a list of ``time``,
    ``priority``, ``text``) and ``log_error``, why there is none, or None.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.run_details salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)
    runs.require_id(run)
    record = member.runs.read(run)
    found = {"record": record, "files": listed.of_run(member, run, int(names)), "log": [], "log_error": None}
    begun = moments.epoch((record or {}).get("started")) or _epoch_of_id(run)
    ended = moments.epoch((record or {}).get("finished")) or begun + UNCLOSED
    try:
        found["log"] = journal_lines.of(begun - AROUND, ended + AROUND, int(lines))
    except FailbackError as error:
        found["log_error"] = str(error)
    return found


@salt_errors.translated
def lags(pair):
    """
    Tell how far the standby was behind, hour by hour, as this node knew it: of the last 90 days.

    pair
        Name of the pair.

    Returns a list of ``[begin, worst]``, oldest first: when the hour begins, in seconds since the epoch, and
    its worst lag in seconds. An hour in which the node did not know the lag is not in it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.lags salt
    """
    return lag_history.as_list(history.Lags(_member(pair)).read())


def _epoch_of_id(run):
    return calendar.timegm(time.strptime(run.partition("-")[0], "%Y%m%dT%H%M%S"))
