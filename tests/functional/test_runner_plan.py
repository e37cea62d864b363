"""The runner ``pair``, with nodes that answer from a table: what it shows of what they say."""

import importlib.util
import pathlib

import pytest
import samples

from failback.decisions import conflicts
from failback.recovery import itemize
from failback_master import minions

RUNNER = pathlib.Path(__file__).parents[2] / "salt/_runners/pair.py"
ADDRESS = {"address": "10.0.0.5/24", "interface": "eth0"}
PAIR = {
    "primary": "salt1",
    "secondary": "salt2",
    "floating_ips": {"salt-gw": ADDRESS},
    "replicate": ["/srv/salt"],
}
CONFLICTS = {"/srv/salt/a": conflicts.BOTH, "/srv/salt/b\\#012c": conflicts.BEFORE}


def preview(conflicting):
    """What the returned node says of one path."""
    return {
        "path": "/srv/salt",
        "digest": "aa",
        "names": {
            itemize.OVERWRITTEN: ["/srv/salt/a", "/srv/salt/b\\#012c", "/srv/salt/old"],
            itemize.DELETED: [],
            itemize.ATTRIBUTES: [],
            itemize.CREATED: [],
        },
        "overwritten": 3,
        "deleted": 0,
        "attributes": 0,
        "created": 0,
        "total_files": 9,
        "bytes": 0,
        "conflicts": len(conflicting),
        "conflict_names": conflicting,
        "truncated": False,
    }


class Nodes:
    """salt2 serves, salt1 has come back."""

    def __init__(self, conflicting, refusals):
        self.asked = {}
        self._preview, self._refusals = preview(conflicting), refusals

    def reports(self, config, look):
        old, new = samples.ledger(3, "salt1", "an earlier boot"), samples.ledger(4, "salt2")
        common = {"time": 1.0, "sources": {}}
        return (
            samples.report("salt1", old, **common),
            samples.report("salt2", new, holds=["10.0.0.5/24"], **common),
            {},
        )

    def one(self, node, function, *args, **kwargs):
        assert node == "salt1"
        self.asked[function] = kwargs
        return {"reverse_rsync.preview": [self._preview], "reverse_rsync.refusals": self._refusals}[function]


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """The runner as the master's loader has it, and a function that sets what the nodes say."""
    spec = importlib.util.spec_from_file_location("failback_runner", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"id": "salt2_master", "conf_file": str(tmp_path / "master")}
    monkeypatch.setattr(module, "_pairs", lambda: {"salt": PAIR})

    def say(conflicting, refusals=()):
        nodes = Nodes(conflicting, list(refusals))
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        return nodes

    return module, say


@pytest.mark.parametrize("refusals", [[], ["Too much would be deleted."]])
def test_conflicts_are_shown_apart_each_with_its_reason(runner, refusals):
    module, say = runner
    nodes = say(CONFLICTS, refusals)
    shown = module.plan("salt")["data"]
    assert shown["verdict"] == "failed_over"
    assert shown["conflicts"] == CONFLICTS
    assert shown["files"]["/srv/salt"]["counts"].endswith("; 2 conflicts")
    assert nodes.asked["reverse_rsync.preview"]["takeover"] is not None
    assert shown.get("refused") == (refusals or None) and shown.get("retcode") == (1 if refusals else None)


def test_where_there_are_none_nothing_is_said_of_conflicts(runner):
    module, say = runner
    say({})
    shown = module.plan("salt")["data"]
    assert "conflicts" not in shown and shown["digest"] in shown["command"]


def test_where_no_master_runs_the_other_one_is_named(runner, monkeypatch):
    module, _ = runner

    class Gone:
        def __init__(self, opts, master_within=None):
            assert master_within == 0, "whoever looks does not wait for a restart"

        def try_all(self, *args, **kwargs):
            raise minions.NoMaster("The salt-master of this machine takes no connections.")

    monkeypatch.setattr(minions, "Nodes", Gone)
    shown = module.status("salt")["data"]
    assert shown["error"].endswith("takes no connections. Or use the master on salt1.")
    assert shown["retcode"] == 1


@pytest.mark.parametrize("timeout", [0, -1, 61, "3 s", True])
def test_a_timeout_that_is_none_is_refused(runner, timeout):
    assert "timeout must be from 1 to 60" in runner[0].status("salt", timeout)["data"]["error"]
