"""The state module shared_vm as Salt loads it, with and without test mode."""

import importlib.util
import shutil

import guest_host
import pytest

from failback.errors import Unavailable
from failback.guests import storage
from failback.guests import virsh


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    # Salt 3006 gives a module its own copy of the options, so this must be known before it is loaded.
    minion_opts["failback_root"] = str(tmp_path_factory.mktemp("host") / "node")
    minion_opts["pillar"] = {"pairs": {"mgmt": guest_host.PILLAR}}
    # A state run asks for the pillar again: this tree's would put the same nodes in pair salt as well.
    minion_opts["pillar_roots"] = {"base": []}
    return minion_opts


@pytest.fixture
def host(minion_opts, monkeypatch):
    found = guest_host.Host(minion_opts["failback_root"], monkeypatch)
    found.only_looks = True
    yield found
    shutil.rmtree(minion_opts["failback_root"])


@pytest.fixture
def shared_vm(states, host):
    return states.shared_vm


@pytest.fixture(params=[True, False], ids=["test", "really"])
def testmode(request):
    return request.param


def test_started(shared_vm, host, testmode):
    ret = shared_vm.running_on("idm", host="salt1", test=testmode)
    assert ret.result is (None if testmode else True), ret.comment
    assert ret.changes == {"old": None, "new": "salt1"}
    assert host.running() == ([] if testmode else ["idm"])


def test_running_already(shared_vm, host, testmode):
    host.domains["idm"] = [guest_host.RUNNING, 1]
    ret = shared_vm.running_on("idm", host="salt1", test=testmode)
    assert (ret.result, ret.changes) == (True, {})
    assert host.done == []


def test_meant_for_the_other_host(shared_vm, host, testmode):
    for function in (shared_vm.running_on, shared_vm.absent_on):
        ret = function("idm", host="salt2", test=testmode)
        assert (ret.result, ret.changes) == (True, {}) and "not this host" in ret.comment
    assert host.done == []


def test_not_fetched_from_the_other_host(shared_vm, host, testmode):
    host.peer = host.peer_with(idm=("running", 1))
    ret = shared_vm.running_on("idm", host="salt1", test=testmode)
    assert (ret.result, ret.changes) == (False, {})
    assert "idm runs on salt2" in ret.comment and "orch.vm pillar='{vm: idm, host: salt1}'" in ret.comment
    assert host.done == []


def test_not_started_while_the_other_host_is_silent(shared_vm, host, testmode):
    host.peer = Unavailable("no answer")
    ret = shared_vm.running_on("idm", host="salt1", test=testmode)
    assert (ret.result, ret.changes) == (False, {}) and "salt2 does not say" in ret.comment
    assert host.done == []


def test_shut_down(shared_vm, host, testmode):
    host.domains["repo"] = [guest_host.RUNNING, 1]
    ret = shared_vm.absent_on("repo", host="salt1", test=testmode)
    assert ret.result is (None if testmode else True), ret.comment
    assert ret.changes == {"old": "salt1", "new": None}
    assert host.running() == (["repo"] if testmode else [])


def test_a_guest_that_libvirt_calls_off_and_that_has_a_process_runs(shared_vm, host, testmode, monkeypatch):
    monkeypatch.setattr(virsh, "emulators", lambda names: {"shared-repo": [4711]})
    ret = shared_vm.absent_on("repo", host="salt1", test=testmode)
    assert ret.result is (None if testmode else False), ret.comment
    assert testmode or "repo is off on salt1 and could not shut itself down" in ret.comment
    assert host.done == []


def test_absent_already(shared_vm, host, testmode):
    ret = shared_vm.absent_on("repo", host="salt1", test=testmode)
    assert (ret.result, ret.changes) == (True, {})


@pytest.mark.parametrize(
    "words, why",
    [
        ({"name": "nosuch", "host": "salt1"}, "not a guest of mgmt (guests: idm, repo)"),
        ({"name": "--all", "host": "salt1"}, "not a guest of mgmt (guests: idm, repo)"),
        ({"name": "idm", "host": "web1"}, "web1 is no host of mgmt"),
        ({"name": "idm", "host": "salt1", "pair": "nosuch"}, "name the pair"),
    ],
)
def test_bad_words(shared_vm, host, testmode, words, why):
    for function in (shared_vm.running_on, shared_vm.absent_on):
        ret = function(**words, test=testmode)
        assert (ret.result, ret.changes) == (False, {}) and why in ret.comment, ret.comment
    assert host.done == []


def test_a_minion_without_the_module_says_what_is_missing(tree):
    place = tree / "salt/_states/shared_vm.py"
    spec = importlib.util.spec_from_file_location("shared_vm_state", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__salt__ = {}
    found, why = module.__virtual__()
    assert found is False and "salt-call saltutil.sync_all" in why
    module.__salt__ = {"shared_vm.start": None}
    assert module.__virtual__() == "shared_vm"


@pytest.mark.parametrize("known", [[], ["mgmt", "web"]])
def test_the_pair_must_be_named_where_it_is_not_clear(tree, known):
    spec = importlib.util.spec_from_file_location("shared_vm_state", tree / "salt/_states/shared_vm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"id": "salt1", "test": False}
    module.__salt__ = {"shared_vm.pairs": lambda: known}
    for function in (module.running_on, module.absent_on):
        ret = function("idm", host="salt1")
        assert (ret["result"], ret["changes"]) == (False, {})
        assert ret["comment"] == (
            f"salt1 is in {', '.join(known) or 'no pair'} with virtual machines; name the pair"
        )


def test_nothing_at_boot(shared_vm, host, testmode):
    host.autostart = {"idm"}
    ret = shared_vm.not_at_boot("mgmt", test=testmode)
    assert ret.result is (None if testmode else True)
    assert ret.changes == {"no longer started at boot": ["idm"]}
    assert host.autostart == ({"idm"} if testmode else set())
    if not testmode:
        assert shared_vm.not_at_boot("mgmt").changes == {}


def test_the_storage_is_marked(shared_vm, host, testmode):
    assert shared_vm.storage_marked("mgmt", test=testmode).changes == {}
    mark = host.paths.root / "srv/vms/.failback-storage"
    mark.unlink()
    ret = shared_vm.storage_marked("mgmt", test=testmode)
    assert ret.result is (None if testmode else True)
    assert ret.changes == {"made": [str(mark)]}
    assert mark.exists() is not testmode


def test_storage_that_is_gone_fails_no_highstate(shared_vm, host, testmode, monkeypatch):
    """It is said, and nothing is made on the node's own disk in its stead."""
    mark = host.paths.root / "srv/vms/.failback-storage"
    mark.unlink()
    monkeypatch.setattr(storage, "mounted", lambda folder, paths: False)
    ret = shared_vm.storage_marked("mgmt", test=testmode)
    assert (ret.result, ret.changes) == (True, {})
    assert "/srv/vms is not mounted on salt1" in " ".join(ret.warnings)
    assert not mark.exists()
