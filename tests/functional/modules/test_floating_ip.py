"""The module as Salt loads it, in networks of our own; what it did is read from outside."""

import contextlib
import socket
import time

import pytest
import segment
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

pytestmark = pytest.mark.needs("network")

ADDRESS, ADDRESS6 = "10.99.0.5/24", "fd99::5/64"


@pytest.fixture(scope="module")
def segment_of_three():
    with segment.Segment("salt1", "salt2", "client") as made:
        yield made


@pytest.fixture
def network(segment_of_three):
    yield segment_of_three
    for host in ("salt1", "salt2"):
        for address in (ADDRESS, ADDRESS6):
            if segment_of_three.address(host, address.partition("/")[0]):
                segment_of_three.ip(host, "addr", "del", address, "dev", "eth0")


@pytest.fixture
def floating_ip(modules):
    return modules.floating_ip


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_present_then_absent_and_both_again(network, floating_ip, address):
    bare = address.partition("/")[0]
    with network.inside("salt1"):
        assert floating_ip.present(address, "eth0") is True
        assert floating_ip.present(address, "eth0") is False
        assert floating_ip.status(address, "eth0")["held_as_wanted"]
    assert network.ping("client", bare)
    with network.inside("salt1"):
        assert floating_ip.absent(address, "eth0") is True
        assert floating_ip.absent(address, "eth0") is False
    assert network.address("salt1", bare) is None


def test_the_label_is_set_and_mended(network, floating_ip):
    with network.inside("salt1"):
        assert floating_ip.present(ADDRESS, "eth0", label="eth0:0")
        assert network.address("salt1", "10.99.0.5")["label"] == "eth0:0"
        assert floating_ip.present(ADDRESS, "eth0", label="eth0:7")
        assert network.address("salt1", "10.99.0.5")["label"] == "eth0:7"
        assert not floating_ip.present(ADDRESS, "eth0", label="eth0:7")


def test_what_another_host_holds_is_refused_by_name(network, floating_ip):
    network.ip("salt2", "addr", "add", ADDRESS, "dev", "eth0")
    with network.inside("salt1"):
        with pytest.raises(CommandExecutionError, match=network.mac("salt2")):
            floating_ip.present(ADDRESS, "eth0")
        assert network.address("salt1", "10.99.0.5") is None
        assert floating_ip.answered_by("10.99.0.5", "eth0") == [network.mac("salt2")]
        assert floating_ip.answered_by(ADDRESS, "eth0") == [network.mac("salt2")]
        assert floating_ip.present(ADDRESS, "eth0", check=False) is True
    with network.inside("client"):
        found = floating_ip.answered_by("10.99.0.5", "eth0", count=2)
    assert sorted(found) == sorted([network.mac("salt1"), network.mac("salt2")])


def test_only_what_is_held_is_announced(network, floating_ip):
    with network.inside("salt1"):
        assert floating_ip.announce(ADDRESS, "eth0") is False
        floating_ip.present(ADDRESS, "eth0")
        network.ip("client", "neigh", "replace", "10.99.0.5", "lladdr", "02:00:00:00:00:01",
                   "dev", "eth0", "nud", "stale")  # fmt: skip
        assert floating_ip.announce(ADDRESS, "eth0") is True
    segment.eventually(lambda: network.neighbour("client", "10.99.0.5") == network.mac("salt1"), 1, "heard")


def test_what_was_taken_is_announced_again_and_nobody_waits_for_it(network, floating_ip):
    with network.inside("client"):
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806))
    with contextlib.closing(heard):
        heard.settimeout(60)
        with network.inside("salt1"):
            begin = time.monotonic()
            # One that no earlier test has left a process for.
            assert floating_ip.present("10.99.0.9/24", "eth0", check=False)
            assert time.monotonic() - begin < 2
        # As a request and as a reply: once by the caller, the others by the process that it has left behind.
        own, wanted = bytes.fromhex(network.mac("salt1").replace(":", "")), bytes([10, 99, 0, 9])
        announced = []
        while len(announced) < 8:
            packet = heard.recv(100)
            if packet[8:18] == own + wanted and packet[24:28] == wanted:
                announced.append(time.monotonic() - begin)
    assert announced[-1] - announced[0] > 0.9
    with network.inside("salt1"):
        # It ends with the address.
        assert floating_ip.absent("10.99.0.9/24", "eth0")


def test_an_obstacle_is_what_present_would_say(network, floating_ip):
    with network.inside("salt1"):
        assert floating_ip.obstacle(ADDRESS, "eth0") is None
        assert "it has eth0, lo" in floating_ip.obstacle(ADDRESS, "ib7")
    network.ip("salt2", "addr", "add", ADDRESS, "dev", "eth0")
    with network.inside("salt1"):
        assert network.mac("salt2") in floating_ip.obstacle(ADDRESS, "eth0")
        assert floating_ip.obstacle(ADDRESS, "eth0", check=False) is None
    assert network.address("salt1", "10.99.0.5") is None


@pytest.mark.one_release
def test_who_answers_is_asked_on_the_interface_by_which_the_address_is_reached(network, floating_ip):
    network.ip("salt2", "addr", "add", ADDRESS, "dev", "eth0")
    network.ip("salt1", "route", "add", "192.0.2.0/24", "via", "10.99.0.12")
    try:
        with network.inside("salt1"):
            assert floating_ip.answered_by(ADDRESS) == [network.mac("salt2")]
            # ARP goes no further than the segment: silence would prove nothing.
            with pytest.raises(CommandExecutionError, match="192.0.2.1 is behind the gateway 10.99.0.12"):
                floating_ip.answered_by("192.0.2.1/24")
    finally:
        network.ip("salt1", "route", "del", "192.0.2.0/24")


@pytest.mark.one_release
def test_connections_to_a_released_address_are_reset_and_others_live_on(network, floating_ip):
    """A client that hears nothing more would wait for minutes before it comes back."""
    with network.inside("salt1"):
        assert floating_ip.present(ADDRESS, "eth0", check=False)
        listening = socket.create_server(("0.0.0.0", 4505))
    with network.inside("client"):
        moved = socket.create_connection(("10.99.0.5", 4505), timeout=5)
        stays = socket.create_connection(("10.99.0.11", 4505), timeout=5)
    with contextlib.closing(listening), contextlib.closing(moved), contextlib.closing(stays):
        answering = [listening.accept()[0] for _ in range(2)]
        with network.inside("salt1"):
            assert floating_ip.absent(ADDRESS, "eth0") is True
        with pytest.raises(ConnectionResetError):
            moved.recv(1)
        for one in answering:
            with contextlib.suppress(OSError):
                one.sendall(b"x")
            one.close()
        assert stays.recv(1) == b"x"


@pytest.mark.one_release
def test_a_relabelled_address_keeps_its_connections(network, floating_ip):
    with network.inside("salt1"):
        floating_ip.present(ADDRESS, "eth0", check=False)
        listening = socket.create_server(("0.0.0.0", 4506))
    with network.inside("client"):
        client = socket.create_connection(("10.99.0.5", 4506), timeout=5)
    with contextlib.closing(listening), contextlib.closing(client):
        answering = listening.accept()[0]
        with network.inside("salt1"):
            assert floating_ip.present(ADDRESS, "eth0", label="eth0:3") is True
        answering.sendall(b"x")
        assert client.recv(1) == b"x"
        answering.close()


def test_a_missing_interface_is_an_error_of_execution(network, floating_ip):
    with network.inside("salt1"), pytest.raises(CommandExecutionError, match="it has eth0, lo"):
        floating_ip.present(ADDRESS, "ib7")


@pytest.mark.parametrize(
    "arguments",
    [
        ("10.99.0.5", "eth0"),
        ("10.99.0.256/24", "eth0"),
        ("10.99.0.5/255.255.255.0", "eth0"),
        ("10.99.0.255/24", "eth0"),
        ("::ffff:10.99.0.5/120", "eth0"),
        ("fe80::5%eth0/64", "eth0"),
        ("salt-gw", "eth0"),
        (5, "eth0"),
        (ADDRESS, ""),
        (ADDRESS, "an-interface-" + "too-long" * 15),
        (ADDRESS, "eth0", "eth1:0"),
        (ADDRESS6, "eth0", "eth0:0"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_right_are_refused_first(network, floating_ip, arguments):
    before = network.addresses("salt1")
    with network.inside("salt1"), pytest.raises(SaltInvocationError):
        floating_ip.present(*arguments)
    assert network.addresses("salt1") == before
