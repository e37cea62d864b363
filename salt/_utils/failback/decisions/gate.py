"""
The refusals of the gate: lsyncd must not run here, the peer must not write here, nothing is copied here.

Pure. :py:mod:`failback.replication.gate` asks what is true and raises what these say.
"""

from failback.decisions import places
from failback.decisions import roles


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
    other = roles.peer(config)["id"]
    if own is None:
        return f"{config['node']} has no ledger of {config['name']}: nobody has been admitted yet."
    if own["active"] != other:
        return (
            f"{config['node']} knows {own['active']} as active in generation {own['generation']}, "
            f"not {other}: what {other} has is older."
        )
    if own.get("unsaved"):
        return (
            f"{config['node']} stepped down after it had served {config['name']} too; what it alone has is "
            f"in no backup yet. Run: salt-run state.orch orch.recover pillar='{{pair: {config['name']}}}'"
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
    other = roles.peer(config)["id"]
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
        return f"{node} and {other} both claim generation {own['generation']} of {pair}: a split-brain."
    elsewhere = peer_report.get("misplaced")
    return places.misplaced_sentence(other, elsewhere, pair) if elsewhere else None
