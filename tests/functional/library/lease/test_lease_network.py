"""The lease with a real etcd and a real kernel: a guard that stops, and a node that takes over."""

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import time

import pytest
import segment
from segment import eventually

from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host.paths import Paths
from failback.lease import etcd
from failback.lease import right
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress
from failback.pair import Member
from failback.state import ledger
from lab import environments

pytestmark = pytest.mark.needs("network")

GATEWAY = FloatingAddress("10.99.0.5/24", "eth0", "eth0:0", "salt-gw")
GATEWAY6 = FloatingAddress("fd99::5/64", "eth0", None, "salt-gw6")
BOTH = [GATEWAY, GATEWAY6]
#: Seconds; the pillar's least is 6, and nobody else is to be waited for here.
TTL = 4.0

# Services and SSH are other tests' subject: there are none, and the other node promises what a file says.
PROGRAM = """
import json, pathlib, sys
from failback.guard import loop
from failback.host import services, system
from failback.host.paths import Paths
from failback.network import address_holder
from failback.pair import Member
from failback.peer import ssh
from failback.errors import Unavailable

def ask(member, *words, timeout=15):
    place = pathlib.Path(sys.argv[1], "promised")
    if words[0] != "promise" or not place.exists():
        raise Unavailable("the other node is not heard")
    return place.read_text()

ssh.ask = ask
services.states = lambda entries: {one["name"]: "inactive" for one in entries}
address_holder.announce_later = lambda member: True
system.log = lambda sentence, priority=None: print(sentence, flush=True)
loop.main(Member.load("salt", Paths(sys.argv[1])))
"""


class Cluster:
    """One member of etcd, in the network of the host ``client``."""

    def __init__(self, network, folder):
        self._network, self._folder, self._process = network, folder, None
        self.url = "http://10.99.0.13:2379"

    def start(self):
        command = [environments.etcd(), "--data-dir", str(self._folder / "etcd"), "--log-level", "error"]
        for option, port in (("client", 2379), ("peer", 2380)):
            url = f"http://10.99.0.13:{port}"
            advertise = "--advertise-client-urls" if option == "client" else "--initial-advertise-peer-urls"
            command += [f"--listen-{option}-urls", url, advertise, url]
        command += ["--initial-cluster", "default=http://10.99.0.13:2380"]
        with open(self._folder / "etcd.log", "ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._network.name("client"), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._healthy, 20, "etcd to answer")

    def _healthy(self):
        with self._network.inside("client"), contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("10.99.0.13", 2379, timeout=1)
            with contextlib.closing(connection):
                connection.request("GET", "/health")
                return json.loads(connection.getresponse().read())["health"] == "true"
        return False

    def stop(self):
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Node:
    """A node of the pair, its files and its guard."""

    def __init__(self, network, folder, name, url):
        self.network, self.name, self.folder = network, name, folder / name
        self.paths = Paths(self.folder)
        entries = [
            {
                "name": one.name,
                "address": one.address,
                "interface": one.interface,
                "label": one.label,
                "watch": {"on": "secondary", "cron": "gateway-ip"},
            }
            for one in BOTH
        ]
        config = {
            "version": 1,
            "name": "salt",
            "node": name,
            "primary": {"id": "salt1", "host": "salt1"},
            "secondary": {"id": "salt2", "host": "salt2"},
            "floating_ips": entries,
            "active_services": [],
            "watch": {"patience": 1.0},
            "lease": {
                "endpoints": [url], "tls": None, "ttl": TTL, "watchdog": False, "prefix": "/failback/"
            },
        }  # fmt: skip
        files.write_json(self.paths.pair_config("salt"), config)
        self.member = Member.load("salt", self.paths)
        self.program = self.folder / "program.py"
        self.program.write_text(PROGRAM)
        self.process = None

    def serve(self, generation=4):
        """Active by its ledger, with the addresses, as a takeover would do it."""
        with self.network.inside(self.name):
            right.obtain(self.member, generation, create=True)
            self.member.ledger.write(ledger.Entry(generation, self.name, None, "a test"))
            with Holder(BOTH) as holder:
                right.take(self.member, holder, BOTH)

    def stands_by(self, active, generation=4):
        self.member.ledger.write(ledger.Entry(generation, active, None, "a test"))

    def start(self):
        with open(self.folder / "output", "ab") as output:
            self.process = self.network.python(self.name, self.program, str(self.folder), stdout=output)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def signal(self, number):
        # What was started is ``ip netns exec``, which becomes the program.
        os.kill(self.process.pid, number)

    def says(self):
        return (self.folder / "output").read_text()

    def life(self):
        """Seconds that the kernel keeps each address; a list."""
        found = [self.network.address(self.name, one.ip) for one in BOTH]
        return [one["valid_life_time"] for one in found if one]

    def promises(self, seconds):
        place = self.folder / "promised"
        if seconds:
            place.write_text(json.dumps({"promised": seconds}))
        else:
            place.unlink()


@pytest.fixture
def network():
    with segment.Segment("salt1", "salt2", "client") as made:
        yield made


@pytest.fixture
def cluster(network, tmp_path):
    try:
        environments.etcd()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"this machine: no etcd: {error}")
    made = Cluster(network, tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def nodes(network, cluster, tmp_path):
    made = [Node(network, tmp_path, name, cluster.url) for name in ("salt1", "salt2")]
    yield made
    for one in made:
        one.stop()


def test_the_client_writes_only_over_the_write_that_it_has_seen(network, cluster):
    with network.inside("salt1"):
        client = etcd.Client(["http://10.99.0.12:2379", cluster.url])
        assert client.read("/x", 3) == (0, None)
        done, first = client.replace("/x", 0, {"holder": "salt1"}, 3)
        assert done
        assert client.replace("/x", 0, {"holder": "salt2"}, 3) == (False, (first, {"holder": "salt1"}))
        done, second = client.replace("/x", first, {"holder": "salt2"}, 3)
        assert done
        assert client.read("/x", 3) == (second, {"holder": "salt2"})
        cluster.stop()
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="etcd does not answer"):
            client.read("/x", 1)
        assert time.monotonic() - begun < 1.5


def test_an_address_of_a_guard_that_stands_still_goes_by_itself(nodes):
    salt1, salt2 = nodes
    salt1.serve()
    assert salt1.life() == [2, 2]
    salt1.start()
    salt2.stands_by("salt1")
    salt2.start()
    # Longer than a right lasts: it is renewed.
    eventually(lambda: "serves salt by the lease" in salt1.says(), 5, "the guard to serve")
    end = time.monotonic() + TTL + 1
    while time.monotonic() < end:
        one, other = salt1.life()
        # Read one after the other: the second counts down in between.
        assert {one, other} <= {1, 2, 3} and abs(one - other) <= 1, salt1.says()
        time.sleep(0.05)

    salt1.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    with salt2.network.inside("salt2"), pytest.raises(Refused, match="salt1 has the lease of salt"):
        right.obtain(salt2.member, 5)
    eventually(lambda: not salt1.life(), TTL + 1, "the kernel to delete the addresses")
    gone = time.monotonic() - stopped
    with salt2.network.inside("salt2"):
        right.obtain(salt2.member, 5, wait=TTL + 1)
    taken = time.monotonic() - stopped
    print(f"stopped at 0 s, gone at {gone:.1f} s, the other node's at {taken:.1f} s")
    assert gone < taken < TTL + 2

    # It goes on when it is the other one's turn: nothing comes back, and it steps down.
    salt1.signal(signal.SIGCONT)
    eventually(lambda: "stepped down to salt2" in salt1.says(), 5, "salt1 to step down")
    assert salt1.life() == []
    own = salt1.member.ledger.read()
    assert (own["generation"], own["active"], own["boot_id"]) == (5, "salt2", "")


def test_a_node_does_not_step_down_to_a_claim_and_serves_again_when_it_is_given_back(nodes):
    salt1, salt2 = nodes
    salt1.serve()
    salt1.start()
    eventually(lambda: "serves salt by the lease" in salt1.says(), 5, "the guard to serve")
    salt1.signal(signal.SIGSTOP)
    with salt2.network.inside("salt2"):
        right.obtain(salt2.member, 5, wait=2 * TTL, claims=True)
        salt1.signal(signal.SIGCONT)
        eventually(lambda: "its right to serve has run out" in salt1.says(), 3, "salt1 to release")
        found = right.look(salt2.member).key
        assert (found.holder, found.generation, found.claims) == ("salt2", 4, 5)
        right.give_back(salt2.member)
    # It stood still, and lets the other one go first.
    eventually(lambda: len(salt1.life()) == 2, 3 * TTL, "salt1 to serve again")
    assert "stepped down" not in salt1.says()
    assert salt1.member.ledger.read()["generation"] == 4
    # And one that takes its addresses is what the key says.
    salt1.signal(signal.SIGSTOP)
    eventually(lambda: not salt1.life(), TTL + 1, "the kernel to delete the addresses")
    with salt2.network.inside("salt2"):
        right.obtain(salt2.member, 5, wait=2 * TTL, claims=True)
        with Holder(BOTH) as holder:
            right.take(salt2.member, holder, BOTH)
        found = right.look(salt2.member).key
        assert (found.holder, found.generation, found.claims) == ("salt2", 5, None)
    salt1.signal(signal.SIGCONT)
    eventually(lambda: "stepped down to salt2" in salt1.says(), 5, "salt1 to step down")


def test_a_node_serves_on_while_the_other_one_promises_and_again_when_etcd_is_back(nodes, cluster):
    salt1, salt2 = nodes
    salt1.serve()
    salt1.promises(TTL)
    salt1.start()
    salt2.stands_by("salt1")
    eventually(lambda: "serves salt by the lease" in salt1.says(), 5, "the guard to serve")
    cluster.stop()
    eventually(lambda: "by the other node's promise" in salt1.says(), 5, "the promise")
    end = time.monotonic() + TTL + 1
    while time.monotonic() < end:
        assert len(salt1.life()) == 2, salt1.says()
        time.sleep(0.05)
    # Nobody takes over without etcd.
    with salt2.network.inside("salt2"), pytest.raises(Unavailable, match="etcd does not answer"):
        right.obtain(salt2.member, 5)

    salt1.promises(None)
    eventually(lambda: not salt1.life(), TTL + 1, "salt1 to release what nothing allows any more")
    eventually(lambda: "its right to serve has run out" in salt1.says(), 2, "salt1 to say so")
    cluster.start()
    eventually(lambda: len(salt1.life()) == 2, 5, "salt1 to serve again")
    eventually(lambda: "serves salt again" in salt1.says(), 5, "salt1 to say so")


def test_a_limit_does_not_bring_back_what_has_gone(network):
    with network.inside("salt1"), Holder(BOTH) as holder:
        assert holder.limit(5) == []
        assert network.address("salt1", GATEWAY.ip) is None
        holder.take(check=False, lifetime=60)
        # Older than the hundredth of a second in which the kernel counts.
        select.select([], [], [], 0.05)
        made = holder._made

        def gone_in_between(floating):
            found = made(floating)
            holder.release([floating], reset=False)
            return found

        holder._made = lambda floating: (setattr(holder, "_made", made), gone_in_between(floating))[1]
        assert holder.limit(30) == [GATEWAY6.address]
        assert network.address("salt1", GATEWAY.ip) is None
        assert network.address("salt1", GATEWAY6.ip)["valid_life_time"] in (29, 30)
        assert holder.limit(None) == [GATEWAY6.address]
        assert network.address("salt1", GATEWAY6.ip)["valid_life_time"] == 0xFFFFFFFF


def test_the_nodes_own_address_stays_when_the_first_one_of_its_subnet_goes_by_itself(network):
    # Added after the floating one, it would go with it.
    network.ip("salt1", "addr", "del", "10.99.0.11/24", "dev", "eth0")
    with network.inside("salt1"), Holder([GATEWAY]) as holder:
        holder.take(check=False)
        network.ip("salt1", "addr", "add", "10.99.0.11/24", "dev", "eth0")
        assert network.address("salt1", "10.99.0.11")["secondary"]
        assert holder.limit(1) == [GATEWAY.address]
        eventually(lambda: network.address("salt1", GATEWAY.ip) is None, 4, "the kernel to delete it")
        assert network.address("salt1", "10.99.0.11")
