"""
What an orchestration will do, decided before anything is changed.

``decide`` maps operation and verdict to the steps to take, or to a refusal that says which command
to run instead. ``digest`` names the facts a plan rests on, so that a run can be held to it.
"""

import hashlib
import json
from dataclasses import dataclass

from failback import verdict

RECOVER = "recover"
BOOT = "boot"
ADOPT = "adopt"

#: Every step there is, in the order in which it is safe, and what it is for.
STEPS = {
    "hold": "the watch is paused on both nodes",
    "static": "highstate on the returned node, reboot, highstate again",
    "services": "services are started on the primary first, and proved up",
    "warm": "what changed comes back while the serving node still serves",
    "git": "the repositories are pushed back",
    "handover": "the addresses change hands after a last pass",
    "compare": "both nodes have the same files",
    "admit": "both nodes agree who is active, in which generation",
    "take": "the active node holds the addresses",
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

    @property
    def nothing_to_do(self):
        return not self.steps and self.refusal is None


def decide(operation, config, found):
    """
    Decide what an operation does to a pair that was judged ``found``.

    operation
        ``recover`` or ``boot``.

    config
        The normalised pair.

    found
        The ``Verdict``.

    Returns a ``Plan``.
    """
    rule = {RECOVER: _recover, BOOT: _boot}[operation]
    details = rule(config, found)
    return Plan(
        operation=operation,
        pair=config["name"],
        verdict=found.name,
        sentence=found.sentence,
        **details,
    )


def _command(operation, config):
    return f"salt-run state.orch orch.{operation} pillar='{{pair: {config['name']}}}'"


def _recover(config, found):
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.uncompared:
        # A recovery ended behind its handover. What it had still to do, and nothing before that: lsyncd
        # must not push before both nodes are known to be equal.
        steps = ("hold", "services", "git", "compare", "take", "activate")
        return {"steps": steps, "active": primary, "returned": primary}
    if found.name == verdict.NORMAL:
        steps = ("services", "take", "activate") if found.drift else ()
        return {"steps": steps, "active": primary}
    if found.name == verdict.FAILED_OVER:
        steps = ["hold", "static", "services"]
        if config["replicate"]:
            steps.append("warm")
        if config["git"]:
            steps.append("git")
        steps.append("handover")
        if config["replicate"]:
            steps.append("compare")
        steps.append("activate")
        return {"steps": tuple(steps), "active": primary, "returned": primary}
    if found.name == verdict.STANDBY_RETURNED:
        return {
            "steps": ("hold", "static", "services", "admit", "take", "activate"),
            "active": primary,
            "returned": secondary,
        }
    return {"refusal": _refusal(config, found), "active": found.active}


def _boot(config, found):
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.name == verdict.NORMAL:
        steps = ("services", "take", "activate") if found.drift else ()
        return {"steps": steps, "active": primary}
    if found.name == verdict.COLD:
        return {
            "steps": ("hold", "services", "admit", "take", "activate"),
            "active": found.newest,
        }
    if found.name == verdict.FAILED_OVER:
        return {
            "refusal": f"{secondary} serves already and has the newer data. Run: "
            + _command(RECOVER, config),
            "active": secondary,
        }
    if found.name == verdict.STANDBY_RETURNED:
        return {
            "refusal": f"{primary} serves already; {secondary} only has to be admitted. Run: "
            + _command(RECOVER, config),
            "active": primary,
        }
    return {"refusal": _refusal(config, found), "active": found.active}


def _refusal(config, found):
    """Why this verdict stops every operation, and what to do about it."""
    look = f"`salt-run pair.status {config['name']}`"
    advice = {
        verdict.COLD: f"There is nobody to recover from: start the pair. Run: {_command(BOOT, config)}",
        verdict.SPLIT: (
            "Both nodes may hold writes that the other lacks, and copying either way would lose some. "
            f"Compare them ({look}), stop the one that must not serve, and save what it alone has "
            "before you go on."
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
    return found.advice or advice[found.name]


def digest(plan, found, previews):
    """
    Name the facts that a plan rests on.

    previews
        Results of ``reverse_rsync.preview``, one for each path: their own digests of what will be
        overwritten and deleted count, not sizes or times.

    Returns 16 hexadecimal digits. The same facts give the same digest, other ones another.
    """
    facts = {
        "operation": plan.operation,
        "pair": plan.pair,
        "verdict": found.name,
        "generation": found.generation,
        "active": found.active,
        "steps": plan.steps,
        "paths": {one["path"]: one["digest"] for one in previews},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
