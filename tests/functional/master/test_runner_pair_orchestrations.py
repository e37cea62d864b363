"""The orchestrations by their short names: what Salt's own ``state.orch`` is given, and what came of it."""

import gc
import json
import pathlib

import pytest

#: In the place of each orchestration: it says what it was given.
SLS = """\
{%- set given = {} %}
{%- for key, value in pillar.items() if key not in ("pairs", "_errors") %}
{%- do given.update({key: value}) %}
{%- endfor %}
NAME:
  test.configurable_test_state:
    - changes: True
    - result: {{ pillar.get("reason") != "it fails" }}
    - comment: {{ given | json | json }}
"""

#: By function all that it may be given, but ``test``.
GIVEN = {
    "recover": {
        "pair": ["salt", "web"],
        "plan": "0123456789abcdef",
        "max_delete": 0,
        "max_change_percent": 100,
        "winner": "salt2",
        "reason": "the clients were there",
        "at_once": 2,
        "vms": "move",
    },
    "failover": {
        "pair": "salt",
        "plan": "0123456789abcdef",
        "max_delete": 7,
        "max_change_percent": 0,
        "fenced": "salt1",
        "reason": "burnt",
        "moved": True,
        "at_once": 1,
        "vms": "move",
    },
    "boot": {"pair": "salt", "plan": "0123456789abcdef", "at_once": 3},
    "adopt": {"pair": "salt", "moved": True, "harmless": ["/usr/local/bin/x"], "at_once": 1},
    "verify": {"pair": "salt", "repair": True, "limit": 60, "max_delete": 0, "at_once": 2},
    "drill": {"pair": "salt", "max_delete": 1, "max_change_percent": 2},
    "retire": {"pair": "salt"},
    "vm": {
        "vm": "idm",
        "host": "salt2",
        "away_from": "salt1",
        "how": "restart",
        "fenced": "salt1",
        "reason": "burnt",
    },
}


@pytest.fixture(scope="module")
def orchestrations(master_opts):
    folder = pathlib.Path(master_opts["file_roots"]["base"][1]) / "orch"
    folder.mkdir(parents=True)
    for name in GIVEN:
        (folder / f"{name}.sls").write_text(SLS.replace("NAME", f"told {name}"))
    yield
    # Salt complains of minions of its own that it has not closed: here, and not when the streams are gone.
    gc.collect()


@pytest.mark.one_release(but="the first case")
@pytest.mark.parametrize(("function", "given"), GIVEN.items(), ids=GIVEN)
def test_what_is_typed_is_what_the_orchestration_of_that_name_is_given(
    run, minions, orchestrations, function, given
):
    outcome = run(f"pair.{function}", **given)
    assert json.loads(outcome["sentence"]) == given
    assert (outcome["result"], outcome["retcode"], outcome["failed_step"]) == (True, 0, None)
    assert [one["step"] for one in outcome["steps"]] == [f"told {function}"]


@pytest.mark.one_release
def test_what_is_not_typed_is_not_given(run, minions, orchestrations):
    """A key that is given is one that the operator has said."""
    assert json.loads(run("pair.recover", "salt")["sentence"]) == {"pair": "salt"}


@pytest.mark.one_release
def test_a_test_changes_nothing_and_is_no_failure(run, minions, orchestrations):
    outcome = run("pair.boot", "salt", test=True)
    assert (outcome["result"], outcome["retcode"]) == (None, 0)
    assert json.loads(outcome["sentence"]) == {"pair": "salt"}


@pytest.mark.one_release
def test_a_run_that_fails_is_the_exit_status(run, minions, orchestrations):
    outcome = run("pair.recover", "salt", reason="it fails")
    assert (outcome["result"], outcome["retcode"]) == (False, 1)
    assert outcome["failed_step"] == "told recover"


def test_each_function_takes_what_its_orchestration_does():
    from failback.decisions import given

    assert {f"orch.{name}": set(words) for name, words in GIVEN.items()} == {
        name: words for name, words in given.ORCHESTRATIONS.items() if name != "orch.lease"
    }
