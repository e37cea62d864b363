"""Which addresses a pair may have, in every place that takes one: one table, one answer."""

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.decisions import addressing
from failback.errors import Refused
from failback.network.floating import FloatingAddress
from failback.pillar import check

PILLAR = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": "salt2",
    "floating_ips": {"salt-gw": {"address": "192.0.2.5/24", "interface": "eth0"}},
}

FLOATING = {
    "10.0.0.5/24": None,
    "10.0.0.0/31": None,
    "10.0.0.1/31": None,
    "203.0.113.9/32": None,
    "169.254.1.5/16": None,
    "fd00::5/64": None,
    "FD00:0:0::0005/64": None,
    "fd00::/127": None,
    "fd00::5/128": None,
    "fe80::5/64": None,
    "salt-gw": "such as 10.0.0.5/24",
    "": "such as 10.0.0.5/24",
    "10.0.0.5/33": "such as 10.0.0.5/24",
    "10.0.0/24": "such as 10.0.0.5/24",
    "10.0.0.256/24": "such as 10.0.0.5/24",
    "fd00::5::6/64": "such as 10.0.0.5/24",
    "10.0.0.5": "10.0.0.5/24",
    "fd00::5": "fd00::5/64",
    "10.99.0.5/255.255.255.0": "10.99.0.5/24",
    "10.99.0.5/0.0.0.255": "10.99.0.5/24",
    "10.0.0.0/24": addressing.OF_A_HOST,
    "10.0.0.255/24": addressing.OF_A_HOST,
    "fd00::/64": addressing.OF_A_HOST,
    "224.0.0.18/24": addressing.OF_A_HOST,
    "ff02::1/64": addressing.OF_A_HOST,
    "127.0.0.5/8": addressing.OF_A_HOST,
    "::1/128": addressing.OF_A_HOST,
    "0.0.0.0/0": addressing.OF_A_HOST,
    "0.0.0.0/32": addressing.OF_A_HOST,
    "::/0": addressing.OF_A_HOST,
    "10.0.0.5/0": addressing.OF_A_HOST,
    "255.255.255.255/32": addressing.OF_A_HOST,
    "::ffff:10.0.0.5/120": "10.0.0.5 with its prefix",
    "fe80::5%eth0/64": "fe80::5/64",
}

HOSTS = {
    "salt2": None,
    "salt2.example.org": None,
    "10-0-0-12": None,
    "10.0.0.12": None,
    "fd00:0:0:1::12": None,
    "FD00::12": None,
    "2001:db8::1": None,
    "10.0.0.300": "a host name, or an IP address",
    "10.0.0": "a host name, or an IP address",
    "fd00:::12": "a host name, or an IP address",
    "salt2:22": "a host name, or an IP address",
    "fe80::12": "the same on every network",
    "::ffff:10.0.0.12": "10.0.0.12",
    "127.0.0.1": "of a host",
    "::1": "of a host",
    "0.0.0.0": "of a host",
    "::": "of a host",
    "224.0.0.1": "of a host",
    "ff02::1": "of a host",
    "255.255.255.255": "of a host",
}


@pytest.mark.parametrize(("text", "wanted"), FLOATING.items(), ids=repr)
def test_a_floating_address_is_judged_alike_by_pillar_module_and_state(text, wanted):
    said = addressing.floating(text)
    entry = {"address": text, "interface": "eth0"}
    problems = check.problems({"salt": {**PILLAR, "floating_ips": {"gw": entry}}})
    if wanted is None:
        assert said is None and problems == []
        assert FloatingAddress(text, "eth0").address == text
        return
    assert wanted in said
    assert [(one["key"], one["wanted"]) for one in problems] == [("floating_ips.gw.address", said)]
    with pytest.raises(Refused) as refused:
        FloatingAddress(text, "eth0")
    assert said in str(refused.value) and repr(text) in str(refused.value)


@pytest.mark.parametrize("value", [None, 5, 10.0, True, b"10.0.0.5/24", ["10.0.0.5/24"]], ids=repr)
def test_what_is_no_text_is_no_address(value):
    assert addressing.floating(value) and addressing.fixed(value)


@pytest.mark.parametrize(("text", "wanted"), HOSTS.items(), ids=repr)
def test_the_host_of_a_node(text, wanted):
    found = check.problems({"salt": {**PILLAR, "secondary": {"id": "salt2", "host": text}}})
    assert [one["key"] for one in found] == ([] if wanted is None else ["secondary.host"])
    assert wanted is None or wanted in found[0]["wanted"]


@pytest.mark.parametrize(
    "text", [text for text, wanted in HOSTS.items() if wanted and addressing.parsed(text)]
)
@pytest.mark.parametrize("key", ["watch.reachable.0", "witnesses.0.host", "lease.members.0.host"])
def test_whoever_else_is_asked_has_an_address_of_a_host(key, text):
    changes = {
        "watch.reachable.0": {"watch": {"reachable": [text]}},
        "witnesses.0.host": {"witnesses": [{"id": "client", "host": text}]},
        "lease.members.0.host": {
            "lease": {
                "members": [{"id": f"etcd{n}", "host": f"10.0.0.9{n}" if n else text} for n in range(3)]
            }
        },
    }[key]
    found = check.problems({"salt": {**PILLAR, **changes}})
    assert [(one["key"], one["wanted"]) for one in found] == [(key, addressing.fixed(text))]


@given(strategies.ip_addresses())
def test_an_address_stays_itself_in_brackets(address):
    text = addressing.in_brackets(str(address))
    assert text == (str(address) if address.version == 4 else f"[{address}]")
    assert addressing.per_link(address.packed) == (address.version == 6 and address.is_link_local)


@pytest.mark.parametrize("name", ["salt2", "salt2.example.org", "10.0.0.12"])
def test_a_name_gets_no_brackets(name):
    assert addressing.in_brackets(name) == name
