"""
Is this node itself connected? Somebody of ``watch.reachable``, such as the router, must answer.

Silence proves nothing to a node that is cut off: it must not take what another one has. Unless the pillar
names addresses, those are asked that are there on an ordinary site: the gateways of the networks of the
pair's addresses, as the node's own routes have them, and the witnesses of which the pillar gives the address.
"""

import contextlib
import dataclasses
import errno
import os
import select
import socket
import struct
import time

from failback.decisions import addressing
from failback.decisions import hearing
from failback.decisions import roles
from failback.errors import FailbackError
from failback.network import floating
from failback.network import neighbours
from failback.network import netlink


@dataclasses.dataclass(frozen=True)
class Targets:
    """
    Who is asked.

    near
        Those to ask for by ARP or neighbour discovery, as ``FloatingAddress``.

    far
        Those to ping, as text.

    unasked
        Whether the site wants takeovers without asking anybody.
    """

    near: tuple = ()
    far: tuple = ()
    unasked: bool = False

    @property
    def names(self):
        """All of them as text; None where nobody is to be asked, empty where there is nobody to ask."""
        if self.unasked:
            return None
        return tuple(one.ip for one in self.near) + self.far


def targets(config, links=None, gateways=None, borne=None):
    """
    Who must answer before this node believes that it is the others who are silent.

    config
        The node's configuration of the pair.

    links, gateways, borne
        What :class:`failback.network.netlink.Netlink` says of this node; by default it is asked.

    Returns :class:`Targets`.
    """
    wanted = hearing.asked(config)
    if wanted is hearing.NOBODY:
        return Targets(unasked=True)
    addresses = floating.of_pair(config)
    near, far = near_and_far(wanted, addresses)
    if hearing.asks_gateways(config):
        if links is None:
            with netlink.Netlink() as kernel:
                links, gateways, borne = kernel.links(), kernel.gateways(), kernel.addresses()
        known = {one.packed for one in near}
        own = {one.packed for one in (*addresses, *borne)} | peer(config)
        found = _gateways(addresses, links, gateways)
        near = [*near, *(one for one in found if one.packed not in known | own)]
    return Targets(tuple(near), tuple(far))


def _gateways(addresses, links, gateways):
    """The gateways on the interfaces of the pair's addresses, or in their networks, in a fixed order."""
    names = {link.index: link.name for link in links.values()}
    interfaces = {links[one.interface].name for one in addresses if one.interface in links}
    networks = {one.network for one in addresses}
    for packed, index in sorted(gateways):
        name = names.get(index)
        text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
        if name is None:
            continue
        try:
            one = floating.FloatingAddress(f"{text}/{8 * len(packed)}", name, name=text)
        except FailbackError:
            continue  # a route to what no host can be; who watches must not end of it
        if name in interfaces or any(_within(one, network) for network in networks):
            yield one


def _within(one, network):
    return one.version == network.version and one.network.subnet_of(network)


def peer(config):
    """The other node's fixed address, if the pillar gives it as one: silent, it is what is in question."""
    host = roles.peer(config)["host"]
    with contextlib.suppress(OSError):
        return {socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)}
    return set()


def heard(kernel, links, addresses, besides=frozenset()):
    """
    How long ago a neighbour has shown last that it hears this node, by the kernel's word.

    kernel
        An open :py:class:`failback.network.netlink.Netlink`.

    links
        What its ``links()`` gave.

    addresses
        The pair's ``FloatingAddress``: a neighbour on their interfaces counts, and none that has one of them.

    besides
        Further addresses (bytes) that do not count.

    Returns seconds, or None.
    """
    nobody = {one.packed for one in addresses} | besides
    indexes = {links[one.interface].index for one in addresses if one.interface in links}
    ages = (age for packed, age in kernel.confirmed(indexes).items() if packed not in nobody)
    return min(ages, default=None)


def state(config):
    """
    Whom this node asks, for its report.

    config
        The node's configuration of the pair.

    Returns ``{"asks": [address, …], "problem": None or a sentence}``; ``asks`` is None where the site wants
    takeovers without asking anybody. None where this node watches nothing.
    """
    if not hearing.watches(config):
        return None
    found = targets(config)
    names = found.names
    return {
        "asks": None if names is None else list(names),
        "problem": None if names or names is None else hearing.nobody_to_ask(config["name"], config["node"]),
    }


def answers(config, timeout=0.5):
    """
    Whether one of those who must answer does.

    config
        The node's configuration of the pair.

    timeout
        Seconds to wait for an answer, for those in the pair's own networks and for the others each.

    Returns True or False; None where the site wants takeovers without asking anybody.
    """
    found = targets(config)
    if found.unasked:
        return None
    with contextlib.suppress(FailbackError):  # no link to them: as good as no answer
        linked, _ = floating.by_link(found.near) if found.near else ([], [])
        if linked and any(neighbours.probe_all(linked, timeout, unasked=False).values()):
            return True
    with contextlib.closing(Echo(found.far)) as echo:
        echo.ask()
        end = time.monotonic() + timeout
        while echo.sockets() and (left := end - time.monotonic()) > 0:
            if select.select(echo.sockets(), [], [], left)[0] and echo.read():
                return True
    return False


def near_and_far(wanted, addresses):
    """
    The addresses of ``watch.reachable`` by how one asks for them.

    wanted
        The addresses, as text.

    addresses
        The ``FloatingAddress`` of the pair, in whose networks they may lie.

    Returns those to ask for by ARP, as ``FloatingAddress``, and those for :class:`Echo`, as text.
    """
    found = {target: _neighbour(target, addresses) for target in wanted}
    near = [one for one in found.values() if one]
    return near, [target for target, one in found.items() if not one]


def _neighbour(target, addresses):
    for one in addresses:
        with contextlib.suppress(FailbackError):
            near = floating.FloatingAddress(f"{target}/{one.prefix}", one.interface, name=target)
            if near.network == one.network:
                return near
    return None


class Echo:
    """
    Pings addresses that lie in none of the watched networks, where ARP cannot ask.

    addresses
        List of addresses as text.
    """

    def __init__(self, addresses):
        self._sockets = {}
        # As the kernel writes the sender of an answer, however the pillar writes it.
        addresses = [str(addressing.parsed(one) or one) for one in addresses]
        self._targets = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]
        self._identity = os.getpid() & 0xFFFF
        for family in {family for family, _ in self._targets}:
            protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
            try:
                opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                continue  # no IPv6 on this node: as good as no answer
            if family == socket.AF_INET:  # linux/icmp.h: a mask of the types to drop
                opened.setsockopt(255, 1, struct.pack("=I", 0xFFFFFFFF & ~1))
            else:
                opened.setsockopt(protocol, 1, neighbours.icmp6_filter(129))
            opened.setblocking(False)
            self._sockets[family] = opened

    def sockets(self):
        """For select."""
        return list(self._sockets.values())

    def close(self):
        """Close the sockets."""
        for opened in self._sockets.values():
            opened.close()

    def ask(self):
        """Send one echo request to each address."""
        for family, target in self._targets:
            kind = 8 if family == socket.AF_INET else 128
            packet = struct.pack(">BBHHH", kind, 0, 0, self._identity, 1)
            if family == socket.AF_INET:  # for IPv6 the kernel computes the checksum
                total = (kind << 8) + self._identity + 1
                checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
                packet = packet[:2] + struct.pack(">H", checksum) + packet[4:]
            with contextlib.suppress(OSError, KeyError):  # no route, or no IPv6: as good as no answer
                self._sockets[family].sendto(packet, (target, 0))

    def read(self):
        """Whether one of the addresses has answered."""
        answered = False
        wanted = {target for _, target in self._targets}
        for family, opened in self._sockets.items():
            while True:
                try:
                    packet, sender = opened.recvfrom(2048)
                except OSError:
                    break
                if family == socket.AF_INET:
                    packet = packet[(packet[0] & 0xF) * 4 :]
                reply = 0 if family == socket.AF_INET else 129
                if len(packet) >= 8 and packet[0] == reply and sender[0] in wanted:
                    answered |= struct.unpack_from(">H", packet, 4)[0] == self._identity
        return answered
