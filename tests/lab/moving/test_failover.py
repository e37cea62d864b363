"""A planned move to the secondary and back, a primary declared off, a split-brain that a person settles."""

import json
import subprocess

import pytest
from lab_pair import wait_highstate

from lab import client
from lab import load
from lab.faults import moments
from lab.host import kill_session
from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

#: Longest time without an answer that a planned move may cost here; the figure is printed.
OUTAGE = 5.0


@pytest.fixture(scope="module")
def moved(running, pair):
    """The pair after orch.failover, with what a client did and saw meanwhile."""
    if pair.writing is not None:
        pair.writing.stop()
        pair.writing = None
    pair.client.run(["rm", "-f", "/var/log/moved.jsonl"])
    writing = client.start_writing(
        pair.client, "10.0.0.5", log="/var/log/moved.jsonl", rate=20, changes=True, prefix="moved"
    )
    writing.wait_acknowledged(40, node="salt1")
    probe = client.start_probe(pair.client, "10.0.0.5", interval=0.002)
    done = pair.orchestrate(pair.salt1, "failover", max_delete=1000)
    seen = probe.stop()
    writing.wait_acknowledged(40, node="salt2")
    yield done, writing, seen
    if writing.process.poll() is None:
        writing.stop()


def test_the_secondary_serves_and_nobody_ever_saw_two_holders(moved, pair):
    done, _, seen = moved
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt2"]
    assert not pair.bears(pair.salt1)
    print(f"planned failover: {seen['outage'] * 1000:.0f} ms without an answer")
    assert seen["outage"] < OUTAGE
    assert seen["both"] == 0
    macs = {host.mac(): host.name for host in pair.nodes}
    assert [macs[span["mac"]] for span in seen["answered_by"]] == ["salt1", "salt2"]


def test_what_carried_and_served_on_the_primary_has_stopped(moved, pair):
    assert pair.processes(pair.salt1, "lsyncd") == []
    one, two = (pair.ledger(host) for host in pair.nodes)
    assert one["active"] == two["active"] == "salt2"
    assert one["generation"] == two["generation"]
    status = pair.runner(pair.salt2, "pair.status", "salt", check=False)
    status = status["pairs"]["salt"]
    assert status["verdict"] == "failed_over" and not status["drift"], status
    started = pair.salt1.run(["systemctl", "start", "lsyncd"], check=False)
    assert started.returncode != 0, "the gate must be closed on the primary now"


def test_moving_it_again_changes_nothing(moved, pair):
    before = pair.ledger(pair.salt2)
    done = pair.orchestrate(pair.salt2, "failover")
    assert done.returncode == 0 and "Nothing to do" in done.stdout
    assert pair.ledger(pair.salt2) == before


def test_many_deletions_between_the_passes_are_not_carried_on(moved, pair):
    """More than the pair allows go between the pre-sync and the last one: salt1 keeps the rest."""
    doomed, files, allowed = "/srv/data/doomed", 700, 300
    pair.salt2.run(["mkdir", doomed])
    pair.salt2.run(["touch", *(f"{doomed}/{number}" for number in range(files))])
    jobs = moments.Jobs(pair.salt2)
    pillar = json.dumps({"pair": "salt", "max_delete": allowed, "max_change_percent": 100})
    command = ["salt-run", "--no-color", "state.orch", "orch.recover", f"pillar={pillar}"]
    run = pair.salt2.spawn(command, stderr=subprocess.STDOUT)
    try:
        until(lambda: jobs.count("reverse_rsync.synced:ret") or run.poll() is not None, 180, "the pre-sync")
        pair.salt2.run(["find", doomed, "-type", "f", "-delete"])
        said = " ".join(run.communicate(timeout=120)[0].decode().split())
    finally:
        kill_session(run)
        jobs.stop()
    assert run.returncode != 0
    assert f"More than {allowed} files of /srv/data were deleted on the serving node" in said, said
    assert pair.holders() == ["salt2"]
    left = len(pair.salt1.run(["ls", doomed]).stdout.split())
    kept = pair.salt1.run(["find", "/var/lib/failback/salt/runs", "-path", f"*{doomed.rpartition('/')[2]}/*"])
    assert left >= files - allowed
    assert left + len(kept.stdout.splitlines()) >= files, "what was deleted is in the backup"
    for host in pair.nodes:
        host.run(["rm", "-r", doomed])
    assert pair.runner(pair.salt2, "pair.status", check=False)["pairs"]["salt"]["verdict"] == "failed_over"


def test_the_primary_comes_home_and_no_acknowledged_write_is_lost_on_either_way(moved, pair):
    _, writing, _ = moved
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    writing.wait_acknowledged(20, node="salt1")
    entries = writing.stop()
    pair.drain()
    for host in pair.nodes:
        assert load.compare(entries, client.files(host)) == []


def test_a_primary_that_answers_is_not_off(pair):
    """Its minion alone has died: it may still serve, and does."""
    pair.runner(pair.salt1, "pair.pause", "salt", "10", "reason=a test")
    pair.salt1.run(["systemctl", "stop", "salt-minion"], timeout=120)
    try:
        for word, said in (
            # The client sees it serve, so nobody's word is asked for.
            ({}, "client sees"),
            ({"fenced": "salt1"}, "needs a reason"),
            ({"fenced": "salt2", "reason": "a test"}, "salt1 is the one that does not"),
            ({"fenced": "salt1", "reason": "a test"}, "salt1 is not off"),
        ):
            done = pair.orchestrate(pair.salt2, "failover", **word)
            assert done.returncode != 0, done.stdout
            assert said in " ".join(done.stdout.split()), done.stdout
            assert pair.holders() == ["salt1"]
    finally:
        pair.salt1.run(["systemctl", "start", "salt-minion"], timeout=120)


def test_a_primary_that_is_declared_off_and_is(pair):
    """The watch is paused, so nobody takes over by himself."""
    pair.salt1.power_off()
    assert pair.holders() == []
    done = pair.orchestrate(pair.salt2, "failover", fenced="salt1", reason="the test took its power")
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt2"]
    pair.runner(pair.salt2, "pair.resume", "salt", check=False)
    kept = pair.runner(pair.salt2, "pair.history", "salt", check=False)["runs"][-1]
    assert kept["operation"] == "failover" and kept["result"] == "succeeded"
    record = pair.salt2.read(f"/var/lib/failback/salt/runs/{kept['run']}/run.json")
    assert "the test took its power" in record
    pair.come_back()
    status = pair.runner(pair.salt2, "pair.status", "salt", check=False)["pairs"]["salt"]
    assert status["verdict"] == "failed_over"
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]


def hold_on(host):
    host.run(["salt-call", "--local", "pair.pause", "salt", "900", "a test"], timeout=120)


def test_the_winner_of_a_split_is_named_and_the_loser_loses_nothing(pair):
    """Both serve after a partition, and holds keep them from settling it by themselves."""
    pair.salt1.cut("eth0", silent=True)
    until(lambda: pair.bears(pair.salt2), 20, "salt2 to take over")
    pair.salt1.write("/srv/data/many/of-salt1", "written on salt1\n")
    pair.salt2.write("/srv/data/many/of-salt2", "written on salt2\n")
    pair.salt2.write("/srv/data/many/file-1400", "changed on salt2\n")
    for host in pair.nodes:
        hold_on(host)
    asking = ["pgrep", "-f", "failback ask-to-yield"]
    until(lambda: pair.salt2.run(asking, check=False).returncode, 30, "salt2 to end its asking")
    pair.salt1.mend("eth0")
    until(lambda: pair.holders() == ["salt1", "salt2"], 20, "both to answer")

    pair.wait_idle(pair.salt1, "salt2")
    status = pair.runner(pair.salt1, "pair.status", "salt", check=False)["pairs"]["salt"]
    assert status["verdict"] == "split-brain" and "winner: salt2" in status["next"], status
    assert pair.recover(pair.salt1).returncode != 0
    assert pair.holders() == ["salt1", "salt2"], "a refusal changes nothing"

    done = pair.recover(pair.salt1, winner="salt1", reason="the clients were on salt1", max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    for host in pair.nodes:
        pair.runner(host, "pair.resume", "salt", check=False)
        assert host.read("/srv/data/many/of-salt1") == "written on salt1\n"
        assert host.run(["ls", "/srv/data/many/of-salt2"], check=False).returncode != 0
        assert host.read("/srv/data/many/file-1400") != "changed on salt2\n"
    run = pair.runs(pair.salt2)[-1]
    folder = f"/var/lib/failback/salt/runs/{run}/backup"
    for name, text in (("of-salt2", "written on salt2\n"), ("file-1400", "changed on salt2\n")):
        (kept,) = pair.salt2.run(["find", folder, "-path", f"*/many/{name}"]).stdout.splitlines()
        assert pair.salt2.read(kept) == text
    status = pair.runner(pair.salt1, "pair.status", "salt")["pairs"]["salt"]
    assert status["verdict"] == "normal" and not status["drift"]


def test_power_is_lost_just_after_a_takeover_and_a_person_says_who_served_last(pair):
    """Neither disk tells a primary that has died from one that has served on."""
    pair.salt1.write("/srv/data/many/of-salt1", "just before\n")
    pair.salt1.power_off()
    until(lambda: pair.bears(pair.salt2), 20, "salt2 to take over", pause=0.01)
    pair.salt2.power_off()
    for host in pair.nodes:
        host.power_on(wait=False)
    for host in pair.nodes:
        host.wait_booted()
    # No boot starts a master: after a power failure of both nodes an operator does.
    pair.site.start_masters(pair.nodes)
    for host in pair.nodes:
        wait_highstate(host, limit=120)
        pair.wait_idle(pair.salt1, host.name)
    assert pair.holders() == []
    status = pair.runner(pair.salt1, "pair.status", "salt", check=False)["pairs"]["salt"]
    assert status["verdict"] == "split-brain" and "salt2" in status["sentence"], status
    assert "went down before" in status["sentence"] and "winner: " in status["next"], status
    done = pair.orchestrate(pair.salt1, "boot")
    assert done.returncode != 0 and pair.holders() == []
    done = pair.recover(pair.salt1, winner="salt1", reason="salt2 had power for a second", max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    assert pair.salt2.read("/srv/data/many/of-salt1") == "just before\n"
    status = pair.runner(pair.salt1, "pair.status", "salt")["pairs"]["salt"]
    assert status["verdict"] == "normal" and not status["drift"]
