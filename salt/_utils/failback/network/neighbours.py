"""
Who answers for an address on the network, and telling the network who does: ARP and neighbour discovery.

:func:`probe` asks once; :class:`Prober` keeps its sockets open for who asks, listens and announces often.
Needs root (CAP_NET_RAW), and Linux: packet sockets with a filter in the kernel.
"""

import ctypes
import errno
import os
import pathlib
import select
import socket
import struct
import time

from failback.errors import Unavailable
from failback.network import netlink

#: Probes sent within the time of one question at least, as RFC 5227's PROBE_NUM.
CHECK_PROBES = 3

#: Stands where RFC 5227 leaves the target's hardware address empty: a question that claims nothing.
#: A host that has it answers all the same, and one that is about to take it does not take this for a rival.
QUESTION = b"\x02FBask"

_INFINIBAND = 32

# From linux/if_ether.h, if_packet.h, in6.h, icmpv6.h, filter.h.
_ARP, _IPV6 = 0x0806, 0x86DD
_ICMP6_FILTER = 1
_ATTACH_FILTER = 26
_SOLICITATION, _ADVERTISEMENT = 135, 136
#: ARP's operation of an answer, and the bit of an advertisement that was asked for (RFC 4861, 4.4).
_REPLY, _SOLICITED = b"\0\2", 0x40


def probe(floating, timeout=0.5, count=1):
    """
    Who answers for an address, as seen on the network and from outside this node.

    Asks as duplicate-address detection does: ARP with sender 0.0.0.0 (RFC 5227), so that nobody's
    table changes; for IPv6 a neighbour solicitation from the interface's link-local address, so
    that a node in the middle of its own detection is not disturbed (RFC 4862, 5.4.3).

    floating
        A :class:`FloatingAddress`; only its address and interface matter.

    timeout
        Seconds to wait at most. At least three probes are sent in this time.

    count
        Return as soon as so many hardware addresses have answered.

    Returns a list of hardware addresses as text, in the order of their answers; this node's own are
    left out. Empty if nobody answered. Raises :class:`~failback.errors.Unavailable` if the
    interface is missing, down or without carrier, because then silence proves nothing.
    """
    return probe_all([floating], timeout, count)[floating.address]


def probe_all(floatings, timeout=0.5, count=1, unasked=True):
    """
    :func:`probe` of several addresses at once, in the time of one.

    unasked
        Whether a host that is merely heard counts as well: it has the address, but need not hear this node.

    Returns a dict of ``FloatingAddress.address`` to the list of hardware addresses.
    """
    with netlink.Netlink() as kernel:
        links = kernel.links()
        require_link(floatings, links)
        with Prober(floatings, links, kernel.addresses()) as prober:
            answered = answers(prober, floatings, timeout, count, unasked=unasked)
            return {one.address: answered[one.ip] for one in floatings}


def answering(floatings, timeout):
    """The hardware addresses that answer for any of some addresses, sorted; as :func:`probe_all`."""
    return sorted({mac for macs in probe_all(floatings, timeout).values() for mac in macs})


class Prober:
    """
    Asks the segment who answers for addresses, and tells it who does, over sockets kept open.

    A filter in the kernel lets through only ARP that names one of the addresses as its sender, so
    a busy segment costs nothing.

    addresses
        List of :class:`FloatingAddress` whose interfaces exist.

    links, borne
        What :meth:`Netlink.links` and :meth:`Netlink.addresses` gave.
    """

    def __init__(self, addresses, links, borne):
        self._own = {link.mac for link in links.values()}
        self._links = links
        self._by_packed = {one.packed: one for one in addresses}
        self._arp, self._neighbour, self._source, self._router = {}, {}, {}, {}
        try:
            for name in sorted({links[one.interface].name for one in addresses if one.version == 4}):
                mine = [one for one in addresses if (links[one.interface].name, one.version) == (name, 4)]
                self._arp[name] = self._open_arp(links[name], mine)
            for name in sorted({links[one.interface].name for one in addresses if one.version == 6}):
                self._neighbour[name] = self._open_neighbour(links[name])
                self._source[name] = netlink.link_local(links[name], borne)
                self._router[name] = _forwards(name)
        except PermissionError as error:
            self.close()
            raise Unavailable(f"Packet sockets need root (CAP_NET_RAW): {error.strerror}.") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close every socket."""
        for opened in self.sockets():
            opened.close()

    def sockets(self):
        """For select: those that become readable when somebody answers."""
        return [*self._arp.values(), *self._neighbour.values()]

    def ask(self, addresses, claim=False):
        """
        Send one question for each address.

        claim
            Ask as one who is about to take them: others who are hear it, see ``network.rivals``.

        Returns the addresses asked for; those whose interface is down or gone are left out.
        """
        asked = []
        for one in addresses:
            link = self._links[one.interface]
            if not link.speaks:
                continue
            try:
                if one.version == 4:
                    size = len(link.mac)
                    packet = _arp(link, 1, bytes(4), bytes(size) if claim else question(size), one.packed)
                    _send(self._arp[link.name], link, packet, link.broadcast, _ARP)
                else:
                    self._solicit(one, link, None if claim else self._source[link.name])
            except OSError:
                continue
            asked.append(one)
        return asked

    def read(self):
        """
        What has arrived, without waiting.

        Returns a list of (address without prefix length, hardware address as text, whether it answers this
        node) of foreign hosts. One that merely announces itself, or asks for somebody else, has the address
        too, and need not hear this node.
        """
        heard = []
        for name, opened in self._arp.items():
            size = len(self._links[name].mac)
            for packet in _drain(opened):
                if len(packet) < 12 + 2 * size or packet[4] != size:
                    continue
                sender, target = packet[8 : 8 + size], packet[12 + size : 12 + 2 * size]
                answers_us = packet[6:8] == _REPLY and target == self._links[name].mac
                heard.append((name, packet[8 + size : 12 + size], sender, answers_us))
        for name, opened in self._neighbour.items():
            for packet in _drain(opened):
                if len(packet) >= 24 and packet[0] == _ADVERTISEMENT:
                    sender = _link_layer_option(packet[24:], len(self._links[name].mac))
                    # What is asked from no address is answered to all, as if nobody had asked.
                    answers_us = bool(packet[4] & _SOLICITED) or not self._source[name]
                    heard.append((name, packet[8:24], sender, answers_us))
        return [
            (self._by_packed[packed].ip, netlink.readable(sender), answers_us)
            for name, packed, sender, answers_us in heard
            if self._is_asked_for(name, packed) and sender not in self._own
        ]

    def _is_asked_for(self, name, packed):
        one = self._by_packed.get(packed)
        # Elsewhere a link-local address is another one.
        return one is not None and (not one.per_link or self._links[one.interface].name == name)

    def announce(self, floating):
        """Announce to the segment that this node has the address. OSError if it cannot be sent."""
        link = self._links[floating.interface]
        if not link.speaks:
            return
        if floating.version == 4:
            for operation, target in ((1, bytes(len(link.mac))), (2, link.broadcast)):
                packet = _arp(link, operation, floating.packed, target, floating.packed)
                _send(self._arp[link.name], link, packet, link.broadcast, _ARP)
            return
        override, router = 0x20000000, 0x80000000 if self._router[link.name] else 0
        packet = struct.pack(">BBHI", _ADVERTISEMENT, 0, 0, override | router) + floating.packed
        packet += _option(2, link)
        self._send6(link, packet, floating.packed, "ff02::1")

    def _solicit(self, floating, link, source):
        group = solicited_group(floating.packed)
        packet = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + floating.packed
        if source:
            self._send6(link, packet + _option(1, link), source, group)
            return
        # A claim, or no link-local address yet: ask from ::, which a raw socket cannot do.
        destination = socket.inet_pton(socket.AF_INET6, group)
        packet = _checksummed(packet, bytes(16), destination)
        header = struct.pack(">IHBB", 6 << 28, len(packet), 58, 255) + bytes(16) + destination
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as opened:
            _send(opened, link, header + packet, _group_on(link, destination), _IPV6)

    def _send6(self, link, packet, source, destination):
        control = struct.pack("=16sI", source, link.index)
        self._neighbour[link.name].sendmsg(
            [packet],
            [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, control)],
            0,
            (destination, 0, 0, link.index),
        )

    @staticmethod
    def _open_arp(link, addresses):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            attach(opened, _sender_filter(8 + len(link.mac), [one.packed for one in addresses]))
            opened.bind((link.name, _ARP))
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        return opened

    @staticmethod
    def _open_neighbour(link):
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
        try:
            opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, icmp6_filter(_ADVERTISEMENT))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        return opened


def question(size):
    """:py:data:`QUESTION` as a hardware address of so many bytes."""
    return QUESTION[:size].ljust(size, b"\0")


def solicited_group(packed):
    """The group at which an IPv6 address is asked for (RFC 4291, 2.7.1), as text."""
    return f"ff02::1:ff{packed[13]:02x}:{packed[14]:02x}{packed[15]:02x}"


def answers(prober, addresses, timeout, count, any_one=False, unasked=True):
    """Ask several times until the timeout. Returns {address: [hardware addresses]}."""
    return _asked(prober, addresses, timeout, count, any_one, None, unasked)[0]


def answers_or_rival(prober, addresses, timeout, rivals):
    """
    Ask as one who is about to take the addresses, until the timeout, the first answer or the first rival.

    rivals
        What hears the others: :py:class:`failback.network.rivals.Rivals`.

    Returns ``(answered, rival)``, the latter None if there was none.
    """
    return _asked(prober, addresses, timeout, 1, True, rivals)


def _asked(prober, addresses, timeout, count, any_one, rivals, unasked=True):
    answered = {one.ip: [] for one in addresses}
    spacing = min(timeout / CHECK_PROBES, 0.2)
    begin = time.monotonic()
    poll = select.poll()
    for opened in (*prober.sockets(), *(rivals.sockets() if rivals else ())):
        poll.register(opened, select.POLLIN)
    prober.read()  # what was heard before the question is no answer to it
    asked = 0
    while True:
        passed = time.monotonic() - begin
        if passed >= timeout and asked:
            break
        if passed >= asked * spacing:
            prober.ask(addresses, claim=rivals is not None)
            asked += 1
        # A millisecond more, because poll rounds down and would spin through the last one.
        poll.poll(max(0.0, begin + min(timeout, asked * spacing) - time.monotonic()) * 1000 + 1)
        for ip, mac, answers_us in prober.read():
            if ip in answered and mac not in answered[ip] and (answers_us or unasked):
                answered[ip].append(mac)
        enough = [len(macs) >= count for macs in answered.values()]
        if all(enough) or (any_one and any(enough)):
            break
        rival = next(iter(rivals.read()), None) if rivals else None
        if rival:
            return answered, rival
    return answered, None


def require_link(addresses, links, carrier=True):
    """Raise ``Unavailable`` unless each address has its interface, up and, if wanted, with a carrier."""
    for one in addresses:
        link = links.get(one.interface)
        what = f"{one.name} ({one.address})"
        if link is None:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which this node does not have; "
                f"it has {', '.join(sorted(links)) or 'none'}."
            )
        if not link.up:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which is down: no client "
                "would reach it, and this node cannot see who else has it. Run: "
                f"ip link set {one.interface} up"
            )
        if carrier and not link.carrier:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which has no carrier: "
                "this node cannot see who else has it. Look at its cable and its switch."
            )


def _drain(opened):
    """The packets that wait in a socket. A network that is down is no reason to fail."""
    packets = []
    while len(packets) < 1000:
        try:
            packets.append(opened.recv(2048))
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in (errno.ENETDOWN, errno.EINTR, errno.ENODEV):
                if error.errno == errno.ENODEV:
                    break
                continue
            break
    return packets


def _arp(link, operation, sender, target_mac, target):
    # Ethernet is 1; InfiniBand has its own number and 20-byte addresses (RFC 4391).
    hardware = _INFINIBAND if link.hardware == _INFINIBAND else 1
    return (
        struct.pack(">HHBBH", hardware, 0x0800, len(link.mac), 4, operation)
        + link.mac
        + sender
        + target_mac
        + target
    )


def _send(opened, link, packet, destination, protocol):
    if len(destination) <= 8:
        opened.sendto(packet, (link.name, protocol, 0, link.hardware, destination))
    else:
        _send_long(opened, link, packet, destination, protocol)


def _send_long(opened, link, packet, destination, protocol):
    # Python refuses link-layer addresses of more than 8 bytes, the kernel takes InfiniBand's 20.
    place = struct.pack(
        "=HHiHBB",
        socket.AF_PACKET,
        socket.htons(protocol),
        link.index,
        link.hardware,
        0,
        len(destination),
    )
    place = (place + destination).ljust(20, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sendto(opened.fileno(), packet, len(packet), 0, place, len(place)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _group_on(link, group):
    """The hardware address of an IPv6 group: RFC 2464, 7; on InfiniBand RFC 4391, 4."""
    if link.hardware != _INFINIBAND:
        return b"\x33\x33" + group[12:]
    # Scope and partition are those of the link's own broadcast group.
    scope = 0x10 | link.broadcast[5] & 0x0F
    return b"\0\xff\xff\xff\xff" + bytes([scope]) + b"\x60\x1b" + link.broadcast[8:10] + group[6:]


def _option(kind, link):
    """A link-layer address option of neighbour discovery; InfiniBand's has two bytes of padding."""
    padding = b"\0\0" if link.hardware == _INFINIBAND else b""
    value = padding + link.mac
    value += bytes(-(2 + len(value)) % 8)
    return struct.pack("BB", kind, (2 + len(value)) // 8) + value


def _link_layer_option(options, size):
    while len(options) >= 8 and options[1]:
        if options[0] == 2:
            at = 4 if size == 20 else 2
            return options[at : at + size]
        options = options[options[1] * 8 :]
    return b""


def _checksummed(packet, source, destination):
    pseudo = source + destination + struct.pack(">IxxxB", len(packet), 58) + packet
    pseudo += bytes(len(pseudo) % 2)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack(">H", ~total & 0xFFFF) + packet[4:]


def icmp6_filter(kind):
    """The socket option that lets through one type of ICMPv6 alone (linux/icmpv6.h)."""
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *words)


def _forwards(interface):
    try:
        return pathlib.Path("/proc/sys/net/ipv6/conf", interface, "forwarding").read_text().strip() == "1"
    except OSError:
        return False


def _sender_filter(offset, addresses):
    """A classic packet filter: accept what has one of the addresses at the offset."""
    load, equal, give = 0x20, 0x15, 0x06
    program = [struct.pack("=HBBI", load, 0, 0, offset)]
    for number, packed in enumerate(addresses):
        (value,) = struct.unpack(">I", packed)
        program.append(struct.pack("=HBBI", equal, len(addresses) - number, 0, value))
    program.append(struct.pack("=HBBI", give, 0, 0, 0))
    program.append(struct.pack("=HBBI", give, 0, 0, 0xFFFFFFFF))
    return program


def attach(opened, program):
    """Give a socket a classic packet filter: a list of packed instructions."""
    code = ctypes.create_string_buffer(b"".join(program))
    opened.setsockopt(
        socket.SOL_SOCKET,
        _ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(code)),
    )
