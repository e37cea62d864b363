"""
The steps of ``orch.verify``, which compares the files of both nodes while they serve; they run on the master.

.. code-block:: yaml

    Both nodes have the same files:
      pair_verification.compared:
        - pair: web
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback.decisions import verified as decisions
from failback_master import checks
from failback_master import minions
from failback_master.surface import live

__virtualname__ = "pair_verification"

USAGE = "salt-run state.orch orch.verify pillar='{pair: <pair>}'"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_verification holds the steps of an orchestration, which run on the master."
    return __virtualname__


def _step(name, pair, would, work):
    """
    What the steps have in common: the pair is looked up, test mode changes nothing, errors are said.

    would
        A function of the pair's configuration: what the step would do and the changes it would make; None
        for a step that may be done in test mode.

    work
        A function of the configuration, the nodes and the changes, which returns the comment.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    live.SCREEN.going(f"      {name}")
    try:
        checks.require_known(__opts__, __pillar__, decisions.OPERATION)
        config = checks.configuration(checks.pairs_of(__pillar__), pair, USAGE)
        if __opts__["test"] and would:
            said, ret["changes"] = would(config)
            ret["result"] = None if ret["changes"] else True
            ret["comment"] = f"Would {said}."
            return ret
        ret["comment"] = work(config, minions.Nodes(__opts__), ret["changes"])
        ret["result"] = True
    except SaltException as error:
        ret["comment"] = str(error)
    finally:
        live.SCREEN.done()
    live.SCREEN.line(f"      {'FAILED' if ret['result'] is False else 'done'}: {name}", ret["result"])
    return ret


def _nothing(config):
    return f"{config['name']} replicates no paths, so there is nothing to compare."


def possible(name, pair=None, repair=None, limit=None, max_delete=None):
    """
    The primary serves, lsyncd carries to the secondary, and no run is at work; or refuse.

    name
        What this step is, in words.

    pair
        Name of the pair.

    repair
        True: what differs will be carried to the secondary once more.

    limit
        Seconds after which the comparison will be given up.

    max_delete
        Files that a repair may delete on the secondary.
    """

    def work(config, nodes, changes):
        wrong = decisions.problem(repair, limit, max_delete)
        if wrong:
            raise SaltInvocationError(wrong)
        if not config["replicate"]:
            return _nothing(config)
        primary, secondary, errors = nodes.reports(config)
        found = verdicts.judge(config, primary, secondary)
        if found.name != verdicts.NORMAL or found.uncompared:
            why = " ".join([found.sentence, *errors.values()])
            raise CommandExecutionError(
                f"Refused, nothing was compared. {config['name']} is {found.name}: {why} Only while lsyncd "
                f"carries from the primary to the secondary do both have the same files. First bring the "
                f"pair in order: `salt-run pair.status {config['name']}` names the command."
            )
        checks.require_free(config["name"], (primary, secondary), nodes)
        checks.require_in_step((primary, secondary))
        return found.sentence

    return _step(name, pair, None, work)


def compared(name, pair=None, repair=None, limit=None, max_delete=None):
    """
    Compare all files of both nodes by checksum, and repair what differs if that is wanted.

    It takes as long as reading all files takes at the lowest priority. Interrupted, it is ended by the node
    itself.

    name
        What this step is, in words.

    pair
        Name of the pair.

    repair
        True: what differs is carried to the secondary once more.

    limit
        Seconds after which it is given up; six hours when left out.

    max_delete
        Files that a repair may delete on the secondary; the pair's if not given.

    The state fails when files differ and were not repaired.
    """

    def work(config, nodes, changes):
        if not config["replicate"]:
            return _nothing(config)
        node, other = config["primary"]["id"], config["secondary"]["id"]
        record = nodes.one(
            node, "pair.verify", config["name"], repair=bool(repair), limit=limit, max_delete=max_delete
        )
        said = record.pop("sentence")
        if record["repaired"]:
            changes[other] = {"repaired": record["repaired"]}
        # It would not know it otherwise, if the primary died now.
        _, errors = nodes.try_all([other], "pair.keep_verified", config["name"], record)
        if record["differing"]:
            again = plans.command(decisions.OPERATION, config, repair=True)
            list_of_all = f"salt '{node}' pair.verified {config['name']}"
            raise CommandExecutionError(f"{said} All of them: `{list_of_all}`. To repair that, run: {again}")
        if errors:
            raise CommandExecutionError(f"{said} {other} was not told so: {' '.join(errors.values())}")
        return said

    def would(config):
        if not repair:
            return "compare all files by checksum", {}
        changes = {config["secondary"]["id"]: {"repaired": "what differs"}}
        return "compare all files by checksum, and repair what differs", changes

    return _step(name, pair, would, work)
