"""
Whether a generation that another node names can be true. Pure.

It goes up by one with every change of the active node. So a jump is a mistake, such as a node that was put
back from an old image, or an attack: a generation beyond all numbers could never be surpassed, and the node
that named it would count as the newest for ever.
"""

#: Changes of hands that a node may have missed. With its peer away a node changes hands a few times at most.
MOST_MISSED = 20


def problem(known, named):
    """
    Why a generation is not believed, or None.

    known
        The highest one that is known to be true.

    named
        What somebody else says.

    Returns a part of a sentence.
    """
    if named - known <= MOST_MISSED:
        return None
    return (
        f"generation {named} is {named - known} changes of hands after generation {known}, and no node "
        f"misses more than {MOST_MISSED}: it is a mistake or an attack"
    )


def advice(pair, behind, ahead):
    """
    What to do about it, sentences.

    behind, ahead
        The nodes with the lower and the higher generation.
    """
    return (
        f"Find out which of the two is wrong. If {behind} was put back from an old image: move "
        f"/var/lib/failback/{pair}/ledger.json aside on {behind}. If {ahead} cannot be trusted: cut it off, "
        f"and set it up anew. After that `salt-run pair.status {pair}` says what to run."
    )
