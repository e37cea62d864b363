"""
Who else is about to take the same address in the same moment: RFC 5227, 2.1.1, and RFC 4862, 5.4.3.

Silence proves nothing while another host waits for the same silence. So whoever is about to take an address
listens for the probes of others as well, and of two nodes one goes on:

.. code-block:: python

    answered, rival = rivals.ask(prober, links, addresses, wait=0.3)

The one with the lower hardware address begins its probes again, which gives the other time to hear it, and
goes on only if all of that time was quiet. The other one takes nothing. A third host that does not keep to
this is heard again, and then this node takes nothing either.

A question that claims nothing is none of this, such as that of the watch: it bears
:py:data:`failback.network.neighbours.QUESTION`, or comes from an address of its own.
"""

import dataclasses
import select
import socket
import struct

from failback.network import neighbours
from failback.network import netlink

#: How often the node with the lower hardware address begins anew.
AGAIN = 1

# From linux/if_ether.h, icmpv6.h, in6.h.
_ARP, _IPV6, _ICMPV6, _HOP_LIMIT = 0x0806, 0x86DD, 58, 255
_SOLICITATION = 135
_IPV6_HEADER = 40


@dataclasses.dataclass(frozen=True)
class Rival:
    """Who probes for an address that this node is about to take."""

    ip: str
    mac: bytes

    def goes_first(self, own):
        """Whether a node with the hardware address ``own`` steps back; also before one that names none."""
        return not self.mac or self.mac <= own


class Rivals:
    """
    Hears the probes of others for some addresses, over sockets that are open no longer than the question.

    addresses
        List of ``FloatingAddress`` whose interfaces exist.

    links
        What :py:meth:`failback.network.netlink.Netlink.links` gave.
    """

    def __init__(self, addresses, links):
        self._own = {link.mac for link in links.values()}
        self._wanted = {}
        self._arp, self._solicited, self._joined = {}, {}, []
        try:
            for one in addresses:
                link = links[one.interface]
                self._wanted[link.name, one.packed] = one.ip
                if one.version == 6:
                    self._join(link, one.packed)
            for name in sorted({name for name, _ in self._wanted}):
                packed = [packed for place, packed in self._wanted if place == name]
                self._open(links[name], packed)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self, link, addresses):
        four = [one for one in addresses if len(one) == 4]
        if four:
            self._arp[link.name] = _listener(link, _ARP, _arp_probes(len(link.mac), four))
        if len(four) < len(addresses):
            self._solicited[link.name] = _listener(link, _IPV6, _solicitations())

    def _join(self, link, packed):
        """Without it, neither the interface nor a switch that snoops lets another host's question through."""
        opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._joined.append(opened)
        group = socket.inet_pton(socket.AF_INET6, neighbours.solicited_group(packed))
        opened.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("=16sI", group, link.index)
        )

    def close(self):
        """Close every socket."""
        for opened in (*self.sockets(), *self._joined):
            opened.close()

    def sockets(self):
        """For select: those that become readable when somebody probes."""
        return [*self._arp.values(), *self._solicited.values()]

    def read(self):
        """The rivals heard since, without waiting: list of :class:`Rival`."""
        heard = []
        for name, opened in self._arp.items():
            for packet, _ in _drain(opened):
                size = packet[4] if len(packet) > 4 else 0
                if len(packet) < 16 + 2 * size or packet[12 + size : 12 + 2 * size] == neighbours.question(
                    size
                ):
                    continue
                heard.append((name, packet[12 + 2 * size : 16 + 2 * size], packet[8 : 8 + size]))
        for name, opened in self._solicited.items():
            for packet, sender in _drain(opened):
                # A hop limit that is not untouched comes from another network (RFC 4861, 7.1.1).
                if len(packet) >= _IPV6_HEADER + 24 and packet[7] == _HOP_LIMIT:
                    heard.append((name, packet[_IPV6_HEADER + 8 : _IPV6_HEADER + 24], sender))
        return [
            Rival(self._wanted[name, packed], mac)
            for name, packed, mac in heard
            if (name, packed) in self._wanted and mac not in self._own
        ]


def ask(prober, links, addresses, wait):
    """
    Ask for addresses as one who is about to take them.

    prober
        Open :py:class:`failback.network.neighbours.Prober`.

    links
        What :py:meth:`failback.network.netlink.Netlink.links` gave.

    addresses
        List of ``FloatingAddress``.

    wait
        Seconds in which nobody may answer, nor ask likewise. It may take twice as long.

    Returns ``(answered, rival)``: the hardware addresses that answered by address, as text, and who is about
    to take one of them, as ``(address, hardware address)`` in text, or None.
    """
    macs = {one.ip: links[one.interface].mac for one in addresses}
    with Rivals(addresses, links) as rivals:
        for left in reversed(range(1 + AGAIN)):
            answered, rival = neighbours.answers_or_rival(prober, addresses, wait, rivals)
            if rival is None or any(answered.values()):
                return answered, None
            if not left or rival.goes_first(macs[rival.ip]):
                return answered, (
                    rival.ip,
                    netlink.readable(rival.mac) or "a host that does not say who it is",
                )
    raise AssertionError("the loop returns")


def _listener(link, protocol, program):
    """A packet socket that hears what a filter lets through, from the network's header on."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        neighbours.attach(opened, program)
        opened.bind((link.name, protocol))
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _drain(opened):
    """``(packet, sender's hardware address)`` of those that wait; a network that is down has none."""
    packets = []
    while len(packets) < 1000 and select.select([opened], [], [], 0)[0]:
        try:
            packet, place = opened.recvfrom(2048)
        except OSError:
            break
        packets.append((packet, place[4]))
    return packets


# Instructions of the classic packet filter: linux/bpf_common.h.
_LOAD_WORD, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06


def _arp_probes(size, addresses):
    """A filter: ARP of a sender without an address that asks for one of those given."""
    wanted = [struct.unpack(">I", one)[0] for one in addresses]
    return _all_of([(_LOAD_WORD, 8 + size, [0]), (_LOAD_WORD, 12 + 2 * size, wanted)])


def _solicitations():
    """A filter: a neighbour solicitation from the unspecified address, as in duplicate-address detection."""
    nobody = [(_LOAD_WORD, at, [0]) for at in (8, 12, 16, 20)]
    return _all_of([(_LOAD_BYTE, 6, [_ICMPV6]), (_LOAD_BYTE, _IPV6_HEADER, [_SOLICITATION]), *nobody])


def _all_of(conditions):
    """A filter that lets through what has, at each place, one of the values wanted there."""
    program = []
    total = sum(2 + len(values) for _, _, values in conditions)
    for load, at, values in conditions:
        program.append(struct.pack("=HBBI", load, 0, 0, at))
        for position, value in enumerate(values, 1):
            # To the next condition: past the other values, and past the jump to the end.
            program.append(struct.pack("=HBBI", _JUMP_EQUAL, len(values) - position + 1, 0, value))
        # Equal or not, to the end, which says no.
        away = total - len(program)
        program.append(struct.pack("=HBBI", _JUMP_EQUAL, away, away, 0))
    program.append(struct.pack("=HBBI", _RETURN, 0, 0, 0xFFFFFFFF))
    program.append(struct.pack("=HBBI", _RETURN, 0, 0, 0))
    return program
