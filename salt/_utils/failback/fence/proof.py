"""
What is done with a fence agent: before a takeover, at an operator's word, and to try it.

A node that is only unheard goes on serving whoever hears it. One that is off serves nobody.
"""

import contextlib
import time

from failback.decisions import fence
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.fence.agent import FenceAgent
from failback.host import files
from failback.host import system
from failback.state import ledger

VERSION = 1


def before_takeover(member, reason):
    """
    Have the other node switched off before this one takes its addresses, if the pillar names an agent for it.

    member
        :py:class:`failback.pair.Member`; the caller has looked whether it may take over at all.

    reason
        Why it takes over.

    Returns the reason, with what the agent said. Raises ``Refused`` when the pillar requires the proof and
    there is none.
    """
    if not configured(member):
        return reason
    node, other = member.node, member.peer["id"]
    require_no_pause(member)
    system.log(f"{reason}: {node} has {other} switched off before it takes {member.pair}.")
    answer = switch_off(member)
    why = fence.refusal(member.pair, node, other, member.config["fence"]["policy"], answer)
    if why:
        raise Refused(why)
    return f"{reason}; {answer.sentence}"


def proved(member, word):
    """
    An operator's word that the other node is off, with the proof of its fence agent where there is one.

    The word alone counts as well if the agent cannot give the proof: whatever switches a node off may have
    lost its power with it.

    word
        What ``failback.state.fencing.declared`` returned, or None.

    Returns the word; with ``agent``, and what it said in ``reason``, if it is proved. Raises ``Refused`` when
    there is neither a proof nor a reason.
    """
    if word is None or word["node"] != member.peer["id"] or not configured(member):
        return word
    answer = switch_off(member)
    if answer.off:
        reason = "; ".join(text for text in (answer.sentence, word["reason"]) if text)
        return {**word, "reason": reason, "agent": _agent_name(member)}
    if word["reason"] is None:
        raise Refused(
            f"{answer.sentence}. What is not proved to be off may still serve. If you know that it is off, "
            f'say how: fenced: {word["node"]}, reason: "how you know"'
        )
    return word


def configured(member):
    """Whether the pillar names an agent for the other node."""
    return member.peer["id"] in (member.config.get("fence") or {}).get("nodes", {})


def switch_off(member):
    """
    Have the other node switched off, and its state asked.

    member
        :py:class:`failback.pair.Member`.

    What the agent says of its state is a trial of it as well: see :func:`tried`.

    Returns :py:class:`failback.decisions.fence.Answer`, whatever went wrong: a sentence that names it.
    """
    try:
        agent = FenceAgent.load(member)
    except FailbackError as error:
        return fence.Answer(False, str(error))
    failed, status, said = None, None, ""
    try:
        done, said = agent.act("off")
        if done:
            failed = f"{agent.agent} ended with {done}: {said or 'nothing said'}"
    except Unavailable as error:
        failed = str(error)
    # Asked whatever became of that: a node that was off already is as good.
    try:
        status, said = agent.act("status")
        _keep(member, *_of_a_trial(agent.node, status, said))
    except Unavailable as error:
        failed = failed or str(error)
        _keep(member, False, str(error))
    answer = fence.judged(agent.node, agent.agent, failed, status, said)
    system.log(f"{member.pair}: {answer.sentence}.")
    return answer


def require_no_pause(member):
    """
    Raise ``Refused`` while a pause is in force: somebody works on the pair, or a run moves it.

    member
        :py:class:`failback.pair.Member`.
    """
    found = member.pause.read()
    if found:
        why = found.get("reason") or found.get("run") or "no reason given"
        raise Refused(f"The watch of {member.pair} is paused ({why}), so no node is switched off.")


def tried(member):
    """
    Try the agent without switching anything off, and keep what came of it for the node's report.

    member
        :py:class:`failback.pair.Member`.

    Returns ``{"agent", "node", "well", "sentence", "at"}``: whether it answered and knows the node's state;
    the last in seconds since the epoch. None if the pillar names no agent.
    """
    if not configured(member):
        return None
    try:
        return _keep(member, *_of_a_trial(member.peer["id"], *FenceAgent.load(member).act("status")))
    except FailbackError as error:
        return _keep(member, False, str(error))


def _of_a_trial(node, status, said):
    """Whether an agent that was asked for a node's state knows it, and a sentence."""
    state = fence.state_of(status)
    if state is None:
        return False, f"exit status {status}: {said or 'nothing said'}"
    return True, f"{node} is {state}"


def _keep(member, well, sentence):
    result = {
        "agent": _agent_name(member),
        "node": member.peer["id"],
        "well": well,
        "sentence": sentence,
        "at": time.time(),
        "since": ledger.now(),
    }
    with contextlib.suppress(OSError):  # a full /run: what was found is returned all the same
        files.write_json(_kept(member), {"version": VERSION, **result})
    return result


def last_tried(member):
    """What :func:`tried` found last in this boot, with ``policy``; None if the pillar names no agent."""
    if not configured(member):
        return None
    never = {
        "agent": _agent_name(member),
        "node": member.peer["id"],
        "well": None,
        "sentence": "not tried yet",
    }
    found = files.read_json(_kept(member), "what the fence agent said", VERSION)
    return {**(found or never), "policy": member.config["fence"]["policy"]}


def _agent_name(member):
    return member.config["fence"]["nodes"][member.peer["id"]]["agent"]


def _kept(member):
    return member.volatile / "fence.json"
