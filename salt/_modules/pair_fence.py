"""
The other node of a pair is switched off by a fence agent, as the pillar's ``fence`` names it.

Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'salt2' pair.fence_test salt
"""

import json
import os

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import salt_errors
from failback.fence import agent as agents
from failback.fence import proof
from failback.handover import phases
from failback.host import files
from failback.host import system
from failback.pillar import pairs
from failback.state import fencing
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def fence(pair, node, reason):
    """
    Switch the other node of a pair off by its fence agent, and ask the agent whether it is off.

    It is refused while the watch is paused and while a handover is under way. Nothing else is changed:
    whether this node takes over then is the watch's judgement, or an operator's with ``orch.failover``.

    pair
        Name of the pair.

    node
        Minion id of the node to switch off; it must be the other one. It is asked for so that nobody switches
        off what he did not mean.

    reason
        Why, one line for the log.

    Returns a sentence with what the agent said. Raises ``CommandExecutionError`` when that does not prove the
    node off, ``SaltInvocationError`` for a node that is not the other one or has no agent.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.fence salt salt1 'it hangs, and nobody can log in'
    """
    member = _member(pair)
    _require_agent(member)
    if node != member.peer["id"]:
        raise SaltInvocationError(
            f"{member.node} can switch off {member.peer['id']}, the other node of {pair}, not {node!r}. "
            f"Nothing was done."
        )
    why = fencing.require_reason(f"fence {node}", reason)
    proof.require_no_pause(member)
    state = phases.read_state(member)
    if phases.under_way(state, system.boottime()):
        raise CommandExecutionError(
            f"A handover of {pair} is under way (run {state['run']}); a node that is switched off in it may "
            f"be the one that serves. It ends by itself. Nothing was done."
        )
    system.log(f"{pair}: an operator has {node} switched off: {why}")
    answer = proof.switch_off(member)
    if not answer.off:
        raise CommandExecutionError(f"{answer.sentence}. Take its power away by other means.")
    return f"{answer.sentence}."


@salt_errors.translated
def fence_test(pair):
    """
    Ask the fence agent for the other node's state. Nothing is switched off.

    pair
        Name of the pair.

    Returns ``{"agent", "node", "well", "sentence", "at", "since"}``: whether the agent answered and knows the
    state of the node, its answer, and when that was (seconds since the epoch, and ISO 8601). Raises
    ``SaltInvocationError`` when the pillar names no agent, ``CommandExecutionError`` when the agent does not
    know the node's state.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.fence_test salt
    """
    member = _member(pair)
    _require_agent(member)
    found = proof.tried(member)
    if not found["well"]:
        raise CommandExecutionError(
            f"{member.node} could not switch {found['node']} off: {found['agent']}: {found['sentence']}."
        )
    return found


def _require_agent(member):
    if not proof.configured(member):
        raise SaltInvocationError(
            f"The pillar of {member.pair} names no fence agent for {member.peer['id']}. See `fence` in "
            f"docs/pillar.md. Nothing was done."
        )


@salt_errors.translated
def fence_agent(pair):
    """
    Name the fence agent with which this node switches the other one off, as the pillar has it.

    pair
        Name of the pair.

    Returns its name, None if the pillar names none for the other node. Raises ``CommandExecutionError`` when
    the pillar is wrong or does not have the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.fence_agent salt
    """
    found = _from_pillar(pair)
    return found and found["agent"]


@salt_errors.translated
def write_fence_agent(pair, test=False):
    """
    Write the fence agent for the other node, with its options, to the file from which the node reads it.

    The file is readable by root alone, and what is in it is in no output: it has passwords. Without an agent
    in the pillar the file is removed.

    pair
        Name of the pair.

    test
        True: change nothing.

    Returns what it did or would do: ``written``, ``removed``, or ``""`` when all is as it should be. Raises
    ``CommandExecutionError`` when the pillar is wrong or the file cannot be written.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.write_fence_agent salt
    """
    path = _paths().fence_agent(pair)
    wanted = _from_pillar(pair)
    if wanted is None:
        there = os.path.lexists(path)
        if there and not test:
            os.unlink(path)
        return "removed" if there else ""
    text = json.dumps({"version": agents.VERSION, **wanted}, indent=1, sort_keys=True) + "\n"
    if _is_there(path, text.encode()):
        return ""
    if not test:
        files.make_folder(path.parent)
        files.write_atomically(path, text.encode())
    return "written"


def _from_pillar(pair):
    known = __pillar__.get("pairs") or {}
    pairs.require_right(known)
    if pair not in known:
        raise CommandExecutionError(f"The pillar of {__opts__['id']} has no pair {pair}.")
    return pairs.fence_agent(known, pair, __opts__["id"])


def _is_there(path, content):
    try:
        with open(path, "rb") as opened:
            return opened.read() == content and os.fstat(opened.fileno()).st_mode & 0o777 == 0o600
    except OSError:
        return False
