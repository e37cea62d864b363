"""
The gate: what must say yes before data may move in a direction.

It judges from what this node knows by itself, so it works at boot and without a master. A reboot
closes it: the boot id in the ledger is then another one, and only an orchestration that has looked
at both nodes writes a new one.
"""

from failback import configuration
from failback import guard
from failback import ledger
from failback import lock
from failback import runs
from failback import sources
from failback import system
from failback.errors import FailbackError
from failback.errors import Refused


def lsyncd_refusal(config, own, boot_id, holds_address):
    """
    Why lsyncd must not run on this node, or None when it may. Pure.

    config
        The node's configuration of the pair.

    own
        This node's ledger, or None.

    boot_id
        The current boot.

    holds_address
        True or False: does this node hold the pair's addresses now; None for a pair without any.
    """
    pair = config["name"]
    node = config["node"]
    if node != config["primary"]["id"]:
        return (
            f"{node} is the secondary of {pair}; lsyncd carries from the primary "
            f"{config['primary']['id']} only. Nothing to start here."
        )
    if own is None:
        return (
            f"{node} has no ledger of {pair}, so nothing proves that its data are the newest; lsyncd "
            f"would delete what {config['secondary']['id']} has. Run on the master: "
            f"salt-run state.orch orch.adopt pillar='{{pair: {pair}}}'"
        )
    if own["active"] != node:
        return (
            f"The ledger of {pair} says that {own['active']} is active since {own['since']} (generation "
            f"{own['generation']}), so it has the newer data and lsyncd would overwrite them. Run on the "
            f"master: salt-run state.orch orch.recover pillar='{{pair: {pair}}}'"
        )
    if own["boot_id"] != boot_id:
        return (
            f"{node} has rebooted since it was last active in {pair} (generation {own['generation']}, "
            f"{own['since']}); {config['secondary']['id']} may have newer data by now, and lsyncd would "
            f"overwrite them. `salt-run pair.status {pair}` on the master names the command to run."
        )
    if holds_address is False:
        return (
            f"{node} holds none of the addresses of {pair}, so another node may be serving and have "
            f"newer data. `salt-run pair.status {pair}` on the master names the command to run."
        )
    return None


def write_refusal(config, own):
    """
    Why the peer's lsyncd must not write on this node, or None when it may. Pure.

    The receiving side of the gate: whatever a stale primary believes of itself, a node that has
    taken over since does not let it in.
    """
    other = configuration.peer(config)["id"]
    if own is None:
        return f"{config['node']} has no ledger of {config['name']}: nobody has been admitted yet."
    if own["active"] != other:
        return (
            f"{config['node']} knows {own['active']} as active in generation {own['generation']}, "
            f"not {other}: what {other} has is older."
        )
    if own.get("unsaved"):
        return (
            f"{config['node']} gave way after it had served {config['name']} too; what it alone has is in no "
            f"backup yet. Run: salt-run state.orch orch.recover pillar='{{pair: {config['name']}}}'"
        )
    return None


def pull_refusal(config, own, boot_id, peer_report):
    """
    Why this node must not overwrite its paths with the peer's, or None when it may. Pure.

    peer_report
        What the peer has just answered: at least ``ledger``; ``misplaced`` as in ``failback.report``.
    """
    pair = config["name"]
    node = config["node"]
    other = configuration.peer(config)["id"]
    theirs = (peer_report or {}).get("ledger")
    if theirs is None:
        return f"{other} shows no ledger of {pair}: nothing proves that its data are the newer ones."
    if theirs["active"] != other:
        return (
            f"{other} itself names {theirs['active']} active in {pair} (generation "
            f"{theirs['generation']}), so its data are not the newer ones."
        )
    if own and own["generation"] > theirs["generation"]:
        return (
            f"{node} knows generation {own['generation']} of {pair} and {other} only generation "
            f"{theirs['generation']}: what {node} has is newer."
        )
    if own and own["active"] == node and own["generation"] == theirs["generation"]:
        return f"{node} and {other} both claim generation {own['generation']} of {pair}: a split."
    elsewhere = peer_report.get("misplaced")
    return guard.misplaced_sentence(other, elsewhere, pair) if elsewhere else None


def require_lsyncd(config, paths):
    """Raise ``Refused`` with the reason unless lsyncd may run on this node now."""
    # Imported here: reading addresses opens sockets, which the pure half must not need.
    from failback import address

    try:
        own = ledger.read(config["name"], paths)
    except FailbackError as error:
        raise Refused(f"lsyncd of {config['name']} must not start: {error}") from error
    found = address.statuses(address.of_pair(config))
    holds = any(one["held"] for one in found) if found else None
    reason = lsyncd_refusal(config, own, system.boot_id(), holds)
    if reason:
        raise Refused(f"lsyncd of {config['name']} must not start. {reason}")
    unfinished = runs.uncompared(config["name"], own["run"], paths)
    if unfinished:
        raise Refused(
            f"lsyncd of {config['name']} must not start. Run {unfinished} brought {config['node']} home, and "
            f"the two nodes have not been compared since: what {configuration.peer(config)['id']} alone has "
            f"would be deleted. Run on the master: salt-run state.orch orch.recover "
            f"pillar='{{pair: {config['name']}}}'"
        )
    now = sources.facts([one["path"] for one in config["replicate"]], str(paths.root))
    problems = guard.own_source_problems(now, sources.recorded(config["name"], paths)["own"], config["name"])
    if problems:
        raise Refused(f"lsyncd of {config['name']} must not start. {' '.join(problems)}")


def require_in_place(config, paths, doing, otherwise=None):
    """
    Raise ``Refused`` unless this node's paths lie where they did.

    What is written elsewhere is out of sight once the right file system is mounted again.

    doing
        What is not done otherwise, a sentence.

    otherwise
        See :py:func:`failback.guard.misplaced_sentence`.
    """
    found = sources.misplaced(config, paths)
    if found:
        sentence = guard.misplaced_sentence(config["node"], found, config["name"], otherwise)
        raise Refused(f"{doing} {sentence}")


def require_undo(config, run, paths):
    """Raise ``Refused`` unless a run holds the pair here and this node serves: see ``plan.undo_refusal``."""
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    if not ledger.is_active(ledger.read(pair, paths), node):
        raise Refused(
            f"{node} does not serve {pair} any more, so nothing is put back on it: the node that serves "
            f"would overwrite it. See `salt-run pair.status {pair}`."
        )
    require_in_place(config, paths, "Nothing is put back.")


def require_pull(config, run, paths):
    """
    Raise ``Refused`` unless run ``run`` may overwrite this node's paths with the peer's now.

    The peer is asked over the pair's own SSH connection, not believed from memory.
    """
    from failback import peer

    lock.require(config["name"], paths, run)
    own = ledger.read(config["name"], paths)
    reason = pull_refusal(config, own, system.boot_id(), peer.report(config, paths))
    if reason:
        raise Refused(f"Nothing is copied to {config['node']}. {reason}")
    require_in_place(config, paths, f"Nothing is copied to {config['node']}.")
