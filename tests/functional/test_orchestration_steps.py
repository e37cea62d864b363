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
