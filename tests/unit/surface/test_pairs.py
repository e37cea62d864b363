"""The table of pairs, the page of one, and the history."""

import dataclasses
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
    # Each pair has its line, three things that are wrong are named, and the rest is counted.
    assert len(said) == 1 + 9 + 3 + 1 and max(map(len, said)) <= 80
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


@pytest.mark.parametrize(
    ("result", "reason", "said"),
    [
        ("succeeded", None, []),
        ("succeeded", "burnt", ["    burnt"]),
        ("running", "burnt", ["    burnt"]),
        ("failed", None, ["    the end"]),
        ("failed", "burnt", ["    burnt the end"]),
        ("interrupted", "burnt", ["    burnt the end"]),
    ],
)
def test_the_reason_of_a_run_is_always_shown_and_its_end_where_it_did_not_succeed(result, reason, said):
    one = {**record(result=result, sentence="the end"), "reason": reason, "operation": None, "user": None}
    head, line, *more = answers.lines({"runs": [{**one, "started": "yesterday"}]}, 80, NOW)
    assert line.split() == ["-", "salt", "-", result, "-", samples.RUN] and more == said


def test_the_end_of_a_run_is_cut_to_the_terminal_and_whole_in_a_pipe():
    runs = {"runs": [record(result="failed", sentence="x" * 1500)]}
    assert len(answers.lines(runs, 60, NOW)[-1]) == 60
    assert len(answers.lines(runs, None, NOW)[-1]) == 1000


def test_a_history_of_nothing_says_so():
    assert answers.lines({"runs": []}, 80, NOW) == ["No run is remembered."]


@pytest.mark.parametrize(
    ("kept", "changed"),
    [
        (record(result="succeeded", finished="x", sentence="done"), record()),
        (record(), record(result="succeeded", finished="x", sentence="done")),
    ],
    ids=["the first", "the second"],
)
def test_of_two_records_of_a_run_the_one_with_an_end_counts(kept, changed):
    (found,) = history.merged({"salt1": [{**kept, "backup": True}], "salt2": [{**changed, "backup": True}]})
    assert (found["result"], found["sentence"], found["finished"]) == ("succeeded", "done", "x")
    assert found["backup"] == ["salt1", "salt2"]


# --- any other answer -------------------------------------------------------------------------------


def test_a_sentence_of_an_answer_is_broken_at_the_width():
    long = "one two three four five six"
    for answer in (long, {"error": long, "retcode": 1}, {"comment": long}):
        assert answers.lines(answer, 20, NOW) == ["one two three four", "five six"]
        assert answers.lines(answer, None, NOW) == [long]


def test_a_file_is_printed_as_it_is_and_on_no_other_line():
    text = "# a\n\npairs:\n  web: {x: " + "y" * 100 + "}\n"
    assert answers.lines({"file": text}, 20, NOW) == text.rstrip("\n").split("\n")


def test_what_somebody_else_has_answered_is_shown_whole_but_for_the_exit_status():
    answer = {
        "salt1": {"restored": 3, "left": [], "of": {}, "names": ["/srv/é", {"a": "é"}]},
        "said": "Öl",
        "good": True,
        "undo this with": f"salt-run pair.undo {samples.RUN}",
        "retcode": 0,
    }
    assert answers.lines(answer, None, NOW) == [
        "salt1:",
        "  restored: 3",
        "  left: []",
        "  of: {}",
        "  names:",
        "    /srv/é",
        '    {"a": "é"}',
        "said: Öl",
        "good: true",
        f"undo this with: salt-run pair.undo {samples.RUN}",
    ]


def test_a_command_is_not_broken_and_what_is_long_is():
    command = "salt-run pair.undo 20261122T183000-recover-salt-4f2a"
    answer = {
        "undo": command,
        "list": ["one two three four five six"],
        "in": {"it": "one two three four five"},
    }
    assert answers.lines(answer, 24, NOW) == [
        f"undo: {command}",
        "list:",
        "  one two three four",
        "  five six",
        "in:",
        "  it: one two three four",
        "  five",
    ]


def test_what_an_orchestration_has_come_to_is_not_taken_for_a_status():
    outcome = {"pairs": {}, "failed_step": None, "refused": True, "sentence": "Refused.", "steps": []}
    assert answers.lines(outcome, 80, NOW) == ["Refused."]


# --- what is beside a node ---------------------------------------------------------------------------


def page(reports, **changes):
    found = facts(reports)
    return [line.strip() for line in pairs.page("salt", {**found, **changes}, NOW, 200)]


def test_each_guest_has_its_line():
    said = page(normal(), guests={"repo": "runs nowhere", "idm": "running on salt1"})
    assert said[-2:] == ["guest idm: running on salt1", "guest repo: runs nowhere"]


@pytest.mark.parametrize(
    ("differing", "words"),
    [(0, "both nodes had the same files"), (1, "1 file differed"), (2, "2 files differed")],
)
def test_the_last_comparison_says_what_it_has_found(differing, words):
    compared = {"at": NOW - 7200, "differing": differing, "files": 12, "current": True, "differences": []}
    said = page(normal(readiness={"verified": compared}))
    assert f"verified 2 h ago: {words} (12 compared by checksum)" in said


def test_the_newer_of_two_comparisons_counts():
    old, new = ({"at": NOW - age, "differing": 0, "files": age, "current": True} for age in (7200, 3600))
    first, second = normal(readiness={"verified": old})
    second["readiness"] = {"verified": new}
    assert any("(3600 compared" in line for line in page((first, second)))


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"pause": {"error": "the pause is damaged"}}, "pause: the pause is damaged"),
        ({"lock": {"error": "the lock is damaged"}}, "lock: the lock is damaged"),
        ({"lock": LOCK}, f"lock of run {samples.RUN}, held"),
        ({"fence": {"error": "its record is damaged"}}, "its record is damaged"),
        ({"fence": {"agent": "fence_x", "sentence": "it knows salt2"}}, "fence_x: it knows salt2"),
        ({"fenced": {"error": "the word is damaged"}}, "the word is damaged"),
        ({"fenced": {"node": "salt2", "reason": "burnt"}}, "declares salt2 off: burnt"),
        ({"reachable": {"asks": ["10.0.0.1", "10.0.0.2"]}}, "asks before a takeover: 10.0.0.1, 10.0.0.2"),
        ({"reachable": {"asks": []}}, "asks before a takeover: there is none"),
    ],
)
def test_what_a_node_says_beside_its_ledger_is_on_the_page(beside, said):
    first, second = normal()
    assert said in page(({**first, **beside}, second))
    assert said not in page((first, second))


def test_an_interface_that_is_not_there_is_named():
    first, second = normal()
    second["addresses"][0].update(interface_exists=False, interface="absent0")
    said = page((first, second))
    assert "salt-gw 10.0.0.5/24 no interface absent0, lsyncd is stopped, salt-master active" in said
    assert "salt-gw 10.0.0.5/24 held, lsyncd runs, salt-master active" in said


@pytest.mark.parametrize("key", ["problem", "error"])
def test_a_watch_that_has_nobody_to_ask_is_wrong(key):
    first, second = normal()
    second["reachable"] = {"asks": None, key: "salt2 has nobody to ask."}
    found = facts((first, second))
    assert found["watch_wrong"] == ["salt2 has nobody to ask."] and not pairs.is_good(found)
    assert pairs.is_good(facts((first, {**second, "reachable": {"asks": ["10.0.0.1"], "problem": None}})))


@pytest.mark.parametrize(
    ("uncompared", "unready", "ready"),
    [(None, (), True), (samples.RUN, (), False), (None, ("x",), False), (samples.RUN, ("x",), False)],
)
def test_a_pair_is_ready_when_it_was_compared_and_nothing_is_missing(uncompared, unready, ready):
    reports, config = normal(), samples.pair()
    found = verdict.judge(config, *reports)
    changed = dataclasses.replace(found, uncompared=uncompared, unready=unready)
    assert pairs.facts(config, changed, reports, {})["ready"] is ready


def test_what_is_not_known_of_a_pair_is_a_dash_in_the_table():
    found = {"a": facts((None, None), "a", SILENT), "b": facts(normal(), "b")}
    said = shown(found, None)
    assert said[0].split()[:6] == ["PAIR", "STATE", "ACTIVE", "SINCE", "GEN", "READY"]
    assert said[1].split()[:6] == ["a", "unknown", "-", "-", "-", "?"]
    assert said[2].split()[-2:] == ["3", "yes"]


def test_what_is_wrong_with_a_pair_of_several_is_cut_to_its_line():
    wrong = facts(normal(), "a")
    wrong["watch_wrong"] = ["x" * 1500]
    found = {"a": wrong, "b": facts(normal(), "b")}
    assert len(shown(found, 80)[-1]) == 80 and len(shown(found, None)[-1]) == 1000


@pytest.mark.parametrize(
    ("text", "commands", "lines"),
    [
        ("salt-run x pillar='{}'", ["salt-run x pillar='{}'"], ["Next:", "salt-run x pillar='{}'"]),
        ("mend what is wrong, then look again", [], ["Next: mend what is wrong, then look again"]),
        (
            "Start salt1, or: salt-run x pillar='{}'",
            ["salt-run x pillar='{}'"],
            ["Next: Start salt1, or:", "salt-run x pillar='{}'"],
        ),
    ],
)
def test_a_command_that_is_next_stands_alone_and_advice_is_a_sentence(text, commands, lines):
    said = page(normal(), next=text, commands=commands, master=None)
    begins = said.index(lines[0])
    assert said[begins : begins + len(lines)] == lines


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"heard": True}, "(a test); admitted"),
        ({"heard": False}, "(a test), heard by nobody since; admitted"),
        ({"heard": False, "withdrawn": True}, "(a test), withdrawn: nobody heard it; admitted"),
    ],
)
def test_what_a_claim_has_come_to_is_said_beside_it(own, words):
    first, second = normal()
    second["ledger"] = {**second["ledger"], **own}
    (line,) = [line for line in page((first, second)) if line.startswith("salt2")]
    assert words in line


def test_what_a_node_alone_has_and_no_backup_keeps_is_said_of_that_node():
    first, second = normal()
    second["ledger"] = {**second["ledger"], "unsaved": True}
    of = {line.split()[0]: line for line in page((first, second)) if "admitted in this boot" in line}
    words = "; what it alone has is in no backup"
    assert [node for node, line in of.items() if line.endswith(words)] == ["salt2"]
