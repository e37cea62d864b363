"""
The orchestrations by the names that an operator guesses; functions of the runner ``pair``, by its virtual
name.

.. code-block:: bash

    salt-run pair.recover salt
    salt-run pair.failover monitor
    salt-run pair.boot all

Each runs the very SLS that ``state.orch`` runs, with what is given as its pillar. A word that the
orchestration does not know is refused, whoever calls: the command line, salt-api, another runner. The exit
status is 0 only if the run succeeded.
"""

from failback_master.surface import states
from failback_master.surface.command import command

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


def _run(orchestration, test, given):
    """Run an orchestration; its outcome, with ``retcode``, for the outputter of this tree."""
    pillar = {key: value for key, value in given.items() if value is not None}
    returned = __salt__["state.orch"](f"orch.{orchestration}", pillar=pillar, test=True if test else None)
    outcome = states.outcome(states.in_order(returned))
    return {**outcome, "retcode": returned["retcode"]}


@command
def recover(
    pair=None,
    plan=None,
    max_delete=None,
    max_change_percent=None,
    winner=None,
    reason=None,
    at_once=None,
    vms=None,
    test=False,
):
    """
    Bring the primary of a pair home, or repair a pair that has drifted: ``orch.recover``.

    pair
        Name of the pair, ``all``, or a list of names.

    plan
        Digest that ``salt-run pair.plan`` printed: the run stops if the facts have moved since.

    max_delete
        Files that this run may delete, in all paths together, instead of the pillar's
        ``recovery.max_delete``.

    max_change_percent
        Changes that this run may make, in percent of the files of a path, instead of the pillar's.

    winner
        After a split-brain: the node whose data count. What the other one alone has goes to the backup.

    reason
        Why, for the history; needed with ``winner``.

    at_once
        How many pairs at the same time, a whole number; 4 when left out.

    vms
        ``move``: guests that run follow the pair to its active node. Left out, they stay where they are.

    test
        Only say what would be done.

    Returns a dict: ``result`` (None for a test that would do something), ``sentence``, ``refused`` (nothing
    was changed), ``failed_step``, ``steps``, ``pairs``, ``summary``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run pair.recover salt
        salt-run pair.recover salt max_delete=300
    """
    return _run(
        "recover",
        test,
        {
            "pair": pair,
            "plan": plan,
            "max_delete": max_delete,
            "max_change_percent": max_change_percent,
            "winner": winner,
            "reason": reason,
            "at_once": at_once,
            "vms": vms,
        },
    )


@command
def failover(
    pair=None,
    plan=None,
    max_delete=None,
    max_change_percent=None,
    fenced=None,
    reason=None,
    moved=None,
    at_once=None,
    vms=None,
    test=False,
):
    """
    Move a pair to its secondary: ``orch.failover``.

    pair
        Name of the pair, ``all``, or a list of names.

    plan
        Digest that ``salt-run pair.plan`` printed: the run stops if the facts have moved since.

    max_delete
        Files that this run may delete, in all paths together, instead of the pillar's
        ``recovery.max_delete``.

    max_change_percent
        Changes that this run may make, in percent of the files of a path, instead of the pillar's.

    fenced
        The node that does not answer because it is off, by the operator's word.

    reason
        How the operator knows that the node is off, for the history; needed with ``fenced``.

    moved
        With ``fenced``: True says that the data of the node that is to serve are where they lie now, although
        they lay elsewhere.

    at_once
        How many pairs at the same time, a whole number; 4 when left out.

    vms
        ``move``: guests that run follow the pair to its active node. Left out, they stay where they are.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.failover monitor
        salt-run pair.failover monitor fenced=monitor1 reason='burnt power supply'
    """
    return _run(
        "failover",
        test,
        {
            "pair": pair,
            "plan": plan,
            "max_delete": max_delete,
            "max_change_percent": max_change_percent,
            "fenced": fenced,
            "reason": reason,
            "moved": moved,
            "at_once": at_once,
            "vms": vms,
        },
    )


@command
def boot(pair=None, plan=None, at_once=None, test=False):
    """
    Start a pair of which no node serves: ``orch.boot``.

    pair
        Name of the pair, ``all``, or a list of names.

    plan
        Digest that ``salt-run pair.plan`` printed: the run stops if the facts have moved since.

    at_once
        How many pairs at the same time, a whole number; 4 when left out.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.boot salt
    """
    return _run("boot", test, {"pair": pair, "plan": plan, "at_once": at_once})


@command
def adopt(pair=None, moved=None, harmless=None, at_once=None, test=False):
    """
    Set a new pair up, once: ``orch.adopt``.

    pair
        Name of the pair, ``all``, or a list of names.

    moved
        True: paths that lie elsewhere than they did were moved on purpose.

    harmless
        List of scripts, as absolute paths, that somebody has read, and that do not do what their words look
        like.

    at_once
        How many pairs at the same time, a whole number; 4 when left out.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.adopt salt
    """
    return _run("adopt", test, {"pair": pair, "moved": moved, "harmless": harmless, "at_once": at_once})


@command
def verify(pair=None, repair=None, limit=None, max_delete=None, at_once=None, test=False):
    """
    Compare all files of both nodes by checksum, while the pair serves: ``orch.verify``.

    pair
        Name of the pair, ``all``, or a list of names.

    repair
        True: what differs is carried to the secondary once more.

    limit
        Seconds after which the comparison is given up; six hours when left out.

    max_delete
        Files that a repair may delete on the secondary, instead of the pillar's ``recovery.max_delete``.

    at_once
        How many pairs at the same time, a whole number; 1 when left out.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.verify salt
        salt-run pair.verify salt repair=True
    """
    given = {"pair": pair, "repair": repair, "limit": limit, "max_delete": max_delete, "at_once": at_once}
    return _run("verify", test, given)


@command
def drill(pair=None, max_delete=None, max_change_percent=None, test=False):
    """
    Move a pair to its secondary and home again, to see that it works: ``orch.drill``.

    pair
        Name of the pair.

    max_delete
        Files that this run may delete, in all paths together, instead of the pillar's
        ``recovery.max_delete``.

    max_change_percent
        Changes that this run may make, in percent of the files of a path, instead of the pillar's.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.drill salt
    """
    given = {"pair": pair, "max_delete": max_delete, "max_change_percent": max_change_percent}
    return _run("drill", test, given)


@command
def retire(pair=None, test=False):
    """
    Make two ordinary machines of a pair; the service stays where it is: ``orch.retire``.

    pair
        Name of the pair.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.retire web
    """
    return _run("retire", test, {"pair": pair})


@command
def vm(vm=None, host=None, away_from=None, how=None, fenced=None, reason=None, test=False):
    """
    Put a virtual machine on one of the two hosts that share its storage: ``orch.vm``.

    vm
        Name of the guest, or ``all``.

    host
        Minion id of the host where it should run.

    away_from
        Or that of the host that it should leave; guests that run nowhere stay off then.

    how
        ``live``, also when left out, or ``restart``: an orderly shutdown there and a start here.

    fenced
        Minion id of the other host, when the operator knows that it is off and it does not answer.

    reason
        How the operator knows, for the history; needed with ``fenced``.

    test
        Only say what would be done.

    Returns what ``pair.recover`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run pair.vm idm host=mgmt2
        salt-run pair.vm all away_from=mgmt1
    """
    given = {"vm": vm, "host": host, "away_from": away_from, "how": how, "fenced": fenced, "reason": reason}
    return _run("vm", test, given)
