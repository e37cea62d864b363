"""lab/sites.py: the lab's hosts and networks are those that the shipped pillar speaks of."""

import dataclasses
import pathlib
import sys

import pytest
import yaml

TREE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TREE))

from lab import kinds  # noqa: E402
from lab import sites  # noqa: E402
from lab.roles import salt as salt_role  # noqa: E402

pytestmark = pytest.mark.one_release

DALMA = sites.DALMA.chosen()
MACHINES = {machine.name: machine for machine in DALMA.machines}
PAIRS = {
    name: pair
    for path in sorted((TREE / "pillar/pairs").glob("*.sls"))
    for name, pair in yaml.safe_load(path.read_text())["pairs"].items()
}


class Lab:
    """As much of a ``lab.site.Site`` as is asked here."""

    def __init__(self, description):
        self.description = description


def interfaces(machine):
    """Interface (that bears addresses) to network."""
    (first, network), *others = machine.interfaces
    return {machine.bridge or first: network, **dict(others)}


def test_the_lab_has_the_pairs_of_the_pillar():
    assert sorted(DALMA.pairs) == sorted(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_the_nodes_are_where_the_pillar_says(name):
    for role in ("primary", "secondary"):
        node = PAIRS[name][role]
        machine = MACHINES[node["id"]]
        assert machine.pair == name
        assert DALMA.address(machine) == node["host"]


@pytest.mark.parametrize("name", PAIRS)
def test_the_floating_addresses_lie_on_networks_of_the_nodes_and_of_the_witness(name):
    known = {}
    for called, network, number in DALMA.floating:
        known[DALMA.network(network).address(number)] = (called, network)
    for called, entry in PAIRS[name].get("floating_ips", {}).items():
        lab_name, network = known[entry["address"]]
        assert lab_name == called
        for role in ("primary", "secondary"):
            machine = MACHINES[PAIRS[name][role]["id"]]
            assert interfaces(machine)[entry["interface"]] == network
        for witness in PAIRS[name].get("witnesses", []):
            machine = MACHINES[witness["id"]]
            assert network in dict(machine.interfaces).values()
            assert witness["host"] == DALMA.address(machine)


def test_some_pairs_can_be_chosen_and_the_masters_are_always_there():
    some = sites.DALMA.chosen(["mx"])
    assert some.pairs == ["salt", "mx"]
    assert [machine.name for machine in some.machines] == ["salt1", "salt2", "mx1", "mx2", "client"]
    assert some.chosen([*some.pairs, "web"]).pairs == ["salt", "mx", "web"]
    assert "web" not in DALMA.pairs
    assert "web1" in some.names()


def test_a_pair_that_there_is_not_is_named():
    with pytest.raises(LookupError, match="no pair wbe"):
        sites.DALMA.chosen(["wbe"])


@pytest.mark.parametrize("debian", kinds.DEBIANS)
@pytest.mark.parametrize("name", sites.SITES)
def test_a_lab_remembers_what_it_is(tmp_path, name, debian):
    description = dataclasses.replace(sites.SITES[name].chosen(), debian=debian)
    sites.remember(tmp_path, description)
    assert sites.recall(tmp_path) == description


def test_the_masters_of_a_lab_list_only_pairs_that_it_has():
    top = (TREE / "pillar/top.sls").read_text()
    lines = salt_role.pairs_of(Lab(sites.DALMA.chosen(["apps"])), top).splitlines()
    listed = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in PAIRS]
    assert listed == ["salt", "apps"]
    assert len(lines) == len(top.splitlines())
    shipped = [line.split()[0] for line in top.splitlines() if line.split()]
    assert not set(shipped) & set(PAIRS)
