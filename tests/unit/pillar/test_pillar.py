"""Every mistake of a pillar is named with file, pair, key, what was found and what is wanted."""

import copy
import json
import random
import re
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from effort import examples
from failback.decisions import events
from failback.pillar import check
from failback.pillar import normalise
from failback.pillar import pairs
from failback.pillar import schema

#: Of the published file, as editors read it: there a ``$`` is the end of the text, not of its last line.
NAMES = schema.SCHEMA["properties"]["pairs"]["propertyNames"]["pattern"].replace("$", r"\Z")

FULL = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": "salt2",
    "mode": "manual",
    "floating_ips": {"salt-gw": {"address": "10.0.0.5/24", "interface": "eth0", "label": "eth0:0"}},
    "replicate": ["/srv/salt", {"path": "/etc/libvirt/qemu/shared-*", "then": "libvirtd"}],
    "git": ["/srv/git/site.git"],
    "services": ["salt-master", {"name": "slurmctld", "proof": ["scontrol", "ping"]}],
    "witnesses": ["client"],
}


def pair(**changes):
    data = copy.deepcopy(FULL)
    for key, value in changes.items():
        if value is ...:
            del data[key]
        else:
            data[key] = value
    return data


def named(pairs, files=None):
    return [(problem["pair"], problem["key"]) for problem in check.problems(pairs, files)]


def test_a_sound_pillar():
    assert check.problems({"salt": pair()}) == []


def test_a_witness_may_have_an_address():
    witnesses = ["other", {"id": "client", "host": "10.0.0.100"}, {"id": "third"}]
    assert check.problems({"salt": pair(witnesses=witnesses)}) == []
    found = normalise.normalise("salt", pair(witnesses=witnesses))
    assert found["witnesses"] == ["other", "client", "third"]
    assert found["witness_hosts"] == {"client": "10.0.0.100"}


@pytest.mark.parametrize("wanted", ["nobody", "gateway-or-witness", ["10.0.0.1", "fd00::1"]])
def test_who_must_answer_may_be_said_in_a_word(wanted):
    assert check.problems({"salt": pair(watch={"reachable": wanted})}) == []
    assert normalise.normalise("salt", pair(watch={"reachable": wanted}))["watch"]["reachable"] == wanted


def test_the_smallest_pair_gets_every_default():
    assert check.problems({"home": {"primary": "home2", "secondary": "home1"}}) == []
    assert normalise.normalise("home", {"primary": "home2", "secondary": "home1"}) == {
        "name": "home",
        "primary": {"id": "home2", "host": "home2"},
        "secondary": {"id": "home1", "host": "home1"},
        "mode": "automatic",
        "floating_ips": [],
        "replicate": [],
        "git": [],
        "services": [],
        "active_services": [],
        "vms": [],
        "after": [],
        "witnesses": [],
        "fence": {"nodes": {}, "policy": "required", "timeout": 30, "delay": 10},
        "witness_hosts": {},
        "watch": {
            "interval": 0.5,
            "patience": 2.0,
            "reachable": "gateway-or-witness",
            "max_lag": 30,
            "beyond_max_lag": "serve",
        },
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
        "notify": {
            "events": list(events.ALL),
            "hooks": [],
            "mail": [],
            "not_ready_after": 600,
            "timeout": 60,
        },
    }


@pytest.mark.parametrize(
    ("notify", "keys"),
    [
        ({"hooks": ["mail"]}, ["notify.mail"]),
        ({"hooks": ["mail"], "mail": ["ops@example.org", "root"]}, []),
        # A line break would be another header.
        ({"hooks": ["mail"], "mail": ["ops@example.org\nBcc: all"]}, ["notify.mail.0"]),
        ({"hooks": ["pager"]}, ["notify.hooks.0"]),
        ({"events": ["takeover", "nothing"]}, ["notify.events.1"]),
        ({"timeout": 0}, ["notify.timeout"]),
    ],
)
def test_who_is_told(notify, keys):
    assert sorted({key for _, key in named({"salt": pair(notify=notify)})}) == keys


def test_a_full_pair_normalised():
    found = normalise.normalise(
        "salt",
        pair(recovery={"max_delete": 7}, replicate=["//srv/salt/", {"path": "/a", "then": "x"}]),
    )
    assert found["primary"] == {"id": "salt1", "host": "10.0.0.11"}
    assert found["secondary"] == {"id": "salt2", "host": "salt2"}
    assert found["floating_ips"] == [
        {
            "name": "salt-gw",
            "address": "10.0.0.5/24",
            "interface": "eth0",
            "label": "eth0:0",
            "watch": {"on": "secondary", "cron": "gateway-ip"},
        }
    ]
    assert found["replicate"] == [{"path": "/srv/salt", "then": None}, {"path": "/a", "then": "x"}]
    assert found["services"] == [
        {"name": "salt-master", "proof": None, "status": None},
        {"name": "slurmctld", "proof": ["scontrol", "ping"], "status": None},
    ]
    assert found["recovery"]["max_delete"] == 7
    assert found["recovery"]["boot_timeout"] == 1200
    assert json.loads(json.dumps(found)) == found


def test_normalise_neither_shares_nor_changes_anything():
    data = pair(watch={"reachable": ["10.0.0.254"]})
    before = copy.deepcopy(data)
    first, second = normalise.normalise("salt", data), normalise.normalise("salt", data)
    first["watch"]["reachable"].append("x")
    first["recovery"]["max_delete"] = -1
    assert data == before
    assert second["watch"]["reachable"] == ["10.0.0.254"]
    assert normalise.normalise("salt", data) == second


def test_the_key_on_which_yaml_takes_for_true():
    text = """
    primary: salt1
    secondary: salt2
    floating_ips:
      gw: {address: 10.0.0.5/24, interface: eth0, watch: {on: both}}
    """
    data = yaml.safe_load(text)
    assert True in data["floating_ips"]["gw"]["watch"]
    assert check.problems({"salt": data}) == []
    assert normalise.normalise("salt", data)["floating_ips"][0]["watch"] == {
        "on": "both",
        "cron": "gateway-ip",
    }
    # Through JSON, as the pillar of a command line goes.
    data = json.loads(json.dumps(data))
    assert normalise.normalise("salt", data)["floating_ips"][0]["watch"] == {
        "on": "both",
        "cron": "gateway-ip",
    }


def address(**changes):
    entry = {"address": "10.0.0.5/24", "interface": "eth0", "label": "eth0:0", **changes}
    return {"floating_ips": {"gw": {key: value for key, value in entry.items() if value is not ...}}}


# What is changed; the key that is named; a part of what is wanted.
MISTAKES = [
    ({"primary": ...}, "primary", "missing"),
    ({"primary": 7}, "primary", "text or a mapping"),
    ({"primary": {"host": "10.0.0.1"}}, "primary.id", "missing"),
    ({"primary": {"id": "salt1", "hots": "x"}}, "primary.hots", "did you mean"),
    ({"primary": {"id": "salt1", "host": "-oProxyCommand=x"}}, "primary.host", "host name"),
    ({"primary": "salt 1"}, "primary", "minion id"),
    ({"secondary": "salt1"}, "secondary", "another node"),
    ({"secondary": {"id": "salt2", "host": "10.0.0.11"}}, "secondary.host", "another address"),
    ({"mode": "auto"}, "mode", "one of automatic, manual"),
    ({"mdoe": "manual"}, "mdoe", "'mode'"),
    ({"zzz": 1}, "zzz", "one of the keys primary"),
    ({"Floating-IPs": {}}, "Floating-IPs", "'floating_ips'"),
    ({"floating_ips": []}, "floating_ips", "a mapping"),
    ({"floating_ips": None}, "floating_ips", "a mapping"),
    ({"replicate": "/srv/salt"}, "replicate", "a list"),
    ({"replicate": [5]}, "replicate.0", "text or a mapping"),
    ({"replicate": ["srv/salt"]}, "replicate.0", "absolute"),
    ({"replicate": ["/srv/../etc"]}, "replicate.0", "'..'"),
    ({"replicate": ["/srv/*/salt"]}, "replicate.0", "last component"),
    ({"replicate": ["/srv/a*/b*"]}, "replicate.0", "last component"),
    ({"replicate": ["/srv/[a"]}, "replicate.0", "not closed"),
    ({"replicate": ["/srv/two\nlines"]}, "replicate.0", "control characters"),
    ({"replicate": ["/srv/a", "/srv/a/"]}, "replicate.1", "each path once"),
    ({"replicate": ["/srv", "/srv/salt"], "git": []}, "replicate.1", "overlap /srv "),
    ({"replicate": ["/srv/salt/x", "/srv/salt"]}, "replicate.1", "overlap"),
    ({"replicate": ["/a/shared-*", "/a/shared-1"]}, "replicate.1", "overlap"),
    ({"replicate": ["/a/shared-*", "/a/shared-1/sub"]}, "replicate.1", "overlap"),
    ({"replicate": ["/a/b", "/a/*"]}, "replicate.1", "overlap"),
    ({"replicate": ["/srv/git"]}, "git.0", "overlap /srv/git "),
    ({"git": ["/srv/git/*.git"]}, "git.0", "without wildcards"),
    ({"replicate": [{"path": "/a", "than": "x"}]}, "replicate.0.than", "'then'"),
    ({"services": ["a/b"]}, "services.0", "no '/'"),
    ({"services": ["--now"]}, "services.0", "no '-' first"),
    ({"services": ["a", "b", "a"]}, "services.2", "each service once"),
    (
        {"services": ["a"], "active_services": ["a.service"]},
        "active_services.0",
        "services.0 is the same",
    ),
    ({"services": ["lsyncd"]}, "services.0", "gate"),
    ({"services": [{"name": "a", "proof": "scontrol ping"}]}, "services.0.proof", "a list"),
    ({"services": [{"name": "a", "proof": []}]}, "services.0.proof", "at least 1"),
    ({"services": [{"name": "a", "status": "check"}]}, "services.0.status", "a list"),
    ({"active_services": [{"name": "a", "status": []}]}, "active_services.0.status", "at least 1"),
    ({"witnesses": ["salt2"]}, "witnesses.0", "third host"),
    ({"after": ["salt"]}, "after", "circle"),
    ({"after": ["slat"]}, "after.0", "'salt'"),
    ({"watch": {"reachable": ["gateway"]}}, "watch.reachable.0", "IP address"),
    ({"watch": {"reachable": []}}, "watch.reachable", "'nobody', if takeovers are wanted without asking"),
    ({"watch": {"reachable": "noone"}}, "watch.reachable", "gateway-or-witness, nobody"),
    ({"watch": {"reachable": ["10.0.0.5"]}}, "watch.reachable.0", "a third host"),
    ({"watch": {"reachable": ["10.0.0.1", "10.0.0.11"]}}, "watch.reachable.1", "a third host"),
    ({"witnesses": [{"id": "client", "host": "client"}]}, "witnesses.0.host", "IP address"),
    ({"witnesses": [{"id": "client", "host": "10.0.0.11"}]}, "witnesses.0.host", "a third host"),
    ({"witnesses": [{"host": "10.0.0.1"}]}, "witnesses.0.id", "missing"),
    ({"watch": {"interval": 3, "patience": 1}}, "watch.patience", "at least the interval"),
    ({"watch": {"interval": 0}}, "watch.interval", "not below"),
    ({"recovery": {"boot_timout": 3}}, "recovery.boot_timout", "'boot_timeout'"),
    ({"recovery": {"max_delete": -1}}, "recovery.max_delete", "not below 0"),
    ({"recovery": {"max_change_percent": 101}}, "recovery.max_change_percent", "not above 100"),
    ({"recovery": {"reboot": "yes"}}, "recovery.reboot", "true or false"),
    ({"recovery": {"max_passes": 1.5}}, "recovery.max_passes", "whole number"),
    ({"lsyncd": {"max_processes": True}}, "lsyncd.max_processes", "whole number"),
    (address(address="10.0.0.5"), "floating_ips.gw.address", "10.0.0.5/24"),
    (address(address="10.0.0.5/255.255.255.0"), "floating_ips.gw.address", "10.0.0.5/24"),
    (address(address="10.0.0.300/24"), "floating_ips.gw.address", "with its prefix"),
    (address(address="10.0.0.0/24"), "floating_ips.gw.address", "of a host"),
    (address(address="10.0.0.255/24"), "floating_ips.gw.address", "of a host"),
    (address(address="127.0.0.1/8"), "floating_ips.gw.address", "of a host"),
    (address(address="224.0.0.1/24"), "floating_ips.gw.address", "of a host"),
    (address(address=...), "floating_ips.gw.address", "missing"),
    (address(interface=...), "floating_ips.gw.interface", "missing"),
    (address(interface="a" * 128), "floating_ips.gw.interface", ""),
    (address(interface="eth0;reboot"), "floating_ips.gw.interface", ""),
    (address(label="eth1:0"), "floating_ips.gw.label", "begins with 'eth0:'"),
    (address(label="eth0:"), "floating_ips.gw.label", "behind the colon"),
    (address(label="eth0:0123456789ab"), "floating_ips.gw.label", "at most 15"),
    (address(address="fd00::5/64"), "floating_ips.gw.label", "IPv4"),
    (
        address(watch={"on": "primary"}),
        "floating_ips.gw.watch.on",
        "one of secondary, both, nobody",
    ),
    (address(watch={"cron": "gateway.ip"}), "floating_ips.gw.watch.cron", ""),
    (address(watch={"cron": "../x"}), "floating_ips.gw.watch.cron", ""),
    (address(adress="10.0.0.5/24", address=...), "floating_ips.gw.adress", "'address'"),
]


@pytest.mark.parametrize(
    "changes, key, wanted", MISTAKES, ids=[f"{key}: {wanted}" for _, key, wanted in MISTAKES]
)
def test_a_mistake_is_named(changes, key, wanted):
    found = check.problems({"salt": pair(**changes)}, {"salt": "site/salt.sls"})
    matching = [problem for problem in found if problem["key"] == key]
    assert matching, found
    assert wanted in " ".join(problem["wanted"] for problem in matching)
    for problem in found:
        assert check.sentence(problem).startswith(f"site/salt.sls: pair salt, {problem['key']}: found ")
        assert "\n" not in check.sentence(problem)


NEVER = """
    / // /etc /etc/ /proc /proc/sys /sys /dev /dev/shm /run /run/x /usr /bin /bin/x /boot /var
    /var/lib /root /root/.ssh /var/lib/failback /var/lib/failback/salt /etc/failback
    /etc/failback/ssh /etc/lsyncd /etc/lsyncd/lsyncd.conf.lua /etc/salt /etc/salt/* /etc/*
    /etc/m* /etc/salt/pki /etc/cron.d /usr/local /usr/local/sbin/failback /usr/local/s*
    /var/lib/* /etc/salt/pki/minion /usr/lib/x /etc/f[a-z]*
"""


@pytest.mark.parametrize("path", NEVER.split())
def test_a_path_that_must_never_be_replicated(path):
    found = named({"salt": pair(replicate=[path], git=[])})
    assert found == [("salt", "replicate.0")]


ALLOWED = """
    /home /srv /etc/idm /var/log/idm /etc/hosts--warewulf /etc/libvirt/qemu/shared-*
    /etc/nagiosql /srv/salt /etc/salt/pki/master /usr/local/nagios /var/lib/mysql /opt/apps
    /home/* /srv/Grüße
"""


@pytest.mark.parametrize("path", [*ALLOWED.split(), "/srv/a b"])
def test_a_path_that_may_be_replicated(path):
    assert named({"salt": pair(replicate=[path], git=[])}) == []


@pytest.mark.parametrize(
    "name", ["", "-x", "a/b", "../x", "a b", "a.b", "all", 7, None, True, "a\n", "x" * 65]
)
def test_a_name_that_no_pair_may_have(name):
    assert [key for _, key in named({name: pair()})] == ["pairs"]
    # An editor that follows the published file says so too; of what is no text, JSON makes one.
    assert not isinstance(name, str) or not re.search(NAMES, name)


@pytest.mark.parametrize(
    "name",
    ["2024", "0", "007", "1_000", "8_", "1e3", "1E5", "0x1F", "0X1f", "0x_1", "0b1", "0o7"]
    + ["no", "on", "Off", "YES", "true", "False", "null", "Null", "none", "None"]
    + [2024, 1.5, None, True],
)
def test_a_name_that_is_read_as_no_text_is_refused_and_quotes_are_not_advised(name):
    (problem,) = check.problems({name: pair()})
    said = check.sentence(problem)
    assert "another name: YAML and the command line read this one as a number" in said
    assert "quotes in the pillar do not help" in said
    assert not isinstance(name, str) or not re.search(NAMES, name)


@pytest.mark.parametrize(
    "name",
    ["web", "a1", "1a", "2024-web", "12-30", "2024-01-02", "e3", "x1F", "0xg", "on1", "no-1", "y", "n"],
)
def test_a_name_that_only_looks_like_a_number_or_a_word_is_taken(name):
    assert check.problems({name: pair()}) == []
    assert re.search(NAMES, name)


@pytest.mark.parametrize("pairs", [None, [], {}, "salt", 3])
def test_no_pairs_at_all(pairs):
    (problem,) = check.problems(pairs)
    assert problem["key"] == "pairs"
    assert "wanted a mapping" in check.sentence(problem)


@pytest.mark.parametrize("data", [None, [], "salt1 salt2", 3, True])
def test_a_pair_that_is_no_mapping(data):
    assert named({"salt": data}) == [("salt", "the pair")]


def small(primary, secondary, **more):
    return {"primary": primary, "secondary": secondary, **more}


def floating(text, label=None):
    return {"floating_ips": {"gw": {"address": text, "interface": "eth0"}}}


def test_an_address_given_twice():
    pairs = {
        "a": small("a1", "a2", **floating("10.0.0.5/24")),
        "b": small("b1", "b2", **floating("10.0.0.5/16")),
    }
    (problem,) = check.problems(pairs)
    assert (problem["pair"], problem["key"]) == ("b", "floating_ips.gw.address")
    assert "a: floating_ips.gw.address is the same" in problem["wanted"]


def test_one_ipv6_address_written_in_two_ways():
    pairs = {
        "a": small("a1", "a2", **floating("fd00::5/64")),
        "b": small("b1", "b2", **floating("FD00:0:0::0005/64")),
    }
    assert named(pairs) == [("b", "floating_ips.gw.address")]


def test_an_address_that_is_a_nodes_own():
    pairs = {
        "a": small({"id": "a1", "host": "10.0.0.5"}, "a2"),
        "b": small("b1", "b2", **floating("10.0.0.5/24")),
        "c": small({"id": "c1", "host": "10.0.0.7"}, "c2", **floating("10.0.0.7/24")),
    }
    assert named(pairs) == [("b", "floating_ips.gw.address"), ("c", "floating_ips.gw.address")]


def test_a_node_in_two_pairs():
    assert named({"a": small("n1", "n2"), "b": small("n3", "n1")}) == [("b", "secondary")]


def test_paths_of_pairs_that_share_a_node():
    pairs = {
        "a": small("n1", "n2", replicate=["/srv/x"]),
        "b": small("n3", "n1", replicate=["/srv/x/y"]),
    }
    assert named(pairs) == [("b", "secondary"), ("b", "replicate.0")]


def test_the_same_path_on_other_nodes_is_fine():
    assert (
        named(
            {
                "a": small("n1", "n2", replicate=["/srv/x"]),
                "b": small("n3", "n4", replicate=["/srv/x"]),
            }
        )
        == []
    )


def test_a_machine_in_two_pairs():
    assert named({"a": small("n1", "n2", vms=["idm"]), "b": small("n3", "n4", vms=["idm"])}) == [
        ("b", "vms.0")
    ]


def test_an_order_in_a_circle():
    pairs = {
        "a": small("a1", "a2", after=["b"]),
        "b": small("b1", "b2", after=["c"]),
        "c": small("c1", "c2", after=["a"]),
        "d": small("d1", "d2", after=["a"]),
    }
    (problem,) = check.problems(pairs)
    assert problem["key"] == "after"
    assert problem["found"] == '"a after b after c after a"'


def test_a_long_order_is_no_circle_and_no_recursion():
    pairs = {f"p{n}": small(f"p{n}a", f"p{n}b", after=[f"p{n + 1}"] if n < 2999 else []) for n in range(3000)}
    assert check.problems(pairs) == []


def test_after_a_pair_that_is_itself_broken_is_not_reported_as_unknown():
    assert named({"a": small("a1", "a2", after=["b"]), "b": {"primary": "b1"}}) == [("b", "secondary")]


def test_all_problems_at_once():
    broken = pair(mode="x", replicate=["srv"], recovery={"max_delete": "many"})
    assert {key for _, key in named({"salt": broken, "mgmt": {}})} == {
        "mode",
        "replicate.0",
        "recovery.max_delete",
        "primary",
        "secondary",
    }


def test_a_thousand_pairs_are_checked_in_seconds():
    pairs = {
        f"p{n}": small(
            {"id": f"p{n}a", "host": f"10.{n // 250}.{n % 250}.1"},
            {"id": f"p{n}b", "host": f"10.{n // 250}.{n % 250}.2"},
            replicate=["/srv/x", "/etc/y"],
            **floating(f"10.{n // 250}.{n % 250}.3/24"),
        )
        for n in range(1000)
    }
    started = time.monotonic()
    assert check.problems(pairs) == []
    # A guard against quadratic growth, far above what it takes.
    assert time.monotonic() - started < 30


KEYS = st.one_of(st.sampled_from([*FULL, "id", "path", "name", "gw"]), st.integers(), st.text(max_size=3))
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=15,
)


@settings(max_examples=examples(300))
@given(JUNK)
def test_no_pillar_whatever_makes_the_check_itself_fail(pairs):
    for problem in check.problems(pairs):
        assert check.sentence(problem)


@settings(max_examples=examples(200))
@given(st.data())
def test_what_has_no_problem_can_be_normalised(data):
    changed = pair()
    for key in data.draw(
        st.lists(st.sampled_from(sorted(schema.SCHEMA["$defs"]["pair"]["properties"])), max_size=3)
    ):
        changed[key] = data.draw(JUNK)
    if not check.problems({"salt": changed}):
        json.dumps(normalise.normalise("salt", changed))


def test_the_shipped_pairs_are_sound(tree):
    pairs = {}
    for path in sorted((tree / "pillar" / "pairs").glob("*.sls")):
        pairs.update(yaml.safe_load(path.read_text(encoding="utf-8"))["pairs"])
    assert "salt" in pairs
    assert check.problems(pairs) == []


def test_a_random_typing_error_in_a_key_is_answered_with_the_right_one():
    generator = random.Random(1)
    keys = [key for key in schema.SCHEMA["$defs"]["pair"]["properties"] if len(key) > 4]
    for key in keys:
        position = generator.randrange(1, len(key) - 1)
        wrong = key[:position] + key[position + 1 :]
        found = [each for each in check.problems({"salt": {**pair(), wrong: 1}}) if each["key"] == wrong]
        assert repr(key) in found[0]["wanted"]


GUESTS = {"vms": ["idm"]}


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"vms": ["all"]}, "vms.0"),
        ({"vms": ["--help"]}, "vms.0"),
        ({"vms": ["../x"]}, "vms.0"),
        ({"vms": ["a b"]}, "vms.0"),
        ({**GUESTS, "virtualization": {"storage": "/"}}, "virtualization.storage"),
        ({**GUESTS, "virtualization": {"storage": "/srv/../etc"}}, "virtualization.storage"),
        ({**GUESTS, "virtualization": {"storage": '/srv/a"b'}}, "virtualization.storage"),
        ({**GUESTS, "virtualization": {"storage": "srv/vms"}}, "virtualization.storage"),
        ({**GUESTS, "virtualization": {"prefix": "../"}}, "virtualization.prefix"),
        ({**GUESTS, "virtualization": {"prefix": "-"}}, "virtualization.prefix"),
        ({**GUESTS, "replicate": ["/srv/vms"]}, "replicate.0"),
        ({**GUESTS, "replicate": ["/srv/vms/disks"]}, "replicate.0"),
        ({**GUESTS, "replicate": ["/srv"]}, "replicate.0"),
        ({**GUESTS, "git": ["/srv/vms/x.git"]}, "git.0"),
    ],
)
def test_guests_that_are_refused(changes, key):
    assert key in [one["key"] for one in check.problems({"salt": pair(**changes)})]


def test_guests_that_are_right():
    changes = {
        "vms": ["idm", "monitor-db", "a_b.c"],
        "virtualization": {"storage": "/var/lib/vms", "prefix": ""},
    }
    assert check.problems({"salt": pair(replicate=["/etc/libvirt/qemu/shared-*"], **changes)}) == []


def fenced(**entry):
    return {
        "fence": {"nodes": {"salt1": {"agent": "fence_ipmilan", "options": {"password": "s3cret"}, **entry}}}
    }


def test_the_options_of_a_fence_agent_are_in_no_node_s_configuration():
    found = normalise.normalise("salt", pair(**fenced()))
    assert found["fence"]["nodes"] == {"salt1": {"agent": "fence_ipmilan"}}
    assert "s3cret" not in json.dumps(found)


def test_each_node_gets_what_switches_the_other_one_off():
    known = {"salt": pair(**fenced())}
    assert pairs.fence_agent(known, "salt", "salt2") == {
        "node": "salt1",
        "agent": "fence_ipmilan",
        "options": {"password": "s3cret"},
    }
    assert pairs.fence_agent(known, "salt", "salt1") is None


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"agent": "/tmp/agent"}, "fence.nodes.salt1.agent"),
        ({"agent": "fence_x; reboot"}, "fence.nodes.salt1.agent"),
        ({"options": {"password": ["s3cret"]}}, "fence.nodes.salt1.options.password"),
        ({"options": {"password": "s3cret\naction=on"}}, "fence.nodes.salt1.options.password"),
        ({"options": {"action": "s3cret"}}, "fence.nodes.salt1.options.action"),
        ({"options": {"Pass word": "s3cret"}}, "fence.nodes.salt1.options.Pass word"),
        ({"options": {"s": "s3cret\n"}}, "fence.nodes.salt1.options.s"),
    ],
)
def test_what_is_wrong_with_a_fence_agent_is_named_without_a_password(entry, words):
    found = " ".join(check.sentence(one) for one in check.problems({"salt": pair(**fenced(**entry))}))
    assert words in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("entry", "key", "found"),
    [
        ({"agent": "/tmp/agent"}, "fence.nodes.salt1.agent", "/tmp/agent"),
        ({"options": {"password": ["s"]}}, "fence.nodes.salt1.options.password", "a value that is not shown"),
    ],
)
def test_whatever_else_is_wrong_with_a_fence_agent_is_shown(entry, key, found):
    (problem,) = check.problems({"salt": pair(**fenced(**entry))})
    assert (problem["key"], json.loads(problem["found"])) == (key, found)


def test_only_a_node_of_the_pair_is_switched_off():
    data = pair(fence={"nodes": {"salt9": {"agent": "fence_dummy"}}})
    (found,) = check.problems({"salt": data})
    assert (found["key"], found["wanted"]) == ("fence.nodes", "a node of the pair: salt1 or salt2")


@pytest.mark.parametrize("length", [196, 197, 198, 199, 400])
def test_what_was_found_is_quoted_on_a_line_or_two(length):
    (found,) = check.problems({"salt": pair(mode="x" * length)})
    quoted = '"' + "x" * length + '"'
    assert found["key"] == "mode"
    assert found["found"] == (quoted if len(quoted) <= 200 else quoted[:197] + "...")


def test_what_json_cannot_say_is_quoted_as_well():
    (found, *_) = check.problems({"salt": pair(mode={1, 2})})
    assert found["found"] == "{1, 2}"
