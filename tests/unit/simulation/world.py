"""A pair of nodes, its client and its network: what happens in it, and what the code finds there."""

import argparse
import contextlib
import copy
import functools
import ipaddress
import itertools
import os

import samples

from failback import cli
from failback import report
from failback.decisions import hearing
from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.guard import loop as guard_loop
from failback.host import services
from failback.host.paths import Paths
from failback.network import floating
from failback.network import netlink
from failback.pair import Member
from failback.state import ledger
from failback.watch import keeper
from failback.watch import loop
from simulation import remote
from simulation.cluster import MEMBERS
from simulation.cluster import Cluster
from simulation.disk import Handle
from simulation.engine import Engine
from simulation.engine import Killed
from simulation.hosts import Host
from simulation.hosts import Node
from simulation.judge import Configuration
from simulation.judge import Judge
from simulation.model import Client
from simulation.model import Data
from simulation.model import Lsyncd
from simulation.segment import Segment

NODES = ("salt1", "salt2")
CLIENT, ROUTER = "10.0.0.100", "10.0.0.1"
CRON = "gateway-ip"
#: Seconds between two starts of the watch by cron, and for a node to boot.
CRON_EVERY, BOOT = 60.0, 2.0
#: And between two questions of the router for some host.
ROUTER_ASKS = 0.7
#: And for systemd to start the guard anew (RestartSec= in its unit).
GUARD_AFTER = 0.2


@functools.lru_cache(maxsize=1)
def _paths():
    # Once for all worlds: each node has the same, and its own disk.
    return Paths()


def _shown(words, running):
    """What ``systemctl show`` prints."""
    (wanted,) = [one.partition("=")[2].split(",") for one in words if one.startswith("--property=")]
    blocks = []
    for name in [one for one in words if not one.startswith("--")]:
        facts = {
            "LoadState": "loaded",
            "ActiveState": "active" if name in running else "inactive",
            "SubState": "running" if name in running else "dead",
            "NRestarts": "0",
            "Result": "success",
            "MainPID": "0",
        }
        blocks.append("\n".join(f"{one}={facts[one]}" for one in wanted))
    return "\n\n".join(blocks)


#: Share of lost packets up to which somebody who is asked is heard in time, so that service must come back.
MOST_LOSS = 0.5


class World:
    """
    salt1 serves in generation 5, salt2 stands by, lsyncd carries, a client writes.

    configuration
        A :py:class:`simulation.judge.Configuration`.

    Used within ``seams.inhabited``.
    """

    def __init__(self, configuration=None, **changes):
        self.configuration = configuration or Configuration("plain")
        self.engine = Engine()
        self.engine.on_end = self._ended
        self.segment = Segment(self)
        self.handles, self.connections, self.plans = {}, [], []
        self._descriptors = itertools.count(3)
        #: Numbers of runs.
        self.runs = itertools.count(1)
        #: Everything that programs did, in order, if somebody wants it.
        self.recorder = None
        self.nodes = {
            name: self.segment.add(Node(self, name, number, self._config(name, changes)))
            for number, name in enumerate(NODES, 1)
        }
        #: Each node's half of the pair.
        self.members = {name: self.member(node) for name, node in self.nodes.items()}
        self.others = [
            self.segment.add(Host(one, 100 + number, [ipaddress.ip_address(one).packed]))
            for number, one in enumerate((CLIENT, ROUTER))
        ]
        self.others[1].gateway = ipaddress.ip_address(ROUTER).packed
        members = MEMBERS if self.configuration.ttl else ()
        self.cluster = Cluster([self.segment.add(Host(one, 90 + n)) for n, one in enumerate(members)])
        self.data = {name: Data() for name in NODES}
        #: The addresses of the pair; the client writes to the first.
        self.addresses = floating.of_pair(self.nodes["salt1"].config)
        self.packed = self.addresses[0].packed if self.addresses else None
        self.client = Client(self, self.others[0], self.packed)
        self.lsyncd = Lsyncd(self, self.nodes["salt1"])
        self.judge = Judge(self, self.configuration)

    def _config(self, name, changes):
        chosen = self.configuration
        config = samples.pair(name, **copy.deepcopy(changes))
        config["watch"] = {
            "interval": chosen.interval,
            "patience": chosen.patience,
            "reachable": list(chosen.reachable) if isinstance(chosen.reachable, tuple) else chosen.reachable,
        }
        for one in config["floating_ips"]:
            one["watch"] = {"on": chosen.on, "cron": CRON}
        if chosen.ttl:
            config["lease"] = {
                "endpoints": [], "members": list(MEMBERS), "tls": None, "ttl": chosen.ttl, "watchdog": False,
                "prefix": "/failback/",
            }  # fmt: skip
        return config

    def begin(self, active="salt1", generation=5):
        """As it should be: one node serves, the other one stands by, the client writes."""
        for name, node in self.nodes.items():
            with self.on(name) as member:
                member.ledger.write(ledger.Entry(generation, active, None, "a test"))
            node.units.update(one["name"] for one in node.config["services"])
            if name == active:
                self.give_addresses(node)
        for name in NODES:
            self.start_guard(self.nodes[name])
            self.start_cron(self.nodes[name])
        if self.configuration.ttl:
            # The guards have met the lease.
            self.run_for(self.configuration.ttl / 2)
        if active == "salt1":
            self.lsyncd.start()
        self.client.begin()
        self._router_asks()

    def _router_asks(self):
        """As routers do: it asks for some host again and again, and is heard, though nobody asked it."""
        router = self.others[1]
        for node in self.nodes.values():
            for prober in node.probers if self.segment.hears(router, node) else ():
                prober.deliver(router.gateway, router.mac, answers_us=False)
        self.engine.after(ROUTER_ASKS, self._router_asks)

    # --- who acts ---

    @property
    def node(self):
        """The node of the present process."""
        return self.engine.current.node

    @property
    def disk(self):
        """The files of that node."""
        return self.engine.current.node.disk

    def other(self, node):
        """The other node of the pair."""
        return self.nodes[NODES[1 - NODES.index(node.name)]]

    @property
    def _paths(self):
        return _paths()

    def member(self, node):
        """A node's half of the pair, as a program that starts now finds it."""
        return Member.of(node.config, self._paths)

    @contextlib.contextmanager
    def on(self, name):
        """What is done in this block is done on that node, by the present process."""
        process = self.engine.current
        before, process.node = process.node, self.nodes[name]
        try:
            yield self.members[name]
        finally:
            process.node = before

    def alive(self):
        """Nothing that a killed process does has an effect."""
        if self.engine.current.dead:
            raise Killed

    def step(self, what, detail=None):
        """A program is about to do something that others can see, or that lasts."""
        process = self.engine.current
        if process.dead:
            raise Killed
        if process.node is None:
            return
        if self.recorder is not None:
            self.recorder.append((self.engine.now, process.node.name, process.name, what, detail))
        for plan in list(self.plans):
            if plan in self.plans:
                plan(process, what, detail)

    def start(self, name, node, function):
        """Start a program on a node; on one that stands still it begins when that goes on."""
        process = self.engine.start(name, node, function)
        if node is not None and node.frozen:
            process.stopped = True
        return process

    def _ended(self, process):
        for connection in self.connections:
            connection.process_ended(process)
        for thread in process.threads:
            self.engine.kill_alone(thread)
        unexpected = process.error is not None and not isinstance(process.error, (FailbackError, OSError))
        if unexpected and self.engine.failure is None:
            self.engine.failure = process.error
        node = process.node
        if node is not None and process in (node.watch, node.keeper) and node.power:
            boot = node.boot
            self.engine.after(CRON_EVERY, lambda: node.boot == boot and self.start_cron(node))
        if node is not None and process is node.guard and node.power:
            boot = node.boot
            self.engine.after(GUARD_AFTER, lambda: node.boot == boot and self.start_guard(node))
        if node is not None and node.timer_runs.get(process.name) is process:
            self._timer_run_ended(node, process)

    # --- files ---

    def open_descriptor(self, path, flags):
        """``os.open``."""
        self.alive()
        folder = flags & os.O_DIRECTORY
        inode = None if folder else self.disk.create(path) if flags & os.O_CREAT else self.disk.inode(path)
        handle = Handle(self.engine.current, next(self._descriptors), path, inode)
        self.handles[handle.number] = handle
        return handle

    def open(self, path, mode):
        """``open``."""
        self.alive()
        inode = self.disk.inode(path) if "r" in mode else self.disk.create(path)
        if "w" in mode:
            inode.data = b""
        handle = Handle(self.engine.current, next(self._descriptors), path, inode)
        self.handles[handle.number] = handle
        return handle

    def fsync(self, handle):
        """``os.fsync``."""
        self.step("fsync", handle.path)
        disk = self.disk
        if disk.latency and not handle.path.startswith("/run/"):
            self.engine.wait(self.engine.now + disk.latency)
        if handle.inode is None:
            disk.sync_folder(handle.path)
        else:
            handle.inode.synced = handle.inode.data

    def file_changed(self, path):
        """A file was replaced."""
        if path.endswith("/ledger.json"):
            with self.on(self.node.name) as member:
                entry = member.ledger.read()
            self.judge.ledger_changed(self.node.name, entry)

    def sync_file_systems(self):
        """``system.sync_file_systems``: the replicated files."""
        self.step("syncfs")
        if self.disk.latency:
            self.engine.wait(self.engine.now + self.disk.latency)
        self.data[self.node.name].sync()

    # --- processes and systemd ---

    def process_started(self, pid):
        """``system.process_started``: whether there is such a process on this node."""
        return next((one.pid for one in self.engine.living(self.node) if one.pid == pid), None)

    def log(self, sentence):
        """``system.log``."""
        self.alive()
        self.node.log.append((self.engine.now, sentence))
        if "Traceback" in sentence:
            self.engine.failure = self.engine.failure or AssertionError(sentence)

    def run(self, argv, timeout=60, what="run", **_):
        """``system.run``."""
        self.alive()
        node = self.node
        if argv[0] == "systemd-run":
            self._arm(argv)
        elif argv[:2] == ["systemctl", "stop"] and argv[2].endswith(".timer"):
            self.step("stop timer")
            self._stop_timer(argv[2:])
        elif argv[:2] == ["systemctl", "show"]:
            return _shown(argv[2:], node.units)
        elif argv[:2] == ["systemctl", "stop"]:
            self.step("stop unit", argv[-1])
            node.units -= set(argv[3:])
        elif argv[:3] == ["systemctl", "start", "--no-block"]:
            self.step("start units")
            self._start_units(argv[4:])
        elif argv[0].endswith("/ssh"):
            return remote.ask(self, argv[argv.index("--") + 1 :], timeout, what)
        elif argv[0] != "journalctl":
            raise AssertionError(f"nobody should run {argv}")
        return ""

    def _start_units(self, names):
        for name in names:
            if name != services.LSYNCD:
                self.node.units.add(name)
                continue
            from failback.replication import gate

            with contextlib.suppress(FailbackError):  # ExecCondition= refuses
                gate.require_lsyncd(self.member(self.node))
                self.lsyncd.start()

    def _arm(self, argv):
        self.step("arm timer")
        options = dict(one[2:].partition("=")[::2] for one in argv if one.startswith("--"))
        unit, node = options["unit"], self.node
        if unit in node.timers or unit in node.timer_runs:
            raise Unavailable(f"Unit {unit}.timer was already loaded.")
        words = argv[argv.index(str(self.member(node).paths.program)) + 1 :]
        node.timers[unit] = self.engine.after(
            float(options["on-active"]), lambda: self._timer_fires(node, unit, words)
        )

    def _stop_timer(self, units):
        """A timer does not take along the program that it has started: that is the service."""
        for unit, kind in (one.rsplit(".", 1) for one in units):
            if kind == "timer":
                self.engine.cancel(self.node.timers.pop(unit, [None] * 4))
            elif unit in self.node.timer_runs:
                self.engine.kill(self.node.timer_runs.pop(unit))

    def _timer_fires(self, node, unit, words):
        node.timers.pop(unit, None)
        node.timer_runs[unit] = self._command(node, words, unit)
        node.timer_runs[unit].words = words

    def _timer_run_ended(self, node, process):
        # Restart=on-failure, RestartSec=1
        unit = process.name
        del node.timer_runs[unit]
        if (process.error is not None or process.dead) and node.power:
            node.timers[unit] = self.engine.after(1.0, lambda: self._timer_fires(node, unit, process.words))

    def _command(self, node, words, name=None):
        """The program ``failback`` with these words."""
        arguments = argparse.Namespace(run=words[2] if len(words) > 2 else None)
        return self.start(
            name or words[0], node, lambda: cli.COMMANDS[words[0]](arguments, self.member(node))
        )

    def start_detached(self, argv):
        """``system.start_detached``."""
        self.step("start", argv[1])
        return self._command(self.node, argv[1:])

    def popen(self, argv):
        """``subprocess.Popen``: the connection of a handover, or the announcer."""
        self.step("popen", argv[-2])
        if argv[0].endswith("/ssh"):
            return remote.Connection(self, argv[-1])
        return self._command(self.node, argv[1:])

    def stop_incoming(self):
        """``incoming.stop``: what the other node's rsync would still write here does not come."""
        self.step("stop incoming")
        found, self.node.incoming = self.node.incoming, []
        for one in found:
            one["ended"] = True
        return []

    def start_cron(self, node):
        """What cron does every minute: nothing while the watch and the keeper run."""
        if node.power and (node.watch is None or node.watch.finished or node.watch.dead):
            node.watch = self.start("watch", node, lambda: loop.main(CRON, self._paths, foreground=True))
        if node.power and (node.keeper is None or node.keeper.finished or node.keeper.dead):
            node.keeper = self.start("keeper", node, lambda: keeper.main(self.member(node), foreground=True))

    def start_guard(self, node):
        """What systemd does at boot, and when the guard has ended."""
        if self.configuration.ttl and node.power and (node.guard is None or node.guard.finished):
            guard = guard_loop.Guard
            node.guard = self.start("guard", node, lambda: guard(self.member(node)).run())

    def has_a_lease_for(self, node):
        """Whether a node can be granted the right to serve, where the pair has a lease."""
        return not self.configuration.ttl or bool(self.cluster.reached(node))

    # --- the network ---

    def hears_announcement(self, host, sender, packed):
        """A gratuitous ARP has reached a host."""
        if host is self.client.host:
            self.client.hears_announcement(sender, packed)

    def addresses_changed(self, node, packed):
        """A node's kernel has one of the addresses from now on, or has it no more."""
        if packed == self.packed:
            self.judge.addresses_changed(node, node.has(packed))

    def network_changed(self):
        """Somebody hears somebody from now on, or does so no more."""
        self.judge.network_changed()
        for connection in self.connections:
            connection.carry()

    def sees_somebody_to_ask(self, node):
        """Whether one of those whom a node has to ask answers it."""
        wanted = self.configuration.reachable
        if wanted == hearing.NOBODY:
            return True
        if self.segment.loss > MOST_LOSS:
            # Not for half the patience without a gap.
            return False
        asked = (ROUTER,) if wanted == hearing.ORDINARY else wanted
        return any(self.segment.talk(node, self.segment.hosts[one]) for one in asked)

    def give_addresses(self, node, addresses=None):
        """By hand: a node has the addresses, all of the pair by default."""
        links = node.links()
        for one in self.addresses if addresses is None else addresses:
            label = one.label or one.interface
            node.borne[one.packed] = netlink.Borne(
                one.packed, one.prefix, links[one.interface].index, 0, 0, label
            )
            node.tell_kernel_news()
            self.addresses_changed(node, one.packed)

    # --- what happens to the nodes ---

    def lose_power(self, name, fate="lost"):
        """A node is off: nothing of it is left but its disk."""
        node = self.nodes[name]
        if not node.power:
            return
        held = node.has(self.packed)
        node.loses_power(fate)
        with self.on(name) as member:
            entry = member.ledger.read()
        self.data[name].lose_power(self.engine.now)
        self.judge.power_lost(node, entry)
        if held:
            self.judge.addresses_changed(node, False)
        self.network_changed()
        if self.engine.current.node is node and self.engine.current is not self.engine.driver:
            self.engine.kill(self.engine.current)

    def boot(self, name):
        """It is switched on; its programs run ``BOOT`` seconds later."""
        node = self.nodes[name]
        if node.power:
            return
        node.boots()
        self.network_changed()
        boot = node.boot
        self.engine.after(BOOT, lambda: node.boot == boot and self._programs_start(node))

    def _programs_start(self, node):
        self.start_guard(node)
        self.start_cron(node)

    def freeze(self, name):
        """Its processes stand still; its kernel goes on answering."""
        node = self.nodes[name]
        node.frozen = node.power
        for process in node.processes():
            self.engine.stop(process)

    def thaw(self, name):
        """They go on."""
        node = self.nodes[name]
        node.frozen = False
        for process in node.processes():
            self.engine.go_on(process)

    # --- what a test does ---

    def run_for(self, seconds):
        """Let time pass."""
        self.engine.wait(self.engine.now + seconds)

    def serving(self):
        """Who has the address: the names of the nodes, joined."""
        return "+".join(name for name in NODES if self.nodes[name].has(self.packed)) or "nobody"

    def ledgers(self):
        """Generation and active node on salt1 and salt2."""
        found = []
        for name in NODES:
            with self.on(name) as member:
                entry = member.ledger.read()
            found.append((entry["generation"], entry["active"]))
        return found

    def report(self, name):
        """What a node reports of itself; None while it cannot."""
        if not self.nodes[name].acts:
            return None
        with self.on(name) as member:
            return report.report(member)

    def judged(self):
        """The verdict over both."""
        return verdict.judge(self.nodes["salt1"].config, *(self.report(name) for name in NODES))
