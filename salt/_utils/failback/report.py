"""A node's live facts about one pair: what every judgement rests on."""

import os
import time

from failback.decisions import gate
from failback.decisions import hearing
from failback.errors import FailbackError
from failback.fence import proof
from failback.host import services
from failback.host import system
from failback.lease import right
from failback.network import floating
from failback.network import reachable
from failback.readiness import facts as readiness
from failback.replication import lsyncd_status
from failback.replication import sources
from failback.state import last_heard
from failback.state import runs


def report(member):
    """
    Report what is true of a pair on this node now.

    Returns a dict of JSON types:

    ``node``, ``pair``, ``role``, ``time``
        Who reports, and this node's clock (seconds since the epoch).
    ``boot_id``
        The current boot.
    ``ledger``, ``ledger_error``
        The ledger or None; why it cannot be read, or None.
    ``addresses``
        For each floating IP what ``failback.network.floating.statuses`` says: ``held``, ``interface_exists``,
        ``carrier``, ``mac`` and others.
    ``lsyncd``
        ``running``: it is up. ``state``: systemd's word for it. ``begun``: whether it watches its folders
        already, see ``failback.replication.lsyncd_status.has_begun``; None where none runs.
    ``gate``
        Why lsyncd must not start here, or None.
    ``services``, ``active_services``
        Unit to state, see ``failback.host.services``.
    ``pause``, ``lock``, ``fenced``
        Those in force, or None; the last is a proof or an operator's word that the other node is off.
    ``fence``
        What the fence agent for the other node said when it was tried last, see ``failback.fence.proof``;
        None without one.
    ``sources``
        What each replicated path is on this node, see ``failback.replication.sources``.
    ``misplaced``
        Those that lie elsewhere than they did, path to a predicate; ``{"error": sentence}`` when what was
        recorded of them cannot be read.
    ``lease``
        Of a pair that has one: what ``failback.lease.right.status`` says. Else None.
    ``uncompared``
        The run that brought this node home and was not followed by a comparison yet, or None.
    ``reachable``
        Whom this node asks before it takes over, see ``failback.network.reachable.state``; None where it
        watches nothing.
    ``readiness``
        What a takeover would depend on beside all this, see ``failback.readiness.facts.now``.
    ``last_heard``
        When others heard this node last as the active one, see ``failback.state.last_heard``; or None.
    ``requests``
        What this node may be asked for beside what every release knows.
    ``last_run``
        Id of the newest run kept here, or None.

    Raises ``FailbackError`` when the node has no configuration of the pair.
    """
    config = member.config
    boot_id = system.boot_id()
    own, ledger_error = None, None
    try:
        own = member.ledger.read()
    except FailbackError as error:
        ledger_error = str(error)
    addresses = floating.statuses(floating.of_pair(config))
    holds = any(one["held"] for one in addresses) if addresses else None
    unit_names = [one["name"] for one in config["services"]]
    active_names = [one["name"] for one in config["active_services"]]
    lsyncd = services.unit(services.LSYNCD)
    states = services.states([lsyncd, *config["services"], *config["active_services"]])
    return {
        "node": member.node,
        "pair": member.pair,
        "role": member.role,
        "time": time.time(),
        "boot_id": boot_id,
        "ledger": own,
        "ledger_error": ledger_error,
        "addresses": addresses,
        "lsyncd": {
            "running": states[lsyncd["name"]] in ("active", "reloading"),
            "state": states[lsyncd["name"]],
            "begun": _begun(member, states[lsyncd["name"]]),
        },
        "gate": ledger_error or gate.lsyncd_refusal(config, own, boot_id, holds),
        "services": {name: states[name] for name in unit_names},
        "active_services": {name: states[name] for name in active_names},
        "pause": _readable(member.pause.read),
        "lock": _readable(member.lock.read),
        "fenced": _readable(member.fencing.read),
        "fence": _readable(proof.last_tried, member),
        "sources": sources.facts([one["path"] for one in config["replicate"]]),
        "misplaced": _readable(sources.misplaced, member),
        "lease": _readable(right.status, member),
        "uncompared": _readable(_uncompared, member),
        "reachable": _readable(reachable.state, config),
        "readiness": readiness.now(member),
        "last_heard": last_heard.read(member),
        "requests": list(hearing.REQUESTS),
        "last_run": _last_run(member),
    }


def _begun(member, state):
    if member.role != "primary" or not member.config["replicate"] or state != "active":
        return None
    return lsyncd_status.has_begun(member, services.facts([services.LSYNCD])[services.LSYNCD])


def _readable(read, *what):
    try:
        return read(*what)
    except FailbackError as error:
        return {"error": str(error)}


def _uncompared(member):
    own = member.ledger.read()
    return own and member.runs.uncompared(own["run"])


def _last_run(member):
    try:
        return max((one for one in os.listdir(member.runs.folder) if runs.ID.fullmatch(one)), default=None)
    except FileNotFoundError:
        return None
