"""When a pair may be moved merely to see that it works, and what such a drill is made of."""

import pathlib
import re

import pytest
import samples

from failback.decisions import drill
from failback.decisions import verdict

ORCH = pathlib.Path(__file__).resolve().parents[3] / "salt/orch"
#: Steps that need an operator's word, which a drill does not take.
BY_WORD = {"taken_over", "winner_settled"}


def steps(name):
    """The steps on a pair of which an orchestration is made, in their order."""
    found = re.findall(r"^  pair_run\.(\w+):", (ORCH / f"{name}.sls").read_text(), re.MULTILINE)
    return [one for one in found if one not in BY_WORD]


def test_a_drill_is_a_failover_and_a_recovery_and_leaves_out_no_step_of_them():
    assert steps("drill") == steps("failover") + steps("recover")


def test_each_step_of_a_drill_waits_for_the_one_before_it_and_a_close_for_none():
    """A close runs after a failed step; the way back begins only if the way there has ended well."""
    text = (ORCH / "drill.sls").read_text()
    found = re.findall(r"^(\S.*):\n  (pair_\w+\.\w+):((?:.*\n(?=  |$))*)", text, re.MULTILINE)
    assert len(found) == len(steps("drill")) + 2
    before = None
    for name, function, body in found:
        required = re.findall(r"      - pair_\w+: (.*)", body)
        if function == "pair_run.closed":
            closed = name
            assert required == []
            continue
        after_a_close = name.startswith(("Both nodes answer and the pair may come home", "How long"))
        assert required == ([before, closed] if after_a_close else [before] if before else []), name
        before = name


def reports(boot_id="another boot", **changes):
    own = samples.ledger(7, "salt1")
    primary = samples.report("salt1", own, ("10.0.0.5/24",), **changes)
    return [{**primary, "boot_id": boot_id}, samples.report("salt2", own, pause=changes.get("pause"))]


NORMAL = verdict.Verdict(verdict.NORMAL, "salt1 serves.", active="salt1", generation=7)
OVER = verdict.Verdict(verdict.FAILED_OVER, "salt2 serves.", active="salt2", generation=8)
UNREADY = verdict.Verdict(verdict.NORMAL, "salt1 serves.", active="salt1", drift=("app is masked on salt2.",))
UNCOMPARED = verdict.Verdict(verdict.NORMAL, "salt1 serves.", active="salt1", uncompared=samples.RUN)
PAUSED = {"until": 9e9, "reason": "switch maintenance", "run": None}
NO_REBOOT = {**samples.PAIR["recovery"], "reboot": False}


@pytest.mark.parametrize(
    "found, changes, guests, boot_id, config, said",
    [
        (NORMAL, {}, [], "mine", {}, None),
        (
            OVER,
            {},
            [],
            "mine",
            {},
            "salt is failed_over: salt2 serves. A drill begins",
        ),
        (UNCOMPARED, {}, [], "mine", {}, "A drill begins with a pair that is well"),
        (UNREADY, {}, [], "mine", {}, "app is masked on salt2."),
        (NORMAL, {"pause": PAUSED}, [], "mine", {}, "is paused (switch maintenance)"),
        (NORMAL, {"pause": {"error": "damaged"}}, [], "mine", {}, "is paused (damaged)"),
        (NORMAL, {"boot_id": "mine"}, [], "mine", {}, "Run it on the master of salt2"),
        (NORMAL, {"boot_id": "mine"}, [], "mine", {"recovery": NO_REBOOT}, None),
        (NORMAL, {}, ["idm"], "mine", {}, "which runs idm. Move them away first"),
        (NORMAL, {}, ["idm"], "mine", {"recovery": NO_REBOOT}, None),
    ],
)
def test_a_drill_is_refused_unless_the_pair_is_well_and_can_come_home(
    found, changes, guests, boot_id, config, said
):
    refusal = drill.refusal(samples.pair(**config), found, reports(**changes), guests, boot_id)
    assert refusal is None if said is None else said in refusal


def test_a_drill_that_has_only_gone_one_way_proves_nothing():
    assert "no handover of recover" in drill.incomplete({"windows": {"failover": 310.0}})
    windows = {"failover": 310.25, "recover": 120.0}
    assert drill.incomplete({"windows": windows}) is None
    said = drill.outcome(samples.pair(), {"windows": windows})
    assert said.endswith("310.2 ms on the way to salt2, 120.0 ms on the way to salt1.")
