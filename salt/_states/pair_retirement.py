"""
The steps of ``orch.retire``, which makes two ordinary machines of a pair; they run on the master.

.. code-block:: yaml

    Neither node knows the pair any more:
      pair_retirement.forgotten:
        - pair: web
"""

from salt.exceptions import CommandExecutionError

from failback.decisions import retirement
from failback.decisions import verdict as verdicts
from failback_master import checks
from failback_master import highstate
from failback_master import orchestration
from failback_master import step

__virtualname__ = "pair_retirement"

#: Where the steps of one orchestration find what the first of them has seen.
CONTEXT = "failback.retirement"
#: A pillar without a pair, for the highstate of a node that is to be in none.
NO_PAIR = {"pairs": None}


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_retirement holds the steps of an orchestration, which run on the master."
    return __virtualname__


def _step(name, pair, would, work):
    return step.run(__opts__, __pillar__, "retire", name, pair, would, work)


def possible(name, pair=None):
    """
    Both nodes answer, it is clear who serves, and no run is at work; or refuse before anything is changed.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        known, verdict = _look(config, nodes, ids)
        refusal = retirement.refusal(config, verdict, known)
        if refusal:
            raise CommandExecutionError(f"Refused, nothing was changed. {refusal}")
        __context__[CONTEXT] = verdict
        if not known:
            return {}, f"Neither {ids[0]} nor {ids[1]} knows {pair} any more."
        return (
            {},
            f"{pair} may be retired. {verdict.sentence if verdict else f'{known[0]} alone still knows it.'}",
        )

    return _step(name, pair, None, work)


def _look(config, nodes, ids):
    """The nodes that still know the pair, and the verdict if both do. Raises while a run is at work."""
    known = [node for node, one in nodes.all(ids, "pair.remains", config).items() if one["known"]]
    known = [node for node in ids if node in known]
    if len(known) < 2:
        return known, None
    reports = nodes.all(ids, "pair.report", config["name"])
    checks.require_free(config["name"], reports.values(), nodes)
    for node in known:
        there = nodes.one(node, "shared_vm.running", config["name"]) if config["vms"] else []
        if there:
            raise CommandExecutionError(
                f"Refused, nothing was changed. {node} runs {', '.join(there)}, and nothing would keep the "
                f"other host from running them as well. Shut them down first."
            )
    return known, verdicts.judge(config, *(reports[node] for node in ids))


def carried(name, pair=None):
    """
    lsyncd has carried to the standby what there was.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        verdict = __context__.get(CONTEXT)
        if verdict is None or verdict.active != ids[0] or not config["replicate"]:
            return {}, "Nothing is carried now."
        if not nodes.one(ids[0], "lsyncd.status", pair)["running"]:
            return {}, f"lsyncd does not run on {ids[0]}; what {ids[1]} has is as old as that."
        nodes.one(ids[0], "lsyncd.drain", pair, limit=60)
        return {}, f"{ids[1]} has what {ids[0]} had."

    return _step(name, pair, "wait until lsyncd has carried what there is", work)


def forgotten(name, pair=None):
    """
    Neither node knows the pair any more: no watch, no keeper, no lsyncd, no way in for the other one.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        verdict = __context__.get(CONTEXT)
        serving = retirement.active(verdict) or ids[0]
        run = orchestration.Run(__opts__, config, "retire")
        known, _ = _look(config, nodes, ids)
        if len(known) == 2:
            run.lock()
        changes = {}
        try:
            # Who serves last: what stands by must not take it for dead when it falls silent.
            for node in sorted(ids, key=lambda one: one == serving):
                answers, errors = nodes.try_all(
                    [node], "state.apply", "pair.retired", queue=True, pillar=NO_PAIR
                )
                wrong = [*errors.values(), *highstate.failures(answers)]
                if wrong:
                    raise CommandExecutionError(f"{' '.join(wrong)} Fix the cause, then run this again.")
                changed = [one["__id__"] for one in answers[node].values() if one["changes"]]
                if changed:
                    changes[node] = sorted(changed)
        finally:
            run.let_go()
            nodes.try_all(known, "pair.unlock", pair, run.id)
        return changes, f"Neither {ids[0]} nor {ids[1]} knows {pair} any more."

    return _step(
        name, pair, "take the pair's configuration, watch, keeper, lsyncd and keys from both nodes", work
    )


def told(name, pair=None):
    """
    Say what is left on both nodes, with the commands.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        found = nodes.all(ids, "pair.remains", config)
        still = [node for node in ids if found[node]["known"]]
        if still:
            raise CommandExecutionError(f"{' and '.join(still)} still knows {pair}. Run this again.")
        return {}, retirement.outcome(config, [found[node] for node in ids], __context__.get(CONTEXT))

    return _step(name, pair, "say what is left", work)
