"""Small made-up pairs, ledgers and reports, for the tests of what is decided from them."""

import copy
import time
import types

from failback.host import files
from failback.host import system
from failback.replication import sources

PAIR = {
    "name": "salt",
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "mode": "automatic",
    "floating_ips": [
        {
            "name": "salt-gw",
            "address": "10.0.0.5/24",
            "interface": "eth0",
            "label": "eth0:0",
            "watch": {"on": "secondary", "cron": "gateway-ip"},
        }
    ],
    "replicate": [{"path": "/srv/salt", "then": None}],
    "git": [],
    "services": [{"name": "salt-master", "proof": None, "status": None}],
    "active_services": [],
    "vms": [],
    "after": [],
    "witnesses": [],
    "fence": {"nodes": {}, "policy": "required", "timeout": 30, "delay": 10},
    "witness_hosts": {},
    "watch": {"interval": 0.5, "patience": 2.0, "reachable": "nobody"},
    "lsyncd": {"delay": 0.22, "max_processes": 2},
    "recovery": {
        "reboot": True,
        "boot_timeout": 1200,
        "max_delete": 100,
        "max_change_percent": 25,
        "max_passes": 5,
        "small_pass": 20,
        "handover_timeout": 10,
        "keep_backups": 5,
        "keep_days": 7,
        "fenced_for": 900,
    },
    "virtualization": {
        "storage": "/srv/vms",
        "prefix": "shared-",
        "migration_timeout": 600,
        "shutdown_timeout": 300,
    },
}

#: A second address, for pairs that have two.
SECOND = {**PAIR["floating_ips"][0], "name": "salt-v6", "address": "10.0.0.6/24", "label": "eth0:1"}

SINCE = "2026-11-22T18:00:00Z"

RUN = "20261122T183000-recover-salt-4f2a"
OTHER_RUN = "20261122T184500-recover-salt-77aa"


def pair(node="salt1", **changes):
    """The configuration of the pair as ``node`` has it."""
    return {**copy.deepcopy(PAIR), "node": node, "version": 1, **changes}


def ledger(generation, active, boot_id="this boot"):
    """A ledger's content."""
    return {
        "version": 1,
        "generation": generation,
        "active": active,
        "since": SINCE,
        "boot_id": boot_id,
        "run": None,
        "why": "a test",
    }


def report(node, own, holds=(), addresses=("10.0.0.5/24",), error=None, **changes):
    """What a node reports of itself. Its lsyncd runs where it should, so there is no drift by itself."""
    return {
        "node": node,
        "boot_id": "this boot",
        "ledger": own,
        "ledger_error": error,
        "addresses": [{"address": one, "held": one in holds} for one in addresses],
        "lsyncd": {"running": node == "salt1" and bool(own) and own["active"] == node},
        "services": {"salt-master": "active"},
        "active_services": {},
        **changes,
    }


class Clock:
    """A node's clocks in place of the real ones. ``now`` is the wall's: what is added to it has passed."""

    def __init__(self, monkeypatch, *modules):
        self.now = 1_000_000.0
        self._set_ahead = 0.0
        for module in modules:
            monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(system, "boottime", lambda: self.now - self._set_ahead - 990_000.0)

    def time(self):
        return self.now

    def set_ahead(self, seconds):
        """Somebody sets the wall clock; no time passes."""
        self.now += seconds
        self._set_ahead += seconds


def in_place_of_time(monkeypatch, module, **functions):
    """Replace functions of ``time`` in one module alone: threads of pytest's plugins need the real clock."""
    monkeypatch.setattr(module, "time", types.SimpleNamespace(**{**vars(time), **functions}))


def lies_elsewhere(member, path="/srv/salt"):
    """A node's record says of a path that it lay on another file system than it does."""
    before = sources.facts([path], str(member.paths.root))[path]
    was = {**before["file_system"], "source": "/dev/vdz9"}
    own = {path: {**before, "exists": True, "empty": False, "file_system": was}}
    files.write_json(member.state / "sources.json", {"version": 1, "own": own, "peer": None})


def preview(path="/srv/salt", overwritten=0, deleted=0, total=1000, **more):
    """What a preview of one path says."""
    return {
        "path": path,
        "overwritten": overwritten,
        "deleted": deleted,
        "created": 0,
        "total_files": total,
        "bytes": 0,
        "kept_bytes": 0,
        **more,
    }
