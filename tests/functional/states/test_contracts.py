"""
What Salt expects of a state, asked of every state of the tree alone.

In test mode ``None`` with the changes it would make, or ``True`` without any; nothing is touched. For real
the same changes, and none the second time. A state that is new joins by itself: it fails until it has a stage
here on which it would change something. The steps of orchestrations are asked without their run.
"""

import ast
import collections
import contextlib
import copy
import pathlib
import pwd
import re
import types

import guest_host
import lsyncd_host
import pytest
import salt.loader
import segment
import trees
from salt.exceptions import CommandExecutionError
from salt.utils.decorators.state import OutputUnifier

from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.peer import key_file
from failback.replication import gate

pytestmark = pytest.mark.needs("root")

STATES = pathlib.Path(__file__).resolve().parents[3] / "salt/_states"
RUN = "20261122T183000-recover-salt-4f2a"
ADDRESS = "10.99.0.5/24"


def states_of_the_tree():
    """``(module.function, the arguments that it must be given)`` of each."""
    for path in sorted(STATES.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                required = node.args.args[1 : len(node.args.args) - len(node.args.defaults)]
                yield f"{path.stem}.{node.name}", [one.arg for one in required]


ALL = dict(states_of_the_tree())
#: Modules of states that run on the master alone.
STEPS = {"cluster_run", "lease_setup", "pair_adoption", "pair_drill", "pair_retirement", "pair_run"}
STEPS |= {"pair_verification", "vm_run"}
ON_NODES = [one for one in ALL if one.partition(".")[0] not in STEPS]


class Stage:
    """
    A node on which one state would change something: how it is called, and what must stay as it is.

    opts
        The minion's options.

    words
        The arguments of the state.
    """

    def __init__(self, opts, root, **words):
        self.opts, self.root, self.words = opts, pathlib.Path(root), words
        self.modules = None
        #: What a snapshot has beside the files.
        self.more = list
        #: In what the state is called, such as a host's network.
        self.place = contextlib.nullcontext

    def snapshot(self):
        found = trees.fingerprint(self.root) if self.root.is_dir() else {}
        return found, copy.deepcopy(self.more())

    def load(self):
        utils = salt.loader.utils(self.opts)
        self.modules = salt.loader.minion_mods(self.opts, utils=utils, context={})
        return self

    def apply(self, state, test):
        loader = salt.loader.states({**self.opts, "test": test}, self.modules, {}, None, context={})
        with self.place():
            returned = loader[state](**self.words)
        return valid(returned, state)


def valid(returned, state):
    """What Salt itself holds against a return; the return as it was."""
    assert {"name", "result", "changes", "comment"} <= set(returned), f"{state}: {sorted(returned)}"
    checked = OutputUnifier("content_check", "unify")(lambda: copy.deepcopy(returned))()
    assert checked["result"] == returned["result"], f"{state}: {checked['comment']}"
    assert isinstance(returned["comment"], str) and returned["comment"].strip()
    return returned


# --- the stages ----------------------------------------------------------------------------------


@pytest.fixture
def stage(request, minion_opts, tmp_path, monkeypatch):
    """The stage that the state asked for by ``request.param`` has; the state fails for want of one."""
    state = request.param
    make = STAGES.get(state)
    if make is None:
        pytest.fail(f"{state} has no stage here: write one, a node on which it would change something.")
    root = tmp_path / "node"
    opts = {**minion_opts, "failback_root": str(root), "grains": {"id": "salt1"}}
    with contextlib.ExitStack() as stack:
        yield make(opts, root, stack, monkeypatch)


def of_the_addresses(state):
    def make(opts, root, stack, monkeypatch):
        network = stack.enter_context(segment.Segment("salt1"))
        made = Stage(opts, root, name=ADDRESS, interface="eth0").load()
        made.more = lambda: network.addresses("salt1")
        made.place = lambda: network.inside("salt1")
        if state == "absent":
            network.ip("salt1", "address", "add", ADDRESS, "dev", "eth0")
        return made

    return make


def of_lsyncd(state):
    def make(opts, root, stack, monkeypatch):
        opts["failback_root"] = str(root.parent / "primary")
        host = lsyncd_host.Host(opts["failback_root"])
        stack.callback(host.kill)
        made = Stage(opts, host.base / "primary/etc", name="salt").load()
        for name in ("show", "start", "stop", "restart"):
            monkeypatch.setitem(made.modules, f"service.{name}", getattr(host, name))
        made.more = lambda: host.show("lsyncd")["ActiveState"]
        if state != "managed":
            made.modules["lsyncd.managed"]("salt")
        if state == "stopped":
            made.modules["lsyncd.start"]("salt")
        return made

    return make


def of_the_pair(state):
    def make(opts, root, stack, monkeypatch):
        paths = Paths(root)
        (root / "etc/ssh").mkdir(parents=True)
        (root / "etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA\n")
        words = {"name": "What is kept"}
        if state == "fence_agent_known":
            agent = {"agent": "fence_ipmilan", "options": {"password": "secret"}}
            pair = {"primary": "salt1", "secondary": "salt2", "fence": {"nodes": {"salt2": agent}}}
            opts["pillar"] = {"pairs": {"salt": pair}}
            words["pair"] = "salt"
        if state == "flat_program_absent":
            flat = paths.library / "failback"
            flat.mkdir(parents=True)
            (flat / "__init__.py").write_text("")
        return Stage(opts, root, **words).load()

    return make


def of_the_shell(opts, root, stack, monkeypatch):
    root.mkdir()
    account = types.SimpleNamespace(pw_dir=str(root), pw_shell="/bin/bash")
    monkeypatch.setattr(pwd, "getpwnam", lambda user: account)
    return Stage(opts, root, name="Nothing but the answer").load()


def of_the_keys(state):
    def make(opts, root, stack, monkeypatch):
        keys = root / "home/anna/.ssh/authorized_keys"
        words = {"name": "The keys", "file": str(keys), "account": "anna"}
        if state == "keys_allowed":
            words["lines"] = "restrict ssh-ed25519 AAAA salt2"
        else:
            keys.parent.mkdir(parents=True)
            keys.write_text(key_file.replaced("", "restrict ssh-ed25519 AAAA salt2"))
        return Stage(opts, root, **words).load()

    return make


def of_the_sync(opts, root, stack, monkeypatch):
    nodes = trees.Nodes(root.parent)
    trees.make(nodes.there, {"srv/salt/changed": "new!", "srv/salt/added": "1"})
    trees.make(nodes.here, {"srv/salt/changed": "old", "srv/salt/gone": "1"})
    replicate = [{"path": "/srv/salt", "then": None}]
    config = {**lsyncd_host.PAIR, "replicate": replicate, "watch": {"patience": 2.0},
              "recovery": {"max_delete": 3, "max_change_percent": 90, "small_pass": 20, "max_passes": 5,
                           "keep_backups": 5, "keep_days": 0}}  # fmt: skip
    files.write_json(Paths(nodes.here).pair_config("salt"), config)
    nodes.peer([nodes.item("/srv/salt")])
    monkeypatch.setattr(gate, "require_pull", lambda member, run: None)
    opts.update(failback_root=str(nodes.here), failback_remote_shell=str(nodes.folder / "far-end"))
    return Stage(opts, nodes.here / "srv", name="salt", run=RUN).load()


def of_the_minion(opts, root, stack, monkeypatch):
    root.mkdir()
    opts.update(conf_file=str(root / "minion"), __cli="salt-minion")
    (root / "minion").write_text("# nothing\n")
    monkeypatch.setattr(system, "run", lambda *words, **more: pytest.fail("nothing is to be restarted"))
    # What it uses already, so that the file alone is wanting.
    return Stage(opts, root, name="failback-reconnect", settings={"recon_max": opts["recon_max"]}).load()


def of_the_guests(state):
    def make(opts, root, stack, monkeypatch):
        host = guest_host.Host(root, monkeypatch)
        host.only_looks = True
        opts["pillar"] = {"pairs": {"mgmt": guest_host.PILLAR}}
        words = {"name": "mgmt"}
        if state in ("running_on", "absent_on"):
            words = {"name": "idm", "host": "salt1"}
        if state == "absent_on":
            host.domains["idm"] = [guest_host.RUNNING, 1]
        if state == "storage_marked":
            (root / "srv/vms/.failback-storage").unlink()
        if state == "not_at_boot":
            host.autostart = {"idm"}
        made = Stage(opts, root / "srv", **words).load()
        made.more = lambda: (host.domains, sorted(host.autostart))
        return made

    return make


STAGES = {
    "floating_ip.present": of_the_addresses("present"),
    "floating_ip.absent": of_the_addresses("absent"),
    "lsyncd.managed": of_lsyncd("managed"),
    "lsyncd.running": of_lsyncd("running"),
    "lsyncd.stopped": of_lsyncd("stopped"),
    "pair.key_present": of_the_pair("key_present"),
    "pair.keys_allowed": of_the_keys("keys_allowed"),
    "pair.keys_removed": of_the_keys("keys_removed"),
    "pair.fence_agent_known": of_the_pair("fence_agent_known"),
    "pair.release_in_force": of_the_pair("release_in_force"),
    "pair.flat_program_absent": of_the_pair("flat_program_absent"),
    "pair.shell_silent": of_the_shell,
    "reverse_rsync.synced": of_the_sync,
    "salt_minion.configured": of_the_minion,
    "shared_vm.running_on": of_the_guests("running_on"),
    "shared_vm.absent_on": of_the_guests("absent_on"),
    "shared_vm.storage_marked": of_the_guests("storage_marked"),
    "shared_vm.not_at_boot": of_the_guests("not_at_boot"),
}
#: They look, and never change anything.
LOOK_ONLY = {"pair.shell_silent"}


# --- the contract --------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ON_NODES, indirect=True, ids=ON_NODES)
def test_a_state_says_what_it_would_do_does_it_and_then_has_nothing_to_do(stage, request):
    state = request.node.callspec.params["stage"]
    before = stage.snapshot()
    if state not in LOOK_ONLY:
        would = stage.apply(state, test=True)
        assert would["result"] is None and would["changes"], would
        assert stage.snapshot() == before, "test mode has touched something"
        did = stage.apply(state, test=False)
        assert did["result"] is True and set(did["changes"]) == set(would["changes"]), did
        before = stage.snapshot()
    for test in (True, False):
        again = stage.apply(state, test=test)
        assert (again["result"], again["changes"]) == (True, {}), again
        assert stage.snapshot() == before, "it has touched something although there was nothing to do"


def asks(state):
    """The execution functions that a state calls, itself or by what its module has for all of them."""
    module, _, name = state.partition(".")
    parts = [
        node
        for node in ast.parse((STATES / f"{module}.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and (node.name == name or node.name.startswith("_"))
    ]
    found = (node for part in parts for node in ast.walk(part) if isinstance(node, ast.Subscript))
    return sorted({node.slice.value for node in found if ast.unparse(node.value) == "__salt__"})


@pytest.mark.one_release
@pytest.mark.parametrize("stage", ON_NODES, indirect=True, ids=ON_NODES)
def test_what_a_module_refuses_is_a_failed_state_with_the_reason(stage, request):
    """Each function that a state asks refuses once, in test mode and for real; a traceback is no answer."""
    state = request.node.callspec.params["stage"]
    refused, modules = [], stage.modules
    for function in asks(state):
        for test in (True, False):
            asked = []

            def refuse(*words, asked=asked, **more):
                asked.append(words)
                raise CommandExecutionError("It is out of order.")

            before = stage.snapshot()
            stage.modules = collections.ChainMap({function: refuse}, modules)
            ret = stage.apply(state, test=test)
            assert not test or stage.snapshot() == before, f"test mode has touched something ({function})"
            if asked:
                refused.append(function)
                assert ret["result"] is False and "It is out of order." in ret["comment"], (function, ret)
                # Only what was done before it was refused is a change.
                assert ret["changes"] == {} or stage.snapshot() != before, (function, ret)
    assert refused, "it asks no module at all"


def test_no_minion_has_the_steps_of_a_master_nor_a_state_without_its_module(minion_opts):
    """A step asks the minions of a master, and not all may be synced yet: Salt says so, with no traceback."""
    loader = salt.loader.states({**minion_opts, "__role": "minion"}, {}, {}, None, context={})
    said = {state: "runs? on the master" for state in ALL if state not in ON_NODES}
    said["floating_ip.present"] = "saltutil.sync_all"
    said["salt_minion.configured"] = "The module salt_minion is not there"
    assert {state for state in said if state in loader} == set()
    wrong = {state: loader.missing_fun_string(state) for state in said}
    assert {one: why for one, why in wrong.items() if not re.search(said[one], why)} == {}


@pytest.fixture(scope="module", params=[True, False], ids=["test mode", "for real"])
def steps(request, minion_opts, tmp_path_factory):
    """The states of a master, and the folder that they may not make."""
    root = tmp_path_factory.mktemp("master") / "node"
    opts = {**minion_opts, "__role": "master", "id": "salt1_master", "test": request.param,
            "failback_root": str(root), "pillar": {}}  # fmt: skip
    return salt.loader.states(opts, {}, {}, None, context={}), root


@pytest.mark.parametrize("state", [one for one in ALL if one not in ON_NODES])
def test_a_step_without_its_run_changes_nothing(state, steps):
    """Whoever calls one by itself is told so, or has nothing to do; a traceback is no answer."""
    loader, root = steps
    returned = valid(loader[state]("a step", **dict.fromkeys(ALL[state], "nothing")), state)
    assert returned["result"] is not None and returned["changes"] == {}, returned
    assert not root.exists()


@pytest.mark.parametrize("module", sorted(STEPS))
def test_a_minion_is_told_that_a_step_runs_on_the_master(module, minion_opts):
    """It has no other minions to ask."""
    state = next(one for one in ALL if one.startswith(f"{module}."))
    loader = salt.loader.states(minion_opts, {}, {}, None, context={})
    assert state not in loader
    assert "master" in loader.missing_fun_string(state)
