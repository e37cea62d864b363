"""
Is this node itself connected? Somebody of ``watch.reachable``, such as the router, must answer.

Silence proves nothing to a node that is cut off: it must not take what another one has.
"""

import contextlib
import os
import select
import socket
import struct
import time

from failback.errors import FailbackError
from failback.network import floating
from failback.network import neighbours


def answers(config, timeout=0.5):
    """
    Whether one of the addresses of ``watch.reachable`` answers.

    config
        The node's configuration of the pair.

    timeout
        Seconds to wait for an answer, for those in the pair's own networks and for the others each.

    Returns True or False; None where the pillar names none, so that nothing can be told.
    """
    wanted = config["watch"]["reachable"]
    if not wanted:
        return None
    near, far = near_and_far(wanted, floating.of_pair(config))
    with contextlib.suppress(FailbackError):  # no link to them: as good as no answer
        linked, _ = floating.by_link(near) if near else ([], [])
        if linked and any(neighbours.probe_all(linked, timeout=timeout).values()):
            return True
    with contextlib.closing(Echo(far)) as echo:
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
        self._targets = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]
        self._identity = os.getpid() & 0xFFFF
        for family in {family for family, _ in self._targets}:
            protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
            opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
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
            with contextlib.suppress(OSError):  # no route: as good as no answer
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
