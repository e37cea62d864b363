"""The steps of ``orch.lease``, with hosts that make real keys; etcd and Salt are stood in for."""

import json
import shutil
import ssl
import subprocess

import pytest
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from two_guest_hosts import loaded

from failback.errors import Unavailable
from failback.host.paths import Paths
from failback.lease import right
from failback.pillar import normalise
from failback_master import minions

pytestmark = [
    pytest.mark.one_release,
    pytest.mark.skipif(not shutil.which("openssl"), reason="this machine: openssl is not installed"),
]

#: salt2 is a member as well; the other members are hosts of their own.
MEMBERS = {"etcd1": "10.0.0.91", "etcd2": "10.0.0.92", "salt2": "10.0.0.12"}
NODES = ("salt1", "salt2")
PAIR = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "floating_ips": {"gw": {"address": "10.0.0.5/24", "interface": "eth0"}},
    "lease": {"members": [{"id": node, "host": host} for node, host in MEMBERS.items()]},
}
EVERYONE = sorted({*MEMBERS, *NODES})


class Host:
    """A host with the execution module ``lease``, and the pair's configuration if it is a node."""

    def __init__(self, root, node):
        self.paths = Paths(root)
        self.lease = loaded(f"lease_on_{node}", "_modules/lease.py")
        self.lease.__opts__ = {"failback_root": str(root)}
        if node in NODES:
            place = self.paths.pair_config("salt")
            place.parent.mkdir(parents=True)
            own = {**normalise.normalise("salt", PAIR), "node": node, "version": 1}
            place.write_text(json.dumps(own))


class Etcd:
    """A majority answers, or none."""

    def __init__(self):
        self.key = (0, None)
        self.gone = False

    def read(self, key, within):
        if self.gone:
            raise Unavailable("etcd does not answer.")
        assert key == "/failback/salt"
        return self.key


class Site:
    """All hosts, and a master's way to them."""

    def __init__(self, root, monkeypatch):
        self.hosts = {node: Host(root / node, node) for node in EVERYONE}
        self.etcd = Etcd()
        self.silent = set()
        #: What ``state.apply`` changes or fails, by host: ``{id of a state: (result, changes, comment)}``.
        self.applied = {}
        self.asked = []
        monkeypatch.setattr(right, "client", lambda member: self.etcd)
        site = self

        class Nodes(minions.Nodes):
            def __init__(self, opts):
                pass

            def try_all(self, nodes, function, *args, look=None, **kwargs):
                return site._salt(nodes, function, args, kwargs)

        monkeypatch.setattr(minions, "Nodes", Nodes)

    def asked_for(self, function):
        """The hosts of each question for a function, with what it was given."""
        return [(nodes, args, kwargs) for nodes, one, args, kwargs in self.asked if one == function]

    def _salt(self, nodes, function, args, kwargs):
        if nodes:
            self.asked.append((list(nodes), function, args, kwargs))
        answers, errors = {}, {}
        for node in nodes:
            if node in self.silent:
                errors[node] = minions.NoAnswer(f"{node} does not answer {function}")
                continue
            try:
                answers[node] = self._one(node, function, args)
            except SaltException as error:
                errors[node] = f"{node}: {error}"
        return answers, errors

    def _one(self, node, function, args):
        if function == "test.ping":
            return True
        if function == "state.apply":
            return {
                f"x_|-{key}_|-{key}_|-x": {
                    "__id__": key,
                    "result": one[0],
                    "changes": one[1],
                    "comment": one[2],
                }
                for key, one in self.applied.get(node, {}).items()
            }
        return getattr(self.hosts[node].lease, function.partition(".")[2])(*args)


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


@pytest.fixture
def setup(site, tmp_path):
    """The state module ``lease_setup`` as the master's loader has it."""
    module = loaded("lease_setup", "_states/lease_setup.py")
    module.__opts__ = {
        "id": "salt2_master",
        "conf_file": "x",
        "test": False,
        "pki_dir": str(tmp_path / "pki"),
    }
    module.__pillar__ = {"pairs": {"salt": PAIR}}
    return module


STEPS = ("possible", "certified", "running", "guarded")


@pytest.mark.parametrize("step", STEPS)
def test_a_pair_that_names_no_members_is_refused_and_nobody_is_asked(setup, site, step):
    """The site's own etcd is used as it is."""
    for lease in ({"endpoints": ["http://10.0.0.91:2379"]}, None):
        pair = {key: one for key, one in PAIR.items() if key != "lease"}
        setup.__pillar__ = {"pairs": {"salt": {**pair, "lease": lease} if lease else pair}}
        ret = getattr(setup, step)("a step", pair="salt")
        assert ret["result"] is False and ret["changes"] == {}, ret
        assert "names no members of etcd, so there is nothing to set up" in ret["comment"]
    assert site.asked == []


@pytest.mark.parametrize("step", STEPS[1:])
def test_test_mode_asks_nobody(setup, site, step, tmp_path):
    setup.__opts__["test"] = True
    ret = getattr(setup, step)("a step", pair="salt")
    assert ret["result"] is None and list(ret["changes"]) == ["salt"] and ret["comment"].startswith("Would ")
    assert site.asked == [] and not (tmp_path / "pki").exists()


@pytest.mark.parametrize("test", [False, True], ids=["really", "test"])
def test_each_member_and_each_node_must_answer(setup, site, test):
    setup.__opts__["test"] = test
    ret = setup.possible("a step", pair="salt")
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == "etcd1, etcd2, salt1, salt2 answer, and the pillar is right."
    for node in EVERYONE:
        site.silent = {node}
        ret = setup.possible("a step", pair="salt")
        assert ret["result"] is False and f"{node} does not answer test.ping" in ret["comment"]


def certificate(path):
    """What openssl reads in a certificate."""
    command = ["openssl", "x509", "-in", str(path), "-noout", "-text"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_each_gets_a_certificate_of_the_one_authority_and_keeps_it(setup, site, tmp_path):
    ret = setup.certified("a step", pair="salt")
    assert ret["result"] is True, ret
    member, client = "certificate of a member", "certificate of a client"
    assert ret["changes"] == {
        "etcd1": [member],
        "etcd2": [member],
        "salt1": [client],
        "salt2": [member, client],
    }
    assert ret["comment"] == "Each member and each node has its certificate."
    kept = (tmp_path / "pki/failback-lease/ca.crt").read_text()
    for node, address in MEMBERS.items():
        folder = site.hosts[node].paths.root / "etc/etcd"
        assert f"IP Address:{address}\n" in certificate(folder / "member.crt"), (
            "it is good for that host alone"
        )
        assert (folder / "ca.crt").read_text() == kept
    for node in NODES:
        folder = site.hosts[node].paths.configuration / "lease"
        assert "IP Address" not in certificate(folder / "client.crt")
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / "client.crt", folder / "client.key")
    assert not (site.hosts["salt1"].paths.root / "etc/etcd").exists(), "no member of etcd"
    # Once more, and all of them stay.
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = setup.certified("a step", pair="salt")
    assert (again["result"], again["changes"]) == (True, {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_host_that_is_set_up_anew_alone_gets_another_certificate(setup, site):
    setup.certified("a step", pair="salt")
    shutil.rmtree(site.hosts["etcd2"].paths.root / "etc/etcd")
    shutil.rmtree(site.hosts["salt2"].paths.configuration / "lease")
    ret = setup.certified("a step", pair="salt")
    assert ret["changes"] == {"etcd2": ["certificate of a member"], "salt2": ["certificate of a client"]}


def test_what_cannot_be_asked_for_or_installed_fails_the_step(setup, site):
    site.silent = {"etcd2"}
    ret = setup.certified("a step", pair="salt")
    assert ret["result"] is False and "etcd2 does not answer lease.request" in ret["comment"]
    assert not site.asked_for("lease.install"), "a member alone is of no use"


def test_a_host_keeps_nothing_that_is_no_certificate(site):
    host = site.hosts["salt1"]
    with pytest.raises(CommandExecutionError, match="client.crt: this is not a certificate"):
        host.lease.install("client", "text", "text")
    assert not list(host.paths.configuration.rglob("*.crt"))


def test_etcd_is_set_up_on_all_members_at_once(setup, site):
    """A new cluster answers when a majority has started."""
    site.applied = {
        "etcd1": {"unit": (True, {"x": 1}, ""), "conf": (True, {"x": 1}, ""), "user": (True, {}, "")}
    }
    ret = setup.running("a step", pair="salt")
    assert ret["result"] is True and ret["comment"] == "etcd runs on etcd1, etcd2, salt2."
    assert ret["changes"] == {"etcd1": ["conf", "unit"]}
    ((nodes, args, kwargs),) = site.asked_for("state.apply")
    assert nodes == sorted(MEMBERS) and args == ("lease.member",)
    assert kwargs == {"pillar": {"lease_members": MEMBERS}, "queue": True}


def test_a_state_that_failed_on_a_member_is_named(setup, site):
    site.applied = {"etcd2": {"unit": (False, {}, "it ended at once"), "conf": (True, {"x": 1}, "")}}
    ret = setup.running("a step", pair="salt")
    assert ret["result"] is False and ret["changes"] == {}
    assert ret["comment"] == "etcd was not set up. etcd2: unit: it ended at once"


HELD = (7, {"holder": "salt2", "generation": 4, "ttl": 10, "boot": "x"})


@pytest.mark.parametrize(("key", "who"), [((0, None), "nobody yet"), (HELD, "salt2")])
def test_both_nodes_know_the_lease_when_a_majority_answers_both(setup, site, key, who):
    site.etcd.key = key
    site.applied = {"salt1": {"guard": (True, {"x": 1}, "")}, "salt2": {"guard": (True, {}, "")}}
    ret = setup.guarded("a step", pair="salt")
    assert ret["result"] is True and ret["changes"] == {"salt1": ["guard"]}, ret
    assert ret["comment"] == f"A majority of the members answers both nodes. Who has the lease: {who}."
    assert [nodes for nodes, _, _ in site.asked_for("state.apply")] == [list(NODES)]
    for node in NODES:
        found = site.hosts[node].lease.answers("salt")
        assert found == {
            "holder": (key[1] or {}).get("holder"),
            "generation": (key[1] or {}).get("generation", 0),
        }
        assert site.hosts[node].lease.status("salt")["holder"] == found["holder"]


def test_where_no_majority_answers_the_step_fails(setup, site):
    site.etcd.gone = True
    ret = setup.guarded("a step", pair="salt")
    assert ret["result"] is False and ret["changes"] == {}
    assert (
        "salt1: etcd does not answer." in ret["comment"] and "salt2: etcd does not answer." in ret["comment"]
    )


def test_a_highstate_that_failed_is_no_guard(setup, site):
    site.applied = {"salt1": {"guard": (False, {}, "the unit is masked")}}
    ret = setup.guarded("a step", pair="salt")
    assert ret["result"] is False and "salt1: guard: the unit is masked" in ret["comment"]
    assert not site.asked_for("lease.answers")


def test_what_nobody_knows_is_refused(setup, site):
    ret = setup.possible("a step", pair="nosuch")
    assert ret["result"] is False and "There is no pair nosuch" in ret["comment"]
    assert "orch.lease" in ret["comment"] and site.asked == []


def test_a_certificate_is_made_anew_when_that_is_wanted(setup, site):
    setup.certified("a step", pair="salt")
    host = site.hosts["salt1"]
    assert host.lease.request("client") is None
    assert "BEGIN CERTIFICATE REQUEST" in host.lease.request("client", anew=True)
