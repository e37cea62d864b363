"""
One orchestration on several pairs, as a state that runs on the master.

.. code-block:: yaml

    Every pair that needs it has come home:
      cluster_run.succeeded:
        - operation: recover
        - pairs: all
"""

from salt.exceptions import SaltException

from failback.decisions import order
from failback.decisions import verified
from failback.errors import FailbackError
from failback_master import checks
from failback_master import cluster

__virtualname__ = "cluster_run"


def __virtual__():
    # A step of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "cluster_run is a step of an orchestration, which runs on the master."
    return __virtualname__


def succeeded(
    name,
    operation,
    pairs,
    at_once=None,
    max_delete=None,
    max_change_percent=None,
    repair=None,
    limit=None,
    **overrides,
):
    """
    Do an operation to several pairs, in the order of ``after``, some of them at once.

    One pair's failure does not stop the others. The state succeeds when all of them did, or had nothing
    to do.

    name
        What this step is, in words.

    operation
        ``recover``, ``failover``, ``boot``, ``adopt`` or ``verify``.

    pairs
        ``all``, or a list of names.

    at_once
        How many pairs at the same time; 4 when left out, and 1 for ``verify``.

    max_delete
        For each of them: allow this run so many deletions, in files, instead of the pillar's.

    max_change_percent
        For each of them: allow this run so many changes, in percent of the files of a path, instead of the
        pillar's.

    repair
        For ``verify``, True: what differs is carried to the secondary once more.

    limit
        For ``verify``: seconds after which the comparison of a pair is given up; six hours when left out.

    overrides
        What belongs to one pair alone, such as ``plan`` or ``winner``: refused when it is given.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    given = sorted(key for key, value in overrides.items() if value is not None and not key.startswith("__"))
    if given:
        ret["comment"] = f"{', '.join(given)} can be said of one pair only. Nothing was done."
        return ret
    if at_once is None:
        # Each comparison reads all files.
        at_once = 1 if operation == verified.OPERATION else order.AT_ONCE
    if isinstance(at_once, bool) or not isinstance(at_once, int) or not 1 <= at_once <= 64:
        ret["comment"] = f"at_once must be a whole number from 1 to 64, not {at_once!r}. Nothing was done."
        return ret
    limits = {
        "max_delete": max_delete,
        "max_change_percent": max_change_percent,
        "repair": repair,
        "limit": limit,
    }
    try:
        checks.require_known(__opts__, __pillar__, operation)
        known = checks.pairs_of(__pillar__)
        outcomes = cluster.Cluster(
            __opts__,
            known,
            order.chosen(pairs, known),
            operation,
            at_once,
            __opts__["test"],
            {key: value for key, value in limits.items() if value is not None},
        ).run()
    except (SaltException, FailbackError) as error:
        ret["comment"] = str(error)
        return ret
    failed = [pair for pair, one in outcomes.items() if one["result"] is False]
    idle = [pair for pair, one in outcomes.items() if one["result"] and not one["seconds"]]
    would = [pair for pair, one in outcomes.items() if one["result"] is None]
    ret["changes"] = {pair: one for pair, one in sorted(outcomes.items()) if pair not in idle}
    ret["result"] = False if failed else None if would else True
    done = len(outcomes) - len(failed) - len(idle) - len(would)
    parts = [f"{done} done"] if done else []
    parts += [f"{len(would)} would be done: {', '.join(sorted(would))}"] if would else []
    parts += [f"{len(idle)} had nothing to do: {', '.join(sorted(idle))}"] if idle else []
    parts += [f"{len(failed)} failed: {', '.join(sorted(failed))}"] if failed else []
    ret["comment"] = f"{operation} of {len(outcomes)} pairs: {'; '.join(parts)}."
    return ret
