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

    plan, max_delete, max_change_percent, winner, reason, at_once, vms
        As in the pillar of ``orch.recover``.

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

    plan, max_delete, max_change_percent, fenced, reason, moved, at_once, vms
        As in the pillar of ``orch.failover``.

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

    plan, at_once
        As in the pillar of ``orch.boot``.

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

    moved, harmless, at_once
        As in the pillar of ``orch.adopt``.

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

    repair, limit, max_delete, at_once
        As in the pillar of ``orch.verify``.

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

    max_delete, max_change_percent
        As in the pillar of ``orch.drill``.

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

    host, away_from, how, fenced, reason
        As in the pillar of ``orch.vm``.

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
