"""
Virtual machines on storage that both hosts of a pair share, as seen and changed on one of the hosts.

An operator uses ``orch.vm``; these functions are what it calls on the hosts. By hand only
``shared_vm.report`` is meant.

.. code-block:: bash

    salt 'mgmt*' shared_vm.report mgmt

A guest is started, resumed or migrated only after this host has claimed it, has asked the other host
over SSH, and that one has answered that the guest neither runs there nor is about to; or while an operator's
word that the other host is off counts (``fencing.declare``). virtlockd guards the disks besides.
"""

import json

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import salt_errors
from failback.decisions import guests
from failback.errors import FailbackError
from failback.errors import Refused
from failback.guests import claims
from failback.guests import migration
from failback.guests import storage
from failback.guests import virsh
from failback.host import distribution
from failback.host import system
from failback.state import lock as locks
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "shared_vm"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def report(pair):
    """
    Report what is true of a pair's guests on this host now.

    pair
        Name of the pair.

    Returns a dict; its keys are those of ``failback.guests.virsh.facts`` in this tree's ``_utils``. Raises
    ``CommandExecutionError`` when libvirt does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'mgmt*' shared_vm.report mgmt
    """
    return virsh.facts(_member(pair))


@salt_errors.translated
def running(pair):
    """
    List the guests of a pair that have a process on this host, also while libvirt does not answer.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.running mgmt
    """
    return virsh.running(_member(pair).config)


def pairs():
    """
    List this node's pairs that have virtual machines, from pillar.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.pairs
    """
    return [name for name in __salt__["pair.names"]() if __pillar__["pairs"][name].get("vms")]


def hosts(pair):
    """
    List the two hosts of a pair, the primary first, from pillar.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.hosts mgmt
    """
    found = _pair(pair)
    return [found["primary"]["id"], found["secondary"]["id"]]


def lock_config(pair):
    """
    Render libvirt's configuration of virtlockd for a pair's storage.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.lock_config mgmt
    """
    return storage.lock_config(_pair(pair))


def _pair(pair):
    """A pair of this host from pillar, checked and normalised."""
    return json.loads(__salt__["pair.rendered"](pair))


@salt_errors.translated
def storage_gone(pair):
    """
    Say why the storage that both hosts share is not to be had on this one, or return None.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt 'mgmt*' shared_vm.storage_gone mgmt
    """
    return storage.storage_gone(_member(pair))


@salt_errors.translated
def marked(pair):
    """
    List what is missing on the shared storage: its mark, and the folder of the locks.

    pair
        Name of the pair.

    Raises ``CommandExecutionError`` when the storage is not mounted on this host.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.marked mgmt
    """
    return storage.missing_marks(_member(pair))


@salt_errors.translated
def mark_storage(pair):
    """
    Mark the shared storage, once for both hosts, and make the folder of the locks.

    pair
        Name of the pair.

    Returns what was made. Raises ``CommandExecutionError`` when the storage is not mounted on this host.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.mark_storage mgmt
    """
    return storage.mark_storage(_member(pair))


@salt_errors.translated
def autostarted(pair):
    """
    List the guests that libvirt would start when this host boots.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.autostarted mgmt
    """
    return virsh.autostarted(_member(pair).config)


@salt_errors.translated
def no_autostart(pair):
    """
    Have none of the guests started when this host boots. Returns those for which this was news.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.no_autostart mgmt
    """
    return virsh.no_autostart(_member(pair).config)


@salt_errors.translated
def renew_libvirt():
    """
    Let libvirt read its configuration again, if it runs: a restart, which leaves the guests running.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.renew_libvirt
    """
    libvirt = f"{distribution.names(_paths())['libvirt_unit']}.service"
    system.run(["systemctl", "try-restart", libvirt], 60, "restart libvirt")
    return True


@salt_errors.translated
def learn(pair):
    """
    Let libvirt know the definitions that have changed on the disk. Running guests are not disturbed.

    pair
        Name of the pair.

    Returns the guests whose definition was news.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 shared_vm.learn mgmt
    """
    return virsh.learn(_member(pair))


@salt_errors.translated
def plan(pair, guest, only_if_active=False, how="live"):
    """
    Say what it would take to have a guest run on this host, without doing it.

    pair
        Name of the pair.

    guest
        Name of the guest.

    only_if_active
        Leave a guest alone that runs nowhere.

    how
        ``live`` or ``restart``.

    Returns ``{"action", "source", "sentence", "refusal"}``; see ``failback.decisions.guests.decide``.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 shared_vm.plan mgmt idm
    """
    member = _member_with(pair, guest)
    found = _decide(member, guest, member.node, own_claim=None, how=how, only_if_active=only_if_active)
    return {
        "action": found.action,
        "source": found.source,
        "sentence": found.sentence,
        "refusal": found.refusal,
    }


@salt_errors.translated
def start(pair, guest, run=None):
    """
    Start a guest on this host, or let one go on here that a migration has left paused.

    pair
        Name of the pair.

    guest
        Name of the guest.

    run
        The run on whose behalf; it must own the lock. Without it no run may own the lock.

    Returns ``{"done": "started", "resumed" or "nothing", "comment": …}``. Raises ``CommandExecutionError``
    when the other host has not answered that it does not run there.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 shared_vm.start mgmt idm
    """
    member = _member_with(pair, guest)
    _require_turn(member, run)
    name = guests.domain(member.config, guest)
    with claims.claim(member, guest):
        found = _decide(member, guest, member.node, own_claim=member.node)
        if found.refusal:
            raise Refused(found.refusal)
        if found.action == guests.NOTHING:
            return {"done": "nothing", "comment": found.sentence}
        if found.action == guests.START:
            virsh.start(name)
        elif found.action == guests.RESUME and found.source == member.node:
            virsh.resume(name)
        else:
            raise Refused(f"{found.sentence} That is what orch.vm does; nothing was done here.")
        state, _ = virsh.state(name)
        if state != "running":
            raise CommandExecutionError(f"{guest} was started on {member.node} and is {state}.")
    done = "started" if found.action == guests.START else "resumed"
    return {"done": done, "comment": f"{guest} was {done} on {member.node}."}


@salt_errors.translated
def migrate(pair, guest, run):
    """
    Migrate a guest live from this host to the other one, and prove that it runs there and not here.

    pair
        Name of the pair.

    guest
        Name of the guest.

    run
        The run on whose behalf; it must own the lock on both hosts.

    Returns ``{"done": "migrated" or "nothing", "comment": …}``. Raises ``CommandExecutionError``, which says
    where it runs then.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.migrate mgmt idm 20261122T183000-vm-mgmt-4f2a
    """
    member = _member_with(pair, guest)
    member.lock.require(run)
    target = member.peer["id"]
    name = guests.domain(member.config, guest)
    with claims.claim(member, guest):
        found = _decide(member, guest, target, own_claim=member.node)
        if found.refusal:
            raise Refused(found.refusal)
        if found.action == guests.NOTHING:
            return {"done": "nothing", "comment": found.sentence}
        if found.action != guests.MIGRATE:
            raise Refused(f"{found.sentence} It is not migrated from here; nothing was done.")
        try:
            migration.migrate(member, name, run, member.config["virtualization"]["migration_timeout"])
        except FailbackError as error:
            state, _ = virsh.state(name)
            raise CommandExecutionError(
                f"{guest} could not be migrated to {target}; it is {state} on {member.node} now. {error}"
            ) from error
        here, there = virsh.facts(member), migration.ask_peer(member)
        if guests.active(here["guests"][guest]) or there["guests"][guest]["state"] != "running":
            raise CommandExecutionError(
                f"After its migration {guest} is {here['guests'][guest]['state']} on {member.node} and "
                f"{there['guests'][guest]['state']} on {target}: salt-run pair.status {pair}"
            )
    return {"done": "migrated", "comment": f"{guest} was migrated live to {target}."}


@salt_errors.translated
def stop(pair, guest, run=None):
    """
    Shut a guest down in order on this host, and wait until it is off. It is never forced.

    pair
        Name of the pair.

    guest
        Name of the guest.

    run
        The run on whose behalf; it must own the lock. Without it no run may own the lock.

    Returns ``{"done": "stopped" or "nothing", "comment": …}``. Raises ``CommandExecutionError`` when it still
    runs at the end.

    CLI Example:

    .. code-block:: bash

        salt mgmt1 shared_vm.stop mgmt idm
    """
    member = _member_with(pair, guest)
    _require_turn(member, run)
    name, node = guests.domain(member.config, guest), member.node
    with claims.claim(member, guest):
        before = virsh.facts(member)["guests"][guest]
        if not guests.active(before):
            return {"done": "nothing", "comment": f"{guest} does not run on {node}."}
        if before["state"] != "running":
            raise Refused(
                f"{guest} is {before['state']} on {node} and could not shut itself down. Look at it there: "
                f"virsh domstate --reason {name}"
            )
        virsh.shut_down(name, member.config["virtualization"]["shutdown_timeout"])
        after = virsh.facts(member)["guests"][guest]
        if guests.active(after):
            raise CommandExecutionError(
                f"{guest} was shut down on {node} and still has processes: {after['processes']}"
            )
    return {"done": "stopped", "comment": f"{guest} was shut down on {node}."}


def _member_with(pair, guest):
    """This node in a pair that has the guest."""
    member = _member(pair)
    if guest not in member.config["vms"]:
        raise SaltInvocationError(
            f"{guest!r} is not a guest of {pair} (guests: {', '.join(member.config['vms']) or 'none'}). "
            "Nothing was done."
        )
    return member


def _require_turn(member, run):
    """A run must own the lock; who comes without one must not be in a run's way."""
    if run is not None:
        member.lock.require(run)
        return
    found = member.lock.read()
    if found and found["state"] == "held":
        raise Refused(locks.refusal(member.pair, found))


def _decide(member, guest, target, own_claim, **terms):
    """What both hosts say now, this one by itself and the other one over SSH, judged."""
    other = member.peer["id"]
    reports = {member.node: virsh.facts(member)}
    fenced = False
    try:
        reports[other] = migration.ask_peer(member)
    except FailbackError as error:
        reports[other] = {"error": str(error)}
        try:
            member.fencing.require(other)
            fenced = True
        except Refused as refusal:
            reports[other] = {"error": f"{error} {refusal}"}
    return guests.decide(guest, target, member.config, reports, fenced=fenced, own_claim=own_claim, **terms)
