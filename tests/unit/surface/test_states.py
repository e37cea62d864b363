"""What an orchestration has come to: the lines at its end, from what Salt returns."""

import pytest
import samples

from failback_master.surface import answers
from failback_master.surface import states

WIDTH = 80
RECOVER = "salt-run state.orch orch.recover pillar='{pair: salt}'"
REFUSAL = f"Refused, nothing was changed. salt is cold: Neither node serves. Run: {RECOVER}"


def state(number, result, comment, **changes):
    name = f"step {number}"
    return f"pair_run_|-{name}_|-{name}_|-do", {
        "__run_num__": number,
        "__id__": name,
        "result": result,
        "comment": comment,
        "changes": changes,
    }


def returned(*made):
    """As ``state.orch`` returns it; Salt gives the states in any order."""
    return {"data": {"salt2_master": dict(reversed(made))}, "outputter": "highstate", "retcode": 1}


def lines(*made, with_steps=False):
    return answers.lines(returned(*made), WIDTH, 0, with_steps)


def not_run(numbers):
    return [state(number, False, "One or more requisite failed: orch.recover.x") for number in numbers]


CLOSED = state(15, True, "No run was opened, so there is nothing to close.")
ASKED = state(0, True, "The virtual machines are left alone.")


@pytest.mark.parametrize("with_steps", [True, False])
def test_a_refusal_is_said_once_and_nothing_else(with_steps):
    said = lines(ASKED, state(1, False, REFUSAL), *not_run(range(2, 15)), CLOSED, with_steps=with_steps)
    assert said == ["Refused, nothing was changed. salt is cold: Neither node serves. Run:", f"    {RECOVER}"]


def test_the_longest_refusal_of_limits_is_short():
    paths = "; ".join(f"/srv/data/of/a/pair/{number}: 400 of 900 files (44 %)" for number in range(6))
    long = f"Refused, nothing was changed. More than 25 % would be overwritten: {paths}. Run: {RECOVER}"
    assert len(lines(ASKED, state(1, False, long), *not_run(range(2, 15)), CLOSED)) <= 12


def test_an_orchestration_that_cannot_be_rendered_is_said_too():
    found = {"data": {"salt2_master": ["Rendering SLS 'base:orch.x' failed"]}, "outputter": "highstate"}
    assert answers.lines(found, WIDTH, 0) == ["Rendering SLS 'base:orch.x' failed"]
    assert states.outcome(states.in_order(found))["result"] is False


def test_a_step_that_failed_stands_beside_who_serves():
    closed = state(15, False, "Run X failed at `static`. salt is now failed_over: salt2 serves.")
    failed = state(2, False, "salt1 has not answered.")
    said = " ".join(lines(state(1, True, "ok"), failed, *not_run(range(3, 15)), closed))
    assert said == "salt1 has not answered. Run X failed at `static`. salt is now failed_over: salt2 serves."
    steps = " ".join(lines(state(1, True, "ok"), failed, *not_run(range(3, 15)), closed, with_steps=True))
    assert "done   ok" in steps and "FAILED step 2: salt1 has not answered." in steps


def test_who_has_seen_no_step_gets_them_all():
    """A file, or another program: nobody says there what was printed before."""
    states_of_it = returned(state(1, True, "It is paused."), state(15, True, "Run X is closed."))
    assert answers.lines(states_of_it, None, 0)[0] == "done   It is paused."


def test_an_interrupted_run_says_where_and_who_serves():
    closed = state(
        15, False, f"Interrupted at `static`. salt is failed_over: salt2 serves. Run again: {RECOVER}"
    )
    said = lines(
        state(1, True, "ok"), state(2, False, "Interrupted."), *not_run([3]), closed, with_steps=True
    )
    assert said[0].startswith("Interrupted at `static`.") and said[-1] == f"    {RECOVER}"


def test_a_test_says_what_would_be_done():
    said = lines(
        state(1, None, "Would recover salt."), state(2, None, "Would pause."), state(3, True, "Not needed: x")
    )
    assert said == ["  Would recover salt.", "  Would pause."]


def test_several_pairs_are_a_table_and_a_sentence_each():
    one = {"result": True, "comment": "Run X is closed.", "seconds": 46.2}
    two = {"result": False, "comment": "Refused.", "seconds": 0.0}
    said = lines(state(0, False, "recover of 2 pairs: 1 done; 1 failed: mx.", salt=one, mx=two))
    assert said[:3] == ["PAIR  RESULT  TOOK", "mx    FAILED  0.0 s", "salt  done    46.2 s"]
    assert said[-1] == "recover of 2 pairs: 1 done; 1 failed: mx."


SUMMARY = {
    "run": samples.RUN,
    "seconds": {"precheck": 1.0, "static": 30.0, "handover": 4.0},
    "before": {"verdict": "failed_over", "active": "salt2", "generation": 2},
    "after": {"verdict": "normal", "active": "salt1", "generation": 3},
    "window_milliseconds": 23.6,
    "files": {"overwritten": 33, "deleted": 95, "created": 0, "attributes": 6},
    "compared": 646,
}


def test_a_recovery_ends_with_what_it_has_brought_about():
    conflicts = {"count": 29, "node": "salt1", "names": [f"/srv/it's {number}" for number in range(29)]}
    closed = state(15, True, "Run X is closed. salt is served by salt1.", **SUMMARY, conflicts=conflicts)
    said = lines(state(1, True, "ok"), closed)
    assert len(said) <= 25
    assert said[:5] == [
        "before    failed_over, salt2 serves, generation 2",
        "after     normal, salt1 serves, generation 3",
        "window    23.6 ms without service",
        "files     33 overwritten, 95 deleted, 6 attributes",
        "compared  646 files, the same on both nodes",
    ]
    assert f"undo      salt-run pair.undo {samples.RUN} takes back all of it" in said
    text = "\n".join(said)
    assert "conflicts 29: /srv/it's 0, /srv/it's 1, /srv/it's 2 and 26 more" in text
    assert f"salt-run pair.undo {samples.RUN} conflicts=True\n" in text


def test_a_failed_run_has_no_summary_of_success():
    closed = state(15, False, "Run X failed at `git`. salt is now normal.")
    assert not any(line.startswith("after") for line in lines(state(1, False, "no"), closed))


def test_the_outcome_is_typed_for_programs():
    found = states.outcome(states.in_order(returned(state(1, False, REFUSAL), *not_run([2]), CLOSED)))
    assert (found["result"], found["refused"], found["failed_step"]) == (False, True, "step 1")
    assert found["sentence"] == REFUSAL


def test_a_recovery_without_conflicts_has_no_line_of_them():
    for conflicts in ({}, {"count": 0, "node": "salt1", "names": []}):
        closed = state(15, True, "Run X is closed.", **SUMMARY, conflicts=conflicts)
        assert not any("conflict" in line for line in lines(closed))


def test_why_a_path_was_compared_as_a_whole_is_said_of_a_few():
    whole = {f"/srv/{name}": "its list was lost" for name in "abcd"}
    said = lines(state(15, True, "Run X is closed.", **SUMMARY, compared_as_a_whole=whole))
    assert [line.strip() for line in said if "as a whole" in line] == [
        f"/srv/{name} was compared as a whole in it, because its list was lost" for name in "abc"
    ]


def outcome(*made):
    return states.outcome(states.in_order(returned(*made)))


OPENED = state(1, True, "The pair is taken.", run=samples.RUN)
REPAIRED = state(2, True, "It is repaired.", salt2={"repaired": 2})
WOULD = state(3, None, "Would pause.")
FAILED = state(4, False, "No room.")
ENDED = state(15, False, "Run X failed at `git`.")


@pytest.mark.parametrize(
    ("made", "result", "sentence", "refused"),
    [
        ([OPENED, REPAIRED], True, "It is repaired.", False),
        ([OPENED, WOULD], None, "Would pause.", False),
        # Of a test that fails it is said why, not what else would be done.
        ([WOULD, FAILED], False, "No room.", False),
        ([OPENED, FAILED, ENDED], False, "No room. Run X failed at `git`.", False),
        ([FAILED, ENDED], False, "No room. Run X failed at `git`.", False),
        ([OPENED, FAILED], False, "No room.", False),
        # Where nothing else ran, nothing was changed.
        ([FAILED], False, "No room.", True),
        ([FAILED, *not_run([5, 6])], False, "No room.", True),
        ([OPENED], True, "The pair is taken.", False),
    ],
)
def test_an_outcome_says_what_counts_and_whether_anything_was_changed(made, result, sentence, refused):
    found = outcome(*made)
    assert (found["result"], found["sentence"], found["refused"]) == (result, sentence, refused)


def test_what_a_step_has_changed_is_taken_neither_for_pairs_nor_for_the_end_of_the_run():
    found = outcome(OPENED, REPAIRED)
    assert (found["pairs"], found["summary"]) == ({}, {})
    assert outcome(OPENED, state(15, True, "Closed.", **SUMMARY))["summary"] == SUMMARY


@pytest.mark.parametrize("changed", ["overwritten", "deleted", None])
def test_what_can_be_taken_back_is_said_with_its_command(changed):
    counts = {**dict.fromkeys(SUMMARY["files"], 0), "created": 5, **({changed: 1} if changed else {})}
    said = lines(state(15, True, "Run X is closed.", **{**SUMMARY, "files": counts}))
    assert any(line.startswith(f"undo      salt-run pair.undo {samples.RUN}") for line in said) is bool(
        changed
    )
