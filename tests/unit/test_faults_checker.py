"""The checker of the fault campaign finds what is broken: it is given made-up facts of broken runs."""

import copy
import json
import pathlib
import random
import subprocess
import sys
import threading
import types

import pytest
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import client  # noqa: E402
from lab import load  # noqa: E402
from lab.faults import campaign  # noqa: E402
from lab.faults import checker  # noqa: E402
from lab.faults import injectors  # noqa: E402
from lab.faults import moments  # noqa: E402
from lab.faults import rehearsal  # noqa: E402

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


MACS = {"02:00:00:00:00:01": "salt1", "02:00:00:00:00:02": "salt2"}


def arp(*steps):
    """What the client's monitor saw, ten times a second: from each (moment, nodes that answer) on."""
    found = []
    for (begin, nodes), (end, _) in zip(steps, steps[1:]):
        macs = [mac for mac, node in MACS.items() if node in nodes]
        number = round((end - begin) * 10)
        found += [{"time": round(begin + one / 10, 1), "macs": macs} for one in range(number)]
    return found


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
        "macs": dict(MACS),
        "arp": arp(
            (95, ["salt1"]),
            (110, []),
            (112, ["salt2"]),
            (120, ["salt1", "salt2"]),
            (122, ["salt2"]),
            (149.9, []),
            (150.1, ["salt1"]),
            (200, []),
        ),
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
    assert found == set(moments.BY_OPERATION["boot"]) | set(moments.RANDOM)


def test_what_a_moment_is_named_after_is_a_job_of_an_orchestration():
    tree = pathlib.Path(__file__).resolve().parents[2] / "salt"
    sources = [tree / "_states/pair_run.py", *(tree / "_utils/failback_master").glob("*.py")]
    text = "".join(source.read_text() for source in sources)
    named = {one.partition(":")[0] for each in moments.BY_OPERATION.values() for one in each if ":" in one}
    assert {one for one in named if f'"{one}"' not in text} == set()
    assert {"lsyncd.drain", "lsyncd.first_pass", "pair.renew", "pair.admit"} <= named


def test_a_failover_has_its_boundaries_before_and_after_the_handover():
    phases = moments.PHASES["failover"]
    assert list(phases) == ["opening", "draining", "handover", "settling", "closing"]
    for function in ("pair.start_services", "lsyncd.drain", "pair.push_git"):
        assert any(one.startswith(function) for one in phases["draining"])
    for function in ("pair.push_git", "reverse_rsync.compared", "pair.stand_by", "pair.activate"):
        assert any(one.startswith(function) for one in phases["settling"])
    for each in moments.PHASES.values():
        assert "pair.renew:ret" in each["opening"] and "pair.close_run:ret" in each["closing"]
    for operation in ("recover", "boot"):
        assert "lsyncd.first_pass:new" in moments.PHASES[operation]["settling"]


def test_the_second_time_of_a_moment_may_be_in_another_phase():
    assert moments.phase("failover", "pair.push_git:new") == "draining"
    assert moments.phase("failover", "pair.push_git:new#2") == "settling"
    assert moments.phase("recover", "pair.push_git:new") == "pre-sync"
    assert moments.phase("boot", "pair.admit:ret") == moments.phase("boot", "pair.admit:ret#2") == "taking"
    assert moments.phase("boot", "pair.admit:ret#3") == "settling"


def test_a_second_operator_may_start_each_orchestration():
    assert {f"second_{operation}" for operation in moments.PHASES} <= set(injectors.ALL)
    started = []
    lab = types.SimpleNamespace(second_operator=started.append)
    injectors.ALL["second_failover"].inject(lab)
    assert started == ["failover"]


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


def kept(label, begin=10.0, end=40.0, **more):
    timeline = [[begin, "orch.recover begins on salt2"], [end, "orch.recover ended with 0"]]
    return {"label": label, "exit": 0, "hit": True, "timeline": timeline, **more}


def test_how_long_an_undisturbed_run_takes_is_what_was_measured():
    reports = [
        kept("recover/none/done"),
        kept("recover/none/armed", took=28.0),
        kept("recover/none/up", took=5.0),  # with a reboot: another kind of run
        kept("recover/rsync/done", took=3.0),
        kept("recover/none/done", exit=1, took=2.0),
    ]
    assert campaign.undisturbed(reports) == {"recover": 28.0}
    assert campaign.undisturbed(reports[:1]) == {"recover": 30.0}
    # Its moment did not come: nothing was in its way either, and the next random moment shall not be missed.
    missed = kept("recover/rsync/random:7", hit=False, took=19.0)
    assert campaign.undisturbed([*reports, missed]) == {"recover": 19.0}


def test_a_random_moment_is_a_share_of_the_measured_time(monkeypatch):
    """Where nobody knows the time, a run with nothing in its way comes first."""
    made = []

    class Run:
        def __init__(self, lab, operation, fault, moment, seed):
            made.append((operation, fault, moment, seed, lab.undisturbed.get(operation)))
            self.label = f"{operation}/{fault}/{moment}"

        def run(self):
            timeline = [[9, "the pair is normal"]]
            seen = {"timeline": timeline, "took": 21.0, "hit": "random:9" not in self.label}
            return {**checker.judge(facts()), "label": self.label, **seen}

    monkeypatch.setattr(rehearsal, "Rehearsal", Run)
    lab = types.SimpleNamespace(undisturbed={"recover": 29.0})
    runs = [("failover", "rsync", "random:3"), ("recover", "rsync", "random:9")]
    runs += [("recover", "rsync", "random:8"), ("boot", "rsync", "armed")]
    campaign.make(lab, runs, 7, report=lambda text: None)
    assert made == [
        ("failover", "none", "pair.close_run:new", 7, None),
        ("failover", "rsync", "random:3", 7, 21.0),
        ("recover", "rsync", "random:9", 8, 29.0),
        ("recover", "rsync", "random:8", 9, 21.0),
        ("boot", "rsync", "armed", 10, None),
    ]


def a_rehearsal(seed=7, undisturbed=(), fault="rsync"):
    host = types.SimpleNamespace(name="salt1")
    lab = types.SimpleNamespace(primary=host, secondary=host, client=host, undisturbed=dict(undisturbed))
    return rehearsal.Rehearsal(lab, "failover", fault, "random:5", seed)


def test_a_rehearsal_waits_for_a_share_of_that_time():
    assert a_rehearsal(undisturbed={"failover": 17.0}).undisturbed == 17.0
    assert a_rehearsal().undisturbed == moments.UNDISTURBED["failover"]
    assert set(moments.UNDISTURBED) == set(moments.PHASES)
    ended = types.SimpleNamespace(poll=lambda: 0)
    assert moments.wait("random:5", None, ended, 17.0, 300).time is None
    assert moments.wait("random:5", None, ended, 0.0, 300).time is not None


def test_nobody_looks_on_for_longer_than_until_somebody_serves(monkeypatch):
    one, looked = a_rehearsal(), []

    def holders():
        looked.append(1)
        return ["salt1"] if len(looked) > 2 else []

    monkeypatch.setattr(one, "_holders_now", holders)
    monkeypatch.setattr(rehearsal.time, "sleep", lambda seconds: None)
    one.hit = True
    one._observe()
    assert one.after_fault == ["salt1"] and len(looked) == 4


def entries_of_a_full_disk():
    """An overwrite, three appends for which there was no room, one that was answered: recover, seed 47."""
    return [
        operation(87, "overwrite", "f"),
        *(operation(number, "append", "f", answered=None) for number in (90, 96, 103)),
        operation(113, "append", "f"),
    ]


@pytest.mark.parametrize(
    ("content", "right"),
    [
        (load.block(87) + load.block(113), True),
        (load.block(87) + load.block(90)[:70] + load.block(96)[:3] + load.block(113), True),
        (load.block(87) + load.block(90) + load.block(96)[:40] + load.block(103) + load.block(113), True),
        (load.block(87) + load.block(96)[:40] + load.block(90)[:40] + load.block(113), False),
        (load.block(87) + load.block(90)[:70] + load.block(113)[:-1], False),
        (load.block(87)[:-1] + load.block(113), False),
        (load.block(87) + load.block(90)[:70], False),
    ],
)
def test_any_beginning_of_what_was_not_acknowledged_may_be_there(content, right):
    model = load.model_of(entries_of_a_full_disk())
    assert model.matches("f", content) is right


def test_many_writes_that_fail_leave_a_model_that_can_be_searched():
    entries = [operation(1, "create", "f")]
    entries += [operation(number, "append", "f", answered=None) for number in range(2, 60)]
    model = load.model_of(entries)
    assert len(model.files["f"]) == 1
    assert model.matches("f", load.block(1) + load.block(2)[:9] + load.block(59)[:9])
    assert not model.matches("f", load.block(1) + load.block(60))


def operations(path):
    """What a client did, without the part of the names that is new in every run."""
    return [
        (one["operation"], *(one[key].partition("-")[2] for key in ("name", "new_name") if key in one))
        for one in load.entries(path)
    ]


def test_the_load_chooses_by_its_seed_and_not_by_its_names(tmp_path):
    """As the hosts run it: one program, told by its arguments."""
    said = {}
    for number, (prefix, seed) in enumerate([("c1", "7/client"), ("c2", "7/client"), ("c2", "8/client")]):
        root, log = tmp_path / f"root{number}", tmp_path / f"{number}.jsonl"
        root.mkdir()
        service = load.Service(root, 0)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        command = [sys.executable, load.__file__, "write", "--to", "127.0.0.1", "--log", log, "--changes"]
        command += ["--port", service.server_address[1], "--rate", 1000, "--count", 60]
        command += ["--prefix", prefix, "--seed", seed]
        subprocess.run([str(one) for one in command], check=True, timeout=60)
        service.shutdown()
        service.server_close()
        said[prefix, seed] = operations(log)
    assert len(said["c1", "7/client"]) == 60
    assert said["c1", "7/client"] == said["c2", "7/client"] != said["c2", "8/client"]


def test_the_load_of_a_run_is_told_the_seed_of_the_run():
    told = []
    host = types.SimpleNamespace(
        name="salt1",
        run=lambda argv, **options: told.append(argv),
        spawn=lambda argv, **options: told.append(argv),
    )
    client.start_writing(host, "10.0.0.5", prefix="c1795431726", seed="7/client")
    assert told[-1][-2:] == ["--seed", "7/client"]
    client.start_writing(host, "10.0.0.5")
    assert "--seed" not in told[-1]
    one = a_rehearsal(seed=7)
    one.local_log = "/var/log/local.jsonl"
    one._local_writer(host)
    assert told[-1][-2:] == ["--seed", "7/salt1"]
    with MonkeyPatch().context() as patch:
        patch.setattr(rehearsal.client, "start_writing", lambda *_, **options: told.append(options))
        patch.setattr(one, "_local_writer", lambda host: None)
        host.run = lambda argv, **options: types.SimpleNamespace(returncode=0)
        with pytest.raises(AttributeError):  # nobody writes, so there is nothing to wait for
            one._load()
    assert told[-1]["seed"] == "7/client"
    written = load.LocalWriter("10.0.0.5", "/", "log", prefix="salt1-1795431726", seed="7/salt1")
    assert written.choice.random() == random.Random("7/salt1").random()
