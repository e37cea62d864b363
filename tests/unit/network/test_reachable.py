"""Whom a node asks whether it is itself cut off, by its pillar and its routes."""

import contextlib
import errno
import socket
import struct
import types

import pytest
import samples

from failback.errors import Unavailable
from failback.network import netlink
from failback.network import reachable

LINKS = {
    name: netlink.Link(index, name, 1, 0x11003, bytes([2, 0, 0, 0, 0, index]), b"\xff" * 6)
    for name, index in (("eth0", 2), ("eth1", 3), ("br0", 4))
}
ADDRESS = samples.PAIR["floating_ips"][0]
SIX = {**ADDRESS, "name": "six", "address": "fd00::5/64", "label": None}


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def targets(*gateways, own=(), node="salt2", wanted="gateway-or-witness", **changes):
    config = samples.pair(node, watch={"reachable": wanted}, **changes)
    routes = {(packed(text), LINKS[name].index if name in LINKS else 99) for text, name in gateways}
    borne = [netlink.Borne(packed(text), 24, 2, 0, 0, "") for text in own]
    return reachable.targets(config, LINKS, routes, borne)


@pytest.mark.parametrize(
    ("gateways", "asked"),
    [
        ([], ()),
        ([("10.0.0.1", "eth0")], ("10.0.0.1",)),
        ([("10.0.0.1", "eth0"), ("10.0.0.2", "eth0")], ("10.0.0.1", "10.0.0.2")),
        # On the interface, of whatever network: it is what a packet from there would go to.
        ([("192.0.2.1", "eth0")], ("192.0.2.1",)),
        # By another interface, in the network of the address all the same.
        ([("10.0.0.1", "br0")], ("10.0.0.1",)),
        # That of another network says nothing of this one.
        ([("192.0.2.1", "eth1")], ()),
        ([("10.0.0.1", "gone")], ()),
        ([("fe80::1", "eth0")], ("fe80::1",)),
        ([("127.0.0.1", "eth0"), ("10.0.0.1", "eth0")], ("10.0.0.1",)),
    ],
)
def test_the_gateways_of_the_networks_of_the_addresses_are_asked(gateways, asked):
    found = targets(*gateways)
    assert found.names == asked and found.far == ()
    for one in found.near:
        assert (one.ip, one.interface) in gateways


@pytest.mark.parametrize("gateway", ["10.0.0.5", "10.0.0.11", "10.0.0.12"])
def test_a_gateway_that_is_the_pair_itself_is_nobody(gateway):
    """The nodes of a gateway pair route by way of their own floating address."""
    assert targets((gateway, "eth0"), own=["10.0.0.12"]).names == ()


def test_the_witnesses_whose_address_is_known_are_asked_too():
    found = targets(("10.0.0.1", "eth0"), witness_hosts={"client": "10.0.0.100", "far": "192.0.2.7"})
    assert [one.ip for one in found.near] == ["10.0.0.100", "10.0.0.1"]
    assert found.far == ("192.0.2.7",)


def test_in_both_versions_of_ip():
    found = targets(("fd00::1", "eth0"), ("10.0.0.1", "eth0"), floating_ips=[ADDRESS, SIX])
    assert set(found.names) == {"10.0.0.1", "fd00::1"}


@pytest.mark.parametrize(
    ("wanted", "names"), [("nobody", None), (["10.0.0.9"], ("10.0.0.9",)), ([], ("10.0.0.1",))]
)
def test_what_the_pillar_says_comes_first(wanted, names):
    assert targets(("10.0.0.1", "eth0"), wanted=wanted).names == names


@pytest.mark.parametrize(
    ("node", "gateways", "asks", "problem"),
    [
        ("salt2", [("10.0.0.1", "eth0")], ["10.0.0.1"], False),
        ("salt2", [], [], True),
        # It watches nothing.
        ("salt1", [], None, False),
    ],
)
def test_the_report_says_whom_a_node_asks(monkeypatch, node, gateways, asks, problem):
    found = targets(*gateways, node=node)
    monkeypatch.setattr(reachable, "targets", lambda config: found)
    state = reachable.state(samples.pair(node, watch={"reachable": "gateway-or-witness"}))
    assert (state and state["asks"]) == asks
    assert bool(state and state["problem"]) is problem


def test_a_node_without_ipv6_asks_the_others(monkeypatch):
    """As it was booted with ``ipv6.disable=1``; a watch that ended of it would watch no pair."""
    opened = []

    class Socket:
        def __init__(self, family, *_):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            opened.append(family)

        def setsockopt(self, *_):
            pass

        setblocking = close = setsockopt

        def sendto(self, packet, target):
            opened.append(target[0])

        def recvfrom(self, size):
            raise BlockingIOError

    monkeypatch.setattr(reachable.socket, "socket", Socket)
    with contextlib.closing(reachable.Echo(["10.1.0.1", "fd99::1"])) as echo:
        echo.ask()
        assert opened == [socket.AF_INET, "10.1.0.1"] and not echo.read()


MAC = "02:00:00:00:00:01"


class Ping:
    """A raw socket: what was sent, and what has arrived, as ``(packet, sender)``."""

    made = {}

    def __init__(self, family, kind, protocol):
        self.protocol, self.options, self.sent, self.arrived, self.closed = protocol, {}, [], [], False
        self.made[family] = self

    def setsockopt(self, level, option, value):
        self.options[level, option] = value

    def setblocking(self, blocking):
        self.blocking = blocking

    def sendto(self, packet, target):
        self.sent.append((packet, target))

    def recvfrom(self, size):
        if not self.arrived:
            raise BlockingIOError
        packet, sender = self.arrived.pop(0)
        return packet, (sender, 0)

    def close(self):
        self.closed = True


@pytest.fixture
def pings(monkeypatch):
    Ping.made = {}
    monkeypatch.setattr(reachable.socket, "socket", Ping)
    monkeypatch.setattr(reachable.os, "getpid", lambda: 0x12345)
    return Ping.made


def total(packet):
    """RFC 1071: of a packet with its checksum, 0xFFFF."""
    found = sum(struct.unpack(f">{len(packet) // 2}H", packet))
    return (found & 0xFFFF) + (found >> 16)


def test_an_echo_request_is_what_the_standards_want_and_each_host_gets_one(pings):
    # As the pillar writes the second one, and as the kernel does.
    with contextlib.closing(reachable.Echo(["10.1.0.1", "FD99:0:0::1", "10.1.0.2"])) as echo:
        echo.ask()
        four, six = pings[socket.AF_INET], pings[socket.AF_INET6]
        assert echo.sockets() == [four, six] or echo.sockets() == [six, four]
        assert [target for _, target in four.sent] == [("10.1.0.1", 0), ("10.1.0.2", 0)]
        packet = four.sent[0][0]
        assert packet[:2] == b"\x08\0" and packet[4:] == b"\x23\x45\0\x01" and total(packet) == 0xFFFF
        # For IPv6 the kernel computes the checksum.
        assert six.sent == [(b"\x80\0\0\0\x23\x45\0\x01", ("fd99::1", 0))]
        assert not four.blocking and not six.blocking
        assert (four.protocol, six.protocol) == (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
        # Filters in the kernel: answers alone (linux/icmp.h, icmpv6.h).
        (mask,) = struct.unpack("=I", four.options[255, 1])
        assert [kind for kind in range(32) if not mask >> kind & 1] == [0]
        words = struct.unpack("=8I", six.options[socket.IPPROTO_ICMPV6, 1])
        assert [n for n in range(256) if not words[n >> 5] >> (n & 31) & 1] == [129]
    assert four.closed and six.closed


def four(kind=0, identity=0x2345, words=5):
    """An ICMP packet behind an IPv4 header of so many words."""
    return bytes([0x40 | words]) + b"\x55" * (4 * words - 1) + struct.pack(">BBHHH", kind, 0, 0, identity, 1)


def six(kind=129, identity=0x2345):
    return struct.pack(">BBHHH", kind, 0, 0, identity, 1)


@pytest.mark.parametrize(
    ("family", "packet", "sender", "answers"),
    [
        (socket.AF_INET, four(), "10.1.0.1", True),
        # With options in its header.
        (socket.AF_INET, four(words=6), "10.1.0.1", True),
        (socket.AF_INET, four(), "10.1.0.9", False),
        (socket.AF_INET, four(kind=8), "10.1.0.1", False),
        (socket.AF_INET, four(identity=1), "10.1.0.1", False),
        (socket.AF_INET, four()[:-1], "10.1.0.1", False),
        (socket.AF_INET6, six(), "fd99::1", True),
        (socket.AF_INET6, six(kind=128), "fd99::1", False),
        (socket.AF_INET6, six(), "fd99::2", False),
        (socket.AF_INET6, six(identity=1), "fd99::1", False),
        (socket.AF_INET6, six()[:-1], "fd99::1", False),
    ],
)
def test_an_answer_is_one_of_the_hosts_that_were_asked_to_this_very_process(
    pings, family, packet, sender, answers
):
    echo = reachable.Echo(["10.1.0.1", "fd99::1"])
    assert echo.read() is False
    pings[family].arrived = [(b"\x45" * 40, "10.1.0.1"), (packet, sender), (six(kind=1), sender)]
    assert echo.read() is answers and pings[family].arrived == []


def test_a_host_that_cannot_be_sent_to_keeps_no_other_from_being_asked(pings, monkeypatch):
    send = Ping.sendto

    def sendto(opened, packet, target):
        if target[0] == "10.1.0.1":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        send(opened, packet, target)

    monkeypatch.setattr(Ping, "sendto", sendto)
    echo = reachable.Echo(["10.1.0.1", "10.1.0.2"])
    echo.ask()
    assert [target for _, target in pings[socket.AF_INET].sent] == [("10.1.0.2", 0)]


def test_a_socket_that_is_refused_for_another_reason_is_an_error(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(reachable.socket, "socket", refuse)
    with pytest.raises(PermissionError):
        reachable.Echo(["10.1.0.1"])


@pytest.mark.parametrize(
    ("wanted", "linked", "heard", "echo", "answer"),
    [
        ("nobody", True, [], False, None),
        (["10.0.0.9"], True, [MAC], False, True),
        (["10.0.0.9"], True, [], False, False),
        (["10.0.0.9", "192.0.2.1"], True, [], True, True),
        (["192.0.2.1"], True, [], True, True),
        # An interface that is down, or that cannot be asked on: the others are asked all the same.
        (["10.0.0.9"], False, [MAC], False, False),
        (["10.0.0.9", "192.0.2.1"], True, Unavailable("no carrier"), True, True),
        (["10.0.0.9"], True, Unavailable("no carrier"), False, False),
    ],
)
def test_one_answer_of_those_who_must_answer_is_enough(monkeypatch, wanted, linked, heard, echo, answer):
    probed, pinged = [], []

    def probe_all(near, timeout, unasked):
        probed.append((timeout, unasked))
        if isinstance(heard, Exception):
            raise heard
        return {one.address: heard for one in near}

    class Echo:
        opened = 0

        def __init__(self, far):
            Echo.opened += 1
            self.far = far

        def ask(self):
            pinged.append(self.far)

        def sockets(self):
            return ["socket"] if self.far else []

        def read(self):
            return echo

        def close(self):
            Echo.opened -= 1

    clock = [0.0]

    def select(sockets, _, __, left):
        assert sockets == ["socket"] and 0 < left <= 0.5
        clock[0] += 0.2
        return (sockets if clock[0] > 0.3 else [], [], [])

    monkeypatch.setattr(reachable.neighbours, "probe_all", probe_all)
    monkeypatch.setattr(reachable, "Echo", Echo)
    monkeypatch.setattr(reachable, "select", types.SimpleNamespace(select=select))
    samples.in_place_of_time(monkeypatch, reachable, monotonic=lambda: clock[0])
    monkeypatch.setattr(reachable.floating, "by_link", lambda near: (near, []) if linked else ([], near))
    assert reachable.answers(samples.pair("salt2", watch={"reachable": wanted})) is answer
    # Whoever is merely heard need not hear this node.
    near = wanted != "nobody" and linked and "10.0.0.9" in wanted
    assert probed == ([(0.5, False)] if near else [])
    far = tuple(one for one in wanted if one.startswith("192."))
    assert pinged == ([] if answer is None or (near and heard == [MAC]) else [far])
    assert Echo.opened == 0


def test_whoever_must_answer_and_does_not_is_waited_for_no_longer_than_it_is_said(monkeypatch):
    clock = [0.0]

    def select(sockets, _, __, left):
        clock[0] += left
        return [], [], []

    class Echo:
        def __init__(self, far):
            pass

        ask = close = lambda self: None  # noqa: E731
        sockets = lambda self: ["socket"]  # noqa: E731
        read = lambda self: pytest.fail("nothing has arrived")  # noqa: E731

    monkeypatch.setattr(reachable, "Echo", Echo)
    monkeypatch.setattr(reachable, "select", types.SimpleNamespace(select=select))
    samples.in_place_of_time(monkeypatch, reachable, monotonic=lambda: clock[0])
    config = samples.pair("salt2", watch={"reachable": ["192.0.2.1"]})
    assert reachable.answers(config, timeout=0.7) is False and clock[0] == 0.7


def test_a_gateway_of_the_other_version_of_ip_is_in_no_network_of_the_pairs():
    """By another interface, it says nothing of the address."""
    assert targets(("fd00::1", "br0")).names == ()
    assert targets(("fd00::1", "br0"), floating_ips=[ADDRESS, SIX]).names == ("fd00::1",)


def test_a_node_whose_other_one_has_a_name_leaves_no_gateway_out():
    named = {"id": "salt1", "host": "salt1.example"}
    assert targets(("10.0.0.11", "eth0"), primary=named).names == ("10.0.0.11",)
    assert reachable.peer(samples.pair("salt2", primary=named)) == set()
    six = {"id": "salt1", "host": "fd00::11"}
    assert reachable.peer(samples.pair("salt2", primary=six)) == {packed("fd00::11")}


def test_an_address_that_is_near_is_asked_for_on_the_interface_of_its_network():
    addresses = [
        reachable.floating.FloatingAddress("10.0.0.5/24", "eth0"),
        reachable.floating.FloatingAddress("fd00::5/64", "eth1"),
    ]
    near, far = reachable.near_and_far(["fd00::9", "10.0.0.9", "10.0.1.9"], addresses)
    assert [(one.address, one.interface) for one in near] == [("fd00::9/64", "eth1"), ("10.0.0.9/24", "eth0")]
    assert far == ["10.0.1.9"]
