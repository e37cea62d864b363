"""
The last thing that happens to a pair: two ordinary machines are left, and an honest list.

Then they are looked after by hand, as a site does it, and come to Failback from there.
"""

import json

import pytest

from lab import client
from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

RETIRE = ["salt-run", "--no-color", "state.orch", "orch.retire", "pillar={pair: salt}"]


@pytest.fixture(scope="module")
def retired(pair):
    """What the orchestration said, and what the list said a second time."""
    pair.salt1.write("/srv/salt/last", "carried for the last time\n")
    said = pair.salt1.run(RETIRE, check=False, timeout=300)
    again = pair.salt1.run(RETIRE, check=False, timeout=300)
    return said, again


def test_it_succeeds_and_says_what_is_left(pair, retired):
    for done in retired:
        assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "salt1 and salt2 are no pair any more",
        "salt1 served last and has the newest data.",
        "salt1 has 10.0.0.5/24 on eth0 until it reboots.",
        "ip address del 10.0.0.5/24 dev eth0",
        "salt-master runs on salt1 and does not start at boot.",
        "systemctl enable salt-master",
        "salt-master runs on salt2 and does not start at boot.",
        "rm -r /var/lib/failback/salt",
        "remove the line of salt in pillar/top.sls",
    ):
        assert words in retired[0].stdout, retired[0].stdout
    # The second run finds two machines that know no pair; who served last is no longer known.
    assert "salt1 has 10.0.0.5/24 on eth0 until it reboots." in retired[1].stdout
    assert "salt2 has 10.0.0.5" not in retired[0].stdout + retired[1].stdout


def test_the_service_stays_and_nothing_of_a_pair_runs(pair, retired):
    assert pair.holders() == ["salt1"]
    assert pair.salt2.read("/srv/salt/last") == "carried for the last time\n"
    for host in pair.nodes:
        assert pair.active(host, "salt-master")
        until(
            lambda host=host: not host.run(["pgrep", "-f", "sbin/failback"], check=False).stdout,
            15,
            f"watch and keeper of {host.name} to have ended",
        )
        assert not pair.active(host, "lsyncd")
        assert host.run(["grep", "-rl", "failback", "/etc/cron.d"], check=False).stdout == ""
        assert host.run(["ls", "/etc/failback/pairs"]).stdout == ""
        assert "command=" not in host.read("/root/.ssh/authorized_keys")


def test_the_dead_node_of_a_retired_pair_is_nobodys_to_replace(pair, retired):
    """The watch would have taken over within seconds."""
    pair.salt1.run(["ip", "address", "del", "10.0.0.5/24", "dev", "eth0"])
    ledger = json.dumps(pair.ledger(pair.salt2))
    assert pair.holders(seconds=5) == []
    assert json.dumps(pair.ledger(pair.salt2)) == ledger
    pair.salt1.run(["ip", "address", "add", "10.0.0.5/24", "dev", "eth0"])


# --- and what such machines have instead, until they become a pair again: docs/migrate.md

ADDRESS = "10.0.0.5"
SCRIPT, CRON, INTERFACES = "/usr/local/sbin/gateway-ip", "/etc/cron.d/gateway-ip", "/etc/network/interfaces"
LSYNCD = "/etc/lsyncd/lsyncd.conf.lua"
TAKE = f"#!/bin/sh\nping -c 3 -W 1 {ADDRESS} > /dev/null || ip address add {ADDRESS}/24 dev eth0\n"
ALIAS = f"\nauto eth0:0\niface eth0:0 inet static\n    address {ADDRESS}/24\n"
THEIR_LSYNCD = """\
settings { logfile = "/var/log/lsyncd.log", statusFile = "/run/lsyncd.status" }
sync { default.rsyncssh, source = "/srv/salt", host = "10.0.0.12", targetdir = "/srv/salt", delay = 1 }
"""
FIRST_CONTACT = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "10.0.0.12", "true"]


@pytest.fixture(scope="module")
def by_hand(pair, retired):
    """A script of cron, an alias of ifupdown, an lsyncd of the site's own; salt1 serves, and is looked at."""
    salt1, salt2 = pair.nodes
    for host in pair.nodes:
        host.run(["rm", "-r", "/var/lib/failback/salt"])
    salt2.write(SCRIPT, TAKE, 0o755)
    salt2.write(CRON, f"* * * * * root {SCRIPT}\n")
    salt1.write(INTERFACES, salt1.read(INTERFACES) + ALIAS)
    salt1.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519"])
    keys = "/root/.ssh/authorized_keys"
    salt2.write(keys, salt2.read(keys) + salt1.read("/root/.ssh/id_ed25519.pub"), 0o600)
    salt1.run(FIRST_CONTACT)
    salt1.write(LSYNCD, THEIR_LSYNCD)
    salt1.run(["systemctl", "start", "lsyncd"])
    salt1.write("/srv/salt/by-hand", "carried as before\n")
    until(lambda: carried(salt2, "by-hand") == "carried as before\n", 30, "their lsyncd to carry a file")
    return client.start_probe(pair.client, ADDRESS, interval=0.02)


def carried(host, name):
    return host.run(["cat", f"/srv/salt/{name}"], check=False).stdout


def test_beside_them_no_pair_is_adopted_and_each_is_named(pair, by_hand):
    done = pair.orchestrate(pair.salt1, "adopt")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "Refused, nothing was changed." in said
    assert f"On salt2: {SCRIPT}, line 2, which {CRON} starts (cron), takes" in said
    assert f"On salt1: {INTERFACES}, line" in said and ADDRESS in said
    assert pair.active(pair.salt1, "lsyncd")
    assert pair.salt1.run(["ls", "/etc/failback/pairs"]).stdout == ""


def test_without_them_it_is_adopted_and_taken_in_while_it_serves_on(pair, by_hand):
    salt1, salt2 = pair.nodes
    salt2.write(CRON, f"# {salt2.read(CRON)}")
    salt1.write(INTERFACES, salt1.read(INTERFACES).replace(ALIAS, ""))
    done = pair.orchestrate(salt1, "adopt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"salt1: {LSYNCD} is replaced" in " ".join(done.stdout.split())
    done = pair.orchestrate(salt1, "recover", max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    found = pair.runner(salt1, "pair.status")
    assert (found["status"], found["pairs"]["salt"]["verdict"]) == (0, "normal"), json.dumps(found)
    assert pair.holders() == ["salt1"]
    # Nobody was without the service for longer than an announcement takes.
    assert by_hand.stop()["outage"] < 1.0
    salt1.write("/srv/salt/by-hand", "carried by the pair\n")
    until(lambda: carried(salt2, "by-hand") == "carried by the pair\n", 30, "lsyncd to carry a file")
    kept = salt1.run(["grep", "-rl", "default.rsyncssh", "/var/lib/failback/salt/replaced"]).stdout
    assert kept.count("\n") == 1
