"""Of two that are about to take an address one goes on: the order, and the filters in the kernel."""

import errno
import socket
import struct
import types

import pytest
from hypothesis import given
from hypothesis import strategies
from test_address import ETHERNET
from test_address import Sockets
from test_address import run_filter

from failback.network import neighbours
from failback.network import netlink
from failback.network import rivals
from failback.network.floating import FloatingAddress

GATEWAY = FloatingAddress("10.0.0.5/24", "eth0")
LOW, OWN, HIGH = (bytes([2, 0, 0, 0, 0, number]) for number in (0, 1, 2))
OTHERS = strategies.lists(strategies.binary(min_size=4, max_size=4), unique=True, min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("mac", "goes_first"),
    # One that says nothing of itself is in no order; one with this very address is a copy of this node.
    [(LOW, True), (OWN, True), (HIGH, False), (b"", True)],
)
def test_the_lower_hardware_address_goes_on(mac, goes_first):
    assert rivals.Rival(GATEWAY.ip, mac).goes_first(OWN) is goes_first


class World:
    """What each round of questions hears."""

    def __init__(self, monkeypatch, *rounds):
        self.rounds, self.asked = list(rounds), 0
        monkeypatch.setattr(rivals, "Rivals", lambda addresses, links: self)
        monkeypatch.setattr(neighbours, "answers_or_rival", lambda *_: self.hears())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def hears(self):
        self.asked += 1
        return self.rounds[self.asked - 1]


def heard(*macs, answered=()):
    return {GATEWAY.ip: list(answered)}, rivals.Rival(GATEWAY.ip, macs[0]) if macs else None


ANSWERED = ["02:00:00:00:00:07"]


@pytest.mark.parametrize(
    ("rounds", "asked", "answered", "rival"),
    [
        ([heard()], 1, [], None),
        ([heard(answered=ANSWERED)], 1, ANSWERED, None),
        ([heard(LOW)], 1, [], "02:00:00:00:00:00"),
        ([heard(b"")], 1, [], "a host that does not say who it is"),
        # The other one steps back, as it has heard this node meanwhile.
        ([heard(HIGH), heard()], 2, [], None),
        # It was faster after all.
        ([heard(HIGH), heard(answered=ANSWERED)], 2, ANSWERED, None),
        # It does not keep to the order.
        ([heard(HIGH), heard(HIGH)], 2, [], "02:00:00:00:00:02"),
        ([heard(HIGH), heard(LOW)], 2, [], "02:00:00:00:00:00"),
    ],
)
def test_who_goes_on_and_who_steps_back(monkeypatch, rounds, asked, answered, rival):
    world = World(monkeypatch, *rounds)
    found = rivals.ask(None, netlink.Links([ETHERNET]), [GATEWAY], wait=0.3)
    assert found == ({GATEWAY.ip: answered}, rival and (GATEWAY.ip, rival))
    assert world.asked == asked


@given(OTHERS, strategies.sampled_from([6, 20]))
def test_the_filter_lets_through_probes_for_its_addresses_and_no_other_arp(addresses, size):
    program = rivals._arp_probes(size, addresses)

    def packet(sender, target):
        return b"\x55" * (8 + size) + sender + b"\x55" * size + target

    other = next(one for one in (struct.pack(">I", n) for n in range(100)) if one not in addresses)
    for one in addresses:
        assert run_filter(program, packet(bytes(4), one))
        assert not run_filter(program, packet(b"\x0a\0\0\x01", one))
        assert not run_filter(program, packet(b"\x0a\0\0\0", one))
        assert not run_filter(program, packet(bytes(4), one)[:-1])
    assert not run_filter(program, packet(bytes(4), other))


def test_the_filter_lets_through_solicitations_from_nobody_alone():
    program, nobody, somebody = rivals._solicitations(), bytes(16), bytes(15) + b"\1"

    def packet(protocol=58, kind=135, source=nobody):
        header = struct.pack(">IHBB", 6 << 28, 24, protocol, 255) + source + bytes(16)
        return header + bytes([kind]) + bytes(23)

    assert run_filter(program, packet())
    assert not run_filter(program, packet(protocol=17))
    assert not run_filter(program, packet(kind=136))
    assert not run_filter(program, packet(source=somebody))
    assert not run_filter(program, packet(source=b"\xfe\x80" + bytes(14)))
    assert not run_filter(program, packet()[:40])


@pytest.mark.parametrize("size", [6, 20])
def test_a_question_that_claims_nothing_is_marked_where_a_probe_is_empty(size):
    mark = neighbours.question(size)
    assert len(mark) == size and any(mark)
    assert mark[0] & 3 == 2, "a hardware address of nobody's: local, and no group"


def test_the_group_of_an_address_is_that_of_the_standard():
    # The example of RFC 4291, 2.7.1.
    packed = FloatingAddress("4037::01:800:200e:8c6c/64", "eth0").packed
    assert neighbours.solicited_group(packed) == "ff02::1:ff0e:8c6c"


SIX = FloatingAddress("fd00::5/64", "eth0")
LINKS = netlink.Links([ETHERNET])


@pytest.mark.parametrize("call", ["socket", "setsockopt", "setblocking", "bind"])
def test_what_cannot_be_heard_leaves_no_socket_open(monkeypatch, call):
    sockets = Sockets(monkeypatch, rivals, (call, OSError(errno.ENOBUFS, "No buffer space available")))
    with pytest.raises(OSError, match="No buffer space"):
        rivals.Rivals([GATEWAY, SIX], LINKS)
    # The one of which it could not be made is none.
    opened = sockets.made[:-1] if call == "socket" else sockets.made
    assert len(sockets.made) >= 2 and all(one.closed for one in opened)


def test_it_hears_the_group_of_an_ipv6_address_and_closes_what_it_has_opened(monkeypatch):
    sockets = Sockets(monkeypatch, rivals)
    with rivals.Rivals([GATEWAY, SIX], LINKS) as others:
        joined, four, six = sockets.made
        assert others.sockets() == [four, six]
        group = bytes.fromhex("ff0200000000000000000001ff000005") + struct.pack("=I", 2)
        assert joined.did == [("setsockopt", socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)]
        assert ("bind", ("eth0", 0x0806)) in four.did and ("bind", ("eth0", 0x86DD)) in six.did
    assert all(one.closed for one in sockets.made)


@pytest.mark.parametrize(("one", "protocol"), [(GATEWAY, 0x0806), (SIX, 0x86DD)])
def test_only_what_is_wanted_is_listened_for(monkeypatch, one, protocol):
    Sockets(monkeypatch, rivals)
    with rivals.Rivals([one], LINKS) as others:
        (opened,) = others.sockets()
        assert ("bind", ("eth0", protocol)) in opened.did and ("setblocking", False) in opened.did


def read(monkeypatch, four=(), six=()):
    """The rivals in packets that have arrived, each with its sender."""
    Sockets(monkeypatch, rivals)
    others = rivals.Rivals([GATEWAY, SIX], LINKS)
    packets = dict(zip(others.sockets(), (list(four), list(six))))
    monkeypatch.setattr(rivals, "_drain", lambda opened: packets[opened])
    return others.read()


def probe(target=GATEWAY.packed, mac=HIGH, there=bytes(6)):
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + there + target


@pytest.mark.parametrize(
    ("packet", "mac"),
    [
        (probe(), HIGH),
        (probe(there=neighbours.question(6)), None),
        (probe(mac=ETHERNET.mac), None),
        (probe(target=bytes([10, 0, 0, 6])), None),
        (probe()[:-1], None),
        (probe() + bytes(18), HIGH),
        (b"", None),
        (probe()[:4], None),
    ],
)
def test_a_probe_by_arp_is_a_rivals_unless_it_claims_nothing(monkeypatch, packet, mac):
    found = read(monkeypatch, four=[(packet, b"")])
    assert found == ([] if mac is None else [rivals.Rival("10.0.0.5", mac)])


def solicitation(target=SIX.packed, hops=255):
    return (
        struct.pack(">IHBB", 6 << 28, 24, 58, hops) + bytes(32) + struct.pack(">BBHI", 135, 0, 0, 0) + target
    )


@pytest.mark.parametrize(
    ("packet", "sender", "mac"),
    [
        (solicitation(), HIGH, HIGH),
        (solicitation(hops=254), HIGH, None),
        (solicitation()[:-1], HIGH, None),
        (solicitation(target=SIX.packed[:-1] + b"\7"), HIGH, None),
        (solicitation(), ETHERNET.mac, None),
        (solicitation() + bytes(8), b"", b""),
    ],
)
def test_a_probe_by_neighbour_discovery_is_a_rivals(monkeypatch, packet, sender, mac):
    found = read(monkeypatch, six=[(packet, sender)])
    assert found == ([] if mac is None else [rivals.Rival("fd00::5", mac)])


def test_what_waits_in_a_socket_is_read_to_its_end_and_no_longer(monkeypatch):
    left = [(b"one", ("eth0", 0x0806, 0, 1, HIGH)), (b"two", ("eth0", 0x0806, 0, 1, LOW))]

    class Socket:
        def recvfrom(self, size):
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

    select = types.SimpleNamespace(select=lambda read, *_: (read if left else [], [], []))
    monkeypatch.setattr(rivals, "select", select)
    assert rivals._drain(Socket()) == [(b"one", HIGH), (b"two", LOW)]
    left += [OSError(errno.ENETDOWN, "Network is down"), (b"three", ("eth0", 0x0806, 0, 1, HIGH))]
    assert rivals._drain(Socket()) == []
    left[:] = [(b"x", ("eth0", 0x0806, 0, 1, HIGH))] * 1001
    assert len(rivals._drain(Socket())) == 1000
