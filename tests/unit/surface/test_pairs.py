"""The table of pairs, the page of one, and the history."""

import json
import pathlib

import pytest
import samples

from failback.decisions import verdict
from failback.version import VERSION
from failback_master.surface import answers
from failback_master.surface import history
from failback_master.surface import pairs

NOW = 1795370400.0 + 3600
SCHEMA = pathlib.Path(__file__).parents[3] / "docs/status.schema.json"


def address(held):
    return {
        "name": "salt-gw",
        "address": "10.0.0.5/24",
        "interface": "eth0",
        "interface_exists": True,
        "carrier": True,
        "held": held,
    }


def report(node, own, held=False, **changes):
    made = samples.report(node, own, **changes)
    more = {"gate": None, "pause": None, "lock": None, "fenced": None, "time": NOW}
    return {**made, "addresses": [address(held)], **{key: changes.get(key, one) for key, one in more.items()}}


def normal(**changes):
    own = samples.ledger(3, "salt1")
    return report("salt1", own, True, **changes), report("salt2", own)


def failed_over(**changes):
    return (
        report("salt1", samples.ledger(3, "salt1", "an earlier boot"), gate="it has rebooted"),
        report("salt2", samples.ledger(4, "salt2"), True, **changes),
    )


def facts(reports, name="salt", errors=None, here=None):
    config = samples.pair(name=name)
    return pairs.facts(config, verdict.judge(config, *reports), reports, errors or {}, here)


LOCK = {
    "run": samples.RUN,
    "state": "held",
    "operation": "recover",
    "since": samples.SINCE,
    "owner": {"user": "root", "master": "salt2_master"},
    "renewed": NOW - 3,
    "expires": NOW + 57,
    "step": {"name": "static", "began": NOW - 12},
}
PAUSE = {"until": NOW + 1800, "reason": "switch maintenance", "run": None, "user": "root"}
SILENT = {"salt1": "salt1 does not answer pair.report (is its salt-minion up?)"}


def shown(found, width=80):
    return answers.lines({"pairs": found, "retcode": 0}, width, NOW)


def test_nine_pairs_fit_fifteen_lines_of_eighty_columns():
    wrong = {"services": {"nagios": "failed", "nsca": "failed"}}
    found = {f"pair{number}": facts(normal(**wrong), f"pair{number}") for number in range(7)}
    found["salt"] = facts(failed_over(lock=LOCK))
    found["mgmt"] = facts((None, failed_over()[1]), "mgmt", SILENT)
    said = shown(found)
    assert len(said) <= 15 and max(map(len, said)) <= 80
    assert said[0].split() == ["PAIR", "STATE", "ACTIVE", "SINCE", "GEN", "READY", "RUN", "NEXT"]
    rows = {line.split()[0]: line for line in said[1:10]}
    assert (
        "failed_over" in rows["salt"]
        and "recover static 12 s" in rows["salt"]
        and rows["salt"].endswith("wait")
    )
    assert "primary_down" in rows["mgmt"] and rows["mgmt"].endswith("start salt1")
    assert "normal*" in rows["pair0"] and rows["pair0"].endswith("recover")
    assert said[-1] == "12 more: salt-run pair.status <pair>"


def test_what_is_empty_everywhere_has_no_column():
    said = shown({"a": facts(normal(), "a"), "b": facts(normal(), "b")})
    assert said[0].split() == ["PAIR", "STATE", "ACTIVE", "SINCE", "GEN", "READY"]
    assert [line.split()[-1] for line in said[1:]] == ["yes", "yes"]


def test_the_page_of_a_pair_says_first_what_counts():
    said = shown({"salt": facts(failed_over(), here="salt1")})
    assert said[0] == "salt is failed_over"
    next_at = said.index("Next, on the master of salt2:")
    assert said[next_at + 1] == "    salt-run state.orch orch.recover pillar='{pair: salt}'"
    assert next_at < min(number for number, line in enumerate(said) if line.startswith("salt1  "))
    assert any("gate closed: it has rebooted" in line for line in said)


def test_during_a_run_the_page_says_to_wait():
    said = " ".join(
        " ".join(shown({"salt": facts((None, failed_over(lock=LOCK)[1]), errors=SILENT)})).split()
    )
    assert f"run {samples.RUN} of root on salt2_master, step static since 12 s: wait" in said
    assert "Next" not in said and "fenced" not in said


def test_a_pause_says_until_when_by_whom_and_why():
    said = shown({"salt": facts(normal(pause=PAUSE))})
    (line,) = [one for one in said if one.startswith("paused")]
    assert line.endswith("by root: switch maintenance") and "until" in line and "17953" not in line
    rows = shown({"salt": facts(normal(pause=PAUSE)), "b": facts(normal(), "b")})
    assert any("paused until" in row for row in rows)


def test_a_node_that_is_silent_says_why():
    said = " ".join(shown({"salt": facts((None, failed_over()[1]), errors=SILENT)}, 200))
    assert "salt1    primary: salt1 does not answer pair.report" in said
    assert "nothing is urgent" in said


def test_a_name_from_a_node_cannot_draw_on_the_terminal():
    evil = samples.ledger(4, "salt2")
    evil["why"] = "x\x1b[2J\nsalt is normal"
    said = shown({"salt": facts((failed_over()[0], report("salt2", evil, True)))})
    assert not any("\x1b" in line or line.startswith("salt is normal") for line in said)


def test_a_report_of_an_earlier_release_has_what_it_has():
    reports = normal()
    for one in reports:
        for key in ("pause", "lock", "fenced"):
            del one[key]
    assert facts(reports)["verdict"] == "normal"


@pytest.mark.parametrize(
    "found",
    [
        facts(normal()),
        facts(failed_over(lock=LOCK, pause=PAUSE)),
        facts((None, failed_over()[1]), errors=SILENT),
        facts((None, None), errors=SILENT),
    ],
    ids=["normal", "in a run", "a node off", "both off"],
)
def test_the_facts_are_as_the_schema_says(found):
    jsonschema = pytest.importorskip("jsonschema")
    answer = json.loads(json.dumps({"pairs": {"salt": found}, "version": VERSION, "retcode": 1}))
    assert answers.lines(answer, 80, NOW)[-1] == f"Failback {VERSION}"
    jsonschema.validate(answer, json.loads(SCHEMA.read_text()))


def test_the_schema_describes_each_fact_and_knows_no_other():
    schema = json.loads(SCHEMA.read_text())
    pair = schema["properties"]["pairs"]["additionalProperties"]["properties"]
    known = set(facts(normal()))
    assert set(pair) - {"guests", "guests_wrong"} == known
    node = schema["$defs"]["node"]["properties"]
    assert set(node) == set(facts(normal())["nodes"]["salt1"])


def test_a_plan_that_is_refused_is_shown_whole():
    plan = {"verdict": "cold", "sentence": "Neither serves.", "steps": [], "refused": ["Run: boot"]}
    said = answers.lines({**plan, "retcode": 1}, 80, NOW)
    assert said == ["verdict: cold", "sentence: Neither serves.", "steps: []", "refused:", "  Run: boot"]


# --- history ----------------------------------------------------------------------------------------


def record(run=samples.RUN, **changes):
    made = {"run": run, "pair": "salt", "operation": "recover", "started": samples.SINCE, "user": "root"}
    return {**made, "master": "salt2_master", "result": None, "sentence": "", "backup": False, **changes}


def held(step, seconds, state="held"):
    return {"state": state, "step": step, "seconds": seconds}


@pytest.mark.parametrize(
    ("first", "second", "result", "step"),
    [
        (record(result="succeeded", finished="x"), record(), "succeeded", None),
        (record(), record(), "interrupted", None),
        (record(lock=held("pause", 40)), record(lock=held("static", 12)), "running", ("static", 12)),
        (record(lock=held(None, None)), record(), "running", (None, None)),
        (record(lock=held("static", 12)), record(lock=held("static", 12, "dead")), "interrupted", None),
        (record(lock=held("static", 12, "expired")), record(), "interrupted", None),
        (record(result="failed", sentence="no room", finished="x"), record(), "failed", None),
    ],
)
def test_a_run_that_is_at_work_is_running(first, second, result, step):
    (found,) = history.merged({"salt1": [first], "salt2": [second]})
    assert found["result"] == result
    assert ((found["step"], found["seconds"]) if "step" in found else None) == step


def test_history_is_a_line_a_run_and_why_it_did_not_succeed():
    found = history.merged(
        {
            "salt1": [
                record(),
                record(samples.OTHER_RUN, lock=held("static", 12)),
                record("20261122T190000-recover-salt-0001", result="failed", sentence="no room", backup=True),
            ]
        }
    )
    said = answers.lines({"runs": found, "no answer": ["salt2 does not answer."]}, 80, NOW)
    assert said[0].split() == ["WHEN", "PAIR", "WHAT", "RESULT", "BY", "ID"]
    assert "interrupted" in said[1] and "running: static 12 s" in said[2]
    assert said[3].split()[3] == "failed" and said[4] == "    no room"
    assert said[-1] == "salt2 does not answer."
