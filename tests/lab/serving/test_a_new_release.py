"""A pair that serves gets another release by highstate: nobody takes over, nothing stops or stays behind."""

import json
import time

import pytest
import release_before
from release_before import CURRENT
from release_before import FLAT
from release_before import RELEASES
from release_before import exists
from release_before import library

from lab.host import until

#: Starts highstate's part that brings the library, and kills it while the new release is being written.
KILL = """
import glob, os, signal, subprocess

job = subprocess.Popen(
    ["salt-call", "state.apply", "pair.program"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
)
while job.poll() is None:
    if glob.glob("/usr/local/lib/failback/releases/.new-*"):
        os.killpg(job.pid, signal.SIGKILL)
        print("killed")
        break
job.wait()
"""


@pytest.fixture(scope="module", autouse=True)
def before(pair):
    """What must be so afterwards as well; skipped in a lab that has been upgraded already."""
    if pair.salt1.run(["test", "-e", CURRENT], check=False).returncode == 0:
        pytest.skip("a lab that was kept")
    return {
        "holders": pair.holders(),
        "ledgers": [pair.ledger(host) for host in pair.nodes],
        "lsyncd": pair.processes(pair.salt1, "lsyncd"),
        "boots": [host.boot_id() for host in pair.nodes],
        "moment": time.time(),
    }


def watch(pair):
    """What the watch on salt2 says of itself."""
    return json.loads(pair.salt2.read("/run/failback/watch-gateway-ip.json"))


def test_the_release_before_serves(pair, before):
    assert before["holders"] == ["salt1"] and len(before["lsyncd"]) == 1
    assert [exists(host, FLAT) for host in pair.nodes] == [True, True]
    assert [exists(host, RELEASES) for host in pair.nodes] == [False, False]


def test_the_masters_get_the_new_one_and_keep_nothing_of_the_old(pair):
    release_before.give_this_one(pair, pair.nodes)


def test_until_highstate_has_run_both_nodes_run_the_old_one_and_a_run_is_refused(pair, before):
    done = pair.recover(pair.salt1)
    assert done.returncode != 0 and "another release of Failback" in done.stdout, done.stdout
    assert pair.holders() == before["holders"]


def test_highstate_that_is_killed_in_the_middle_leaves_the_old_one_whole(pair, before):
    pair.salt2.run(["salt-call", "saltutil.sync_all"], timeout=300)
    assert "killed" in pair.python(pair.salt2, KILL)
    assert library(pair.salt2) == FLAT
    report = json.loads(pair.salt2.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)
    assert report["ledger"]["generation"] == before["ledgers"][1]["generation"]
    assert watch(pair)["since"] < before["moment"]


def test_highstate_brings_it_and_nothing_else_happens(pair, before):
    states = pair.highstate(pair.salt1)
    assert [one for found in states.values() for one in found if one[1] is not True] == []
    for host in pair.nodes:
        assert not exists(host, FLAT)
        assert library(host) == host.run(["readlink", "-f", f"{CURRENT}/failback"]).stdout.strip()
        assert host.run(["ls", "-A", RELEASES]).stdout.split() == [library(host).split("/")[-2]]
        report = json.loads(host.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)
        assert "pause" in report
    packages = json.loads(
        pair.salt1.run(["salt", "-L", "salt1,salt2", "--static", "--out=json", "pair.package"]).stdout
    )
    assert len({digest for package in packages.values() for digest in package.values()}) == 1
    assert pair.holders() == before["holders"]
    assert [pair.ledger(host) for host in pair.nodes] == before["ledgers"]
    assert pair.processes(pair.salt1, "lsyncd") == before["lsyncd"]
    assert [host.boot_id() for host in pair.nodes] == before["boots"]


def test_the_watch_has_started_anew_and_took_nothing(pair, before):
    until(lambda: watch(pair)["since"] > before["moment"], 15, "the watch to run the new release")
    until(lambda: watch(pair)["pairs"]["salt"]["addresses"]["salt-gw"]["seen"], 15, "it to see salt1 answer")
    said = pair.salt2.run(["journalctl", "-o", "cat", "-t", "failback", f"--since=@{int(before['moment'])}"])
    assert "takes the addresses" not in said.stdout
    # Once for the library; the pair's file, which has new keys, may come a moment later.
    assert said.stdout.count("starting anew") == 1 and said.stdout.count("restarting") <= 1


def test_a_watch_that_has_nobody_to_ask_says_so_until_the_pillar_names_somebody(pair):
    """The lab has no router, and the pillar of before gives no address of its witness."""
    until(lambda: "nobody to ask" in watch(pair)["pairs"]["salt"]["sentence"], 15, "the watch to say so")
    status = pair.runner(pair.salt1, "pair.status", "salt", check=False)
    (said,) = status["pairs"]["salt"]["watch_wrong"]
    assert status["status"] != 0 and status["pairs"]["salt"]["verdict"] == "normal"
    assert "salt2 takes nothing of salt over" in said and "host: <its address>" in said
    release_before.name_the_witness(pair)
    assert {place for found in pair.highstate(pair.salt1).values() for place, *_ in found} == {
        "The node knows the pair salt"
    }
    until(
        lambda: "stands by" in watch(pair)["pairs"]["salt"]["sentence"], 15, "the watch to know whom to ask"
    )
    assert watch(pair)["pairs"]["salt"]["asks"] == [pair.client.address()]


def test_highstate_again_changes_nothing(pair):
    assert pair.highstate(pair.salt1) == {"salt1": [], "salt2": []}


def test_a_recovery_gives_lsyncd_its_configuration_and_a_former_name_still_works(pair, before):
    """Highstate leaves lsyncd alone; by the one of before, the standby does not learn when it was in step."""
    status = pair.runner(pair.salt1, "pair.status", "salt", check=False)
    (said,) = status["pairs"]["salt"]["unready"]
    assert "a configuration of before" in said and "orch.recover" in said
    done = pair.recover(pair.salt1)
    assert done.returncode == 0, done.stdout
    assert pair.processes(pair.salt1, "lsyncd") != before["lsyncd"] and pair.holders() == before["holders"]
    done = pair.recover(pair.salt1)
    assert done.returncode == 0 and "Nothing to do" in done.stdout, done.stdout
    status = pair.runner(pair.salt1, "pair.status", "salt")
    assert status["pairs"]["salt"]["verdict"] == "normal"
    # An alias of the release before, as an operator's fingers know it.
    assert pair.runner(pair.salt1, "pair.hold", "salt", "0.1")["status"] == 0
    assert pair.runner(pair.salt1, "pair.resume", "salt")["status"] == 0
