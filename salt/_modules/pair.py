"""
The two nodes of an active/standby pair, as seen and changed on one of them.

An operator uses ``salt-run pair.status`` and the orchestrations; these functions are what those call
on the nodes. Only ``report``, ``gate``, ``pause`` and ``resume`` are meant to be called by hand.
The module is several files of one virtual name; this one: what is true of the node, and what an orchestration
does on it.

What is decided here is decided in ``failback`` (this tree's ``_utils``), which also runs without
Salt as ``/usr/local/sbin/failback``.
"""

import logging
import os
import time

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import salt_errors
from failback import report as reports
from failback.decisions import places
from failback.decisions import plan as plans
from failback.errors import FailbackError
from failback.guests import virsh
from failback.handover import takeover as takeovers
from failback.handover import taker
from failback.host import files
from failback.host import services
from failback.host import system
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.pair import Member
from failback.readiness import record
from failback.recovery import handover_sync
from failback.recovery.reverse_rsync import ReverseRsync
from failback.replication import gate as gates
from failback.replication import git_push
from failback.replication import replicated
from failback.replication import sources as source_facts
from failback.state import configuration
from failback.state import fencing
from failback.state import ledger
from failback_master import cluster
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "pair"

log = logging.getLogger(__name__)


def __virtual__():
    return __virtualname__


@salt_errors.translated
def report(pair=None, guests=False):
    """
    Report what is true of a pair on this node now.

    pair
        Name of the pair; this node's own when left out.

    guests
        Ask libvirt as well, for a pair with virtual machines.

    Returns a dict; its keys are those of ``failback.report.report`` in this tree's ``_utils``, with
    ``package`` added, the digest of the code that answered, and with ``guests`` for a pair with virtual
    machines that was asked for them: what ``shared_vm.report`` returns, or ``{"error": why}``. Raises
    ``CommandExecutionError`` when the node has no configuration of the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt*' pair.report salt
    """
    if pair is None:
        known = configuration.names(_paths())
        if len(known) != 1:
            raise CommandExecutionError(
                f"{__opts__['id']} has {', '.join(known) or 'no pair'} configured; name one pair."
            )
        pair = known[0]
    found = {**reports.report(Member(pair, _paths())), "package": __salt__["pair.package"]()}
    if guests and _member(pair).config["vms"]:
        try:
            found["guests"] = __salt__["shared_vm.report"](pair)
        except CommandExecutionError as error:
            found["guests"] = {"error": str(error)}
    return found


@salt_errors.translated
def look(pair, limit=record.ANSWERS_WITHIN):
    """
    Look at once at what this node is worth to the pair: what a takeover would depend on.

    The lookout looks all the time; this is for whoever has just changed something.

    pair
        Name of the pair.

    limit
        Seconds to wait for the lookout.

    Returns what ``failback.readiness.record`` describes: ``role``, ``ready``, ``findings``, ``facts`` and
    others. Raises ``CommandExecutionError`` when the lookout does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'salt*' pair.look salt
    """
    return record.look_now(_member(pair), float(limit))


@salt_errors.translated
def gate(pair):
    """
    Say whether lsyncd may run on this node now.

    pair
        Name of the pair.

    Returns ``{"open": bool, "reason": str or None}``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.gate salt
    """
    try:
        gates.require_lsyncd(_member(pair))
    except FailbackError as error:
        return {"open": False, "reason": str(error)}
    return {"open": True, "reason": None}


# --- what an orchestration does on a node ------------------------------------------------------


@salt_errors.translated
def reboot(pair, run):
    """
    Reboot this node, unless it serves the pair.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    Returns the boot id that must be another one afterwards. Raises ``CommandExecutionError`` when
    the node holds an address of the pair or the run does not own the lock.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.reboot salt 20261122T183000-recover-salt-4f2a
    """
    member = Member(pair, _paths())
    member.lock.require(run)
    found = reports.report(member)
    held = [one["address"] for one in found["addresses"] if one["held"]]
    serves = ledger.is_active(found["ledger"], found["node"])
    if held or (serves and not found["addresses"]):
        raise CommandExecutionError(
            f"{found['node']} serves {pair} ({', '.join(held) or 'by its ledger'}); rebooting it would "
            f"take the service down. Nothing was done."
        )
    there = virsh.running(member.config)
    if there:
        raise CommandExecutionError(
            f"{found['node']} runs {', '.join(there)}; rebooting it would shut them down. Nothing was done."
        )
    # A job of its own: the answer to this call must leave before the machine goes down.
    system.run(
        ["systemd-run", "--quiet", "--collect", "--on-active=1", "systemctl", "reboot"],
        10,
        "schedule the reboot",
    )
    return found["boot_id"]


@salt_errors.translated
def start_services(pair):
    """
    Start the pair's services on this node in their order, each proved up before the next.

    pair
        Name of the pair.

    Returns ``{service: "started" or "already running"}``. Raises ``CommandExecutionError`` for a
    service that does not exist, does not start, does not stay up, or fails its own proof.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.start_services salt
    """
    member = _member(pair)
    return {
        service["name"]: services.start(pair, "services", service, member.node)
        for service in member.config["services"]
    }


@salt_errors.translated
def take(pair, run):
    """
    Take the pair's addresses on the node that its ledger names active, and announce them.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    Returns the addresses that were not held before. Raises ``CommandExecutionError`` when this node
    is not the active one, was not admitted in this boot, or another host answers for an address; with a
    ``lease``, also when another node has it after its time, or nobody can grant it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.take salt 20261122T183000-boot-salt-4f2a
    """
    member = _member(pair)
    member.lock.require(run)
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if not ledger.is_active(own, member.node):
            raise CommandExecutionError(
                f"{member.node} is not admitted as the active node of {pair}, so it takes no address."
            )
        wanted = floating.of_pair(member.config)
        missing = [one for one in wanted if not floating.status(one)["held"]]
        if missing:
            linked, _ = floating.by_link(missing)
            with address_holder.Holder(missing) as holder:
                # With a dead link among them the others are of use all the same.
                holder.check(linked or missing)
                right.obtain_as_active(member, own["generation"])
                right.take(member, holder, missing)
            address_holder.announce_later(member)
    return [one.address for one in missing]


@salt_errors.translated
def take_over(pair, run, owner, fenced, reason, moved=False):
    """
    Make this node active without the other one, which is off by its fence agent's or an operator's word.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    owner
        The process that orchestrates; see ``failback.state.lock.acquire``.

    fenced, reason
        The operator's word, as for ``fencing.declare``: the node that is off, and how that is known.

    moved
        The operator's word that this node's data are where they lie now, although they lay elsewhere.

    Returns ``{"generation": n, "addresses": [...], "why": sentence, "reason": text, "already": bool}``: the
    addresses that were taken; how it is known that the other one is off, as the history keeps it; and whether
    this node served already. Raises ``CommandExecutionError`` when that one answers after all, when this node
    was not admitted in this boot, or when another host answers for one of the addresses.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.take_over salt 20261122T183000-failover-salt-4f2a '{user: root}' salt1 'no power'
    """
    member = _member(pair)
    word = __salt__["fencing.declare"](pair, fenced, reason, run, owner)
    own = member.ledger.read()
    held = [one for one in floating.of_pair(member.config) if floating.status(one)["held"]]
    said = {"why": fencing.said(word), "reason": word["reason"]}
    if ledger.is_active(own, member.node) and (held or not member.config["floating_ips"]):
        return {"generation": own["generation"], "addresses": take(pair, run), **said, "already": True}
    if moved:
        source_facts.record_moved(member)
    return {**takeovers.take_over(member, said["why"], run), **said, "already": False}


@salt_errors.translated
def win(pair, run, generation, reason):
    """
    Make this node the winner of a split-brain: its ledger goes to a generation above both.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    generation
        The new one. The ledger refuses to go back.

    reason
        For the ledger.

    Returns the ledger's entry. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.win salt 20261122T183000-recover-salt-4f2a 8 'named the winner'
    """
    member = _member(pair)
    with member.ledger.changing_hands():
        member.lock.require(run)
        node = member.node
        gates.require_in_place(member, f"{node} is no winner.")
        own = member.ledger.read()
        # It has served since then, and what the loser has written since then are conflicts.
        since = own["since"] if own and own["active"] == node else None
        return member.ledger.write(ledger.Entry(int(generation), node, run, reason, since=since))


@salt_errors.translated
def step_down(pair, run, generation):
    """
    Step down for the other node: release the addresses, stop lsyncd and the active services.

    What this node alone has is kept from being overwritten until a recovery has saved it.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    generation
        The other node's, which must be higher than this one's.

    Returns a sentence. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.step_down salt 20261122T183000-recover-salt-4f2a 8
    """
    member = _member(pair)
    member.lock.require(run)
    other = member.peer["id"]
    own = member.ledger.read()
    if own and (own["generation"], own["active"]) == (int(generation), other):
        return f"{member.node} has stepped down to {other} already."
    return takeovers.yield_to(member, int(generation), other, run)


def give_way(pair, run, generation):
    """
    The former name of ``pair.step_down``, for one release.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    generation
        The other node's, a number, which must be higher than this one's.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.give_way salt 20261122T183000-recover-salt-4f2a 8
    """
    log.warning("pair.give_way is called pair.step_down now; the next release does not know the old name.")
    return step_down(pair, run, generation)


@salt_errors.translated
def handover(pair, run, max_delete=None):
    """
    Make this node active: the last changes come over, and the addresses with them.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    max_delete
        Files that the final sync may delete in a path here, in place of the pair's number.

    Once this node has them, services read the files again that have come over, and the active services
    start: also when nobody is left to ask for it, for they do not run on the other node any more.

    Returns what ``failback.handover.taker.become_active`` returns: generation, window in milliseconds, the
    timeline, and who answers now; with ``started``, the active services that did not run before, and
    ``problems``, sentences about what did not reload or start. Raises ``CommandExecutionError`` whose message
    says who serves.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.handover salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)

    def prepare_final_sync(control):
        if not member.config["replicate"]:
            return None
        overrides = {"max_delete": max_delete}
        return handover_sync.FinalSync(ReverseRsync.of_run(member, run, control=control, overrides=overrides))

    done = taker.become_active(member, run, prepare_final_sync)
    done.update(started=[], problems=[])
    brought = done["final_sync"]
    try:
        if brought and brought["then"]:
            reload(pair, brought["then"])
    except CommandExecutionError as error:
        done["problems"].append(str(error))
    try:
        done["started"] = start_active_services(pair, run)
    except CommandExecutionError as error:
        done["problems"].append(str(error))
    return done


@salt_errors.translated
def activate(pair, run, anew=False, carry=True):
    """
    Start on the active node what runs there alone: lsyncd, then the active services.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    anew
        True: lsyncd is started again where it runs, see ``lsyncd.start``.

    carry
        False: lsyncd is not started. The standby lets nobody write before what it alone has is saved.

    lsyncd's first pass goes on then, see ``lsyncd.first_pass``. Returns ``{"started": [unit, …]}``. Raises
    ``CommandExecutionError``; a closed gate stops it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.activate salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)
    member.lock.require(run)
    started = []
    carries = carry and member.config["replicate"] and member.role == "primary"
    if carries and __salt__["lsyncd.start"](pair, anew=anew):
        started.append(services.LSYNCD)
    return {"started": started + start_active_services(pair, run)}


@salt_errors.translated
def start_active_services(pair, run):
    """
    Start on the active node the services that run there alone, in their order, each proved up.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    Returns the names of those that did not run before. Raises ``CommandExecutionError``, also on a node
    that its ledger does not name active.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.start_active_services salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)
    member.lock.require(run)
    if not member.is_active():
        raise CommandExecutionError(
            f"{member.node} is not admitted as the active node of {pair}, so its active services stay off."
        )
    return [
        one["name"]
        for one in member.config["active_services"]
        if services.start(pair, "active_services", one, member.node) == "started"
    ]


@salt_errors.translated
def stand_by(pair, run, sources=None):
    """
    Stop on the standby what runs on the active node alone, and make room for what it is sent.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    sources
        What the active node reports of its paths. A folder that is missing here is made, unless it was
        here before or would lie elsewhere than it did: then its file system is not mounted.

    Returns ``{"stopped": [unit, …], "made": [folder, …], "absent": [sentence, …], "admitted": bool,
    "unsaved": bool}``: ``absent`` is about paths to which nothing can be carried, ``admitted`` says whether
    this node has been compared as a whole since it booted, ``unsaved`` is as in the ledger. Raises
    ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.stand_by salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)
    member.lock.require(run)
    own = member.ledger.read()
    if ledger.is_active(own, member.node):
        raise CommandExecutionError(
            f"{member.node} is the active node of {pair} by its ledger, so nothing is stopped there. See "
            f"`salt-run pair.status {pair}`."
        )
    stopped = []
    for key, one in services.of_the_active_node(member.config):
        done = services.stop(pair, key, one, member.node)
        if done == "unknown":
            raise CommandExecutionError(
                f"{pair}: cannot tell whether {one['name']} (active_services) is stopped on the standby "
                f"{member.node}: its status command gives no answer. Run: {' '.join(one['status'])}"
            )
        if done == "stopped":
            stopped.append(one["name"])
    made, absent = _make_folders(member, sources or {})
    elsewhere = source_facts.misplaced(member)
    if elsewhere:
        absent.append(places.misplaced_sentence(member.node, elsewhere, pair))
    return {
        "stopped": stopped,
        "made": made,
        "absent": absent,
        "admitted": ledger.is_admitted(own),
        "unsaved": bool(own and own.get("unsaved")),
    }


def _make_folders(member, sources):
    """The folders that the active node replicates; rsync's daemon cannot make its own root."""
    before = source_facts.recorded(member)["own"] or {}
    made, absent = [], []
    # Those of this node's own pillar: what the other one reports says of what kind they are, and no more.
    for path in sorted(one["path"] for one in member.config["replicate"]):
        kind = sources.get(path, {}).get("kind")
        if kind is None:
            continue
        # Of a file or a pattern the folder that holds it.
        folder = replicated.item(path, is_directory=kind == "directory").root
        if os.path.isdir(folder):
            continue
        if before.get(path, {}).get("exists"):
            absent.append(
                f"{path} was on {member.node} and is missing now. Is its file system mounted? Nothing is "
                f"carried there before it is."
            )
        else:
            os.makedirs(folder, mode=0o755)
            made.append(folder)
    return made, absent


@salt_errors.translated
def watching(pair, limit=30):
    """
    See to it that the watch runs on this node and has seen the addresses that it is to take over.

    Cron would start it within a minute; until then nobody would notice that the active node has gone.

    pair
        Name of the pair.

    limit
        Seconds to wait for it.

    Returns the names of the watches. Raises ``CommandExecutionError`` when one does not run or does
    not see the active node answer.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.watching salt
    """
    member = _member(pair)
    role = member.role
    watches = [address["watch"] for address in member.config["floating_ips"]]
    crons = sorted({watch["cron"] for watch in watches if watch["on"] in ("both", role)})
    for cron in crons:
        # It detaches itself; one that runs already lets this one end.
        system.run([str(member.paths.program), "watch", cron], 10, f"start the watch {cron}")
    end = time.monotonic() + float(limit)
    while True:
        missing = [reason for cron in crons for reason in _unwatched(member, cron)]
        if not missing:
            return crons
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"The watch of {pair} on {member.node} is not ready after {limit} s: {' '.join(missing)}"
            )
        time.sleep(0.1)


def _unwatched(member, cron):
    """What keeps a watch from taking over, as sentences, by its own status file."""
    found = files.read_json(member.paths.watch_status(cron), f"the status of the watch {cron}") or {}
    if system.process_started(found.get("pid") or 0) is None:
        return [f"{cron} does not run."]
    addresses = found.get("pairs", {}).get(member.pair, {}).get("addresses")
    if not addresses:
        return [f"{cron} does not know {member.pair} yet."]
    return [
        f"{cron} has not seen {name} answered."
        for name, one in sorted(addresses.items())
        if not (one["seen"] or one["held"])
    ]


@salt_errors.translated
def push_git(pair, run):
    """
    Push the pair's repositories from this node to the other one, as their owners; nothing is forced.

    pair, run
        Name of the pair, and id of the run that owns the lock.

    Returns a list, one entry a repository, see ``failback.replication.git_push.push``: a diverged reference
    is in its ``diverged`` and left alone on both nodes.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.push_git salt 20261122T183000-recover-salt-4f2a
    """
    member = _member(pair)
    member.lock.require(run)
    return git_push.require_pushed(member)


@salt_errors.translated
def reload(pair, units):
    """
    Let services read files again that have come back: systemd's try-reload-or-restart.

    pair
        Name of the pair.

    units
        Units that the pair's pillar names in ``then``; others are refused.

    Returns the units.

    CLI Example:

    .. code-block:: bash

        salt 'mgmt1' pair.reload mgmt '[libvirtd]'
    """
    known = {one["then"] for one in _member(pair).config["replicate"]}
    unknown = sorted(set(units) - known)
    if unknown:
        raise SaltInvocationError(f"{', '.join(unknown)} is not named in `then` of {pair}.")
    system.run(["systemctl", "try-reload-or-restart", "--", *units], 60, f"reload {', '.join(units)}")
    return list(units)


@salt_errors.translated
def orchestrate(operation, pillar, user=None):
    """
    Run an orchestration on several pairs with the salt-master of this node, and wait for its end.

    For a run whose minions have followed the masters' address to this node.

    operation
        ``recover``, ``failover`` or ``boot``.

    pillar
        What ``salt-run state.orch`` is given in ``pillar=``.

    user
        Who has asked, for the history; by default the user as whom the minion runs.

    Returns ``{pair: {"result", "comment", "seconds"}}``. Raises ``CommandExecutionError`` if it cannot begin.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.orchestrate recover '{pair: [mgmt, mx]}'
    """
    if operation not in plans.OPERATIONS:
        raise SaltInvocationError(f"operation is {operation!r}, not one of {', '.join(plans.OPERATIONS)}.")
    _, states, text = cluster.salt_run(__opts__["config_dir"], operation, pillar, user=user)
    if not states:
        raise CommandExecutionError(f"orch.{operation} did not begin on {__opts__['id']}: {text}")
    found = {name: one for state in states for name, one in state["changes"].items()}
    if not found and any(one["result"] is False for one in states):
        raise CommandExecutionError(" ".join(one["comment"] for one in states))
    idle = {"result": True, "comment": "Nothing to do.", "seconds": 0}
    return {**{name: idle for name in pillar["pair"]}, **found}
