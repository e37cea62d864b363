"""The steps of each orchestration as Salt compiles them: what holds for every one. Nothing is applied."""

import pathlib

import pytest
import salt.state

ORCH = pathlib.Path(__file__).resolve().parents[2] / "salt/orch"

#: What each is given; of those that take several pairs at once both forms.
GIVEN = {
    "adopt": [{"pair": "salt"}, {"pair": ["salt", "mgmt"]}, {"pair": "all"}],
    "boot": [{"pair": "salt"}, {"pair": ["salt", "mgmt"]}, {"pair": "all"}],
    "drill": [{"pair": "salt"}],
    "failover": [{"pair": "salt"}, {"pair": ["salt", "mgmt"]}, {"pair": "all"}],
    "lease": [{"pair": "salt"}],
    "recover": [{"pair": "salt"}, {"pair": ["salt", "mgmt"]}, {"pair": "all"}],
    "retire": [{"pair": "salt"}],
    "verify": [{"pair": "salt"}, {"pair": ["salt", "mgmt"]}, {"pair": "all"}],
    "vm": [{"vm": "idm", "host": "mgmt2"}],
}


@pytest.fixture
def steps(minion_opts):
    """``steps(orchestration, pillar)``: its low chunks, as ``state.orch`` has them."""

    def call(orchestration, pillar):
        high = salt.state.HighState({**minion_opts, "pillar": {}}, pillar_override=pillar)
        data, errors = high.render_highstate({"base": [f"orch.{orchestration}"]})
        assert errors == []
        chunks, errors = _compiled(high.state.compile_high_data(data))
        assert errors == []
        return chunks

    return call


def _compiled(found):
    # Salt 3008 returns the errors beside the chunks.
    return found if isinstance(found, tuple) else (found, [])


#: What a person may write as the reason, and what is not to be taken for anything else on its way.
WORDS = [
    "burnt PSU \U0001f525",
    "a \"quote\", a 'quote', {{ 7 * 7 }} and {% raw %}",
    "first\nsecond\ttab # no comment: and - no list",
    "\\ \x00 \x1b[31m \x7f \x85 \x9b \u2028 \ufeff \ufffe \U000e0041 \U0010ffff",
    "<b>Störung & Ärger</b>",
    ["all", {"\U0001f525": "# \U0001f525"}],
    "yes",
    "",
    None,
    5,
    True,
]


@pytest.mark.parametrize("words", WORDS, ids=ascii)
def test_what_an_operator_writes_reaches_the_step_as_it_is(steps, words):
    for orchestration, pillar in (("failover", {"pair": "salt"}), ("vm", {"vm": "idm", "host": "mgmt2"})):
        found = steps(orchestration, {**pillar, "reason": words})
        assert [one["reason"] for one in found if "reason" in one] == [words]


def test_half_a_character_stops_no_orchestration(steps):
    """A command line of another character set is given to Python as such."""
    found = steps("failover", {"pair": "salt", "reason": "caf\udce9"})
    assert [one["reason"] for one in found if "reason" in one] == ["caf\ufffd"]


def test_every_orchestration_is_looked_at():
    assert sorted(GIVEN) == sorted(path.stem for path in ORCH.glob("*.sls"))


@pytest.mark.parametrize(
    ("orchestration", "pillar"),
    [
        pytest.param(name, pillar, id=f"{name}-{pillar.get('pair', 'vm')}")
        for name, each in GIVEN.items()
        for pillar in each
    ],
)
def test_no_step_ends_the_run_before_it_is_closed(steps, orchestration, pillar):
    """With ``failhard: True`` in the master's configuration, a failed step would be the last one."""
    chunks = steps(orchestration, pillar)
    assert chunks
    assert {one["__id__"]: one.get("failhard") for one in chunks} == {one["__id__"]: False for one in chunks}


@pytest.mark.parametrize("orchestration", GIVEN)
def test_a_master_without_the_modules_is_told_what_to_run(minion_opts, tmp_path, orchestration):
    """Without the states, Salt would only say of each that it was not found."""
    bare = {"module_dirs": [], "pillar": {}, "extension_modules": str(tmp_path), "cachedir": str(tmp_path)}
    high = salt.state.HighState({**minion_opts, **bare}, pillar_override=GIVEN[orchestration][0])
    _, errors = high.render_highstate({"base": [f"orch.{orchestration}"]})
    assert any("salt-run saltutil.sync_all" in one for one in errors), errors
