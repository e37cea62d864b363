"""
What third hosts see of a pair, and what that says of a node that does not answer. Pure.
"""

import re

_ADDRESS = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def asked(config, silent):
    """
    The addresses to ask a witness for.

    config
        The normalised pair.

    silent
        Id of the node that does not answer.

    Returns a list: the floating addresses, and the silent node's fixed one, if the pillar has it as a number.
    """
    found = [one["address"] for one in config["floating_ips"]]
    host = next(config[role]["host"] for role in ("primary", "secondary") if config[role]["id"] == silent)
    return [*found, host] if _ADDRESS.fullmatch(host) else found


def contradiction(config, silent, report, seen):
    """
    Why a node that does not answer must not be taken for one that is off, or None.

    config, silent
        As for :func:`asked`.

    report
        What the other node reports, or None.

    seen
        ``{witness: {address: [link-layer address, …]}}``: who answers for it, as the witness sees it.

    Returns a sentence: what was seen, why that is dangerous, and what to do next.
    """
    other = next(config[role]["id"] for role in ("primary", "secondary") if config[role]["id"] != silent)
    own = {one["address"]: one.get("mac") for one in (report or {}).get("addresses") or []}
    found = []
    for witness, answers in sorted(seen.items()):
        for address, macs in answers.items():
            strangers = [mac for mac in macs if address not in own or mac != own[address]]
            if len(macs) > 1:
                found.append(f"{witness} sees {len(macs)} hosts answer for {address}: {', '.join(macs)}.")
            elif strangers and address in own:
                found.append(f"{witness} sees {strangers[0]} answer for {address}, which is not {other}.")
            elif strangers:
                found.append(f"{witness} sees {silent} itself answer for {address} ({strangers[0]}).")
    if not found:
        return None
    return (
        f"{' '.join(found)} So {silent} is not off, although it does not answer here: it may serve clients, "
        f"and {other} would not have what they write there. Start its salt-minion, or mend the network to "
        f"it; or take its power away. Then look again: salt-run pair.status {config['name']}"
    )
