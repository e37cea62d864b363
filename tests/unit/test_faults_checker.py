"""The checker of the fault campaign finds what is broken: it is given made-up facts of broken runs."""

import copy
import json
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import load  # noqa: E402
from lab.faults import campaign  # noqa: E402
from lab.faults import checker  # noqa: E402
from lab.faults import injectors  # noqa: E402
from lab.faults import moments  # noqa: E402

FILES = "/srv/salt/files"
BAIT = "/srv/small/bait-1"


def line(time, what, **more):
    return {"time": time, "what": what, **({what: more.pop("value")} if "value" in more else {}), **more}


def holds(time, value):
    return line(time, "holds", value=value)


def operation(sequence, kind, name, node="salt1", answered=..., **more):
    entry = {"sequence": sequence, "operation": kind, "name": name, "sent": 100.0 + sequence}
    entry["answered"] = 100.1 + sequence if answered is ... else answered
    return {**entry, "node": node, **more}


def facts():
    """A run in which all went well: salt1 was cut off at 110 s, salt2 took over, salt1 came home at 150 s."""
    clients = [
        operation(1, "create", "f-1"),
        operation(9, "create", "f-9"),
        operation(20, "create", "f-20", node="salt2"),
        operation(60, "append", "f-20"),
    ]
    tree = {f"{FILES}/f-1": load.block(1), f"{FILES}/f-20": load.block(20) + load.block(60)}
    tree[f"{BAIT}/1"] = b"serving 1\n"
    return {
        "label": "recover/none/done",
        "seed": 1,
        "how": "cut",
        "begun": 100.0,
        "started": 130.0,
        "injected": 140.0,
        "ended": 200.0,
        "hit": True,
        "exit": 0,
        "said": "",
        "failed": None,
        "normal": True,
        "drained": True,
        "timeline": [],
        "attempts": [],
        "outages": [["salt1", 110.0, 120.0, "cut"]],
        "silences": [],
        "client": clients,
        "local": {"salt1": [], "salt2": []},
        "plans": [f'{{"deleted": ["{FILES}/f-9"]}}'],
        "trees": {"salt1": dict(tree), "salt2": dict(tree)},
        "kept": {"salt1": {"files/f-9": [load.block(9)], "bait-1/1": [b"before 1\n"]}, "salt2": {}},
        "bait": {"1": "serving 1\n", "2": None},
        "kept_bait": {"1": "before 1\n"},
        "bait_folder": BAIT,
        "places": {"client": FILES, "local": "/srv/small/local"},
        "observed": {
            "salt1": [
                line(95, "begun", boot="a"),
                holds(95, True),
                line(95, "ledger", value=[1, "salt1"]),
                line(95, "lsyncd", value=[[7, 1]]),
                line(122, "ledger", value=[2, "salt2"]),
                holds(122, False),
                line(123, "lsyncd", value=[]),
                line(150, "ledger", value=[3, "salt1"]),
                holds(150.1, True),
                line(155, "lsyncd", value=[[9, 500]]),
            ],
            "salt2": [
                line(95, "begun", boot="b"),
                holds(95, False),
                line(95, "ledger", value=[1, "salt1"]),
                line(112, "ledger", value=[2, "salt2"]),
                holds(112, True),
                holds(149.9, False),
                line(150, "ledger", value=[3, "salt1"]),
            ],
        },
    }


def broken(changed):
    return sorted({name for name, _ in checker.judge(changed)["broken"]})


def test_a_run_in_which_all_went_well():
    report = checker.judge(facts())
    assert report["broken"] == []
    assert report["overlap"] == 0
    assert report["split"] == pytest.approx(10)
    assert report["gap"] == pytest.approx(0.2)


def two_holders(one):
    # salt2 does not release before salt1 takes, long after salt1 was heard again.
    one["observed"]["salt2"][5]["time"] = 152.0


def nobody_serves(one):
    one["observed"]["salt1"][8]["time"] = 175.0


def an_older_node_starts_lsyncd(one):
    one["observed"]["salt1"].insert(6, line(122.5, "lsyncd", value=[[7, 1], [8, 9]]))


def lsyncd_runs_on(one):
    one["observed"]["salt1"][6]["time"] = 145.0


def a_write_is_missing(one):
    for tree in one["trees"].values():
        del tree[f"{FILES}/f-1"]


def a_write_is_on_one_node_only(one):
    del one["trees"]["salt2"][f"{FILES}/f-20"]


def a_lost_write_is_in_no_backup(one):
    del one["kept"]["salt1"]["files/f-9"]


def a_lost_write_was_not_named(one):
    one["plans"] = ["{}"]


def a_backup_has_other_content(one):
    one["kept"]["salt1"]["files/f-9"] = [b"something else"]


def a_replaced_file_is_in_no_backup(one):
    del one["kept"]["salt1"]["bait-1/1"]


def an_old_file_is_back(one):
    for tree in one["trees"].values():
        tree[f"{BAIT}/2"] = b"deleted while the other served\n"


def it_hangs(one):
    one["exit"] = None


def it_is_not_repaired(one):
    one["normal"] = False


def not_all_is_carried(one):
    one["drained"] = False


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        (two_holders, "one holder"),
        (nobody_serves, "service"),
        (an_older_node_starts_lsyncd, "one direction"),
        (lsyncd_runs_on, "one direction"),
        (a_write_is_missing, "promises"),
        (a_write_is_on_one_node_only, "equal"),
        (a_lost_write_is_in_no_backup, "promises"),
        (a_lost_write_was_not_named, "promises"),
        (a_backup_has_other_content, "promises"),
        (a_replaced_file_is_in_no_backup, "kept"),
        (an_old_file_is_back, "kept"),
        (it_hangs, "repeatable"),
        (it_is_not_repaired, "repeatable"),
        (not_all_is_carried, "equal"),
    ],
)
def test_each_break_is_found(damage, invariant):
    one = copy.deepcopy(facts())
    damage(one)
    assert invariant in broken(one)


def test_a_node_that_lost_power_holds_nothing_from_then_on():
    one = facts()
    one["outages"] = [["salt1", 110.0, 120.0, "power"]]
    one["observed"]["salt1"][4:7] = [line(121, "begun", boot="c"), holds(121, False)]
    assert checker.judge(one)["split"] == 0


def test_an_operation_whose_outcome_is_unknown_may_have_changed_what_is_kept():
    """The append was done and never answered, just before the node was lost: the backup has both."""
    one = facts()
    one["client"].insert(2, operation(10, "append", "f-9", answered=None))
    one["kept"]["salt1"]["files/f-9"] = [load.block(9) + load.block(10)]
    assert broken(one) == []


def test_a_client_that_goes_to_and_fro_in_a_split_leaves_two_histories():
    """salt1, heard again and not yet told, appends to what it has; what salt2 did to it, it never heard."""
    one = facts()
    one["client"][2:2] = [
        operation(12, "overwrite", "f-1", node="salt2"),
        operation(21, "append", "f-1", node="salt1"),
    ]
    for tree in one["trees"].values():
        tree[f"{FILES}/f-1"] = load.block(12)
    one["plans"][0] += f"{FILES}/f-1"
    assert broken(one) == ["promises"]
    one["kept"]["salt1"]["files/f-1"] = [load.block(1) + load.block(21)]
    assert broken(one) == []


def test_the_random_runs_are_those_of_their_seed():
    assert campaign.random_runs(30, 7) == campaign.random_runs(30, 7)
    assert campaign.random_runs(30, 7) != campaign.random_runs(30, 8)


def test_every_fault_is_made_at_every_moment_of_every_orchestration():
    runs = campaign.every_run()
    assert len(runs) == len(set(runs))
    made = {(operation, moment) for operation, fault, moment in runs if fault == "primary_power"}
    assert made == {(name, moment) for name, each in moments.BY_OPERATION.items() for moment in each}
    assert {fault for _, fault, _ in runs} == set(injectors.ALL) - {"none"}


def test_a_moment_by_chance_is_one_of_the_operation_or_of_its_time():
    found = {moments.at_random("boot", random.Random(seed)) for seed in range(200)}
    assert found == set(moments.BOOT) | set(moments.RANDOM)


def test_what_was_true_before_the_log_begins_still_counts():
    lines = [
        line(1.0, "begun", boot="a"),
        line(1.0, "ledger", value=[3, "salt1"]),
        holds(1.0, False),
        line(2.0, "ledger", value=[4, "salt1"]),
        holds(2.0, True),
        line(8.0, "alive"),
        line(12.0, "alive"),
        holds(15.0, False),
    ]
    text = "".join(json.dumps(one) + "\n" for one in lines) + '{"time": 16.0, "wh'
    found = checker.since(text, 10.0)
    assert [(one["time"], one["what"]) for one in found] == [
        (10.0, "ledger"),
        (10.0, "holds"),
        (12.0, "alive"),
        (15.0, "holds"),
    ]
    assert found[0]["ledger"] == [4, "salt1"]
    assert checker.holding(found, {**facts(), "ended": 20.0}, "salt1") == [[10.0, 15.0]]


def test_a_boot_forgets_what_was_true():
    lines = [holds(1.0, True), line(2.0, "begun", boot="b"), holds(12.0, True)]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    assert [one["time"] for one in checker.since(text, 10.0)] == [12.0]


def test_every_moment_is_in_one_phase():
    for operation, phases in moments.PHASES.items():
        named = [moment for group in phases.values() for moment in group]
        assert sorted(named) == sorted(moments.BY_OPERATION[operation])
        assert set(phases) <= set(campaign.WORST)
        assert {moments.phase(operation, one) for one in moments.RANDOM} == {"by chance"}


def test_a_brief_campaign_makes_every_fault_once_in_every_phase_and_knows_what_is_missing():
    runs = campaign.brief_runs(7)
    assert runs == campaign.brief_runs(7) != campaign.brief_runs(8)
    cells = [(operation, fault, moments.phase(operation, moment)) for operation, fault, moment in runs]
    assert len(set(cells)) == len(cells)
    assert ("recover", "rsync", "handover") in cells and ("recover", "primary_gone", "static") in cells
    assert ("recover", "primary_gone", "handover") not in cells
    label = "/".join(("recover", runs[0][1], "done"))
    assert campaign.missing(runs, [{"label": label, "hit": True}]) == runs[1:]
    assert campaign.missing(runs, [{"label": label, "hit": False}]) == runs


def test_the_table_says_what_was_broken_in_which_phase():
    def report(label, **more):
        return {"label": label, "hit": True, "broken": [], "gap": 1.0, "overlap": 0.0, **more}

    said = checker.table(
        [
            report("recover/rsync/released"),
            report("recover/rsync/done", broken=[["kept", "x"]], gap=2.0),
            report("recover/rsync/random:3"),
            report("boot/master/pair.take:ret", hit=False),
        ]
    )
    assert "| recover | opening | static | warm | handover | settling | closing | by chance |" in said
    assert "| `rsync` |  |  |  | 2, **1 broken** |  |  | 1 | 2.0 s | 0.0 s |" in said
    assert "| boot |" not in said
    assert said.endswith("4 runs, 1 with a broken invariant, 1 ended before the moment came.")
