"""Holding an address in real networks: what other hosts see of it, and what the kernel says."""

import contextlib
import errno
import json
import pathlib
import select
import socket
import time

import pytest
import segment
from segment import eventually

from failback.errors import Refused
from failback.errors import Unavailable
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.network import netlink
from failback.network import reachable
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress
from failback.network.neighbours import Prober

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
BOTH = [GATEWAY, GATEWAY6]
EACH = pytest.mark.parametrize("floating", BOTH, ids=["IPv4", "IPv6"])


@pytest.fixture
def network():
    with segment.Segment("salt1", "salt2", "client") as made:
        yield made


def hold(network, host, *floatings, **how):
    with network.inside(host), Holder(floatings) as holder:
        return holder.take(**how)


def release(network, host, *floatings, **how):
    with network.inside(host), Holder(floatings) as holder:
        return holder.release(**how)


def test_an_ipv4_address_is_added_as_ip_would_and_bears_its_label(network):
    (result,) = hold(network, "salt1", GATEWAY)
    shown = network.address("salt1", "10.99.0.5")
    assert shown["label"] == "eth0:0"
    assert shown["prefixlen"] == 24
    assert shown["broadcast"] == "10.99.0.255"
    assert shown["valid_life_time"] == 0xFFFFFFFF
    assert (result["taken"], result["announced"], result["name"]) == (True, True, "salt-gw")
    assert abs(result["monotonic_ns"] - time.monotonic_ns()) < 60e9
    assert network.ping("client", "10.99.0.5")


def test_the_route_of_a_network_of_its_own_comes_with_the_address(network):
    hold(network, "salt1", FloatingAddress("192.0.2.9/28", "eth0"))
    routes = json.loads(network.ip("salt1", "-j", "route", "show", "192.0.2.0/28"))
    assert [(one["dev"], one["prefsrc"]) for one in routes] == [("eth0", "192.0.2.9")]


def test_an_ipv6_address_answers_at_once(network):
    hold(network, "salt1", GATEWAY6)
    shown = network.address("salt1", "fd99::5")
    assert shown["prefixlen"] == 64
    assert not shown.get("tentative")
    assert network.ping("client", "fd99::5")


@EACH
def test_a_released_address_is_gone_for_everybody(network, floating):
    hold(network, "salt1", floating)
    (result,) = release(network, "salt1", floating)
    assert (result["released"], result["interfaces"]) == (True, ["eth0"])
    assert network.address("salt1", floating.ip) is None
    assert not network.ping("client", floating.ip)
    assert network.ping("client", "10.99.0.11")


def test_taking_and_releasing_again_change_nothing(network):
    hold(network, "salt1", *BOTH)
    before = network.addresses("salt1")
    assert [one["taken"] for one in hold(network, "salt1", *BOTH)] == [False, False]
    assert network.addresses("salt1") == before
    assert [one["released"] for one in release(network, "salt1", *BOTH)] == [True, True]
    assert [one["released"] for one in release(network, "salt1", *BOTH)] == [False, False]


@EACH
def test_what_another_host_holds_is_refused_and_nothing_at_all_is_taken(network, floating):
    hold(network, "salt1", floating)
    before = network.addresses("salt2")
    with pytest.raises(Refused, match=network.mac("salt1")):
        hold(network, "salt2", *BOTH)
    assert network.addresses("salt2") == before
    refused = pytest.raises(Refused, match=floating.name)
    with network.inside("salt2"), Holder(BOTH) as holder, refused:
        holder.check()


def test_without_the_check_the_address_is_taken_from_a_holder_that_does_not_let_go(network):
    hold(network, "salt1", GATEWAY)
    hold(network, "salt2", GATEWAY, check=False)
    assert network.address("salt2", "10.99.0.5")


@EACH
def test_a_third_host_follows_the_address_to_its_new_holder_at_once(network, floating):
    hold(network, "salt1", floating)
    assert network.ping("client", floating.ip)
    assert network.neighbour("client", floating.ip) == network.mac("salt1")
    release(network, "salt1", floating)
    hold(network, "salt2", floating, check=False)
    # Its table is right before it has sent anything: that is the announcement's doing.
    eventually(lambda: network.neighbour("client", floating.ip) == network.mac("salt2"), 1, "table moved")
    assert network.ping("client", floating.ip)


def test_both_forms_of_gratuitous_arp_are_sent(network):
    with network.inside("client"):
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806))
    with contextlib.closing(listener):
        listener.settimeout(2)
        hold(network, "salt1", GATEWAY, check=False)
        packets = [listener.recv(100)[:28] for _ in range(2)]
    mac, ip = bytes.fromhex(network.mac("salt1").replace(":", "")), GATEWAY.packed
    assert packets[0] == bytes.fromhex("0001080006040001") + mac + ip + bytes(6) + ip
    assert packets[1] == bytes.fromhex("0001080006040002") + mac + ip + b"\xff" * 6 + ip


@EACH
def test_who_answers_is_told_by_hardware_address_and_quickly(network, floating):
    hold(network, "salt1", floating)
    with network.inside("client"):
        begin = time.monotonic()
        assert neighbours.probe(floating, timeout=5) == [network.mac("salt1")]
        assert time.monotonic() - begin < 1


@EACH
def test_nobody_answers_and_the_time_is_kept(network, floating):
    with network.inside("client"):
        begin = time.monotonic()
        assert neighbours.probe(floating, timeout=0.3) == []
        assert 0.3 <= time.monotonic() - begin < 0.6


@EACH
def test_the_node_itself_is_no_answer(network, floating):
    hold(network, "salt1", floating)
    with network.inside("salt1"):
        assert neighbours.probe(floating, timeout=0.2) == []


def test_two_holders_are_both_seen(network):
    for host in ("salt1", "salt2"):
        hold(network, host, GATEWAY, check=False)
    with network.inside("client"):
        found = neighbours.probe(GATEWAY, timeout=1, count=2)
    assert sorted(found) == sorted([network.mac("salt1"), network.mac("salt2")])


def test_a_probe_leaves_no_trace_in_the_tables_of_others(network):
    hold(network, "salt1", GATEWAY)
    network.ip("salt1", "neigh", "flush", "all")
    with network.inside("client"):
        neighbours.probe(GATEWAY)
    assert network.mac("client") not in network.ip("salt1", "-4", "neigh", "show")


def test_ipv6_is_probed_before_the_interface_has_a_link_local_address(network):
    hold(network, "salt1", GATEWAY6)
    for one in network.addresses("client"):
        if one["scope"] == "link":
            network.ip("client", "addr", "del", f"{one['local']}/64", "dev", "eth0")
    with network.inside("client"):
        assert neighbours.probe(GATEWAY6, timeout=1) == [network.mac("salt1")]


def test_the_long_way_to_send_that_infiniband_needs_reaches_the_segment(network):
    hold(network, "salt1", GATEWAY)
    with network.inside("client"), netlink.Netlink() as kernel:
        links = kernel.links()
        link = links["eth0"]
        with Prober([GATEWAY], links, kernel.addresses()) as prober:
            packet = neighbours._arp(link, 1, bytes(4), bytes(6), GATEWAY.packed)
            (opened,) = prober.sockets()
            neighbours._send_long(opened, link, packet, link.broadcast, 0x0806)
            assert select.select([opened], [], [], 1)[0]
            assert prober.read() == [("10.99.0.5", network.mac("salt1"), True)]


@pytest.mark.parametrize("wanted", [GATEWAY, GATEWAY6], ids=["IPv4", "IPv6"])
def test_a_host_that_is_merely_heard_does_not_answer(network, wanted):
    """It announces itself, or asks for somebody else; whether it hears this node is not known by that."""
    hold(network, "salt1", GATEWAY, GATEWAY6)
    with network.inside("client"), netlink.Netlink() as kernel:
        prober = Prober([wanted], kernel.links(), kernel.addresses())
    with network.inside("salt1"), netlink.Netlink() as kernel:
        loud = Prober([wanted], kernel.links(), kernel.addresses())
    with prober, loud:
        loud.announce(wanted)
        assert select.select(prober.sockets(), [], [], 2)[0]
        heard = prober.read()
        assert {one[:2] for one in heard} == {(wanted.ip, network.mac("salt1"))}
        assert not any(answers_us for _, _, answers_us in heard)
        with network.inside("client"):
            prober.ask([wanted])
        assert select.select(prober.sockets(), [], [], 2)[0]
        assert (wanted.ip, network.mac("salt1"), True) in prober.read()
    # The client goes on hearing salt1, which does not hear it: no answer.
    with network.inside("client"):
        assert neighbours.probe_all([wanted], 0.5, unasked=False)[wanted.address]


def test_a_missing_interface_is_named_with_those_that_exist(network):
    wrong = FloatingAddress("10.99.0.5/24", "ib7")
    with network.inside("salt1"):
        with Holder([wrong]) as holder:
            with pytest.raises(Unavailable, match="ib7, which .* does not have; it has eth0, lo"):
                holder.take()
            # What is not there is not held: a release must not fail for it.
            assert [one["released"] for one in holder.release()] == [False]
        with pytest.raises(Unavailable, match="ib7"):
            neighbours.probe(wrong)
        assert floating.status(wrong)["interface_exists"] is False


def test_one_unusable_interface_and_none_is_taken(network):
    with pytest.raises(Unavailable):
        hold(network, "salt1", GATEWAY, FloatingAddress("10.98.0.5/24", "ib7"), check=False)
    assert network.address("salt1", "10.99.0.5") is None


def test_what_the_kernel_refuses_takes_back_what_went_before(network):
    with network.inside("salt1"):
        segment.setting("net/ipv6/conf/eth0/disable_ipv6", 1)
    with pytest.raises(Unavailable, match="fd99::5/64"):
        hold(network, "salt1", *BOTH, check=False)
    assert network.address("salt1", "10.99.0.5") is None


def test_without_a_carrier_silence_proves_nothing(network):
    network.unplug("salt1")
    with network.inside("salt1"):
        eventually(lambda: not floating.status(GATEWAY)["carrier"], 2, "the carrier is gone")
        with pytest.raises(Unavailable, match="no carrier"):
            neighbours.probe(GATEWAY)
        with pytest.raises(Unavailable, match="no carrier"), Holder([GATEWAY]) as holder:
            holder.take()
    network.ip("salt1", "link", "set", "eth0", "down")
    with pytest.raises(Unavailable, match="ip link set eth0 up"):
        hold(network, "salt1", GATEWAY, check=False)


def test_a_holder_opened_before_the_interface_came_up_still_works(network):
    network.ip("salt1", "link", "set", "eth0", "down")
    hold(network, "salt2", GATEWAY)
    with network.inside("salt1"), Holder([GATEWAY]) as holder:
        network.ip("salt1", "link", "set", "eth0", "up")
        eventually(lambda: holder.status()[0]["carrier"], 2, "the carrier is back")
        with pytest.raises(Refused, match=network.mac("salt2")):
            holder.take()


def test_an_address_on_another_interface_or_with_another_prefix_is_not_held_twice(network):
    network.ip("salt1", "addr", "add", "10.99.0.5/32", "dev", "lo")
    with pytest.raises(Refused, match="ip address del 10.99.0.5/32 dev lo"):
        hold(network, "salt1", GATEWAY)
    assert network.address("salt1", "10.99.0.5") is None
    with network.inside("salt1"):
        found = floating.status(GATEWAY)
    assert (found["held"], found["held_on"], found["prefix"]) == (True, ["lo"], 32)
    # The kernel answers for it from there as well: a release means the whole node.
    assert release(network, "salt1", GATEWAY)[0]["interfaces"] == ["lo"]
    with network.inside("salt1"):
        assert not floating.status(GATEWAY)["held"]


def test_status_tells_the_live_facts(network):
    hold(network, "salt1", *BOTH)
    with network.inside("salt1"):
        found = floating.statuses(BOTH)
        other = floating.status(FloatingAddress("10.99.0.5/24", "eth0"))
    for one in found:
        assert one["held"] and one["held_as_wanted"] and one["held_on"] == ["eth0"]
        assert one["interface_exists"] and one["interface_up"] and one["carrier"]
        assert one["mac"] == network.mac("salt1")
        assert not one["tentative"] and not one["dad_failed"]
    assert found[0]["found_label"] == "eth0:0"
    assert other["held"] and not other["held_as_wanted"]  # the label differs


def test_the_nodes_own_address_survives_the_release_of_the_subnets_first_one(network):
    own = network.address("salt1", "10.99.0.11")
    network.ip("salt1", "addr", "del", "10.99.0.11/24", "dev", "eth0")
    hold(network, "salt1", GATEWAY)
    network.ip("salt1", "addr", "add", "10.99.0.11/24", "dev", "eth0")
    assert network.address("salt1", "10.99.0.11")["secondary"]
    setting = pathlib.Path("/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
    with network.inside("salt1"):
        setting.write_text("0")
    release(network, "salt1", GATEWAY)
    assert network.address("salt1", "10.99.0.5") is None
    assert network.address("salt1", own["local"])
    with network.inside("salt1"):
        assert setting.read_text().strip() == "0"
    assert network.ping("client", "10.99.0.11")


def test_announcements_later_wait_for_nothing_and_stop_with_the_address(network):
    now = [100.0]
    with network.inside("salt1"), Holder([GATEWAY], clock=lambda: now[0]) as holder:
        holder.take()
        holder.announce_later(times=(1, 3))
        network.ip("client", "neigh", "replace", "10.99.0.5", "lladdr", "02:00:00:00:00:01",
                   "dev", "eth0", "nud", "stale")  # fmt: skip
        assert holder.announce_due() == pytest.approx(1)
        assert network.neighbour("client", "10.99.0.5") == "02:00:00:00:00:01"
        now[0] += 1.5
        assert holder.announce_due() == pytest.approx(1.5)
        eventually(lambda: network.neighbour("client", "10.99.0.5") == network.mac("salt1"), 1, "heard")
        holder.release()
        assert holder.announce() == []
        now[0] += 10
        assert holder.announce_due() is None


def test_announcing_ends_when_the_address_has_gone(network):
    with network.inside("salt1"):
        begin = time.monotonic()
        assert address_holder.announce_repeatedly([GATEWAY], times=(0, 30)) == 0
        assert time.monotonic() - begin < 5
    hold(network, "salt1", GATEWAY)
    with network.inside("salt1"):
        assert address_holder.announce_repeatedly([GATEWAY], times=(0, 0.05)) == 2


@EACH
def test_an_idle_client_of_a_released_address_is_told_so(network, floating):
    hold(network, "salt1", floating)
    # A listener on :: has its IPv4 clients as IPv6 sockets, which must be found as well.
    with network.inside("salt1"):
        listener = socket.create_server(("::", 4505), family=socket.AF_INET6, dualstack_ipv6=True)
    with network.inside("client"):
        client = socket.create_connection((floating.ip, 4505), timeout=3)
        other = socket.create_connection(("10.99.0.11", 4505), timeout=3)
    with contextlib.closing(listener), contextlib.closing(client), contextlib.closing(other):
        (result,) = release(network, "salt1", floating)
        if result["connections_reset"] is None:
            pytest.skip("this kernel has no CONFIG_INET_DIAG_DESTROY")
        assert result["connections_reset"] == 1
        with pytest.raises(OSError) as told:
            client.recv(1)
        assert told.value.errno == errno.ECONNRESET
        # A connection to the node's own address, and the listener, are nobody's business.
        listener.settimeout(3)
        listener.accept()[0].close()
        served, _ = listener.accept()
        with contextlib.closing(served):
            served.send(b"x")
            assert other.recv(1) == b"x"


def test_the_interval_without_a_holder_is_short(network):
    with network.inside("salt1"), Holder(BOTH) as holder:
        holder.take()
        took = []
        for _ in range(20):
            released = holder.release()[-1]["monotonic_ns"]
            took.append(holder.take(check=False)[0]["monotonic_ns"] - released)
    # Sockets are open and nothing is started: three requests to the kernel. 50 ms would be a bug.
    assert sorted(took)[10] < 50e6


LINK_LOCAL = FloatingAddress("fe80::5/64", "eth0")


@pytest.mark.parametrize("floating", [*BOTH, LINK_LOCAL], ids=["IPv4", "IPv6", "link-local"])
def test_an_idle_client_of_a_dead_node_is_told_by_the_one_that_answers_now(network, floating):
    """It would wait for minutes: the dead node has told it nothing."""
    hold(network, "salt1", floating)
    with network.inside("salt1"):
        listener = socket.create_server(("::", 4505), family=socket.AF_INET6, dualstack_ipv6=True)
    place = f"{floating.ip}%eth0" if floating is LINK_LOCAL else floating.ip
    with network.inside("client"):
        client = socket.create_connection((place, 4505), timeout=3)
    with contextlib.closing(listener), contextlib.closing(client):
        with network.inside("salt1"), Holder([floating]) as holder:
            known = holder.connections()
            assert known == [[floating.ip, 4505, client.getsockname()[0].partition("%")[0],
                              client.getsockname()[1]]]  # fmt: skip
            assert holder.connections(limit=0) == [] and holder.connections([]) == []
            # Of what it does not hold it tells nobody.
            network.ip("salt1", "address", "del", floating.address, "dev", "eth0")
            assert holder.tickle(known) == 0
        network.unplug("salt1")
        hold(network, "salt2", floating, check=False)
        with network.inside("salt2"), Holder([floating]) as holder:
            nobody = [["10.99.0.77", 1, "10.99.0.13", 2], [floating.ip, 4505, "203.0.113.1", 9]]
            assert holder.tickle([]) == 0 and holder.tickle(nobody[:1]) == 0
            # One that cannot be reached is no reason to leave out the next one.
            assert holder.tickle([*nobody, *known]) == 1
        with pytest.raises(OSError) as told:
            client.recv(1)
        assert told.value.errno == errno.ECONNRESET


def test_opening_that_fails_leaves_nothing_open(network, monkeypatch):
    closed = []
    close = netlink.Netlink.close
    monkeypatch.setattr(netlink.Netlink, "close", lambda one: (closed.append(one), close(one)))

    def fails(*_):
        raise Unavailable("Packet sockets need root")

    monkeypatch.setattr(neighbours, "Prober", fails)
    with network.inside("salt1"), pytest.raises(Unavailable, match="need root"):
        Holder(BOTH).__enter__()
    # That for requests, that for news of routes, and that for connections.
    assert len(set(closed)) == 3


class Kernel:
    """The kernel, which refuses one kind of request with an error."""

    def __init__(self, monkeypatch, kind, error):
        request = netlink.Netlink.request

        def asked(one, found, flags, body):
            if found == kind:
                raise OSError(error, "the kernel says no")
            return request(one, found, flags, body)

        monkeypatch.setattr(netlink.Netlink, "request", asked)


def test_an_address_that_another_process_adds_in_between_is_held_and_was_not_taken(network, monkeypatch):
    with network.inside("salt1"), Holder([GATEWAY]) as holder:
        Kernel(monkeypatch, netlink.NEW_ADDRESS, errno.EEXIST)
        assert [one["taken"] for one in holder.take()] == [False]


@pytest.mark.parametrize(
    ("wanted", "error", "hint"),
    [
        (GATEWAY, errno.EPERM, "This needs root"),
        (GATEWAY6, errno.EPERM, "This needs root"),
        (GATEWAY6, errno.EACCES, "sysctl net.ipv6.conf.eth0.disable_ipv6"),
        (GATEWAY, errno.EACCES, None),
        (GATEWAY6, errno.ENOBUFS, None),
    ],
)
def test_why_the_kernel_refuses_is_said_with_what_to_do(network, monkeypatch, wanted, error, hint):
    with network.inside("salt1"), Holder(BOTH) as holder:
        holder.take([GATEWAY6 if wanted is GATEWAY else GATEWAY], check=False)
        with monkeypatch.context() as patch:
            Kernel(patch, netlink.NEW_ADDRESS, error)
            with pytest.raises(
                Unavailable, match=f"did not add {wanted.address} to eth0: the kernel"
            ) as said:
                holder.take([wanted], check=False)
        assert hint in str(said.value) if hint else str(said.value).endswith("no.")
        holder.take([wanted], check=False)
        with monkeypatch.context() as patch:
            Kernel(patch, netlink.DELETE_ADDRESS, error)
            with pytest.raises(Unavailable, match=f"did not remove {wanted.address} from eth0: the kernel"):
                holder.release([wanted])


def test_one_address_that_stays_does_not_keep_the_others(network, monkeypatch):
    hold(network, "salt1", *BOTH, check=False)
    delete = Holder._delete_everywhere

    def refuse(holder, one, borne=None):
        if one is GATEWAY:
            raise Unavailable("the kernel did not remove it")
        return delete(holder, one, borne)

    monkeypatch.setattr(Holder, "_delete_everywhere", refuse)
    with pytest.raises(Unavailable, match="did not remove it"):
        release(network, "salt1", *BOTH)
    assert network.address("salt1", GATEWAY.ip) and not network.address("salt1", GATEWAY6.ip)


@pytest.mark.parametrize("error", [errno.EADDRNOTAVAIL, errno.ENODEV])
def test_an_address_that_is_gone_in_the_same_moment_is_released_by_somebody_else(network, monkeypatch, error):
    hold(network, "salt1", GATEWAY)
    Kernel(monkeypatch, netlink.DELETE_ADDRESS, error)
    (result,) = release(network, "salt1", GATEWAY)
    assert (result["released"], result["interfaces"]) == (False, [])


@EACH
def test_a_claim_that_nobody_could_be_told_of_stands(network, monkeypatch, floating):
    def fails(prober, one):
        raise OSError(errno.ENETDOWN, "Network is down")

    monkeypatch.setattr(Prober, "announce", fails)
    (result,) = hold(network, "salt1", floating)
    assert (result["taken"], result["announced"]) == (True, False)
    assert network.address("salt1", floating.ip)


def test_an_address_that_could_not_be_announced_keeps_no_other_from_it(network, monkeypatch):
    second, announce = FloatingAddress("10.99.0.6/24", "eth0"), Prober.announce

    def fails(prober, one):
        if one is GATEWAY:
            raise OSError(errno.ENETDOWN, "Network is down")
        announce(prober, one)

    monkeypatch.setattr(Prober, "announce", fails)
    results = hold(network, "salt1", GATEWAY, second)
    assert [one["announced"] for one in results] == [False, True]


def test_an_interface_that_is_gone_is_named_by_its_number(network):
    with network.inside("salt1"):
        assert address_holder._name_of(1) == "lo" and address_holder._name_of(4711) == "4711"


@EACH
def test_without_a_reset_the_connections_stay(network, floating):
    hold(network, "salt1", floating)
    with network.inside("salt1"):
        listener = socket.create_server(("::", 4505), family=socket.AF_INET6, dualstack_ipv6=True)
    with network.inside("client"):
        client = socket.create_connection((floating.ip, 4505), timeout=3)
    with contextlib.closing(listener), contextlib.closing(client):
        (result,) = release(network, "salt1", floating, reset=False)
        assert (result["released"], result["connections_reset"]) == (True, 0)
        with network.inside("salt1"), Holder([floating]) as holder:
            assert len(holder.connections()) == 1
            # Once somebody answers for it again, there is time for that.
            assert holder.reset_connections() in ({floating.address: 1}, {floating.address: None})


def test_the_kernel_has_it_proved_who_hears_this_node(network):
    with network.inside("salt1"), netlink.Netlink() as kernel:
        links = kernel.links()
        index = links["eth0"].index
        assert kernel.confirmed({index}) == {}
        assert network.ping("salt1", "10.99.0.13")
        (packed,) = kernel.confirmed({index})
        assert packed == bytes([10, 99, 0, 13]) and kernel.confirmed({index})[packed] < netlink.LATELY
        assert kernel.confirmed({index + 1}) == {}
        assert reachable.heard(kernel, links, [GATEWAY]) < netlink.LATELY
        assert reachable.heard(kernel, links, [GATEWAY], {packed}) is None
        assert reachable.heard(kernel, links, [FloatingAddress("10.99.0.13/24", "eth0")]) is None
        assert reachable.heard(kernel, links, [FloatingAddress("10.99.0.5/24", "eth7")]) is None


def test_what_the_kernel_takes_as_its_own_is_known(network):
    with network.inside("salt1"), netlink.Netlink() as kernel:
        index = kernel.links()["eth0"].index
        assert kernel.is_local(FloatingAddress("10.99.0.11/24", "eth0"))
        assert not kernel.is_local(GATEWAY) and not kernel.is_local(FloatingAddress("192.0.2.1/24", "eth0"))
        assert kernel.is_local(FloatingAddress("fd99::11/64", "eth0"), index)


@EACH
def test_an_address_with_a_lifetime_goes_by_itself_unless_it_is_given_another(network, floating):
    hold(network, "salt1", floating, lifetime=60)
    assert 50 < network.address("salt1", floating.ip)["valid_life_time"] <= 60
    with network.inside("salt1"), Holder(BOTH) as holder:
        assert holder.limit(100) == [floating.address]
        assert 90 < network.address("salt1", floating.ip)["valid_life_time"] <= 100
        assert holder.limit(100, []) == []
        assert holder.limit(None) == [floating.address]
    assert network.address("salt1", floating.ip)["valid_life_time"] == 0xFFFFFFFF


def test_an_address_that_goes_while_it_is_given_a_lifetime_is_not_made_anew(network, monkeypatch):
    """The kernel would add it at such a request, and this node may have no right to it any more."""
    hold(network, "salt1", GATEWAY, lifetime=60)
    add = Holder._add

    def late(holder, one, *how):
        network.ip("salt1", "address", "del", GATEWAY.address, "dev", "eth0")
        time.sleep(0.02)  # the kernel counts the moments of addresses in hundredths of a second
        return add(holder, one, *how)

    monkeypatch.setattr(Holder, "_add", late)
    with network.inside("salt1"), Holder([GATEWAY]) as holder:
        assert holder.limit(60) == []
    assert network.address("salt1", GATEWAY.ip) is None
