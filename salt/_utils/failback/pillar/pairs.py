"""The pairs that a node takes part in, out of all that its pillar has. Pure."""

from failback.errors import FailbackError
from failback.pillar import check
from failback.pillar import normalise


def of_node(known, node):
    """
    The pairs of a node, normalised, by name.

    known
        The pillar's ``pairs``; may be empty.

    node
        Its minion id; each pair gets it as ``node``.

    Raises ``FailbackError`` with all that is wrong in the pillar.
    """
    require_right(known)
    pairs = [{**normalise.normalise(name, content), "node": node} for name, content in known.items()]
    return {one["name"]: one for one in pairs if node in (one["primary"]["id"], one["secondary"]["id"])}


def require_right(known):
    """Raise ``FailbackError`` with all that is wrong in a pillar's ``pairs``, which may be empty."""
    wrong = [check.sentence(one) for one in check.problems(known)] if known else []
    if wrong:
        raise FailbackError(" ".join(wrong))


def fence_agent(known, pair, node):
    """
    The fence agent with which a node switches the other node of a pair off.

    known, pair
        The pillar's ``pairs``, and the name of one that is right.

    node
        Minion id of the node that calls the agent.

    Returns ``{"node", "agent", "options"}``, the first the node that is switched off; None if the pillar
    names no agent for it. The options hold passwords: they belong in no output and in no log.
    """
    content = normalise.normalise(pair, known[pair])
    others = [content[role]["id"] for role in ("primary", "secondary") if content[role]["id"] != node]
    entry = known[pair].get("fence", {}).get("nodes", {}).get(others[0])
    if entry is None:
        return None
    return {"node": others[0], "agent": entry["agent"], "options": dict(entry.get("options", {}))}
