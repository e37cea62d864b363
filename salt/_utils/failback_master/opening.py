"""
The opening of a run: look, decide, check all that can be checked, and take the pair; or refuse.

Nothing is changed on a node before :func:`take`.
"""

import contextlib

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback.decisions import plan as plans
from failback_master import checks
from failback_master import orchestration


def planned(opts, pillar, pair, operation, plan, allowed, overrides):
    """
    Look, decide, and check all that can be checked before anything changes.

    opts, pillar
        The master's, as a state of an orchestration has them.

    pair, operation, plan
        As for the state ``pair_run.opened``.

    allowed
        ``max_delete`` and ``max_change_percent`` for this run, or None for the pair's.

    overrides
        As for :py:func:`failback_master.checks.require_overrides`.

    Returns the run and the nodes' reports. Raises ``SaltException`` with what speaks against it.
    """
    usage = f"salt-run state.orch orch.{operation} pillar='{{pair: <pair>}}'"
    checks.require_known(opts, pillar, operation)
    config = checks.configuration(checks.pairs_of(pillar), pair, usage)
    for key, value in allowed.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise SaltInvocationError(f"{key} must be a number of 0 or more, not {value!r}.")
        config["recovery"][key] = value
    checks.require_overrides(config, overrides)
    run = orchestration.Run(opts, config, operation, overrides)
    run.allowed = {key: value for key, value in allowed.items() if value is not None}
    reports, errors = run.decide()
    if checks.look_again(run, reports):
        reports, errors = run.decide()
    checks.require_free(pair, reports, run.nodes)
    if run.plan.refusal:
        # A node whose report failed counts as silent; its error says that it is not.
        why = " ".join([run.verdict.sentence, *errors.values(), run.plan.refusal])
        raise CommandExecutionError(f"{pair} is {run.verdict.name}: {why}")
    checks.require_in_step(reports)
    checks.require_elsewhere(run, reports)
    checks.require_interfaces(run, reports)
    previews = checks.previews(run, reports)
    digest = plans.digest(run.plan, run.verdict, previews, reports)
    if plan is not None and str(plan) != digest:
        raise CommandExecutionError(
            f"The facts have moved since plan {plan} was made: they give plan {digest} now. Look at it: "
            f"salt-run pair.plan {pair}{'' if operation == plans.RECOVER else f' operation={operation}'}"
        )
    return run, reports


def take(run, reports):
    """Take the pair for a run on both nodes; what it was planned by must still be true then."""
    pair, seen = run.config["name"], run.verdict
    run.lock(reports)
    try:
        # Another run may have ended between the look and the lock.
        run.decide()
        if (run.verdict.name, run.verdict.generation) != (seen.name, seen.generation):
            raise CommandExecutionError(
                f"The facts moved while this run waited for its lock: {pair} was {seen.name} and is "
                f"{run.verdict.name}. {run.verdict.sentence} Look at it (salt-run pair.status {pair}), "
                f"then run this again."
            )
    except SaltException:
        run.let_go()
        with contextlib.suppress(SaltException):
            run.nodes.try_all(run.members, "pair.unlock", pair, run.id)
        raise
    run.opened = True
    run.nodes.all(run.members, "pair.open_run", pair, run.id, run.record())
    # A third host gets no highstate from here, so it would not know the question, many steps from now. It is
    # given what it needs for that; sync_all would also have all that is the site's own, and its pillar anew.
    run.nodes.begin(run.config["witnesses"], "saltutil.sync_utils", "saltutil.sync_modules")
