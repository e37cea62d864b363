"""
Whether a pair may be moved to its secondary and back merely to see that it works, and what came of it. Pure.
"""

from failback.decisions import plan
from failback.decisions import verdict

OPERATION = "drill"


def refusal(config, found, reports, guests, boot_id):
    """
    Why a drill is not begun, a sentence; or None. A pair that need not be moved is moved only if all is well.

    config
        The normalised pair.

    found
        The ``Verdict``, of a look just made.

    reports
        What the nodes that answer report.

    guests
        The virtual machines that run on the primary.

    boot_id
        The boot of the machine on which the drill runs.
    """
    pair = config["name"]
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    if found.name != verdict.NORMAL or found.uncompared:
        return (
            f"{pair} is {found.name}: {found.sentence} A drill begins with a pair that is well. First bring "
            f"it in order: `salt-run pair.status {pair}` names the command."
        )
    if found.drift:
        return (
            f"{pair} is not ready: {' '.join(found.drift)} A failover might fail by that, and nobody needs "
            f"one now. Fix it, then run: {plan.command(OPERATION, config)}"
        )
    paused = [one for one in reports if one.get("pause")]
    if paused:
        reason = paused[0]["pause"].get("reason") or paused[0]["pause"].get("error")
        return (
            f"The watch of {pair} is paused ({reason}): somebody is at work there. Run `salt-run pair.resume "
            f"{pair}` when that has ended, then: {plan.command(OPERATION, config)}"
        )
    if not config["recovery"]["reboot"]:
        return None
    if any(one["node"] == primary and one["boot_id"] == boot_id for one in reports):
        return (
            f"The way back reboots {primary}, on which this would run itself, and {pair} would stay on "
            f"{secondary}. Run it on the master of {secondary}: {plan.command(OPERATION, config)}"
        )
    if guests:
        return (
            f"The way back reboots {primary}, which runs {', '.join(guests)}. Move them away first: "
            f"salt-run state.orch orch.vm pillar='{{vm: all, away_from: {primary}}}'"
        )
    return None


def incomplete(record):
    """Why a drill cannot be said to have gone there and back, a sentence; or None."""
    missing = [one for one in (plan.FAILOVER, plan.RECOVER) if one not in record["windows"]]
    if not missing:
        return None
    return f"The drill has no handover of {' and '.join(missing)}, so it proves nothing."


def outcome(config, record):
    """What has come of a drill, a sentence."""
    ways = (
        (plan.FAILOVER, config["secondary"]["id"]),
        (plan.RECOVER, config["primary"]["id"]),
    )
    windows = ", ".join(f"{record['windows'][what]:.1f} ms on the way to {node}" for what, node in ways)
    return f"{config['name']} has gone there and back. The addresses were unassigned for {windows}."
