"""
What a drill has beside the steps of ``orch.failover`` and ``orch.recover``; it runs on the master.

.. code-block:: yaml

    The pair is ready, and this master can bring it home:
      pair_drill.possible:
        - pair: web
"""

import time

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException

from failback.decisions import drill as decisions
from failback.decisions import verdict as verdicts
from failback.host import system
from failback_master import checks
from failback_master import minions
from failback_master import orchestration
from failback_master.surface import live

__virtualname__ = "pair_drill"

USAGE = "salt-run state.orch orch.drill pillar='{pair: <pair>}'"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_drill holds the steps of an orchestration, which run on the master."
    return __virtualname__


def possible(name, pair=None):
    """
    The pair is ready in every way, and whatever would refuse to bring it home again does not; or refuse.

    Nothing is changed. ``pair_run.opened`` refuses what it always refuses, before either way.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    live.SCREEN.going(f"      precheck   {pair}: is it ready?")
    try:
        checks.require_known(__opts__, __pillar__, decisions.OPERATION)
        config = checks.configuration(checks.pairs_of(__pillar__), pair, USAGE)
        nodes = minions.Nodes(__opts__)
        found = _require_ready(config, nodes)
        if not __opts__["test"]:
            # What was ready a minute ago is not known to be so.
            ids = (config["primary"]["id"], config["secondary"]["id"])
            nodes.try_all(ids, "pair.look", pair, look=checks.LOOKS_WITHIN)
            found = _require_ready(config, nodes)
        ret["comment"] = f"{pair} is ready. {found.sentence}"
        ret["result"] = True
    except SaltException as error:
        ret["comment"] = f"Refused, nothing was changed. {error}"
    finally:
        live.SCREEN.done()
    return ret


def _require_ready(config, nodes):
    """The verdict of a pair that is ready for a drill. Raises ``CommandExecutionError`` for any other."""
    pair = config["name"]
    primary, secondary, errors = nodes.reports(config)
    found = verdicts.judge(config, primary, secondary)
    reports = [one for one in (primary, secondary) if one]
    checks.require_free(pair, reports, nodes)
    checks.require_in_step(reports)
    there = nodes.one(primary["node"], "shared_vm.running", pair) if config["vms"] and primary else []
    refusal = decisions.refusal(config, found, reports, there, system.boot_id())
    if refusal:
        raise CommandExecutionError(" ".join([refusal, *errors.values()]))
    return found


def ended(name, pair=None):
    """
    Keep on both nodes that the pair has gone there and back, and say how long nobody served on either way.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        config = checks.configuration(checks.pairs_of(__pillar__), pair, USAGE)
        if __opts__["test"]:
            ret["result"] = None
            ret["changes"] = {"drill": "how long nobody served on either way"}
            ret["comment"] = f"Would keep on both nodes how long nobody served {pair} on either way."
            return ret
        runs = {run.operation: run for run in __context__.pop(orchestration.CLOSED, [])}
        record = {
            "at": round(time.time(), 1),
            "windows": {
                operation: run.facts["window_milliseconds"]
                for operation, run in runs.items()
                if "window_milliseconds" in run.facts
            },
            "runs": {operation: run.id for operation, run in runs.items()},
        }
        problem = decisions.incomplete(record)
        if problem:
            raise CommandExecutionError(problem)
        ids = (config["primary"]["id"], config["secondary"]["id"])
        minions.Nodes(__opts__).all(ids, "pair.keep_drilled", pair, record)
        ret["changes"] = {"drill": record}
        ret["comment"] = decisions.outcome(config, record)
        ret["result"] = True
    except SaltException as error:
        ret["comment"] = str(error)
    return ret
