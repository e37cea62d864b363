"""
What a person does next about a pair: wait for a run, run a command on the right master, start a node, or
nothing.

Pure. ``pair.status`` and the refusals of a run say what is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts

#: Seconds without a renewal after which it is said that a run may have died. A living one renews its lock
#: every 15 s, and takes longer while one of the nodes does not answer.
SILENT = 35


@dataclass(frozen=True)
class Advice:
    """
    ``text`` is a sentence or a command, empty where nothing is to be done. ``brief`` is the same in a few
    words, for a table. ``commands`` are those that the text names, in their order; they are typed on the
    master of the node ``master``, or on any where that is None.
    """

    text: str = ""
    brief: str = ""
    commands: tuple = ()
    master: str | None = None


def living(reports):
    """
    The run that has the pair, by the locks that the nodes report.

    reports
        Of the nodes that answered.

    Returns None, or a dict: ``run``, ``operation``, ``user``, ``master``, ``since`` (ISO 8601, UTC),
    ``step`` and ``seconds`` (which step, and for how long; None before the first), ``silent`` (seconds since
    it was last heard of) and ``expires`` (seconds until its lock expires).
    """
    locks = [(report["time"], report.get("lock") or {}) for report in reports]
    dead = {lock["run"] for _, lock in locks if lock.get("state") == "dead"}
    held = [one for one in locks if one[1].get("state") == "held" and one[1]["run"] not in dead]
    if not held:
        return None
    # Each by its own node's clock; the one that was renewed last knows the present step.
    now, lock = min(held, key=lambda one: one[0] - one[1].get("renewed", 0))
    step, owner = lock.get("step") or {}, lock.get("owner") or {}
    return {
        "run": lock["run"],
        "operation": lock.get("operation"),
        "user": owner.get("user"),
        "master": owner.get("master"),
        "since": lock.get("since"),
        "step": step.get("name"),
        "seconds": max(0, round(now - step["began"])) if step else None,
        "silent": max(0, round(now - lock.get("renewed", now))),
        "expires": max(0, round(lock.get("expires", now) - now)),
    }


def next_step(config, found, run=None, here=None):
    """
    What to do about a verdict.

    config
        The normalised pair.

    found
        The ``Verdict``.

    run
        The living run, see :py:func:`living`, or None.

    here
        The node of the pair on which the asking master runs, or None.

    Returns an :py:class:`Advice`.
    """
    if run:
        return _wait(run)
    recover = plans.decide(plans.RECOVER, config, found)
    failover = plans.decide(plans.FAILOVER, config, found)
    if found.contradicted:
        return Advice(found.contradicted, "look at the network")
    if found.name == verdicts.PRIMARY_DOWN:
        return _start(config["primary"]["id"], failover.refusal)
    if found.name == verdicts.SECONDARY_DOWN:
        node = config["secondary"]["id"]
        serves = f"{found.active} serves, and no node could take over from it. " if found.active else ""
        return _start(node, f"{serves}{recover.refusal}")
    if recover.refusal:
        return _refused(config, found, recover.refusal)
    if found.drift and not any(_recovery_mends(config, found, one) for one in found.drift):
        again = f"salt-run pair.status {config['name']}"
        return Advice(f"mend what is wrong, as it says, then look again: {again}", "mend, look again")
    commands, parts, brief = [], [], []
    if found.name == verdicts.FAILED_OVER and failover.steps:
        commands.append(plans.command(plans.FAILOVER, config))
        parts.append(f"{commands[-1]} (completes the takeover)")
        brief.append("failover")
    if recover.steps:
        commands.append(plans.command(plans.RECOVER, config))
        parts.append(commands[-1])
        brief.append("recover")
    if not commands:
        return Advice()
    reboots = "static" in recover.steps and config["recovery"]["reboot"] and recover.returned
    # A run does not survive the reboot of its own host, so it is refused there.
    master = _other(config, here) if reboots and here == reboots else None
    where = f"on the master of {master}: " if master else ""
    return Advice(
        where + ", then ".join(parts),
        ", ".join(brief) + (f" on {master}" if master else ""),
        tuple(commands),
        master,
    )


def _recovery_mends(config, found, wrong):
    """Whether a recovery would mend what is wrong; what keeps a node from being ready says what does."""
    own = found.name == verdicts.NORMAL and wrong in (*found.unready, *found.stops)
    return not own or plans.command(plans.RECOVER, config) in wrong


def _wait(run):
    at = f", step {run['step']} since {run['seconds']} s" if run["step"] else ""
    text = f"run {run['run']} of {run['user']} on {run['master']}{at}: wait"
    if run["silent"] > SILENT:
        text += (
            f". It was last heard of {run['silent']} s ago; if it is dead, its lock expires in "
            f"{run['expires']} s, and then you run the same command again"
        )
    return Advice(text, "wait")


def _start(node, text):
    return Advice(text, f"start {node}", _commands_in(text))


def _refused(config, found, text):
    brief = {verdicts.COLD: "boot", verdicts.SPLIT: "name a winner"}
    return Advice(text, brief.get(found.name, f"pair.status {config['name']}"), _commands_in(text))


def _commands_in(text):
    """The orchestration that a sentence ends with, in a tuple, or an empty one."""
    _, found, words = text.partition("salt-run state.orch ")
    return (found + words,) if found and words.endswith("'") else ()


def _other(config, node):
    nodes = (config["primary"]["id"], config["secondary"]["id"])
    return nodes[1] if node == nodes[0] else nodes[0]
