"""Two hosts that are about to take one address in the same moment, in real networks: never both."""

import contextlib
import ipaddress
import socket
import struct
import threading
import time

import pytest
import segment

from failback.errors import Refused
from failback.network import neighbours
from failback.network import netlink
from failback.network.address_holder import CHECK_SECONDS
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
EACH = pytest.mark.parametrize("floating", [GATEWAY, GATEWAY6], ids=["IPv4", "IPv6"])
NODES = ("salt1", "salt2")


@pytest.fixture(scope="module")
def network():
    with segment.Segment(*NODES, "client") as made:
        yield made


def at_once(network, floating, wait, late):
    """Both nodes take an address, the second one so many seconds later. Returns what became of each."""
    begin, became = time.monotonic() + 0.05, {}

    def take(host, moment):
        with network.inside(host), Holder([floating]) as holder:
            time.sleep(max(0.0, moment - time.monotonic()))
            try:
                became[host] = holder.take(wait=wait)[0]["taken"]
            except Refused as error:
                became[host] = str(error)

    threads = [threading.Thread(target=take, args=(host, begin + n * late)) for n, host in enumerate(NODES)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return became


@EACH
def test_of_two_that_take_it_at_once_one_has_it(network, floating):
    # As long as a node waits: in less, a thread of a busy machine may stand still.
    wait = CHECK_SECONDS
    lower = min(NODES, key=network.mac)
    for attempt in range(12):
        # The same moment, and up to the other one's whole time later.
        became = at_once(network, floating, wait, late=attempt * wait / 12)
        took = [host for host in NODES if became[host] is True]
        assert len(took) == 1, (attempt, became)
        (other,) = set(NODES) - set(took)
        assert network.mac(took[0]) in became[other]
        if attempt == 0:
            assert took == [lower] and "about to be taken" in became[other]
        with network.inside(took[0]), Holder([floating]) as holder:
            assert holder.release()[0]["released"]


@contextlib.contextmanager
def probing(network, host, packet, protocol, destination):
    """A host sends a packet every 50 ms."""
    ended = threading.Event()

    def send():
        with network.inside(host), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as opened:
            while not ended.wait(0.05):
                opened.sendto(packet, ("eth0", protocol, 0, 1, destination))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def arp(network, host, sender="0.0.0.0", target="10.99.0.5", there=bytes(6)):
    mac = bytes.fromhex(network.mac(host).replace(":", ""))
    packed = [ipaddress.ip_address(one).packed for one in (sender, target)]
    header = bytes.fromhex("0001080006040001")
    return header + mac + packed[0] + there + packed[1], 0x0806, b"\xff" * 6


def solicitation(source="::", target="fd99::5", hops=255):
    packed = [ipaddress.ip_address(one).packed for one in (source, target)]
    group = ipaddress.ip_address(neighbours.solicited_group(packed[1])).packed
    message = struct.pack(">BBHI", 135, 0, 0, 0) + packed[1]
    message = neighbours._checksummed(message, packed[0], group)
    header = struct.pack(">IHBB", 6 << 28, len(message), 58, hops) + packed[0] + group
    return header + message, 0x86DD, b"\x33\x33" + group[12:]


@EACH
def test_a_third_host_that_goes_on_probing_is_a_conflict(network, floating):
    """It keeps to no order of hardware addresses: nobody of us takes what it is about to take."""
    packet = arp(network, "client") if floating.version == 4 else solicitation()
    with probing(network, "client", *packet):
        for host in NODES:
            refused = pytest.raises(Refused, match=f"{floating.ip} is about to be taken by")
            with network.inside(host), Holder([floating]) as holder, refused as said:
                holder.take()
            assert network.mac("client") in str(said.value)
            assert network.address(host, floating.ip) is None


@pytest.mark.parametrize(
    "what",
    ["a client that looks for it", "a question of the watch", "a probe for another", "IPv6 from afar",
     "an IPv6 client", "an IPv6 probe for another"],
)  # fmt: skip
def test_who_merely_asks_is_no_conflict(network, what):
    packet = {
        "a client that looks for it": lambda: arp(network, "client", sender="10.99.0.13"),
        "a question of the watch": lambda: arp(network, "client", there=neighbours.question(6)),
        "a probe for another": lambda: arp(network, "client", target="10.99.0.6"),
        "IPv6 from afar": lambda: solicitation(hops=254),
        "an IPv6 client": lambda: solicitation(source="fd99::13"),
        # In the same group.
        "an IPv6 probe for another": lambda: solicitation(target="fd99::1:0:5"),
    }[what]()
    floating = GATEWAY6 if "IPv6" in what else GATEWAY
    with probing(network, "client", *packet), network.inside("salt1"), Holder([floating]) as holder:
        assert holder.take()[0]["taken"]
        holder.release()


@EACH
def test_the_watch_of_one_node_does_not_keep_the_other_from_taking(network, floating):
    """The real one's questions, as often as it could ask."""
    ended = threading.Event()

    def watch():
        with network.inside("salt2"), netlink.Netlink() as kernel:
            prober = neighbours.Prober([floating], kernel.links(), kernel.addresses())
            with prober:
                while not ended.wait(0.02):
                    prober.ask([floating])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with network.inside("salt1"), Holder([floating]) as holder:
            assert holder.take()[0]["taken"]
            holder.release()
    finally:
        ended.set()
        thread.join()


def test_a_question_in_test_mode_makes_nobody_step_back(network):
    ended = threading.Event()

    def ask():
        with network.inside("salt2"), Holder([GATEWAY]) as holder, contextlib.suppress(Refused):
            while not ended.is_set():
                holder.check(wait=0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with network.inside("salt1"), Holder([GATEWAY]) as holder:
            assert holder.take()[0]["taken"]
            holder.release()
    finally:
        ended.set()
        thread.join()


def test_a_probe_of_the_kernel_itself_is_heard(network):
    """``ip -6 address add`` without nodad: the kernel asks first, and both would have it in the end."""
    with network.inside("client"):
        segment.setting("net/ipv6/conf/eth0/accept_dad", 1)
        segment.setting("net/ipv6/conf/all/accept_dad", 1)
        segment.setting("net/ipv6/conf/eth0/dad_transmits", 10)

    def take():
        with network.inside("salt1"), Holder([GATEWAY6]) as holder, contextlib.suppress(Refused):
            holder.take(wait=1.0)

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.1)
    network.ip("client", "address", "add", "fd99::5/64", "dev", "eth0")
    thread.join()
    try:
        # Its kernel hears this node's probe as well, and gives the address up.
        assert not network.address("salt1", "fd99::5") or network.address("client", "fd99::5").get(
            "dadfailed"
        )
    finally:
        for host in ("client", "salt1"):
            if network.address(host, "fd99::5"):
                network.ip(host, "address", "del", "fd99::5/64", "dev", "eth0")
