"""Addresses and packets, without a network: tables of what is accepted, refused and sent."""

import dataclasses
import errno
import os
import runpy
import socket
import struct
import sys
import types

import pytest
import samples
from hypothesis import given
from hypothesis import strategies

from failback.errors import Refused
from failback.errors import Unavailable
from failback.network import address_holder
from failback.network import announcer
from failback.network import floating
from failback.network import neighbours
from failback.network import netlink
from failback.network.floating import FloatingAddress
from failback.pair import Member

ETHERNET = netlink.Link(2, "eth0", 1, 0x1003, b"\x02\0\0\0\0\x01", b"\xff" * 6)
INFINIBAND = netlink.Link(3, "ib0", 32, 0x1003, bytes(range(20)), b"\0\xff\xff\xff" + bytes(16))


@pytest.mark.parametrize(
    "given_address, ip, prefix, version",
    [
        ("10.0.0.5/24", "10.0.0.5", 24, 4),
        ("203.0.113.9/32", "203.0.113.9", 32, 4),
        ("fd00::5/64", "fd00::5", 64, 6),
        ("FD00:0:0::0005/64", "fd00::5", 64, 6),
    ],
)
def test_an_address_is_read(given_address, ip, prefix, version):
    found = FloatingAddress(given_address, "eth0")
    assert (found.ip, found.prefix, found.version, found.name) == (ip, prefix, version, ip)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("10.0.0.5", "eth0"), "10.0.0.5/24"),
        (("10.0.0.5/24", ""), "interface"),
        (("10.0.0.5/24", "a/b"), "interface"),
        (("10.0.0.5/24", "one-byte-too-long-for-an-altname" * 4), "interface"),
        (("10.0.0.5/24", "eth0", "eth1:0"), "begins with"),
        (("10.0.0.5/24", "eth0", "eth0-0"), "begins with"),
        (("10.0.0.5/24", "eth0", "eth0:0123456789ab"), "15 bytes"),
        (("fd00::5/64", "eth0", "eth0:0"), "only IPv4"),
    ],
)
def test_what_cannot_be_an_address_is_refused_with_the_reason(arguments, told):
    with pytest.raises(Refused, match=told):
        FloatingAddress(*arguments)


def test_it_is_made_from_the_pairs_entry():
    entry = {
        "name": "salt-gw",
        "address": "10.0.0.5/24",
        "interface": "eth0",
        "label": "eth0:0",
        "watch": {"on": "secondary", "cron": "gateway-ip"},
    }
    expected = FloatingAddress("10.0.0.5/24", "eth0", "eth0:0", "salt-gw")
    assert FloatingAddress.from_pair(entry) == expected
    assert floating.of_pair({"floating_ips": [entry]}) == [expected]


@pytest.mark.parametrize(
    "link, kind, length",
    [(ETHERNET, 1, 8), (INFINIBAND, 1, 24)],
    ids=["Ethernet", "InfiniBand (RFC 4391)"],
)
def test_the_link_layer_option_is_padded_as_the_medium_wants_it(link, kind, length):
    option = neighbours._option(kind, link)
    assert len(option) == length == option[1] * 8
    found = neighbours._link_layer_option(neighbours._option(2, link), len(link.mac))
    assert found == link.mac


def test_an_ipv6_group_is_reached_by_the_address_that_the_medium_gives_it():
    group = bytes.fromhex("ff0200000000000000000001ff000005")
    assert neighbours._group_on(ETHERNET, group).hex(":") == "33:33:ff:00:00:05"
    # ipv6_ib_mc_map() of the kernel (if_inet6.h), for a link of partition 0xffff.
    broadcast = bytes.fromhex("00ffffffff12401bffff000000000000ffffffff")
    slow = dataclasses.replace(INFINIBAND, broadcast=broadcast)
    assert neighbours._group_on(slow, group).hex() == "00ffffffff12601bffff000000000001ff000005"


def test_an_arp_probe_has_no_sender_address_and_names_the_medium():
    target = FloatingAddress("10.0.0.5/24", "eth0").packed
    probe = neighbours._arp(ETHERNET, 1, bytes(4), bytes(6), target)
    assert probe.hex(" ") == (
        "00 01 08 00 06 04 00 01 02 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00 0a 00 00 05"
    )
    slow = neighbours._arp(INFINIBAND, 1, bytes(4), bytes(20), target)
    assert (slow[:2], slow[4], len(slow)) == (b"\0\x20", 20, 8 + 2 * 24)


def test_the_checksum_is_that_of_a_known_packet():
    # A neighbour solicitation for fe80::1 from ::, its sum worked out by hand with RFC 1071.
    target = bytes.fromhex("fe80" + "00" * 13 + "01")
    group = bytes.fromhex("ff0200000000000000000001ff000001")
    packet = neighbours._checksummed(struct.pack(">BBHI", 135, 0, 0, 0) + target, bytes(16), group)
    words = struct.unpack(">12H", packet) + struct.unpack(">8H", group) + (24, 58)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@given(strategies.binary(max_size=64))
def test_options_of_strangers_never_crash(raw):
    assert isinstance(neighbours._link_layer_option(raw, 6), bytes)


@given(strategies.binary(max_size=64))
def test_attributes_of_the_kernel_never_crash(raw):
    netlink._attributes(raw, 0)


@given(strategies.dictionaries(strategies.integers(1, 60), strategies.binary(max_size=20)))
def test_attributes_are_read_as_they_are_written(attributes):
    raw = b"".join(netlink.attribute(kind, value) for kind, value in attributes.items())
    assert netlink._attributes(raw, 0) == attributes


def run_filter(program, packet):
    """The kernel's virtual machine for the instructions that are used; a place outside the packet ends it."""
    at, accumulator = 0, None
    while True:
        code, true, false, value = struct.unpack("=HBBI", program[at])
        at += 1
        if code in (0x20, 0x30):
            size = 4 if code == 0x20 else 1
            if value + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[value : value + size], "big")
        elif code == 0x15:
            at += true if accumulator == value else false
        else:
            return value


@given(strategies.lists(strategies.binary(min_size=4, max_size=4), unique=True, max_size=40))
def test_the_filter_lets_through_its_addresses_and_no_other(addresses):
    program = neighbours._sender_filter(14, addresses)
    for one in addresses:
        assert run_filter(program, bytes(14) + one)
    other = next(
        packed for packed in (struct.pack(">I", number) for number in range(100)) if packed not in addresses
    )
    assert not run_filter(program, bytes(14) + other)


def test_the_announcer_is_started_apart_from_its_parent(tmp_path):
    said = tmp_path / "said"
    os.mkfifo(said)
    program = tmp_path / "failback"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"open({str(said)!r}, 'w').write(f'{{sys.argv[1:]}} {{os.getsid(0) == os.getpid()}}')\n"
    )
    program.chmod(0o755)

    class Here:
        pass

    Here.program = program
    member = Member("salt", Here)
    assert address_holder.announce_later(member) is True
    assert said.read_text() == "['announce', 'salt'] True"  # a pipe: waits for the other end
    Here.program = tmp_path / "missing"
    assert address_holder.announce_later(member) is False


@pytest.mark.parametrize("error", [None, OSError(errno.ENOENT, "No such file or directory")])
def test_the_announcer_of_an_address_that_is_in_no_pair_is_a_process_of_its_own(monkeypatch, error):
    begun = []

    class Process:
        pid = 4711

        def __init__(self, command, **how):
            begun.append((command, how))
            if error:
                raise error

    monkeypatch.setattr(announcer.subprocess, "Popen", Process)
    # That it could not be started is no failure: the address was announced once already.
    assert announcer.start(FloatingAddress("10.0.0.5/24", "eth0")) == (None if error else 4711)
    ((command, how),) = begun
    assert command == [sys.executable, "-B", "-m", "failback.network.announcer", "10.0.0.5/24", "eth0"]
    # Salt ends what is in its own session; its folder could not be unmounted.
    assert how["start_new_session"] is True and how["cwd"] == "/"
    assert os.path.isfile(f"{how['env']['PYTHONPATH']}/failback/network/announcer.py")
    assert how["env"]["PATH"] == os.environ["PATH"]


def test_that_process_announces_the_address_that_it_was_given(monkeypatch):
    announced = []
    monkeypatch.setattr(address_holder, "announce_repeatedly", announced.append)
    monkeypatch.setattr(sys, "argv", ["announcer", "10.0.0.5/24", "eth0"])
    # As ``-m`` does it: the module is imported already.
    monkeypatch.delitem(sys.modules, "failback.network.announcer")
    runpy.run_module("failback.network.announcer", run_name="__main__")
    assert announced == [[FloatingAddress("10.0.0.5/24", "eth0")]]


class Sockets:
    """Sockets that answer as a test says, and whether each was closed."""

    def __init__(self, monkeypatch, module, fails=None):
        self.made, self.fails = [], fails
        made = self

        class Socket:
            def __init__(self, *words):
                made.made.append(self)
                self.closed, self.did = False, []
                made.look(self, "socket")

            def close(self):
                self.closed = True

            def __getattr__(self, name):
                def call(*words):
                    self.did.append((name, *words))
                    made.look(self, name)

                return call

        monkeypatch.setattr(module.socket, "socket", Socket)

    def look(self, opened, name):
        """Fail at the second socket, when that is asked for this."""
        if self.fails and self.fails[0] == name and len(self.made) > 1:
            raise self.fails[1]


ADDRESSES = [
    FloatingAddress("10.0.0.5/24", "eth0"),
    FloatingAddress("fd00::5/64", "eth0"),
]
LINKS = netlink.Links([ETHERNET])


@pytest.mark.parametrize("call", ["socket", "setsockopt", "setblocking"])
def test_a_prober_that_cannot_be_opened_leaves_no_socket_open(monkeypatch, call):
    sockets = Sockets(monkeypatch, neighbours, (call, OSError(errno.ENOBUFS, "No buffer space available")))
    with pytest.raises(OSError, match="No buffer space"):
        neighbours.Prober(ADDRESSES, LINKS, [])
    assert len(sockets.made) == 2
    assert sockets.made[0].closed and (call == "socket" or sockets.made[1].closed)


def test_without_root_it_is_said_that_packet_sockets_need_it(monkeypatch):
    sockets = Sockets(monkeypatch, neighbours, ("socket", PermissionError(errno.EPERM, "Not permitted")))
    with pytest.raises(Unavailable, match="need root .CAP_NET_RAW.: Not permitted"):
        neighbours.Prober(ADDRESSES, LINKS, [])
    assert sockets.made[0].closed


def test_the_sockets_of_a_prober_hear_one_interface_and_wait_for_nothing(monkeypatch):
    sockets = Sockets(monkeypatch, neighbours)
    with neighbours.Prober(ADDRESSES, LINKS, []) as prober:
        four, six = prober.sockets()
        assert ("bind", ("eth0", 0x0806)) in four.did and ("setblocking", False) in four.did
        options = {one[1:3]: one[3] for one in six.did if one[0] == "setsockopt"}
        assert options[socket.SOL_SOCKET, socket.SO_BINDTODEVICE] == b"eth0\0"
        # What comes from another network has a hop limit that is not 255 (RFC 4861, 7.1.1).
        assert options[socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS] == 255
        assert options[socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP] == 0
        words = struct.unpack("=8I", options[socket.IPPROTO_ICMPV6, 1])
        assert [n for n in range(256) if not words[n >> 5] >> (n & 31) & 1] == [136]
        assert ("setblocking", False) in six.did
    assert [one.closed for one in sockets.made] == [True, True]


@pytest.mark.parametrize(
    ("found", "packets"),
    [
        ([b"one", b"two", BlockingIOError()], [b"one", b"two"]),
        # An interface that is down, or a signal: what comes afterwards is still there.
        ([OSError(errno.ENETDOWN, ""), b"one", OSError(errno.EINTR, ""), b"two", BlockingIOError()],
         [b"one", b"two"]),
        ([b"one", OSError(errno.ENODEV, ""), b"two"], [b"one"]),
        ([b"one", OSError(errno.EIO, ""), b"two"], [b"one"]),
        ([b"x"] * 1001, [b"x"] * 1000),
    ],
)  # fmt: skip
def test_what_waits_in_a_socket_is_read_to_its_end_and_no_longer(found, packets):
    class Socket:
        left = list(found)

        def recv(self, size):
            one = self.left.pop(0)
            if isinstance(one, Exception):
                raise one
            return one

    assert neighbours._drain(Socket()) == packets


def test_a_hardware_address_that_python_refuses_is_handed_to_the_kernel_and_its_no_is_an_error():
    slow = dataclasses.replace(INFINIBAND, broadcast=bytes(20))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened, pytest.raises(OSError) as raised:
        neighbours._send(opened, slow, b"packet", slow.broadcast, 0x0806)
    # A socket of another family: the kernel was asked.
    assert raised.value.errno == errno.EINVAL and raised.value.strerror == os.strerror(errno.EINVAL)


MAC, PEER = ETHERNET.mac, b"\x02\0\0\0\0\x07"
TARGET, TARGET6 = (one.packed for one in ADDRESSES)


def heard(monkeypatch, four=(), six=(), source=b"\xfe\x80"):
    """What a prober makes of packets that have arrived."""
    Sockets(monkeypatch, neighbours)
    borne = [netlink.Borne(source + bytes(14), 64, 2, 253, 0, "")] if source else []
    prober = neighbours.Prober(ADDRESSES, LINKS, borne)
    packets = dict(zip(prober.sockets(), (list(four), list(six))))
    monkeypatch.setattr(neighbours, "_drain", lambda opened: packets[opened])
    return prober.read()


def arp(sender=TARGET, mac=PEER, target=MAC, operation=2):
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender + target + bytes(4)


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (arp(), ("10.0.0.5", True)),
        # It announces itself, or answers somebody else.
        (arp(operation=1), ("10.0.0.5", False)),
        (arp(target=PEER), ("10.0.0.5", False)),
        (arp(mac=MAC), None),
        (arp(sender=bytes(4)), None),
        (arp()[:-5], None),
        (arp()[:-4], ("10.0.0.5", True)),
        (arp()[:4] + b"\x08" + arp()[5:], None),
    ],
)
def test_an_answer_by_arp_is_told_from_what_is_merely_heard(monkeypatch, packet, found):
    expected = [] if found is None else [(found[0], "02:00:00:00:00:07", found[1])]
    assert heard(monkeypatch, [b"", packet]) == expected


def advertisement(target=TARGET6, mac=PEER, flags=0x60, kind=136, options=None):
    packet = struct.pack(">BBHI", kind, 0, 0, flags << 24) + target
    return packet + (b"\x02\x01" + mac if options is None else options)


@pytest.mark.parametrize(
    ("packet", "source", "found"),
    [
        (advertisement(), b"\xfe\x80", "answers"),
        # It need not say who it is (RFC 4861, 4.4).
        (advertisement(options=b""), b"\xfe\x80", "answers without a name"),
        (advertisement(flags=0x20), b"\xfe\x80", "is heard"),
        # Asked from no address, everybody is answered to, as if nobody had asked.
        (advertisement(flags=0x20), None, "answers"),
        (advertisement(mac=MAC), b"\xfe\x80", None),
        (advertisement(kind=135), b"\xfe\x80", None),
        (advertisement(target=TARGET6[:-1] + b"\7"), b"\xfe\x80", None),
        (advertisement()[:23], b"\xfe\x80", None),
        (advertisement(options=b"\x01\x01" + MAC + b"\x02\x01" + PEER), b"\xfe\x80", "answers"),
    ],
)
def test_an_answer_by_neighbour_discovery_is_told_from_what_is_merely_heard(
    monkeypatch, packet, source, found
):
    mac = "" if found == "answers without a name" else "02:00:00:00:00:07"
    expected = [] if found is None else [("fd00::5", mac, found != "is heard")]
    assert heard(monkeypatch, six=[b"", packet], source=source) == expected


def test_on_a_link_without_neighbours_nobody_is_asked_and_nothing_is_announced(monkeypatch):
    sockets = Sockets(monkeypatch, neighbours)
    silent = dataclasses.replace(ETHERNET, flags=ETHERNET.flags | netlink.NO_ARP)
    prober = neighbours.Prober(ADDRESSES, netlink.Links([silent]), [])
    before = [list(one.did) for one in sockets.made]
    assert prober.ask(ADDRESSES) == []
    for one in ADDRESSES:
        prober.announce(one)
    assert [one.did for one in sockets.made] == before


def test_what_could_not_be_sent_was_not_asked(monkeypatch):
    Sockets(monkeypatch, neighbours, ("sendmsg", OSError(errno.ENETDOWN, "Network is down")))
    prober = neighbours.Prober(ADDRESSES, LINKS, [netlink.Borne(b"\xfe\x80" + bytes(14), 64, 2, 253, 0, "")])
    assert prober.ask(ADDRESSES) == [ADDRESSES[0]]


@pytest.mark.parametrize(("forwards", "flags"), [(False, 0x20000000), (True, 0xA0000000)])
def test_a_node_that_is_a_router_announces_itself_as_one(monkeypatch, forwards, flags):
    """Else its clients would drop it from their lists of routers (RFC 4861, 7.2.5)."""
    sockets = Sockets(monkeypatch, neighbours)
    monkeypatch.setattr(neighbours, "_forwards", lambda name: forwards)
    prober = neighbours.Prober(ADDRESSES, LINKS, [])
    prober.announce(ADDRESSES[1])
    (sent,) = [one for one in sockets.made[1].did if one[0] == "sendmsg"]
    ((packet,), ((level, kind, control),), _, where) = sent[1:]
    assert struct.unpack_from(">BBHI", packet) == (136, 0, 0, flags)
    assert packet[8:] == TARGET6 + b"\x02\x01" + MAC
    # From the address itself, on its interface, to all nodes.
    assert (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
    assert control == TARGET6 + struct.pack("=I", 2) and where == ("ff02::1", 0, 0, 2)


@pytest.mark.parametrize(("said", "router"), [("1\n", True), ("0\n", False), ("2\n", False)])
def test_whether_a_node_is_a_router_is_asked_of_the_kernel(tmp_path, monkeypatch, said, router):
    assert neighbours._forwards("no-such-interface") is False
    (tmp_path / "forwarding").write_text(said)
    asked = []
    path = types.SimpleNamespace(Path=lambda *parts: asked.append(parts) or tmp_path / "forwarding")
    monkeypatch.setattr(neighbours, "pathlib", path)
    assert neighbours._forwards("eth0") is router
    assert asked == [("/proc/sys/net/ipv6/conf", "eth0", "forwarding")]


def test_a_link_local_address_of_another_link_is_another_hosts(monkeypatch):
    Sockets(monkeypatch, neighbours)
    local = b"\xfe\x80" + bytes(13) + b"\5"
    other = netlink.Link(3, "eth1", 1, 0x1003, b"\x02\0\0\0\0\x02", b"\xff" * 6)
    addresses = [FloatingAddress("fe80::5/64", "eth0"), FloatingAddress("fd00::6/64", "eth1")]
    prober = neighbours.Prober(addresses, netlink.Links([ETHERNET, other]), [])
    packets = dict(zip(prober.sockets(), ([], [advertisement(local)])))
    monkeypatch.setattr(neighbours, "_drain", lambda opened: packets[opened])
    assert prober.read() == []
    packets.update(zip(prober.sockets(), ([advertisement(local)], [])))
    assert [one[0] for one in prober.read()] == ["fe80::5"]


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which pass while somebody waits for an answer: to the last millisecond, for none wakes it."""
    now = [0.0]

    class Poll:
        def register(self, opened, event):
            pass

        def poll(self, milliseconds):
            now[0] += int(milliseconds) / 1000

    samples.in_place_of_time(monkeypatch, neighbours, monotonic=lambda: now[0])
    monkeypatch.setattr(neighbours, "select", types.SimpleNamespace(poll=Poll, POLLIN=1))
    return now


class Asked:
    """A prober whose questions are noted, and which hears at each reading what a test says."""

    def __init__(self, clock, *readings):
        self.clock, self.readings, self.asked, self.claims = clock, list(readings), [], set()

    def sockets(self):
        return []

    def ask(self, addresses, claim):
        self.asked.append(round(self.clock[0], 2))
        self.claims.add(claim)

    def read(self):
        return self.readings.pop(0) if self.readings else []


MACS = ("02:00:00:00:00:07", "02:00:00:00:00:08")


def answer(mac=MACS[0], answers_us=True, ip="10.0.0.5"):
    return (ip, mac, answers_us)


@pytest.mark.parametrize(
    ("readings", "how", "found", "asked"),
    [
        ([], {}, {"10.0.0.5": [], "fd00::5": []}, 3),
        # What was heard before the question is no answer to it.
        ([[answer()]], {}, {"10.0.0.5": [], "fd00::5": []}, 3),
        ([[], [answer()]], {"any_one": True}, {"10.0.0.5": [MACS[0]], "fd00::5": []}, 1),
        ([[], [answer()]], {}, {"10.0.0.5": [MACS[0]], "fd00::5": []}, 3),
        ([[], [answer(), answer(ip="fd00::5")]], {}, {"10.0.0.5": [MACS[0]], "fd00::5": [MACS[0]]}, 1),
        ([[], [answer(), answer()]], {"count": 2, "any_one": True},
         {"10.0.0.5": [MACS[0]], "fd00::5": []}, 3),
        ([[], [answer(), answer(MACS[1])]], {"count": 2, "any_one": True},
         {"10.0.0.5": list(MACS), "fd00::5": []}, 1),
        ([[], [answer(answers_us=False)]], {"any_one": True}, {"10.0.0.5": [MACS[0]], "fd00::5": []}, 1),
        ([[], [answer(answers_us=False)]], {"any_one": True, "unasked": False},
         {"10.0.0.5": [], "fd00::5": []}, 3),
        ([[], [answer(ip="10.0.0.99")]], {"any_one": True}, {"10.0.0.5": [], "fd00::5": []}, 3),
    ],
)  # fmt: skip
def test_a_question_is_asked_three_times_or_until_enough_have_answered(clock, readings, how, found, asked):
    prober = Asked(clock, *readings)
    assert neighbours.answers(prober, ADDRESSES, 0.3, **{"count": 1, **how}) == found
    assert prober.asked == [0.0, 0.1, 0.2][:asked] and prober.claims == {False}


@pytest.mark.parametrize(("timeout", "asked"), [(0.0, [0.0]), (1.0, [0.0, 0.2, 0.4, 0.6, 0.8])])
def test_how_often_it_is_asked_depends_on_the_time_that_there_is(clock, timeout, asked):
    prober = Asked(clock)
    assert neighbours.answers(prober, ADDRESSES[:1], timeout, 1) == {"10.0.0.5": []}
    assert prober.asked == asked and timeout <= clock[0] < timeout + 0.01


class Others:
    """Rivals that are heard at each reading."""

    def __init__(self, *readings):
        self.readings = list(readings)

    def sockets(self):
        return []

    def read(self):
        return self.readings.pop(0) if self.readings else []


def test_a_claim_ends_with_the_first_answer_or_the_first_rival(clock):
    def asked(prober, rivals):
        clock[0] = 0.0
        return neighbours.answers_or_rival(prober, ADDRESSES, 0.3, rivals)

    none = {"10.0.0.5": [], "fd00::5": []}
    prober = Asked(clock)
    assert asked(prober, Others()) == (none, None)
    assert prober.claims == {True} and len(prober.asked) == 3
    assert asked(Asked(clock), Others([], ["the rival", "another"])) == (none, "the rival")
    # Who has it comes before who is about to.
    found = asked(Asked(clock, [], [answer()]), Others(["the rival"]))
    assert found == ({**none, "10.0.0.5": [MACS[0]]}, None)
