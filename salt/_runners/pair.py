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

import dataclasses
import inspect
import logging
import os
import re
import sys
import time

import salt.runners.state
import salt.utils.args
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback.decisions import given
from failback.decisions import guests
from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback.errors import FailbackError
from failback.host import system
from failback.state import runs
from failback.version import VERSION
from failback_master import checks
from failback_master import minions
from failback_master import orchestration
from failback_master import witnesses
from failback_master.surface import display
from failback_master.surface import history as past
from failback_master.surface import live
from failback_master.surface import pairs as shown_pairs
from failback_master.surface.command import CALLER
from failback_master.surface.command import asked_by
from failback_master.surface.command import bad
from failback_master.surface.command import command

log = logging.getLogger(__name__)

__virtualname__ = "pair"

#: How many file names ``plan`` prints for each path unless it is told otherwise.
NAMES = 1000

#: The functions of the runner that run one of them; see ``pair_orchestrations.py``.
RUNS = tuple(
    f"pair.{one}" for one in ("recover", "failover", "boot", "adopt", "verify", "drill", "retire", "vm")
)


def __init__(opts):
    # Salt answers an argument that state.orch does not have, and a pillar that is no mapping, with
    # state.orch's own usage and exit status 0 (salt/runner.py, salt/client/mixins.py), before it
    # looks at an SLS: a script would take that for a success. It loads all runners before it begins
    # one, so the command line can be judged here; an exception would be swallowed by the loader.
    CALLER.loaded(opts)
    wrong = _mistyped(opts.get("fun"), opts.get("arg"))
    if wrong:
        print(wrong, file=sys.stderr, flush=True)
        os._exit(64)  # EX_USAGE of sysexits.h
    begins = _begins(opts.get("fun"), opts.get("arg"))
    if begins or str(opts.get("fun")).startswith("pair."):
        live.end_on_interrupt()
    if begins:
        display.begin(opts, begins)


def _begins(function, typed):
    """What a command line begins that takes its time, in words; None for any other one."""
    if function in RUNS:
        orchestration_name = f"orch.{function.partition('.')[2]}"
    elif function in ("state.orch", "state.orchestrate", "state.sls"):
        orchestration_name = next((str(one) for one in typed or [] if str(one).startswith("orch.")), None)
    else:
        return None
    if orchestration_name not in given.ORCHESTRATIONS:
        return None
    args, kwargs = salt.utils.args.parse_input(typed or [], condition=False)
    words = {**kwargs, **(kwargs.get("pillar") or {})}
    pair = words.get("pair") or words.get("vm") or (args[0] if args and function in RUNS else "")
    return f"{orchestration_name} {pair}: the orchestration is rendered"


def _mistyped(function, words):
    """Why the command line of one of this tree's orchestrations is wrong, or None."""
    if function not in ("state.orch", "state.orchestrate", "state.sls"):
        return None
    args, kwargs = salt.utils.args.parse_input(words or [], condition=False)
    orchestration = args[0] if args else kwargs.get("mods")
    if not isinstance(orchestration, str) or not orchestration.startswith("orch."):
        return None
    usage = given.usage(orchestration)
    try:
        found = inspect.signature(salt.runners.state.orchestrate).bind(*args, **kwargs).arguments
    except TypeError as error:
        return f"state.orch cannot be called like this: {error}. Nothing was done. {usage}"
    if not isinstance(found.get("pillar", {}), dict):
        return f"The pillar {found['pillar']!r} is not a mapping. Nothing was done. {usage}"
    return given.unknown(orchestration, found.get("pillar", {}))


def __virtual__():
    return __virtualname__


def _pairs():
    """The pairs of the orchestrating master, which is the minion id ``<id>_master`` to the pillar."""
    return checks.pairs_of_master(__salt__["pillar.show_pillar"](__opts__["id"]), __opts__["id"])


def _other_master():
    """Where to ask instead, when this machine is a node of a pair and its salt-master does not work."""
    try:
        return checks.other_master(_pairs(), __opts__["id"])
    except SaltException:
        return ""


@command
def status(pair=None, timeout=minions.GLANCE_WITHIN):
    """
    Show who is active in a pair or in all of them, since when, and what is not as it should be.

    All nodes are asked at once, for facts of this moment.

    pair
        Name of the pair; all of them when left out.

    timeout
        Seconds for the nodes to answer. One that is off costs this time and somewhat more.

    Returns ``{"pairs": {pair: {...}}, "version": ..., "retcode": n}``; ``docs/status.schema.json`` says what
    each pair has.
    Where one node does not answer, the witnesses are asked as well. The exit status is 0 when every pair is
    ``normal`` without drift and nothing is wrong with watch or guests; a guest that runs nowhere is shown and
    is not wrong.

    CLI Example:

    .. code-block:: bash

        salt-run pair.status
        salt-run pair.status salt
        salt-run pair.status --out=json
    """
    pairs = _pairs()
    usage = "salt-run pair.status [<pair>] [timeout=<seconds>]"
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 60:
        raise SaltInvocationError(f"timeout must be from 1 to 60 seconds, not {timeout!r}. Usage: {usage}")
    chosen = [pair] if pair is not None else sorted(pairs)
    configs = [checks.configuration(pairs, one, usage) for one in chosen]
    return _looked(configs, timeout)


def _looked(configs, timeout):
    """The facts of some pairs, with ``retcode``."""
    nodes = minions.Nodes(__opts__, master_within=0)
    ids = [one[role]["id"] for one in configs for role in ("primary", "secondary")]
    # Nodes that still have an earlier tree are asked for nothing that they do not know.
    more = {"guests": True} if any(one["vms"] for one in configs) else {}
    try:
        answers, errors = nodes.try_all(ids, "pair.report", look=timeout, gone=_gone(timeout), **more)
    except minions.NoMaster as error:
        raise CommandExecutionError(f"{error}{_other_master()}") from error
    found = {}
    for config in configs:
        reports = [answers.get(config[role]["id"]) for role in ("primary", "secondary")]
        verdict, seen = _witnessed(nodes, config, *reports)
        shown = found[config["name"]] = shown_pairs.facts(
            config, verdict, reports, errors, _here(reports), seen
        )
        if config["vms"]:
            said = _guests(config, answers, errors)
            shown["guests"] = guests.shown(config, said)
            shown["guests_wrong"] = guests.wrong(config, said)
    good = all(map(shown_pairs.is_good, found.values()))
    return {"pairs": found, "version": VERSION, "retcode": 0 if good else 1}


def _witnessed(nodes, config, primary, secondary):
    """
    The verdict, and what the witnesses see where one node does not answer: it may be on all the same.

    Returns ``(verdict, {"<address> by <witness>": who answers})``.
    """
    found = verdicts.judge(config, primary, secondary)
    if (primary is None) == (secondary is None):
        return found, {}
    silent = config["primary" if primary is None else "secondary"]["id"]
    contradicted, shown = witnesses.of_silent(nodes, config, silent, primary or secondary)
    return dataclasses.replace(found, contradicted=contradicted), shown


def _gone(timeout):
    """Seconds for a slow node to say that it is still at it: whoever waits longer gives it longer."""
    return min(minions.LOOK_GONE_WITHIN, timeout / 2)


def _here(reports):
    """The node of a pair on which this master runs, by its boot, or None."""
    own = system.boot_id()
    return next((one["node"] for one in reports if one and one["boot_id"] == own), None)


def _guests(config, answers, errors):
    """What both hosts of a pair say of its guests, by host; ``{"error": why}`` for one that says nothing."""
    said = {}
    for role in ("primary", "secondary"):
        node = config[role]["id"]
        # A host that was adopted with an earlier pillar does not know yet that its pair has guests.
        silent = {"error": errors.get(node) or f"{node} knows of no guests: highstate has not run there."}
        said[node] = answers.get(node, {}).get("guests", silent)
    return said


@command
def nodes(pair=None):
    """
    List the nodes of a pair or of all pairs, as the pillar names them.

    pair
        Name of the pair; all of them when left out.

    Returns ``{pair: [primary, secondary]}``, minion ids.

    CLI Example:

    .. code-block:: bash

        salt-run pair.nodes
    """
    pairs = _pairs()
    chosen = [pair] if pair is not None else sorted(pairs)
    configs = [checks.configuration(pairs, one, "salt-run pair.nodes [<pair>]") for one in chosen]
    return {one["name"]: [one["primary"]["id"], one["secondary"]["id"]] for one in configs}


@command
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
        return bad({**shown, "refused": [run.plan.refusal, *errors.values()]})
    if run.plan.nothing_to_do:
        shown["steps"] = "Nothing to do."
    overrides = {"winner": winner, "reason": "..."} if winner else {}
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
            # Only if there are any: a node of the release before, not upgraded yet, does not know the name.
            **({"overrides": overrides} if overrides else {}),
        )
        if refusals:
            return bad({**shown, "refused": refusals})
    shown["digest"] = plans.digest(run.plan, run.verdict, previews, reports)
    shown["command"] = plans.command(operation, config, plan=shown["digest"], **overrides)
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


@command
def history(pair=None):
    """
    List the runs of a pair or of all pairs, oldest first.

    pair
        Name of the pair; all of them when left out.

    Returns ``{"runs": [...]}``, each a dict: ``run``, ``pair``, ``operation``, ``started``, ``finished``,
    ``result`` (``running`` for one that is at work, with ``step`` and ``seconds``; ``interrupted`` for one
    that never closed), ``sentence``, ``user``, ``master``, and ``backup``, the nodes that keep one; where an
    operator gave a word, also ``fenced`` or ``winner``, and ``reason``.

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
    found = past.merged(answers)
    if errors:
        return bad({"runs": found, "no answer": list(errors.values())})
    return {"runs": found}


@command
def undo(run=None, paths=None, test=False, conflicts=False):
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

    conflicts
        Only the conflicts of the run: what this node alone may have had when the other one took over.

    Returns what was put back, and what was left because somebody had put a link in place of a folder; the
    exit status is not 0 then. Raises, before anything is changed, when there is no such run, no backup of it,
    or not a whole one, and when one of ``paths`` matches nothing in it.

    CLI Example:

    .. code-block:: bash

        salt-run pair.undo 20261122T183000-recover-salt-4f2a test=True
        salt-run pair.undo 20261122T183000-recover-salt-4f2a
        salt-run pair.undo 20261122T183000-recover-salt-4f2a conflicts=True
    """
    usage = "salt-run pair.undo <run> [paths=<path>] [conflicts=True] [test=True]"
    # A node of a release before this one knows nothing of it, and is not asked for what nobody wants.
    chosen = {"paths": paths, **({"conflicts": True} if conflicts else {})}
    try:
        runs.require_id(run)
    except FailbackError as error:
        raise SaltInvocationError(f"{error} Usage: {usage}") from error
    pair = re.fullmatch(r"[^-]+-[^-]+-(.+)-[0-9a-f]{4}", run).group(1)
    config = checks.configuration(_pairs(), pair, usage)
    mine = orchestration.Run({**__opts__, "user": asked_by(globals())}, config, "undo")
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
            node: mine.nodes.one(node, "reverse_rsync.restored", pair, run, mine.id, test=True, **chosen)
            for node in keeping
        }
        return bad({**shown, "refused": refusal}) if refusal else shown
    if refusal:
        raise CommandExecutionError(f"Refused, nothing was changed. {refusal}")
    checks.require_free(pair, reports, mine.nodes)
    checks.require_in_step(reports)
    mine.lock(reports)
    keeping = [mine.verdict.active]
    done, result = {}, "failed"
    try:
        mine.nodes.all(mine.ids, "pair.open_run", pair, mine.id, mine.record())
        for node in keeping:
            done[node] = mine.nodes.one(node, "reverse_rsync.restored", pair, run, mine.id, **chosen)
        left = any(one.get("left") for one in done.values())
        result = "failed" if left else "succeeded"
    finally:
        mine.let_go()
        mine.nodes.try_all(
            mine.ids,
            "pair.close_run",
            pair,
            mine.id,
            {**mine.record(result, f"undo of {run}"), "told_by": mine.verdict.active},
        )
    answer = {**done, "undo this with": f"salt-run pair.undo {mine.id}"}
    return bad(answer) if left else answer


@command
def pause(pair=None, minutes=None, reason="paused by an operator"):
    """
    Pause the watch of a pair on both nodes; it resumes by itself.

    pair
        Name of the pair.

    minutes
        For how long, up to a day.

    reason
        Shown by ``pair.status``.

    Returns ``comment`` and ``nodes``: by node ``until`` (ISO 8601, UTC), ``reason``, ``user`` and ``run``.
    Raises when one does not answer, with what the other one has done.

    CLI Example:

    .. code-block:: bash

        salt-run pair.pause salt 30 reason='switch maintenance'
    """
    usage = "salt-run pair.pause <pair> <minutes> [reason='…']"
    config = checks.configuration(_pairs(), pair, usage)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 < minutes <= 1440:
        raise SaltInvocationError(f"minutes must be from 1 to 1440, not {minutes!r}. Usage: {usage}")

    def told(one):
        return f"is {shown_pairs.paused(shown_pairs.pause_of(one), time.time())}"

    words = (minutes * 60, reason)
    done = _on_both(config, told, "pair.pause", *words, user=asked_by(globals()))
    first = min(done.values(), key=lambda one: one["until"])
    said = f"The watch of {pair} {told(first)}. It takes nothing until then."
    return {"comment": said, "nodes": {node: shown_pairs.pause_of(one) for node, one in done.items()}}


def _on_both(config, told, function, *args, **kwargs):
    """
    Both nodes' answers to what is for their watches.

    told
        What the watch of a node does after that answer, for whoever has to know it of one of them.

    Raises ``minions.NodesFailed`` when one does not answer, with what the other one has done.
    """
    pair, ids = config["name"], (config["primary"]["id"], config["secondary"]["id"])
    # It takes a node no time, and the other one may be dead: nobody should wait long to learn that.
    done, errors = minions.Nodes(__opts__).try_all(
        ids, function, pair, *args, look=minions.LOOK_WITHIN, **kwargs
    )
    if errors:
        others = [f"The watch of {pair} on {node} {told(one)}." for node, one in done.items()]
        raise minions.NodesFailed(" ".join([*errors.values(), *others]))
    return done


def hold(pair=None, minutes=None, reason="paused by an operator"):
    """
    The former name of ``pair.pause``, for one release.

    pair
        Name of the pair.

    minutes
        For how long, in minutes, up to a day.

    reason
        Shown by ``pair.status``.

    CLI Example:

    .. code-block:: bash

        salt-run pair.hold salt 30 reason='switch maintenance'
    """
    log.warning("pair.hold is called pair.pause now; the next release does not know the old name.")
    return pause(pair, minutes, reason)


@command
def resume(pair=None):
    """
    End a pause of the watch of a pair on both nodes.

    pair
        Name of the pair.

    Returns ``comment`` and ``nodes``: for each node, True when there was one. Raises when one does not
    answer, with what the other one has done.

    CLI Example:

    .. code-block:: bash

        salt-run pair.resume salt
    """
    config = checks.configuration(_pairs(), pair, "salt-run pair.resume <pair>")

    def told(paused):
        return "is not paused any more" if paused else "was not paused"

    done = _on_both(config, told, "pair.resume")
    said = f"The pause of {pair} is over." if any(done.values()) else f"The watch of {pair} was not paused."
    return {"comment": said, "nodes": done}
