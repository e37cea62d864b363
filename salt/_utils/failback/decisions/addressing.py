"""
Which addresses a pair may have, and how an address is written. Pure.

One rule for all who take one: the pillar, the module and the state ``floating_ip``, and what a node asks.
"""

import ipaddress

#: What is wanted instead of an address that no host can have.
OF_A_HOST = "the address of a host, not of a network, a group or this host"


def floating(text):
    """
    What is wanted instead of a floating address, or None if it may be one.

    text
        With its prefix length: ``10.0.0.5/24`` or ``fd00::5/64``.
    """
    try:
        found = ipaddress.ip_interface(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if found is None:
        return "an IPv4 or IPv6 address with its prefix, such as 10.0.0.5/24"
    _, slash, prefix = text.partition("/")
    if not slash:
        return f"the prefix as well, such as {text}/{24 if found.version == 4 else 64}"
    if not (prefix.isascii() and prefix.isdigit()):
        return f"the prefix as a number, {found.with_prefixlen}"
    if "%" in text:
        return f"the address without its zone, {text.partition('%')[0]}/{prefix}: the interface says where"
    if _mapped(found.ip):
        return f"the IPv4 address itself, {_mapped(found.ip)} with its prefix"
    return None if _is_of_a_host(found.ip) and _is_in_its_network(found) else OF_A_HOST


def fixed(text):
    """
    What is wanted instead of an address by which one host reaches another, or None if it may be one.

    text
        Without a prefix: ``10.0.0.12`` or ``fd00::12``.
    """
    address = parsed(text)
    if address is None:
        return "an IP address without a prefix"
    if _mapped(address):
        return f"the IPv4 address itself, {_mapped(address)}"
    if address.version == 6 and address.is_link_local:
        return "an address that is the same on every network, which a link-local one is not"
    return None if _is_of_a_host(address) else "the address of a host, not of a group or this host"


def host(text):
    """
    What is wanted instead of a host, a name or an address, or None if it may be one.

    What can be no name because it has a colon, or nothing but digits and dots, must be an address: ssh would
    look it up in vain.
    """
    if parsed(text) is not None or ":" in text or not text.strip("0123456789."):
        return fixed(text) and f"a host name, or {fixed(text)}"
    return None


def parsed(text):
    """A text as an address without a prefix, of the module ``ipaddress``; None if it is none."""
    try:
        return ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None


def in_brackets(name):
    """A host as rsync and URLs want it, before a colon: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{name}]" if ":" in name else name


def per_link(address):
    """
    Whether an address means something on its own link alone, so that another interface may have it too.

    address
        As 4 or 16 bytes. An IPv4 one is the whole node's, as the kernel has it.
    """
    return address[:1] == b"\xfe" and len(address) == 16 and address[1] & 0xC0 == 0x80


def _mapped(address):
    return getattr(address, "ipv4_mapped", None)


def _is_of_a_host(address):
    return not (
        address.is_multicast
        or address.is_loopback
        or address.is_unspecified
        or address == ipaddress.IPv4Address("255.255.255.255")
    )


def _is_in_its_network(interface):
    """Whether it is neither the first nor the last of its network, where those are not a host's."""
    address, network = interface.ip, interface.network
    if network.prefixlen == 0:
        return False
    if network.prefixlen >= network.max_prefixlen - 1:  # RFC 3021, RFC 6164
        return True
    # The first one of an IPv6 network is that of its routers (RFC 4291, 2.6.1); there is no broadcast.
    last = network.broadcast_address if interface.version == 4 else None
    return address not in (network.network_address, last)
