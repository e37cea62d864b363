"""The first boot of the whole cluster: one command, and everything runs where it belongs."""

import json

import dalma
import pytest
from dalma import PAIRS

NODES = [(pair, name) for pair, names in PAIRS.items() for name in names]


def test_before_the_first_boot_nothing_of_a_pair_runs(cluster):
    if cluster.status()["status"] == 0:
        pytest.skip("a lab that was kept")
    for pair, nodes in cluster.pairs.items():
        for host in nodes:
            if pair != "salt":
                assert not cluster.labels(host)
                assert not cluster.active(host, "lsyncd")
                for unit in dalma.SERVICES.get(pair, []):
                    assert not cluster.active(host, unit), f"{unit} on {host.name}"


def test_one_command_boots_all(booted):
    found = booted.status()
    assert found["status"] == 0, json.dumps(found, indent=1)
    assert {found[pair]["verdict"] for pair in PAIRS} == {"normal"}


@pytest.mark.parametrize("name", dalma.ADDRESSES)
def test_the_primary_alone_answers_for_its_address(booted, name):
    pair = dalma.ADDRESSES[name][0]
    assert booted.holders(name) == [PAIRS[pair][0]]


def test_the_labels_are_those_that_people_know(booted):
    for pair, labels in dalma.LABELS.items():
        primary, secondary = booted.pairs[pair]
        assert booted.labels(primary) == labels, pair
        assert booted.labels(secondary) == set(), pair


def test_lsyncd_runs_on_the_primaries_that_carry_files_and_nowhere_else(booted):
    running = {name for pair, name in NODES if booted.active(booted.site.host(name), "lsyncd")}
    assert running == {PAIRS[pair][0] for pair in dalma.CARRYING}


def test_what_the_primaries_had_is_on_the_secondaries(booted):
    for pair, path in (
        ("mgmt", "/etc/idm/idm.conf"),
        ("mgmt", "/etc/hosts--warewulf"),
        ("home", "/srv/home/user7/notes"),
        ("ssc", "/srv/ssc/tool-3/README"),
    ):
        primary, secondary = booted.pairs[pair]
        assert secondary.read(path) == primary.read(path)


def test_services_run_on_both_nodes_and_no_boot_starts_them(booted):
    for pair, units in dalma.SERVICES.items():
        for host in booted.pairs[pair]:
            for unit in units:
                assert booted.active(host, unit), f"{unit} on {host.name}"
                enabled = host.run(["systemctl", "is-enabled", unit], check=False).stdout.strip()
                assert enabled == "disabled", f"{unit} on {host.name}"


def test_nagios_notifies_and_acts_on_the_active_node_alone(booted):
    first, second = booted.pairs["monitor"]
    assert booted.switches(first) == (True, True)
    assert booted.switches(second) == (False, False)


@pytest.mark.parametrize("pair, name", NODES)
def test_a_node_sees_its_own_pair_only(booted, pair, name):
    host = booted.site.host(name)
    known = host.run(["ls", "/etc/failback/pairs"]).stdout.split()
    assert known == [f"{pair}.json"]


def test_booting_again_changes_nothing(booted):
    before = {name: booted.ledger(booted.site.host(name), pair) for pair, name in NODES}
    done = booted.orchestrate("boot", "all")
    assert done.returncode == 0, done.stdout
    assert "9 had nothing to do" in done.stdout
    assert {name: booted.ledger(booted.site.host(name), pair) for pair, name in NODES} == before
