"""The first boot of the whole cluster: one command, and everything runs where it belongs."""

import json

import dalma
import pytest


def test_before_the_first_boot_nothing_of_a_pair_runs(cluster):
    if cluster.status()["status"] == 0:
        pytest.skip("a lab that was kept")
    for pair, host in cluster.nodes():
        if pair != "salt":
            assert not cluster.labels(host)
            assert not cluster.active(host, "lsyncd")
            for unit in dalma.SERVICES.get(pair, []):
                assert not cluster.active(host, unit), f"{unit} on {host.name}"


def test_one_command_boots_all(booted):
    found = booted.status()
    assert found["status"] == 0, json.dumps(found, indent=1)
    assert {found[pair]["verdict"] for pair in booted.pairs} == {"normal"}


def test_the_primary_alone_answers_for_its_addresses(booted):
    found = {name: booted.holders(name) for name in booted.addresses}
    assert found == {name: [booted.pairs[pair][0].name] for name, pair in booted.addresses.items()}


def test_the_labels_are_those_that_people_know(booted):
    for pair, (primary, secondary) in booted.pairs.items():
        assert booted.labels(primary) == dalma.LABELS.get(pair, set()), pair
        assert booted.labels(secondary) == set(), pair


def test_lsyncd_runs_on_the_primaries_that_carry_files_and_nowhere_else(booted):
    running = {host.name for _, host in booted.nodes() if booted.active(host, "lsyncd")}
    assert running == {booted.pairs[pair][0].name for pair in booted.pairs if pair in dalma.CARRYING}


@pytest.mark.parametrize(
    "pair, path",
    [
        ("mgmt", "/etc/idm/idm.conf"),
        ("mgmt", "/etc/hosts--warewulf"),
        ("home", "/srv/home/user7/notes"),
        ("ssc", "/srv/ssc/tool-3/README"),
    ],
)
def test_what_the_primary_had_is_on_the_secondary(booted, pair, path):
    if pair not in booted.pairs:
        pytest.skip(f"the lab does without {pair}")
    primary, secondary = booted.pairs[pair]
    assert secondary.read(path) == primary.read(path)


def test_services_run_on_both_nodes_and_no_boot_starts_them(booted):
    for pair, host in booted.nodes():
        for unit in dalma.SERVICES.get(pair, []):
            assert booted.active(host, unit), f"{unit} on {host.name}"
            enabled = host.run(["systemctl", "is-enabled", unit], check=False).stdout.strip()
            assert enabled == "disabled", f"{unit} on {host.name}"


def test_nagios_notifies_and_acts_on_the_active_node_alone(booted):
    if "monitor" not in booted.pairs:
        pytest.skip("the lab does without monitor")
    first, second = booted.pairs["monitor"]
    assert booted.switches(first) == (True, True)
    assert booted.switches(second) == (False, False)


def test_a_node_knows_its_own_pair_only(booted):
    for pair, host in booted.nodes():
        assert host.run(["ls", "/etc/failback/pairs"]).stdout.split() == [f"{pair}.json"], host.name


def test_booting_again_changes_nothing(booted):
    before = {host.name: booted.ledger(host, pair) for pair, host in booted.nodes()}
    done = booted.orchestrate("boot", "all")
    assert done.returncode == 0, done.stdout
    assert f"{len(booted.pairs)} had nothing to do" in done.stdout
    assert {host.name: booted.ledger(host, pair) for pair, host in booted.nodes()} == before
