"""Primaries of several pairs die; the services go on; one command brings all of them home."""

import pytest
from dalma import overlaps

from lab.site import in_parallel

#: Their primaries die: of all of these that the lab has.
DEAD = ("mgmt", "slurm", "mx", "monitor", "home", "apps")
#: What a pair is then called, until it is recovered; those without an address have had nobody to take over.
RETURNED = {pair: "failed_over" for pair in DEAD} | {"mx": "primary_returned", "home": "primary_returned"}


@pytest.fixture(scope="module")
def dead(booted):
    return [pair for pair in DEAD if pair in booted.pairs]


@pytest.fixture(scope="module")
def story(booted, dead):
    """All that happens, once; the tests below look at what was found on the way."""
    found = {}
    first = booted.pairs.get("monitor", [None])[0]
    if "slurm" in dead:
        found["job before"] = booted.job()
    if "mx" in dead:
        found["mail before"] = booted.mail("before")
    if "monitor" in dead:
        found["sent before"] = booted.report("before-the-crash")
        booted.reported(first, "before-the-crash")
        public = booted.watching("monitor-public")
    booted.crash(*dead)
    for name, pair in booted.addresses.items():
        if pair in dead:
            booted.wait_holder(name, booted.pairs[pair][1])
    if "mx" in dead:
        found["mail during"] = booted.mail("during")
    if "slurm" in dead:
        found["job during"] = booted.job()
    if "mgmt" in dead:
        mgmt2 = booted.pairs["mgmt"][1]
        mgmt2.write("/etc/idm/new.conf", "made while mgmt1 was dead\n")
        mgmt2.write("/etc/hosts--warewulf", "10.0.0.100 client\n10.0.0.101 another\n")
    others = [pair for pair in dead if pair != "monitor"]
    meanwhile = [lambda: booted.come_back(*others)]
    if "monitor" in dead:
        meanwhile.append(lambda: found.update(completed(booted)))
    in_parallel(lambda each: each(), meanwhile)
    booted.come_back(*(set(dead) - set(others)))
    found["verdicts"] = booted.verdicts()
    found["holders after their return"] = {name: booted.holders(name) for name in booted.addresses}
    found["recover"] = booted.orchestrate("recover", "all")
    found["looks"] = public.stop() if "monitor" in dead else []
    return found


def completed(booted):
    """The takeover of the pair monitor while its primary is dead: what the watch does, what a person adds."""
    second = booted.pairs["monitor"][1]
    found = {"sent during": booted.report("during-the-outage", state=2)}
    booted.reported(second, "during-the-outage")
    found["told before failover"] = booted.told(second)
    why = {"fenced": "monitor1", "reason": "the lab has cut its power"}
    found["failover"] = booted.orchestrate("failover", "monitor", **why)
    found["switches during"] = booted.switches(second)
    # Another state: of a problem that began unannounced Nagios does not announce the end either.
    booted.report("broken-otherwise", state=1)
    booted.reported(second, "broken-otherwise")
    found["told after failover"] = booted.told(second, "broken-otherwise")
    second.write("/etc/nagiosql/more.cfg", "# made while monitor1 was dead\n")
    return found


@pytest.fixture
def only_with(booted):
    """Skips a test where the lab does without a pair."""

    def look(pair):
        if pair not in booted.pairs:
            pytest.skip(f"the lab does without {pair}")

    return look


def test_jobs_run_while_the_first_controller_is_dead(story, only_with):
    only_with("slurm")
    assert story["job before"] == story["job during"] == "client"


def test_mail_goes_to_the_server_that_is_left(story, only_with):
    only_with("mx")
    assert (story["mail before"], story["mail during"]) == ("mx1", "mx2")


def test_a_manual_pair_waits_for_an_operator_with_its_active_services(story, only_with):
    only_with("monitor")
    assert story["sent before"] and story["sent during"]
    assert not any("during-the-outage" in line for line in story["told before failover"])
    assert story["failover"].returncode == 0, story["failover"].stdout
    assert story["switches during"] == (True, True)
    assert any("broken-otherwise" in line for line in story["told after failover"])


def test_nodes_that_return_wait_and_disturb_nobody(booted, dead, story):
    wanted = {pair: RETURNED[pair] if pair in dead else "normal" for pair in booted.pairs}
    assert story["verdicts"] == wanted
    holders = {name: [booted.pairs[pair][pair in dead].name] for name, pair in booted.addresses.items()}
    assert story["holders after their return"] == holders


def test_one_command_brings_all_of_them_home(booted, dead, story):
    done = story["recover"]
    assert done.returncode == 0, done.stdout + done.stderr
    idle = sorted(set(booted.pairs) - set(dead))
    assert f"{len(dead)} done; {len(idle)} had nothing to do: {', '.join(idle)}." in done.stdout
    assert set(booted.verdicts().values()) == {"normal"}
    found = {name: booted.holders(name) for name in booted.addresses}
    assert found == {name: [booted.pairs[pair][0].name] for name, pair in booted.addresses.items()}


@pytest.mark.parametrize(
    "pair, path",
    [
        ("mgmt", "/etc/idm/new.conf"),
        ("mgmt", "/etc/hosts--warewulf"),
        ("monitor", "/etc/nagiosql/more.cfg"),
    ],
)
def test_what_was_written_meanwhile_is_on_both_nodes(booted, story, only_with, pair, path):
    only_with(pair)
    primary, secondary = booted.pairs[pair]
    assert primary.read(path) == secondary.read(path)


def test_the_public_address_never_had_two_holders(story, only_with):
    only_with("monitor")
    assert len(story["looks"]) > 20
    assert overlaps(story["looks"]) == []


def test_the_public_address_is_watched_on_both_nodes(booted, story, only_with):
    only_with("monitor")
    for host in booted.pairs["monitor"]:
        assert "failback watch gateway-ip-public" in host.read("/etc/cron.d/gateway-ip-public")


def test_afterwards_monitoring_works_as_before(booted, story, only_with):
    only_with("monitor")
    first, second = booted.pairs["monitor"]
    assert booted.report("after-the-recovery", state=2)
    booted.reported(first, "after-the-recovery")
    assert booted.switches(first) == (True, True)
    assert booted.switches(second) == (False, False)


def test_afterwards_jobs_run_and_mail_is_delivered(booted, story):
    if "slurm" in booted.pairs:
        assert booted.job() == "client"
    if "mx" in booted.pairs:
        assert booted.mail("after") == "mx1"
