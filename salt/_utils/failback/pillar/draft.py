"""
The first pillar file of a new pair, from what its two nodes say of themselves. Pure.
"""

import ipaddress

from failback.errors import Refused
from failback.pillar import check

#: What everybody needs is written out; what a site may add is a comment.
HEADER = """\
# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair {pair}, from what {primary} and {secondary} say of themselves. `salt-run pair.new` has written it
# nowhere: keep it as pairs/{pair}.sls below pillar_roots, and add this line to the list in top.sls there:
#   {pair} {primary} {secondary}
# Then: salt-run pair.check
pairs:
  {pair}:
    primary: {{id: {primary}, host: {primary_host}}}
    secondary: {{id: {secondary}, host: {secondary_host}}}
"""
WITH_ADDRESS = """\
    floating_ips:
      {pair}-gw:
        address: {address}
        interface: {interface}
"""
WITHOUT_ADDRESS = """\
    # An address that moves with the service: a free one, in a network that both nodes have.
    # floating_ips:
    #   {pair}-gw:
    #     address: {example}
    #     interface: {interface}
"""
THE_REST = """\
    # What the secondary has to have as well, if the service keeps files:
    # replicate: [/srv/{pair}]
    # Units that run on both nodes, and those that run on the active one alone:
    # services: []
    # active_services: []
"""
ASKED = """\
    # Before a takeover, {gateway} is asked whether the node is itself cut off: it is the gateway.
"""
NOBODY = """\
    # Somebody must be there to ask before a takeover, and neither node has a gateway in the network of the
    # address: a third host that is a minion, by its id and its fixed address.
    # witnesses: [{{id: …, host: …}}]
"""


def draft(pair, facts, address=None):
    """
    The text of ``pillar/pairs/<pair>.sls``.

    pair
        Name of the pair.

    facts
        Of the primary and of the secondary, what ``failback.surroundings.surroundings`` returns.

    address
        The floating address, with or without its prefix; None leaves it out.

    Returns YAML with comments. Raises ``Refused`` when the nodes have no network in common, or none for the
    address.
    """
    wanted = check.name_wanted(pair)
    if wanted:
        raise Refused(f"{pair!r} cannot be the name of a pair. Wanted is {wanted}.")
    primary, secondary = facts
    networks = _in_common(primary, secondary)
    if not networks:
        raise Refused(
            f"{primary['node']} and {secondary['node']} have no network in common on an interface of one "
            f"name, so no address can move between them, and neither reaches the other: {_has(primary)}; "
            f"{_has(secondary)}."
        )
    chosen, floating = networks[0], None
    if address is not None:
        chosen, floating = _for_address(address, networks)
    values = {
        "pair": pair,
        "primary": primary["node"],
        "secondary": secondary["node"],
        "primary_host": chosen["hosts"][0],
        "secondary_host": chosen["hosts"][1],
        "interface": chosen["interface"],
        "gateway": chosen["gateway"],
        "address": floating,
        "example": f"{_example(chosen)}",
    }
    text = [HEADER, WITH_ADDRESS if floating else WITHOUT_ADDRESS, THE_REST]
    if chosen["gateway"]:
        text.append(ASKED)
    else:
        text.append(NOBODY)
    return "".join(one.format(**values) for one in text)


def _in_common(primary, secondary):
    """
    Networks in which both nodes have an interface of the same name, that of a gateway first, IPv4 first.

    Each is ``{"interface", "network", "hosts", "gateway"}``: the nodes' own addresses there as text, and the
    address of the gateway, or None.
    """
    found = []
    for name in sorted(set(primary["interfaces"]) & set(secondary["interfaces"])):
        theirs = [ipaddress.ip_interface(one) for one in secondary["interfaces"][name]]
        for mine in map(ipaddress.ip_interface, primary["interfaces"][name]):
            other = next((one for one in theirs if one.network == mine.network and one.ip != mine.ip), None)
            if other is None or mine.network.num_addresses < 3:
                continue
            known = [
                {one["interface"]: one["address"] for one in both["gateways"]}
                for both in (primary, secondary)
            ]
            gateway = known[0].get(name)
            if gateway != known[1].get(name) or ipaddress.ip_address(gateway or "::") not in mine.network:
                gateway = None
            entry = {"interface": name, "network": mine.network, "gateway": gateway}
            found.append({**entry, "hosts": (str(mine.ip), str(other.ip))})
    return sorted(found, key=lambda one: (one["gateway"] is None, one["network"].version))


def _for_address(address, networks):
    try:
        wanted = ipaddress.ip_interface(address)
    except ValueError as error:
        raise Refused(f"{address!r} is not an IP address: {error}.") from None
    for one in networks:
        if wanted.ip not in one["network"]:
            continue
        if str(wanted.ip) in (*one["hosts"], one["gateway"]):
            raise Refused(
                f"{wanted.ip} is taken: it is a node's own address, or the gateway's. Choose a free one."
            )
        if "/" in str(address) and wanted.network != one["network"]:
            raise Refused(
                f"{address} has another prefix than {one['interface']} ({one['network']}): leave it out."
            )
        if one["network"].version == 4 and wanted.ip in (
            one["network"].network_address,
            one["network"].broadcast_address,
        ):
            raise Refused(f"{wanted.ip} is no host's address in {one['network']}. Choose a free one.")
        return one, f"{wanted.ip}/{one['network'].prefixlen}"
    listed = ", ".join(f"{one['network']} on {one['interface']}" for one in networks)
    raise Refused(f"{wanted.ip} lies in no network that both nodes have; they have {listed}.")


def _example(network):
    """How an address of a network begins, for a person to complete."""
    text, prefix = str(network["network"].network_address), network["network"].prefixlen
    separator = "." if network["network"].version == 4 else ":"
    return f"{text.rpartition(separator)[0]}{separator}…/{prefix}"


def _has(facts):
    listed = ", ".join(
        f"{name} {' '.join(all_) or 'without an address'}" for name, all_ in facts["interfaces"].items()
    )
    return f"{facts['node']} has {listed or 'no interface'}"
