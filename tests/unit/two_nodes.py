"""
Two nodes and the segment between them, for the tests of one handover: the simulation, with files on the disk.

Ledgers, locks and the state of a handover are real files in a folder for each node. All else is that of
:py:mod:`simulation`: addresses, ARP, systemd's timers, SSH, processes and clocks.
"""

import collections
import collections.abc
import contextlib
import shutil
import types

import samples
from simulation import here
from simulation import seams
from simulation import system as simulated
from simulation import world as simulation_world
from simulation.engine import Killed
from simulation.hosts import Host
from simulation.judge import Configuration
from simulation.segment import Connections

from failback.handover import giver
from failback.handover import phases
from failback.handover import taker
from failback.handover import way_back
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.network import netlink
from failback.network import tcp
from failback.pair import Member
from failback.state import ledger

__all__ = ["Killed", "MACS", "World", "system"]

MACS = {"salt1": "02:00:00:00:00:01", "salt2": "02:00:00:00:00:02"}


class World(simulation_world.World):
    """salt2 serves in generation 4; salt1 has come back and knows generation 3."""

    def __init__(self, folder, monkeypatch, **changes):
        self._folders = {node: Paths(folder / node) for node in MACS}
        self._members = {}
        super().__init__(Configuration("one handover"), **changes)
        #: By ``(node, moment)``: what a test has planned for it, once.
        self.hooks = {}
        #: What was started to go on by itself, by whom; it is not run.
        self.detached = []
        #: What a test's stand-in for a thread could not do.
        self.told = []
        #: The node that serves when a handover begins; the taker of ``bring_home`` is salt1.
        self.server = "salt2"
        #: Addresses on interfaces without a link, by node.
        self.unlinked = {"salt1": set(), "salt2": set()}
        #: The connection to the giver.
        self.far = None
        self.power, self.boots = _OfNodes(self.nodes, "power"), _OfNodes(self.nodes, "boot")
        self.units = _OfNodes(self.nodes, "units")
        self._locked = {}
        self._replace(monkeypatch)
        # Each clock that counts from a boot shows what the engine's does.
        self.engine.now = 1000.0
        for node in self.nodes.values():
            node.booted_at = 0.0
        for member in self.members.values():
            files.write_json(member.paths.pair_config("salt"), member.config)
        with self.on("salt1") as member:
            member.ledger.write(ledger.Entry(3, "salt1", None, "a test", admitted=False))
        with self.on("salt2") as member:
            member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
        self.give_addresses(self.nodes["salt2"])
        for node in MACS:
            with self.on(node) as member:
                member.lock.acquire(samples.RUN, "recover", {"boot_id": "elsewhere"}, 600)

    def _replace(self, monkeypatch):
        real_probe_all, real_locked = neighbours.probe_all, files.locked
        self.probe_all = real_probe_all
        seams.install(monkeypatch, disk=False)
        monkeypatch.setattr(taker, "os", _OsWithStreams(taker.os))
        monkeypatch.setattr(files, "locked", lambda path: self._lock(path, real_locked))
        monkeypatch.setattr(tcp, "Connections", _OneConnection)
        monkeypatch.setattr(address_holder.Holder, "tickle", lambda _, connections: self._tickle(connections))
        monkeypatch.setattr(address_holder.Holder, "reset_connections", lambda *_: self._reset())
        monkeypatch.setattr(floating, "by_link", self._by_link)
        monkeypatch.setattr(floating, "own_macs", self._macs)
        monkeypatch.setattr(here, "world", self)
        # Undone first, so that no process is left to find the real machine.
        monkeypatch.setattr(_Inhabited(self), "inhabited", True)

    # --- in place of the simulated disk ---

    def member(self, node):
        if node.name not in self._members:
            self._members[node.name] = Member.of(node.config, self._folders[node.name])
        return self._members[node.name]

    @contextlib.contextmanager
    def _lock(self, path, real):
        """``files.locked``, waiting in virtual time."""
        lock = self._locked.setdefault(str(path), types.SimpleNamespace(owner=None, waiters={}))
        while lock.owner is not None and not lock.owner.dead:
            self.engine.wait(None, [lock])
        lock.owner = self.engine.current
        try:
            with real(path):
                yield
        finally:
            lock.owner = None
            self.engine.news(lock)

    def lose_power(self, name, fate="lost"):
        """Nothing of a node is left but its disk; its connections do not even end."""
        if self.nodes[name].power:
            self.nodes[name].boot += 1
            shutil.rmtree(self._folders[name].root / "run", ignore_errors=True)
        super().lose_power(name, fate)

    # --- who acts ---

    @contextlib.contextmanager
    def on(self, name):
        """What is done in this block is done on that node; the block gets its member."""
        try:
            with super().on(name) as member:
                yield member
        finally:
            # The test itself is a process as well: what it had killed is over with the block.
            self.engine.driver.dead = False

    def kill(self):
        """End the present process as SIGKILL does: not even its ``finally`` is run."""
        self.engine.kill(self.engine.current)

    def hook(self, event):
        """Let what a test has planned for a moment happen, once."""
        planned = self.hooks.pop((self.node.name, event), None) if self.node else None
        if planned:
            planned()

    def step(self, what, detail=None):
        super().step(what, detail)
        if what in ("take", "release"):
            self.hook(what)
        elif what == "stop unit":
            self.hook("stop")

    def addresses_changed(self, node, packed):
        super().addresses_changed(node, packed)
        if node is self.node:
            self.hook("taken" if node.has(packed) else "released")

    # --- what is replaced ---

    def _by_link(self, floatings):
        dead = self.unlinked[self.node.name]
        return (
            [one for one in floatings if one.address not in dead],
            [one for one in floatings if one.address in dead],
        )

    def _macs(self, config):
        return {one["address"]: MACS[config["node"]] for one in config["floating_ips"]}

    def _tickle(self, connections):
        self.tickled = (self.node.name, connections)

    def _reset(self):
        self.reset_on = self.node.name
        return {}

    def _start_units(self, names):
        self.node.units |= set(names)

    def start_detached(self, argv):
        self.detached.append((self.node.name, argv[1:]))

    def popen(self, argv):
        if not argv[0].endswith("/ssh"):
            return types.SimpleNamespace(pid=0)
        self.far = super().popen(argv)
        return self.far

    # --- what a test does ---

    @property
    def now(self):
        """Seconds; what is added to it has passed, and timers go off late."""
        return self.engine.now

    @now.setter
    def now(self, value):
        self.engine.now = value

    @property
    def timer(self):
        """When systemd's timer goes off that takes the addresses back, as the first of a tuple; or None."""
        found = [event[0] for node in self.nodes.values() for event in node.timers.values()]
        return (min(found),) if found else None

    @timer.setter
    def timer(self, _none):
        for node in self.nodes.values():
            for event in node.timers.values():
                self.engine.cancel(event)
            node.timers.clear()

    def deadline(self):
        """Let the time pass until systemd's timer, if there is one, and past it. Returns what it said."""
        armed = [(event, node, unit) for node in self.nodes.values() for unit, event in node.timers.items()]
        if not armed:
            self.engine.wait(self.engine.now + 60)
            return None
        event, node, unit = min(armed, key=lambda one: one[0][0])
        self.server = node.name
        self.engine.wait(event[0])
        run = node.timer_runs.get(unit)
        if run is None:
            return None
        self.engine.wait(None, [run])
        self.timer = None
        if run.error:
            raise run.error
        return "\n".join(run.output)

    def bring_home(self, final_sync=lambda limit: None):
        """The taker on salt1."""
        with self.on("salt1") as member:
            member_now = member
        process = self.start(
            "handover",
            self.nodes["salt1"],
            lambda: taker.become_active(
                member_now, samples.RUN, lambda control: final_sync and FinalSync(self, final_sync)
            ),
        )
        self.engine.wait(None, [process])
        if process.dead:
            raise Killed
        if process.error:
            raise process.error
        return process.result

    def far_end(self, verb, *arguments, **words):
        """One function of the giver: arm, release, commit, disarm or take_back."""
        with self.on(self.server) as member:
            module = way_back if hasattr(way_back, verb) else giver
            return getattr(module, verb)(member, *arguments, **words)

    def release(self):
        """The giver's release, with a Holder of its own."""
        with self.on(self.server) as member, address_holder.Holder(self.wanted) as holder:
            return giver.release(member, samples.RUN, holder)

    @property
    def wanted(self):
        return floating.of_pair(self.members["salt2"].config)

    @property
    def holders(self):
        """By address: the names of the nodes that have it. One that is added or discarded has it, or not."""
        return _ByAddress({one.address: _Holders(self, one) for one in self.addresses})

    @property
    def strangers(self):
        return [netlink.readable(one.mac) for one in self.segment.hosts.values() if isinstance(one, Stranger)]

    @strangers.setter
    def strangers(self, macs):
        hosts = self.segment.hosts
        self.segment.hosts = {name: one for name, one in hosts.items() if not isinstance(one, Stranger)}
        for mac in macs:
            self.segment.add(Stranger(mac))

    @property
    def cut(self):
        """Whether no node is heard answering for an address."""
        return self.segment.deaf_to_arp

    @cut.setter
    def cut(self, value):
        self.segment.deaf_to_arp = value

    def serving(self):
        """Who holds each address: the names of the nodes, joined."""
        found = {"+".join(sorted(holders)) or "nobody" for holders in self.holders.values()}
        return " and ".join(sorted(found))

    def phase(self):
        """The phase of the handover on salt2."""
        return phases.read_state(self.members["salt2"]).get("phase")


class Stranger(Host):
    """A third host that answers for every address."""

    def __init__(self, mac):
        super().__init__(f"stranger {mac}", 0)
        self.mac = bytes.fromhex(mac.replace(":", ""))

    def has(self, packed):
        return True


class _OfNodes(collections.abc.MutableMapping):
    """One attribute of the nodes, by their names."""

    def __init__(self, nodes, attribute):
        self._nodes, self._attribute = nodes, attribute

    def __getitem__(self, name):
        return getattr(self._nodes[name], self._attribute)

    def __setitem__(self, name, value):
        setattr(self._nodes[name], self._attribute, value)

    def __delitem__(self, name):
        raise TypeError("the nodes stay")

    def __iter__(self):
        return iter(self._nodes)

    def __len__(self):
        return len(self._nodes)


class _ByAddress(collections.UserDict):
    """Who has each address; what is set is done to the nodes."""

    def __setitem__(self, address, names):
        if address not in self.data:
            self.data[address] = names
            return
        for name in MACS:
            (self[address].add if name in names else self[address].discard)(name)


class _Holders(set):
    """The names of the nodes that have an address."""

    def __init__(self, world, address):
        super().__init__(name for name, node in world.nodes.items() if node.has(address.packed))
        self._world, self._address = world, address

    def add(self, name):
        super().add(name)
        self._world.give_addresses(self._world.nodes[name], [self._address])

    def discard(self, name):
        super().discard(name)
        node = self._world.nodes[name]
        if node.borne.pop(self._address.packed, None):
            simulation_world.World.addresses_changed(self._world, node, self._address.packed)


class _OsWithStreams:
    """``os`` for the taker, which reads the answers of the giver by it."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    read = staticmethod(simulated.Os.read)


class _OneConnection(Connections):
    """Each address has one client."""

    def listed(self, address, index=None):
        return [[address.ip, 4505, "10.0.0.100", 40000]]


class _Inhabited:
    """A world in which processes may run; they end when this is not so any more."""

    def __init__(self, world):
        self.__dict__.update(world=world, inhabited=False)

    def __setattr__(self, name, value):
        self.__dict__[name] = value
        if not value:
            self.world.engine.close()


class FinalSync:
    """In place of ``reverse_rsync.FinalSync``: a function of the seconds that it is given."""

    def __init__(self, world, function):
        self._world, self._function = world, function

    def expect(self):
        self._world.hook("expect")
        return {"module": ["changed here"]}

    def name(self, changes, why):
        self._world.named = changes, why

    def run(self, limit=None):
        return self._function(limit)

    def finish(self):
        self._world.hook("finish")

    def close(self):
        pass
