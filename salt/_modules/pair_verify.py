"""
Whether both nodes have the same files, and whether a takeover works: found out while nothing is wrong.

Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'salt1' pair.verified salt
"""

from salt.exceptions import SaltInvocationError

import salt_errors
from failback.decisions import verified as decisions
from failback.recovery import verify as verification
from failback.state import proofs
from salt_node import member as _member

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def verify(pair, repair=False, limit=None, max_delete=None):
    """
    Compare the files of both nodes by checksum, on the node that serves, while it serves.

    Both ends run at the lowest priority. What differs and is on its way is left out. The comparison makes way
    for a run. An operator uses ``orch.verify``, which also tells the standby what was found.

    pair
        Name of the pair.

    repair
        Carry what differs once more. Where the last comparison has named all of it, and the pair has not
        changed hands since, only these files are looked at.

    limit
        Seconds after which it is given up; six hours when left out.

    max_delete
        Files that a repair may delete on the standby; the pair's if not given.

    Returns what ``failback.recovery.verify`` describes: ``at``, ``files``, ``differing``, ``differences``,
    ``complete``, ``busy``, ``repaired``, ``seconds`` and others; with ``sentence``. Raises
    ``CommandExecutionError`` when it could not be ended, or this node must not carry anything to the other.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.verify salt limit=3600
    """
    wrong = decisions.problem(repair, limit, max_delete)
    if wrong:
        raise SaltInvocationError(wrong)
    member = _member(pair)
    # For tests: a program in place of ssh.
    shell = __opts__.get("failback_remote_shell")
    comparison = verification.Verification(member, limit or decisions.LIMIT, remote_shell=shell)
    record = comparison.run(bool(repair), max_delete)
    return {**record, "sentence": decisions.outcome(member.node, member.peer["id"], record)}


@salt_errors.translated
def verified(pair):
    """
    Tell what the last comparison of both nodes has found.

    pair
        Name of the pair.

    Returns what ``verify`` returns, without ``sentence``; with ``current``, whether the pair has not changed
    hands since. None if it was never compared, as far as this node knows.

    CLI Example:

    .. code-block:: bash

        salt 'salt*' pair.verified salt
    """
    return proofs.verified(_member(pair))


@salt_errors.translated
def keep_verified(pair, record):
    """
    Keep what the other node has found in a comparison, so that it is known if that node dies.

    pair
        Name of the pair.

    record
        What ``verify`` has returned there.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.keep_verified salt '{at: 1764213000.2, generation: 7, files: 12}'
    """
    proofs.keep_verified(_member(pair), {key: one for key, one in record.items() if key != "sentence"})
    return True


@salt_errors.translated
def keep_drilled(pair, record):
    """
    Keep that a drill has ended well.

    pair
        Name of the pair.

    record
        ``at`` (seconds since the epoch), ``windows`` (milliseconds without service, by operation) and
        ``runs`` (ids, by operation).

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.keep_drilled salt '{at: 1764213000.2, windows: {failover: 310.5}, runs: {}}'
    """
    proofs.keep_drilled(_member(pair), record)
    return True
