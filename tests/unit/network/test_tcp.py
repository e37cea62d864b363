"""The connections of an address: what the kernel is asked, and the segment that makes a client speak up."""

import errno
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.network import netlink
from failback.network import tcp
from failback.network.floating import FloatingAddress

FOUR, SIX = FloatingAddress("10.0.0.5/24", "eth0"), FloatingAddress("fd99::5/64", "eth0")


def total(data):
    """RFC 1071: of a packet with its checksum, 0xFFFF."""
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return found


@given(
    strategies.sampled_from([(FOUR, 4), (SIX, 6)]),
    strategies.integers(1, 65535),
    strategies.integers(0, (1 << 32) - 1),
    strategies.integers(1, 65535),
)
def test_a_client_is_sent_an_acknowledgement_that_fits_no_connection(address, port, host, remote_port):
    floating, version = address
    remote = ipaddress.IPv4Address(host) if version == 4 else ipaddress.IPv6Address((0xFD99 << 112) + host)
    segment = tcp.tickle(floating, port, str(remote), remote_port)
    assert struct.unpack_from("!HHIIBB", segment) == (port, remote_port, 0, 0, 0x50, 0x10)
    assert len(segment) == 20
    ends = floating.packed + remote.packed
    pseudo = struct.pack("!BBH", 0, 6, 20) if version == 4 else struct.pack("!IxxxB", 20, 6)
    assert total(ends + pseudo + segment) == 0xFFFF


class Diagnosis:
    """The kernel's sock_diag: the connections that it lists by family, and what it says of their end."""

    def __init__(self, listed, error=None):
        self.listed, self.error, self.destroyed, self.asked = listed, error, [], []

    def request(self, kind, flags, body):
        if kind == 20:
            self.asked.append((body[0], flags, body))
            found = self.listed.get(body[0], [])
            if isinstance(found, Exception):
                raise found
            return found
        assert (kind, flags) == (21, netlink.ACKNOWLEDGE)
        self.destroyed.append(body)
        error = self.error.pop(0) if self.error else None
        if error:
            raise OSError(error, "no")
        return []

    def close(self):
        self.closed = True


def payload(family, local, port, remote, remote_port, index=0):
    packed = [ipaddress.ip_address(one).packed.ljust(16, b"\0") for one in (local, remote)]
    return (
        struct.pack("=BBBB", family, 1, 0, 0)
        + struct.pack("!HH", port, remote_port)
        + b"".join(packed)
        + struct.pack("=I8s", index, b"cookie!!")
        + bytes(20)
    )


def connections(monkeypatch, listed, error=None):
    kernel = Diagnosis(listed, error)
    monkeypatch.setattr(netlink, "Netlink", lambda protocol: kernel)
    return tcp.Connections(), kernel


BOTH = {
    socket.AF_INET: [payload(socket.AF_INET, "10.0.0.5", 4505, "10.0.0.100", 40000)],
    socket.AF_INET6: [payload(socket.AF_INET6, "::ffff:10.0.0.5", 4506, "::ffff:10.0.0.101", 40001)],
}


def test_the_clients_of_an_address_are_listed_those_of_a_daemon_that_listens_on_ipv6_too(monkeypatch):
    found, kernel = connections(monkeypatch, BOTH)
    assert found.listed(FOUR) == [
        ["10.0.0.5", 4505, "10.0.0.100", 40000],
        ["10.0.0.5", 4506, "10.0.0.101", 40001],
    ]
    assert [(family, flags) for family, flags, _ in kernel.asked] == [
        (socket.AF_INET, netlink.DUMP),
        (socket.AF_INET6, netlink.DUMP),
    ]
    found.close()
    assert kernel.closed


def test_of_an_ipv6_address_only_ipv6_connections_are_asked_for(monkeypatch):
    six = payload(socket.AF_INET6, "fd99::5", 4505, "fd99::100", 40000)
    found, kernel = connections(monkeypatch, {socket.AF_INET6: [six]})
    assert found.listed(SIX) == [["fd99::5", 4505, "fd99::100", 40000]]
    assert [family for family, _, _ in kernel.asked] == [socket.AF_INET6]


def test_only_open_connections_with_the_address_as_their_source_are_asked_for(monkeypatch):
    found, kernel = connections(monkeypatch, {})
    found.listed(FOUR)
    body = kernel.asked[0][2]
    family, protocol, _, states = struct.unpack_from("=BBBxI", body)
    assert (family, protocol) == (socket.AF_INET, socket.IPPROTO_TCP)
    # By their numbers in include/net/tcp_states.h: all up to CLOSING without TIME_WAIT, CLOSE and LISTEN.
    wanted = {1, 2, 3, 4, 5, 8, 9, 11}
    assert {number for number in range(1, 12) if states >> number & 1} == wanted
    (condition,) = netlink._attributes(body, 56).values()
    code, yes, no = struct.unpack_from("=BBH", condition)
    assert (code, yes, no) == (7, len(condition), len(condition) + 4)
    assert struct.unpack_from("=BBxxi", condition, 4) == (socket.AF_INET, 32, -1)
    assert condition[12:] == FOUR.packed


def test_connections_of_another_interface_are_not_meant(monkeypatch):
    listed = [
        payload(socket.AF_INET6, "fe80::5", 4505, "fe80::100", number, index=number) for number in (2, 3)
    ]
    found, kernel = connections(monkeypatch, {socket.AF_INET6: listed})
    link_local = FloatingAddress("fe80::5/64", "eth0")
    assert [one[3] for one in found.listed(link_local, 3)] == [3]
    assert [one[3] for one in found.listed(link_local)] == [2, 3]
    assert found.reset(link_local, 2) == 1 and len(kernel.destroyed) == 1


@pytest.mark.parametrize(
    ("error", "count", "tried"),
    [
        (None, 2, 2),
        # It has closed by itself meanwhile.
        ([errno.ENOENT], 1, 2),
        # This kernel cannot.
        ([errno.EOPNOTSUPP], None, 1),
        ([errno.EINVAL], None, 1),
        ([errno.EPERM], None, 1),
    ],
)
def test_each_connection_is_reset_and_they_are_counted(monkeypatch, error, count, tried):
    found, kernel = connections(monkeypatch, BOTH, error)
    assert found.reset(FOUR) == count and len(kernel.destroyed) == tried
    # It is named as the kernel has named it, its cookie included.
    first = kernel.destroyed[0]
    assert first[:8] == struct.pack("=BBBxI", socket.AF_INET, 6, 0, 0xFFFFFFFF)
    assert first[8:] == BOTH[socket.AF_INET][0][4:52] and first.endswith(b"cookie!!")


def test_a_kernel_that_cannot_tell_is_no_failure(monkeypatch):
    found, _ = connections(
        monkeypatch, {socket.AF_INET: OSError(errno.ENOENT, "no"), socket.AF_INET6: BOTH[socket.AF_INET6]}
    )
    assert len(found.listed(FOUR)) == 1

    def refuse(protocol):
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(netlink, "Netlink", refuse)
    found = tcp.Connections()
    assert found.reset(FOUR) is None and found.listed(FOUR) == []
    found.close()
