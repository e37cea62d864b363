"""What a pillar names and the site does not have is a warning by name; a pair that fits has none."""

import copy

import pytest

from failback.pillar import normalise
from failback.pillar import site

PAIR = {
    "primary": {"id": "web1", "host": "10.0.0.81"},
    "secondary": {"id": "web2", "host": "web2.example.com"},
    "floating_ips": {
        "web-gw": {"address": "10.0.0.7/24", "interface": "eth0"},
        "web-6": {"address": "fd00::7/64", "interface": "eth0"},
        "web-public": {"address": "192.0.2.7/32", "interface": "eth1"},
    },
    "replicate": ["/srv/www"],
    "git": ["/srv/git/web.git"],
    "services": [{"name": "nginx", "proof": ["curl", "-f", "http://localhost"]}],
    "active_services": ["mailer"],
    "witnesses": [{"id": "client", "host": "10.0.0.100"}],
}


def own(**changes):
    found = {
        "units": {"nginx": {"state": "inactive", "close": []}, "mailer": {"state": "active", "close": []}},
        "programs": [],
        "paths": {"/srv/www": True},
        "repositories": {"/srv/git/web.git": True},
        "hosts": {"10.0.0.81": ["10.0.0.81"], "web2.example.com": ["10.0.0.82"]},
        "configured": [],
        "dropped": {},
        "asks": {"asks": ["10.0.0.1"], "problem": None},
    }
    return {**found, **changes}


def fits():
    """A site that has all that the pillar names."""

    def node(name, number):
        return {
            "node": name,
            "interfaces": {"eth0": [f"10.0.0.{number}/24", f"fd00::{number}/64"], "eth1": [], "ib0": []},
            "gateways": [],
            "pairs": {"web": own()},
        }

    return {
        "accepted": ["web1", "web2", "client"],
        "waiting": [],
        "facts": {
            "web1": node("web1", 81),
            "web2": node("web2", 82),
            "client": {**node("client", 100), "pairs": {}},
        },
        "errors": {},
    }


def warnings(pair, known):
    found = site.warnings(normalise.normalise("web", pair), known)
    assert len({one["key"] for one in found}) == len(found), found
    assert all(one["pair"] == "web" for one in found)
    return {one["key"]: f"{one['found']}: {one['wanted']}" for one in found}


def test_a_pair_that_fits_has_no_warning():
    assert warnings(PAIR, fits()) == {}


def test_a_floating_address_that_is_there_already_says_nothing_of_its_network():
    known = fits()
    known["facts"]["web1"]["interfaces"]["eth1"].append("192.0.2.7/32")
    assert warnings(PAIR, known) == {}


def named(data, path, value):
    """A copy in which one thing is another."""
    found = copy.deepcopy(data)
    at = found
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return found


#: What a hand slips into the pillar: where, what, the key that is named, and words of the sentence.
IN_THE_PILLAR = {
    "a full name for the id": (
        ("primary", "id"),
        "web1.example.com",
        "primary",
        ["the id of a minion whose key is accepted", "did you mean web1?"],
    ),
    "another case": (("primary", "id"), "Web1", "primary", ["did you mean web1?"]),
    "a letter too many": (("primary", "id"), "webb1", "primary", ["did you mean web1?"]),
    "nobody's name": (("primary", "id"), "zebra", "primary", ["salt-key --list=all"]),
    "an address for the id": (
        ("primary", "id"),
        "10.0.0.81",
        "primary",
        ["an address belongs in host", "host: 10.0.0.81"],
    ),
    "a host that nobody knows": (
        ("secondary", "host"),
        "web2.exmaple.com",
        "secondary.host",
        ["a name that web1 knows, or an address of web2, which has 10.0.0.82, fd00::82"],
    ),
    "the other node's address": (
        ("secondary", "host"),
        "10.0.0.81",
        "secondary.host",
        ["an address of web2, which has 10.0.0.82"],
    ),
    "an interface too many": (
        ("floating_ips", "web-gw", "interface"),
        "eth00",
        "floating_ips.web-gw.interface",
        ["an interface of web1 and web2 (did you mean eth0?)"],
    ),
    "an interface of another kind of name": (
        ("floating_ips", "web-gw", "interface"),
        "bond7",
        "floating_ips.web-gw.interface",
        ["an interface of web1 and web2 (it has eth0, eth1, ib0)"],
    ),
    "another network": (
        ("floating_ips", "web-gw", "address"),
        "10.0.1.7/24",
        "floating_ips.web-gw.address",
        ["an address in the network of eth0 on web1 and web2, 10.0.0.0/24"],
    ),
    "another network, version 6": (
        ("floating_ips", "web-6", "address"),
        "fd01::7/64",
        "floating_ips.web-6.address",
        ["in the network of eth0 on web1 and web2, fd00::/64"],
    ),
    "another prefix": (
        ("floating_ips", "web-gw", "address"),
        "10.0.0.7/16",
        "floating_ips.web-gw.address",
        ["the prefix that eth0 has on web1 and web2: 10.0.0.7/24"],
    ),
    "a witness that nobody knows": (
        ("witnesses", 0),
        "clinet",
        "witnesses.0",
        ["did you mean client?"],
    ),
    "a witness's address that is not its own": (
        ("witnesses", 0, "host"),
        "10.0.0.1",
        "witnesses.0.host",
        ["an address of client, which has 10.0.0.100"],
    ),
}


@pytest.mark.parametrize("slip", IN_THE_PILLAR)
def test_what_the_pillar_names_wrongly(slip):
    path, value, key, words = IN_THE_PILLAR[slip]
    known = fits()
    hosts = {"web2.exmaple.com": [], "10.0.0.81": ["10.0.0.81"]}
    if path == ("secondary", "host"):
        known["facts"]["web1"]["pairs"]["web"]["hosts"][value] = hosts[value]
    found = warnings(named(PAIR, path, value), known)
    assert list(found)[:1] == [key], found
    for one in words:
        assert one in found[key]


ALIAS = {
    "address": "10.0.0.7/24",
    "interface": "eth0:0",
    "file": "/etc/network/interfaces",
    "line": 7,
    "by": "ifupdown",
}

#: What the site is like: where in the facts, what, the key that is named, and words of the sentence.
AT_THE_SITE = {
    "a key that waits": (
        [(("accepted",), ["web1", "client"]), (("waiting",), ["web2"]), (("facts", "web2"), ...)],
        "secondary",
        ["salt-key --accept=web2"],
    ),
    "a node that is silent": (
        [(("facts", "web2"), ...), (("errors", "web2"), "web2 does not answer (is its salt-minion up?)")],
        "secondary",
        ["a minion that answers: web2 does not answer"],
    ),
    "a witness that is silent": (
        [(("facts", "client"), ...), (("errors", "client"), "client does not answer")],
        "witnesses.0",
        ["a minion that answers"],
    ),
    "a unit of another name": (
        [
            (
                ("facts", "web2", "pairs", "web", "units", "nginx"),
                {"state": "not-found", "close": ["nginx-full"]},
            )
        ],
        "services.0",
        ["a unit of systemd on web2 (did you mean nginx-full?)"],
    ),
    "a unit of the active node": (
        [(("facts", "web1", "pairs", "web", "units", "mailer"), {"state": "not-found", "close": []})],
        "active_services.0",
        ["a unit of systemd on web1"],
    ),
    "a proof that nobody can run": (
        [(("facts", "web1", "pairs", "web", "programs"), ["curl"])],
        "services.0.proof",
        ["a program that web1 has"],
    ),
    "a path that is not there": (
        [(("facts", node, "pairs", "web", "paths", "/srv/www"), False) for node in ("web1", "web2")],
        "replicate.0",
        ["a path that is there on web1"],
    ),
    "the two nodes the wrong way round": (
        [(("facts", "web1", "pairs", "web", "paths", "/srv/www"), False)],
        "replicate.0",
        ["web2 has it: is the right one the primary?"],
    ),
    "a repository that is none": (
        [(("facts", "web1", "pairs", "web", "repositories", "/srv/git/web.git"), False)],
        "git.0",
        ["a bare repository on web1"],
    ),
    "an address that the network's set-up has as its own": (
        [(("facts", "web1", "pairs", "web", "configured"), [ALIAS])],
        "floating_ips.web-gw.address",
        ["/etc/network/interfaces, line 7, on web1 has ifupdown take it: remove it there"],
    ),
    "an interface that networkd clears": (
        [(("facts", "web2", "pairs", "web", "dropped"), {"eth1": "/etc/systemd/network/eth1.network"})],
        "floating_ips.web-public.interface",
        ["KeepConfiguration=static below [Network] of /etc/systemd/network/eth1.network on web2"],
    ),
    "the network is on another interface": (
        [
            (("facts", "web1", "interfaces", "eth0"), ["172.16.0.1/24", "fd00::81/64", "10.0.0.81/32"]),
            (("facts", "web1", "interfaces", "ib0"), ["10.0.0.81/24"]),
        ],
        "floating_ips.web-gw.address",
        ["in the network of eth0 on web1", "ib0 has that network"],
    ),
    "nobody to ask": (
        [(("facts", "web2", "pairs", "web", "asks"), {"asks": [], "problem": "web2 takes nothing over."})],
        "watch.reachable",
        ["somebody to ask. web2 takes nothing over"],
    ),
}


@pytest.mark.parametrize("what", AT_THE_SITE)
def test_what_the_site_does_not_have(what):
    changes, key, words = AT_THE_SITE[what]
    known = fits()
    for path, value in changes:
        known = named(known, path, value)
    found = warnings(PAIR, known)
    assert list(found) == [key], found
    for one in words:
        assert one in found[key]


def test_a_site_of_which_nothing_is_known_is_still_a_list_of_warnings():
    nothing = {"accepted": [], "waiting": [], "facts": {}, "errors": {}}
    assert list(warnings(PAIR, nothing)) == ["primary", "secondary", "witnesses.0"]


@pytest.mark.parametrize(
    ("host", "seen", "says"),
    [
        ("web1.example.com", ["10.0.0.99"], ", and not 10.0.0.99, as web2 has it"),
        ("10.0.0.99", ["10.0.0.99"], ""),
        ("10.0.0.99", ["10.0.0.99", "10.0.0.98"], ", and not 10.0.0.98"),
    ],
)
def test_what_the_other_node_takes_a_name_for_is_said_if_it_is_another(host, seen, says):
    known = named(fits(), ("facts", "web2", "pairs", "web", "hosts"), {host: seen})
    said = warnings(named(PAIR, ("primary", "host"), host), known)["primary.host"]
    assert "an address of web1, which has 10.0.0.81" in said
    assert said.endswith("fd00::81") if not says else says in said
