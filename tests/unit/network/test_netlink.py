"""What the kernel says over netlink, and what is made of it: its answers as bytes, its errors, its habits."""

import errno
import socket
import struct
import types

import pytest

from failback.network import netlink
from failback.network.floating import FloatingAddress

HEADER = "=IHHII"


def message(kind, payload=b"", sequence=1, flags=0):
    body = struct.pack(HEADER, 16 + len(payload), kind, flags, sequence, 0) + payload
    return body + bytes(-len(body) % 4)


def done(sequence=1, code=0, flags=0):
    return message(netlink.DONE, struct.pack("=i", -code), sequence, flags)


class Kernel:
    """A socket with what the kernel answers, one item each ``recv``; an exception is raised."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []

    def send(self, data):
        self.sent.append(data)

    def recv(self, size):
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self):
        pass


def asked(*answers):
    """A Netlink whose kernel answers this."""
    found = object.__new__(netlink.Netlink)
    found.socket, found._sequence = Kernel(*answers), 0
    return found


def test_an_answer_is_read_over_several_parts_and_what_answers_another_question_is_none():
    kernel = asked(
        message(20, b"odd") + message(20, b"even"),
        message(20, b"another's", sequence=7) + message(20, b"last") + done(),
    )
    assert kernel.request(netlink.GET_ADDRESS, netlink.DUMP, b"body") == [b"odd", b"even", b"last"]
    (sent,) = kernel.socket.sent
    assert struct.unpack_from(HEADER, sent) == (20, 22, 0x301, 1, 0) and sent[16:] == b"body"


def test_an_error_of_the_kernel_has_its_number_and_a_late_error_of_another_question_is_passed_over():
    late = message(netlink.ERROR, struct.pack("=i", -errno.EPERM), sequence=0)
    kernel = asked(late + message(netlink.ERROR, struct.pack("=i", -errno.EEXIST)))
    with pytest.raises(OSError) as raised:
        kernel.request(netlink.NEW_ADDRESS, netlink.ACKNOWLEDGE, b"")
    assert raised.value.errno == errno.EEXIST and raised.value.strerror


@pytest.mark.parametrize(
    "end", [message(netlink.ERROR, bytes(4)), message(netlink.DONE)], ids=["ack", "short"]
)
def test_an_acknowledgement_is_an_empty_answer(end):
    assert asked(end).request(netlink.NEW_ADDRESS, netlink.ACKNOWLEDGE, b"") == []


@pytest.mark.parametrize("times", [1, 4, 5])
def test_a_dump_that_was_interrupted_is_asked_for_again_but_not_for_ever(times):
    """Something has changed while the kernel wrote it: it may lack what was there all the time."""
    answers = []
    for sequence in range(1, 7):
        flags = netlink.DUMP_INTERRUPTED if sequence <= times else 0
        answers.append(message(20, b"%d" % sequence, sequence, flags) + message(20, b"x", sequence))
        answers.append(done(sequence))
    kernel = asked(*answers)
    found = kernel.request(netlink.GET_ADDRESS, netlink.DUMP, b"")
    asked_for = min(times + 1, 5)
    assert found == [b"%d" % asked_for, b"x"] and len(kernel.socket.sent) == asked_for


def attributes(*found):
    return b"".join(netlink.attribute(kind, value) for kind, value in found)


def test_attributes_that_make_no_sense_end_the_list():
    good = netlink.attribute(1, b"abcd")
    assert netlink._attributes(good + struct.pack("=HH", 3, 2) + good, 0) == {1: b"abcd"}
    assert netlink._attributes(good + struct.pack("=HH", 4, 2), 0) == {1: b"abcd", 2: b""}
    # The highest bits say how it is coded, not what it is.
    assert netlink._attributes(struct.pack("=HH", 8, 0xC001) + b"abcd", 0) == {1: b"abcd"}


ONE, TWO, SIX = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), b"\xfd" + bytes(14) + b"\1"


def route(*found, table=254, kind=netlink.UNICAST):
    return message(24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, table, 0, 0, kind, 0) + attributes(*found))


def by(index):
    return (netlink.ROUTE_INTERFACE, struct.pack("=I", index))


def hop(index, *found, length=None):
    body = attributes(*found)
    body = struct.pack("=HBBi", 8 + len(body) if length is None else length, 0, 0, index) + body
    return body + bytes(-len(body) % 4)


@pytest.mark.parametrize(
    ("routes", "gateways"),
    [
        ([route(by(2), (netlink.ROUTE_GATEWAY, ONE))], {(ONE, 2)}),
        ([route(by(2))], set()),
        ([route(by(2), (netlink.ROUTE_GATEWAY, bytes(4)))], set()),
        # IPv4 by way of an IPv6 neighbour: two bytes of family come first.
        ([route(by(2), (netlink.ROUTE_VIA, b"\x0a\0" + SIX))], {(SIX, 2)}),
        ([route(by(2), (netlink.ROUTE_GATEWAY, ONE + b"\0"))], set()),
        # The node's own addresses, and what is dropped, are no way to anybody.
        ([route(by(2), (netlink.ROUTE_GATEWAY, ONE), table=netlink.LOCAL_TABLE)], set()),
        ([route(by(2), (netlink.ROUTE_GATEWAY, ONE), kind=7)], set()),
        ([route(by(2), (netlink.ROUTE_GATEWAY, ONE), table=100)], {(ONE, 2)}),
        (
            [
                route(by(2), (netlink.ROUTE_GATEWAY, ONE)),
                route(by(3), (netlink.ROUTE_GATEWAY, TWO), kind=7),
                route(by(3), (netlink.ROUTE_GATEWAY, TWO)),
            ],
            {(ONE, 2), (TWO, 3)},
        ),
        (
            [
                route(
                    (
                        netlink.ROUTE_MULTIPATH,
                        hop(2, (netlink.ROUTE_GATEWAY, ONE)) + hop(3, (netlink.ROUTE_GATEWAY, TWO)) + hop(4),
                    )
                )
            ],
            {(ONE, 2), (TWO, 3)},
        ),
        # One that says that it is shorter than itself ends the list, instead of never ending.
        (
            [
                route(
                    (
                        netlink.ROUTE_MULTIPATH,
                        hop(2, (netlink.ROUTE_GATEWAY, ONE)) + hop(3, (netlink.ROUTE_GATEWAY, TWO), length=7),
                    )
                )
            ],
            {(ONE, 2)},
        ),
    ],
)
def test_the_gateways_are_those_of_the_nodes_own_routes(routes, gateways):
    assert asked(*routes, done()).gateways() == gateways


def neighbour(index, state, address=ONE, ticks=None, more=()):
    times = [] if ticks is None else [(netlink.NEIGHBOUR_TIMES, struct.pack("=IIII", ticks, 9, 9, 9))]
    found = attributes((netlink.NEIGHBOUR_ADDRESS, address), *times, *more)
    return message(28, struct.pack("=BBHiHBB", 2, 0, 0, index, state, 0, 0) + found)


@pytest.mark.parametrize(
    ("entry", "seconds"),
    [
        # Reachable, stale, delay, probe: it was there.
        *(((2, state, ONE, netlink.TICKS), 1.0) for state in (0x02, 0x04, 0x08, 0x10)),
        # Incomplete, failed, permanent.
        *(((2, state, ONE, netlink.TICKS), None) for state in (0x01, 0x20, 0x80)),
        ((3, 0x02, ONE, netlink.TICKS), None),
        ((2, 0x02, ONE), None),
        ((2, 0x02, ONE, 0), 0.0),
        ((2, 0x02, ONE, 5 * netlink.TICKS), None),
        ((2, 0x02, ONE, 5 * netlink.TICKS - 1), 5 - 1 / netlink.TICKS),
    ],
)
def test_who_hears_this_node_is_known_by_its_neighbours_and_for_how_long(entry, seconds):
    others = [neighbour(4, 0x02, TWO, 0), neighbour(9, 0x02, SIX, 2 * netlink.TICKS)]
    found = asked(neighbour(*entry), *others, done()).confirmed({2, 4})
    assert found == {TWO: 0.0, **({} if seconds is None else {ONE: pytest.approx(seconds)})}


@pytest.mark.parametrize(
    ("answer", "local"),
    [
        ([message(24, struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 255, 0, 0, 2, 0)), message(2, bytes(4))], True),
        ([message(24, struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, 1, 0)), message(2, bytes(4))], False),
        ([message(2, bytes(4))], False),
        ([message(2, struct.pack("=i", -errno.ENETUNREACH))], False),
    ],
)
@pytest.mark.parametrize("index", [None, 2])
def test_an_address_is_this_nodes_own_if_the_kernel_takes_its_packets(answer, local, index):
    kernel = asked(b"".join(answer))
    assert kernel.is_local(FloatingAddress("10.0.0.5/24", "eth0"), index) is local
    body = kernel.socket.sent[0][16:]
    assert struct.unpack_from("=BBBBBBBBI", body) == (socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    wanted = {netlink.ROUTE_DESTINATION: bytes([10, 0, 0, 5])}
    if index:
        wanted[netlink.ROUTE_INTERFACE] = struct.pack("=I", 2)
    assert netlink._attributes(body, 12) == wanted


@pytest.mark.parametrize(
    ("flags", "mac", "broadcast", "up", "carrier", "speaks"),
    [
        (netlink.UP | netlink.LOWER_UP, ONE, TWO, True, True, True),
        (netlink.UP, ONE, TWO, True, False, True),
        # The cable is in, and nobody has set it up.
        (netlink.LOWER_UP, ONE, TWO, False, False, True),
        (netlink.UP | netlink.NO_ARP, ONE, TWO, True, False, False),
        (netlink.UP, b"", TWO, True, False, False),
        (netlink.UP, ONE, bytes(6), True, False, False),
    ],
)
def test_what_the_flags_of_an_interface_mean(flags, mac, broadcast, up, carrier, speaks):
    link = netlink.Link(2, "eth0", 1, flags, mac, broadcast)
    assert (link.up, link.carrier, link.speaks) == (up, carrier, speaks)


@pytest.mark.parametrize(
    ("packed", "flags", "failed", "settled"),
    [
        (SIX, 0, False, True),
        (SIX, netlink.TENTATIVE, False, False),
        (SIX, netlink.DETECTION_FAILED, True, False),
        (SIX, netlink.SECONDARY, False, True),
        # IPv4 has no such detection: the flags are nothing there.
        (ONE, netlink.TENTATIVE | netlink.DETECTION_FAILED, False, True),
    ],
)
def test_an_address_for_which_the_kernel_does_not_answer_is_not_settled(packed, flags, failed, settled):
    one = netlink.Borne(packed, 24, 2, 0, flags, "")
    assert (one.failed, bool(one.settled)) == (failed, settled)


LINK = netlink.Link(2, "eth0", 1, 0x1003, ONE, TWO)
LOCAL = b"\xfe\x80" + bytes(13) + b"\1"


@pytest.mark.parametrize(
    ("borne", "found"),
    [
        ([netlink.Borne(SIX, 64, 2, 0, 0, ""), netlink.Borne(LOCAL, 64, 2, 253, 0, "")], LOCAL),
        ([netlink.Borne(LOCAL, 64, 3, 253, 0, "")], None),
        ([netlink.Borne(LOCAL, 64, 2, 253, netlink.TENTATIVE, "")], None),
        ([], None),
    ],
)
def test_a_question_comes_from_the_interfaces_own_link_local_address(borne, found):
    assert netlink.link_local(LINK, borne) == found


@pytest.mark.parametrize(
    ("raw", "life"),
    [
        (None, (None, 0)),
        (b"", (None, 0)),
        (bytes(15), (None, 0)),
        (struct.pack("=IIII", 5, 60, 777, 778), (60, 777)),
        (struct.pack("=IIII", 0, 0xFFFFFFFF, 777, 778), (None, 777)),
        (struct.pack("=IIII", 0, 60, 777, 778) + b"more", (60, 777)),
    ],
)
def test_how_long_the_kernel_keeps_an_address(raw, life):
    assert netlink._life(raw) == life


def test_a_lifetime_is_told_to_the_kernel_and_what_is_not_preferred_begins_no_connection():
    def told(*words):
        return struct.unpack("=IIII", netlink.lifetime(*words)[4:])

    assert told(None) == (netlink.FOR_EVER, netlink.FOR_EVER, 0, 0)
    assert told(60) == (60, 60, 0, 0)
    assert told(60, False) == (0, 60, 0, 0)


def test_more_news_than_fit_are_news_as_well_and_are_read_to_their_end(monkeypatch):
    kernel = asked(OSError(errno.ENOBUFS, "No buffer space"), b"news", b"news")
    left = kernel.socket.answers
    select = types.SimpleNamespace(select=lambda *_: ([kernel.socket] if left else [], [], []))
    monkeypatch.setattr(netlink, "select", select)
    assert kernel.drain() is True and left == []
    assert kernel.drain() is False
