"""
Whether a node may take over, by what a fence agent said of the other one: the judgement, no I/O.

The exit statuses are those of the fence agents' interface (FenceAgentAPI.md of ClusterLabs): an action
succeeds with 0; ``status`` ends with 0 for a node that is on and with 2 for one that is off.
"""

import dataclasses

REQUIRED, PREFERRED = "required", "preferred"

ON, OFF = 0, 2


@dataclasses.dataclass(frozen=True)
class Answer:
    """
    What an agent said.

    off
        True only if it was asked for the state after the node was switched off, and said that it is off.

    sentence
        What was done and said, for the log, the ledger and the history.
    """

    off: bool
    sentence: str


def state_of(status):
    """What the exit status of the action ``status`` means: ``on``, ``off``, or None if it is not known."""
    return {ON: "on", OFF: "off"}.get(status)


def judged(node, agent, switched_off, status, said):
    """
    What is proved by an agent that was told to switch a node off and was then asked for its state. Pure.

    node, agent
        The node, and the agent's name.

    switched_off
        Why the action ``off`` has failed, a sentence; None if it has not.

    status
        Exit status of the action ``status``, None if the agent did not end.

    said
        What it printed then, or why it did not end.

    Returns an :py:class:`Answer`.
    """
    state = state_of(status)
    if state == "off":
        return Answer(True, f"{node} was switched off by {agent}, which says that it is off")
    if state == "on":
        why = f" ({switched_off})" if switched_off else ""
        return Answer(False, f"{agent} was told to switch {node} off, and says that it is still on{why}")
    why = switched_off or f"asked for its state it ended with {status}: {said or 'nothing said'}"
    return Answer(False, f"{agent} does not prove that {node} is off: {why}")


def refusal(pair, node, other, policy, answer):
    """
    Why a node must not take over after what the agent said, or None.

    pair, node, other
        The pair, the node that wants to take over, and the node that was to be switched off.

    policy
        ``required`` or ``preferred``.

    answer
        An :py:class:`Answer`.
    """
    if answer.off or policy == PREFERRED:
        return None
    return (
        f"{answer.sentence}. {node} does not take {pair} over, for {other} may still serve, and the pillar "
        f"says `fence: policy: required`. If you know that {other} is off, say so: salt-run state.orch "
        f"orch.failover pillar='{{pair: {pair}, fenced: {other}, reason: <how you know>}}'"
    )
