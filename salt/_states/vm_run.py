"""
The steps of ``orch.vm`` as states that run on the master, and what ``orch.recover`` and ``orch.failover``
do with guests when they are told ``vms: move``.

.. code-block:: yaml

    Both hosts answer, and the guest may go there:
      vm_run.opened:
        - vm: idm
        - host: mgmt2

    The guest runs where it should:
      vm_run.placed:
        - require:
          - vm_run: Both hosts answer, and the guest may go there

    The run is closed:
      vm_run.closed:
        - order: last

A run owns the lock on both hosts like any other run on it, so nobody reboots a host under a guest on its
way. What may be done to a guest is decided on the master for the plan, and once more on the host that does
it, after it has asked the other one itself (execution module ``shared_vm``).
"""

import time

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback.decisions import guests as guest_rules
from failback.errors import FailbackError
from failback.pillar import check
from failback.pillar import normalise
from failback.state import fencing
from failback_master import checks
from failback_master import guest_run
from failback_master import minions
from failback_master import orchestration

__virtualname__ = "vm_run"

#: Where the steps of one orchestration find their run.
CONTEXT = "failback.vm_run"
#: Seconds for all that is no migration and no shutdown.
STEP_LIMIT = 300
USAGE = "Usage: salt-run state.orch orch.vm pillar='{vm: <guest or all>, host: <host>}'"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "vm_run holds the steps of an orchestration, which run on the master."
    return __virtualname__


def opened(name, vm=None, host=None, away_from=None, how=None, fenced=None, reason=None):
    """
    Look at both hosts, decide, and take the pair for this run; or refuse before anything is changed.

    name
        What this step is, in words.

    vm
        Name of a guest, or ``all``.

    host
        The host where it should run.

    away_from
        Or the host that it should leave; guests that run nowhere stay off then.

    how
        ``live`` (by default), or ``restart``: an orderly shutdown there and a start here.

    fenced
        The other host, when the operator knows that it is off and it does not answer.

    reason
        How the operator knows.
    """
    ret = _ret(name)
    begun = time.monotonic()
    try:
        run = _planned(vm, host, away_from, how, fenced, reason)
    except (SaltException, FailbackError) as error:
        ret["comment"] = f"Refused, no guest was touched. {error}"
        return ret
    said = " ".join(one.sentence for one in run.plans)
    if not run.wanted:
        ret["result"] = True
        ret["comment"] = f"Nothing to do. {said}"
        __context__[CONTEXT] = run
        return ret
    ret["changes"] = {"run": run.id, "plan": [one.sentence for one in run.wanted]}
    if __opts__["test"]:
        __context__[CONTEXT] = run
        ret["result"] = None
        ret["comment"] = f"Would do this. {said}"
        return ret
    try:
        _take(run)
    except (SaltException, FailbackError) as error:
        ret["changes"] = {}
        ret["comment"] = f"Refused, no guest was touched. {error}"
        if run.opened:
            run.note("precheck", False, str(error), time.monotonic() - begun)
        return ret
    ret["result"] = True
    ret["comment"] = f"Run {run.id} holds {run.config['name']}. {said}"
    run.note("precheck", True, said, time.monotonic() - begun)
    return ret


def _planned(vm, host, away_from, how, fenced, reason):
    """Check the words, look, and decide; nothing is changed. Returns the run."""
    checks.require_known(__opts__, __pillar__, "vm")
    pairs = checks.pairs_of(__pillar__)
    wrong = {one["pair"] for one in check.problems(pairs)}
    sound = {key: normalise.normalise(key, one) for key, one in pairs.items() if key not in wrong}
    try:
        pair, guests, target = guest_rules.chosen(sound, vm, host, away_from)
    except FailbackError as error:
        broken = f" (the pillar of {', '.join(sorted(wrong))} is wrong: salt-run pair.check)" if wrong else ""
        raise SaltInvocationError(f"{error}{broken} {USAGE}") from error
    config = checks.configuration(pairs, pair, USAGE)
    how = guest_rules.LIVE if how is None else how
    if how not in guest_rules.HOW:
        raise SaltInvocationError(f"how must be {' or '.join(guest_rules.HOW)}, not {how!r}. {USAGE}")
    word = fencing.declared(config, fenced, reason)
    if word and word["node"] == target:
        raise SaltInvocationError(f"{target} is where it should run, so it cannot be declared off. {USAGE}")
    terms = {"how": how, "only_if_active": away_from is not None}
    run = guest_run.GuestRun(__opts__, config, target, guests, terms, word)
    reports, errors = run.nodes.try_all(run.ids, "pair.report", pair, look=minions.LOOK_WITHIN)
    run.silent = guest_run.found_silent(errors)
    run.seen = list(reports.values())
    if word and word["node"] in reports:
        raise CommandExecutionError(
            f"{word['node']} answers, so it is not off. Leave `fenced` out; or take its power away first."
        )
    checks.require_free(pair, list(reports.values()), run.nodes)
    checks.require_in_step(reports.values())
    # No verdict is asked for: ledgers say nothing of guests, and a split-brain is settled by a reboot of the
    # loser, which its guests have to leave first.
    if word is None:
        _recall(run, reports)
    if run.word:
        checks.require_unseen(run.nodes, config, run.word["node"], reports)
    if not __opts__["test"]:
        # A definition that has just come over counts; libvirt's say on it is in what both report.
        run.nodes.try_all(list(reports), "shared_vm.learn", pair)
    run.look()
    run.require_possible()
    return run


def _recall(run, reports):
    """A word that was given to an earlier run still counts on the host that keeps it, until it expires."""
    other = guest_rules.other(run.config, run.target)
    kept = (reports.get(run.target) or {}).get("fenced") or {}
    if other not in reports and kept.get("node") == other:
        run.word = {"node": other, "reason": kept["reason"], "kept": True}
        run.fenced, run.reason = other, kept["reason"]


def _take(run):
    """Take the pair on the hosts that are there; what was planned by must still be true then."""
    pair, seen = run.config["name"], run.plans
    run.lock(run.seen, outlives=STEP_LIMIT)
    run.opened = True
    __context__[CONTEXT] = run
    run.nodes.all(run.members, "pair.open_run", pair, run.id, run.record())
    if run.word and not run.word.get("kept"):
        kept = run.nodes.one(
            run.target,
            "fencing.declare",
            pair,
            run.word["node"],
            run.word["reason"],
            run.id,
            run.owner,
        )
        run.known_by = kept["reason"]
    run.look()
    run.require_possible()
    if [(one.guest, one.action, one.source) for one in run.plans] != [
        (one.guest, one.action, one.source) for one in seen
    ]:
        raise CommandExecutionError(
            f"The facts moved while this run waited for its lock: "
            f"{' '.join(one.sentence for one in run.plans)} Run it again."
        )


def placed(name):
    """
    Put each guest where the plan says, and prove that it runs there and nowhere else.

    name
        What this step is, in words.
    """
    ret = _ret(name)
    run = __context__.get(CONTEXT)
    if run is None:
        ret["comment"] = "No run is open: the precheck refused, or was left out."
        return ret
    if not run.wanted:
        ret["result"] = True
        ret["comment"] = "Nothing to do."
        return ret
    if __opts__["test"]:
        ret["result"] = None
        ret["changes"] = {one.guest: one.sentence for one in run.wanted}
        ret["comment"] = "Would do this."
        return ret
    begun = time.monotonic()
    # Before each guest the lock is renewed, which tells the nodes as well.
    run.begin("place", ", ".join(one.sentence for one in run.wanted), quiet=True)
    try:
        done, failed = _place(run, run.plans, run.silent)
    except Exception as error:
        # Nobody has foreseen it. Salt shows where it was; the run ends as one that has failed.
        run.note("place", False, f"{type(error).__name__}: {error}", time.monotonic() - begun)
        raise
    ret["changes"] = done
    ret["result"] = not failed
    ret["comment"] = " ".join(failed or [f"{guest}: {what}." for guest, what in done.items()])
    run.note("place", ret["result"], ret["comment"], time.monotonic() - begun)
    return ret


def _place(run, wanted, silent):
    """
    Carry plans out, one guest after the other. One that fails does not keep the others where they are.

    silent
        As for ``failback_master.guest_run.look``.

    Returns ``({guest: what was done}, [sentence of a failure, …])``.
    """
    done, failed = {}, []
    for plan in wanted:
        if plan.action == guest_rules.NOTHING:
            continue
        virtualization = run.config["virtualization"]
        try:
            run.renew(STEP_LIMIT + virtualization["migration_timeout"] + virtualization["shutdown_timeout"])
        except SaltException as error:
            # Without its lock or its master a run begins nothing more, and can prove nothing.
            return done, [*failed, str(error)]
        try:
            done[plan.guest] = _act(run, plan)
        except SaltException as error:
            failed.append(str(error))
    try:
        reports = guest_run.look(run.nodes, run.config, silent)
    except SaltException as error:
        return done, [*failed, str(error)]
    for plan in wanted:
        if plan.guest in done:
            failed += _unproved(run.config, plan, reports)
    return done, failed


def _act(run, plan):
    """Do what a plan says. Returns it in words."""
    pair, guest = run.config["name"], plan.guest

    def call(node, function):
        return run.nodes.one(node, f"shared_vm.{function}", pair, guest, run.id)["done"]

    if plan.action == guest_rules.START:
        return f"{call(plan.target, 'start')} on {plan.target}"
    if plan.action == guest_rules.RESUME:
        return f"{call(plan.source, 'start')} on {plan.source}"
    if plan.action == guest_rules.MIGRATE:
        return f"{call(plan.source, 'migrate')} from {plan.source} to {plan.target}"
    call(plan.source, "stop")
    try:
        call(plan.target, "start")
    except SaltException as error:
        # It was stopped only to be started there; where it ran, it is known to run.
        try:
            call(plan.source, "start")
        except SaltException as again:
            raise CommandExecutionError(
                f"{error} It could not be started on {plan.source} either: {again}"
            ) from again
        raise CommandExecutionError(f"{error} {guest} was started on {plan.source} again.") from error
    return f"restarted on {plan.target}, was on {plan.source}"


def _unproved(config, plan, reports):
    """What does not look as it should after a plan was carried out, as sentences."""
    home = plan.source if plan.action == guest_rules.RESUME else plan.target
    here = reports[home].get("guests", {}).get(plan.guest)
    there = reports[guest_rules.other(config, home)].get("guests", {}).get(plan.guest)
    if here is None or here["state"] != "running":
        found = reports[home].get("error") or here["state"]
        yield f"{plan.guest} should run on {home} now, and does not: {found}."
    if there is not None and guest_rules.active(there):
        other = guest_rules.other(config, home)
        yield f"{plan.guest} is {there['state']} on {other} as well: salt-run pair.status {config['name']}."


def closed(name):
    """
    Close the run: the lock is given back, the record is kept on the hosts. Runs after a failed step too.

    name
        What this step is, in words.
    """
    run = __context__.pop(CONTEXT, None)
    if run is None or not run.opened:
        return {**_ret(name), **orchestration.NOT_OPENED}

    def give_back(record):
        # Also to a host that was silent a moment ago: it may be back, and cannot know that this run is over.
        pair = run.config["name"]
        words = {**record, "told_by": run.members[0]}
        _, errors = run.nodes.try_all(run.members, "pair.close_run", pair, run.id, words)
        return errors, f"Look: salt-run pair.status {pair}."

    done = run.steps[-1]["comment"]
    return {**_ret(name), **run.close(done, give_back)}


# --- with an orchestration of the pair -----------------------------------------------------------


def asked(name, pair=None, vms=None):
    """
    Check, before anything is changed, what the operator wants done with the guests of a pair.

    name
        What this step is, in words.

    pair
        Name of the pair.

    vms
        ``move``: those that run follow the pair to its active node. Nothing: they are left alone.
    """
    ret = _ret(name)
    if vms is None:
        ret["result"] = True
        ret["comment"] = "The virtual machines are left alone."
        return ret
    try:
        if vms != "move":
            raise SaltInvocationError(f"vms must be move, or be left out, not {vms!r}.")
        if not isinstance(pair, str) or pair == "all":
            raise SaltInvocationError("vms: move is for one pair at a time.")
        usage = "pillar='{pair: <pair>, vms: move}'"
        config = checks.configuration(checks.pairs_of(__pillar__), pair, usage)
        if not config["vms"]:
            raise SaltInvocationError(f"{pair} has no virtual machines (`vms` in the pillar).")
    except SaltException as error:
        ret["comment"] = f"Refused, nothing was changed. {error}"
        return ret
    ret["result"] = True
    ret["comment"] = "The virtual machines that run will follow the pair to its active node."
    return ret


def followed(name, vms=None):
    """
    Bring the guests that run to the node that is active now, if the operator wants it.

    With a node that is declared off, all guests that do not run on the other one are started there: which
    ones ran is not to be known then. Where nothing is to be done for the pair nobody owns its lock, so guests
    that are not where they should be are named, with the command that brings them there.

    name
        What this step is, in words.

    vms
        ``move``: those that run follow the pair to its active node. Nothing: they are left alone.
    """
    ret = _ret(name)
    run = __context__.get(orchestration.CONTEXT)
    ret["result"] = True
    if vms is None or run is None:
        ret["comment"] = "The virtual machines are left alone."
        return ret
    fenced = bool(run.plan.alone)
    silent = {run.other(run.plan.alone): "it is declared off"} if fenced else {}
    try:
        reports = guest_run.look(run.nodes, run.config, silent)
    except SaltException as error:
        ret["result"] = False
        ret["comment"] = str(error)
        run.note("vms", False, ret["comment"], 0.0)
        return ret
    plans = [
        guest_rules.decide(
            guest, run.plan.active, run.config, reports, fenced=fenced, only_if_active=not fenced
        )
        for guest in run.config["vms"]
    ]
    failed = [one.refusal for one in plans if one.refusal]
    wanted = [one for one in plans if not one.refusal and one.action != guest_rules.NOTHING]
    if run.plan.nothing_to_do and wanted:
        host = run.plan.active
        ret["result"] = False
        ret["comment"] = (
            f"{', '.join(one.guest for one in wanted)}: not on {host}, the active node. As nothing is to be "
            f"done for the pair, this run does not hold it, and moves nothing. Run: salt-run state.orch "
            f"orch.vm pillar='{{vm: all, host: {host}}}'"
        )
        return ret
    if __opts__["test"]:
        ret["result"] = False if failed else None if wanted else True
        ret["changes"] = {one.guest: one.sentence for one in wanted}
        ret["comment"] = " ".join([*failed, *(one.sentence for one in wanted)]) or "Nothing to do."
        return ret
    begun = time.monotonic()
    run.begin("vms", "the virtual machines that run follow the pair", quiet=True)
    done, unmoved = _place(run, wanted, silent)
    failed += unmoved
    ret["changes"] = done
    ret["result"] = not failed
    ret["comment"] = (
        " ".join(failed or [f"{guest}: {what}." for guest, what in done.items()]) or "Nothing to do."
    )
    run.note("vms", ret["result"], ret["comment"], time.monotonic() - begun)
    return ret


def _ret(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}
