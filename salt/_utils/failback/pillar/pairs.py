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
    wrong = [check.sentence(one) for one in check.problems(known)] if known else []
    if wrong:
        raise FailbackError(" ".join(wrong))
    pairs = [{**normalise.normalise(name, content), "node": node} for name, content in known.items()]
    return {one["name"]: one for one in pairs if node in (one["primary"]["id"], one["secondary"]["id"])}
