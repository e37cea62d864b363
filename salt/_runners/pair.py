"""
What an operator asks about active/standby pairs, and the few things that need no orchestration.

.. code-block:: bash

    salt-run pair.check                     is the pillar right
    salt-run pair.status [salt]             who is active, since when, what is not as it should be
    salt-run pair.plan salt                 what orch.recover would do, file by file; a digest
    salt-run pair.history [salt]            what was run, when, by whom, with which result
    salt-run pair.undo <run>                put back what a run has overwritten or deleted
    salt-run pair.pause salt 30             pause the watch for 30 minutes
    salt-run pair.resume salt               end the pause

Every command exits with a status that is not 0 when the answer is bad: a wrong pillar, a pair that is
not ``normal``, a refused plan, a node that does not answer.
"""

import functools
import inspect
import logging
import os
import re
import sys

import salt.runners.state
import salt.utils.args
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback.decisions import guests
from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback.errors import FailbackError
from failback.pillar import check as pillar_check
from failback.state import runs
from failback_master import checks
from failback_master import minions
from failback_master import orchestration

log = logging.getLogger(__name__)

__virtualname__ = "pair"

#: How many file names ``plan`` prints for each path unless it is told otherwise.
NAMES = 1000

#: What each orchestration takes in ``pillar=``.
ORCHESTRATIONS = {
    "orch.recover": {  # fmt: skip
        "pair",
        "plan",
        "max_delete",
        "max_change_percent",
        "winner",
        "reason",
        "at_once",
        "vms",
    },
    "orch.failover": {  # fmt: skip
        "pair",
        "plan",
        "max_delete",
        "max_change_percent",
        "fenced",
        "reason",
        "moved",
        "at_once",
        "vms",
    },
    "orch.boot": {"pair", "plan", "at_once"},
    "orch.adopt": {"pair", "moved", "at_once"},
    "orch.vm": {"vm", "host", "away_from", "how", "fenced", "reason"},
}

#: Those that are typed otherwise than ``pillar='{pair: <pair>}'``.
USAGES = {"orch.vm": "{vm: <guest or all>, host: <host>}"}


def __init__(opts):
    # Salt answers an argument that state.orch does not have, and a pillar that is no mapping, with
    # state.orch's own usage and exit status 0 (salt/runner.py, salt/client/mixins.py), before it
    # looks at an SLS: a script would take that for a success. It loads all runners before it begins
    # one, so the command line can be judged here; an exception would be swallowed by the loader.
    wrong = _mistyped(opts.get("fun"), opts.get("arg"))
    if wrong:
        print(wrong, file=sys.stderr, flush=True)
        os._exit(64)  # EX_USAGE of sysexits.h


def _mistyped(function, words):
    """Why the command line of one of this tree's orchestrations is wrong, or None."""
    if function not in ("state.orch", "state.orchestrate", "state.sls"):
        return None
    args, kwargs = salt.utils.args.parse_input(words or [], condition=False)
    orchestration = args[0] if args else kwargs.get("mods")
    if not isinstance(orchestration, str) or not orchestration.startswith("orch."):
        return None
    wanted = USAGES.get(orchestration, "{pair: <pair>}")
    usage = f"Usage: salt-run state.orch {orchestration} pillar='{wanted}'"
    try:
        found = inspect.signature(salt.runners.state.orchestrate).bind(*args, **kwargs).arguments
    except TypeError as error:
        return f"state.orch cannot be called like this: {error}. Nothing was done. {usage}"
    if not isinstance(found.get("pillar", {}), dict):
        return f"The pillar {found['pillar']!r} is not a mapping. Nothing was done. {usage}"
    given = set(found.get("pillar", {}))
    unknown = sorted(given - ORCHESTRATIONS.get(orchestration, given))
    if unknown:
        # A misspelled `plan` would not hold the run to anything.
        known = ", ".join(sorted(ORCHESTRATIONS[orchestration]))
        return f"{orchestration} does not know {', '.join(unknown)} (but {known}). Nothing was done. {usage}"
    return None


def __virtual__():
    return __virtualname__


def _pairs():
    """The pairs of the orchestrating master, which is the minion id ``<id>_master`` to the pillar."""
    pillar = __salt__["pillar.show_pillar"](__opts__["id"])
    wrong = pillar.get("_errors") if isinstance(pillar, dict) else [str(pillar)]
    if wrong:
        raise CommandExecutionError(f"The pillar of {__opts__['id']} cannot be rendered: {' '.join(wrong)}")
    return checks.pairs_of(pillar)


def _command(function):
    """
    Let a refusal be a sentence instead of a traceback, and salt-run's exit status tell good from bad.

    salt-run takes its exit status from a key ``retcode`` of what a runner returns (salt/cli/run.py); a
    bad answer has it, a good one does not.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            name = function.__name__
            return _bad({"error": f"pair.{name}: {error}. Usage: salt-run -d pair.{name}"})
        try:
            return function(*args, **kwargs)
        except (SaltException, FailbackError) as error:
            return _bad({"error": str(error)})

    # Salt looks through this, and for wrong arguments shows its own usage with exit status 0.
    del wrapper.__wrapped__
    return wrapper


def _bad(answer):
    return {**answer, "retcode": 1}


@_command
def check():
    """
    Check the pillar of all pairs.

    Returns ``{"problems": [...]}``, each a sentence that names file, key, the value found and the value
    wanted, or ``{"comment": ...}`` when all is right.

    CLI Example:

    .. code-block:: bash

        salt-run pair.check
    """
    pairs = _pairs()
    wrong = [pillar_check.sentence(one) for one in pillar_check.problems(pairs)]
    if wrong:
        return _bad({"problems": wrong})
    return {"comment": f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}: the pillar is right."}


@_command
def status(pair=None):
    """
    Show who is active in a pair or in all of them, since when, and what is not as it should be.

    All nodes are asked at once, for facts of this moment.

    pair
        Name of the pair; all of them when left out.

    Returns ``{pair: {...}}`` with ``verdict``, ``sentence``, ``next`` (the command to run, or nothing),
    ``drift`` (a list of sentences) and ``nodes``; for a pair with virtual machines also ``guests``, where
    each of them runs, and ``guests_wrong``. The exit status is 0 when every pair is ``normal`` without drift
    and nothing is wrong with a guest; one that runs nowhere is shown and is not wrong.

    CLI Example:

    .. code-block:: bash

        salt-run pair.status
        salt-run pair.status salt
    """
    pairs = _pairs()
    chosen = [pair] if pair is not None else sorted(pairs)
    configs = [checks.configuration(pairs, one, "salt-run pair.status [<pair>]") for one in chosen]
    nodes = minions.Nodes(__opts__)
    ids = [one[role]["id"] for one in configs for role in ("primary", "secondary")]
    # Nodes that still have an earlier tree are asked for nothing that they do not know.
    more = {"guests": True} if any(one["vms"] for one in configs) else {}
    answers, errors = nodes.try_all(ids, "pair.report", look=minions.LOOK_WITHIN, **more)
    found, good = {}, True
    for config in configs:
        primary, secondary = (answers.get(config[role]["id"]) for role in ("primary", "secondary"))
        one = verdicts.judge(config, primary, secondary)
        shown = found[config["name"]] = _shown(config, one, (primary, secondary), errors)
        if config["vms"]:
            said = _guests(config, answers, errors)
            shown["guests"] = guests.shown(config, said)
            wrong = guests.wrong(config, said)
            if wrong:
                shown["guests_wrong"] = wrong
        good = good and one.name == verdicts.NORMAL and not one.drift and not shown.get("guests_wrong")
    return found if good else _bad(found)


def _shown(config, found, reports, errors):
    shown = {"verdict": found.name, "sentence": found.sentence}
    following = _next(config, found)
    if following:
        shown["next"] = following
    if found.drift:
        shown["drift"] = list(found.drift)
    shown["nodes"] = {}
    for role, report in zip(("primary", "secondary"), reports):
        node = config[role]["id"]
        shown["nodes"][node] = _shown_node(role, report) if report else errors.get(node, "no answer")
    return shown


def _next(config, found):
    """What to do about a verdict: a command, two in their order, a sentence, or nothing."""
    recover = plans.decide(plans.RECOVER, config, found)
    failover = plans.decide(plans.FAILOVER, config, found)
    commands = []
    if found.name == verdicts.FAILED_OVER and failover.steps:
        commands.append(f"{plans.command(plans.FAILOVER, config)} (completes the takeover)")
    if found.name == verdicts.PRIMARY_DOWN:
        return failover.refusal
    if recover.refusal:
        return recover.refusal
    if recover.steps:
        commands.append(plans.command(plans.RECOVER, config))
    return commands if len(commands) > 1 else "".join(commands)


def _guests(config, answers, errors):
    """What both hosts of a pair say of its guests, by host; ``{"error": why}`` for one that says nothing."""
    said = {}
    for role in ("primary", "secondary"):
        node = config[role]["id"]
        # A host that was adopted with an earlier pillar does not know yet that its pair has guests.
        silent = {"error": errors.get(node) or f"{node} knows of no guests: highstate has not run there."}
        said[node] = answers.get(node, {}).get("guests", silent)
    return said


def _shown_node(role, report):
    own = report["ledger"]
    shown = {
        "role": role,
        "ledger": report["ledger_error"]
        or (
            f"generation {own['generation']}: {own['active']} active since {own['since']} ({own['why']})"
            if own
            else "none"
        ),
        "admitted in this boot": "yes" if verdicts.admitted(report) else "no",
        "addresses": {
            one["name"]: f"{one['address']} "
            + (
                "held"
                if one["held"]
                else "not held"
                if one["interface_exists"]
                else f"no interface {one['interface']}"
            )
            for one in report["addresses"]
        },
        "lsyncd": "running" if report["lsyncd"]["running"] else "stopped",
        "services": {**report["services"], **report["active_services"]},
    }
    if role == "primary":
        shown["gate"] = report["gate"] or "open"
    if report["pause"]:
        shown["pause"] = report["pause"]
    if report["lock"]:
        shown["lock"] = report["lock"]
    if report.get("fenced"):
        shown["declares off"] = report["fenced"]
    return shown


@_command
def plan(pair=None, operation=plans.RECOVER, names=NAMES, winner=None):
    """
    Show what an orchestration would do to a pair now, without doing any of it.

    pair
        Name of the pair.

    operation
        ``recover``, ``failover`` or ``boot``.

    winner
        For the recovery from a split-brain: the node whose data would count.

    names
        How many file names to show for each path; the counts are always complete, and the full list
        lies on the node in the file that ``list`` names.

    Returns a dict: ``verdict``, ``sentence``, ``steps``; ``conflicts``, the files among those to be
    overwritten or deleted that hold something which the serving node never had, each with the reason; for
    each path the files that will be overwritten, deleted and created on the returned node; ``refused`` when
    it would not be done; ``digest`` and the ``command`` that holds a run to this plan. The exit status is
    not 0 for a refused plan.

    CLI Example:

    .. code-block:: bash

        salt-run pair.plan salt
    """
    usage = "salt-run pair.plan <pair> [operation=recover] [names=1000] [winner=<node>]"
    config = checks.configuration(_pairs(), pair, usage)
    if operation not in plans.OPERATIONS:
        known = ", ".join(plans.OPERATIONS)
        raise SaltInvocationError(f"operation must be one of {known}, not {operation!r}. Usage: {usage}")
    if isinstance(names, bool) or not isinstance(names, int) or names < 0:
        raise SaltInvocationError(f"names must be a whole number, not {names!r}. Usage: {usage}")
    run = orchestration.Run(__opts__, config, operation, {"winner": winner})
    reports, errors = run.decide()
    shown = {
        "pair": pair,
        "verdict": run.verdict.name,
        "sentence": run.verdict.sentence,
        "steps": [f"{step}: {plans.STEPS[step]}" for step in run.plan.steps],
    }
    if run.plan.refusal:
        return _bad({**shown, "refused": [run.plan.refusal, *errors.values()]})
    if run.plan.nothing_to_do:
        shown["steps"] = "Nothing to do."
    words = {"winner": winner, "reason": "..."} if winner else {}
    previews = []
    if {"pre-sync", "drain"} & set(run.plan.steps):
        target = run.plan.target
        serving = next(one for one in reports if one["node"] != target)
        previews = run.nodes.one(
            target,
            "reverse_rsync.preview",
            pair,
            serving["sources"],
            names=names,
            takeover=checks.takeover(run, reports),
        )
        found = {path: why for one in previews for path, why in one["conflict_names"].items()}
        if found:
            # Apart from the rest: each of them holds something that the serving node never had.
            shown["conflicts"] = found
        shown["files"] = {one["path"]: _shown_preview(one) for one in previews}
        refusals = run.nodes.one(
            target,
            "reverse_rsync.refusals",
            pair,
            previews,
            serving["sources"],
            max_delete=config["recovery"]["max_delete"],
            max_change_percent=config["recovery"]["max_change_percent"],
            operation=operation,
            words=words,
        )
        if refusals:
            return _bad({**shown, "refused": refusals})
    shown["digest"] = plans.digest(run.plan, run.verdict, previews, reports)
    shown["command"] = plans.command(operation, config, plan=shown["digest"], **words)
    return shown


def _shown_preview(one):
    shown = {
        action: one["names"][action]
        for action in ("overwritten", "deleted", "attributes", "created")
        if one["names"][action]
    }
    shown["counts"] = (
        f"{one['overwritten']} overwritten, {one['deleted']} deleted, {one['attributes']} attributes only, "
        f"{one['created']} created, of {one['total_files']} files; {one['bytes']} bytes to transfer; "
        f"{one['conflicts']} conflicts"
    )
    if one["truncated"]:
        shown["list"] = f"more than shown; all of them: {one['list']}"
    return shown


@_command
def history(pair=None):
    """
    List the runs of a pair or of all pairs, oldest first.

    pair
        Name of the pair; all of them when left out.

    Returns ``{"runs": [...]}``, each a dict: ``run``, ``operation``, ``started``, ``finished``, ``result``
    (``interrupted`` for one that never closed), ``sentence``, ``user``, ``master``, and ``backup``, the nodes
    that keep one; where an operator gave a word, also ``fenced`` or ``winner``, and ``reason``.

    CLI Example:

    .. code-block:: bash

        salt-run pair.history salt
    """
    pairs = _pairs()
    chosen = [pair] if pair is not None else sorted(pairs)
    configs = [checks.configuration(pairs, one, "salt-run pair.history [<pair>]") for one in chosen]
    nodes = minions.Nodes(__opts__)
    ids = [one[role]["id"] for one in configs for role in ("primary", "secondary")]
    answers, errors = nodes.try_all(ids, "pair.history", look=minions.LOOK_WITHIN, pair=pair)
    merged = {}
    for node, records in answers.items():
        for record in records:
            one = merged.setdefault(record["run"], {**record, "backup": []})
            if record.get("finished") and not one.get("finished"):
                one.update({**record, "backup": one["backup"]})
            if record["backup"]:
                one["backup"].append(node)
    found = []
    for run in sorted(merged):
        one = merged[run]
        keys = ("run", "pair", "operation", "started", "finished", "sentence", "user", "master", "backup")
        shown = {key: one.get(key) for key in keys}
        shown["result"] = one.get("result") or "interrupted"
        shown.update({key: one[key] for key in ("fenced", "winner", "reason") if one.get(key)})
        found.append(shown)
    if errors:
        return _bad({"runs": found, "no answer": list(errors.values())})
    return {"runs": found}


@_command
def undo(run=None, paths=None, test=False):
    """
    Put back what a run has overwritten or deleted, where its backup is kept.

    Files that the run created are left alone and listed; those that an undo has created, by bringing them
    back, are taken away again. What this replaces is kept in a backup of its own, so that an undo can be
    undone. On the active primary lsyncd then carries it to the standby.

    run
        Id of the run, from ``salt-run pair.history``.

    paths
        Only this file or folder, or a list of such, as ``pair.plan`` names them: ``/srv/salt/files``.

    test
        Only say what would be put back.

    Returns what was put back, and what was left because somebody had put a link in place of a folder; the
    exit status is not 0 then. Raises, before anything is changed, when there is no such run, no backup of it,
    or not a whole one, and when one of ``paths`` matches nothing in it.

    CLI Example:

    .. code-block:: bash

        salt-run pair.undo 20261122T183000-recover-salt-4f2a test=True
        salt-run pair.undo 20261122T183000-recover-salt-4f2a
    """
    usage = "salt-run pair.undo <run> [paths=<path>] [test=True]"
    try:
        runs.require_id(run)
    except FailbackError as error:
        raise SaltInvocationError(f"{error} Usage: {usage}") from error
    pair = re.fullmatch(r"[^-]+-[^-]+-(.+)-[0-9a-f]{4}", run).group(1)
    config = checks.configuration(_pairs(), pair, usage)
    mine = orchestration.Run(__opts__, config, "undo")
    answers, errors = mine.nodes.try_all(mine.ids, "pair.history", pair=pair)
    keeping = [
        node
        for node, records in answers.items()
        if any(one["run"] == run and one["backup"] for one in records)
    ]
    if not keeping:
        raise CommandExecutionError(
            f"No node of {pair} keeps a backup of {run}. `salt-run pair.history {pair}` lists those there "
            f"are. {' '.join(errors.values())}".strip()
        )
    reports, _ = mine.judge()
    refusal = plans.undo_refusal(config, mine.verdict, keeping)
    if test:
        shown = {
            node: mine.nodes.one(node, "reverse_rsync.restored", pair, run, mine.id, paths=paths, test=True)
            for node in keeping
        }
        return _bad({**shown, "refused": refusal}) if refusal else shown
    if refusal:
        raise CommandExecutionError(f"Refused, nothing was changed. {refusal}")
    checks.require_free(pair, reports, mine.nodes)
    checks.require_in_step(reports)
    mine.lock(reports)
    mine.opened = True
    keeping = [mine.verdict.active]
    done, result = {}, "failed"
    try:
        mine.nodes.all(mine.ids, "pair.open_run", pair, mine.id, mine.record())
        for node in keeping:
            done[node] = mine.nodes.one(node, "reverse_rsync.restored", pair, run, mine.id, paths=paths)
        left = any(one.get("left") for one in done.values())
        result = "failed" if left else "succeeded"
    finally:
        mine.let_go()
        mine.nodes.try_all(
            mine.ids,
            "pair.close_run",
            pair,
            mine.id,
            mine.record(result, f"undo of {run}"),
        )
    answer = {**done, "undo this with": f"salt-run pair.undo {mine.id}"}
    return _bad(answer) if left else answer


@_command
def pause(pair=None, minutes=None, reason="paused by an operator"):
    """
    Pause the watch of a pair on both nodes; it resumes by itself.

    pair
        Name of the pair.

    minutes
        For how long, up to a day.

    reason
        Shown by ``pair.status``.

    Returns what each node says. Raises when one does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run pair.pause salt 30 reason='switch maintenance'
    """
    usage = "salt-run pair.pause <pair> <minutes> [reason='…']"
    config = checks.configuration(_pairs(), pair, usage)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 < minutes <= 1440:
        raise SaltInvocationError(f"minutes must be from 1 to 1440, not {minutes!r}. Usage: {usage}")
    nodes = minions.Nodes(__opts__)
    ids = (config["primary"]["id"], config["secondary"]["id"])
    return nodes.all(ids, "pair.pause", pair, minutes * 60, reason)


def hold(pair=None, minutes=None, reason="paused by an operator"):
    """
    The former name of ``pair.pause``, for one release.

    pair, minutes, reason
        As for ``pair.pause``.

    CLI Example:

    .. code-block:: bash

        salt-run pair.hold salt 30 reason='switch maintenance'
    """
    log.warning("pair.hold is called pair.pause now; the next release does not know the old name.")
    return pause(pair, minutes, reason)


@_command
def resume(pair=None):
    """
    End a pause of the watch of a pair on both nodes.

    pair
        Name of the pair.

    Returns, for each node, True when there was one.

    CLI Example:

    .. code-block:: bash

        salt-run pair.resume salt
    """
    config = checks.configuration(_pairs(), pair, "salt-run pair.resume <pair>")
    nodes = minions.Nodes(__opts__)
    return nodes.all((config["primary"]["id"], config["secondary"]["id"]), "pair.resume", pair)
