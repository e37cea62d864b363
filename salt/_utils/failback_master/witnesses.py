"""
Third hosts, asked by a master who answers for the addresses of a pair.
"""

from failback.decisions import witnessed
from failback_master import minions

#: Hosts that are waited for: two holders are what must not be overlooked.
COUNT = 2


def ask(nodes, config, addresses, look=None):
    """
    Who answers for some addresses, as each witness of a pair sees it.

    nodes
        :py:class:`failback_master.minions.Nodes`.

    addresses
        Those to ask for; one that no pillar gives a prefix is as good.

    look
        Seconds for an answer, as for ``Nodes.try_all``.

    Returns ``({witness: {address: [link-layer address, …]}}, {witness: {address: why it was not asked}})``.
    """
    seen = {witness: {} for witness in config["witnesses"]}
    errors = {witness: {} for witness in config["witnesses"]}
    gone = {}
    for address in addresses:
        there = [witness for witness in config["witnesses"] if witness not in gone]
        answers, silent = nodes.try_all(there, "floating_ip.answered_by", address, look=look, count=COUNT)
        # Each look at one that is off takes its time, and a person waits.
        gone.update({one: why for one, why in silent.items() if isinstance(why, minions.NoAnswer)})
        for witness, macs in answers.items():
            seen[witness][address] = macs
        for witness, why in {**gone, **silent}.items():
            errors[witness][address] = why
    return seen, errors


def of_silent(nodes, config, silent, report):
    """
    What the witnesses see of a pair of which one node does not answer.

    silent
        Id of that node.

    report
        The other node's, or None.

    Returns ``(contradiction, shown)``: why that node is not off, a sentence or None; and
    ``{"<address> by <witness>": who answers}`` for people.
    """
    addresses = witnessed.asked(config, silent)
    if not config["witnesses"] or not addresses:
        return None, {}
    seen, errors = ask(nodes, config, addresses, minions.LOOK_WITHIN)
    shown = {}
    for witness in config["witnesses"]:
        for address in addresses:
            key = f"{address} by {witness}"
            if address in errors[witness]:
                shown[key] = f"not asked: {errors[witness][address]}"
            else:
                shown[key] = ", ".join(seen[witness][address]) or "nobody"
    return witnessed.contradiction(config, silent, report, seen), shown
