"""A silent node is switched off before the other one takes over: fence_ipmilan, boards that speak IPMI."""

import json

import pytest

from lab.host import until
from lab.roles import bmc

FILE = "/srv/salt/pillar/pairs/archive.sls"
OPTIONS = "/etc/failback/fence/archive.json"


@pytest.fixture(scope="module")
def boards(booted):
    """The pair ``archive`` serves, and its nodes know each other's boards."""
    fence = json.dumps(bmc.fence(booted.site))
    booted.salt1.write(FILE, f"{booted.salt1.read(FILE)}    fence: {fence}\n")
    with bmc.Boards(booted.site, booted.client) as boards:
        boards.said = _highstate(booted)
        yield boards


def _highstate(booted):
    command = ["salt", "-L", "archive3,archive4", "--static", "--out=json", "state.apply"]
    done = booted.salt1.run(command, timeout=300)
    assert done.returncode == 0, done.stdout
    return done.stdout


def journal(host, words):
    """What failback has logged on a host since it booted, the lines with these words."""
    command = ["journalctl", "--boot", "--no-pager", "-o", "cat", "-t", "failback", f"--grep={words}"]
    return host.run(command, check=False).stdout


def test_each_node_can_ask_for_the_other_one_s_power(booted, boards):
    command = ["salt", "--timeout=60", "-L", "archive3,archive4", "--static", "--out=json"]
    command += ["pair.fence_test", "archive"]
    found = json.loads(booted.salt1.run(command, timeout=120).stdout)
    assert {node: one if isinstance(one, str) else one["sentence"] for node, one in found.items()} == {
        "archive3": "archive4 is on",
        "archive4": "archive3 is on",
    }


def test_the_board_s_password_is_in_one_file_for_root_alone(booted, boards):
    assert bmc.PASSWORD not in boards.said
    for host in booted.pairs["archive"]:
        assert host.run(["stat", "-c", "%a %u", OPTIONS]).stdout == "600 0\n"
        assert bmc.PASSWORD in host.read(OPTIONS)
        places = ["/etc/failback/pairs", "/run/failback", "/var/lib/failback", "/var/log", "/var/cache/salt"]
        found = host.run(["grep", "-r", "-l", "-a", "-e", bmc.PASSWORD, *places], check=False).stdout.split()
        # Salt keeps the pillar itself in the minion's cache only if a site wants that.
        assert found == []
    assert bmc.PASSWORD not in booted.salt1.run(["salt-run", "--out=json", "pair.status", "archive"]).stdout


def test_without_its_board_a_silent_node_keeps_the_addresses(booted, boards):
    archive3, archive4 = booted.pairs["archive"]
    before = booted.ledger(archive4, "archive")
    booted.client.run(["systemctl", "stop", "board@archive3.service"])
    archive3.cut(silent=True)
    refused = "archive4 does not take archive over, for archive3 may still serve"
    until(lambda: refused in journal(archive4, "does not take"), 90, "archive4 to be refused", pause=1)
    assert booted.ledger(archive4, "archive") == before
    assert booted.holders("archive-gw") == []
    assert archive3.running and boards.done == []


def test_it_is_switched_off_and_only_then_the_other_one_serves(booted, boards):
    archive3, archive4 = booted.pairs["archive"]
    booted.client.run(["systemctl", "start", "board@archive3.service"])
    booted.wait_holder("archive-gw", archive4, limit=90)
    assert [(host, what) for _, host, what in boards.done] == [("archive3", "off")]
    assert not archive3.running
    why = booted.ledger(archive4, "archive")["why"]
    assert "archive3 was switched off by fence_ipmilan, which says that it is off" in why


def test_it_comes_home(booted, boards):
    archive3, _ = booted.pairs["archive"]
    archive3.mend()
    booted.come_back("archive")
    done = booted.orchestrate("recover", "archive")
    assert done.returncode == 0, done.stdout + done.stderr
    assert booted.status("archive")["archive"]["verdict"] == "normal"
