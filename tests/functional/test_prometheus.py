"""Debian's own promtool on what is shipped for Prometheus, and on the figures that a node writes."""

import subprocess

import pytest

from failback.decisions import metrics
from lab import environments

NOW = 1_000_000.0
#: What the keeper of a node has noted, as ``failback.decisions.health.facts`` makes it.
KNOWN = {
    "pair": "salt",
    "node": "salt2",
    "peer": "salt1",
    "role": "secondary",
    "time": NOW - 3,
    "ledger": {"generation": 7, "active": "salt1", "since": "2026-11-22T18:00:00Z"},
    "ledger_error": None,
    "admitted": True,
    "addresses": {"salt-gw": False, 'a "name"\\with\neverything': False},
    "carries": True,
    "lsyncd": False,
    "gate": None,
    "services": {"salt-master": "active"},
    "active_services": {"cron-jobs": "inactive"},
    "pause": None,
    "lock": None,
    "misplaced": [],
    "uncompared": None,
    "fence": None,
    "lease": {"etcd_silent": 1.5},
    "nobody_to_ask": None,
    "readiness": {"installed": True, "looked": 4.0, "ready": True},
    "watches": ["gateway-ip"],
    "last_run": {"run": "r", "result": "succeeded"},
    "runs": {"recover": 3},
    "figures": {"lag": 0.4, "verify_age": 86400.0, "drill_age": 7.0},
}
WATCHES = {
    "gateway-ip": {
        "updated": NOW - 4,
        "pairs": {"salt": {"sentence": "It answers.", "addresses": {"salt-gw": {"silent_seconds": 0}}}},
    }
}


@pytest.fixture(scope="module")
def promtool():
    """Runs promtool; what it has against its input is in the assertion."""
    try:
        program = environments.prometheus() / "promtool"
    except (RuntimeError, OSError) as error:
        pytest.skip(f"this machine: no promtool: {error}")

    def run(*words, text=None):
        done = subprocess.run([program, *words], input=text, text=True, capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_rules_are_rules_and_fire_when_they_should(promtool, tree):
    shipped = tree / "docs/monitoring"
    assert promtool("check", "rules", shipped / "failback.rules.yml")[0] == 0
    code, said = promtool("test", "rules", shipped / "failback.rules.test.yml")
    assert code == 0, said


def test_a_rule_that_fires_at_another_time_is_noticed(promtool, tree, tmp_path):
    shipped = tree / "docs/monitoring"
    rules = (shipped / "failback.rules.yml").read_text()
    assert "failback_ready == 0" in rules
    (tmp_path / "failback.rules.yml").write_text(rules.replace("failback_ready == 0", "failback_ready == 1"))
    (tmp_path / "tests.yml").write_text((shipped / "failback.rules.test.yml").read_text())
    assert promtool("test", "rules", tmp_path / "tests.yml")[0] != 0


def test_all_figures_are_what_prometheus_reads(promtool):
    text = metrics.text([(KNOWN, 3.0)], WATCHES, NOW)
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert declared == set(metrics.METRICS)
    code, said = promtool("check", "metrics", text=text)
    assert (code, said) == (0, "")
