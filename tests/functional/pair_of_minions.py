"""
The two minions of a pair that answer (see ``answering``): what each verb of a run makes of them, and no more.

What a verb does on a node is for the tests of the modules; here a run finds what it has brought about.
"""

import copy

import samples
from salt.exceptions import CommandExecutionError

from failback.host import system

GATEWAY = "10.0.0.5/24"
HOSTS = {"salt1": "10.0.0.11", "salt2": "10.0.0.12"}
MACS = {"salt1": "02:00:00:00:00:01", "salt2": "02:00:00:00:00:02"}

#: As a pillar has it. With all that a pair can have, except virtual machines.
PILLAR = {
    "primary": {"id": "salt1", "host": HOSTS["salt1"]},
    "secondary": {"id": "salt2", "host": HOSTS["salt2"]},
    "floating_ips": {
        "salt-gw": {
            "address": GATEWAY,
            "interface": "eth0",
            "watch": {"on": "secondary", "cron": "gateway-ip"},
        }
    },
    "watch": {"reachable": "nobody"},
    "replicate": ["/srv/salt"],
    "git": ["/srv/git/site.git"],
    "services": ["salt-master"],
    "witnesses": ["client"],
}

#: What does not change anything on a node, nor in its lock.
LOOKS = {
    "pair.report",
    "pair.look",
    "pair.fence_test",
    "pair.owner_has_ended",
    "reverse_rsync.checked",
    "reverse_rsync.compared",
    "lsyncd.drain",
    "lsyncd.first_pass",
    "saltutil.is_running",
    "salt_minion.process",
    "shared_vm.running",
    "floating_ip.answered_by",
}

#: How the two nodes are found: of each ``(generation, active, admitted in this boot, holds the address)``.
NORMAL = ((7, "salt1", True, True), (7, "salt1", True, False))
FAILED_OVER = ((7, "salt1", False, False), (8, "salt2", True, True))
STANDBY_RETURNED = ((8, "salt1", True, True), (7, "salt1", False, False))
COLD = ((7, "salt1", False, False), (7, "salt1", False, False))
COLD_SECONDARY = ((7, "salt1", False, False), (8, "salt2", False, False))
SPLIT = ((7, "salt1", True, True), (8, "salt2", True, True))


class Node:
    """What is true of one."""

    def __init__(self, name, generation, active, admitted, holds):
        self.name, self.boot_id = name, f"boot of {name}"
        self.ledger = samples.ledger(generation, active, self.boot_id if admitted else "an earlier boot")
        self.held = [GATEWAY] if holds else []
        self.lock, self.lsyncd, self.facts = None, holds and name == "salt1", {}
        #: The record of the run, as it was given last.
        self.record = None

    def report(self):
        digest = system.package_digest(system.PACKAGE)
        found = samples.report(
            self.name,
            self.ledger,
            self.held,
            boot_id=self.boot_id,
            lock=self.lock,
            pause=None,
            time=0.0,
            misplaced={},
            sources={"/srv/salt": {"of": self.name}},
            lsyncd={"running": self.lsyncd},
            package={"modules": digest, "program": digest},
        )
        place = {"name": "salt-gw", "interface": "eth0", "interface_exists": True, "mac": MACS[self.name]}
        found["addresses"] = [{**one, **place} for one in found["addresses"]]
        return copy.deepcopy({**found, **self.facts})

    def write(self, generation, active, admitted=True, **more):
        """The ledger says so from now on."""
        boot = self.boot_id if admitted else "an earlier boot"
        self.ledger = {**samples.ledger(generation, active, boot), **more}

    @property
    def is_active(self):
        return self.ledger["active"] == self.name and self.ledger["boot_id"] == self.boot_id


class Pair:
    """
    The pair ``salt``, of two minions.

    minions
        :class:`answering.Minions`. Afterwards each verb of a run has an answer: that of the method of its
        name here. A test replaces those that it is about.

    state
        How the nodes are found, such as ``NORMAL``.
    """

    def __init__(self, minions, state):
        self.minions = minions
        self.nodes = {name: Node(name, *facts) for name, facts in zip(HOSTS, state)}
        for method in vars(Pair):
            module, mark, function = method.partition("__")
            if mark and module:
                minions.answers[f"{module}.{function}"] = getattr(self, method)

    @property
    def changes(self):
        """``[(node, function), …]`` that changed something, in order; the run's own lock is none of it."""
        own = {"pair.lock", "pair.renew", "pair.unlock", "pair.open_run", "pair.close_run"}
        return self.minions.names(*LOOKS, *own)

    def active(self):
        """The nodes that hold the address, and those that their ledger names active."""
        held = [name for name, one in self.nodes.items() if one.held]
        return held, [name for name, one in self.nodes.items() if one.is_active]

    def other(self, name):
        return next(one for one in self.nodes.values() if one.name != name)

    def _require_lock(self, name, run):
        if (self.nodes[name].lock or {}).get("run") != run:
            raise CommandExecutionError(f"{run} does not own the lock on {name}.")

    # --- the run's own

    def pair__report(self, name, pair=None):
        return self.nodes[name].report()

    def pair__lock(self, name, pair, run, operation, owner, seconds, dead_runs=()):
        own = self.nodes[name].lock
        if own and own["state"] == "held" and own["run"] not in (run, *dead_runs):
            raise CommandExecutionError(f"salt is locked by run {own['run']}.")
        self.nodes[name].lock = {"run": run, "state": "held", "owner": owner, "operation": operation}
        return {"run": run, "taken_over": own["run"] if own and own["run"] != run else None}

    def pair__renew(self, name, pair, run, seconds, pause=False, step=None):
        return (self.nodes[name].lock or {}).get("run") == run

    def pair__unlock(self, name, pair, run):
        self.nodes[name].lock = None
        return True

    def pair__open_run(self, name, pair, run, record):
        self.nodes[name].record = record
        return True

    def pair__close_run(self, name, pair, run, record, sources=None):
        self.nodes[name].record, self.nodes[name].lock = record, None
        return True

    # --- who serves

    def pair__win(self, name, pair, run, generation, reason):
        self._require_lock(name, run)
        self.nodes[name].write(generation, name)
        return self.nodes[name].ledger

    def pair__step_down(self, name, pair, run, generation):
        self._require_lock(name, run)
        one = self.nodes[name]
        one.write(generation, self.other(name).name, admitted=False, unsaved=True)
        one.held, one.lsyncd = [], False
        return f"{name} has stepped down."

    def pair__admit(self, name, pair, generation, active, run, why, admitted=True, unsaved=False):
        self._require_lock(name, run)
        self.nodes[name].write(generation, active, admitted, unsaved=unsaved)
        return self.nodes[name].ledger

    def pair__take(self, name, pair, run):
        self._require_lock(name, run)
        assert self.nodes[name].is_active
        missing = [] if self.nodes[name].held else [GATEWAY]
        self.nodes[name].held = [GATEWAY]
        return missing

    def pair__take_over(self, name, pair, run, owner, fenced, reason, moved=False):
        self._require_lock(name, run)
        self.nodes[name].write(8, name)
        self.nodes[name].held = [GATEWAY]
        return {
            "generation": 8,
            "addresses": [GATEWAY],
            "why": f"{fenced} is off ({reason})",
            "reason": reason,
            "already": False,
        }

    def pair__handover(self, name, pair, run, max_delete=None):
        self._require_lock(name, run)
        other = self.other(name)
        generation = 1 + max(one.ledger["generation"] for one in self.nodes.values())
        for one in self.nodes.values():
            one.write(generation, name)
        other.held, other.lsyncd, self.nodes[name].held = [], False, [GATEWAY]
        return handed_over(generation)

    # --- what runs on a node, and its files

    def pair__reboot(self, name, pair, run):
        self._require_lock(name, run)
        before, self.nodes[name].boot_id = self.nodes[name].boot_id, f"the next boot of {name}"
        return before

    def pair__start_services(self, name, pair):
        return {"salt-master": "already running"}

    def pair__activate(self, name, pair, run, anew=False, carry=True):
        self._require_lock(name, run)
        self.nodes[name].lsyncd = carry and name == "salt1"
        return {"started": []}

    def pair__stand_by(self, name, pair, run, sources=None):
        self._require_lock(name, run)
        own, self.nodes[name].lsyncd = self.nodes[name].ledger, False
        admitted = own["boot_id"] == self.nodes[name].boot_id
        unsaved = bool(own.get("unsaved"))
        return stood_by(admitted=admitted, unsaved=unsaved)

    def pair__watching(self, name, pair):
        return []

    def pair__push_git(self, name, pair, run):
        return []

    def pair__reload(self, name, pair, units):
        return units

    def reverse_rsync__checked(self, name, pair, sources=None, **more):
        return [{"digest": "aa", **samples.preview(), "attributes": 0}]

    def reverse_rsync__synced(self, name, pair, run, sources=None, **more):
        # What the standby alone had is saved.
        self.nodes[name].ledger["unsaved"] = False
        return synced()

    def reverse_rsync__compared(self, name, pair, run):
        return {"files": 12, "unexplained": []}

    def lsyncd__drain(self, name, pair, limit=60):
        return True

    def lsyncd__first_pass(self, name, pair, limit=60):
        return True

    # --- what is asked of a node beside its pair

    def state__apply(self, name, *sls, queue=False):
        return {}

    def saltutil__is_running(self, name, what):
        return []

    def shared_vm__running(self, name, pair):
        return []

    def floating_ip__answered_by(self, name, address, count=1):
        return [MACS[one.name] for one in self.nodes.values() if address in one.held]

    def pair__look(self, name, pair):
        return {}

    def pair__fence_test(self, name, pair):
        return {}


def counts(**more):
    return {**dict.fromkeys(("overwritten", "deleted", "created", "attributes"), 0), **more}


def synced(changes=None, then=(), **path):
    """What ``reverse_rsync.synced`` returns, of one path."""
    one = {"path": "/srv/salt", "conflicts": 0, "conflict_names": {}, **counts(), **path}
    return {"changes": changes or {}, "comment": "The files are in step.", "paths": [one], "then": list(then)}


def stood_by(**more):
    """What ``pair.stand_by`` returns."""
    return {"stopped": [], "made": [], "absent": [], "admitted": True, "unsaved": False, **more}


def handed_over(generation, **more):
    """What ``pair.handover`` returns."""
    final = {"path": "/srv/salt", "named": 3, "why": None, **counts(overwritten=1, created=2)}
    return {
        "generation": generation,
        "window_milliseconds": 312.345,
        "timeline": [{"milliseconds": 0.5, "step": "release is asked for"}],
        "far_timeline": [{"milliseconds": 1.25, "step": "the addresses are released"}],
        "final_sync": {"paths": [final]},
        "started": [],
        "problems": [],
        **more,
    }
