"""A pair is moved to its secondary and home again by one command; where it could not, nothing begins."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("running")


def refused(pair, master, said):
    before = pair.ledger(pair.salt1)
    done = pair.orchestrate(master, "drill")
    text = " ".join(done.stdout.split())
    assert done.returncode != 0 and "Refused, nothing was changed" in text and said in text, text
    assert pair.ledger(pair.salt1) == before and pair.left(pair.salt1) in ([], ["hold.json"])


def test_a_drill_that_could_not_come_home_is_not_begun(pair):
    refused(pair, pair.salt1, "Run it on the master of salt2")
    pair.runner(pair.salt2, "pair.pause", "salt", "10", "reason=a test")
    try:
        refused(pair, pair.salt2, "is paused (a test)")
    finally:
        pair.runner(pair.salt2, "pair.resume", "salt")


def test_the_pair_goes_there_and_back_and_both_windows_are_kept(pair):
    generation, boot = pair.ledger(pair.salt1)["generation"], pair.salt1.boot_id()
    done = pair.orchestrate(pair.salt2, "drill", max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    assert pair.ledger(pair.salt1)["generation"] == generation + 2
    assert pair.salt1.boot_id() != boot, "as a recovery does"
    for host in pair.nodes:
        kept = json.loads(host.read("/var/lib/failback/salt/drilled.json"))
        assert set(kept["windows"]) == set(kept["runs"]) == {"failover", "recover"}, kept
        assert all(0 < window < 10_000 for window in kept["windows"].values()), kept
        assert pair.left(host) == []
    text = " ".join(done.stdout.split())
    assert "has gone there and back" in text and f"{kept['windows']['failover']:.1f} ms" in text
    runs = pair.runner(pair.salt2, "pair.history", "salt")["runs"]
    assert [(one["operation"], one["result"]) for one in runs[-2:]] == [
        ("failover", "succeeded"),
        ("recover", "succeeded"),
    ]
    shown = pair.runner(pair.salt2, "pair.status", "salt")["pairs"]["salt"]
    assert shown["drilled"]["runs"] == kept["runs"]
