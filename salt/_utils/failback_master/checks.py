"""
What must be true before a run changes anything, and after it has: each check raises a sentence.

For the runner ``pair`` and for the state modules that are steps of orchestrations.
"""

import salt.pillar
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.decisions import conflicts
from failback.decisions import given
from failback.decisions import places
from failback.errors import FailbackError
from failback.host import system
from failback.pillar import check
from failback.pillar import normalise
from failback.state import fencing
from failback.state import lock as locks
from failback_master import orchestration
from failback_master import witnesses


def pairs_of(pillar):
    """The pairs of the orchestrating master's pillar. Raises when it has none."""
    found = (pillar or {}).get("pairs")
    if not found:
        raise SaltInvocationError(
            "The pillar of this master has no pairs: pillar/top.sls must match '*_master'."
        )
    return found


def pairs_of_master(pillar, own):
    """
    The pairs of a pillar that Salt has just compiled for a master. Raises also when it could not.

    own
        The id of this master.
    """
    wrong = pillar.get("_errors") if isinstance(pillar, dict) else [str(pillar)]
    if wrong:
        raise CommandExecutionError(f"The pillar of {own} cannot be rendered: {' '.join(wrong)}")
    return pairs_of(pillar)


def other_master(pairs, own):
    """
    Where to ask instead when the salt-master of this machine does not work, a sentence.

    pairs
        The pillar's, right or wrong.

    own
        The id of this master.

    Returns an empty string where this machine is no node of a pair.
    """
    own = own.removesuffix("_master")
    try:
        nodes = [(one["primary"], one["secondary"]) for one in pairs.values()]
        names = [[each if isinstance(each, str) else each.get("id") for each in one] for one in nodes]
    except (KeyError, TypeError, AttributeError):
        return ""
    other = next((one[1 - one.index(own)] for one in names if own in one), None)
    return f" Or use the master on {other}." if other else ""


def require_known(opts, pillar, operation):
    """
    Refuse what an orchestration was given and does not know, in its first step and so for every caller.

    opts, pillar
        The master's, as a state of an orchestration has them: what was given is merged into the pillar.

    operation
        Such as ``recover``.

    Raises ``SaltInvocationError``.
    """
    orchestration = f"orch.{operation}"
    keys = [one for one in pillar or {} if not str(one).startswith("_")]
    if not given.unknown(orchestration, keys, ("pairs", "master")):
        return
    # The site may have keys of its own for its masters, and only Salt can tell them from what was given.
    # Not by the cache of `get_pillar`, nor with the pillar in opts, with which 3008 begins: what was
    # given is in both.
    terms = ({**opts, "pillar": {}}, opts.get("grains") or {}, opts["id"], opts.get("saltenv"))
    own = salt.pillar.Pillar(*terms, pillarenv=opts.get("pillarenv")).compile_pillar()
    wrong = given.unknown(orchestration, keys, own)
    if wrong:
        raise SaltInvocationError(wrong)


def configuration(pairs, pair, usage):
    """
    The normalised pair of that name.

    usage
        How the command is typed, for the error.

    Raises ``SaltInvocationError`` for no or an unknown pair, and for a pillar that is wrong.
    """
    if not isinstance(pair, str) or not pair:
        raise SaltInvocationError(f"No pair was named. Usage: {usage}")
    if pair not in pairs:
        raise SaltInvocationError(
            f"There is no pair {pair} (pairs: {', '.join(sorted(pairs))}). Usage: {usage}"
        )
    # A slip in another pair's file must not keep this one from being recovered at night.
    wrong = [check.sentence(one) for one in check.problems(pairs) if one["pair"] in (pair, "")]
    if wrong:
        raise SaltInvocationError("The pillar is wrong, nothing was done. " + " ".join(wrong))
    return normalise.normalise(pair, pairs[pair])


def require_overrides(config, overrides):
    """
    An operator's word about a node needs a reason, which the history keeps.

    overrides
        ``winner``, ``fenced`` and ``reason``, each text or None; ``moved``, True or None.

    Raises ``SaltInvocationError``.
    """
    winner, reason = overrides["winner"], overrides["reason"]
    if overrides["moved"] not in (None, True) or (overrides["moved"] and overrides["fenced"] is None):
        raise SaltInvocationError("moved must be true, and belongs to `fenced`.")
    nodes = (config["primary"]["id"], config["secondary"]["id"])
    if winner is not None and winner not in nodes:
        raise SaltInvocationError(f"winner must be {nodes[0]} or {nodes[1]}, not {winner!r}.")
    try:
        if winner is None:
            fencing.declared(config, overrides["fenced"], reason)
        else:
            fencing.require_reason(f"winner: {winner}", reason)
    except FailbackError as error:
        raise SaltInvocationError(str(error)) from error


def require_in_step(reports):
    """
    Both nodes must run the very code that this master has.

    Raises ``CommandExecutionError``: two halves of a handover that differ are a protocol nobody tested.
    """
    own = system.package_digest(system.PACKAGE)
    behind = [
        report["node"]
        for report in reports
        if report["package"]["modules"] != own or report["package"]["program"] != own
    ]
    if behind:
        raise CommandExecutionError(
            f"{' and '.join(behind)} run{'s' if len(behind) == 1 else ''} another release of Failback than "
            f"this master. Run `salt-run saltutil.sync_all` here and `salt -L '{','.join(behind)}' "
            f"state.apply`, then this again. Nothing was changed."
        )


def require_free(pair, reports, nodes):
    """
    No living run may own the lock: what a look finds in the middle of one is not worth judging.

    Raises ``CommandExecutionError``, naming that run.
    """
    dead = orchestration.dead_runs(reports, nodes)
    for report in reports:
        found = report["lock"] or {}
        if found.get("state") == "held" and found["run"] not in dead:
            raise CommandExecutionError(locks.refusal(pair, found))


def takeover(run, reports):
    """
    When the node that serves took over, on its own clock and on that of the one that is brought up to date;
    or None. See ``failback.decisions.conflicts.Takeover``.

    None also for a planned failover: what lsyncd has carried to the standby bears the times of changes
    on the active node, and is nobody's own.
    """
    if "pre-sync" not in run.plan.steps:
        return None
    by_node = {one["node"]: one for one in reports}
    found = conflicts.taken_over(by_node[run.other(run.plan.target)], by_node[run.plan.target])
    # A node of the release before knows of two moments.
    return found and [one for one in found if one is not None]


def require_elsewhere(run, reports):
    """The node that will reboot must not be the one on which this very run lives."""
    if "static" not in run.plan.steps or not run.config["recovery"]["reboot"]:
        return
    for report in reports:
        if report["node"] == run.plan.returned and report["boot_id"] == system.boot_id():
            raise CommandExecutionError(
                f"This run would reboot {run.plan.returned}, on which it runs itself, and never end. Run "
                f"it on the master of {run.other(run.plan.returned)}."
            )
    _require_no_guests(run)


def _require_no_guests(run):
    """The node that will reboot must not run virtual machines: they would be shut down with it."""
    if not run.config["vms"]:
        return
    node, pair = run.plan.returned, run.config["name"]
    there = run.nodes.one(node, "shared_vm.running", pair)
    if there:
        raise CommandExecutionError(
            f"This run would reboot {node}, which runs {', '.join(there)}. Move them away first: "
            f"salt-run state.orch orch.vm pillar='{{vm: all, away_from: {node}}}'"
        )


def require_interfaces(run, reports):
    """The node that is to get the addresses must have the interfaces for them."""
    if "static" in run.plan.steps:
        # Highstate and the reboot may bring them; the handover looks again before anything is released.
        return
    for report in reports:
        if report["node"] != run.plan.active or not {"handover", "take", "takeover"} & set(run.plan.steps):
            continue
        missing = [one for one in report["addresses"] if not one["interface_exists"]]
        if missing:
            named = "; ".join(f"floating_ips.{one['name']}.interface: {one['interface']}" for one in missing)
            raise CommandExecutionError(
                f"{report['node']} has no such interface: {run.config['name']}: {named}. Bring it up there, "
                f"or correct the pillar and apply highstate."
            )


def previews(run, reports):
    """What is going to be carried, judged by the delete guard, the sources and the room for the backup."""
    if not {"pre-sync", "drain"} & set(run.plan.steps):
        return []
    serving = next(one for one in reports if one["node"] != run.plan.target)
    return run.nodes.one(
        run.plan.target,
        "reverse_rsync.checked",
        run.config["name"],
        serving["sources"],
        takeover=takeover(run, reports),
        max_delete=run.config["recovery"]["max_delete"],
        max_change_percent=run.config["recovery"]["max_change_percent"],
        operation=run.operation,
        overrides=run.overrides,
    )


def ask_witnesses(run):
    """
    Ask the third hosts who answers for the addresses.

    Returns ``{"<address> by <witness>": link-layer address or why it could not be asked}``. Raises when
    one of them sees nobody, or more than one host, answer. A witness that cannot be asked proves
    nothing and stops nothing: the other node of the pair has proved the same.
    """
    shown = {}
    addresses = [one["address"] for one in run.config["floating_ips"]]
    seen, errors = witnesses.ask(run.nodes, run.config, addresses)
    for witness in run.config["witnesses"]:
        for address in addresses:
            key = f"{address} by {witness}"
            if address in errors[witness]:
                shown[key] = f"not asked: {errors[witness][address]}"
                continue
            if len(seen[witness][address]) != 1:
                raise CommandExecutionError(
                    f"{witness} sees {' and '.join(seen[witness][address]) or 'nobody'} answer for "
                    f"{address}; exactly one host must. Run `salt-run pair.status {run.config['name']}`."
                )
            shown[key] = seen[witness][address][0]
    return shown


def require_unseen(nodes, config, fenced, reports):
    """
    No witness may see a node answer that is off by an operator's word.

    nodes
        :py:class:`failback_master.minions.Nodes`.

    fenced
        Id of that node.

    reports
        What the nodes that answer report, by node.

    Raises ``CommandExecutionError`` with what was seen.
    """
    report = next((one for node, one in reports.items() if node != fenced), None)
    contradicted, _ = witnesses.of_silent(nodes, config, fenced, report)
    if contradicted:
        raise CommandExecutionError(contradicted)


#: Seconds for the lookouts to look anew, and for the minions to say that they still wait.
LOOKS_WITHIN = 20


def look_again(run, reports):
    """
    Have the nodes look anew at what they are worth, where something was not ready: it may be mended by now.

    A fence agent that has failed is asked for the other node's state as well, and switches nobody off.
    Nothing is looked at on a node that does not know how. Returns whether anybody was asked.
    """
    pair = run.config["name"]
    failed = [one["node"] for one in reports if (one.get("fence") or {}).get("well") is False]
    if failed:
        run.nodes.try_all(failed, "pair.fence_test", pair)
    if run.verdict.unready:
        run.nodes.try_all(run.members, "pair.look", pair, look=LOOKS_WITHIN)
    return bool(failed or run.verdict.unready)


def prove(run):
    """A last look after all steps, as a sentence. Raises when it is not what was wanted."""
    pair = run.config["name"]
    reports, errors = run.judge()
    if look_again(run, reports):
        reports, errors = run.judge()
    unexpected = {node: error for node, error in errors.items() if node in run.members}
    if unexpected:
        raise CommandExecutionError(" ".join(unexpected.values()))
    for report in reports:
        if report["node"] == run.plan.active and report["misplaced"]:
            raise CommandExecutionError(places.misplaced_sentence(report["node"], report["misplaced"], pair))
    # To complete a takeover says nothing of a primary that waits to come home.
    drift = run.verdict.drift if "services" in run.plan.steps else run.verdict.incomplete
    if run.verdict.active != run.plan.active or drift:
        raise CommandExecutionError(
            f"After all steps {pair} is {run.verdict.name}: {run.verdict.sentence} "
            f"{' '.join(run.verdict.drift)}"
        )
    seen = "".join(f" {what}: {mac}." for what, mac in ask_witnesses(run).items())
    return f"{pair} is {run.verdict.name}: {run.verdict.sentence}{seen}"
