"""
The steps of an orchestration on a pair, as states that run on the master.

.. code-block:: yaml

    Both nodes answer, and what they say allows a recovery:
      pair_run.opened:
        - pair: salt
        - operation: recover

    The watch is paused on both nodes:
      pair_run.watch_held:
        - require:
          - pair_run: Both nodes answer, and what they say allows a recovery

Each step looks at the plan that ``opened`` has made: one that the plan does not have succeeds without
a change and says that it was not needed. Every step ends with a look that proves what it did. With
``test=True`` nothing is changed, not even a lock.
"""

import logging
import time

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException

from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback_master import checks
from failback_master import highstate
from failback_master import minions
from failback_master import opening
from failback_master import orchestration
from failback_master.surface import live
from failback_master.surface import words

log = logging.getLogger(__name__)

__virtualname__ = "pair_run"

#: Seconds for which a handover may go on without the run that began it.
HANDOVER_LIMIT = 300


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_run holds the steps of an orchestration, which run on the master."
    return __virtualname__


def opened(
    name,
    pair=None,
    operation="recover",
    plan=None,
    max_delete=None,
    max_change_percent=None,
    winner=None,
    fenced=None,
    reason=None,
    moved=None,
):
    """
    Look at both nodes, decide, and take the pair for this run; or refuse before anything is changed.

    name
        What this step is, in words.

    pair
        Name of the pair.

    operation
        ``recover``, ``failover`` or ``boot``.

    plan
        Digest that ``salt-run pair.plan`` printed: the run stops if the facts have moved since.

    max_delete, max_change_percent
        Allow this one run more deletions (files) or changes (percent of the files of a path) than the
        pillar does.

    winner
        After a split-brain: the node whose data count. What the other one alone has goes to the backup.

    fenced
        For a failover: the node that does not answer because it is off, by the operator's word.

    reason
        Why, for the history; needed with ``winner`` and ``fenced``.

    moved
        With ``fenced``: True says that the data of the node that is to serve are where they lie now,
        although they lay elsewhere.
    """
    ret = _ret(name)
    limits = {"max_delete": max_delete, "max_change_percent": max_change_percent}
    overrides = {"winner": winner, "fenced": fenced, "reason": reason, "moved": moved}
    live.INTERRUPTS.watch()
    live.SCREEN.going(f"      precheck   {pair}: both nodes are asked, and what they say is checked")
    try:
        with live.INTERRUPTS.raised():
            return _opened(ret, pair, operation, plan, limits, overrides)
    except live.Interrupted:
        ret["changes"] = {}
        ret["comment"] = "Interrupted before the first step; nothing was changed."
        return ret
    finally:
        live.SCREEN.done()


def _opened(ret, pair, operation, plan, limits, overrides):
    """``opened`` without what surrounds it."""
    begun = time.monotonic()
    try:
        run, reports = opening.planned(__opts__, __pillar__, pair, operation, plan, limits, overrides)
    except SaltException as error:
        elsewhere = ""
        if isinstance(error, minions.NoMaster):
            elsewhere = checks.other_master((__pillar__ or {}).get("pairs") or {}, __opts__["id"])
        ret["comment"] = f"Refused, nothing was changed. {error}{elsewhere}"
        return ret
    run.facts["before"] = _served(run.verdict)
    if run.plan.nothing_to_do:
        __context__[orchestration.CONTEXT] = run
        ret["result"] = True
        ret["comment"] = f"Nothing to do: {pair} is {run.verdict.name}. {run.verdict.sentence}"
        return ret
    ret["changes"] = {"run": run.id, "verdict": run.verdict.name, "steps": list(run.plan.steps)}
    if __opts__["test"]:
        __context__[orchestration.CONTEXT] = run
        ret["result"] = None
        ret["comment"] = f"Would {operation} {pair}, which is {run.verdict.name}. {run.verdict.sentence}"
        return ret
    try:
        opening.take(run, reports)
    except SaltException as error:
        ret["changes"] = {}
        ret["comment"] = f"Refused, nothing was changed. {error}"
        if run.opened:
            __context__[orchestration.CONTEXT] = run
            run.note("precheck", False, str(error), time.monotonic() - begun)
        return ret
    __context__[orchestration.CONTEXT] = run
    ret["result"] = True
    said = [run.verdict.sentence]
    if run.took_over:
        said.append(f"Took over the lock of run {run.took_over}, which is no longer running.")
    ret["comment"] = f"{pair} is {run.verdict.name}: {' '.join(said)} Run {run.id} owns the lock."
    run.note("precheck", True, " ".join(said), time.monotonic() - begun)
    run.progress.planned(run.plan.steps)
    return ret


def _served(found):
    """What is shown of a verdict beside another one."""
    return {"verdict": found.name, "active": found.active, "generation": found.generation}


def watch_held(name):
    """
    Pause the watch on both nodes, with an expiry, so that it takes nothing in the middle of a handover.

    name
        What this step is, in words.
    """

    def work(run, changes):
        run.pause()
        changes["pause"] = list(run.ids)
        return "The watch is paused on both nodes, as long as this run lives."

    return _step(name, "pause", work)


def winner_settled(name):
    """
    End a split-brain: the node that the operator named winner is the only active one.

    Its generation is raised above both first. The loser then releases the addresses, stops what only
    the active node runs, and lets nobody write before what it alone has is saved.

    name
        What this step is, in words.
    """

    def work(run, changes):
        pair, winner, loser = run.config["name"], run.winner, run.other(run.winner)
        generation = 1 + max(
            one["ledger"]["generation"] for one in run.nodes.all(run.ids, "pair.report", pair).values()
        )
        run.nodes.one(winner, "pair.win", pair, run.id, generation, f"named the winner: {run.reason}")
        run.nodes.one(loser, "pair.step_down", pair, run.id, generation)
        run.nodes.one(winner, "pair.take", pair, run.id)
        # What follows is judged by what is true from here on.
        found = run.judge()[0]
        if run.verdict.active != winner:
            raise CommandExecutionError(f"{winner} does not serve {pair} alone: {run.verdict.sentence}")
        changes.update(
            {one["node"]: f"generation {one['ledger']['generation']}, {winner} active" for one in found}
        )
        return f"{winner} alone is active in generation {generation}."

    return _step(name, "settle", work)


def taken_over(name):
    """
    Make the secondary active while the primary is off: by its fence agent, or the operator's word.

    name
        What this step is, in words.
    """

    def work(run, changes):
        found = run.nodes.one(
            run.plan.alone,
            "pair.take_over",
            run.config["name"],
            run.id,
            run.owner,
            run.fenced,
            run.reason,
            moved=run.moved,
        )
        run.known_by = found.pop("reason")
        # A pair without addresses takes none; a node of the release before says no more than which.
        if found.pop("already", True) and not found["addresses"]:
            return f"{run.plan.alone} serves already, in generation {found['generation']}."
        changes[run.plan.alone] = found
        return f"{run.plan.alone} serves in generation {found['generation']}: {found['why']}."

    return _step(name, "takeover", work)


def returned_node_is_current(name):
    """
    Bring the returned node's static configuration up to date: highstate, reboot, highstate again.

    A new boot id proves the reboot, an answer and an idle minion the return, a highstate without
    changes the configuration.

    name
        What this step is, in words.
    """

    def work(run, changes):
        node, pair = run.plan.returned, run.config["name"]
        run.tell(f"highstate on {node}")
        first = highstate.highstate(run.nodes, [node])[node]
        if first:
            changes["highstate"] = first
        if run.config["recovery"]["reboot"]:
            before = run.nodes.one(node, "pair.reboot", pair, run.id)
            run.tell(f"{node} reboots: waits for a new boot id")
            seconds = highstate.wait_rebooted(run, node, before, run.config["recovery"]["boot_timeout"])
            changes["reboot"] = f"new boot after {seconds:.0f} s"
            run.tell(f"{node} has booted: waits until its highstate at boot has ended")
            highstate.wait_idle(run, node, run.config["recovery"]["boot_timeout"])
            run.tell(f"highstate on {node}, after the reboot")
            again = highstate.highstate(run.nodes, [node])[node]
            if again:
                # What the first boot with the new configuration still had to put right.
                changes["highstate after the reboot"] = again
                last = highstate.highstate(run.nodes, [node])[node]
                if last:
                    raise CommandExecutionError(
                        f"Highstate on {node} does not come to rest; it still changes: {', '.join(last)}."
                    )
        return f"The static configuration of {node} is current."

    return _step(name, "static", work)


def services_started(name):
    """
    Start the pair's services, the primary first, each proved up before the next.

    name
        What this step is, in words.
    """

    def work(run, changes):
        for node in run.ids:
            done = run.nodes.one(node, "pair.start_services", run.config["name"])
            started = [service for service, what in done.items() if what == "started"]
            if started:
                changes[node] = started
        return "The services run on both nodes."

    return _step(name, "services", work)


def drained(name):
    """
    Wait until lsyncd has carried what there is, so that little is left for the final sync.

    name
        What this step is, in words.
    """

    def work(run, changes):
        serving, pair = run.other(run.plan.active), run.config["name"]
        _, errors = run.nodes.try_all([serving], "lsyncd.drain", pair, limit=60)
        sources = run.nodes.one(serving, "pair.report", pair)["sources"]
        previews = run.nodes.one(
            run.plan.active,
            "reverse_rsync.checked",
            pair,
            sources,
            max_delete=run.config["recovery"]["max_delete"],
            max_change_percent=run.config["recovery"]["max_change_percent"],
            run=run.id,
            operation=run.operation,
        )
        actions = ("overwritten", "deleted", "created", "attributes")
        left = sum(one[action] for one in previews for action in actions)
        if errors and left > run.config["recovery"]["small_pass"]:
            raise CommandExecutionError(
                f"lsyncd is behind: {left} files differ, and nobody would serve while they are carried. "
                f"{' '.join(errors.values())}"
            )
        return f"lsyncd has carried what there was; {left} files are left for the final sync."

    return _step(name, "drain", work)


def files_pre_synced(name):
    """
    Bring back what changed while the serving node still serves, with a backup of all it replaces.

    name
        What this step is, in words.
    """

    def work(run, changes):
        reports = run.nodes.all(run.ids, "pair.report", run.config["name"])
        serving = reports[run.other(run.plan.target)]
        with run.hearing_of_files(run.plan.target):
            done = run.nodes.one(
                run.plan.target,
                "reverse_rsync.synced",
                run.config["name"],
                run.id,
                serving["sources"],
                takeover=checks.takeover(run, reports.values()),
                max_delete=run.config["recovery"]["max_delete"],
                max_change_percent=run.config["recovery"]["max_change_percent"],
            )
        changes.update(done["changes"])
        _reload(run, done["then"])
        run.facts["files"] = {
            action: sum(each[action] for each in done["paths"])
            for action in ("overwritten", "deleted", "created", "attributes")
        }
        missed = {path: why for each in done["paths"] for path, why in each["conflict_names"].items()}
        run.facts["conflicts"] = {
            "count": sum(each["conflicts"] for each in done["paths"]),
            "node": run.plan.target,
            "names": sorted(missed),
        }
        return done["comment"]

    return _step(name, "pre-sync", work)


def files_warm(name):
    """
    The former name of ``pair_run.files_pre_synced``, for one release.

    name
        What this step is, in words.
    """
    log.warning(
        "pair_run.files_warm is called pair_run.files_pre_synced now; the next release does not know the old "
        "name."
    )
    return files_pre_synced(name)


def _reload(run, units):
    """The services whose files have come back read them anew on the node that received them."""
    if units:
        run.nodes.one(run.plan.target, "pair.reload", run.config["name"], units)


def repositories_pushed(name):
    """
    Push the Git repositories. A branch that has diverged is reported and left alone.

    name
        What this step is, in words.
    """

    def work(run, changes):
        if not run.config["git"]:
            return "The pair has no repositories."
        done = run.nodes.one(run.other(run.plan.target), "pair.push_git", run.config["name"], run.id)
        changes.update({one["repository"]: one["pushed"] for one in done if one["pushed"]})
        diverged = [f"{one['repository']}: {reference}" for one in done for reference in one["diverged"]]
        comment = "The repositories are pushed."
        if diverged:
            comment = (
                "Left alone because they have diverged; merge them by hand: " + "; ".join(diverged) + "."
            )
        return comment

    return _step(name, "git", work)


def handed_over(name):
    """
    Move the addresses: release there, final sync, take here, announce, prove. The active services follow.

    name
        What this step is, in words.
    """

    def work(run, changes):
        done = run.nodes.one(
            run.plan.active,
            "pair.handover",
            run.config["name"],
            run.id,
            max_delete=run.config["recovery"]["max_delete"],
        )
        changes["active"] = {"old": run.other(run.plan.active), "new": run.plan.active}
        changes["generation"] = done["generation"]
        # Each by its own clock: only differences within one list mean anything.
        changes[f"window on {run.plan.active}"] = _steps(done["timeline"])
        changes[f"window on {run.other(run.plan.active)}"] = _steps(done["far_timeline"])
        run.window = {
            "taker": run.plan.active,
            "nodes": {
                run.plan.active: done["timeline"],
                run.other(run.plan.active): done["far_timeline"],
            },
        }
        if done["final_sync"]:
            changes["final sync"] = {
                one["path"]: ", ".join(
                    f"{one[action]} {action}"
                    for action in ("overwritten", "deleted", "created", "attributes")
                )
                + _compared(one)
                for one in done["final_sync"]["paths"]
            }
        if done["started"]:
            changes["started"] = done["started"]
        active = f"{run.plan.active} is active in generation {done['generation']}"
        run.facts["window_milliseconds"] = round(done["window_milliseconds"], 1)
        if done["final_sync"]:
            files = run.facts.setdefault("files", {})
            for one in done["final_sync"]["paths"]:
                for action in ("overwritten", "deleted", "created", "attributes"):
                    files[action] = files.get(action, 0) + one[action]
            whole = {one["path"]: one["why"] for one in done["final_sync"]["paths"] if one["named"] is None}
            if whole:
                run.facts["compared_as_a_whole"] = whole
        try:
            witnessed = checks.ask_witnesses(run)
        except CommandExecutionError as error:
            done["problems"].append(str(error))
        else:
            if witnessed:
                changes["seen by"] = witnessed
        if done["problems"]:
            raise CommandExecutionError(f"{active}, but: {' '.join(done['problems'])}")
        return f"{active}; the addresses were unassigned for {done['window_milliseconds']:.1f} ms."

    return _step(name, "handover", work, outlives=HANDOVER_LIMIT)


def _steps(timeline):
    return [f"{one['milliseconds']:9.3f} ms  {one['step']}" for one in timeline]


def _compared(one):
    """How the final sync of a path was made, in words."""
    if one["named"] is not None:
        return f"; {one['named']} names compared, from the journal of changes"
    return f"; everything compared, because {one['why']}"


def files_equal(name):
    """
    Compare both nodes after the handover: all differences must be newer than it.

    name
        What this step is, in words.
    """

    def work(run, changes):
        if not run.config["replicate"]:
            return "The pair has no replicated paths."
        found = run.nodes.one(
            run.plan.active,
            "reverse_rsync.compared",
            run.config["name"],
            run.verdict.uncompared or run.id,
        )
        if found["unexplained"]:
            raise CommandExecutionError(
                f"{len(found['unexplained'])} files differ between the nodes and were not changed since the "
                f"handover: {', '.join(found['unexplained'][:20])}. lsyncd is not started, so both versions "
                f"are still there. Compare them, then run the recovery again."
            )
        run.facts["compared"] = found["files"]
        return f"Both nodes have the same files ({found['files']} compared)."

    return _step(name, "compare", work)


def agreed(name):
    """
    Record on both nodes who is active and in which generation, and admit both in their present boot.

    name
        What this step is, in words.
    """

    def work(run, changes):
        # The active node first: should this end in between, the other one merely knows less.
        generation = run.verdict.generation
        _admit(run, run.plan.active, generation)
        # Service first: a boot leaves it to the recovery that follows to save what the standby alone has.
        unsaved = run.verdict.unsaved and bool(run.config["replicate"]) and "pre-sync" not in run.plan.steps
        _admit(run, run.other(run.plan.active), generation, admitted=False, unsaved=unsaved)
        changes.update({node: f"generation {generation}, {run.plan.active} active" for node in run.ids})
        return f"Both nodes have it in their ledgers that {run.plan.active} is active."

    return _step(name, "admit", work)


def _admit(run, node, generation, admitted=True, unsaved=False):
    """Write it into a node's ledger who is active in which generation."""
    run.nodes.one(
        node,
        "pair.admit",
        run.config["name"],
        generation,
        run.plan.active,
        run.id,
        f"{run.operation} by {run.id}",
        admitted=admitted,
        unsaved=unsaved,
    )


def addresses_taken(name):
    """
    Take the addresses on the node that is active by both ledgers, where it does not hold them yet.

    name
        What this step is, in words.
    """

    def work(run, changes):
        taken = run.nodes.one(run.plan.active, "pair.take", run.config["name"], run.id)
        if taken:
            changes[run.plan.active] = taken
        return f"{run.plan.active} has the addresses."

    return _step(name, "take", work)


def active_alone(name):
    """
    lsyncd and the active services run on the active node, and nowhere else.

    name
        What this step is, in words.
    """

    def work(run, changes):
        pair, active = run.config["name"], run.plan.active
        standby = None if run.plan.alone else run.other(active)
        there = run.nodes.one(active, "pair.report", pair)
        found = {"admitted": True, "unsaved": False}
        if standby:
            # Off here before on there: never both.
            found = run.nodes.one(standby, "pair.stand_by", pair, run.id, sources=there["sources"])
            done = {what: found[what] for what in ("stopped", "made") if found[what]}
            if done:
                changes[standby] = done
        how = {"anew": not found["admitted"], "carry": not found["unsaved"]}
        started = run.nodes.one(active, "pair.activate", pair, run.id, **how)["started"]
        if started:
            changes[active] = {"started": started}
        if standby and active == run.config["primary"]["id"] and not found["unsaved"]:
            # Said only now: the active node serves all the same.
            if found["absent"]:
                raise CommandExecutionError(" ".join(found["absent"]))
            if run.config["replicate"]:
                run.nodes.one(active, "lsyncd.first_pass", pair, limit=3600)
            # It has ended: only now has the standby what it would need to serve.
            _admit(run, standby, there["ledger"]["generation"])
        run.nodes.all(run.members, "pair.watching", pair)
        return checks.prove(run)

    return _step(name, "activate", work)


def closed(name):
    """
    Close the run: the watch resumes, the lock is given back, the record is kept on both nodes.

    Runs last and also after a failed step, and then says what was left and who serves.

    name
        What this step is, in words.
    """
    run = __context__.pop(orchestration.CONTEXT, None)
    if run is not None:
        __context__.setdefault(orchestration.CLOSED, []).append(run)
    if run is None or not run.opened:
        return {**_ret(name), **orchestration.NOT_OPENED}

    def give_back(record):
        primary, secondary, errors = run.look()
        unclosed = {node: error for node, error in errors.items() if node in run.members}
        found = verdicts.judge(run.config, primary, secondary)
        run.facts["after"] = _served(found)
        record = {**record, "facts": dict(run.facts)}
        teller = {}
        for node, other in zip(run.ids, (secondary, primary)):
            if node not in run.members:
                continue
            sources = other["sources"] if other and not run.failed else None
            look = orchestration.LOOK_BESIDE_DEAD_WITHIN if node in errors else minions.LOOK_WITHIN
            # The first that answers tells its hooks how the run has ended.
            words = record if teller else {**record, "told_by": node}
            terms = (run.config["name"], run.id, words)
            teller, failed = run.nodes.try_all([node], "pair.close_run", *terms, look=look, sources=sources)
            unclosed.update(failed)
        return unclosed, f"{run.config['name']} is now {found.name}: {found.sentence}"

    done = f"{run.config['name']} is served by {run.plan.active}."
    doing = "a last look" if run.interrupted else "lock and pause are given back, the record is kept"
    live.SCREEN.going(f"      close      {doing}")
    try:
        return {**_ret(name), **run.close(done, give_back)}
    finally:
        live.SCREEN.done()


def _ret(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _step(name, step, work, outlives=0):
    """
    The anatomy of a step: is it planned, is it only a test, do it, keep what it said.

    work
        Function of the run and of a dict, which it fills with what it changes; it returns the comment, and
        raises when it cannot prove its work. What was changed until then stays in the dict.

    outlives
        See ``failback_master.orchestration.Run.renew``.
    """
    ret = _ret(name)
    run = __context__.get(orchestration.CONTEXT)
    if run is None:
        ret["comment"] = "No run is open: the precheck refused, or was left out."
        return ret
    if step not in run.plan.steps:
        ret["result"] = True
        ret["comment"] = f"Not needed: {run.config['name']} is {run.verdict.name}."
        return ret
    if __opts__["test"]:
        ret["result"] = None
        ret["changes"] = {step: plans.STEPS[step]}
        ret["comment"] = f"Would see to it that {plans.STEPS[step]}."
        return ret
    begun = time.monotonic()
    # In a handover every millisecond counts; the renewal before it says as much.
    run.begin(step, plans.STEPS[step], quiet=bool(outlives))
    try:
        with live.INTERRUPTS.raised():
            run.renew(outlives)
            ret["comment"] = work(run, ret["changes"])
            ret["result"] = True
    except SaltException as error:
        ret["comment"] = str(error)
    except live.Interrupted:
        run.interrupted = True
        ret["comment"] = words.INTERRUPTED
    except Exception as error:
        # Nobody has foreseen it. Salt shows where it was; the run ends as one that has failed.
        run.note(step, False, f"{type(error).__name__}: {error}", time.monotonic() - begun)
        raise
    run.note(step, ret["result"], ret["comment"], time.monotonic() - begun)
    return ret
