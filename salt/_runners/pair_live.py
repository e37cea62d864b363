"""
What somebody looks at while it happens; functions of the runner ``pair``, by its virtual name.

.. code-block:: bash

    salt-run pair.watch                     the table of all pairs, every two seconds
    salt-run pair.follow salt               the run that somebody else has begun, step by step

Both only look. They end with Ctrl-C, or after ``times`` looks.
"""

import sys
import time

from salt.exceptions import SaltInvocationError

from failback.decisions import advice
from failback_master import minions
from failback_master.surface import answers
from failback_master.surface import following
from failback_master.surface import live
from failback_master.surface.command import command
from failback_master.surface.command import plain

__virtualname__ = "pair"

#: From the top left corner, what was there before is gone.
CLEAR = "\033[H\033[J"


def __virtual__():
    return __virtualname__


@command
def watch(pair=None, every=2, times=None):
    """
    Show the table of a pair or of all, again and again.

    pair
        Name of the pair; all of them when left out.

    every
        Seconds from one look to the next. Each is a job on all nodes.

    times
        How many looks; without end when left out.

    Returns what ``pair.status`` returns, of the last look.

    CLI Example:

    .. code-block:: bash

        salt-run pair.watch
        salt-run pair.watch every=5
    """
    _require_looks(every, times)
    looks = 0
    while True:
        begun = time.monotonic()
        found = plain(__salt__["pair.status"](pair))
        if "pairs" not in found:
            return found
        looks += 1
        if looks == times:
            return found
        text = "\n".join(answers.lines(found, live.columns(), time.time()))
        print(f"{CLEAR if sys.stdout.isatty() else ''}{text}", flush=True)
        # What is shown is a series in time; there is nothing to wait for but time.
        time.sleep(max(0.0, every - (time.monotonic() - begun)))


@command
def follow(pair=None, every=1, times=None):
    """
    Print the steps of the runs that are at work, whoever has begun them and on whichever master, to their
    end.

    pair
        Name of the pair; all of them when left out.

    every
        Seconds from one look to the next.

    times
        How many looks; when left out, until no run is at work any more.

    Returns ``{"comment": …}``: how the runs have ended, or that none was at work. The exit status is 0
    unless one of them did not succeed.

    CLI Example:

    .. code-block:: bash

        salt-run pair.follow salt
    """
    _require_looks(every, times)
    nodes_of = plain(__salt__["pair.nodes"](pair))
    if "error" in nodes_of:
        return nodes_of
    nodes = minions.Nodes(__opts__, master_within=0)
    seen, followed, looks = {}, {}, 0
    while True:
        begun = time.monotonic()
        ids = [node for both in nodes_of.values() for node in both]
        reports, _ = nodes.try_all(ids, "pair.report", look=minions.GLANCE_WITHIN, gone=1)
        found = {
            name: advice.living([reports[node] for node in both if node in reports])
            for name, both in nodes_of.items()
        }
        for line in following.lines(seen, found):
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
        followed.update({one["run"]: name for name, one in found.items() if one})
        seen, looks = found, looks + 1
        if looks == times or not any(found.values()):
            break
        time.sleep(max(0.0, every - (time.monotonic() - begun)))
    if not followed:
        return {"comment": "No run is at work."}
    kept = plain(__salt__["pair.history"](pair))
    if "runs" not in kept:
        return kept
    ends = [following.ended(run, kept["runs"]) for run in sorted(followed)]
    return {
        "comment": "\n".join(text for text, _ in ends),
        "retcode": 0 if all(good for _, good in ends) else 1,
    }


def _require_looks(every, times):
    if isinstance(every, bool) or not isinstance(every, (int, float)) or every < 0.5:
        raise SaltInvocationError(f"every must be a number of 0.5 or more, not {every!r}.")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise SaltInvocationError(f"times must be a whole number of 1 or more, not {times!r}.")
