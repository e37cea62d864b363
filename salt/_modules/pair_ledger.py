"""
What an orchestration records on a node: who is active in which generation, and where the data lie.

Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'salt1' pair.adopt salt salt1 20261122T183000-adopt-salt-4f2a
"""

import salt_errors
from failback.errors import Unreadable
from failback.pair import Member
from failback.replication import gate as gates
from failback.replication import sources as source_facts
from failback.state import ledger
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def admit(pair, generation, active, run, why, admitted=True, unsaved=False):
    """
    Admit this node to a generation in its current boot: the gate opens on the active primary.

    Only an orchestration that has looked at both nodes calls this.

    pair
        Name of the pair.

    generation, active
        From the verdict. The ledger refuses to go back.

    run
        Id of the run that owns the lock.

    why
        Why, in words: it is kept in the ledger, and shown by ``pair.status``.

    admitted
        False only tells it who is active: a standby whose data are not current yet takes nothing over.

    unsaved
        True: what this node alone has is in no backup yet, so the other one may not write here.

    Returns the ledger's entry. Raises ``CommandExecutionError``, also when a node that would be admitted has
    its data elsewhere than they were.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.admit salt 7 salt1 20261122T183000-recover-salt-4f2a 'recovered'
    """
    member = _member(pair)
    member.lock.require(run)
    if admitted:
        gates.require_in_place(member, f"{member.node} is not admitted to {pair}.")
    return member.ledger.write(ledger.Entry(int(generation), active, run, why, admitted, unsaved))


@salt_errors.translated
def adopt(pair, active, run):
    """
    Begin a pair's ledger in generation 1, with nobody admitted yet.

    pair
        Name of the pair.

    active
        Minion id of the node that serves first.

    run
        Id of the run that owns the lock; it is kept in the ledger.

    Returns True when there was no ledger, False when there is one. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.adopt salt salt1 20261122T183000-adopt-salt-4f2a
    """
    member = Member(pair, _paths())
    member.lock.require(run)
    if member.ledger.read() is not None:
        return False
    member.ledger.write(ledger.Entry(1, active, run, "adopted", admitted=False))
    return True


@salt_errors.translated
def record_sources(pair, run, peer, moved=False):
    """
    Remember where the pair's paths lie on both nodes; from what lies elsewhere later, and to it, nothing is
    carried.

    pair
        Name of the pair.

    run
        Id of the run that owns the lock.

    peer
        The ``sources`` of the other node's report.

    moved
        Also of paths that lie elsewhere than they did. A standby of which one does is not admitted any more:
        an orchestration has to compare everything first.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.record_sources salt 20261122T183000-adopt-salt-4f2a '{/srv/salt: {…}}'
    """
    member = _member(pair)
    member.lock.require(run)
    own = member.ledger.read()
    if moved and own and own["active"] != member.node and _misplaced(member):
        member.ledger.write(
            ledger.Entry(
                own["generation"],
                own["active"],
                run,
                "its data were moved",
                admitted=False,
                unsaved=bool(own.get("unsaved")),
            )
        )
    source_facts.record(member, peer, moved)
    return True


def _misplaced(member):
    try:
        return source_facts.misplaced(member)
    except Unreadable as error:
        return {"error": str(error)}
