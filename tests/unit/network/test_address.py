"""Addresses and packets, without a network: tables of what is accepted, refused and sent."""

import dataclasses
import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.errors import Refused
from failback.network import address_holder
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
