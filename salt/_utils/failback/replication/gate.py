"""
The gate: what must say yes before data may move in a direction.

It judges from what this node knows by itself, so it works at boot and without a master. A reboot
closes it: the boot id in the ledger is then another one, and only an orchestration that has looked
at both nodes writes a new one.
"""

from failback.decisions import gate
from failback.decisions import places
from failback.decisions import roles
from failback.errors import FailbackError
from failback.errors import Refused
from failback.host import system
from failback.replication import sources
from failback.state import ledger
from failback.state import lock
from failback.state import runs


def require_lsyncd(config, paths):
    """Raise ``Refused`` with the reason unless lsyncd may run on this node now."""
    # Imported here: who asks only where the paths lie, or is refused before, needs no sockets.
    from failback.network import floating

    try:
        own = ledger.read(config["name"], paths)
    except FailbackError as error:
        raise Refused(f"lsyncd of {config['name']} must not start: {error}") from error
    found = floating.statuses(floating.of_pair(config))
    holds = any(one["held"] for one in found) if found else None
    reason = gate.lsyncd_refusal(config, own, system.boot_id(), holds)
    if reason:
        raise Refused(f"lsyncd of {config['name']} must not start. {reason}")
    unfinished = runs.uncompared(config["name"], own["run"], paths)
    if unfinished:
        raise Refused(
            f"lsyncd of {config['name']} must not start. Run {unfinished} brought {config['node']} home, and "
            f"the two nodes have not been compared since: what {roles.peer(config)['id']} alone has "
            f"would be deleted. Run on the master: salt-run state.orch orch.recover "
            f"pillar='{{pair: {config['name']}}}'"
        )
    now = sources.facts([one["path"] for one in config["replicate"]], str(paths.root))
    problems = places.own_source_problems(now, sources.recorded(config["name"], paths)["own"], config["name"])
    if problems:
        raise Refused(f"lsyncd of {config['name']} must not start. {' '.join(problems)}")


def require_in_place(config, paths, doing, otherwise=None):
    """
    Raise ``Refused`` unless this node's paths lie where they did.

    What is written elsewhere is out of sight once the right file system is mounted again.

    doing
        What is not done otherwise, a sentence.

    otherwise
        See :py:func:`failback.decisions.places.misplaced_sentence`.
    """
    found = sources.misplaced(config, paths)
    if found:
        sentence = places.misplaced_sentence(config["node"], found, config["name"], otherwise)
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
    from failback.peer import ssh

    lock.require(config["name"], paths, run)
    own = ledger.read(config["name"], paths)
    reason = gate.pull_refusal(config, own, system.boot_id(), ssh.report(config, paths))
    if reason:
        raise Refused(f"Nothing is copied to {config['node']}. {reason}")
    require_in_place(config, paths, f"Nothing is copied to {config['node']}.")
