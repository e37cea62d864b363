"""A step of an orchestration that looks after no lock: ``orch.adopt``, ``orch.lease``, ``orch.retire``."""

from salt.exceptions import SaltException

from failback.errors import FailbackError
from failback_master import checks
from failback_master import minions
from failback_master.surface import live


def run(opts, pillar, operation, name, pair, would, work):
    """
    Look the pair up, do the step, and show it on the operator's terminal.

    opts, pillar
        ``__opts__`` and ``__pillar__`` of the state module.

    operation
        Name of the orchestration: ``adopt``.

    name
        What this step is, in words.

    pair
        Name of the pair.

    would
        What it is going to do, in words: ``run highstate on both nodes``. All that test mode says; None for
        a step that only looks, which test mode takes too.

    work
        A function of the pair's configuration, the :py:class:`failback_master.minions.Nodes` and the ids of
        primary and secondary. Returns changes, in test mode those it would make, and a comment.

    Returns what a state returns; a refusal or a failure is its comment.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    live.SCREEN.going(f"      {name}")
    try:
        checks.require_known(opts, pillar, operation)
        usage = f"salt-run state.orch orch.{operation} pillar='{{pair: <pair>}}'"
        config = checks.configuration(checks.pairs_of(pillar), pair, usage)
        if opts["test"] and would:
            ret.update(result=None, changes={pair: would}, comment=f"Would {would}.")
        else:
            ids = (config["primary"]["id"], config["secondary"]["id"])
            ret["changes"], ret["comment"] = work(config, minions.Nodes(opts), ids)
            ret["result"] = None if opts["test"] and ret["changes"] else True
    except (SaltException, FailbackError) as error:
        ret["comment"] = str(error)
    finally:
        live.SCREEN.done()
    live.SCREEN.line(f"      {'FAILED' if ret['result'] is False else 'done'}: {name}", ret["result"])
    return ret
