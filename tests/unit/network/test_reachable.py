"""Whom a node asks whether it is itself cut off, by its pillar and its routes."""

import contextlib
import errno
import socket

import pytest
import samples

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
