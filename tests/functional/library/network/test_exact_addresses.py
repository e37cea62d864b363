"""What is easily a little wrong: whose source an address is, when it is held, on which link, by what name."""

import json
import socket

import pytest
import segment

from failback.errors import Refused
from failback.errors import Unavailable
from failback.network import floating
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
#: Longer than a name of an interface may be.
ALTNAME = "enp0s31f6-of-the-left-card"


@pytest.fixture
def network():
    with segment.Segment("salt1", "client") as made:
        made.ip("salt1", "link", "add", "eth1", "type", "veth", "peer", "name", "other")
        for name in ("eth1", "other"):
            made.ip("salt1", "link", "set", name, "up")
        made.ip("salt1", "link", "property", "add", "dev", "eth0", "altname", ALTNAME)
        yield made


def status(network, one):
    with network.inside("salt1"):
        return floating.status(one)


def hold(network, one, **how):
    with network.inside("salt1"), Holder([one]) as holder:
        return holder.take(**how)[0]["taken"]


def source(network, target):
    """The address with which the node itself would speak to a host."""
    return json.loads(network.ip("salt1", "-j", "route", "get", target))[0]["prefsrc"]


@pytest.mark.parametrize("lifetime", [None, 60])
def test_what_begins_on_the_node_keeps_the_nodes_own_address(network, lifetime):
    own = source(network, "fd99::12")
    assert hold(network, GATEWAY6, lifetime=lifetime)
    assert source(network, "fd99::12") == own == "fd99::11"
    with network.inside("salt1"), Holder([GATEWAY6]) as holder:
        assert holder.limit(lifetime) == [GATEWAY6.address]
    shown = network.address("salt1", "fd99::5")
    assert (shown["preferred_life_time"], shown["deprecated"]) == (0, True)
    assert source(network, "fd99::12") == own
    assert network.ping("client", "fd99::5")


@pytest.fixture
def failed(network):
    """The kernel has asked for the address by itself, and another host had it."""
    network.ip("client", "address", "add", "fd99::5/64", "dev", "eth0")
    with network.inside("salt1"):
        segment.setting("net/ipv6/conf/all/accept_dad", 1)
        segment.setting("net/ipv6/conf/eth0/accept_dad", 1)
    network.ip("salt1", "address", "add", "fd99::5/64", "dev", "eth0")
    segment.eventually(lambda: network.address("salt1", "fd99::5").get("dadfailed"), 10, "it has failed")
    return network


def test_what_the_kernel_has_given_up_is_not_held_and_is_taken_anew(failed):
    found = status(failed, GATEWAY6)
    assert found["dad_failed"] and not found["held"] and not found["held_as_wanted"]
    assert found["held_on"] == ["eth0"]
    with pytest.raises(Refused, match=failed.mac("client")):
        hold(failed, GATEWAY6)
    failed.ip("client", "address", "del", "fd99::5/64", "dev", "eth0")
    assert hold(failed, GATEWAY6) is True
    assert status(failed, GATEWAY6)["held_as_wanted"]
    assert failed.ping("client", "fd99::5")
    assert hold(failed, GATEWAY6) is False


def test_what_the_kernel_has_given_up_is_removed_all_the_same(failed):
    with failed.inside("salt1"), Holder([GATEWAY6]) as holder:
        assert holder.release()[0]["released"]
    assert failed.address("salt1", "fd99::5") is None


def test_what_the_kernel_still_asks_for_is_settled_by_taking_it(network):
    with network.inside("salt1"):
        segment.setting("net/ipv6/conf/all/accept_dad", 1)
        segment.setting("net/ipv6/conf/eth0/accept_dad", 1)
        segment.setting("net/ipv6/conf/eth0/dad_transmits", 600)
    network.ip("salt1", "address", "add", "fd99::5/64", "dev", "eth0")
    found = status(network, GATEWAY6)
    assert found["tentative"] and found["held"] and not found["held_as_wanted"]
    assert hold(network, GATEWAY6) is True
    assert status(network, GATEWAY6)["held_as_wanted"]
    assert network.ping("client", "fd99::5")


@pytest.mark.parametrize("address", ["10.99.0.5/24", "fd99::5/64"])
def test_an_interface_is_found_by_an_alternative_name(network, address):
    other = FloatingAddress(address, ALTNAME)
    assert hold(network, other) is True
    assert hold(network, other) is False
    found = status(network, other)
    assert found["held_as_wanted"] and found["interface_has_it"] and found["held_on"] == ["eth0"]
    assert found["mac"] == network.mac("salt1") and found["interface"] == ALTNAME
    assert status(network, FloatingAddress(address, "eth0"))["held_as_wanted"]
    assert floating.own_macs({"floating_ips": []}) == {}
    with network.inside("salt1"):
        entry = {"address": address, "interface": ALTNAME}
        assert floating.own_macs({"floating_ips": [entry]}) == {address: network.mac("salt1")}
        with Holder([other]) as holder:
            assert holder.announce() == [address]
            assert holder.limit(60) == [address]
            assert holder.release()[0]["interfaces"] == ["eth0"]


def test_an_alternative_name_is_not_shown_among_the_interfaces(network):
    with pytest.raises(Unavailable, match="it has eth0, eth1, lo, other."):
        hold(network, FloatingAddress("10.99.0.5/24", "ib7"))


def test_a_link_local_address_is_of_one_link(network):
    """The other link's is another host's for all that this one knows."""
    here, there = (FloatingAddress("fe80::5/64", name) for name in ("eth0", "eth1"))
    network.ip("salt1", "address", "add", "fe80::5/64", "dev", "eth1", "nodad")
    assert not status(network, here)["held"] and status(network, there)["held_as_wanted"]
    with network.inside("salt1"):
        with Holder([here]) as holder:
            assert not holder.release()[0]["released"]
        assert network.address("salt1", "fe80::5", "eth1")
        listener = socket.socket(socket.AF_INET6)
        listener.bind(("fe80::5", 4505, 0, socket.if_nametoindex("eth1")))
        listener.listen()
        client = socket.create_connection(("fe80::5%eth1", 4505), timeout=3)
    assert hold(network, here) is True
    assert status(network, here)["held_as_wanted"] and status(network, there)["held_as_wanted"]
    with network.inside("salt1"), Holder([here]) as holder:
        assert holder.connections() == []
        (result,) = holder.release()
    assert result["interfaces"] == ["eth0"] and not result["connections_reset"]
    assert network.address("salt1", "fe80::5", "eth1")
    with network.inside("salt1"), Holder([there]) as holder:
        # Both ends of it are on this node.
        assert len(holder.connections()) == 2
        assert holder.release()[0]["interfaces"] == ["eth1"]
    listener.close()
    client.close()


def test_a_link_local_address_is_taken_and_answers(network):
    one = FloatingAddress("fe80::5/64", "eth0")
    assert hold(network, one) is True
    assert network.ping("client", "fe80::5%eth0")
    with network.inside("client"):
        assert floating.status(one)["held"] is False
        with pytest.raises(Refused, match=network.mac("salt1")), Holder([one]) as holder:
            holder.take()
