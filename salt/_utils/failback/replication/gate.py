"""
The gate: what must say yes before data may move in a direction.

It judges from what this node knows by itself, so it works at boot and without a master. A reboot
closes it: the boot id in the ledger is then another one, and only an orchestration that has looked
at both nodes writes a new one.
"""

from failback.decisions import gate
from failback.decisions import places
from failback.errors import FailbackError
from failback.errors import Refused
from failback.host import system
from failback.replication import sources
from failback.state import ledger


def require_lsyncd(member):
    """Raise ``Refused`` with the reason unless lsyncd may run on this node now."""
    # Imported here: who asks only where the paths lie, or is refused before, needs no sockets.
    from failback.network import floating

    try:
        own = member.ledger.read()
    except FailbackError as error:
        raise Refused(f"lsyncd of {member.pair} must not start: {error}") from error
    found = floating.statuses(floating.of_pair(member.config))
    holds = any(one["held"] for one in found) if found else None
    reason = gate.lsyncd_refusal(member.config, own, system.boot_id(), holds)
    if reason:
        raise Refused(f"lsyncd of {member.pair} must not start. {reason}")
    unfinished = member.runs.uncompared(own["run"])
    if unfinished:
        raise Refused(
            f"lsyncd of {member.pair} must not start. Run {unfinished} brought {member.node} home, and "
            f"the two nodes have not been compared since: what {member.peer['id']} alone has "
            f"would be deleted. Run on the master: salt-run state.orch orch.recover "
            f"pillar='{{pair: {member.pair}}}'"
        )
    now = sources.facts([one["path"] for one in member.config["replicate"]], str(member.paths.root))
    problems = places.own_source_problems(now, sources.recorded(member)["own"], member.pair)
    if problems:
        raise Refused(f"lsyncd of {member.pair} must not start. {' '.join(problems)}")


def require_in_place(member, doing, otherwise=None):
    """
    Raise ``Refused`` unless this node's paths lie where they did.

    What is written elsewhere is out of sight once the right file system is mounted again.

    doing
        What is not done otherwise, a sentence.

    otherwise
        See :py:func:`failback.decisions.places.misplaced_sentence`.
    """
    found = sources.misplaced(member)
    if found:
        sentence = places.misplaced_sentence(member.node, found, member.pair, otherwise)
        raise Refused(f"{doing} {sentence}")


def require_undo(member, run):
    """Raise ``Refused`` unless a run owns the lock here and this node serves: see ``plan.undo_refusal``."""
    pair, node = member.pair, member.node
    member.lock.require(run)
    if not ledger.is_active(member.ledger.read(), node):
        raise Refused(
            f"{node} does not serve {pair} any more, so nothing is put back on it: the node that serves "
            f"would overwrite it. See `salt-run pair.status {pair}`."
        )
    require_in_place(member, "Nothing is put back.")


def require_pull(member, run):
    """
    Raise ``Refused`` unless run ``run`` may overwrite this node's paths with the peer's now.

    The peer is asked over the pair's own SSH connection, not believed from memory.
    """
    from failback.peer import ssh

    member.lock.require(run)
    own = member.ledger.read()
    reason = gate.pull_refusal(member.config, own, system.boot_id(), ssh.report(member))
    if reason:
        raise Refused(f"Nothing is copied to {member.node}. {reason}")
    require_in_place(member, f"Nothing is copied to {member.node}.")
