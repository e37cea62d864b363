"""
The kernel's own word on interfaces and addresses (rtnetlink), over one socket and without a process.

:class:`Netlink` reads links and addresses, sends requests and tells of changes; its constants are those of
linux/netlink.h, rtnetlink.h, if_link.h and if_addr.h, without their prefixes.
"""

import dataclasses
import os
import select
import socket
import struct

ACKNOWLEDGE, REQUEST, DUMP = 0x04, 0x01, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
DUMP_INTERRUPTED = 0x10
ERROR, DONE = 2, 3
GET_LINK, NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS, GET_ROUTE = 18, 20, 21, 22, 26
LINK_ADDRESS, LINK_BROADCAST, LINK_NAME, LINK_MASK = 1, 2, 3, 29
LINK_PROPERTIES, LINK_OTHER_NAME = 52, 53
SKIP_STATISTICS = 1 << 3
ADDRESS, LOCAL, LABEL, BROADCAST, LIFETIME, FLAGS = 1, 2, 3, 4, 6, 8
#: Of an address that stays until somebody deletes it.
FOR_EVER = 0xFFFFFFFF
UP, NO_ARP, LOWER_UP = 0x1, 0x80, 0x10000
SECONDARY, NO_DETECTION, DETECTION_FAILED, TENTATIVE = 0x01, 0x02, 0x08, 0x40
GET_NEIGHBOUR = 30
GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE = 0x1, 0x10, 0x100, 0x400
GROUP_IPV4_ROUTE = 0x40
ROUTE_DESTINATION, ROUTE_LOCAL = 1, 2
ROUTE_INTERFACE, ROUTE_GATEWAY, ROUTE_MULTIPATH, ROUTE_VIA = 4, 5, 9, 18
UNICAST, LOCAL_TABLE = 1, 255
NEIGHBOUR_ADDRESS, NEIGHBOUR_TIMES = 1, 3
#: States of a neighbour that was there: reachable, stale, delay, probe.
ANSWERED = 0x02 | 0x04 | 0x08 | 0x10
#: The groups that tell of changed interfaces, addresses and routes.
CHANGES = GROUP_LINK | GROUP_IPV4_ADDRESS | GROUP_IPV6_ADDRESS | GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE
#: The kernel's clock ticks a second, in which it says how old what it knows of a neighbour is.
TICKS = os.sysconf("SC_CLK_TCK")
#: Seconds within which it must have been proved that a neighbour hears this node.
LATELY = 5.0


@dataclasses.dataclass(frozen=True)
class Link:
    """One interface as the kernel describes it."""

    index: int
    name: str
    hardware: int
    flags: int
    mac: bytes
    broadcast: bytes
    #: Its alternative names (``ip link property add … altname``).
    others: tuple = ()

    @property
    def up(self):
        """Whether an administrator has set it up."""
        return bool(self.flags & UP)

    @property
    def carrier(self):
        """Whether it is up and something is at the other end of the cable."""
        return bool(self.flags & UP and self.flags & LOWER_UP)

    @property
    def speaks(self):
        """Whether there are neighbours to ask at all: not on loopback or point-to-point links."""
        return not self.flags & NO_ARP and bool(self.mac) and any(self.broadcast)


class Links(dict):
    """The interfaces by name; each is found by its alternative names too, and listed under its own."""

    def __init__(self, links):
        super().__init__((link.name, link) for link in links)
        self._names = {other: link.name for link in self.values() for other in link.others}

    def __getitem__(self, name):
        return super().__getitem__(self._own(name))

    def __contains__(self, name):
        return super().__contains__(self._own(name))

    def get(self, name, default=None):
        """An interface by any of its names."""
        return super().get(self._own(name), default)

    def _own(self, name):
        return name if super().__contains__(name) else self._names.get(name, name)


@dataclasses.dataclass(frozen=True)
class Borne:
    """
    One address that an interface of this node bears.

    ``lifetime`` in seconds, None: until it is deleted. ``made`` is the moment at which it was added, in
    hundredths of a second of the kernel's own count: the same as long as it is the same address.
    """

    packed: bytes
    prefix: int
    index: int
    scope: int
    flags: int
    label: str
    lifetime: int = None
    made: int = 0

    @property
    def failed(self):
        """Whether the kernel has found that another host has it, and answers for it no more (IPv6 alone)."""
        return len(self.packed) == 16 and bool(self.flags & DETECTION_FAILED)

    @property
    def settled(self):
        """Whether the kernel answers for it: not before its own question is over, nor if that has failed."""
        return not (self.failed or len(self.packed) == 16 and self.flags & TENTATIVE)


class Netlink:
    """
    A socket to the kernel's rtnetlink.

    groups
        Whose changes to subscribe to: the socket becomes readable when one happens.

    protocol
        Another protocol of netlink.
    """

    def __init__(self, groups=0, protocol=0):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.bind((0, groups))
        self.socket.settimeout(5)
        self._sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        """For select."""
        return self.socket.fileno()

    def close(self):
        """Close the socket."""
        self.socket.close()

    def drain(self):
        """Forget the news that have arrived. Returns whether there were any."""
        any_news = False
        while select.select([self.socket], [], [], 0)[0]:
            any_news = True
            try:
                self.socket.recv(65536)
            except OSError:  # ENOBUFS: more news than fit, which is news as well
                continue
        return any_news

    def links(self):
        """All interfaces: :class:`Links`, a dictionary of name to :class:`Link`."""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        body += attribute(LINK_MASK, struct.pack("=I", SKIP_STATISTICS))
        found = []
        for payload in self.request(GET_LINK, DUMP, body):
            _, hardware, index, flags, _ = struct.unpack_from("=BxHiII", payload)
            attributes = _attributes(payload, 16)
            others = _each_attribute(attributes.get(LINK_PROPERTIES, b""), 0)
            found.append(
                Link(
                    index,
                    _text(attributes.get(LINK_NAME, b"")),
                    hardware,
                    flags,
                    attributes.get(LINK_ADDRESS, b""),
                    attributes.get(LINK_BROADCAST, b""),
                    tuple(_text(value) for kind, value in others if kind == LINK_OTHER_NAME),
                )
            )
        return Links(found)

    def addresses(self):
        """All addresses of all interfaces: list of :class:`Borne`."""
        found = []
        for payload in self.request(GET_ADDRESS, DUMP, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
            _, prefix, flags, scope, index = struct.unpack_from("=BBBBi", payload)
            attributes = _attributes(payload, 8)
            if FLAGS in attributes:
                (flags,) = struct.unpack("=I", attributes[FLAGS])
            found.append(
                Borne(
                    # IFA_ADDRESS is the other end of a point-to-point link, IFA_LOCAL is ours.
                    attributes.get(LOCAL) or attributes.get(ADDRESS, b""),
                    prefix,
                    index,
                    scope,
                    flags,
                    _text(attributes.get(LABEL, b"")),
                    *_life(attributes.get(LIFETIME)),
                )
            )
        return found

    def gateways(self):
        """
        The gateways of this node's own routes, whatever table they are in.

        Returns a set of ``(address as bytes, index of the interface)``.
        """
        found = set()
        for payload in self.request(GET_ROUTE, DUMP, bytes(12)):
            table, kind = payload[4], payload[7]
            if kind != UNICAST or table == LOCAL_TABLE:
                continue
            attributes = _attributes(payload, 12)
            if ROUTE_INTERFACE in attributes:
                (index,) = struct.unpack("=I", attributes[ROUTE_INTERFACE])
                found |= {(one, index) for one in _gateways(attributes)}
            hops = attributes.get(ROUTE_MULTIPATH, b"")
            while len(hops) >= 8:
                length, _, _, index = struct.unpack_from("=HBBi", hops)
                if length < 8:
                    break
                found |= {(one, index) for one in _gateways(_attributes(hops[:length], 8))}
                hops = hops[(length + 3) & ~3 :]
        return found

    def confirmed(self, indexes):
        """
        How long ago the kernel had it proved last that a neighbour hears this node.

        It is proved by the neighbour's answer to a question of this node, or by its acknowledgement of what
        this node had sent; what a neighbour says unasked proves nothing. Those of which this was more than
        ``LATELY`` seconds ago are left out: of a neighbour that is new to it the kernel says a minute.

        indexes
            Numbers of the interfaces to look at.

        Returns a dictionary of address (bytes) to seconds.
        """
        found = {}
        for payload in self.request(GET_NEIGHBOUR, DUMP, bytes(12)):
            index, state = struct.unpack_from("=iH", payload, 4)
            times = _attributes(payload, 12)
            if index not in indexes or not state & ANSWERED or NEIGHBOUR_TIMES not in times:
                continue
            seconds = struct.unpack_from("=I", times[NEIGHBOUR_TIMES])[0] / TICKS
            if seconds < LATELY:
                found[times.get(NEIGHBOUR_ADDRESS, b"")] = seconds
        return found

    def is_local(self, floating, index=None):
        """Whether the kernel takes packets to an address as its own; ``index``: those of one interface."""
        size = len(floating.packed)
        body = struct.pack("=BBBBBBBBI", floating.family, size * 8, 0, 0, 0, 0, 0, 0, 0)
        body += attribute(ROUTE_DESTINATION, floating.packed)
        if index is not None:
            body += attribute(ROUTE_INTERFACE, struct.pack("=I", index))
        try:
            found = self.request(GET_ROUTE, ACKNOWLEDGE, body)
        except OSError:  # no route at all
            return False
        return bool(found) and found[0][7] == ROUTE_LOCAL

    def request(self, kind, flags, body):
        """
        Send one request and read its answer.

        Returns the list of payloads of a dump, an empty list for an acknowledgement. Raises OSError
        with the kernel's error number.
        """
        for _ in range(5):
            answer, interrupted = self._exchange(kind, flags, body)
            if not interrupted:
                break
        return answer

    def _exchange(self, kind, flags, body):
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST, self._sequence, 0)
        self.socket.send(header + body)
        payloads, interrupted = [], False
        while True:
            data = self.socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(data):
                length, found, found_flags, sequence, _ = struct.unpack_from("=IHHII", data, at)
                payload = data[at + 16 : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(found_flags & DUMP_INTERRUPTED)
                if found in (ERROR, DONE):
                    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code:
                        raise OSError(code, os.strerror(code))
                    return payloads, interrupted
                payloads.append(payload)


def readable(mac):
    """A hardware address as text."""
    return mac.hex(":")


def lifetime(seconds, preferred=True):
    """
    The attribute (IFA_CACHEINFO) that has the kernel delete an address by itself; None: it stays.

    preferred
        Whether it may be the source of connections that begin here and name none (RFC 6724, rule 3).
    """
    valid = FOR_EVER if seconds is None else seconds
    return attribute(LIFETIME, struct.pack("=IIII", valid if preferred else 0, valid, 0, 0))


def _life(raw):
    if not raw or len(raw) < 16:
        return None, 0
    _, valid, made, _ = struct.unpack_from("=IIII", raw)
    return None if valid == FOR_EVER else valid, made


def _text(raw):
    return raw.rstrip(b"\0").decode(errors="surrogateescape")


def attribute(kind, value):
    """One attribute of a netlink message, padded as the kernel wants it."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(payload, at):
    return dict(_each_attribute(payload, at))


def _each_attribute(payload, at):
    while at + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, at)
        if length < 4:
            break
        yield kind & 0x3FFF, payload[at + 4 : at + length]
        at += (length + 3) & ~3


def _gateways(attributes):
    """The gateways among a route's attributes; an IPv4 route may go by way of an IPv6 neighbour."""
    via = attributes.get(ROUTE_VIA, b"")[2:]
    return {one for one in (attributes.get(ROUTE_GATEWAY, b""), via) if len(one) in (4, 16) and any(one)}


def link_local(link, borne):
    """The link-local address that an interface can use now, as bytes; None if it has none."""
    for one in borne:
        if one.index == link.index and one.packed[:2] == b"\xfe\x80" and one.settled:
            return one.packed
    return None
