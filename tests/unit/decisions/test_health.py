"""What a monitoring plug-in says of a pair, by the facts of one node."""

import re

import pytest
import samples

from failback.decisions import health
from failback.decisions import metrics
from failback.decisions import moments

NOW = 1_000_000.0
WATCH = {
    "gateway-ip": {
        "updated": NOW - 4,
        "pairs": {"salt": {"sentence": "It answers.", "addresses": {"salt-gw": {"silent_seconds": 0}}}},
    }
}


def known(node="salt1", active="salt1", **changes):
    """The facts of a node of a pair that is well, but for some changes."""
    serves = node == active
    found = {
        "version": 1,
        "pair": "salt",
        "node": node,
        "peer": "salt2" if node == "salt1" else "salt1",
        "role": "primary" if node == "salt1" else "secondary",
        "time": NOW - 3,
        "boot_id": "this boot",
        "ledger": {"generation": 7, "active": active, "since": samples.SINCE},
        "ledger_error": None,
        "admitted": True,
        "addresses": {"salt-gw": serves},
        "carries": True,
        "lsyncd": node == active == "salt1",
        "gate": None,
        "services": {"salt-master": "active"},
        "active_services": {"cron-jobs": "active" if serves else "inactive"},
        "pause": None,
        "lock": None,
        "misplaced": [],
        "uncompared": None,
        "fence": None,
        "lease": None,
        "nobody_to_ask": None,
        "watches": [] if node == "salt1" else ["gateway-ip"],
        "last_run": {"run": samples.RUN, "operation": "recover", "result": "succeeded"},
        "runs": {"recover": 3, "takeover": 2},
        "figures": {},
    }
    ledger = {**found["ledger"], **changes.pop("ledger_changes", {})}
    return {**found, "ledger": ledger, **changes}


def judged(facts, watches=WATCH, age=3.0):
    return health.judge(facts, watches, NOW, age)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [("salt1", "salt1 serves salt, generation 7"), ("salt2", "salt2 stands by in salt, generation 7")],
)
def test_a_pair_that_is_well(node, sentence):
    found = judged(known(node))
    assert (found.level, found.sentences) == (health.OK, (sentence,))


SILENT = {
    "gateway-ip": {
        "updated": NOW - 4,
        "pairs": {"salt": {"sentence": "Why.", "addresses": {"salt-gw": {"silent_seconds": 75.2}}}},
    }
}
READY = {"installed": True, "looked": 4.0, "ready": True}


def not_ready(seconds):
    return {**READY, "ready": False, "not_ready": {"for": seconds, "about": ["rsync"]}}


HELD = {"run": samples.RUN, "operation": "recover", "state": "held"}


@pytest.mark.parametrize(
    ("facts", "watches", "level", "said"),
    [
        (known(addresses={"salt-gw": False}), WATCH, health.CRITICAL, "salt-gw is not there"),
        (known(addresses={"salt-gw": False}, lock=HELD), WATCH, health.WARNING, "salt-gw is not there"),
        (known("salt2", addresses={"salt-gw": True}), WATCH, health.CRITICAL, "does not name it"),
        (known(lsyncd=False, gate="Why."), WATCH, health.CRITICAL, "salt2 gets no changes. Why."),
        (known(lsyncd=False, carries=False), WATCH, health.OK, "salt1 serves"),
        (known(services={"salt-master": "failed"}), WATCH, health.CRITICAL, "salt-master is failed on salt1"),
        (known("salt2", services={"salt-master": "failed"}), WATCH, health.WARNING, "is failed on salt2"),
        (known(active_services={"cron-jobs": "inactive"}), WATCH, health.CRITICAL, "on the active node"),
        (
            known("salt2", active_services={"cron-jobs": "active"}),
            WATCH,
            health.WARNING,
            "not the active node",
        ),
        (known("salt2", lsyncd=True), WATCH, health.WARNING, "lsyncd runs on salt2"),
        (known("salt2", active="salt2"), WATCH, health.WARNING, "run orch.recover"),
        (known("salt2", "salt2", ledger_changes={"heard": False}), WATCH, health.WARNING, "nobody has heard"),
        (known("salt2", ledger_changes={"withdrawn": True}), WATCH, health.WARNING, "its claim to salt back"),
        (known(ledger_changes={"unsaved": True}), WATCH, health.WARNING, "in no backup yet"),
        (
            known(admitted=False, addresses={"salt-gw": False}, lsyncd=False),
            WATCH,
            health.WARNING,
            "rebooted",
        ),
        (known(ledger_error="The ledger is damaged."), WATCH, health.CRITICAL, "The ledger is damaged."),
        (known(misplaced=["/srv/salt"]), WATCH, health.CRITICAL, "another file system"),
        (known("salt2", nobody_to_ask="Nobody."), WATCH, health.WARNING, "Nobody."),
        (
            known("salt2", fence={"node": "salt1", "well": False, "agent": "A"}),
            WATCH,
            health.WARNING,
            "cannot switch salt1 off: A.",
        ),
        (known("salt2", fence={"node": "salt1", "agent": "fence_ipmilan"}), WATCH, health.OK, "stands by"),
        (known(lease={"etcd_silent": 75, "serves_for": 3}), WATCH, health.WARNING, "etcd does not answer"),
        (known(lease={"etcd_silent": 1, "released": True}), WATCH, health.CRITICAL, "has released salt"),
        (known(lease={"error": "E."}), WATCH, health.CRITICAL, "E."),
        (known("salt2", pause={"until": NOW + 9, "reason": "work"}), WATCH, health.WARNING, "paused (work)"),
        (known("salt2", pause={"until": NOW + 9, "run": samples.RUN}), WATCH, health.OK, "stands by"),
        (known("salt2"), {}, health.CRITICAL, "the watch gateway-ip does not run"),
        (
            known("salt2"),
            {"gateway-ip": {**WATCH["gateway-ip"], "updated": NOW - 61}},
            health.CRITICAL,
            "watch",
        ),
        (known("salt2"), {"gateway-ip": {"updated": NOW, "pairs": {}}}, health.CRITICAL, "does not run"),
        (known("salt2"), SILENT, health.CRITICAL, "has not answered for 75 s: Why."),
        (known("salt2", lock=HELD), SILENT, health.OK, "stands by"),
        (
            known(last_run={"run": samples.RUN, "result": "failed"}),
            WATCH,
            health.WARNING,
            "pair.history salt",
        ),
        (known(last_run={"run": samples.RUN}), WATCH, health.WARNING, "never closed"),
        (known(last_run={"run": samples.RUN}, lock=HELD), WATCH, health.OK, "serves"),
        (known(last_run=None), WATCH, health.OK, "serves"),
        (known(readiness=None), WATCH, health.OK, "serves"),
        (known(readiness={"installed": False}), WATCH, health.OK, "serves"),
        (known(readiness=READY), WATCH, health.OK, "serves"),
        (known(readiness={"installed": True}), WATCH, health.WARNING, "status failback-look@salt"),
        (known(readiness={**READY, "looked": 46.0}), WATCH, health.WARNING, "nobody looks at what salt1"),
        (known(readiness={**READY, "looked": 46.0}, lock=HELD), WATCH, health.OK, "serves"),
        (known("salt2", readiness=not_ready(59.0)), WATCH, health.OK, "stands by"),
        (
            known("salt2", readiness=not_ready(660.0)),
            WATCH,
            health.WARNING,
            "not been ready for 11 minutes (lsyncd does not carry everything): salt-run pair.status salt",
        ),
        (known("salt2", readiness=not_ready(660.0), lock=HELD), WATCH, health.OK, "stands by"),
    ],
)
def test_what_is_wrong_is_said(facts, watches, level, said):
    found = judged(facts, watches)
    assert (found.level, said in " ".join(found.sentences)) == (level, True), found


def test_a_node_without_a_ledger():
    found = judged(
        {**known(), "ledger": None, "admitted": False, "addresses": {"salt-gw": False}, "lsyncd": False}
    )
    assert found.level == health.WARNING and "orch.adopt" in found.sentences[0]
    assert "generation" not in found.figures


def test_what_was_noted_a_minute_ago_is_not_the_present():
    found = judged(known(addresses={"salt-gw": False}), age=61.0)
    assert found.level == health.UNKNOWN and "has noted nothing of salt for 61 s" in found.sentences[0]


def test_figures_that_are_not_known_are_left_out():
    assert set(judged(known()).figures) == {"facts_age", "generation"}
    figures = judged(known("salt2", figures={"lag": 0.4, "verify_age": None, "other": 7})).figures
    assert figures == {
        "facts_age": (3.0, "s"),
        "generation": (7, ""),
        "watch_age": (4.0, "s"),
        "lag": (0.4, "s"),
    }


#: By the guidelines of the monitoring plug-ins: 'label'=value[unit];[warning];[critical];[min];[max]
PERFORMANCE = re.compile(r"[A-Za-z0-9_]+=-?[0-9]+(\.[0-9]+)?(s|%|B|c)?;;;0")


@pytest.mark.parametrize("reason", ["work", "a | b\nc", "\033[31m", "x" * 9000])
def test_the_line_is_one_line_with_performance_data(reason):
    judged_pairs = {"salt": judged(known("salt2", pause={"until": NOW + 9, "reason": reason}))}
    level, line = health.line(judged_pairs)
    assert level == health.WARNING
    assert line.startswith("FAILBACK WARNING: the watch of salt is paused (")
    assert line.isprintable() and line.count("|") == 1 and len(line) < 2000
    data = line.partition(" | ")[2].split()
    assert data[0] == "facts_age=3s;;;0"
    assert all(PERFORMANCE.fullmatch(one) for one in data)


def test_of_several_pairs_the_worst_is_said_and_the_others_are_figures():
    pairs = {"a": judged(known()), "b": judged(known(), age=99.0), "c": judged(known(addresses={"x": False}))}
    level, line = health.line(pairs)
    assert level == health.CRITICAL
    assert "c: " in line and "b: " in line and "a: " not in line
    assert "a_generation=7;;;0" in line
    assert health.line({"a": pairs["a"]})[1].startswith("FAILBACK OK: salt1 serves salt, generation 7 | ")


@pytest.mark.parametrize(
    ("levels", "level"),
    [((), 3), ((0, 0), 0), ((0, 1), 1), ((1, 3), 3), ((3, 2), 2)],
)
def test_what_counts_most(levels, level):
    assert health.worst(levels) == level


def test_facts_and_looks_of_a_moment_ago_are_not_younger_than_now():
    """Noted while somebody looked: no figure is below nothing."""
    found = judged(known("salt2"), {"gateway-ip": {**WATCH["gateway-ip"], "updated": NOW + 0.5}}, age=-0.2)
    assert found.figures["facts_age"] == (0.0, "s") and found.figures["watch_age"] == (0.0, "s")
    found = judged(known("salt2"), age=0.2)
    assert found.figures["facts_age"] == (0.2, "s") and found.figures["watch_age"] == (4.0, "s")


def sampled(facts, watches=WATCH):
    text = metrics.text([(facts, 3.0)], watches, NOW)
    return text, dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_the_figures_for_prometheus():
    text, found = sampled(known("salt2", figures={"lag": 0.4}, readiness=READY))
    of = 'pair="salt",node="salt2"'
    assert found[f'failback_info{{{of},role="secondary",peer="salt1"}}'] == "1"
    assert found[f"failback_state{{{of}}}"] == "0"
    assert found[f"failback_generation{{{of}}}"] == "7"
    assert found[f'failback_address_held{{{of},address="salt-gw"}}'] == "0"
    assert found[f'failback_service_active{{{of},service="salt-master",active_only="no"}}'] == "1"
    assert found[f'failback_watch_looked_timestamp_seconds{{{of},watch="gateway-ip"}}'] == "999996.0"
    assert found[f'failback_runs{{{of},operation="takeover"}}'] == "2"
    assert found[f"failback_lag_seconds{{{of}}}"] == "0.4"
    assert found[f"failback_ready{{{of}}}"] == "1"
    since = f'failback_active_since_timestamp_seconds{{{of},active="salt1"}}'
    assert float(found[since]) == moments.epoch(samples.SINCE)
    # Nothing is made up.
    assert "failback_verify_age_seconds" not in text and "etcd" not in text
    assert "failback_ready" not in sampled(known("salt2", readiness={**READY, "ready": None}))[0]


@pytest.mark.parametrize(
    ("address", "seconds"),
    [({"silent_seconds": 7.5}, "7.5"), ({"silent_seconds": None}, "0"), ({}, "0"), ({"held": True}, None)],
)
def test_how_long_an_address_has_been_silent(address, seconds):
    pairs = {"salt": {"addresses": {"salt-gw": address}}}
    _, found = sampled(known("salt2"), {"gateway-ip": {"updated": NOW, "pairs": pairs}})
    name = 'failback_address_silent_seconds{pair="salt",node="salt2",address="salt-gw"}'
    assert found.get(name) == seconds


def test_each_metric_is_declared_once_and_a_name_can_break_nothing():
    one, other = known(), known("salt2", services={'a"b\\\n': "active"})
    text = metrics.text([(one, 3.0), (other, 99.0)], WATCH, NOW)
    declared = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(declared) == len(set(declared)) and set(declared) <= set(metrics.METRICS)
    assert 'service="a\\"b\\\\\\n"' in text
    assert all(line.startswith(("#", "failback_")) for line in text.splitlines())
    assert f'failback_state{{pair="salt",node="salt2"}} {health.UNKNOWN}' in text


@pytest.mark.parametrize(
    ("moment", "seconds"), [("1970-01-01T00:01:00Z", 60.0), ("yesterday", None), (None, None)]
)
def test_a_moment_in_seconds(moment, seconds):
    assert moments.epoch(moment) == seconds
