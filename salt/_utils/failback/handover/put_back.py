"""
An active node puts its own missing address back. No change of hands: the generation stays.

:py:mod:`failback.watch.keeper` sees that it has gone, :py:mod:`failback.decisions.keeping` judges.
"""

from failback.decisions import keeping
from failback.errors import FailbackError
from failback.errors import Refused
from failback.handover import phases
from failback.host import system
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.peer import ssh
from failback.state import ledger

#: Seconds for the other node to say which generation it knows.
ANSWERS_WITHIN = 3


def facts(member):
    """This node's own files, as :py:class:`failback.decisions.keeping.Facts`."""
    own = ledger_error = pause = pause_error = handover = None
    try:
        own = member.ledger.read()
    except FailbackError as error:
        ledger_error = str(error)
    try:
        pause = member.pause.read()
    except FailbackError as error:
        pause_error = str(error)
    try:
        state = phases.read_state(member)
        if phases.under_way(state, system.boottime()):
            handover = f"a handover is under way (run {state['run']}), which decides who has them."
    except FailbackError as error:
        handover = str(error)
    return keeping.Facts(
        pair=member.pair,
        node=member.node,
        ledger=own,
        ledger_error=ledger_error,
        active=ledger.is_active(own, member.node),
        pause=pause,
        pause_error=pause_error,
        handover=handover,
        leased=bool(member.config.get("lease")),
    )


def missing(member, had):
    """
    The addresses that this node has had and has not now, and that could be put back: their link is there.

    had
        Addresses without their prefix length.

    Returns a list of ``FloatingAddress``.
    """
    wanted = floating.of_pair(member.config)
    found = zip(wanted, floating.statuses(wanted))
    return [one for one, now in found if one.ip in had and not now["held"] and now["carrier"]]


def put_back(member, had, ask_first):
    """
    Put the addresses back that this node has had as the active one, unless somebody answers for them.

    had
        Addresses without their prefix length.

    ask_first
        The other node may have taken over since: it is asked for its generation. One that does not answer
        is no reason to serve nobody.

    Returns a sentence about what was done; None if nothing was missing any more. Raises ``Refused`` with the
    reason, and ``Unavailable`` when the kernel does not let it.
    """
    if ask_first:
        _require_newest(member)
    with member.ledger.changing_hands():
        # Under the lock: whoever changes hands, or is about to, has written so before it releases anything.
        reason = keeping.refusal(facts(member))
        if reason:
            raise Refused(reason)
        away = missing(member, had)
        if not away:
            return None
        with address_holder.Holder(away) as holder:
            holder.check()
            holder.take(check=False)
            # The other node's watch may have looked in the same moment, and found nobody either.
            answering = neighbours.answering(away, timeout=address_holder.CHECK_SECONDS)
            if answering:
                holder.release()
                raise Refused(
                    f"{', '.join(answering)} has taken them in the same moment, so they were released again."
                )
    address_holder.announce_later(member)
    return (
        f"{member.node} has put {_names(away)} back, which had gone from it while it serves {member.pair}. "
        f"To take an address away from it, pause first: salt-run pair.pause {member.pair}; to move it, run "
        f"orch.failover or orch.recover."
    )


def _require_newest(member):
    """Raise ``Refused`` when the other node knows a newer generation, whoever answers for the addresses."""
    own = member.ledger.read()
    try:
        theirs = ssh.report(member, timeout=ANSWERS_WITHIN).get("ledger")
    except FailbackError:
        return
    if own and theirs and theirs["generation"] > own["generation"]:
        raise Refused(
            f"{member.peer['id']} knows generation {theirs['generation']} and {member.node} only "
            f"{own['generation']}: {theirs['active']} may have served since."
        )


def _names(addresses):
    return ", ".join(one.name for one in addresses)
