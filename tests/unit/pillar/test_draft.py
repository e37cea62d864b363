"""The file of a first pair is a right pillar, and says what the two nodes said."""

import pytest
import yaml

from failback.errors import Refused
from failback.pillar import check
from failback.pillar import draft
from failback.pillar import slips


def node(name, interfaces, gateways=()):
    return {
        "node": name,
        "interfaces": interfaces,
        "gateways": [{"address": address, "interface": interface} for interface, address in gateways],
        "pairs": {},
    }


def both(interfaces=("eth0",), gateway=True, prefix=24):
    ways = [("eth0", "10.0.0.1")] if gateway else []
    return [
        node(
            f"web{number}",
            {one: [f"10.{at}.0.8{number}/{prefix}"] for at, one in enumerate(interfaces)},
            ways,
        )
        for number in (1, 2)
    ]


@pytest.mark.parametrize("address", [None, "10.0.0.7", "10.0.0.7/24"])
def test_what_is_printed_is_a_right_pillar(address):
    text = draft.draft("web", both(), address)
    found = yaml.safe_load(text)["pairs"]
    assert check.problems(found) == []
    assert slips.found(text) == []
    assert found["web"]["primary"] == {"id": "web1", "host": "10.0.0.81"}
    assert found["web"]["secondary"] == {"id": "web2", "host": "10.0.0.82"}
    wanted = {"web-gw": {"address": "10.0.0.7/24", "interface": "eth0"}} if address else None
    assert found["web"].get("floating_ips") == wanted
    assert "#   web web1 web2\n" in text and "salt-run pair.check" in text
    assert "10.0.0.1 is asked" in text


def test_the_network_of_the_gateway_comes_first():
    facts = both(("aux0", "eth0"))
    facts = [{**one, "gateways": [{"address": "10.1.0.1", "interface": "eth0"}]} for one in facts]
    assert "host: 10.1.0.81}" in draft.draft("web", facts)


def test_the_address_chooses_its_interface():
    text = draft.draft("web", both(("eth0", "ib0")), "10.1.0.7")
    pair = yaml.safe_load(text)["pairs"]["web"]
    assert pair["floating_ips"]["web-gw"] == {"address": "10.1.0.7/24", "interface": "ib0"}
    assert pair["primary"]["host"] == "10.1.0.81"


def test_without_a_gateway_it_says_that_somebody_must_be_there_to_ask():
    assert "witnesses: [{id: …, host: …}]" in draft.draft("web", both(gateway=False))


@pytest.mark.parametrize(
    "gateways",
    [
        (["10.0.0.1"], []),
        ([], ["10.0.0.1"]),
        (["10.0.0.1"], ["10.0.0.2"]),
        # It lies in another network than the nodes.
        (["10.9.0.1"], ["10.9.0.1"]),
    ],
)
def test_a_gateway_that_is_not_that_of_both_nodes_is_not_the_one_to_ask(gateways):
    facts = [
        {**one, "gateways": [{"address": address, "interface": "eth0"} for address in known]}
        for one, known in zip(both(gateway=False), gateways)
    ]
    text = draft.draft("web", facts)
    assert "witnesses: [{id: …, host: …}]" in text and "is asked" not in text


@pytest.mark.parametrize(
    ("prefixes", "common"), [((24, 24), True), ((30, 30), True), ((31, 31), False), ((24, 25), False)]
)
def test_which_networks_two_nodes_have_in_common(prefixes, common):
    facts = [
        node(f"web{number}", {"eth0": [f"10.0.0.{number}/{prefix}"]})
        for number, prefix in zip((1, 2), prefixes)
    ]
    if common:
        assert "host: 10.0.0.1}" in draft.draft("web", facts)
        return
    with pytest.raises(Refused, match="no network in common"):
        draft.draft("web", facts)


def test_two_nodes_with_one_address_have_no_network_in_common():
    """A copy of a machine."""
    facts = [node(f"web{number}", {"eth0": ["10.0.0.1/24"]}) for number in (1, 2)]
    with pytest.raises(Refused, match="no network in common"):
        draft.draft("web", facts)


@pytest.mark.parametrize(("address", "free"), [("10.0.0.0", False), ("fd00::", True)])
def test_the_first_address_of_a_network_is_a_host_s_only_where_it_can_be(address, free):
    facts = [
        node(f"web{number}", {"eth0": [f"10.0.0.8{number}/24", f"fd00::8{number}/64"]}) for number in (1, 2)
    ]
    if free:
        assert "fd00::/64" in draft.draft("web", facts, address)
        return
    with pytest.raises(Refused, match="is no host's address in 10.0.0.0/24"):
        draft.draft("web", facts, address)


def test_version_6_alone_is_enough():
    facts = [node(f"web{one}", {"eth0": [f"fd00::8{one}/64"]}) for one in (1, 2)]
    found = yaml.safe_load(draft.draft("web", facts, "fd00::7"))["pairs"]
    assert check.problems(found) == []
    assert found["web"]["floating_ips"]["web-gw"]["address"] == "fd00::7/64"


@pytest.mark.parametrize(
    "facts, address, words",
    [
        (both(), "10.0.9.7", ["10.0.9.7 lies in no network that both nodes have", "10.0.0.0/24 on eth0"]),
        (both(), "10.0.0.81", ["10.0.0.81 is taken"]),
        (both(), "10.0.0.1", ["10.0.0.1 is taken", "gateway"]),
        (both(), "10.0.0.255", ["no host's address"]),
        (both(), "10.0.0.7/16", ["another prefix than eth0"]),
        (both(), "web-gw", ["'web-gw' is not an IP address"]),
        (
            [node("web1", {"eth0": ["10.0.0.1/24"]}), node("web2", {"ens3": ["10.0.0.2/24"]})],
            None,
            ["no network in common", "web1 has eth0 10.0.0.1/24", "web2 has ens3 10.0.0.2/24"],
        ),
        ([node("web1", {}), node("web2", {"eth0": []})], None, ["web1 has no interface"]),
    ],
)
def test_what_cannot_be_is_refused(facts, address, words):
    with pytest.raises(Refused) as caught:
        draft.draft("web", facts, address)
    for one in words:
        assert one in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "../x", "all the pairs", "all", "no", "2024", None, 5])
def test_a_name_that_no_pair_can_have(name):
    with pytest.raises(Refused, match="cannot be the name of a pair"):
        draft.draft(name, both())
