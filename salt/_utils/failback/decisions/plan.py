"""
What an orchestration will do, decided before anything is changed.

``decide`` maps operation and verdict to the steps to take, or to a refusal that says which command
to run instead. ``digest`` names the facts a plan rests on, so that a run can be held to it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from failback.decisions import commands
from failback.decisions import verdict

RECOVER = "recover"
FAILOVER = "failover"
BOOT = "boot"
ADOPT = "adopt"

#: What can be planned.
OPERATIONS = (RECOVER, FAILOVER, BOOT)

#: Every step there is, in the order in which it is safe, and what it is for.
STEPS = {
    "pause": "the watch is paused on both nodes",
    "settle": "the node that an operator named winner of the split-brain is the only active one",
    "takeover": "the secondary has taken over from a primary that an operator declared off",
    "static": "highstate on the returned node, reboot, highstate again",
    "services": "services are started on the primary first, and proved up",
    "drain": "lsyncd has carried what there was",
    "pre-sync": "what changed comes over while the serving node still serves",
    "git": "the repositories are pushed",
    "handover": "the addresses change hands after a final sync, and the active services follow",
    "compare": "both nodes have the same files",
    "admit": "both nodes agree who is active, in which generation",
    "take": "the active node has the addresses",
    "activate": "lsyncd and the active services run on the active node alone",
}


@dataclass(frozen=True)
class Plan:
    """What will be done to a pair. ``refusal`` is None or the reason why nothing will."""

    operation: str
    pair: str
    verdict: str
    sentence: str
    steps: tuple = ()
    refusal: str | None = None
    #: The node that becomes, or stays, active.
    active: str | None = None
    #: The node that came back and is brought up to date.
    returned: str | None = None
    #: The node that does it all by itself, because the other one is declared off; else None.
    alone: str | None = None

    @property
    def nothing_to_do(self):
        return not self.steps and self.refusal is None

    @property
    def target(self):
        """The node that receives data; the other one serves until then."""
        return self.returned or self.active


def decide(operation, config, found, winner=None, fenced=None):
    """
    Decide what an operation does to a pair that was judged ``found``.

    operation
        ``recover``, ``failover`` or ``boot``.

    config
        The normalised pair.

    found
        The ``Verdict``.

    winner
        The node whose data count after a split-brain, by an operator's word.

    fenced
        The node that is off, by an operator's word.

    Returns a ``Plan``.
    """
    refusal = _misplaced(operation, config, found, winner, fenced)
    if refusal:
        details = {"refusal": refusal, "active": found.active}
    elif operation == RECOVER:
        details = _recover(config, found, winner)
    elif operation == FAILOVER:
        details = _failover(config, found, fenced)
    else:
        details = _boot(config, found)
    return Plan(
        operation=operation,
        pair=config["name"],
        verdict=found.name,
        sentence=found.sentence,
        **details,
    )


def command(operation, config, **more):
    """How an orchestration is typed, with more keys of its pillar where they are needed."""
    return commands.command(operation, config["name"], more)


def _misplaced(operation, config, found, winner, fenced):
    """Why an operator's word does not fit what was found, or None."""
    nodes = (config["primary"]["id"], config["secondary"]["id"])
    for key, node in (("winner", winner), ("fenced", fenced)):
        if node is not None and node not in nodes:
            return f"{key}: {node} is not a node of pair {config['name']} (nodes: {nodes[0]}, {nodes[1]})."
    if winner and found.name != verdict.SPLIT and found.active != winner:
        return (
            f"{winner} was named winner of a split-brain, but {config['name']} is {found.name}. Look at it, "
            f"and leave the winner out: {command(operation, config)}"
        )
    if fenced and found.name in (verdict.PRIMARY_DOWN, verdict.SECONDARY_DOWN):
        silent = nodes[0] if found.name == verdict.PRIMARY_DOWN else nodes[1]
        if fenced != silent:
            return f"{fenced} was declared off, but it answers; {silent} is the one that does not."
    elif fenced:
        return f"{fenced} was declared off, but it answers. Leave the word out: {command(operation, config)}"
    return None


def _recover(config, found, winner):
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.name == verdict.SPLIT and winner:
        # Once it is settled the loser is a node that has returned, its own changes still to be saved.
        rest = _bring_home(config) if winner == secondary else _take_in_standby(config, unsaved=True)
        steps = ("pause", "settle", *(one for one in rest["steps"] if one != "pause"))
        return {**rest, "steps": steps}
    if found.uncompared:
        # A recovery ended behind its handover. What it had still to do, and nothing before that: lsyncd
        # must not push before both nodes are known to be equal.
        steps = ("pause", "services", "git", "compare", "take", "activate")
        return {"steps": steps, "active": primary, "returned": primary}
    if found.name == verdict.NORMAL:
        return _repair(found, primary)
    if found.name == verdict.FAILED_OVER:
        return _bring_home(config)
    if found.name == verdict.STANDBY_RETURNED:
        return _take_in_standby(config, found.unsaved)
    if found.name == verdict.PRIMARY_RETURNED:
        # Nobody could take over from it: only its configuration may be behind.
        steps = ("pause", "static", "services", "admit", "activate")
        return {"steps": steps, "active": primary, "returned": primary}
    return {"refusal": _refusal(config, found), "active": found.active}


def _repair(found, active):
    return {"steps": ("services", "take", "activate") if found.drift else (), "active": active}


def _bring_home(config):
    """The secondary serves, with the newer data."""
    primary = config["primary"]["id"]
    steps = ["pause", "static", "services", *_data(config), "handover"]
    if config["replicate"]:
        steps.append("compare")
    return {"steps": (*steps, "activate"), "active": primary, "returned": primary}


def _take_in_standby(config, unsaved):
    """The primary serves; what the standby alone has is saved first, if it served beside it."""
    data = _data(config) if unsaved else ()
    return {
        "steps": ("pause", "static", "services", *data, "admit", "take", "activate"),
        "active": config["primary"]["id"],
        "returned": config["secondary"]["id"],
    }


def _data(config):
    return tuple(step for step, key in (("pre-sync", "replicate"), ("git", "git")) if config[key])


def _failover(config, found, fenced):
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.name == verdict.NORMAL:
        if found.uncompared:
            return {
                "refusal": f"{primary} came home in run {found.uncompared}, and the two nodes have not been "
                f"compared since. Run first: {command(RECOVER, config)}",
                "active": primary,
            }
        if found.stops:
            return {"refusal": _not_ready(config, found), "active": primary}
        steps = ["pause", "services"]
        steps += ["drain"] if config["replicate"] else []
        steps += ["git"] if config["git"] else []
        steps.append("handover")
        steps += ["compare"] if config["replicate"] else []
        return {"steps": (*steps, "activate"), "active": secondary}
    if found.name == verdict.FAILED_OVER:
        # What the watch of a manual pair has left to a person.
        return {"steps": ("activate",) if found.incomplete else (), "active": secondary}
    if found.name == verdict.PRIMARY_DOWN and found.contradicted:
        # Nobody's word counts against what is seen.
        return {"refusal": found.contradicted, "active": found.active}
    if found.name == verdict.PRIMARY_DOWN:
        return _without_primary(config, found, fenced)
    if found.name in (verdict.STANDBY_RETURNED, verdict.PRIMARY_RETURNED):
        return {
            "refusal": f"A node that came back has not been taken in yet. Run first: "
            f"{command(RECOVER, config)}",
            "active": found.active,
        }
    return {"refusal": _refusal(config, found), "active": found.active}


def _not_ready(config, found):
    """Why the pair is not moved to a standby that would not serve, or would lack what was written."""
    standby = config["secondary"]["id"]
    return (
        f"{standby} is not ready to serve: {' '.join(found.stops)} Moved now, the pair would be without "
        f"service or without what was written last, so nothing is stopped. Fix that, then run: "
        f"{command(FAILOVER, config)}"
    )


def _without_primary(config, found, fenced):
    """A failover while the primary does not answer: it may be off, or merely cut off, and serve."""
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    complete = found.active == secondary and not found.incomplete
    if fenced and complete and not config["vms"]:
        return {"steps": (), "active": secondary}
    if fenced:
        return {"steps": ("takeover", "activate"), "active": secondary, "alone": secondary}
    if complete:
        return {
            "refusal": f"{secondary} serves. Start {primary} and its salt-minion; nothing is urgent.",
            "active": secondary,
        }
    word = command(FAILOVER, config, fenced=primary, reason="...")
    then = f"{secondary} serves without it"
    if found.active == secondary:
        then = f"{secondary}, which serves already, gets what it lacks ({', '.join(found.incomplete)})"
    return {
        "refusal": f"Start {primary} and its salt-minion. Or, if it is certainly off, say so, and {then}: "
        f"{word}",
        "active": found.active,
    }


def _boot(config, found):
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.name == verdict.NORMAL:
        return _repair(found, primary)
    if found.name == verdict.COLD:
        # Nobody serves: what the other node alone has is saved by the recovery that follows, not now.
        return {"steps": ("pause", "services", "admit", "take", "activate"), "active": found.newest}
    if found.name == verdict.FAILED_OVER:
        return {
            "refusal": f"{secondary} serves already and has the newer data. Run: {command(RECOVER, config)}",
            "active": secondary,
        }
    if found.name == verdict.STANDBY_RETURNED:
        return {
            "refusal": f"{primary} serves already; {secondary} only has to be admitted. Run: "
            + command(RECOVER, config),
            "active": primary,
        }
    if found.name == verdict.PRIMARY_RETURNED:
        return {
            "refusal": f"{secondary} stands by already; {primary} only has to be taken in again. Run: "
            + command(RECOVER, config),
            "active": None,
        }
    return {"refusal": _refusal(config, found), "active": found.active}


def _refusal(config, found):
    """Why this verdict stops every operation, and what to do about it."""
    look = f"`salt-run pair.status {config['name']}`"
    winner = command(RECOVER, config, winner=config["secondary"]["id"], reason="...")
    advice = {
        verdict.COLD: f"There is nobody to recover from: start the pair. Run: {command(BOOT, config)}",
        verdict.SPLIT: (
            "Both nodes may hold writes that the other lacks, and copying either way would lose some. "
            f"Compare them ({look}) and name the node whose data count; what the other one alone has goes "
            f"to the backup: {winner}"
        ),
        verdict.PRIMARY_DOWN: (
            f"Start {config['primary']['id']} and its salt-minion, then run this again. Moving the "
            "addresses to a node that does not answer would leave the pair without service."
        ),
        verdict.SECONDARY_DOWN: (
            f"Start {config['secondary']['id']} and its salt-minion, then run this again. Without its "
            "answer nothing proves that it has not served, and written, since."
        ),
        verdict.UNKNOWN: f"Nothing proves which node has the newer data; {look} shows all that is known.",
    }
    return found.advice or found.contradicted or advice[found.name]


def undo_refusal(config, found, keeping):
    """
    Why a run must not be undone now, or None when it may. Pure.

    Only on the node that serves: what is put back on the other one would be overwritten, by lsyncd or by the
    next recovery, and nobody would have had it.

    found
        The ``Verdict``.

    keeping
        The nodes that keep a backup of the run.
    """
    pair = config["name"]
    if found.active is None or found.name not in (
        verdict.NORMAL,
        verdict.FAILED_OVER,
        verdict.STANDBY_RETURNED,
        verdict.PRIMARY_RETURNED,
    ):
        return (
            f"{pair} is {found.name}: {found.sentence} What is put back now might be on the node that does "
            f"not serve, and be overwritten by the other one. First bring the pair in order: "
            f"`salt-run pair.status {pair}` names the command. The backup is kept meanwhile."
        )
    if found.active not in keeping:
        return (
            f"The backup is on {' and '.join(keeping)}, and {found.active} serves {pair}: what is put back "
            f"there would be overwritten by {found.active}'s files. First bring it home: "
            f"{command(RECOVER if found.active == config['secondary']['id'] else FAILOVER, config)}; or copy "
            f"single files from the backup to {found.active} by hand."
        )
    return None


def digest(plan, found, previews, reports=()):
    """
    Name the facts that a plan rests on: the verdict, who has the addresses, what will be deleted.

    Not what will be overwritten, nor sizes or times: while clients write, those are others every second,
    and a digest that never holds is one that nobody gives.

    previews
        Results of ``reverse_rsync.preview``, one for each path; each has a digest of what it deletes.

    reports
        What the nodes that answered report.

    Returns 16 hexadecimal digits. The same facts give the same digest, other ones another.
    """
    facts = {
        "operation": plan.operation,
        "pair": plan.pair,
        "verdict": found.name,
        "generation": found.generation,
        "active": found.active,
        "steps": plan.steps,
        "holders": {
            one["node"]: sorted(each["address"] for each in one["addresses"] if each["held"])
            for one in reports
        },
        "paths": {one["path"]: one["digest"] for one in previews},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
