"""
An operator's word that the other node of a pair is off, as kept and judged on this node.

The orchestrations take it as ``fenced: <node>, reason: "how you know"``; these functions are what
they call. By hand only ``fencing.status`` and ``fencing.void`` are meant.

.. code-block:: bash

    salt mgmt2 fencing.status mgmt
"""

import salt_errors
from failback.fence import proof
from failback.state import fencing
from salt_node import member as _member

__virtualname__ = "fencing"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def declare(pair, node, reason, run, owner):
    """
    Record that the other node is off: proved by its fence agent, or else in the words of an operator.

    Where the pillar names a fence agent for that node, it is switched off first, and its state is asked.

    pair
        Name of the pair.

    node
        The node that is off; it must be the other one.

    reason
        How the operator knows; None leaves it to the fence agent alone.

    run
        The run in which the word was given; it must own the lock here.

    owner
        The process that orchestrates; see ``failback.state.lock.acquire``.

    Returns the record. Raises ``CommandExecutionError``, for one when that node answers after all, or when
    its agent does not prove that it is off and there is no reason.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 fencing.declare mgmt mgmt1 'burnt PSU' 20261122T183000-vm-mgmt-4f2a '{user: root}'
    """
    member = _member(pair)
    member.lock.require(run)
    word = proof.proved(member, fencing.declared(member.config, node, reason))
    return member.fencing.record(word, run, owner, member.config["recovery"]["fenced_for"])


@salt_errors.translated
def status(pair):
    """
    Show the word that counts on this node now.

    pair
        Name of the pair.

    Returns ``node``, ``reason``, ``since``, ``left`` (seconds), ``run``, ``user`` and ``master``, or None.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 fencing.status mgmt
    """
    return _member(pair).fencing.read()


@salt_errors.translated
def void(pair):
    """
    Take the word back. Returns True when there was one.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt mgmt2 fencing.void mgmt
    """
    return _member(pair).fencing.void("an operator has taken it back")
