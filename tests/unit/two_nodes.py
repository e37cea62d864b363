"""
Two nodes and the segment between them, in one process.

Ledgers, locks and the state of a handover are real files in a folder for each node. Replaced are
what needs a host: addresses on interfaces, ARP, systemd's timers, SSH and the clocks.
"""

import contextlib
import io
import os
import subprocess
import threading
import time
import types

import samples

from failback.errors import Refused
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
from failback.pair import Member
from failback.state import ledger

MACS = {"salt1": "02:00:00:00:00:01", "salt2": "02:00:00:00:00:02"}


class Killed(BaseException):
    """The process ends here, and nothing after it is done."""


class World:
    """salt2 serves in generation 4; salt1 has come back and knows generation 3."""

    def __init__(self, folder, monkeypatch, **changes):
        self.now = 1000.0
        self.lag = 0.0
        self.timer = None
        self.power = {"salt1": True, "salt2": True}
        self.boots = {"salt1": 1, "salt2": 1}
        self.holders = {}
        self.strangers = []
        #: Units that run, by node.
        self.units = {"salt1": set(), "salt2": set()}
        self.cut = False
        self.hooks = {}
        self.told = []
        #: What was started to go on by itself, by whom.
        self.detached = []
        #: The node that serves when a handover begins; the taker of ``bring_home`` is salt1.
        self.server = "salt2"
        #: Addresses on interfaces without a link, by node.
        self.unlinked = {"salt1": set(), "salt2": set()}
        self.far = None
        self._here = threading.local()
        #: Each node's half of the pair.
        self.members = {node: Member.of(samples.pair(node, **changes), Paths(folder / node)) for node in MACS}
        for member in self.members.values():
            files.write_json(member.paths.pair_config("salt"), member.config)
        self._replace(monkeypatch)
        with self.on("salt1") as member:
            member.ledger.write(ledger.Entry(3, "salt1", None, "a test", admitted=False))
        with self.on("salt2") as member:
            member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
        for floating_ip in self.members["salt2"].config["floating_ips"]:
            self.holders[floating_ip["address"]] = {"salt2"}
        for node in MACS:
            with self.on(node) as member:
                member.lock.acquire(samples.RUN, "recover", {"boot_id": "elsewhere"}, 600)

    def _replace(self, monkeypatch):
        monkeypatch.setattr(address_holder, "Holder", lambda wanted: Holder(self, wanted))
        monkeypatch.setattr(neighbours, "probe", self.probe)
        monkeypatch.setattr(floating, "status", self.status)
        monkeypatch.setattr(neighbours, "probe_all", self.probe_all)
        monkeypatch.setattr(address_holder, "announce_later", lambda member: True)
        monkeypatch.setattr(system, "boot_id", lambda: f"{self.node} boot {self.boots[self.node]}")
        monkeypatch.setattr(system, "boottime", lambda: self.now)
        monkeypatch.setattr(system, "run", self.run)
        monkeypatch.setattr(system, "log", lambda sentence, priority=None: self.told.append(sentence))
        monkeypatch.setattr(
            system, "start_detached", lambda argv: self.detached.append((self.node, argv[1:]))
        )
        monkeypatch.setattr(floating, "by_link", self.by_link)
        monkeypatch.setattr(floating, "own_macs", self.macs)
        for module in (way_back, taker):
            monkeypatch.setattr(
                module,
                "subprocess",
                types.SimpleNamespace(
                    run=self.run,
                    Popen=self.connect,
                    PIPE=subprocess.PIPE,
                    DEVNULL=subprocess.DEVNULL,
                    TimeoutExpired=subprocess.TimeoutExpired,
                ),
            )
        for name in ("take_back", "disarm"):
            monkeypatch.setattr(way_back, name, self._unless_killed(getattr(way_back, name)))
        for module in (phases, giver, taker):
            monkeypatch.setattr(
                module,
                "time",
                types.SimpleNamespace(
                    monotonic=lambda: time.monotonic() + self.lag, monotonic_ns=time.monotonic_ns
                ),
            )

    # --- who acts ---

    @property
    def node(self):
        """The node on which the present thread is."""
        return self._here.node

    def on(self, node):
        """What is done in this block is done on that node; the block gets its member."""
        return _On(self._here, node, self.members[node])

    def kill(self):
        """End the present process as SIGKILL does: not even its ``finally`` is run."""
        self._here.killed = True
        raise Killed

    def _unless_killed(self, real):
        def function(*arguments, **words):
            return None if getattr(self._here, "killed", False) else real(*arguments, **words)

        return function

    def hook(self, event):
        """Let what a test has planned for a moment happen, once."""
        planned = self.hooks.pop((self.node, event), None)
        if planned:
            planned()

    # --- what is replaced ---

    def probe_all(self, floatings, timeout=0.5, count=1):
        return {one.address: self.probe(one, timeout, count) for one in floatings}

    def probe(self, floating, timeout=0.5, count=1):
        answering = [one for one in self.strangers]
        if not self.cut:
            holders = self.holders.get(floating.address, ())
            answering = [MACS[one] for one in sorted(holders) if one != self.node] + answering
        return answering[:count]

    def status(self, floating):
        return {"held": self.node in self.holders.get(floating.address, ())}

    def by_link(self, floatings):
        dead = self.unlinked[self.node]
        return (
            [one for one in floatings if one.address not in dead],
            [one for one in floatings if one.address in dead],
        )

    def macs(self, config):
        return {one["address"]: MACS[config["node"]] for one in config["floating_ips"]}

    def run(self, argv, *rest, **options):
        assert all(isinstance(word, str) for word in argv)
        if argv[0] == "systemd-run":
            (after,) = [word for word in argv if word.startswith("--on-active=")]
            self.timer = (self.now + float(after.partition("=")[2]), argv[-1], self.node)
        elif argv[:2] == ["systemctl", "stop"] and argv[-1].endswith(".timer"):
            self.timer = None
        elif argv[:2] == ["systemctl", "show"]:
            names = argv[argv.index("--") + 1 :]
            states = ("active" if name in self.units[self.node] else "inactive" for name in names)
            return "\n\n".join(f"LoadState=loaded\nActiveState={state}\nNRestarts=0" for state in states)
        elif argv[:2] == ["systemctl", "stop"]:
            self.hook("stop")
            self.units[self.node] -= set(argv[3:])
        elif argv[:3] == ["systemctl", "start", "--no-block"]:
            self.units[self.node] |= set(argv[4:])
        elif argv[0] == "journalctl":
            return ""
        else:
            raise AssertionError(f"nobody should run {argv}")
        return ""

    def connect(self, argv, **options):
        self.far = Connection(self, argv[-1])
        return self.far

    # --- what a test does ---

    def bring_home(self, final_sync=lambda limit: None):
        """The taker on salt1."""
        with self.on("salt1") as member:
            return taker.become_active(
                member, samples.RUN, lambda control: final_sync and FinalSync(self, final_sync)
            )

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

    def deadline(self):
        """Let the time pass until systemd's timer, if there is one, and past it."""
        if self.timer is None:
            self.now += 60
            return None
        at, run, self.server = self.timer
        self.now = max(self.now, at)
        self.timer = None
        if not self.power[self.server]:
            return None
        return self.far_end("take_back", run)

    def lose_power(self, node):
        """Nothing of a node is left but its disk; its connections do not even end."""
        self.power[node] = False
        self.boots[node] += 1
        for holders in self.holders.values():
            holders.discard(node)

    def serving(self):
        """Who holds each address: the names of the nodes, joined."""
        found = {"+".join(sorted(holders)) or "nobody" for holders in self.holders.values()}
        return " and ".join(sorted(found))

    def ledgers(self):
        """Generation and active node on salt1 and salt2."""
        entries = [member.ledger.read() for member in self.members.values()]
        return [(entry["generation"], entry["active"]) for entry in entries]

    def phase(self):
        """The phase of the handover on salt2."""
        return phases.read_state(self.members["salt2"]).get("phase")


class _On:
    def __init__(self, here, node, member):
        self._here, self._node, self._member = here, node, member

    def __enter__(self):
        self._before = getattr(self._here, "node", None)
        self._here.node = self._node
        return self._member

    def __exit__(self, *_):
        self._here.node = self._before


class Holder:
    """The addresses of the node on which it is made; as much of ``address.Holder`` as is used."""

    def __init__(self, world, wanted):
        self._world, self._wanted = world, list(wanted)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def check(self, addresses=None, wait=0.3):
        for one in self._wanted if addresses is None else addresses:
            if self._world.probe(one):
                raise Refused(f"{one.address} is answered for.")

    def take(self, addresses=None, check=True, wait=0.3):
        world = self._world
        if check:
            self.check(addresses)
        world.hook("take")
        for one in self._wanted if addresses is None else addresses:
            world.holders[one.address].add(world.node)
        world.hook("taken")
        return []

    def release(self, addresses=None, reset=True):
        world = self._world
        world.hook("release")
        for one in self._wanted if addresses is None else addresses:
            world.holders[one.address].discard(world.node)
        world.hook("released")
        return []

    def connections(self, addresses=None):
        return [["10.0.0.5", 4505, "10.0.0.100", 40000]]

    def tickle(self, connections):
        self._world.tickled = (self._world.node, connections)

    def reset_connections(self, addresses=None):
        self._world.reset_on = self._world.node
        return {}


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


class Connection:
    """In place of ssh: the giver in a thread, behind two pipes."""

    def __init__(self, world, run):
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self.stdin = open(request_write, "wb")  # noqa: SIM115
        self.stdout = open(answer_read, "rb")  # noqa: SIM115
        self.stderr = io.BytesIO()
        self.ended_with = None
        self._world, self._run = world, run
        self._streams = open(request_read), open(answer_write, "w")  # noqa: SIM115
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        world = self._world
        try:
            with world.on("salt2") as member:
                giver.serve(member, self._run, *self._streams)
        except BaseException as error:
            self.ended_with = error
        finally:
            for stream in self._streams:
                with contextlib.suppress(OSError):
                    stream.close()

    def wait(self, timeout=None):
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("ssh", timeout)

    def kill(self):
        pass
