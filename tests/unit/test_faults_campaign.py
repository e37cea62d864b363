"""Which runs a campaign makes, at which moments, and how it waits for them."""

import pathlib
import random
import subprocess
import sys
import types

import pytest
import samples
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone
from faults_facts import facts

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import client  # noqa: E402
from lab import load  # noqa: E402
from lab.faults import campaign  # noqa: E402
from lab.faults import checker  # noqa: E402
from lab.faults import injectors  # noqa: E402
from lab.faults import moments  # noqa: E402
from lab.faults import outside  # noqa: E402
from lab.faults import rehearsal  # noqa: E402
from lab.faults import stage  # noqa: E402

pytestmark = pytest.mark.one_release


def test_the_random_runs_are_those_of_their_seed():
    assert campaign.random_runs(30, 7) == campaign.random_runs(30, 7)
    assert campaign.random_runs(30, 7) != campaign.random_runs(30, 8)


def test_every_fault_is_made_at_every_moment_of_every_orchestration():
    runs = campaign.every_run()
    assert len(runs) == len(set(runs))
    made = {(operation, moment) for operation, fault, moment in runs if fault == "primary_power"}
    assert made == {(name, moment) for name, each in moments.BY_OPERATION.items() for moment in each}
    assert {fault for _, fault, _ in runs} == set(injectors.ALL) - {"none"}


def test_while_the_pair_serves_every_fault_that_needs_no_run_is_made_for_each_time():
    runs = campaign.every_run(moments.SERVING)
    faults = {fault for _, fault, _ in runs}
    assert {"primary_power", "lsyncd", "watch", "apart", "primary_frozen", "secondary_lossy"} <= faults
    assert not faults & {"salt_run", "second_recover", "primary_gone", "primary_quick"}
    assert {moments.lasts(moment) for _, _, moment in runs} == {5, 20, 90}
    # One needs the members of etcd.
    assert {operation for operation, fault, _ in runs if fault == "members"} == {"serving_lease"}
    configurations = [moments.configuration(one) for one in ("recover", *moments.SERVING)]
    assert configurations == ["", "", "lease", "fence"] and set(configurations) == set(stage.WAITS)
    # And those faults are of no orchestration.
    others = {fault for _, fault, _ in campaign.every_run(moments.ORCHESTRATIONS)}
    assert not others & {"apart", "members", "primary_frozen", "site_power"}
    chosen = campaign.random_runs(30, 7, moments.SERVING)
    assert {operation for operation, _, _ in chosen} == set(moments.SERVING)
    assert set(chosen) <= set(runs)


def test_a_moment_by_chance_is_one_of_the_operation_or_of_its_time():
    found = {moments.at_random("boot", random.Random(seed)) for seed in range(200)}
    assert found == set(moments.BY_OPERATION["boot"]) | set(moments.RANDOM)


def test_what_a_moment_is_named_after_is_a_job_of_an_orchestration():
    tree = pathlib.Path(__file__).resolve().parents[2] / "salt"
    sources = [tree / "_states/pair_run.py", *(tree / "_utils/failback_master").glob("*.py")]
    text = "".join(source.read_text() for source in sources)
    boundaries = [one for operation in moments.ORCHESTRATIONS for one in moments.BY_OPERATION[operation]]
    named = {one.partition(":")[0] for one in boundaries if ":" in one}
    assert {one for one in named if f'"{one}"' not in text} == set()
    assert {"lsyncd.drain", "lsyncd.first_pass", "pair.renew", "pair.admit"} <= named


def test_a_failover_has_its_boundaries_before_and_after_the_handover():
    phases = moments.PHASES["failover"]
    assert list(phases) == ["opening", "draining", "handover", "settling", "closing"]
    for function in ("pair.start_services", "lsyncd.drain", "pair.push_git"):
        assert any(one.startswith(function) for one in phases["draining"])
    for function in ("pair.push_git", "reverse_rsync.compared", "pair.stand_by", "pair.activate"):
        assert any(one.startswith(function) for one in phases["settling"])
    for each in (moments.PHASES[operation] for operation in moments.ORCHESTRATIONS):
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
    assert {f"second_{operation}" for operation in moments.ORCHESTRATIONS} <= set(injectors.ALL)
    started = []
    lab = types.SimpleNamespace(second_operator=started.append)
    injectors.ALL["second_failover"].inject(lab)
    assert started == ["failover"]


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


def test_a_lab_that_a_campaign_has_left_in_a_fault_is_not_the_next_ones(monkeypatch, tmp_path):
    ready, anew, timelines = tmp_path / "faults", [], iter([["the pair is normal"], [], KeyboardInterrupt])

    def run():
        assert not ready.exists()
        said = next(timelines)
        if said is KeyboardInterrupt:
            raise said
        return {**checker.judge(facts()), "label": "boot/rsync/armed", "timeline": [[1, one] for one in said]}

    monkeypatch.setattr(rehearsal, "Rehearsal", lambda *_: types.SimpleNamespace(run=run))
    lab = types.SimpleNamespace(undisturbed={}, ready=ready, up=lambda: (anew.append(1), ready.touch()))
    ready.touch()
    with pytest.raises(KeyboardInterrupt):
        campaign.make(lab, [("boot", "rsync", "armed")] * 3, 7, report=lambda text: None)
    assert len(anew) == 1 and not ready.exists()


def test_a_random_moment_is_a_share_of_the_measured_time(monkeypatch, tmp_path):
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
    lab = types.SimpleNamespace(undisturbed={"recover": 29.0}, ready=tmp_path / "faults")
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
    assert set(moments.UNDISTURBED) == set(moments.ORCHESTRATIONS)
    ended = types.SimpleNamespace(poll=lambda: 0)
    assert moments.wait("random:5", None, ended, 17.0, 300).time is None
    assert moments.wait("random:5", None, ended, 0.0, 300).time is not None


def test_nobody_looks_on_for_longer_than_until_somebody_serves(monkeypatch):
    one, looked = a_rehearsal(), []

    def holders():
        looked.append(1)
        return ["salt1"] if len(looked) > 2 else []

    monkeypatch.setattr(one, "_holders_now", holders)
    samples.in_place_of_time(monkeypatch, rehearsal, sleep=lambda seconds: None)
    one.hit = True
    one._observe()
    assert one.after_fault == ["salt1"] and len(looked) == 4


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
    one._name_what_is_written()
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


def test_what_a_kernel_says_is_heard_while_its_host_stands_still():
    said = (
        "[2026-11-28T11:30:00.500000] 7: eth0    inet 10.0.0.5/24 scope global secondary eth0:0\\\n"
        "[2026-11-28T11:30:02.250000] Deleted 7: eth0    inet 10.0.0.5/24 scope global secondary eth0:0\\\n"
        "[2026-11-28T11:30:03.000000] Deleted 7: eth0    inet 10.0.0.55/24 scope global secondary eth0:1\\\n"
    )
    begun = 1795865400.0
    assert list(outside.heard(said, "10.0.0.5")) == [
        {"time": begun + 0.5, "what": "holds", "holds": True},
        {"time": begun + 2.25, "what": "holds", "holds": False},
    ]


@pytest.mark.parametrize("fault", ["ssh_cut", "watch", "primary_deaf", "primary_mute", "secondary_lossy"])
def test_a_rule_that_nft_refuses_is_no_fault_that_was_made(fault):
    def run(argv, check=True, **options):
        if argv[0] == "nft" and check:
            raise subprocess.CalledProcessError(1, argv)

    def host(name):
        return types.SimpleNamespace(name=name, run=run, mac=lambda: "02:00:00:00:00:01")

    hosts = [host(name) for name in ("salt1", "salt2", "client")]
    site = types.SimpleNamespace(hosts=hosts)
    lab = types.SimpleNamespace(
        primary=hosts[0], secondary=hosts[1], client=hosts[2], site=site, undisturbed={}
    )
    one = rehearsal.Rehearsal(lab, "recover", fault, "armed", 7)
    one.holder = lambda: hosts[0]
    with pytest.raises(subprocess.CalledProcessError):
        one.fault.inject(one)
