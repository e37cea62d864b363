"""The steps of ``orch.verify`` and ``orch.drill``, with nodes that answer from a table."""

import importlib.util
import pathlib
import types

import pytest
import samples
from salt.exceptions import CommandExecutionError

from failback.decisions import verified
from failback.host import system
from failback_master import minions
from failback_master import orchestration

STATES = pathlib.Path(__file__).parents[2] / "salt/_states"

RECORD = {
    "at": 1_000_000.0,
    "by": "salt1",
    "generation": 7,
    "files": 12,
    "differing": 0,
    "differences": [],
    "complete": True,
    "busy": 0,
    "repaired": 0,
    "seconds": 1.0,
    "sentence": "salt2 has the same files as salt1 (12 files compared by checksum).",
}
DIFFERS = {
    **RECORD,
    "differing": 1,
    "differences": [{"path": "/srv/salt/a", "of": "/srv/salt", "name": "a", "what": verified.DIFFERS}],
    "sentence": "1 file on salt2 differs from salt1 and will not be carried: /srv/salt/a differs (12).",
}


class Nodes:
    """
    Their reports; what else they are asked is noted as ``(node, function, arguments)``.

    record
        What the comparison finds, or an exception.

    silent
        A node that answers nothing but the first look.
    """

    def __init__(self, active, record=RECORD, silent=None, **changes):
        self.asked = []
        self._record, self._silent = record, silent
        digest = system.package_digest(system.PACKAGE)
        self._reports = [
            {
                **samples.report(
                    node,
                    samples.ledger(7, active),
                    holds=["10.0.0.5/24"] if node == active else [],
                    lock=None,
                    package={"modules": digest, "program": digest},
                ),
                **changes,
            }
            for node in ("salt1", "salt2")
        ]

    def reports(self, config, look=None):
        return (*self._reports, {})

    def one(self, node, function, *args, **kwargs):
        self.asked.append((node, function, kwargs))
        if isinstance(self._record, Exception):
            raise self._record
        return dict(self._record)

    def all(self, ids, function, *args, **kwargs):
        self.asked += [(node, function, args) for node in ids]
        return dict.fromkeys(ids, True)

    def try_all(self, ids, function, *args, **kwargs):
        self.asked += [(node, function, args) for node in ids]
        return {}, {node: f"{node} does not answer" for node in ids if node == self._silent}


@pytest.fixture
def states(tmp_path, monkeypatch):
    """A function of a state module's name and of the nodes: the module as the master's loader has it."""

    def load(name, nodes, test=False, **given):
        spec = importlib.util.spec_from_file_location(name, STATES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        pair = {"primary": "salt1", "secondary": "salt2", "replicate": ["/srv/salt"]}
        address = {"address": "10.0.0.5/24", "interface": "eth0"}
        pair["floating_ips"] = {"salt-gw": {**address, "watch": {"on": "secondary", "cron": "gateway-ip"}}}
        pair["watch"] = {"reachable": "nobody"}
        module.__opts__ = {"test": test, "id": "salt2_master", "conf_file": str(tmp_path / "master")}
        module.__pillar__ = {"pairs": {"salt": {**pair, **given}}, "pair": "salt"}
        module.__context__ = {}
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        return module

    return load


def test_both_nodes_keep_that_they_have_the_same_files(states):
    nodes = Nodes("salt1")
    module = states("pair_verification", nodes)
    assert module.possible("ready", "salt")["result"] is True
    said = module.compared("same", "salt", repair=True, limit=60)
    assert said["result"] is True and said["comment"] == RECORD["sentence"] and said["changes"] == {}
    (asked, kept) = nodes.asked
    assert asked == ("salt1", "pair.verify", {"repair": True, "limit": 60, "max_delete": None})
    assert kept[:2] == ("salt2", "pair.keep_verified") and kept[2][1]["files"] == 12


def test_what_differs_fails_the_step_names_the_command_and_is_told_to_the_standby(states):
    nodes = Nodes("salt1", DIFFERS)
    said = states("pair_verification", nodes).compared("same", "salt")
    assert said["result"] is False and "/srv/salt/a differs" in said["comment"]
    assert said["comment"].endswith(
        "run: salt-run state.orch orch.verify pillar='{pair: salt, repair: true}'"
    )
    assert nodes.asked[-1][:2] == ("salt2", "pair.keep_verified")


def test_what_was_repaired_is_a_change(states):
    said = states("pair_verification", Nodes("salt1", {**RECORD, "repaired": 2})).compared("same", "salt")
    assert said["result"] is True and said["changes"] == {"salt2": {"repaired": 2}}


@pytest.mark.parametrize(
    "nodes, said",
    [
        (Nodes("salt1", CommandExecutionError("salt1: rsync ended")), "salt1: rsync ended"),
        (Nodes("salt1", silent="salt2"), "salt2 was not told so: salt2 does not answer"),
    ],
)
def test_a_comparison_of_which_not_all_is_known_fails(states, nodes, said):
    done = states("pair_verification", nodes).compared("same", "salt")
    assert done["result"] is False and said in done["comment"]


@pytest.mark.parametrize(
    "nodes, given, said",
    [
        (Nodes("salt2"), {}, "salt is failed_over"),
        (Nodes("salt1", package={"modules": "x", "program": "x"}), {}, "another release of Failback"),
        (Nodes("salt1"), {"limit": "long"}, "limit must be a number"),
        (Nodes("salt1"), {"repair": "please"}, "repair must be true or false"),
    ],
)
def test_a_comparison_that_would_prove_nothing_is_refused(states, nodes, given, said):
    done = states("pair_verification", nodes).possible("ready", "salt", **given)
    assert done["result"] is False and said in done["comment"]
    assert nodes.asked == []


def test_a_pair_without_paths_has_nothing_to_compare(states):
    nodes = Nodes("salt1")
    module = states("pair_verification", nodes, replicate=[])
    for step in (module.possible, module.compared):
        done = step("same", "salt")
        assert done["result"] is True and "replicates no paths" in done["comment"]
    assert nodes.asked == []


@pytest.mark.parametrize("repair", [None, True])
def test_in_test_mode_nothing_is_read(states, repair):
    nodes = Nodes("salt1")
    done = states("pair_verification", nodes, test=True).compared("same", "salt", repair=repair)
    assert "compare all files by checksum" in done["comment"]
    # Only a repair would change something.
    changes = {"salt2": {"repaired": "what differs"}} if repair else {}
    assert (done["result"], done["changes"]) == (None if repair else True, changes)
    assert nodes.asked == []


@pytest.mark.parametrize(
    "nodes, said",
    [
        (Nodes("salt1"), None),
        (Nodes("salt2"), "salt is failed_over"),
        (Nodes("salt1", services={"salt-master": "failed"}), "salt is not ready: salt-master is failed"),
        (Nodes("salt1", pause={"until": 9e9, "reason": "work", "run": None}), "is paused (work)"),
        (Nodes("salt1", boot_id=system.boot_id()), "Run it on the master of salt2"),
    ],
)
def test_a_drill_begins_with_a_pair_that_was_looked_at_and_is_well(states, nodes, said):
    if said and said.startswith("Run it"):
        for report in nodes.reports(None)[:2]:
            report["ledger"]["boot_id"] = report["boot_id"]
    done = states("pair_drill", nodes).possible("ready", "salt")
    assert done["result"] is (said is None), done
    assert said is None or "Refused, nothing was changed. " in done["comment"]
    assert said is None or said in done["comment"]
    # Only a pair that looks well is looked at anew.
    assert [one[:2] for one in nodes.asked] == [
        (node, "pair.look") for node in ("salt1", "salt2") if said is None
    ]


def run(operation, window):
    facts = {} if window is None else {"window_milliseconds": window}
    return types.SimpleNamespace(
        operation=operation, id=f"20261122T183000-{operation}-salt-4f2a", facts=facts
    )


def test_a_drill_keeps_both_windows_on_both_nodes(states):
    nodes = Nodes("salt1")
    module = states("pair_drill", nodes)
    module.__context__[orchestration.CLOSED] = [run("failover", 310.5), run("recover", 120.0)]
    done = module.ended("kept", "salt")
    assert done["result"] is True and "310.5 ms on the way to salt2" in done["comment"], done
    assert [one[:2] for one in nodes.asked] == [(node, "pair.keep_drilled") for node in ("salt1", "salt2")]
    assert nodes.asked[0][2][1]["windows"] == {"failover": 310.5, "recover": 120.0}


@pytest.mark.parametrize(
    "runs", [[], [run("failover", 310.5)], [run("failover", 310.5), run("recover", None)]]
)
def test_half_a_drill_is_not_kept(states, runs):
    nodes = Nodes("salt1")
    module = states("pair_drill", nodes)
    module.__context__[orchestration.CLOSED] = runs
    done = module.ended("kept", "salt")
    assert done["result"] is False and "recover" in done["comment"] and nodes.asked == []


def test_a_drill_in_test_mode_keeps_nothing(states):
    nodes = Nodes("salt1")
    would = states("pair_drill", nodes, test=True).ended("kept", "salt")
    assert would["result"] is None and set(would["changes"]) == {"drill"}
    assert nodes.asked == []
