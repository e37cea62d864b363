"""Primaries of several pairs die; the services go on; one command brings all of them home."""

import pytest
from dalma import ADDRESSES
from dalma import PAIRS
from dalma import overlaps

#: Their primaries die. monitor's comes home as the others do, after an operator has completed its takeover.
DEAD = ("mgmt", "slurm", "mx", "monitor", "home", "apps")


@pytest.fixture(scope="module")
def story(booted):
    """All that happens, once; the tests below look at what was found on the way."""
    found = {}
    found["job before"] = booted.job()
    found["sent before"] = booted.report("before-the-crash")
    booted.reported(booted.pairs["monitor"][0], "before-the-crash")
    found["mail before"] = booted.mail("before")
    public = booted.watching("monitor-public")
    booted.crash(*DEAD)
    for name, (pair, _, _) in ADDRESSES.items():
        if pair in DEAD:
            booted.wait_holder(name, booted.pairs[pair][1])
    second = booted.pairs["monitor"][1]
    found["sent during"] = booted.report("during-the-outage", state=2)
    booted.reported(second, "during-the-outage")
    found["told by the secondary before failover"] = booted.told(second)
    found["mail during"] = booted.mail("during")
    done = booted.orchestrate("failover", "monitor", fenced="monitor1", reason="the lab cut its power")
    found["failover"] = done
    found["switches during"] = booted.switches(second)
    booted.report("mended", state=0)
    booted.reported(second, "mended")
    found["told by the secondary after failover"] = booted.told(second)
    found["job during"] = booted.job()
    mgmt2 = booted.pairs["mgmt"][1]
    mgmt2.write("/etc/idm/new.conf", "made while mgmt1 was dead\n")
    mgmt2.write("/etc/hosts--warewulf", "10.0.0.100 client\n10.0.0.101 another\n")
    second.write("/etc/nagiosql/more.cfg", "# made while monitor1 was dead\n")
    booted.come_back(*DEAD)
    found["verdicts"] = booted.verdicts()
    found["holders after their return"] = {name: booted.holders(name) for name in ADDRESSES}
    found["recover"] = booted.orchestrate("recover", "all")
    found["looks"] = public.stop()
    return found


def test_while_the_primaries_are_dead_the_secondaries_serve(story):
    assert story["job before"] == story["job during"] == "client"
    assert story["sent before"] and story["sent during"]
    assert (story["mail before"], story["mail during"]) == ("mx1", "mx2")


def test_a_manual_pair_waits_for_an_operator_with_its_active_services(story):
    assert not any("during-the-outage" in line for line in story["told by the secondary before failover"])
    assert story["failover"].returncode == 0, story["failover"].stdout
    assert story["switches during"] == (True, True)
    assert any("mended" in line for line in story["told by the secondary after failover"])


def test_nodes_that_return_wait_and_disturb_nobody(story):
    wanted = {pair: "normal" for pair in PAIRS}
    wanted |= {pair: "failed_over" for pair in ("mgmt", "slurm", "monitor", "apps")}
    wanted |= {pair: "primary_returned" for pair in ("mx", "home")}
    assert story["verdicts"] == wanted
    for name, (pair, _, _) in ADDRESSES.items():
        assert story["holders after their return"][name] == [PAIRS[pair][pair in DEAD]]


def test_one_command_brings_all_of_them_home(booted, story):
    done = story["recover"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 done" in done.stdout and "3 had nothing to do: archive, salt, ssc" in done.stdout
    assert set(booted.verdicts().values()) == {"normal"}
    for name, (pair, _, _) in ADDRESSES.items():
        assert booted.holders(name) == [PAIRS[pair][0]], name


def test_what_was_written_meanwhile_is_on_both_nodes(booted, story):
    for pair, path in (
        ("mgmt", "/etc/idm/new.conf"),
        ("mgmt", "/etc/hosts--warewulf"),
        ("monitor", "/etc/nagiosql/more.cfg"),
    ):
        primary, secondary = booted.pairs[pair]
        assert primary.read(path) == secondary.read(path)


def test_the_public_address_never_had_two_holders(story):
    assert len(story["looks"]) > 20
    assert overlaps(story["looks"]) == []


def test_the_public_address_is_watched_on_both_nodes(booted, story):
    for host in booted.pairs["monitor"]:
        assert "failback watch gateway-ip-public" in host.read("/etc/cron.d/gateway-ip-public")


def test_afterwards_the_services_run_where_they_did(booted, story):
    first, second = booted.pairs["monitor"]
    assert booted.job() == "client"
    assert booted.report("after-the-recovery", state=2)
    booted.reported(first, "after-the-recovery")
    assert booted.switches(first) == (True, True)
    assert booted.switches(second) == (False, False)
    assert booted.mail("after") == "mx1"
