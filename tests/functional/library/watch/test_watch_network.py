"""The watch as a process in real networks: cut links, lost packets, a holder that dies."""

import contextlib
import ipaddress
import json
import os
import signal
import socket
import time

import pytest
import segment
from segment import eventually

from failback.host import files
from failback.host.paths import Paths
from failback.network import neighbours
from failback.network import netlink
from failback.network import reachable
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress
from failback.pair import Member
from failback.state import ledger

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
BOTH = [GATEWAY, GATEWAY6]

# The take-over of the pair is another part's; this one takes the addresses, with the same check.
PROGRAM = """
import sys
from failback.host.paths import Paths
from failback.network import address_holder, floating
from failback.state import ledger
from failback.watch import loop

def take_over(member, reason, serves, silent):
    with address_holder.Holder(floating.of_pair(member.config)) as holder:
        holder.check(wait=0.1)
        generation = member.ledger.read()["generation"] + 1
        heard = False if "claims" in sys.argv else None
        member.ledger.write(ledger.Entry(generation, member.node, None, reason, heard=heard))
        holder.take(check=False)

def on_conflict(member, macs):
    assert member.node == "salt2"
    return "conflict with " + ", ".join(macs)

sys.exit(loop.main(sys.argv[1], Paths(sys.argv[2]), take_over, on_conflict, "background" not in sys.argv))
"""


class Node:
    """salt2 and its watch, with the files that highstate would have written."""

    def __init__(self, network, folder):
        self.network, self.folder, self.paths = network, folder, Paths(folder)
        self.member = Member("salt", self.paths)
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.process, self.output = None, folder / "output"

    def configure(self, interval=0.1, patience=0.6, reachable="nobody", on="secondary"):
        watched = {"on": on, "cron": "gateway-ip"}
        files.write_json(
            self.paths.pair_config("salt"),
            {
                "version": 1,
                "name": "salt",
                "node": "salt2",
                "primary": {"id": "salt1", "host": "salt1"},
                "secondary": {"id": "salt2", "host": "salt2"},
                "floating_ips": [
                    {
                        "name": one.name,
                        "address": one.address,
                        "interface": one.interface,
                        "label": one.label,
                        "watch": watched,
                    }
                    for one in BOTH
                ],
                "active_services": [],
                "watch": {"interval": interval, "patience": patience, "reachable": reachable},
            },
        )  # fmt: skip

    def admit(self):
        self.member.ledger.write(ledger.Entry(1, "salt1", None, "test"))

    def start(self, *words):
        with open(self.output, "ab") as output:
            self.process = self.network.python(
                "salt2", self.program, "gateway-ip", str(self.folder), *words, stdout=output
            )
        return self.process

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def says(self):
        return self.output.read_text()

    def status(self):
        with contextlib.suppress(FileNotFoundError):
            place = self.paths.watch_status("gateway-ip")
            return json.loads(place.read_text())["pairs"]["salt"]
        return {"sentence": "", "addresses": {}}

    def stands_by(self):
        return "stands by" in self.status()["sentence"]

    def holds(self):
        return self.network.address("salt2", GATEWAY.ip) is not None

    def holds_nothing_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert not self.holds(), self.says()
            time.sleep(0.05)
        assert self.process.poll() is None, self.says()


@pytest.fixture
def network():
    with segment.Segment("salt1", "salt2", "client") as made:
        with made.inside("salt1"), Holder(BOTH) as holder:
            holder.take(check=False)
        yield made


@pytest.fixture
def node(network, tmp_path):
    made = Node(network, tmp_path)
    yield made
    made.stop()


def ready(node, *words, **settings):
    node.configure(**settings)
    node.admit()
    node.start(*words)
    eventually(node.stands_by, 60, "the watch sees the holder")


def lose_holder(network):
    with network.inside("salt1"), Holder(BOTH) as holder:
        holder.release()
    return time.monotonic()


def test_a_dead_holder_is_followed_and_a_third_host_sees_it(network, node):
    ready(node, interval=0.5, patience=2.0)
    assert network.ping("client", GATEWAY.ip)
    network.unplug("salt1")
    begin = time.monotonic()
    eventually(node.holds, 3.5, "taken over")
    assert 1.3 <= time.monotonic() - begin <= 3.0
    with network.inside("client"):
        for one in BOTH:
            eventually(lambda one=one: neighbours.probe(one) == [network.mac("salt2")], 2, "it answers")
    assert network.address("salt2", GATEWAY.ip)["label"] == "eth0:0"
    own = node.member.ledger.read()
    assert (own["generation"], own["active"]) == (2, "salt2")
    eventually(lambda: "held by this node" in node.status()["sentence"], 3, "it says so")


def test_the_fastest_settings_take_less_than_400_ms(network, node):
    ready(node, interval=0.05, patience=0.2)
    begin = lose_holder(network)
    eventually(node.holds, 3, "taken over")
    # The goal is judged by the benchmark; this machine may be busy.
    assert time.monotonic() - begin < 1.5


def test_a_second_of_lost_packets_at_default_settings(network, node):
    ready(node, interval=0.5, patience=2.0)
    network.lose("salt1")
    node.holds_nothing_for(1)
    network.carry("salt1")
    node.holds_nothing_for(2.5)


def test_the_cut_off_node_takes_nothing_and_nothing_when_it_is_back(network, node):
    ready(node)
    network.unplug("salt2")
    eventually(lambda: "no carrier" in node.status()["sentence"], 2, "the cut is noticed")
    node.holds_nothing_for(2)
    network.plug("salt2")
    eventually(node.stands_by, 5, "it sees the holder again")
    node.holds_nothing_for(0.5)


def test_a_deaf_port_is_told_from_a_dead_holder(network, node):
    ready(node, reachable=["10.99.0.13"])
    network.lose("salt2")
    eventually(lambda: "cut off" in node.status()["sentence"], 5, "it doubts itself")
    node.holds_nothing_for(1)
    network.carry("salt2")
    eventually(node.stands_by, 5, "it sees the holder again")
    lose_holder(network)
    eventually(node.holds, 5, "with a client that answers, it takes over")


def test_an_address_of_another_network_is_pinged(network, node):
    ready(node, reachable=["192.0.2.1"])
    lose_holder(network)
    eventually(lambda: "cut off" in node.status()["sentence"], 5, "nothing answers")
    node.holds_nothing_for(1)
    network.ip("client", "addr", "add", "192.0.2.1/32", "dev", "lo")
    network.ip("salt2", "route", "add", "192.0.2.1", "via", "10.99.0.13")
    eventually(node.holds, 5, "192.0.2.1 answers the ping")


def test_a_handover_asks_the_same_addresses(network, node):
    """Before a node takes back what it has given away: near ones by ARP, others by ping."""

    def answers(*wanted):
        node.configure(reachable=list(wanted) or "nobody")
        config = files.read_json(node.paths.pair_config("salt"), "the pair", 1)
        with network.inside("salt2"):
            return reachable.answers(config, timeout=0.3)

    assert answers() is None
    assert answers("10.99.0.13") is True
    assert answers("10.99.0.77") is False
    assert answers("10.99.0.77", "10.99.0.13") is True
    assert answers("192.0.2.1") is False
    network.ip("client", "addr", "add", "192.0.2.1/32", "dev", "lo")
    network.ip("salt2", "route", "add", "192.0.2.1", "via", "10.99.0.13")
    assert answers("192.0.2.1") is True
    network.lose("salt2")
    assert answers("10.99.0.13", "192.0.2.1") is False


def test_the_gateways_of_the_nodes_own_routes_are_asked_as_they_are_now(network, node):
    node.configure(reachable="gateway-or-witness")
    node.admit()
    node.start()
    eventually(lambda: "nobody to ask" in node.status()["sentence"], 10, "it says so at once")
    eventually((node.member.volatile / "seen.json").exists, 5, "it has seen the holder")
    lose_holder(network)
    node.holds_nothing_for(1.5)
    network.ip("salt2", "route", "add", "default", "via", "10.99.0.77")
    eventually(lambda: node.status()["asks"] == ["10.99.0.77"], 15, "the kernel tells of the route")
    eventually(lambda: "none of 10.99.0.77 answers" in node.status()["sentence"], 15, "nobody is there")
    node.holds_nothing_for(0.5)
    network.ip("salt2", "route", "replace", "default", "via", "10.99.0.13")
    eventually(node.holds, 5, "taken over: the router answers")


def test_whatever_form_a_route_has_its_gateways_are_found(network):
    link_local = next(one["local"] for one in network.addresses("client") if one["scope"] == "link")
    network.ip("salt2", "route", "add", "192.0.2.0/25", "nexthop", "via", "10.99.0.21", "dev", "eth0",
               "nexthop", "via", "10.99.0.22", "dev", "eth0")  # fmt: skip
    network.ip("salt2", "route", "add", "192.0.2.128/25", "via", "inet6", "fd99::23", "dev", "eth0")
    network.ip("salt2", "route", "add", "default", "via", "10.99.0.24", "table", "77")
    network.ip("salt2", "-6", "route", "add", "default", "via", link_local, "dev", "eth0")
    network.ip("salt2", "route", "add", "198.51.100.0/24", "dev", "eth0")
    network.ip("salt2", "route", "add", "blackhole", "203.0.113.0/24")
    with network.inside("salt2"), netlink.Netlink() as kernel:
        (index,) = {link.index for link in kernel.links().values() if link.name == "eth0"}
        found = {(str(ipaddress.ip_address(packed)), where) for packed, where in kernel.gateways()}
    wanted = ("10.99.0.21", "10.99.0.22", "fd99::23", "10.99.0.24", link_local)
    assert found == {(one, index) for one in wanted}


# --- after a claim -------------------------------------------------------------------------------


def own(node):
    return node.member.ledger.read()


def test_a_claim_that_the_router_answers_is_heard(network, node):
    ready(node, "claims", reachable=["10.99.0.13"])
    network.unplug("salt1")
    eventually(node.holds, 5, "taken over")
    assert own(node)["heard"] is False
    eventually(lambda: own(node)["heard"], 5, "the client answers")
    eventually(lambda: "held by this node" in node.status()["sentence"], 3, "it says so")


def test_a_claim_that_nobody_hears_is_withdrawn_and_made_again(network, node):
    ready(node, "claims", reachable=["10.99.0.13"])
    network.unplug("salt1")
    eventually(node.holds, 5, "taken over")
    network.lose("salt2")
    eventually(lambda: not node.holds(), 5, "given back")
    eventually(lambda: own(node).get("withdrawn"), 2, "written down")
    assert (own(node)["generation"], own(node)["heard"]) == (2, False)
    assert "nobody has heard salt2" in node.says()
    node.holds_nothing_for(1.5)
    network.carry("salt2")
    eventually(node.holds, 10, "taken again, for salt1 is away and the client answers")
    eventually(lambda: own(node)["heard"], 5, "heard now")
    assert own(node)["generation"] == 3


def test_a_node_that_was_cut_off_and_took_what_another_one_had_meets_it_before_it_is_heard(network, node):
    """Nobody is asked here; when the network heals, all are heard at the same moment."""
    ready(node, "claims")
    network.lose("salt2")
    eventually(node.holds, 5, "taken over: it takes the silence for salt1's")
    network.carry("salt2")
    eventually(lambda: f"conflict with {network.mac('salt1')}" in node.says(), 10, "it meets salt1")
    assert own(node)["heard"] is False


def test_a_client_that_acknowledges_what_this_node_sends_has_heard_it(network, node):
    """By the kernel's word, where the site wants nobody to be asked."""
    ready(node, "claims")
    network.unplug("salt1")
    eventually(node.holds, 5, "taken over")
    with network.inside("salt2"):
        listening = socket.create_server((GATEWAY.ip, 4505))
    with network.inside("client"):
        client = socket.create_connection((GATEWAY.ip, 4505), timeout=5)
    server, _ = listening.accept()
    with listening, client, server:

        def heard():
            server.sendall(b"x")
            client.recv(1)
            return own(node)["heard"]

        eventually(heard, 10, "the client's acknowledgements are enough")


def test_a_hold_is_respected_from_the_moment_it_is_written_and_expires(network, node):
    ready(node)
    node.member.pause.set(3, "recover", "run-1")
    lose_holder(network)
    node.holds_nothing_for(2)
    assert "recover, run run-1" in node.status()["sentence"]
    eventually(node.holds, 6, "the pause has expired")


def test_what_was_never_seen_is_not_taken(network, node):
    lose_holder(network)
    node.configure()
    node.admit()
    node.start()
    eventually(lambda: "never answered" in node.status()["sentence"], 10, "it has looked")
    node.holds_nothing_for(2)


def test_what_was_seen_is_remembered_over_a_restart_of_the_watch(network, node):
    ready(node)
    node.stop()
    lose_holder(network)
    node.start()
    eventually(node.holds, 10, "taken over by the next watch")


@pytest.mark.parametrize("written", [None, "", '{"generation": 3', '{"version": 99}'])
def test_without_a_usable_ledger_nothing_is_taken(network, node, written):
    node.configure()
    if written is not None:
        files.write_atomically(node.member.ledger.path, written)
    node.start()
    eventually(lambda: "takes nothing" in node.status()["sentence"], 10, "it has looked")
    eventually((node.member.volatile / "seen.json").exists, 5, "it has seen the holder")
    lose_holder(network)
    node.holds_nothing_for(1.5)
    # Admitted while it runs: no restart is needed.
    node.member.ledger.path.unlink(missing_ok=True)
    node.admit()
    eventually(node.holds, 5, "taken over")


def test_a_holder_that_returns_is_reported_with_its_hardware_address(network, node):
    ready(node)
    network.unplug("salt1")
    eventually(node.holds, 5, "taken over")
    network.plug("salt1")
    mac = network.mac("salt1")
    eventually(lambda: f"conflict with {mac}" in node.says(), 10, "the conflict is reported")
    # A thread of its own tells of it, so either may be said first.
    eventually(lambda: f"answered by {mac} too" in node.says(), 10, "the sentence about it")


def test_the_second_start_ends_at_once_and_a_new_configuration_starts_it_anew(network, node):
    ready(node)
    first = json.loads(node.paths.watch_status("gateway-ip").read_text())
    second = network.python("salt2", node.program, "gateway-ip", str(node.folder))
    with second:
        assert second.communicate(timeout=20)[0] == ""
    assert second.returncode == 0
    assert first["pid"] == node.process.pid
    node.configure(patience=0.7)

    def anew():
        return "files have changed, restarting" in node.says() and (
            json.loads(node.paths.watch_status("gateway-ip").read_text())["since"] > first["since"]
        )

    eventually(anew, 10, "started anew in the same process")
    eventually(node.stands_by, 5, "and watches")
    lose_holder(network)
    eventually(node.holds, 5, "taken over")


def test_started_by_cron_it_goes_on_in_the_background(network, node):
    node.configure()
    node.admit()
    started = network.python("salt2", node.program, "gateway-ip", str(node.folder), "background")
    with started:
        # Its output is at an end as well: cron waits for that.
        assert started.communicate(timeout=20)[0] == ""
    assert started.returncode == 0
    eventually(node.stands_by, 10, "it watches")
    place = node.paths.watch_status("gateway-ip")
    pid = json.loads(place.read_text())["pid"]
    try:
        assert os.getsid(pid) == pid != started.pid
        lose_holder(network)
        eventually(node.holds, 5, "taken over")
    finally:
        os.kill(pid, signal.SIGKILL)


def test_nobody_watches_where_the_pillar_says_so(network, node):
    node.configure(on="nobody")
    process = node.start()
    assert process.wait(20) == 0


def test_an_interface_that_comes_later_is_watched(network, node):
    network.ip("salt2", "link", "set", "eth0", "name", "eth9", "down")
    node.configure()
    node.admit()
    node.start()
    eventually(lambda: "no carrier" in node.status()["sentence"], 10, "it has looked")
    network.ip("salt2", "link", "set", "eth9", "name", "eth0", "up")
    eventually(node.stands_by, 10, "it sees the holder")


def test_it_costs_next_to_nothing(network, node):
    ready(node, interval=0.5, patience=2.0)

    def used():
        with open(f"/proc/{node.process.pid}/stat") as text:
            fields = text.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(3)
    # 0.2 % of a core was measured; a loop that spins would take all of it.
    assert used() - before < 0.15
