"""The checker of the fault campaign finds what is broken: it is given made-up facts of broken runs."""

import copy
import json
import pathlib
import sys

import pytest
from faults_facts import BAIT
from faults_facts import FILES
from faults_facts import MACS
from faults_facts import arp
from faults_facts import facts
from faults_facts import holds
from faults_facts import line
from faults_facts import operation

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import load  # noqa: E402
from lab.faults import campaign  # noqa: E402
from lab.faults import checker  # noqa: E402

pytestmark = pytest.mark.one_release


def broken(changed):
    return sorted({name for name, _ in checker.judge(changed)["broken"]})


def test_a_run_in_which_all_went_well():
    report = checker.judge(facts())
    assert report["broken"] == []
    assert report["overlap"] == 0
    assert report["split"] == pytest.approx(10)
    assert report["gap"] == pytest.approx(0.2)
    assert (report["overlaps"], report["splits"], report["gaps"]) == ([], [[12.0, 10.0]], [[49.9, 0.2]])
    seen = report["client"]
    assert seen["overlap"] == 0
    assert seen["split"] == pytest.approx(1.9)
    assert seen["gap"] == pytest.approx(0.2)
    assert seen["gaps"] == [[10.0, 2.0], [49.9, 0.2]]


def two_holders(one):
    # salt2 does not release before salt1 takes, long after salt1 was heard again.
    one["observed"]["salt2"][5]["time"] = 152.0


def two_holders_while_the_client_is_cut_off(one):
    two_holders(one)
    one["outages"].append(["client", 145.0, 160.0, "cut"])


def two_holders_while_one_is_switched_on(one):
    two_holders(one)
    one["outages"].append(["salt2", 145.0, 149.0, "power"])


def two_holders_soon_after_the_claim_was_settled(one):
    # salt1 is heard again at 120 s and steps down at 122 s; at 130 s it bears the address once more.
    one["observed"]["salt1"][7:7] = [holds(130, True), holds(131, False)]


def two_answer_the_client(one):
    # The kernels say nothing of it.
    for each in one["arp"]:
        if 160 <= each["time"] < 160.45:
            each["macs"] = list(MACS)


def two_answer_the_client_in_turn(one):
    for number, each in enumerate(one["arp"]):
        if 160 <= each["time"] < 161 and number % 2:
            each["macs"] = [list(MACS)[1]]


def the_client_saw_nothing(one):
    one["arp"] = []


def lsyncd_runs_on_while_the_client_is_cut_off(one):
    lsyncd_runs_on(one)
    one["outages"].append(["client", 105.0, 199.0, "cut"])


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
        (two_holders_while_the_client_is_cut_off, "one holder"),
        (two_holders_while_one_is_switched_on, "one holder"),
        (two_holders_soon_after_the_claim_was_settled, "one holder"),
        (two_answer_the_client, "one holder"),
        (two_answer_the_client_in_turn, "one holder"),
        (the_client_saw_nothing, "one holder"),
        (lsyncd_runs_on_while_the_client_is_cut_off, "one direction"),
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


def test_what_a_cut_off_node_may_hold_ends_as_it_steps_down():
    one = facts()
    # Heard at 120 s: it steps down at 139 s, within the 20 s; it would be too late at 141 s.
    for moment, expected in ((139.0, []), (141.0, ["one holder"])):
        one["observed"]["salt1"][5]["time"] = moment
        one["observed"]["salt1"][4]["time"] = moment
        one["observed"]["salt1"][6]["time"] = moment + 0.5
        assert [name for name in broken(one) if name == "one holder"] == expected


def test_an_overlap_within_the_tolerance_is_measured_all_the_same():
    one = facts()
    one["observed"]["salt2"][5]["time"] = 150.13
    report = checker.judge(one)
    assert report["broken"] == []
    assert report["overlaps"] == [[50.1, 0.03]] and report["overlap"] == pytest.approx(0.03)


def test_every_gap_is_measured():
    one = facts()
    one["observed"]["salt1"] += [holds(170, False), holds(171, True), holds(180, False), holds(180.02, True)]
    report = checker.judge(one)
    assert report["gaps"] == [[49.9, 0.2], [70.0, 1.0], [80.0, 0.02]]
    assert report["gap"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "late",
    [
        # An answer that is read with the next question's, as the address moves.
        [(149.9, ["salt1", "salt2"]), (150.0, ["salt1"])],
        # Both in one line, twice: the second answer was on its way.
        [(149.9, ["salt1", "salt2"]), (150.1, ["salt1"])],
        # It moves, and home again: the first one has released in between.
        [(149.9, ["salt2"]), (150.0, ["salt1"])],
    ],
)
def test_an_answer_on_its_way_is_not_a_second_holder(late):
    one = facts()
    steps = [(95, ["salt1"]), (110, []), (112, ["salt2"]), *late, (200, [])]
    one["arp"] = arp(*steps)
    assert broken(one) == []


def test_what_the_client_could_not_hear_is_no_gap():
    one = facts()
    one["outages"].append(["client", 160.0, 170.0, "cut"])
    for each in one["arp"]:
        if 160 <= each["time"] < 170:
            each["macs"] = []
    report = checker.judge(one)
    assert report["broken"] == [] and report["client"]["gap"] == pytest.approx(0.2)


def test_facts_of_before_the_client_was_asked_are_judged():
    one = facts()
    del one["arp"], one["macs"]
    report = checker.judge(one)
    assert report["broken"] == [] and report["client"] is None
    assert "by the client" not in checker.shown(report)


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


def test_the_table_says_what_was_broken_in_which_phase():
    def report(label, **more):
        # As they were kept before all overlaps and gaps were.
        return {"label": label, "hit": True, "broken": [], "gap": 1.0, "overlap": 0.0, **more}

    said = checker.table(
        [
            report("recover/rsync/released", split=3.0),
            report("recover/rsync/done", broken=[["kept", "x"]], gap=2.0),
            report("recover/rsync/random:3"),
            report("boot/master/pair.take:ret", hit=False),
        ]
    )
    assert "| recover | opening | static | pre-sync | handover | settling | closing | by chance |" in said
    assert "| `rsync` |  |  |  | 2, **1 broken** |  |  | 1 | 2.0 s | 0.0 s | 3.0 s |" in said
    assert "| boot |" not in said
    assert said.endswith("4 runs, 1 with a broken invariant, 1 ended before the moment came.")


def test_a_run_is_shown_with_its_seed_its_timeline_and_its_verdict():
    one = facts()
    one["timeline"], one["attempts"] = [(130.0, "orch.recover begins on salt2")], ["failed_over -> recover"]
    said = checker.shown(checker.judge(one)).splitlines()
    assert said[0].startswith("held   recover/none/done seed 1 (cut; 100 s, 4 writes acknowledged, ")
    assert "longest without a holder 0.20 s, two holders 0.00 s, split 10.00 s" in said[0]
    assert said[0].endswith("; by the client 0.2, 0.0 and 1.9 s)")
    assert said[1:] == ["      30.00 s  orch.recover begins on salt2", "    again: failed_over -> recover"]
    two_holders(one)
    said = checker.shown(checker.judge(one)).splitlines()
    assert said[0].startswith("BROKEN recover/none/done seed 1")
    assert said[-1] == "    !! one holder: Both nodes bore the address for 1.90 s, from 50.10 s on."


def test_a_run_that_ended_before_its_moment_has_not_held():
    one = facts()
    one["hit"] = False
    report = checker.judge(one)
    assert checker.shown(report).startswith("missed ")
    assert campaign.exit_status([report, checker.judge(facts())]) == 3
    two_holders(one)
    assert checker.shown(checker.judge(one)).startswith("BROKEN ")
    assert campaign.exit_status([report, checker.judge(one)]) == 1
    assert campaign.exit_status([checker.judge(facts())]) == 0


def serving(operation="serving_lease", **changes):
    """salt1 is cut off for 20 s while the pair serves; salt2 takes over after 8 s."""
    one = facts()
    more = {
        "label": f"{operation}/primary_cut/lasts:20",
        "configuration": "lease" if operation == "serving_lease" else "",
        "patience": 2,
        "waits": 6 if operation == "serving_lease" else 0,
        "started": 110.0,
        "mended": 130.0,
        "arp": arp((95, ["salt1"]), (110, []), (118, ["salt2"]), (130, ["salt2"])),
    }
    return one | more | changes


def test_clients_may_wait_for_the_patience_and_the_lease():
    assert checker.unserved(serving()) == []
    (said,) = checker.unserved(serving("serving"))
    assert said == "The client was answered by nobody for 8.0 s, from 10.0 s on; 4 s are allowed."
    # An orchestration is judged by what the kernels say, and as long as nothing is mended there is no end.
    assert checker.unserved(facts()) == checker.unserved(serving("serving", mended=None)) == []


def test_nobody_can_be_answered_who_is_cut_off_himself_nor_by_nodes_without_power():
    nobody = arp((95, ["salt1"]), (110, []), (130, ["salt2"]))
    assert len(checker.unserved(serving(arp=nobody))) == 1
    cut = [["client", 110.0, 130.0, "cut"]]
    assert checker.unserved(serving(arp=nobody, outages=cut)) == []
    power = [["salt1", 110.0, 130.0, "power"]]
    assert len(checker.unserved(serving(arp=nobody, outages=power))) == 1
    both = [*power, ["salt2", 113.0, 130.0, "power"]]
    assert checker.unserved(serving(arp=nobody, outages=both)) == []


def test_a_node_that_is_made_mute_is_heard_by_nobody_and_with_a_lease_nobody_else_may_serve():
    mute = [["salt1", 110.0, 130.0]]
    nobody = arp((95, ["salt1"]), (110, []), (130, ["salt1"]))
    assert checker.unserved(serving(arp=nobody, outages=[], silences=mute)) == []
    assert len(checker.unserved(serving("serving", arp=nobody, outages=[], silences=mute))) == 1


def test_with_a_lease_no_cut_excuses_two_holders():
    def two(configuration):
        one = serving(configuration=configuration)
        one["observed"] = {"salt1": [holds(100, True), holds(122, False)], "salt2": [holds(115, True)]}
        spans = {node: checker.holding(lines, one, node) for node, lines in one["observed"].items()}
        return checker.overlaps(one, spans)

    counted, excused, said = two("")
    assert (counted, excused, said) == ([], [[115, 122]], [])
    counted, excused, said = two("lease")
    assert (counted, excused) == ([[115, 122]], [])
    assert said == ["Both nodes bore the address for 7.00 s, from 15.00 s on."]
