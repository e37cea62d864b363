"""
What ``orch.vm`` does on the master: refusals before a host is asked, and runs with two hosts that answer.

A guest must run on one host only: ``two_guest_hosts`` sees whether one ever ran on both.
"""

import pathlib
import tempfile
import time
import types

import pytest
import salt.pillar
from guest_host import OFF
from guest_host import OTHER_RUN
from guest_host import PAUSED
from guest_host import RUNNING
from two_guest_hosts import PAIRS
from two_guest_hosts import Two
from two_guest_hosts import loaded

from failback.decisions import plan as plans
from failback.notify import tell
from failback_master import checks
from failback_master import minions
from failback_master import orchestration

pytestmark = pytest.mark.one_release(but="the first case")

WRONG = [
    ({}, "No guest was named"),
    ({"vm": "nosuch", "host": "salt1"}, "There is no guest nosuch (guests: idm, repo; or all)"),
    ({"vm": "--all", "host": "salt1"}, "'--all' is not the name of a guest"),
    ({"vm": "../../etc/x", "host": "salt1"}, "is not the name of a guest"),
    ({"vm": ["idm"], "host": "salt1"}, "No guest was named"),
    ({"vm": "idm"}, "host or away_from"),
    ({"vm": "idm", "host": "salt1", "away_from": "salt2"}, "host or away_from"),
    ({"vm": "idm", "host": "salt9"}, "host must be one of salt1, salt2, not 'salt9'"),
    ({"vm": "idm", "host": "salt1", "how": "fast"}, "how must be live or restart, not 'fast'"),
    ({"vm": "idm", "host": "salt1", "fenced": "salt2"}, "fenced: salt2 needs a reason"),
    ({"vm": "idm", "host": "salt1", "reason": "x"}, "A reason without the node"),
    ({"vm": "idm", "host": "salt1", "fenced": "salt1", "reason": "x"}, "cannot be declared off"),
]


@pytest.fixture
def two(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="vm-") as root:
        found = Two(pathlib.Path(root), monkeypatch)
        yield found
    assert found.twice == set(), "a guest ran on both hosts"


class Master:
    """A master that applies the steps of ``orch.vm`` one after the other, as ``salt/orch/vm.sls`` says."""

    def __init__(self, two, test=False, pairs=PAIRS):
        self.states = loaded("vm_run", "_states/vm_run.py")
        self.states.__opts__ = {"id": "salt2_master", "conf_file": "x", "user": "root", "test": test}
        self.states.__pillar__ = {"pairs": pairs}
        self.states.__context__ = {}

    def orch(self, **words):
        """What the steps return; None for one that is not applied because the first one failed."""
        opened = self.states.opened("The hosts answer and the guests may go there", **words)
        placed = (
            self.states.placed("The guests run where they should") if opened["result"] is not False else None
        )
        return opened, placed, self.states.closed("The run is closed")


@pytest.mark.parametrize(("words", "why"), WRONG, ids=[why for _, why in WRONG])
def test_bad_words_are_refused(two, words, why):
    said = Master(two).states.opened("The hosts answer", **words)
    assert said["result"] is False and said["changes"] == {}
    assert why in said["comment"], said["comment"]
    assert two.asked == [], "no host need be asked"


# --- a run that goes well --------------------------------------------------------------------------

#: Where guests are, the words, what is done to them, what is said of it, and where they are then.
RUNS = {
    "live": (
        {"idm": ("salt1",)},
        {"vm": "idm", "host": "salt2"},
        [("salt1", "migrate", "idm")],
        {"idm": "migrated from salt1 to salt2"},
        {"idm": ["salt2"], "repo": []},
    ),
    "by a restart": (
        {"idm": ("salt1",)},
        {"vm": "idm", "host": "salt2", "how": "restart"},
        [("salt1", "shutdown", "idm"), ("salt2", "start", "idm")],
        {"idm": "restarted on salt2, was on salt1"},
        {"idm": ["salt2"], "repo": []},
    ),
    "it runs nowhere": (
        {},
        {"vm": "idm", "host": "salt2"},
        [("salt2", "start", "idm")],
        {"idm": "started on salt2"},
        {"idm": ["salt2"], "repo": []},
    ),
    "a migration left it paused there": (
        {"idm": ("salt1", (PAUSED, 2))},
        {"vm": "idm", "host": "salt2"},
        [("salt1", "resume", "idm")],
        {"idm": "resumed on salt1"},
        {"idm": ["salt1"], "repo": []},
    ),
    "a migration left it paused here": (
        {"idm": ("salt2", (PAUSED, 2))},
        {"vm": "idm", "host": "salt2"},
        [("salt2", "resume", "idm")],
        {"idm": "resumed on salt2"},
        {"idm": ["salt2"], "repo": []},
    ),
    "all that run leave a host": (
        {"repo": ("salt1",)},
        {"vm": "all", "away_from": "salt1"},
        [("salt1", "migrate", "repo")],
        {"repo": "migrated from salt1 to salt2"},
        {"idm": [], "repo": ["salt2"]},
    ),
    "all run on a host": (
        {"repo": ("salt1",)},
        {"vm": "all", "host": "salt2"},
        [("salt2", "start", "idm"), ("salt1", "migrate", "repo")],
        {"idm": "started on salt2", "repo": "migrated from salt1 to salt2"},
        {"idm": ["salt2"], "repo": ["salt2"]},
    ),
}
each_run = pytest.mark.parametrize(
    ("places", "words", "done", "said", "where"), RUNS.values(), ids=list(RUNS)
)


@each_run
def test_a_guest_comes_to_run_where_it_should(two, places, words, done, said, where):
    for guest, place in places.items():
        two.place(guest, *place)
    opened, placed, closed = Master(two).orch(**words)
    assert [one["result"] for one in (opened, placed, closed)] == [True] * 3, (opened, placed, closed)
    assert two.done == done and two.where() == where
    assert placed["changes"] == said
    assert placed["comment"] == " ".join(f"{guest}: {what}." for guest, what in said.items())
    run = opened["changes"]["run"]
    assert f"Run {run} holds mgmt." in opened["comment"] and len(opened["changes"]["plan"]) == len(said)
    assert closed["changes"]["run"] == run and list(closed["changes"]["seconds"]) == ["precheck", "place"]
    assert closed["comment"] == f"Run {run} is closed. {placed['comment']}"
    assert two.locks() == {"salt1": None, "salt2": None}
    for host in two.hosts.values():
        (record,) = host.records()
        assert (record["run"], record["operation"], record["result"]) == (run, "vm", "succeeded")
        assert [(one["step"], one["result"]) for one in record["steps"]] == [
            ("precheck", True),
            ("place", True),
        ]
        assert "told_by" not in record and all(0 <= one["seconds"] < 60 for one in record["steps"])


@each_run
def test_test_mode_says_what_would_be_done_and_changes_nothing(two, places, words, done, said, where):
    for guest, place in places.items():
        two.place(guest, *place)
    before = two.where()
    opened, placed, closed = Master(two, test=True).orch(**words)
    assert opened["result"] is None and opened["comment"].startswith("Would do this.")
    assert placed["result"] is None and sorted(placed["changes"]) == sorted(said)
    assert sorted(opened["changes"]["plan"]) == sorted(placed["changes"].values())
    assert (
        closed["result"] is True and closed["comment"] == "No run was opened, so there is nothing to close."
    )
    assert two.changed() == [] and two.done == [] and two.where() == before
    assert two.locks() == {"salt1": None, "salt2": None}


@pytest.mark.parametrize("test", [False, True], ids=["really", "test"])
def test_where_all_is_as_it_should_be_no_lock_is_taken(two, test):
    two.place("idm", "salt2")
    opened, placed, closed = Master(two, test=test).orch(vm="idm", host="salt2")
    assert [(one["result"], one["changes"]) for one in (opened, placed, closed)] == [(True, {})] * 3
    assert opened["comment"] == "Nothing to do. idm: runs on salt2." and placed["comment"] == "Nothing to do."
    assert "No run was opened" in closed["comment"]
    # What has come over by the replication counts, so libvirt learns it first.
    assert [one for _, one in two.changed()] == ([] if test else ["shared_vm.learn"] * 2)
    assert not any(host.records() for host in two.hosts.values())


@pytest.mark.parametrize("how", ["live", "restart"])
def test_both_hosts_are_locked_for_as_long_as_it_may_take(two, how):
    """Also when the master dies in the middle: what the hosts were told to do goes on there."""
    two.place("idm", "salt1")
    held = {}

    def look(moment):
        now = time.time()
        locks = [host.member.lock.read() for host in two.hosts.values()]
        held[moment] = min(lock["expires"] - now if lock else -1 for lock in locks)

    two.before["salt1", "pair.open_run"] = lambda: look("opened")
    for step in (("salt1", "shared_vm.migrate"), ("salt1", "shared_vm.stop"), ("salt2", "shared_vm.start")):
        two.before[step] = lambda step=step: look(step[1])
    opened, _, _ = Master(two).orch(vm="idm", host="salt2", how=how)
    limits = guest_rules_limits(two)
    assert opened["result"] is True and held.pop("opened") > 300
    assert len(held) == (1 if how == "live" else 2) and min(held.values()) > 300 + limits


def guest_rules_limits(two):
    own = two.hosts["salt1"].config()["virtualization"]
    return own["migration_timeout"] + own["shutdown_timeout"]


def test_whoever_looks_at_the_lock_sees_what_goes_on(two, master):
    def step():
        found.append([host.member.lock.read().get("step", {}).get("name") for host in two.hosts.values()])

    for guest, name, work in (
        ("idm", "place", lambda: master.orch(vm="idm", host="salt2")),
        ("repo", "vms", lambda: pair_run(two, master) and master.states.followed("x", vms="move")),
    ):
        found = []
        two.place(guest, "salt1")
        two.before["salt1", "shared_vm.migrate"] = step
        work()
        assert found == [[name, name]]


def test_one_host_tells_the_hooks_how_it_ended(two, monkeypatch):
    told = []
    monkeypatch.setattr(tell, "tell", lambda member, kind, said, **more: told.append((member.node, kind)))
    Master(two).orch(vm="idm", host="salt2")
    assert told == [("salt1", "run-succeeded")]
    two.silent.add("salt1")
    Master(two).orch(vm="repo", host="salt2", fenced="salt1", reason="burnt")
    assert told == [("salt1", "run-succeeded"), ("salt2", "run-succeeded")]


# --- what is refused -------------------------------------------------------------------------------


def locked_by_another(two):
    two.hosts["salt2"].hold(OTHER_RUN)


def locked_by_a_master_that_lives(two):
    two.hosts["salt1"].member.lock.acquire(OTHER_RUN, "recover", {"user": "eve", "master": "x"}, 60)


def other_release(two):
    two.hosts["salt2"].digest = "another"


REFUSED = {
    "another run owns the lock of salt2": (locked_by_another, {}, f"locked by run {OTHER_RUN}"),
    "another run owns the lock of salt1": (locked_by_a_master_that_lives, {}, f"locked by run {OTHER_RUN}"),
    "the other host does not answer": (
        lambda two: two.silent.add("salt1"),
        {},
        "salt1 does not say whether it runs there (salt1 does not answer pair.report)",
    ),
    "the target does not answer": (
        lambda two: two.silent.add("salt2"),
        {},
        "A guest is not started where nobody can look.",
    ),
    "a host runs another release": (other_release, {}, "salt2 runs another release of Failback"),
    "the one declared off answers": (
        lambda two: None,
        {"fenced": "salt1", "reason": "burnt"},
        "salt1 answers, so it is not off.",
    ),
    "libvirt does not answer there": (
        lambda two: two.fails.update({("salt1", "shared_vm.report"): "virsh: no answer"}),
        {},
        "salt1 does not say whether it runs there (salt1: virsh: no answer)",
    ),
    "it runs on both": (
        lambda two: [two.place("idm", node) for node in two.hosts],
        {},
        "idm: RUNS ON BOTH HOSTS",
    ),
}


@pytest.mark.parametrize("test", [False, True], ids=["really", "test"])
@pytest.mark.parametrize(("prepare", "words", "why"), REFUSED.values(), ids=list(REFUSED))
def test_a_refused_run_touches_no_guest_and_takes_no_lock(two, prepare, words, why, test):
    prepare(two)
    before = two.locks(), two.where()
    master = Master(two, test=test)
    opened, placed, closed = master.orch(vm="idm", host="salt2", **words)
    assert opened["result"] is False and opened["changes"] == {}
    assert opened["comment"].startswith("Refused, no guest was touched.") and why in opened["comment"]
    assert placed is None and "No run was opened" in closed["comment"]
    assert {one for _, one in two.changed()} <= (set() if test else {"shared_vm.learn"})
    assert two.done == [] and (two.locks(), two.where()) == before
    # Not even when a step is applied that should not be.
    assert master.states.placed("placed")["comment"].startswith("No run is open")


def test_a_refusal_comes_before_libvirt_learns_anything(two):
    locked_by_another(two)
    Master(two).orch(vm="idm", host="salt2")
    assert two.changed() == []


def test_what_is_said_of_all_guests_is_refused_as_a_whole(two):
    two.place("idm", "salt1")
    two.place("repo", "salt1", (PAUSED, 1))
    opened, _, _ = Master(two).orch(vm="all", host="salt2")
    assert opened["result"] is False and "repo: it is paused by a person on salt1" in opened["comment"]
    assert two.done == [] and two.locks() == {"salt1": None, "salt2": None}


def test_what_nobody_knows_is_refused(two, monkeypatch):
    """A misspelt ``how`` would migrate live what was to be restarted."""
    master, own = Master(two), {"pairs": PAIRS, "motd": "hello"}
    compiled = types.SimpleNamespace(compile_pillar=lambda: own)
    monkeypatch.setattr(salt.pillar, "Pillar", lambda *_, **__: compiled)
    master.states.__pillar__ = {**own, "hwo": "restart"}
    opened, _, _ = master.orch(vm="idm", host="salt2")
    assert opened["result"] is False and "hwo" in opened["comment"] and two.asked == []
    master.states.__pillar__ = own
    assert master.orch(vm="idm", host="salt2")[0]["result"] is True


BROKEN = {"primary": "mx1", "secondary": "mx2", "vms": ["web"], "nosuch": 1}


def test_a_slip_in_another_pair_keeps_no_guest_where_it_is(two):
    pairs = {**PAIRS, "mx": BROKEN}
    opened, _, _ = Master(two, pairs=pairs).orch(vm="idm", host="salt2")
    assert opened["result"] is True, opened["comment"]
    opened, _, _ = Master(two, pairs=pairs).orch(vm="web", host="mx2")
    assert opened["result"] is False and "There is no guest web" in opened["comment"]
    assert "(the pillar of mx is wrong: salt-run pair.check)" in opened["comment"]


# --- what happens between the look and the lock ----------------------------------------------------


def test_of_two_runs_at_once_the_later_one_leaves_no_lock_behind(two):
    two.before["salt2", "pair.lock"] = lambda: locked_by_another(two)
    opened, placed, closed = Master(two).orch(vm="idm", host="salt2")
    assert opened["result"] is False and f"locked by run {OTHER_RUN}" in opened["comment"]
    assert opened["changes"] == {} and placed is None and "No run was opened" in closed["comment"]
    assert two.locks() == {"salt1": None, "salt2": OTHER_RUN}
    assert two.done == [] and not two.calls("pair.open_run") and not two.calls("pair.close_run")


def test_a_plan_is_not_carried_out_when_the_facts_have_moved(two):
    two.place("idm", "salt1")
    two.before["salt2", "pair.lock"] = lambda: two.place("idm", "salt1", (OFF, 1))
    opened, placed, closed = Master(two).orch(vm="idm", host="salt2")
    assert opened["result"] is False and opened["changes"] == {} and placed is None
    assert "The facts moved while this run waited for its lock: idm: runs nowhere" in opened["comment"]
    assert closed["result"] is False and "failed at `precheck`" in closed["comment"]
    assert "Look: salt-run pair.status mgmt." in closed["comment"]
    assert two.done == [] and two.locks() == {"salt1": None, "salt2": None}
    for host in two.hosts.values():
        (record,) = host.records()
        assert record["result"] == "failed" and "The facts moved" in record["sentence"]
        assert 0 <= record["steps"][0]["seconds"] < 60


def test_nor_when_a_guest_may_not_go_there_any_more(two):
    two.place("idm", "salt1")
    two.before["salt2", "pair.lock"] = lambda: two.place("idm", "salt1", (PAUSED, 1))
    opened, _, closed = Master(two).orch(vm="idm", host="salt2")
    assert opened["result"] is False and "it is paused by a person on salt1" in opened["comment"]
    assert closed["result"] is False and two.done == []
    assert two.locks() == {"salt1": None, "salt2": None}


# --- a host that is off ----------------------------------------------------------------------------

OFF_WORD = {"fenced": "salt1", "reason": "burnt"}


def test_a_word_that_the_other_host_is_off_lets_a_guest_start(two):
    two.silent.add("salt1")
    opened, placed, closed = Master(two).orch(vm="idm", host="salt2", **OFF_WORD)
    assert [one["result"] for one in (opened, placed, closed)] == [True] * 3, (opened, placed, closed)
    assert two.where()["idm"] == ["salt2"] and two.locks() == {"salt1": None, "salt2": None}
    order = [one for one in two.asked if one[1] in ("pair.lock", "fencing.declare", "shared_vm.start")]
    assert order == [("salt2", "pair.lock"), ("salt2", "fencing.declare"), ("salt2", "shared_vm.start")]
    (record,) = two.hosts["salt2"].records()
    assert (record["fenced"], record["reason"], record["result"]) == ("salt1", "burnt", "succeeded")
    # It is waited for once, and not for long.
    assert [one for node, one in two.asked if node == "salt1"] == ["pair.report"]
    assert two.looks[0] == ("pair.report", minions.LOOK_WITHIN)


def test_the_word_counts_for_the_next_run_too_until_that_host_answers(two):
    two.silent.add("salt1")
    Master(two).orch(vm="idm", host="salt2", **OFF_WORD)
    opened, placed, _ = Master(two).orch(vm="repo", host="salt2")
    assert opened["result"] is True and placed["result"] is True, (opened, placed)
    assert two.calls("fencing.declare") == ["salt2"], "it stays the word that it was"
    assert two.where()["repo"] == ["salt2"]
    for record in two.hosts["salt2"].records():
        assert (record["fenced"], record["reason"]) == ("salt1", "burnt")
    two.silent.clear()
    two.asked.clear()
    opened, _, _ = Master(two).orch(vm="repo", host="salt1")
    assert opened["result"] is True and two.calls("pair.lock") == ["salt1", "salt2"]
    assert two.where()["repo"] == ["salt1"]
    assert "fenced" not in two.hosts["salt1"].records()[-1]


def test_a_word_does_not_count_on_the_other_host(two):
    """It is kept where the guests were to start; of that host it says nothing."""
    two.silent.add("salt1")
    Master(two).orch(vm="idm", host="salt2", **OFF_WORD)
    opened, _, _ = Master(two).orch(vm="repo", host="salt1")
    assert opened["result"] is False and "A guest is not started where nobody can look." in opened["comment"]


def test_a_host_whose_minion_alone_is_gone_is_not_off(two):
    two.without_minion.add("salt1")
    opened, placed, closed = Master(two).orch(vm="idm", host="salt2", **OFF_WORD)
    assert opened["result"] is False and "salt1 is not off: salt1 answers on port 22" in opened["comment"]
    assert placed is None and closed["result"] is False
    assert two.done == [] and two.locks() == {"salt1": None, "salt2": None}


# --- a run that fails in the middle ----------------------------------------------------------------


def test_one_that_fails_keeps_no_other_where_it_is(two):
    two.place("repo", "salt1")
    two.hosts["salt2"].start_error = "Cannot start shared-idm: resource busy."
    opened, placed, closed = Master(two).orch(vm="all", host="salt2")
    assert opened["result"] is True and placed["result"] is False
    assert (
        placed["changes"] == {"repo": "migrated from salt1 to salt2"} and "resource busy" in placed["comment"]
    )
    assert two.where() == {"idm": [], "repo": ["salt2"]}
    assert closed["result"] is False and "failed at `place`" in closed["comment"]
    assert two.locks() == {"salt1": None, "salt2": None}
    for host in two.hosts.values():
        (record,) = host.records()
        assert record["result"] == "failed" and "resource busy" in record["sentence"]


def test_a_migration_that_fails_leaves_the_guest_where_it_ran(two):
    two.place("idm", "salt1")
    two.migration_error = "Cannot migrate shared-idm: no route."
    _, placed, _ = Master(two).orch(vm="idm", host="salt2")
    assert placed["result"] is False and placed["changes"] == {}
    assert "it is running on salt1 now" in placed["comment"] and two.where()["idm"] == ["salt1"]
    assert two.aborted == [("salt1", "idm")], "a job that goes on would move it after all"


def test_without_its_lock_a_run_begins_nothing_more(two):
    for guest in ("idm", "repo"):
        two.place(guest, "salt1")

    def lost():
        """The run stood still for so long that another one has begun."""
        host = two.hosts["salt2"]
        host.member.lock.release(host.lock())
        host.hold(OTHER_RUN)

    two.before["salt1", "shared_vm.migrate"] = lost
    _, placed, closed = Master(two).orch(vm="all", host="salt2")
    assert placed["result"] is False and placed["changes"] == {"idm": "migrated from salt1 to salt2"}
    assert "does not own the lock of mgmt on salt2 any more" in placed["comment"]
    assert two.done == [("salt1", "migrate", "idm")]
    assert closed["result"] is False and two.locks() == {"salt1": None, "salt2": OTHER_RUN}


#: How a restart goes wrong: what fails, where the guest runs then, and what is said.
RESTARTS = {
    "it does not start there": (
        {("salt2", "shared_vm.start"): "resource busy"},
        ["salt1"],
        ["resource busy", "idm was started on salt1 again."],
    ),
    "nor here again": (
        {("salt2", "shared_vm.start"): "resource busy", ("salt1", "shared_vm.start"): "no memory"},
        [],
        ["resource busy", "could not be started on salt1 either", "no memory"],
    ),
    "it does not shut down": (
        {("salt1", "shared_vm.stop"): "it is running after 300 s"},
        ["salt1"],
        ["it is running after 300 s"],
    ),
}


@pytest.mark.parametrize(("fails", "where", "said"), RESTARTS.values(), ids=list(RESTARTS))
def test_a_restart_that_fails_says_where_the_guest_runs(two, fails, where, said):
    two.place("idm", "salt1")
    two.fails.update(fails)
    _, placed, _ = Master(two).orch(vm="idm", host="salt2", how="restart")
    assert placed["result"] is False and placed["changes"] == {}
    assert [one for one in said if one not in placed["comment"]] == []
    assert two.where()["idm"] == where


def afterwards(two, node, what):
    """Something happens on a host after the last guest was put there, before the last look."""
    two.before["salt2", "shared_vm.start"] = lambda: two.before.update({(node, "shared_vm.report"): what})


#: What the last look finds, and what is said of it.
UNPROVED = {
    "it has ended": (
        "salt2",
        lambda two: two.place("idm", "salt2", (OFF, 1)),
        ["idm should run on salt2 now, and does not: off."],
    ),
    "it is paused": (
        "salt2",
        lambda two: two.place("idm", "salt2", (PAUSED, 1)),
        ["idm should run on salt2 now, and does not: paused."],
    ),
    "the host does not answer": (
        "salt2",
        lambda two: two.silent.add("salt2"),
        ["idm should run on salt2 now, and does not: salt2 does not answer shared_vm.report."],
    ),
    "it runs on the other host too": (
        "salt1",
        lambda two: two.place("idm", "salt1"),
        ["idm is running on salt1 as well: salt-run pair.status mgmt."],
    ),
}


@pytest.mark.parametrize(("node", "what", "said"), UNPROVED.values(), ids=list(UNPROVED))
def test_a_run_proves_that_a_guest_runs_there_and_nowhere_else(two, node, what, said):
    afterwards(two, node, lambda: what(two))
    _, placed, closed = Master(two).orch(vm="idm", host="salt2")
    assert placed["changes"] == {"idm": "started on salt2"}
    assert placed["result"] is False and placed["comment"] == " ".join(said)
    assert closed["result"] is False


def test_a_host_that_has_lost_the_other_s_answer_has_done_nothing_wrong(two):
    """Only what the plan says is proved: of a guest that is off by a word nobody can say more."""
    afterwards(two, "salt1", lambda: two.silent.add("salt1"))
    _, placed, closed = Master(two).orch(vm="idm", host="salt2")
    assert placed["result"] is True
    assert closed["result"] is False and "It could not be closed. salt1 does not answer" in closed["comment"]
    assert two.locks()["salt2"] is None


@pytest.mark.parametrize("at", ["shared_vm.migrate", "pair.renew", "shared_vm.report"])
def test_a_master_that_dies_ends_the_step_with_a_sentence(two, at, monkeypatch):
    two.place("idm", "salt1")
    master = Master(two)
    assert master.states.opened("opened", vm="idm", host="salt2")["result"] is True

    def gone():
        raise minions.NoMaster("The salt-master of this machine takes no connections.")

    two.before["salt1", at] = gone
    placed = master.states.placed("placed")
    assert placed["result"] is False and "takes no connections" in placed["comment"]
    assert (two.where()["idm"] == ["salt2"]) is (at == "shared_vm.report")
    two.before["salt1", "pair.close_run"] = gone
    closed = master.states.closed("closed")
    assert closed["result"] is False and "It could not be closed" in closed["comment"]


def test_a_step_that_breaks_down_is_shown_where_it_broke_and_the_run_has_failed(two):
    two.place("idm", "salt1")
    master = Master(two)
    assert master.states.opened("opened", vm="idm", host="salt2")["result"] is True

    def broken():
        raise ZeroDivisionError("nobody has foreseen it")

    two.before["salt1", "shared_vm.migrate"] = broken
    with pytest.raises(ZeroDivisionError):
        master.states.placed("placed")
    closed = master.states.closed("closed")
    assert closed["result"] is False and "failed at `place`" in closed["comment"]
    for host in two.hosts.values():
        (record,) = host.records()
        assert record["result"] == "failed"
        assert record["sentence"] == "ZeroDivisionError: nobody has foreseen it"
    assert two.locks() == {"salt1": None, "salt2": None}


# --- with an orchestration of the pair -------------------------------------------------------------

ASKED = [
    ({"pair": "mgmt"}, True, "left alone"),
    ({"pair": "all"}, True, "left alone"),
    ({"pair": "mgmt", "vms": "move"}, True, "will follow the pair"),
    ({"pair": "mgmt", "vms": "stop"}, False, "vms must be move, or be left out, not 'stop'."),
    ({"pair": "mgmt", "vms": True}, False, "vms must be move"),
    ({"pair": "all", "vms": "move"}, False, "for one pair at a time"),
    ({"pair": ["mgmt"], "vms": "move"}, False, "for one pair at a time"),
    ({"pair": None, "vms": "move"}, False, "for one pair at a time"),
    ({"pair": "nosuch", "vms": "move"}, False, "There is no pair nosuch"),
    ({"pair": "mx", "vms": "move"}, False, "mx has no virtual machines"),
]


@pytest.mark.parametrize(("words", "good", "said"), ASKED)
def test_what_is_wanted_of_the_guests_is_clear_before_anything_is_changed(two, words, good, said):
    found = Master(two, pairs={**PAIRS, "mx": {"primary": "mx1", "secondary": "mx2"}}).states.asked(
        "x", **words
    )
    assert (found["result"], found["changes"]) == (good, {}) and said in found["comment"]
    assert found["comment"].startswith("Refused, nothing was changed.") is not good
    assert two.asked == []


def pair_run(two, master, alone=None, steps=("activate",)):
    """The run of ``orch.recover`` or ``orch.failover`` after which salt2 is active; it owns the lock."""
    config = checks.configuration(PAIRS, "mgmt", "")
    words = {"fenced": "salt1", "reason": "burnt"} if alone else {}
    run = orchestration.Run(master.states.__opts__, config, "failover", words)
    run.plan = plans.Plan("failover", "mgmt", "x", "x", steps=steps, active="salt2", alone=alone)
    if steps and not master.states.__opts__["test"]:
        run.lock([])
        run.opened = True
        if alone:
            run.nodes.one(alone, "fencing.declare", "mgmt", "salt1", "burnt", run.id, run.owner)
    two.asked.clear()
    master.states.__context__[orchestration.CONTEXT] = run
    return run


@pytest.fixture
def master(two):
    found = Master(two)
    yield found
    run = found.states.__context__.get(orchestration.CONTEXT)
    if run:
        run.let_go()


def test_guests_that_run_follow_the_pair_and_the_others_stay_off(two, master):
    two.place("repo", "salt1")
    run = pair_run(two, master)
    found = master.states.followed("x", vms="move")
    assert found["result"] is True and found["changes"] == {"repo": "migrated from salt1 to salt2"}
    assert two.where() == {"idm": [], "repo": ["salt2"]}
    assert [(one["step"], one["result"]) for one in run.steps] == [("vms", True)]


def test_where_none_runs_elsewhere_nothing_is_done(two, master):
    two.place("idm", "salt2")
    run = pair_run(two, master)
    found = master.states.followed("x", vms="move")
    assert (found["result"], found["changes"], found["comment"]) == (True, {}, "Nothing to do.")
    assert two.done == [] and run.steps[0]["result"] is True


@pytest.mark.parametrize("vms", [None, "move"])
def test_guests_are_left_alone_unless_the_operator_wants_it_and_a_run_is_open(two, master, vms):
    two.place("idm", "salt1")
    if vms is None:
        pair_run(two, master)
    found = master.states.followed("x", vms=vms)
    assert found["result"] is True and found["comment"] == "The virtual machines are left alone."
    assert two.asked == [] and two.done == []


def test_with_a_host_that_is_off_all_guests_start_on_the_other_one(two, master):
    """Which ones ran there is not to be known."""
    two.silent.add("salt1")
    two.place("repo", "salt2")
    pair_run(two, master, alone="salt2")
    found = master.states.followed("x", vms="move")
    assert found["result"] is True and found["changes"] == {"idm": "started on salt2"}, found
    assert two.where() == {"idm": ["salt2"], "repo": ["salt2"]}
    assert "salt1" not in [node for node, _ in two.asked], "it is known to be off"


def test_a_guest_that_may_not_follow_keeps_no_other_back(two, master):
    two.place("idm", "salt1", (PAUSED, 1))
    two.place("repo", "salt1")
    run = pair_run(two, master)
    found = master.states.followed("x", vms="move")
    assert found["result"] is False and "idm: it is paused by a person on salt1" in found["comment"]
    assert found["changes"] == {"repo": "migrated from salt1 to salt2"}
    assert run.failed["step"] == "vms" and "it is paused by a person" in run.failed["comment"]


def test_one_that_fails_on_its_way_fails_the_run(two, master):
    two.place("repo", "salt1")
    two.migration_error = "no route"
    run = pair_run(two, master)
    found = master.states.followed("x", vms="move")
    assert found["result"] is False and found["changes"] == {} and "no route" in found["comment"]
    assert run.failed["step"] == "vms" and two.where()["repo"] == ["salt1"]


@pytest.mark.parametrize("test", [False, True], ids=["really", "test"])
def test_where_nothing_is_done_for_the_pair_no_guest_is_moved_without_a_lock(two, master, test):
    two.place("repo", "salt1")
    master.states.__opts__["test"] = test
    pair_run(two, master, steps=())
    found = master.states.followed("x", vms="move")
    assert found["result"] is False and found["changes"] == {} and two.done == []
    assert "repo: not on salt2, the active node." in found["comment"]
    assert "orch.vm pillar='{vm: all, host: salt2}'" in found["comment"]


@pytest.mark.parametrize(
    ("state", "result", "said"),
    [
        ((RUNNING, 1), None, "repo: will be migrated live from salt1 to salt2."),
        ((OFF, 1), True, "Nothing to do."),
        ((PAUSED, 1), False, "repo: it is paused by a person on salt1"),
    ],
)
def test_a_test_says_which_guests_would_follow(two, master, state, result, said):
    two.place("repo", "salt1", state)
    master.states.__opts__["test"] = True
    run = pair_run(two, master)
    found = master.states.followed("x", vms="move")
    assert found["result"] is result and said in found["comment"]
    assert found["changes"] == ({"repo": found["comment"]} if result is None else {})
    assert two.done == [] and two.changed() == [] and run.steps == []


def test_a_master_that_cannot_ask_moves_nothing_and_fails_the_run(two, master):
    run = pair_run(two, master)

    def gone():
        raise minions.NoMaster("The salt-master of this machine takes no connections.")

    two.before["salt1", "shared_vm.report"] = gone
    found = master.states.followed("x", vms="move")
    assert found["result"] is False and "takes no connections" in found["comment"]
    assert run.failed["step"] == "vms" and two.done == []


@pytest.mark.parametrize("name", ["vm_run", "cluster_run", "lease_setup"])
def test_the_steps_are_there_on_a_master_alone(name):
    module = loaded(name, f"_states/{name}.py")
    for role, there in (("master", name), ("minion", False), (None, False)):
        module.__opts__ = {"__role": role} if role else {}
        found = module.__virtual__()
        assert (found if there else found[0]) == there
