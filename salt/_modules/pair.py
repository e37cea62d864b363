"""
The two nodes of an active/standby pair, as seen and changed on one of them.

An operator uses ``salt-run pair.status`` and the orchestrations; these functions are what those call
on the nodes. Only ``report``, ``gate``, ``hold`` and ``resume`` are meant to be called by hand.

.. code-block:: bash

    salt 'salt*' pair.report salt

What is decided here is decided in ``failback`` (this tree's ``_utils``), which also runs without
Salt as ``/usr/local/sbin/failback``.
"""

import json
import os
import time

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import cluster_master
import salt_errors
from failback import address
from failback import configuration
from failback import files
from failback import gate as gates
from failback import git_push
from failback import guard
from failback import handover as handovers
from failback import hold as holds
from failback import ledger
from failback import lock as locks
from failback import nagios
from failback import paths as places
from failback import peer as peers
from failback import pillar as pillars
from failback import plan as plans
from failback import report as reports
from failback import reverse_rsync as data
from failback import runs
from failback import services
from failback import sources as source_facts
from failback import system
from failback import takeover as takeovers
from failback import trust as trusts
from failback import virsh
from failback import watch
from failback.errors import FailbackError
from failback.errors import Unreadable

__virtualname__ = "pair"
__func_alias__ = {"names_": "names"}


def __virtual__():
    return __virtualname__


def _paths():
    return places.Paths(__opts__.get("failback_root", "/"))


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
    found = {**reports.report(pair, _paths()), "package": __salt__["pair.package"]()}
    if guests and configuration.load(pair, _paths())["vms"]:
        try:
            found["guests"] = __salt__["shared_vm.report"](pair)
        except CommandExecutionError as error:
            found["guests"] = {"error": str(error)}
    return found


def names_():
    """
    List the pairs of this node's pillar that it takes part in.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.names
    """
    return sorted(_own_pairs())


def _own_pairs():
    """This node's pairs as the pillar has them, normalised, by name. Raises ``CommandExecutionError``."""
    known = __pillar__.get("pairs") or {}
    wrong = [pillars.sentence(one) for one in pillars.problems(known)] if known else []
    if wrong:
        raise CommandExecutionError(" ".join(wrong))
    node = __opts__["id"]
    pairs = [{**pillars.normalise(name, content), "node": node} for name, content in known.items()]
    return {one["name"]: one for one in pairs if node in (one["primary"]["id"], one["secondary"]["id"])}


def _own_pair(pair):
    found = _own_pairs()
    if pair not in found:
        raise SaltInvocationError(
            f"The pillar of {__opts__['id']} has no pair {pair} that it takes part in "
            f"(it has: {', '.join(found) or 'none'})."
        )
    return found[pair]


@salt_errors.translated
def rendered(pair):
    """
    Render a pair's pillar into the configuration that this node keeps of it.

    pair
        Name of the pair.

    Returns the JSON text of ``/etc/failback/pairs/<pair>.json``. Raises ``SaltInvocationError`` when
    the pillar knows no such pair for this node, ``CommandExecutionError`` when the pillar is wrong.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.rendered salt
    """
    config = {**_own_pair(pair), "version": configuration.VERSION}
    return json.dumps(config, indent=1, sort_keys=True) + "\n"


# --- identity: how the two nodes reach each other ----------------------------------------------


@salt_errors.translated
def identity():
    """
    Show how the other node of a pair can recognise this one.

    Returns ``{"public_key": str, "host_keys": [str, …]}``: the pair's own public key (made by
    highstate) and sshd's host keys. Raises ``CommandExecutionError`` when either is missing.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.identity
    """
    return trusts.identity(_paths())


@salt_errors.translated
def trust(pair, public_key, host_keys):
    """
    Remember how to recognise the other node of a pair; highstate lets it in from then on.

    pair
        Name of the pair.

    public_key, host_keys
        What ``pair.identity`` said on the other node.

    Returns True when this was news, False when it was known.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.trust salt 'ssh-ed25519 AAAA…' '[ssh-ed25519 AAAA…]'
    """
    return trusts.remember(pair, public_key, host_keys, _paths())


@salt_errors.translated
def trusted():
    """
    List what this node knows of its peers.

    Returns ``{pair: {"public_key": …, "host_keys": […]}}``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.trusted
    """
    return trusts.known(_paths())


@salt_errors.translated
def reaches_peer(pair):
    """
    Prove that this node reaches the other one with the pair's key.

    Returns the id of the node that answered. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.reaches_peer salt
    """
    return peers.report(configuration.load(pair, _paths()), _paths())["node"]


@salt_errors.translated
def has_key():
    """
    Say whether this node has its key for pairs.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.has_key
    """
    return trusts.has_key(_paths())


@salt_errors.translated
def make_key():
    """
    Make this node's key for pairs. Returns its public half; an existing key is never replaced.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.make_key
    """
    return trusts.make_key(_paths(), __opts__["id"])


@salt_errors.translated
def known_hosts():
    """
    Render known_hosts for the peers that this node was told of.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.known_hosts
    """
    return trusts.known_hosts(_peers(), trusted())


@salt_errors.translated
def authorized_keys():
    """
    Render the lines of authorized_keys that let each peer ask for the far end, and for nothing else.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.authorized_keys
    """
    return trusts.authorized_keys(_peers(), trusted(), _paths())


@salt_errors.translated
def ssh_config():
    """
    Render the SSH client's configuration for this node's peers.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.ssh_config
    """
    return peers.client_config(list(_peers().values()), _paths())


def _peers():
    """The other node of each of this node's pairs, from pillar."""
    return {name: configuration.peer(one) for name, one in _own_pairs().items()}


def service_names(pair):
    """
    List the units of a pair that no boot may start: its services and active services.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.service_names salt
    """
    config = _own_pair(pair)
    return [one["name"] for one in config["services"] + config["active_services"]]


def sharing_master_key():
    """
    List the nodes of this node's pairs that share a Salt master's key, because they replicate its folder.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.sharing_master_key
    """
    found = set()
    for config in _own_pairs().values():
        if any(pillars.covers(one["path"], "/etc/salt/pki/master") for one in config["replicate"]):
            found.update((config["primary"]["id"], config["secondary"]["id"]))
    return sorted(found)


def nagios_units(pair):
    """
    List the units of a pair that turn a switch inside Nagios on and off.

    Returns a list of ``{"name": unit, "on": command, "off": command}`` for unit files; empty unless the
    pair's ``active_services`` name such units.

    CLI Example:

    .. code-block:: bash

        salt 'monitor1' pair.nagios_units monitor
    """
    found = [nagios.unit_commands(one) for one in _own_pair(pair)["active_services"]]
    return [one for one in found if one]


def repositories(pair):
    """
    List the bare repositories of a pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.repositories salt
    """
    return _own_pair(pair)["git"]


def crons():
    """
    List the names in /etc/cron.d of the watches that this node must run.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.crons
    """
    found = set()
    for config in _own_pairs().values():
        for one in config["floating_ips"]:
            if one["watch"]["on"] in ("both", configuration.role(config)):
                found.add(one["watch"]["cron"])
    return sorted(found)


def stale_crons():
    """
    List the watches in /etc/cron.d that are this tree's and no longer for this node.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_crons
    """
    return [name for name in _crons_of("pair.watch") if name not in crons()]


def stale_git_crons():
    """
    List the files in /etc/cron.d that push repositories of pairs that have none here any more.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_git_crons
    """
    wanted = {f"failback-git-{pair}" for pair in names_() if repositories(pair)}
    return [name for name in _crons_of("pair.git") if name not in wanted]


def _crons_of(state):
    """The names of the files in /etc/cron.d that a state of this tree has written."""
    return [
        path.name
        for path in sorted((_paths().root / "etc/cron.d").glob("*"))
        if path.is_file() and f"Managed by Salt ({state})" in path.read_text(errors="replace")
    ]


# --- lock, hold, ledger --------------------------------------------------------------------------


@salt_errors.translated
def lock(pair, run, operation, owner, seconds, dead_runs=()):
    """
    Take a pair for a run on this node, or renew what the run has.

    run, operation
        Id of the run, and what it is: ``recover``.

    owner
        The process that orchestrates; see ``failback.lock.acquire``.

    seconds
        How long the lock holds without being renewed.

    dead_runs
        Runs that the other node has proved dead.

    Returns the lock. Raises ``CommandExecutionError``, naming the run that holds the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.lock salt 20261122T183000-recover-salt-4f2a recover '{master: salt2_master}' 60
    """
    paths = _paths()
    taken = locks.acquire(pair, paths, run, operation, owner, float(seconds), tuple(dead_runs))
    if taken["taken_over"]:
        # What a dead run has paused would stay paused for as long as its step might have taken.
        holds.clear(pair, paths, taken["taken_over"])
    return taken


@salt_errors.translated
def renew(pair, run, seconds, hold=False):
    """
    Prolong the lock of a run on this node; the living run asks for it several times a minute.

    seconds
        How long it holds from now on.

    hold
        Pause the watch as well, for as long as the lock holds, or prolong that.

    Returns True, or False when the run does not have the pair: nothing was changed then.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.renew salt 20261122T183000-recover-salt-4f2a 60
    """
    paths = _paths()
    renewed = locks.renew(pair, paths, run, float(seconds))
    if renewed and hold:
        holds.set_hold(pair, paths, min(float(seconds), holds.LONGEST), f"run {run}", run)
    return renewed


def owner_has_ended(owner):
    """
    Say whether this node can prove that the process which orchestrated a run is gone.

    owner
        As the run's lock has it. Only the machine on which that process ran can prove it.

    Returns True or False.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.owner_has_ended '{machine: 4f2a, boot_id: 77c1, pid: 4711, started: 12345}'
    """
    return locks.owner_has_ended(owner)


@salt_errors.translated
def unlock(pair, run):
    """
    Give a pair back. Returns True when this run had it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.unlock salt 20261122T183000-recover-salt-4f2a
    """
    return locks.release(pair, _paths(), run)


@salt_errors.translated
def hold(pair, seconds, reason, run=None):
    """
    Pause the watch of a pair on this node; it resumes by itself.

    seconds
        For how long.

    reason
        Shown by ``pair.status``.

    run
        The run on whose behalf; that run ends it early.

    Returns the hold.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.hold salt 600 'switch maintenance'
    """
    configuration.load(pair, _paths())
    return holds.set_hold(pair, _paths(), seconds, reason, run)


@salt_errors.translated
def resume(pair, run=None):
    """
    End a pause of the watch. Returns True when there was one.

    run
        End only that run's hold. Without it all of them; refused while a run holds the pair, for it may
        be in the middle of a handover.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.resume salt
    """
    paths = _paths()
    found = locks.read(pair, paths)
    if run is None and found and found["state"] == "held":
        raise CommandExecutionError(locks.refusal(pair, found))
    return holds.clear(pair, paths, run)


@salt_errors.translated
def admit(pair, generation, active, run, why, admitted=True, unsaved=False):
    """
    Admit this node to a generation in its current boot: the gate opens on the active primary.

    Only an orchestration that has looked at both nodes calls this.

    generation, active
        From the verdict. The ledger refuses to go back.

    admitted
        False only tells it who is active: a standby whose data are not current yet takes nothing over.

    unsaved
        True: what this node alone has is in no backup yet, so the other one may not write here.

    Returns the ledger's entry. Raises ``CommandExecutionError``, also when a node that would be admitted has
    its data elsewhere than they were.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.admit salt 7 salt1 20261122T183000-recover-salt-4f2a 'recovered'
    """
    paths = _paths()
    locks.require(pair, paths, run)
    if admitted:
        config = configuration.load(pair, paths)
        gates.require_in_place(config, paths, f"{config['node']} is not admitted to {pair}.")
    return ledger.write(pair, paths, int(generation), active, run, why, admitted, unsaved)


@salt_errors.translated
def adopt(pair, active, run):
    """
    Begin a pair's ledger in generation 1, with nobody admitted yet.

    Returns True when there was no ledger, False when there is one. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.adopt salt salt1 20261122T183000-adopt-salt-4f2a
    """
    paths = _paths()
    locks.require(pair, paths, run)
    if ledger.read(pair, paths) is not None:
        return False
    ledger.write(pair, paths, 1, active, run, "adopted", admitted=False)
    return True


@salt_errors.translated
def record_sources(pair, run, peer, moved=False):
    """
    Remember where the pair's paths lie on both nodes; from what lies elsewhere later, and to it, nothing is
    carried.

    peer
        The ``sources`` of the other node's report.

    moved
        Also of paths that lie elsewhere than they did. A standby of which one does is not admitted any more:
        an orchestration has to compare everything first.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.record_sources salt 20261122T183000-adopt-salt-4f2a '{/srv/salt: {…}}'
    """
    paths = _paths()
    locks.require(pair, paths, run)
    own = ledger.read(pair, paths)
    config = configuration.load(pair, paths)
    if moved and own and own["active"] != config["node"] and _misplaced(config, paths):
        ledger.write(
            pair,
            paths,
            own["generation"],
            own["active"],
            run,
            "its data were moved",
            admitted=False,
            unsaved=bool(own.get("unsaved")),
        )
    source_facts.record(pair, paths, peer, moved)
    return True


def _misplaced(config, paths):
    try:
        return source_facts.misplaced(config, paths)
    except Unreadable as error:
        return {"error": str(error)}


@salt_errors.translated
def gate(pair):
    """
    Say whether lsyncd may run on this node now.

    Returns ``{"open": bool, "reason": str or None}``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.gate salt
    """
    try:
        gates.require_lsyncd(configuration.load(pair, _paths()), _paths())
    except FailbackError as error:
        return {"open": False, "reason": str(error)}
    return {"open": True, "reason": None}


# --- what an orchestration does on a node ------------------------------------------------------


@salt_errors.translated
def reboot(pair, run):
    """
    Reboot this node, unless it serves the pair.

    Returns the boot id that must be another one afterwards. Raises ``CommandExecutionError`` when
    the node holds an address of the pair or the run does not hold the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.reboot salt 20261122T183000-recover-salt-4f2a
    """
    paths = _paths()
    locks.require(pair, paths, run)
    found = reports.report(pair, paths)
    held = [one["address"] for one in found["addresses"] if one["held"]]
    serves = ledger.is_active(found["ledger"], found["node"])
    if held or (serves and not found["addresses"]):
        raise CommandExecutionError(
            f"{found['node']} serves {pair} ({', '.join(held) or 'by its ledger'}); rebooting it would "
            f"take the service down. Nothing was done."
        )
    there = virsh.running(configuration.load(pair, paths))
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

    Returns ``{service: "started" or "already running"}``. Raises ``CommandExecutionError`` for a
    service that does not exist, does not start, does not stay up, or fails its own proof.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.start_services salt
    """
    config = configuration.load(pair, _paths())
    return {one["name"]: services.start(pair, "services", one, config["node"]) for one in config["services"]}


@salt_errors.translated
def take(pair, run):
    """
    Take the pair's addresses on the node that its ledger names active, and announce them.

    Returns the addresses that were not held before. Raises ``CommandExecutionError`` when this node
    is not the active one, was not admitted in this boot, or another host answers for an address.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.take salt 20261122T183000-boot-salt-4f2a
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    with ledger.changing_hands(pair, paths):
        own = ledger.read(pair, paths)
        if not ledger.is_active(own, config["node"]):
            raise CommandExecutionError(
                f"{config['node']} is not admitted as the active node of {pair}, so it takes no address."
            )
        wanted = address.of_pair(config)
        missing = [one for one in wanted if not address.status(one)["held"]]
        if missing:
            linked, _ = address.by_link(missing)
            with address.Holder(missing) as holder:
                # With a dead link among them the others are of use all the same.
                holder.check(linked or missing)
                holder.take(missing, check=False)
            address.announce_later(pair, paths)
    return [one.address for one in missing]


@salt_errors.translated
def take_over(pair, run, owner, fenced, reason, moved=False):
    """
    Make this node active without the other one, which is off by an operator's word.

    owner
        The process that orchestrates; see ``failback.lock.acquire``.

    fenced, reason
        The operator's word, as for ``fencing.declare``: the node that is off, and how that is known.

    moved
        The operator's word that this node's data are where they lie now, although they lay elsewhere.

    Returns ``{"generation": n, "addresses": [...]}``, the addresses that were taken: none where this
    node serves already. Raises ``CommandExecutionError`` when the other node answers after all, when this
    node was not admitted in this boot, or when another host answers for one of the addresses.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.take_over salt 20261122T183000-failover-salt-4f2a '{user: root}' salt1 'no power'
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    __salt__["fencing.declare"](pair, fenced, reason, run, owner)
    own = ledger.read(pair, paths)
    held = [one for one in address.of_pair(config) if address.status(one)["held"]]
    if ledger.is_active(own, config["node"]) and (held or not config["floating_ips"]):
        return {"generation": own["generation"], "addresses": take(pair, run)}
    if moved:
        source_facts.record_moved(config, paths)
    why = f"{fenced} is off by the word of {owner['user']}: {reason}"
    return takeovers.take_over(config, why, paths, run)


@salt_errors.translated
def win(pair, run, generation, reason):
    """
    Make this node the winner of a split: its ledger goes to a generation above both.

    generation
        The new one. The ledger refuses to go back.

    reason
        For the ledger.

    Returns the ledger's entry. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.win salt 20261122T183000-recover-salt-4f2a 8 'named the winner'
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    with ledger.changing_hands(pair, paths):
        locks.require(pair, paths, run)
        node = config["node"]
        gates.require_in_place(config, paths, f"{node} is no winner.")
        own = ledger.read(pair, paths)
        # It has served since then, and what the loser has written since then are conflicts.
        since = own["since"] if own and own["active"] == node else None
        return ledger.write(pair, paths, int(generation), node, run, reason, since=since)


@salt_errors.translated
def give_way(pair, run, generation):
    """
    Give way to the other node: release the addresses, stop lsyncd and the active services.

    What this node alone has is kept from being overwritten until a recovery has saved it.

    generation
        The other node's, which must be higher than this one's.

    Returns a sentence. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.give_way salt 20261122T183000-recover-salt-4f2a 8
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    other = configuration.peer(config)["id"]
    own = ledger.read(pair, paths)
    if own and (own["generation"], own["active"]) == (int(generation), other):
        return f"{config['node']} has given way to {other} already."
    return takeovers.yield_to(config, int(generation), other, paths, run)


@salt_errors.translated
def handover(pair, run, max_delete=None):
    """
    Make this node active: the last changes come over, and the addresses with them.

    max_delete
        Files that the last pass may delete in a path here, in place of the pair's number.

    Once this node has them, services read the files again that have come over, and the active services
    start: also when nobody is left to ask for it, for they do not run on the other node any more.

    Returns what ``failback.handover.become_active`` returns: generation, window in milliseconds, the
    timeline, and who answers now; with ``started``, the active services that did not run before, and
    ``problems``, sentences about what did not reload or start. Raises ``CommandExecutionError`` whose message
    says who serves.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.handover salt 20261122T183000-recover-salt-4f2a
    """
    paths = _paths()
    config = configuration.load(pair, paths)

    def prepare_last_pass(control):
        if not config["replicate"]:
            return None
        return data.LastPass(config, run, paths, control, max_delete=max_delete)

    done = handovers.become_active(config, run, paths, prepare_last_pass)
    done.update(started=[], problems=[])
    brought = done["last_pass"]
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
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    started = []
    carries = carry and config["replicate"] and configuration.role(config) == "primary"
    if carries and __salt__["lsyncd.start"](pair, anew=anew):
        started.append(services.LSYNCD)
    return {"started": started + start_active_services(pair, run)}


@salt_errors.translated
def start_active_services(pair, run):
    """
    Start on the active node the services that run there alone, in their order, each proved up.

    Returns the names of those that did not run before. Raises ``CommandExecutionError``, also on a node
    that its ledger does not name active.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.start_active_services salt 20261122T183000-recover-salt-4f2a
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    if not ledger.is_active(ledger.read(pair, paths), config["node"]):
        raise CommandExecutionError(
            f"{config['node']} is not admitted as the active node of {pair}, so its active services stay off."
        )
    return [
        one["name"]
        for one in config["active_services"]
        if services.start(pair, "active_services", one, config["node"]) == "started"
    ]


@salt_errors.translated
def stand_by(pair, run, sources=None):
    """
    Stop on the standby what runs on the active node alone, and make room for what it is sent.

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
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    own = ledger.read(pair, paths)
    if ledger.is_active(own, config["node"]):
        raise CommandExecutionError(
            f"{config['node']} is the active node of {pair} by its ledger, so nothing is stopped there. See "
            f"`salt-run pair.status {pair}`."
        )
    stopped = []
    for key, one in services.of_the_active_node(config):
        done = services.stop(pair, key, one, config["node"])
        if done == "unknown":
            raise CommandExecutionError(
                f"{pair}: it cannot be learnt whether {one['name']} (active_services) is off on the standby "
                f"{config['node']}: its status command gives no answer. Run: {' '.join(one['status'])}"
            )
        if done == "stopped":
            stopped.append(one["name"])
    made, absent = _make_folders(config, sources or {}, paths)
    elsewhere = source_facts.misplaced(config, paths)
    if elsewhere:
        absent.append(guard.misplaced_sentence(config["node"], elsewhere, pair))
    return {
        "stopped": stopped,
        "made": made,
        "absent": absent,
        "admitted": ledger.is_admitted(own),
        "unsaved": bool(own and own.get("unsaved")),
    }


def _make_folders(config, sources, paths):
    """The folders that the active node replicates; rsync's daemon cannot make its own root."""
    before = source_facts.recorded(config["name"], paths)["own"] or {}
    made, absent = [], []
    for path, there in sorted(sources.items()):
        if there["kind"] != "directory" or os.path.isdir(path):
            continue
        if before.get(path, {}).get("exists"):
            absent.append(
                f"{path} was on {config['node']} and is missing now. Is its file system mounted? Nothing is "
                f"carried there before it is."
            )
        else:
            os.makedirs(path, mode=0o755)
            made.append(path)
    return made, absent


@salt_errors.translated
def watching(pair, limit=30):
    """
    See to it that the watch runs on this node and has seen the addresses that it is to take over.

    Cron would start it within a minute; until then nobody would notice that the active node has gone.

    limit
        Seconds to wait for it.

    Returns the names of the watches. Raises ``CommandExecutionError`` when one does not run or does
    not see the active node answer.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.watching salt
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    role = configuration.role(config)
    crons = sorted(
        {one["watch"]["cron"] for one in config["floating_ips"] if one["watch"]["on"] in ("both", role)}
    )
    for cron in crons:
        # It detaches itself; one that runs already lets this one end.
        system.run([str(paths.program), "watch", cron], 10, f"start the watch {cron}")
    end = time.monotonic() + float(limit)
    while True:
        missing = [reason for cron in crons for reason in _unwatched(pair, cron, paths)]
        if not missing:
            return crons
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"The watch of {pair} on {config['node']} is not ready after {limit} s: {' '.join(missing)}"
            )
        time.sleep(0.1)


def _unwatched(pair, cron, paths):
    """What keeps a watch from taking over, as sentences, by its own status file."""
    found = files.read_json(watch.status_file(paths, cron), f"the status of the watch {cron}") or {}
    if system.process_started(found.get("pid") or 0) is None:
        return [f"{cron} does not run."]
    addresses = found.get("pairs", {}).get(pair, {}).get("addresses")
    if not addresses:
        return [f"{cron} does not know {pair} yet."]
    return [
        f"{cron} has not seen {name} answered."
        for name, one in sorted(addresses.items())
        if not (one["seen"] or one["held"])
    ]


@salt_errors.translated
def push_git(pair, run):
    """
    Push the pair's repositories from this node to the other one; nothing is forced.

    Returns a list, one entry a repository, see ``failback.git_push.push``: a diverged reference is
    in its ``diverged`` and left alone on both nodes.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.push_git salt 20261122T183000-recover-salt-4f2a
    """
    paths = _paths()
    config = configuration.load(pair, paths)
    locks.require(pair, paths, run)
    return [git_push.push(config, repository, paths) for repository in config["git"]]


@salt_errors.translated
def reload(pair, units):
    """
    Let services read files again that have come back: systemd's try-reload-or-restart.

    units
        Units that the pair's pillar names in ``then``; others are refused.

    Returns the units.

    CLI Example:

    .. code-block:: bash

        salt 'mgmt1' pair.reload mgmt '[libvirtd]'
    """
    known = {one["then"] for one in configuration.load(pair, _paths())["replicate"]}
    unknown = sorted(set(units) - known)
    if unknown:
        raise SaltInvocationError(f"{', '.join(unknown)} is not named in `then` of {pair}.")
    system.run(["systemctl", "try-reload-or-restart", "--", *units], 60, f"reload {', '.join(units)}")
    return list(units)


@salt_errors.translated
def orchestrate(operation, pillar):
    """
    Run an orchestration on several pairs with the salt-master of this node, and wait for its end.

    For a run whose minions have followed the masters' address to this node.

    operation
        ``recover``, ``failover`` or ``boot``.

    pillar
        What ``salt-run state.orch`` is given in ``pillar=``.

    Returns, by pair, ``{"result": …, "comment": …, "seconds": …}``. Raises ``CommandExecutionError`` with
    what was printed when it could not begin.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.orchestrate recover '{pair: [mgmt, mx]}'
    """
    if operation not in plans.OPERATIONS:
        known = ", ".join(plans.OPERATIONS)
        raise SaltInvocationError(f"operation must be one of {known}, not {operation!r}.")
    _, states, text = cluster_master.salt_run(__opts__["config_dir"], operation, pillar)
    if not states:
        raise CommandExecutionError(f"orch.{operation} did not begin on {__opts__['id']}: {text}")
    found = {name: one for state in states for name, one in state["changes"].items()}
    if not found and any(one["result"] is False for one in states):
        raise CommandExecutionError(" ".join(one["comment"] for one in states))
    idle = {"result": True, "comment": "Nothing to do.", "seconds": 0}
    return {**{name: idle for name in pillar["pair"]}, **found}


# --- runs ------------------------------------------------------------------------------------------


@salt_errors.translated
def open_run(pair, run, record):
    """
    Begin the record of a run on this node.

    record
        Dict; see ``failback.runs``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.open_run salt 20261122T183000-recover-salt-4f2a '{operation: recover}'
    """
    runs.write(pair, run, record, _paths())
    return True


@salt_errors.translated
def close_run(pair, run, record, sources=None):
    """
    End a run on this node: its record is written, its hold and its lock are given back.

    record
        As for ``open_run``.

    sources
        After a success, what the other node reports of its paths: a later reverse rsync from other
        file systems is refused.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.close_run salt 20261122T183000-recover-salt-4f2a '{result: succeeded}'
    """
    paths = _paths()
    runs.write(pair, run, record, paths)
    if sources is not None:
        source_facts.record(pair, paths, sources)
        data.pruned(configuration.load(pair, paths), paths, (run,))
    holds.clear(pair, paths, run)
    locks.release(pair, paths, run)
    return True


@salt_errors.translated
def history(pair=None):
    """
    List the runs that this node remembers, oldest first.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.history salt
    """
    paths = _paths()
    chosen = [pair] if pair else configuration.names(paths)
    return [record for one in chosen for record in runs.history(one, paths)]
