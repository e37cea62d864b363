"""
The TCP connections of an address: found and reset through sock_diag, and noticed by clients elsewhere.

A client whose server has changed notices it only when it gets an answer that does not fit:
:func:`tickle` makes the segment that asks for one.
"""

import contextlib
import errno
import ipaddress
import socket
import struct

from failback.network import netlink

#: How many connections are named to the next holder; the clients of the others find out when they speak.
MOST_CONNECTIONS = 5000

# From linux/sock_diag.h, inet_diag.h.
_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21
_SOURCE_CONDITION = 7
#: Every state of a TCP socket except CLOSE, TIME_WAIT and LISTEN: a listener outlives its address.
_OPEN_STATES = 0xFFF & ~(1 << 7 | 1 << 6 | 1 << 10)


class Connections:
    """Finds and resets the TCP connections of an address, through sock_diag."""

    def __init__(self):
        try:
            self._netlink = netlink.Netlink(protocol=_SOCK_DIAG)
        except OSError:
            self._netlink = None

    def close(self):
        if self._netlink:
            self._netlink.close()

    def reset(self, floating, index=None):
        """
        Returns how many connections were reset, None if this kernel cannot.

        index
            Number of the interface whose connections are meant, for an address that is one link's alone.
        """
        if self._netlink is None:
            return None
        count = 0
        for payload in self._open(floating, index):
            request = struct.pack("=BBBxI", payload[0], 6, 0, 0xFFFFFFFF) + payload[4:52]
            try:
                self._netlink.request(_DESTROY, netlink.ACKNOWLEDGE, request)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                    return None
                continue  # ENOENT: it has closed by itself
            count += 1
        return count

    def listed(self, floating, index=None):
        """``[address, port, other address, other port]`` of each; none if this kernel cannot tell."""
        if self._netlink is None:
            return []
        found = []
        for payload in self._open(floating, index):
            # struct inet_diag_sockid: both ports, then 16 bytes for each address, of which IPv4 uses 4.
            port, remote_port = struct.unpack_from("!HH", payload, 4)
            packed = payload[24:28] if payload[0] == socket.AF_INET else payload[24:40]
            remote = ipaddress.ip_address(packed)
            remote = getattr(remote, "ipv4_mapped", None) or remote
            found.append([str(floating.ip), port, str(remote), remote_port])
        return found

    def _open(self, floating, index):
        # A daemon that listens on :: has its IPv4 connections as IPv6 sockets.
        for family in (socket.AF_INET, socket.AF_INET6):
            if family == socket.AF_INET and floating.version == 6:
                continue
            with contextlib.suppress(OSError):
                for payload in self._netlink.request(_BY_FAMILY, netlink.DUMP, self._query(family, floating)):
                    # struct inet_diag_sockid, behind both addresses: the interface it is bound to.
                    if index is None or struct.unpack_from("=I", payload, 40)[0] == index:
                        yield payload

    @staticmethod
    def _query(family, floating):
        size = 12 + len(floating.packed)
        # "Source address is …" with any port: yes goes to the end, no goes past it.
        condition = struct.pack("=BBH", _SOURCE_CONDITION, size, size + 4)
        condition += struct.pack("=BBxxi", floating.family, len(floating.packed) * 8, -1)
        condition += floating.packed
        return struct.pack("=BBBxI", family, 6, 0, _OPEN_STATES) + bytes(48) + netlink.attribute(1, condition)


def tickle(floating, port, remote, remote_port):
    """A TCP segment that does not fit: an acknowledgement, with every number 0."""
    segment = struct.pack("!HHIIBBHHH", port, remote_port, 0, 0, 5 << 4, 0x10, 1024, 0, 0)
    source, destination = floating.packed, ipaddress.ip_address(remote).packed
    if floating.version == 4:
        pseudo = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
    else:
        pseudo = source + destination + struct.pack("!IxxxB", len(segment), socket.IPPROTO_TCP)
    total = sum(struct.unpack(f"!{len(pseudo + segment) // 2}H", pseudo + segment))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return segment[:16] + struct.pack("!H", ~total & 0xFFFF) + segment[18:]
