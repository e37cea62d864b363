"""What a node says of itself to whoever writes a pillar."""

import ipaddress

import pytest
import samples

from failback import surroundings
from failback.errors import Unavailable
from failback.network import netlink


def test_this_machine_says_what_it_is_like(tmp_path):
    """The kernel is asked, systemd only where a pair names a unit."""
    pair = samples.pair(
        "salt1", services=[], active_services=[], replicate=[{"path": "/srv/x", "then": None}]
    )
    found = surroundings.surroundings([pair, {**pair, "name": "other"}], "salt1", str(tmp_path))
    assert found["node"] == "salt1" and "lo" not in found["interfaces"]
    own = found["pairs"]["salt"]
    assert own["paths"] == {"/srv/x": False}
    assert own["units"] == {} and own["programs"] == [] and own["configured"] == []
    assert set(own["hosts"]) == {pair["primary"]["host"], pair["secondary"]["host"]}
    assert surroundings.surroundings([pair], "client", str(tmp_path))["pairs"] == {}


def test_a_host_that_nobody_knows_has_no_address():
    assert surroundings._addresses_of("no-such-host.invalid") == []
    assert surroundings._addresses_of("10.0.0.5") == ["10.0.0.5"]
    assert surroundings._addresses_of("a" * 300) == []


@pytest.mark.parametrize(
    "entry, missing",
    [
        ({"proof": ["sh", "-c", "true"]}, None),
        ({"proof": ["no-such-program"]}, "no-such-program"),
        ({"proof": None, "status": ["/no/such/program"]}, "/no/such/program"),
        ({"proof": None, "status": None}, None),
    ],
)
def test_a_proof_that_cannot_be_run_is_named(entry, missing):
    assert surroundings._program(entry) == missing


LINKS = netlink.Links(
    [
        netlink.Link(index, name, 1, 0x11003, b"\x02", b"\xff")
        for name, index in (("eth0", 2), ("lo", 1), ("br0", 3))
    ]
)


def borne(text, index):
    one = ipaddress.ip_interface(text)
    return netlink.Borne(one.ip.packed, one.network.prefixlen, index, 0, 0, "")


class Kernel:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def links(self):
        return LINKS

    def addresses(self):
        found = [
            ("127.0.0.1/8", 1),
            ("10.0.0.11/24", 2),
            ("fe80::1/64", 2),
            ("fd00::11/64", 2),
            ("10.1.0.1/16", 9),
        ]
        return [borne(*one) for one in found]

    def gateways(self):
        return {(bytes([10, 0, 0, 2]), 3), (bytes([10, 0, 0, 1]), 2), (bytes([10, 0, 0, 3]), 9)}


@pytest.fixture
def machine(monkeypatch):
    """A node with two interfaces; systemd and the other parts say what they are told to."""
    monkeypatch.setattr(netlink, "Netlink", Kernel)
    monkeypatch.setattr(
        surroundings.services, "states", lambda units: {one["name"]: "active" for one in units}
    )
    monkeypatch.setattr(surroundings, "_addresses_of", lambda host: [host])


def test_the_interfaces_and_the_ways_out_are_those_of_the_kernel(machine, tmp_path):
    found = surroundings.surroundings([], "salt1", str(tmp_path))
    assert found == {
        "node": "salt1",
        # What every host has, and what is of an interface that is gone, is no address to choose from.
        "interfaces": {"br0": [], "eth0": ["10.0.0.11/24", "fd00::11/64"]},
        "gateways": [
            {"address": "10.0.0.1", "interface": "eth0"},
            {"address": "10.0.0.2", "interface": "br0"},
            {"address": "10.0.0.3", "interface": None},
        ],
        "pairs": {},
    }


@pytest.mark.parametrize(("node", "known"), [("salt1", ["salt"]), ("salt2", ["salt"]), ("client", [])])
def test_only_the_pairs_of_the_node_are_looked_at(machine, tmp_path, node, known):
    found = surroundings.surroundings([samples.pair("salt1")], node, str(tmp_path))
    assert list(found["pairs"]) == known


def test_what_a_pair_finds_on_a_node(machine, tmp_path, monkeypatch):
    (tmp_path / "srv/salt").mkdir(parents=True)
    (tmp_path / "srv/git/bare.git").mkdir(parents=True)
    (tmp_path / "srv/git/bare.git/HEAD").touch()
    asked = []
    monkeypatch.setattr(
        surroundings.set_up, "configured", lambda addresses, root: asked.append(addresses) or ["c"]
    )
    monkeypatch.setattr(surroundings.set_up, "dropped", lambda links, root: asked.append(links) or {"d": "e"})
    config = samples.pair(
        "salt2",
        floating_ips=[samples.PAIR["floating_ips"][0], {**samples.SECOND, "interface": "gone"}],
        git=["/srv/git/bare.git", "/srv/git/none.git"],
        replicate=[{"path": "/srv/salt", "then": None}, {"path": "/srv/none", "then": None}],
        active_services=[{"name": "cron", "proof": ["no-such-program"], "status": None}],
    )
    found = surroundings.surroundings([config], "salt2", str(tmp_path))["pairs"]["salt"]
    assert found["units"] == {
        "salt-master": {"state": "active", "close": []},
        "cron": {"state": "active", "close": []},
    }
    assert found["programs"] == ["no-such-program"]
    assert found["paths"] == {"/srv/salt": True, "/srv/none": False}
    assert found["repositories"] == {"/srv/git/bare.git": True, "/srv/git/none.git": False}
    assert found["hosts"] == {"10.0.0.11": ["10.0.0.11"], "10.0.0.12": ["10.0.0.12"]}
    assert (found["configured"], found["dropped"]) == (["c"], {"d": "e"})
    assert asked == [["10.0.0.5/24", "10.0.0.6/24"], {"eth0": 2, "gone": None}]
    assert found["asks"] == {"asks": None, "problem": None}


@pytest.mark.parametrize("error", [Unavailable("no interface"), OSError(13, "Permission denied")])
def test_a_network_that_cannot_be_asked_is_a_problem_and_no_end(machine, tmp_path, monkeypatch, error):
    def fails(config):
        raise error

    monkeypatch.setattr(surroundings.reachable, "state", fails)
    found = surroundings.surroundings([samples.pair("salt1")], "salt1", str(tmp_path))
    assert found["pairs"]["salt"]["asks"] == {"asks": [], "problem": str(error)}


UNITS = "salt-master.service enabled\nsalt-minion.service enabled\n\ncron.service  disabled\n"


@pytest.mark.parametrize(
    ("name", "state", "printed", "close"),
    [
        ("salt-mastr", "not-found", UNITS, ["salt-master"]),
        ("zzz", "not-found", UNITS, []),
        ("salt-mastr", "inactive", UNITS, []),
        ("salt-mastr", "not-found", Unavailable("systemd does not answer"), []),
    ],
)
def test_a_unit_that_is_not_there_is_told_with_the_one_that_is_like_it(
    monkeypatch, name, state, printed, close
):
    asked = []

    def run(command, seconds, what):
        asked.append(command[:2])
        if isinstance(printed, Exception):
            raise printed
        return printed

    monkeypatch.setattr(surroundings.system, "run", run)
    monkeypatch.setattr(surroundings.services, "states", lambda units: {one["name"]: state for one in units})
    assert surroundings._units([{"name": name}]) == {name: {"state": state, "close": close}}
    assert asked == ([["systemctl", "list-unit-files"]] if state == "not-found" else [])


def test_a_systemd_that_does_not_answer_is_said_of_each_unit(monkeypatch):
    def fails(units):
        raise Unavailable("systemd does not answer")

    monkeypatch.setattr(surroundings.services, "states", fails)
    assert surroundings._units([{"name": "a"}, {"name": "b"}]) == {
        name: {"state": "systemd does not answer", "close": []} for name in ("a", "b")
    }


def test_the_addresses_of_a_host_are_in_order_and_each_is_there_once(monkeypatch):
    def getaddrinfo(host, port, type):
        return [(0, 0, 0, "", (one, 0)) for one in ("fe80::1%eth0", "10.0.0.2", "10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(surroundings.socket, "getaddrinfo", getaddrinfo)
    assert surroundings._addresses_of("salt1") == ["10.0.0.1", "10.0.0.2", "fe80::1"]
