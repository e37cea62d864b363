"""
Both hosts of a pair of virtual machines, and a master's way to them, in one process.

What Salt would carry is carried by ``Nodes``; libvirt and SSH answer from what a test has said. Everything
else is the real thing on each host: its execution modules, its lock, its claims, its records.
"""

import contextlib
import importlib.util
import json
import os
import pathlib

import guest_host
import samples
from guest_host import OFF
from guest_host import RUNNING
from salt.exceptions import SaltException

from failback.errors import Unavailable
from failback.guests import migration
from failback.guests import storage
from failback.guests import virsh
from failback.host import files
from failback.host import system
from failback.pair import Member
from failback.state import fencing
from failback_master import minions

SALT = pathlib.Path(__file__).parents[2] / "salt"
PAIRS = {"mgmt": guest_host.PILLAR}
#: Where each execution module is that a run on guests asks for.
MODULES = {"shared_vm": "shared_vm", "pair": "pair_lock", "fencing": "fencing"}


def loaded(name, place):
    """A module as a loader of Salt's has it, without what the loader adds."""
    spec = importlib.util.spec_from_file_location(name, SALT / place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Host(guest_host.Host):
    """One of the two; ``modules`` are its execution modules by name."""

    def __init__(self, root, node):
        super().__init__(root, node=node)
        self.modules = {
            name: loaded(f"{name}_on_{node}", f"_modules/{at}.py") for name, at in MODULES.items()
        }
        for one in self.modules.values():
            one._member = lambda pair: Member.load(pair, self.paths)
            one._paths = lambda: self.paths
        #: The release that it runs, when that is not this one.
        self.digest = None

    def report(self, pair):
        """``pair.report``: as much of it as a run on guests reads."""
        digest = self.digest or system.package_digest(system.PACKAGE)
        more = {"lock": self.member.lock.read(), "fenced": self.member.fencing.read()}
        own = samples.report(self.node, samples.ledger(1, "salt1"), **more)
        return {**own, "package": {"modules": digest, "program": digest}}

    def records(self):
        """What it has kept of runs."""
        return self.member.runs.history()

    def lock(self):
        """The id of the run that owns the lock here, or None."""
        found = self.member.lock.read()
        return found and found["run"]


class Two:
    """
    salt1 and salt2, both up, with the storage that they share; no guest runs yet.

    root
        A folder with a short name: a socket is made in it.
    """

    def __init__(self, root, monkeypatch):
        self.hosts = {node: Host(root / node, node) for node in ("salt1", "salt2")}
        #: Hosts from which no answer comes, neither through Salt nor over SSH.
        self.silent = set()
        #: Those whose minion alone is gone: they answer over SSH.
        self.without_minion = set()
        #: ``(host, function)``: the sentence with which a call of it fails, before it does anything.
        self.fails = {}
        #: ``(host, function)``: called once before it is carried out, or fails.
        self.before = {}
        #: Why a migration fails; the guest runs on where it is.
        self.migration_error = None
        #: Where a migration that failed was aborted: ``(host, guest)``.
        self.aborted = []
        #: What was asked of hosts through Salt: ``(host, function)``.
        self.asked = []
        #: How long hosts were waited for, for each question: ``(function, seconds)``.
        self.looks = []
        #: Guests that ran on both hosts at a time.
        self.twice = set()
        #: What was done to guests: ``(host, verb, guest)``.
        self.done = []
        self._at = None
        shared = root / "storage"
        shared.mkdir()
        for one in self.hosts.values():
            (one.paths.root / "srv").mkdir(parents=True, exist_ok=True)
            (one.paths.root / "srv/vms").symlink_to(shared)
        monkeypatch.setattr(storage, "mounted", lambda folder, paths: True)
        storage.mark_storage(self.hosts["salt1"].member)
        monkeypatch.setattr(system, "log", lambda *said: None)
        monkeypatch.setattr(virsh, "call", self._virsh)
        monkeypatch.setattr(virsh, "emulators", lambda names: self._at.emulators(names))
        monkeypatch.setattr(migration, "ask_peer", self._ask_peer)
        monkeypatch.setattr(fencing, "answers", self._knock)
        monkeypatch.setattr(fencing, "_observe", _observe)
        two = self

        class Nodes(minions.Nodes):
            """Salt's way from the master to both; the rest of the class is the real one."""

            def __init__(self, opts, master_within=None):
                pass

            def try_all(self, nodes, function, *args, look=None, gone=None, **kwargs):
                return two._salt(nodes, function, args, look, kwargs)

        monkeypatch.setattr(minions, "Nodes", Nodes)

    def place(self, guest, node, state=(RUNNING, 1)):
        """Have a guest be on a host."""
        self.hosts[node].domains[guest] = list(state)

    def where(self):
        """``{guest: [host that runs it, …]}``"""
        found = {guest: [] for guest in guest_host.GUESTS}
        for node, one in self.hosts.items():
            for guest in one.running():
                found[guest].append(node)
        return found

    def locks(self):
        """Which run owns the lock of each host."""
        return {node: one.lock() for node, one in self.hosts.items()}

    def calls(self, function):
        """The hosts that were asked for a function, in the order in which they were."""
        return [node for node, one in self.asked if one == function]

    def changed(self):
        """What was asked that does more than look."""
        looks = ("pair.report", "shared_vm.report")
        return [one for one in self.asked if one[1] not in looks]

    @contextlib.contextmanager
    def on(self, node):
        """What happens now happens on that host."""
        before, self._at = self._at, self.hosts[node]
        try:
            yield self._at
        finally:
            self._at = before

    def _salt(self, nodes, function, args, look, kwargs):
        answers, errors = {}, {}
        for node in nodes:
            self.asked.append((node, function))
            self.looks.append((function, look))
            self.before.pop((node, function), lambda: None)()
            if node in self.silent | self.without_minion:
                errors[node] = minions.NoAnswer(f"{node} does not answer {function}")
                continue
            try:
                if (node, function) in self.fails:
                    raise SaltException(self.fails[node, function])
                # As it goes over the wire.
                said = self._carried_out(node, function, *json.loads(json.dumps([args, kwargs])))
                answers[node] = json.loads(json.dumps(said))
            except SaltException as error:
                errors[node] = f"{node}: {error}"
        return answers, errors

    def _carried_out(self, node, function, args, kwargs):
        name, _, verb = function.partition(".")
        with self.on(node) as host:
            call = host.report if function == "pair.report" else getattr(host.modules[name], verb)
            return call(*args, **kwargs)

    def _virsh(self, *words, limit=10, what="ask libvirt"):
        guest = words[words.index("--domain") + 1].removeprefix("shared-") if "--domain" in words else None
        host = self._at
        if words[0] == "domjobabort":
            self.aborted.append((host.node, guest))
            raise Unavailable("no job is active on the domain")
        if words[0] not in ("start", "resume", "migrate", "shutdown"):
            return host.call(*words, limit=limit, what=what)
        self.done.append((host.node, words[0], guest))
        said = self._migrate(guest) if words[0] == "migrate" else host.call(*words, limit=limit, what=what)
        self.twice |= {name for name, there in self.where().items() if len(there) > 1}
        return said

    def _migrate(self, guest):
        here, there = self._at, self.hosts[self._other(self._at.node)]
        if self.migration_error:
            raise Unavailable(self.migration_error)
        here.domains[guest], there.domains[guest] = [OFF, 0], [RUNNING, 1]
        return ""

    def _ask_peer(self, member):
        other = self._other(member.node)
        if other in self.silent:
            raise Unavailable(f"Cannot ask {other} over SSH for `guests`: exit status 255.")
        with self.on(other) as host:
            return virsh.facts(host.member)

    def _knock(self, host, **_):
        return None if host in self.silent else f"{host} answers on port 22"

    def _other(self, node):
        return "salt2" if node == "salt1" else "salt1"


def _observe(member):
    """This process stands for the one that knocks at a host which is said to be off."""
    found = json.loads(member.fencing.path.read_text())
    own = {"pid": os.getpid(), "started": system.process_started(os.getpid())}
    files.write_json(member.fencing.path, {**found, "observer": own})
