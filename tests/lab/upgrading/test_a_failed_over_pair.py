"""
A pair that has failed over gets another release: the node that serves, and the one that came back.

Nobody changes hands, nothing starts on the node that came back, a client goes on writing; and the recovery by
the new release brings the primary home.
"""

import json
import re
import time

import pytest
import release_before
from lab_pair import LAG
from release_before import CURRENT
from release_before import FLAT
from release_before import exists
from release_before import library

from lab import client
from lab import load
from lab.host import until


@pytest.fixture(scope="module", autouse=True)
def before(pair):
    """What must be so afterwards as well; skipped in a lab that has been upgraded already."""
    if exists(pair.salt2, CURRENT):
        pytest.skip("a lab that was kept")
    return {
        "ledgers": [pair.ledger(host) for host in pair.nodes],
        "boots": [host.boot_id() for host in pair.nodes],
        "moment": time.time(),
    }


def report(host):
    return json.loads(host.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)


def nothing_has_changed_hands(pair, before):
    assert pair.holders() == ["salt2"]
    assert [pair.bears(host) for host in pair.nodes] == [False, True]
    assert [pair.ledger(host) for host in pair.nodes] == before["ledgers"]
    assert [host.boot_id() for host in pair.nodes] == before["boots"]
    # It would overwrite what salt2 has now.
    assert [pair.processes(host, "lsyncd") for host in pair.nodes] == [[], []]
    assert not pair.active(pair.salt1, "salt-master")


def test_the_release_before_has_failed_over(pair, before):
    nothing_has_changed_hands(pair, before)
    assert [exists(host, FLAT) for host in pair.nodes] == [True, True]
    assert before["ledgers"][1]["active"] == "salt2"


def test_the_one_master_that_runs_gets_the_new_one_and_a_run_is_refused(pair, before):
    release_before.give_this_one(pair, [pair.salt2])
    release_before.name_the_witness(pair)
    done = pair.recover(pair.salt2)
    assert done.returncode != 0 and "another release of Failback" in done.stdout, done.stdout
    nothing_has_changed_hands(pair, before)


def test_highstate_brings_it_to_the_node_that_serves_and_to_the_one_that_came_back(pair, before):
    states = pair.highstate(pair.salt2)
    assert [one for found in states.values() for one in found if one[1] is not True] == []
    for host in pair.nodes:
        assert not exists(host, FLAT)
        assert library(host) == host.run(["readlink", "-f", f"{CURRENT}/failback"]).stdout.strip()
    nothing_has_changed_hands(pair, before)
    pair.writing.wait_acknowledged(20, node="salt2")


def test_the_gate_and_the_watch_of_the_new_one_know_who_serves(pair, before):
    started = pair.salt1.run(["systemctl", "start", "lsyncd"], check=False)
    assert started.returncode != 0 and pair.processes(pair.salt1, "lsyncd") == []

    def watch():
        return json.loads(pair.salt2.read("/run/failback/watch-gateway-ip.json"))

    until(lambda: watch()["since"] > before["moment"], 15, "the watch to run the new release")
    status = pair.runner(pair.salt2, "pair.status", "salt", check=False)
    assert status["pairs"]["salt"]["verdict"] == "failed_over"
    assert status["pairs"]["salt"]["next"] == "salt-run state.orch orch.recover pillar='{pair: salt}'"
    assert report(pair.salt2)["ledger"]["generation"] == before["ledgers"][1]["generation"]
    said = [
        host.run(["journalctl", "-o", "cat", "-t", "failback", f"--since=@{int(before['moment'])}"]).stdout
        for host in pair.nodes
    ]
    assert "takes the addresses" not in " ".join(said) and "steps down" not in " ".join(said)


def test_highstate_again_changes_nothing(pair):
    assert pair.highstate(pair.salt2) == {"salt1": [], "salt2": []}


@pytest.fixture
def slow_line(pair):
    """salt2 sends 4 MB a second at most, and has 40 MB more."""
    line = ["root", "tbf", "rate", "32mbit", "burst", "64kb", "latency", "100ms"]
    pair.salt2.run(["dd", "if=/dev/urandom", "of=/srv/data/large", "bs=1M", "count=40"])
    pair.salt2.run(["tc", "qdisc", "add", "dev", "eth0", *line])
    yield
    pair.salt2.run(["tc", "qdisc", "del", "dev", "eth0", "root"])


def test_the_recovery_brings_salt1_home_with_all_that_was_acknowledged(pair, before, slow_line):
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    # 40 MB, and a little more, at no more than 4 MB/s: somebody waits for it, and sees how far it is.
    far = re.search(r"pre-sync +([\d.]+) of ([\d.]+) MB, ([\d.]+) MB/s$", done.stderr, re.MULTILINE)
    assert far, done.stderr
    arrived, whole, each_second = map(float, far.groups())
    assert 0 < arrived < whole and 41 < whole < 100 and 0 < each_second < 8
    assert pair.holders() == ["salt1"]
    assert {pair.ledger(host)["generation"] for host in pair.nodes} == {
        before["ledgers"][1]["generation"] + 1
    }
    pair.writing.wait_acknowledged(20, node="salt1")
    entries, pair.writing = pair.writing.stop(), None
    pair.drain()
    for host in pair.nodes:
        assert client.check(entries, host, doubtful=load.lost_with("salt1", pair.died, LAG)) == []

    # salt1 has got the tree with the other files; its master loads the modules of it when it is told to.
    pair.salt1.run(["salt-run", "saltutil.sync_all"], timeout=300)

    def ready():
        found = pair.runner(pair.salt1, "pair.status", "salt", check=False)["pairs"]["salt"]
        return found["verdict"] == "normal" and found["ready"]

    until(ready, 60, "the pair to be normal and ready", pause=2)
    assert library(pair.salt1).split("/")[-2] == library(pair.salt2).split("/")[-2]
    assert pair.highstate(pair.salt1) == {"salt1": [], "salt2": []}
