"""The keeper as a process in real networks: interfaces that are set down and up, addresses that go."""

import os
import socket
import time

import pytest
import segment
from segment import eventually

from failback.handover import phases
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress
from failback.pair import Member
from failback.state import last_heard
from failback.state import ledger

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
BOTH = [GATEWAY, GATEWAY6]

PROGRAM = """
import sys
from failback.host.paths import Paths
from failback.pair import Member
from failback.watch import heard
from failback.watch import keeper
heard.ASK_EVERY, heard.NOTE_EVERY = 0.5, 1.0
sys.exit(keeper.main(Member.load("salt", Paths(sys.argv[1])), foreground=True))
"""


class Node:
    """salt1, which serves in generation 4, and its keeper; a watch is wanted on the secondary alone."""

    def __init__(self, network, folder):
        self.network, self.folder = network, folder
        self.member = Member("salt", Paths(folder))
        self.output = folder / "output"
        (folder / "program.py").write_text(PROGRAM)
        self.process = None
        files.write_json(self.member.paths.pair_config("salt"), self.configuration())
        self.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))

    def configuration(self, **changes):
        watch = {"on": "secondary", "cron": "gateway-ip"}
        return {
            "version": 1,
            "name": "salt",
            "node": "salt1",
            "primary": {"id": "salt1", "host": "10.99.0.11"},
            "secondary": {"id": "salt2", "host": "10.99.0.12"},
            "floating_ips": [
                {
                    "name": one.name,
                    "address": one.address,
                    "interface": one.interface,
                    "label": one.label,
                    "watch": watch,
                }
                for one in BOTH
            ],
            "watch": {"interval": 0.5, "patience": 2.0, "reachable": []},
            **changes,
        }

    def start(self):
        with open(self.output, "ab") as output:
            program = self.folder / "program.py"
            self.process = self.network.python("salt1", program, str(self.folder), stdout=output)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def says(self):
        return self.output.read_text()

    def has(self, *addresses):
        return all(self.network.address("salt1", one.ip) for one in addresses)

    def knows(self):
        """What the keeper has seen this node have."""
        found = files.read_json(self.member.volatile / "kept.json", "what it had") or {}
        return found.get("generation"), set(found.get("addresses", ()))


@pytest.fixture
def network():
    with segment.Segment("salt1", "salt2", "client") as made:
        with made.inside("salt1"), Holder(BOTH) as holder:
            holder.take(check=False)
        yield made


@pytest.fixture
def node(network, tmp_path):
    made = Node(network, tmp_path)
    made.start()
    eventually(lambda: made.knows() == (4, {one.ip for one in BOTH}), 10, "the keeper has seen what it has")
    yield made
    made.stop()


def down_and_up(network):
    network.ip("salt1", "link", "set", "eth0", "down")
    network.ip("salt1", "link", "set", "eth0", "up")


def test_an_address_that_the_kernel_dropped_is_put_back_and_reached_in_the_same_generation(network, node):
    before = node.member.ledger.read()
    down_and_up(network)
    eventually(lambda: node.has(*BOTH), 5, "the IPv6 address is back")
    eventually(lambda: network.ping("client", GATEWAY6.ip), 5, "a client reaches it")
    assert node.member.ledger.read() == before
    eventually(lambda: "salt1 has put salt-gw6 back" in node.says(), 5, "it says so")
    network.ip("salt1", "addr", "del", GATEWAY.address, "dev", "eth0")
    eventually(lambda: node.has(*BOTH), 5, "the IPv4 address is back")
    assert network.address("salt1", GATEWAY.ip)["label"] == "eth0:0"
    assert network.ping("client", GATEWAY.ip)


def talk(network, host, until, limit):
    """A host acknowledges what salt1 sends to it, until that is so or the time is over; which of them."""
    with network.inside("salt1"):
        listening = socket.create_server((GATEWAY.ip, 4505))
    with network.inside(host):
        client = socket.create_connection((GATEWAY.ip, 4505), timeout=5)
    server, _ = listening.accept()
    end = time.monotonic() + limit
    with listening, client, server:
        while time.monotonic() < end:
            server.sendall(b"x")
            client.recv(1)
            if until():
                return True
            time.sleep(0.02)
    return False


def test_who_hears_the_active_node_is_noted_and_the_other_node_does_not_count(network, node):
    assert not talk(network, "salt2", lambda: last_heard.read(node.member), 4)
    assert talk(network, "client", lambda: last_heard.read(node.member), 20)
    first = last_heard.read(node.member)
    assert first["generation"] == 4 and abs(first["at"] - time.time()) < 5
    assert talk(network, "client", lambda: last_heard.read(node.member)["at"] > first["at"] + 1, 20)


def test_an_address_that_another_host_answers_for_stays_there(network, node):
    network.ip("salt1", "link", "set", "eth0", "down")
    with network.inside("salt2"), Holder(BOTH) as holder:
        holder.take(check=False)
    network.ip("salt1", "link", "set", "eth0", "up")
    mac = network.mac("salt2")
    eventually(lambda: f"is answered by {mac}" in node.says(), 5, "it says who has it")
    assert not node.has(GATEWAY6)
    with network.inside("salt2"), Holder([GATEWAY6]) as holder:
        holder.release()
    eventually(lambda: node.has(GATEWAY6), 10, "nobody has it any more")


def pause(node):
    node.member.pause.set(60, "work on the switch")


def give(node):
    state = {"run": "a run", "phase": phases.RELEASED, "deadline": system.boottime() + 60}
    phases.write_state(node.member, **state)


@pytest.mark.parametrize(
    "against, said",
    [(pause, "is paused (work on the switch)"), (give, "a handover is under way (run a run)")],
)
def test_what_speaks_against_it_is_said_and_respected_as_long_as_it_lasts(network, node, against, said):
    against(node)
    down_and_up(network)
    eventually(lambda: said in node.says(), 5, "it says why")
    assert not node.has(GATEWAY6)
    if against is pause:
        node.member.pause.clear()
    else:
        phases.write_state(node.member, phase=phases.DONE)
    eventually(lambda: node.has(GATEWAY6), 10, "nothing speaks against it any more")


def test_what_it_never_had_in_its_generation_is_not_taken(network, node):
    """A node that died between its ledger and the address may find the other one dead much later."""
    node.stop()
    with network.inside("salt1"), Holder(BOTH) as holder:
        holder.release()
    node.member.ledger.write(ledger.Entry(6, "salt1", None, "a test"))
    node.start()
    eventually(lambda: node.knows() == (6, set()), 10, "it has looked")
    down_and_up(network)
    assert not any(node.has(one) for one in BOTH) and node.says() == ""


def test_it_remembers_over_a_restart_and_runs_once(network, node):
    """It does not know how long the address was away, so somebody may have served since."""
    node.stop()
    network.ip("salt1", "addr", "del", GATEWAY6.address, "dev", "eth0")
    node.start()
    # Nobody answers over SSH here, and that is no reason to serve nobody.
    eventually(lambda: node.has(GATEWAY6), 10, "it is put back")
    again = network.python("salt1", node.folder / "program.py", str(node.folder))
    assert again.communicate(timeout=20)[0] == "" and again.returncode == 0
    before, begun = used(node.process.pid), time.monotonic()
    eventually(lambda: time.monotonic() - begun > 1, 5, "a second has passed")
    # A loop that spins would take all of it.
    assert used(node.process.pid) - before < 0.1


def used(pid):
    """Seconds of a processor that a process has had."""
    with open(f"/proc/{pid}/stat") as text:
        fields = text.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
