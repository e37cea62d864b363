"""
A pair that is to be none any more: whether that may be done now, and what is left when it is done. Pure.

The service stays where it is. Nothing is deleted that somebody may want: what stays is listed, with the
command.
"""

import shlex

from failback.decisions import verdict as verdicts

#: With these it is known who serves, or that nobody does; whatever is newer is named.
CLEAR = (verdicts.NORMAL, verdicts.FAILED_OVER, verdicts.STANDBY_RETURNED, verdicts.COLD)


def refusal(config, verdict, knowing):
    """
    Why a pair cannot be retired now, or None.

    verdict
        Of the pair as it is; None where not both nodes know it any more.

    knowing
        Ids of the nodes that still have a configuration of the pair.
    """
    if knowing and config.get("lease"):
        return (
            f"{config['name']} serves by a lease: its addresses have an end, and would go with the guard "
            f"that renews them. Remove `lease` from the pillar and run highstate on both nodes, which lets "
            f"them stay; then run this again: "
            f"salt -L {config['primary']['id']},{config['secondary']['id']} state.apply"
        )
    if verdict is None or len(knowing) < 2 or verdict.name in CLEAR:
        return None
    return (
        f"{config['name']} is {verdict.name}: {verdict.sentence} A node that does not answer would come back "
        f"as half a pair, and of two histories one would be forgotten. Bring the pair in order first, or "
        f"start the node: salt-run pair.status {config['name']}"
    )


def active(verdict):
    """The node that serves, by a verdict that allows it; None where nobody does, or nobody knows any more."""
    return verdict.active if verdict else None


def left(config, facts):
    """
    What is left of a pair on a node, as sentences that end with the command, where there is one.

    facts
        What ``failback.remains.facts`` returns of that node.
    """
    node, name = facts["node"], config["name"]
    said = []
    if facts["known"]:
        said.append(f"{node} still knows {name}. Run this again.")
    for one in facts["held"]:
        said.append(
            f"{node} has {one['address']} on {one['interface']} until it reboots. To keep it, write it into "
            f"the set-up of its network. To release it: "
            f"ip address del {one['address']} dev {one['interface']}"
        )
    for unit, one in facts["units"].items():
        if one["enabled"] == "disabled":
            does = "runs" if one["active"] == "active" else "does not run"
            said.append(
                f"{unit} {does} on {node} and does not start at boot. To have it start: "
                f"systemctl enable {unit}"
            )
    if facts["lsyncd"]:
        said.append(f"lsyncd still runs on {node}. To stop it: systemctl stop lsyncd")
    if facts["state"]:
        said.append(
            f"{facts['state']} on {node} has the ledger, the records of the runs and the backups. It must go "
            f"before a pair of this name is set up anew. When nobody needs the backups: "
            f"rm -r {shlex.quote(facts['state'])}"
        )
    if facts["program"]:
        said.append(
            f"The program and the node's own key stay on {node}; nothing starts them. When no pair needs "
            f"them: rm -r {' '.join(facts['program'])}"
        )
    return said


def outcome(config, reports, verdict):
    """
    The list of what is left, as one text.

    reports
        What ``failback.remains.facts`` returns, of both nodes.

    verdict
        As for :func:`refusal`.
    """
    name = config["name"]
    nodes = [one["node"] for one in reports]
    lines = [
        f"{nodes[0]} and {nodes[1]} are no pair any more: neither lets the other in, nothing takes over."
    ]
    serving = active(verdict)
    if serving:
        lines.append(f"{serving} served last and has the newest data.")
    paths = [*(one["path"] for one in config["replicate"]), *config["git"]]
    if paths:
        lines.append(f"Nothing is carried any more: {', '.join(paths)}.")
    for facts in reports:
        lines += left(config, facts)
    lines.append(
        f"Now remove the line of {name} in pillar/top.sls and its file: the next highstate would make these "
        f"two a pair again."
    )
    return "\n".join(lines)
