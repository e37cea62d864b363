"""
When an active node puts its own missing address back: the judgement, no I/O.

The kernel drops an interface's IPv6 addresses with ``ip link set … down``, and all of them when a program for
networks sets the interface up anew. The node serves on as far as its ledger knows, and no client reaches it.

That is no takeover: nothing changes hands, and the generation stays. So only what this node had in its
present generation is put back. What it never had is for the watch and the orchestrations to take.
"""

import dataclasses

#: Seconds between two looks without news, and by how many a look may be late.
LOOK_EVERY, LATE = 5.0, 1.0

#: Seconds between two attempts: the first after a failure, each later one twice that, and the longest.
AGAIN, LONGEST_AGAIN = 1.0, 16.0


@dataclasses.dataclass(frozen=True)
class Facts:
    """
    What is true of this node in this moment.

    pair, node
        Of the configuration.

    boot_id
        Of the present boot.

    ledger, ledger_error
        This node's ledger, or None and why it cannot be read.

    active
        What :py:func:`failback.state.ledger.is_active` says of that ledger.

    pause, pause_error
        The pause in force, or None; why it cannot be read.

    handover
        Why the state of a handover speaks against it, a sentence, or None.

    leased
        The pair has a lease: whoever renews that gives the address, and takes it away by leaving it.
    """

    pair: str
    node: str
    ledger: dict = None
    ledger_error: str = None
    active: bool = False
    pause: dict = None
    pause_error: str = None
    handover: str = None
    leased: bool = False


def refusal(facts):
    """Why this node does not put back what it had, a sentence; None if it may."""
    pair, node = facts.pair, facts.node
    if facts.leased:
        return f"{pair} has a lease, and what renews that gives {node} its addresses."
    if facts.ledger_error:
        return facts.ledger_error
    if facts.ledger is None:
        return f"{node} has no ledger of {pair}."
    if not facts.active:
        return f"the ledger of {node} does not name it active in {pair} in this boot."
    if facts.handover:
        return facts.handover
    if facts.pause_error:
        return f"the watch of {pair} is paused, because its pause cannot be read: {facts.pause_error}"
    if facts.pause:
        why = facts.pause.get("reason") or "no reason given"
        run = facts.pause.get("run")
        run = f", run {run}" if run and run not in why else ""
        return f"the watch of {pair} is paused ({why}{run})."
    return None


@dataclasses.dataclass(frozen=True)
class Had:
    """
    Which addresses this node has had in a generation.

    generation
        Of the ledger that named it active; None at first.

    addresses
        Without their prefix length.

    looked
        When that was looked at last, in seconds since boot.

    complete
        Whether it had all of them then.

    gone
        When one of them went; None if that is not known, as after a start of the program.
    """

    generation: int = None
    addresses: frozenset = frozenset()
    looked: float = None
    complete: bool = False
    gone: float = None


def noted(had, generation, held, now):
    """
    What is known after one more look.

    had
        The :class:`Had` of the last look.

    generation
        Of this node's ledger if that names it active, else None.

    held
        The addresses that this node has, without their prefix length.

    now
        Seconds since boot.
    """
    if generation is None:
        return Had()
    if had.generation != generation:
        had = Had(generation)
    known = had.addresses | held
    if known <= held:
        return Had(generation, known, now, complete=bool(known))
    gone = had.gone
    if had.complete:
        # The kernel's news wake whoever looks. One who has stood still does not know since when.
        gone = now if now - had.looked <= LOOK_EVERY + LATE else None
    return Had(generation, known, now, gone=gone)


def may_have_been_followed(had, now, patience):
    """
    Whether the other node may have taken over since this one had its addresses, so that it is asked first.

    had
        A :class:`Had`.

    now
        Seconds since boot.

    patience
        Seconds of silence after which a watch takes over.
    """
    return had.gone is None or now - had.gone >= patience / 2


def next_attempt(failures):
    """Seconds until the next attempt after so many failures in a row."""
    return min(LONGEST_AGAIN, AGAIN * 2 ** min(10, max(0, failures - 1)))
