"""
The steps of an orchestration on a pair, each by itself: what it asks of whom, what proves it, what it says.

What is refused before the first is in ``test_pair_run_opened.py``; whole runs are in ``test_whole_runs.py``.
"""

import contextlib
import io
import itertools
import re

import pytest
from answering import given
from pair_of_minions import COLD
from pair_of_minions import COLD_SECONDARY
from pair_of_minions import FAILED_OVER
from pair_of_minions import GATEWAY
from pair_of_minions import MACS
from pair_of_minions import NORMAL
from pair_of_minions import SPLIT
from pair_of_minions import STANDBY_RETURNED
from pair_of_minions import Pair
from pair_of_minions import counts
from pair_of_minions import handed_over
from pair_of_minions import stood_by
from pair_of_minions import synced

from failback.state import lock as locks
from failback_master import highstate
from failback_master import minions
from failback_master import orchestration
from failback_master.surface import ear
from failback_master.surface import live

pytestmark = pytest.mark.one_release

WINNER = {"winner": "salt2", "reason": "the clients were on salt2"}
OFF = {"fenced": "salt1", "reason": "no power"}


@pytest.fixture
def begun(master, monkeypatch):
    """
    ``begun(state, operation)``: the pair, of which a run has just been opened; nothing was asked since.

    ``so`` is a function that changes what the nodes are like before.
    """
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.001)

    def call(state, operation="recover", pillar=None, so=None, **words):
        master.opts["pillar"]["pairs"]["salt"].update(pillar or {})
        pair = Pair(master.minions, state)
        if so:
            so(pair)
        if words.get("fenced"):
            pair.nodes[words["fenced"]].held = []
            master.minions.silence(words["fenced"])
        said = master.state("pair_run.opened", pair="salt", operation=operation, **words)
        assert said["result"] is True, said
        pair.minions.forget()
        return pair

    return call


@pytest.fixture
def step(master):
    """``step("drained")``: what the state returns."""
    return lambda function, **more: master.state(f"pair_run.{function}", **more)


@pytest.fixture
def failed(step):
    """The same of a step that must fail; returns the comment."""

    def call(function):
        said = step(function)
        assert said["result"] is False, said
        return said["comment"]

    return call


@pytest.fixture
def done(step):
    """The same of a step that must succeed; returns changes and comment."""

    def call(function):
        said = step(function)
        assert said["result"] is True, said
        return said["changes"], said["comment"]

    return call


# --- what all steps have in common -----------------------------------------------------------------


def test_a_step_keeps_what_it_has_said_for_the_history(begun, done, failed, master):
    pair = begun(FAILED_OVER)
    done("services_started")
    pair.minions.refuse("reverse_rsync.synced", "rsync ended.")
    failed("files_pre_synced")
    kept = [(one["step"], one["result"], one["comment"]) for one in master.run.steps[1:]]
    assert kept == [
        ("services", True, "The services run on both nodes."),
        ("pre-sync", False, "salt1: rsync ended."),
    ]
    assert all(0 <= one["seconds"] < 60 for one in master.run.steps)


def test_what_a_step_has_changed_until_it_failed_is_shown(begun, step):
    pair = begun(FAILED_OVER)
    pair.minions.answers["pair.start_services"] = {"salt-master": "started"}
    pair.minions.refuse("pair.start_services", "salt-master does not start.", node="salt2")
    said = step("services_started")
    assert (said["result"], said["changes"]) == (False, {"salt1": ["salt-master"]})


def test_a_run_that_has_lost_its_lock_begins_nothing_more(begun, failed, master):
    """It stood still, and another one may have run since."""
    pair = begun(FAILED_OVER)
    for one in pair.nodes.values():
        one.lock = None
    assert "does not own the lock of salt on salt1 and salt2 any more: it stood still" in failed(
        "handed_over"
    )
    assert pair.changes == []


def test_a_step_just_after_the_lock_does_not_ask_for_it_again(begun, done):
    pair = begun(FAILED_OVER)
    done("services_started")
    assert pair.minions.of("pair.renew") == []


@pytest.mark.parametrize("test", [False, True], ids=["for real", "test mode"])
def test_a_step_that_the_plan_does_not_have_asks_nothing(begun, step, test):
    pair = begun(STANDBY_RETURNED)
    for function in ("winner_settled", "taken_over", "drained", "files_pre_synced", "handed_over"):
        said = step(function, test=test)
        assert (said["result"], said["changes"]) == (True, {})
        assert said["comment"] == "Not needed: salt is standby_returned."
    assert pair.minions.asked == []


# --- pause, settle, takeover -----------------------------------------------------------------------


def test_the_watch_is_paused_with_the_lock_and_for_as_long(begun, done):
    pair = begun(FAILED_OVER)
    changes, comment = done("watch_held")
    assert changes == {"pause": ["salt1", "salt2"]}
    assert comment == "The watch is paused on both nodes, as long as this run lives."
    asked = pair.minions.of("pair.renew")
    assert [one.node for one in asked] == ["salt1", "salt2"]
    assert all(given(one)["pause"] is True and given(one)["seconds"] == locks.LEASE for one in asked)
    assert given(asked[0])["step"]["name"] == "pause" and given(asked[0])["step"]["seconds"] < 60


def test_a_watch_that_nobody_has_paused_stops_the_run(begun, failed):
    pair = begun(FAILED_OVER)
    pair.minions.refuse("pair.renew", "salt2 is read-only.", node="salt2")
    assert failed("watch_held") == "salt2: salt2 is read-only."
    assert pair.changes == []


def test_the_winner_is_above_both_before_the_loser_steps_down(begun, done, master):
    pair = begun(SPLIT, **WINNER)
    changes, comment = done("winner_settled")
    assert pair.changes == [("salt2", "pair.win"), ("salt1", "pair.step_down"), ("salt2", "pair.take")]
    won, down = given(pair.minions.one("pair.win")), given(pair.minions.one("pair.step_down"))
    assert won["generation"] == down["generation"] == 9
    assert won["reason"] == "named the winner: the clients were on salt2"
    assert changes == {"salt1": "generation 9, salt2 active", "salt2": "generation 9, salt2 active"}
    assert comment == "salt2 alone is active in generation 9."
    # What follows is judged by what is true now.
    assert master.run.verdict.name == "failed_over" and master.run.verdict.active == "salt2"


def test_a_winner_is_one_only_when_a_look_says_so(begun, failed):
    pair = begun(SPLIT, **WINNER)
    pair.minions.answers["pair.step_down"] = "it said yes, and did nothing"
    assert failed("winner_settled").startswith("salt2 does not serve salt alone: ")
    assert pair.changes[-1] == ("salt2", "pair.take")


@pytest.mark.parametrize("silent", ["salt1", "salt2"])
def test_nobody_wins_beside_a_node_that_does_not_answer(begun, failed, silent):
    pair = begun(SPLIT, **WINNER)
    pair.minions.silence(silent)
    assert f"{silent} does not answer pair.report" in failed("winner_settled")
    assert pair.changes == []


def test_a_loser_that_does_not_step_down_leaves_the_winner_without_the_addresses(begun, failed):
    pair = begun(SPLIT, **WINNER)
    pair.minions.refuse("pair.step_down", "10.0.0.5/24 cannot be removed.")
    assert failed("winner_settled") == "salt1: 10.0.0.5/24 cannot be removed."
    assert pair.minions.of("pair.take") == []


#: What a node says that has taken no address.
TAKEN_OVER = {"generation": 8, "addresses": [], "why": "x", "reason": "no power"}


@pytest.mark.parametrize("moved", [None, True])
def test_the_operator_s_word_reaches_the_node_that_acts_on_it(begun, done, master, moved):
    pair = begun(NORMAL, "failover", moved=moved, **OFF)
    changes, comment = done("taken_over")
    asked = pair.minions.one("pair.take_over")
    words = given(asked)
    assert asked.node == "salt2"
    assert (words["fenced"], words["reason"], words["moved"]) == ("salt1", "no power", bool(moved))
    assert words["owner"] == master.run.owner and words["run"] == master.run.id
    assert comment == "salt2 serves in generation 8: salt1 is off (no power)."
    assert changes == {"salt2": {"generation": 8, "addresses": [GATEWAY], "why": "salt1 is off (no power)"}}
    # By what it was known goes into the history.
    assert master.run.record()["reason"] == "no power"


def test_a_secondary_that_serves_already_is_not_changed_by_a_takeover(begun, done):
    pair = begun(NORMAL, "failover", **OFF)
    pair.minions.answers["pair.take_over"] = {**TAKEN_OVER, "already": True}
    assert done("taken_over") == ({}, "salt2 serves already, in generation 8.")


def test_a_takeover_that_a_node_of_the_release_before_speaks_of_goes_by_its_addresses(begun, done):
    pair = begun(NORMAL, "failover", **OFF)
    pair.minions.answers["pair.take_over"] = TAKEN_OVER
    assert done("taken_over") == ({}, "salt2 serves already, in generation 8.")


def test_a_takeover_of_a_pair_without_addresses_is_said(begun, done):
    pair = begun(NORMAL, "failover", **OFF)
    pair.minions.answers["pair.take_over"] = {**TAKEN_OVER, "already": False}
    changes, comment = done("taken_over")
    assert comment == "salt2 serves in generation 8: x."
    assert changes == {"salt2": {"generation": 8, "addresses": [], "why": "x"}}


# --- the node that has come back -------------------------------------------------------------------


def highstates(pair, *changed):
    """What each highstate changes, one after the other."""
    following = iter(changed)

    def apply(node, queue=False):
        assert queue is True
        return {
            f"file_|-{name}_|-/etc/{name}_|-managed": {
                "__id__": name,
                "result": True,
                "changes": {"diff": "…"},
            }
            for name in next(following)
        }

    pair.minions.answers["state.apply"] = apply


def test_a_node_that_has_come_back_is_brought_up_to_date_and_rebooted(begun, done):
    pair = begun(FAILED_OVER)
    highstates(pair, ["motd"], [])
    changes, comment = done("returned_node_is_current")
    assert comment == "The static configuration of salt1 is current."
    assert changes["highstate"] == ["motd"] and set(changes) == {"highstate", "reboot"}
    assert re.fullmatch(r"new boot after [0-9] s", changes["reboot"])
    # Once it has a new boot id, its own highstate at boot is waited for.
    assert pair.minions.names() == [
        ("salt1", "state.apply"),
        ("salt1", "pair.reboot"),
        ("salt1", "pair.report"),
        ("salt1", "saltutil.is_running"),
        ("salt1", "state.apply"),
    ]


def test_an_answer_of_the_boot_before_proves_no_reboot(begun, done):
    pair = begun(FAILED_OVER)
    before = pair.nodes["salt1"].boot_id
    answered = itertools.count()

    def report(node, pair_=None):
        old = next(answered) < 3
        return {**pair.nodes[node].report(), **({"boot_id": before} if old else {})}

    pair.minions.answers["pair.report"] = report
    done("returned_node_is_current")
    assert len(pair.minions.of("pair.report")) == 4


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"pair.report": None},
            "salt1 was asked to reboot and has not answered with a new boot id within 0.1 s",
        ),
        ({"saltutil.is_running": [{"fun": "state.apply"}]}, "A state still runs on salt1 after 0.1 s"),
    ],
    ids=["it does not come back", "its highstate at boot does not end"],
)
def test_a_node_that_does_not_come_back_is_not_waited_for_longer_than_the_pillar_says(
    begun, failed, master, answers, said
):
    pair = begun(FAILED_OVER)
    master.run.config["recovery"]["boot_timeout"] = 0.1
    if "pair.report" in answers:
        pair.minions.silence("salt1", "pair.report")
    else:
        pair.minions.answers.update(answers)
    assert said in failed("returned_node_is_current")
    assert len(pair.minions.of("state.apply")) == 1


def test_a_highstate_after_the_reboot_may_change_something_once(begun, done):
    pair = begun(FAILED_OVER)
    highstates(pair, [], ["fstab", "motd"], [])
    changes, _ = done("returned_node_is_current")
    assert changes.pop("reboot") and changes == {"highstate after the reboot": ["fstab", "motd"]}
    assert len(pair.minions.of("state.apply")) == 3


def test_a_highstate_that_does_not_come_to_rest_is_no_proof(begun, failed):
    pair = begun(FAILED_OVER)
    highstates(pair, [], ["motd"], ["motd", "fstab"])
    assert failed("returned_node_is_current") == (
        "Highstate on salt1 does not come to rest; it still changes: fstab, motd."
    )


def test_a_pair_that_is_not_to_reboot_has_a_highstate_alone(begun, done):
    pair = begun(FAILED_OVER, pillar={"recovery": {"reboot": False}})
    highstates(pair, ["motd"])
    assert done("returned_node_is_current")[0] == {"highstate": ["motd"]}
    assert pair.minions.names() == [("salt1", "state.apply")]


def test_a_node_that_serves_refuses_the_reboot_and_the_run_ends_there(begun, failed):
    pair = begun(FAILED_OVER)
    pair.minions.refuse("pair.reboot", "salt1 serves salt (10.0.0.5/24); rebooting it would take it down.")
    assert failed("returned_node_is_current").startswith("salt1: salt1 serves salt")
    assert pair.minions.names() == [("salt1", "state.apply"), ("salt1", "pair.reboot")]


def test_what_a_long_step_waits_for_is_told(begun, done, master, monkeypatch):
    begun(FAILED_OVER)
    told = []
    monkeypatch.setattr(master.run.progress, "tell", lambda step, text: told.append((step, text)))
    done("returned_node_is_current")
    assert told == [
        ("static", "highstate on salt1"),
        ("static", "salt1 reboots: waits for a new boot id"),
        ("static", "salt1 has booted: waits until its highstate at boot has ended"),
        ("static", "highstate on salt1, after the reboot"),
    ]


# --- services, files, repositories -----------------------------------------------------------------


def test_the_services_start_on_the_primary_first(begun, done):
    pair = begun(FAILED_OVER)
    found = {"salt1": {"salt-master": "started", "mysql": "already running"}, "salt2": {"mysql": "running"}}
    pair.minions.answers["pair.start_services"] = lambda node, pair_: found[node]
    assert done("services_started") == ({"salt1": ["salt-master"]}, "The services run on both nodes.")
    assert pair.minions.names() == [("salt1", "pair.start_services"), ("salt2", "pair.start_services")]


def test_services_that_do_not_start_on_the_primary_are_not_begun_on_the_other_one(begun, failed):
    pair = begun(FAILED_OVER)
    pair.minions.refuse("pair.start_services", "salt-master does not start.", node="salt1")
    assert failed("services_started") == "salt1: salt-master does not start."
    assert pair.minions.names() == [("salt1", "pair.start_services")]


def differing(**actions):
    return [{**counts(**actions), "path": "/srv/salt", "digest": "aa"}]


def test_lsyncd_is_drained_where_it_runs_and_what_is_left_is_looked_at_where_it_goes(begun, done, master):
    pair = begun(NORMAL, "failover", max_delete=7, max_change_percent=60)
    pair.minions.answers["reverse_rsync.checked"] = [
        *differing(overwritten=1, deleted=2), *differing(created=4, attributes=8)]  # fmt: skip
    changes, comment = done("drained")
    assert changes == {}
    assert comment == "lsyncd has carried what there was; 15 files are left for the final sync."
    drained = pair.minions.one("lsyncd.drain")
    assert (drained.node, given(drained)["limit"]) == ("salt1", 60)
    checked = pair.minions.one("reverse_rsync.checked")
    words = given(checked)
    assert (checked.node, words["sources"]) == ("salt2", {"/srv/salt": {"of": "salt1"}})
    assert (words["max_delete"], words["max_change_percent"]) == (7, 60)
    # The handover comes next: from here on both nodes note what changes.
    assert (words["run"], words["operation"]) == (master.run.id, "failover")


@pytest.mark.parametrize(
    ("actions", "drains", "fails"),
    [
        ({"created": 21}, True, False),
        ({"created": 20}, False, False),
        ({"created": 21}, False, True),
        ({"deleted": 5, "overwritten": 5, "attributes": 5, "created": 6}, False, True),
    ],
)
def test_the_service_does_not_stop_for_an_lsyncd_that_is_far_behind(begun, step, actions, drains, fails):
    pair = begun(NORMAL, "failover")
    pair.minions.answers["reverse_rsync.checked"] = differing(**actions)
    if not drains:
        pair.minions.refuse("lsyncd.drain", "lsyncd has not carried all within 60 s.")
    said = step("drained")
    assert said["result"] is not fails
    if fails:
        assert said["comment"] == (
            "lsyncd is behind: 21 files differ, and nobody would serve while they are carried. "
            "salt1: lsyncd has not carried all within 60 s."
        )


def test_files_come_back_while_the_other_node_still_serves(begun, done, master):
    pair = begun(FAILED_OVER)
    pair.minions.answers["reverse_rsync.synced"] = synced(
        changes={"/srv/salt": "2 overwritten"},
        overwritten=2, deleted=3, created=5, attributes=7,
        conflicts=2, conflict_names={"/srv/salt/b": "newer here", "/srv/salt/a": "newer here"},
    )  # fmt: skip
    changes, comment = done("files_pre_synced")
    assert (changes, comment) == ({"/srv/salt": "2 overwritten"}, "The files are in step.")
    asked = pair.minions.one("reverse_rsync.synced")
    words = given(asked)
    assert (asked.node, words["run"]) == ("salt1", master.run.id)
    assert words["sources"] == {"/srv/salt": {"of": "salt2"}}
    # When the serving node has taken over, by its own clock and by that of the other one.
    assert words["takeover"] == [1795370400, 1795370400]
    assert master.run.facts["files"] == {"overwritten": 2, "deleted": 3, "created": 5, "attributes": 7}
    assert master.run.facts["conflicts"] == {
        "count": 2, "node": "salt1", "names": ["/srv/salt/a", "/srv/salt/b"]}  # fmt: skip
    assert pair.minions.of("pair.reload") == []


def test_how_far_the_files_are_is_shown_while_they_come(begun, done, master, monkeypatch):
    heard, screen = [], io.StringIO()

    class Ear:
        def __init__(self, opts, tag, node):
            heard.append((tag, node))

        @contextlib.contextmanager
        def told(self, tell):
            tell("3 of 9 GiB")
            yield
            heard.append("over")

    monkeypatch.setattr(ear, "Ear", Ear)
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    pair = begun(FAILED_OVER)
    live.SCREEN.open(screen)
    pair.minions.answers["reverse_rsync.synced"] = lambda *_, **__: heard.append("files") or synced()
    done("files_pre_synced")
    assert heard == [(f"failback/salt/{master.run.id}/pre-sync/moved", "salt1"), "files", "over"]
    said = screen.getvalue()
    assert "  4/8 pre-sync   what changed comes over while the serving node still serves\n" in said
    assert "  4/8 pre-sync   3 of 9 GiB\n" in said
    assert re.search(r"  4/8 pre-sync   done, [0-9.]+ s\. The files are in step\.\n$", said)


def test_services_read_the_files_that_have_come_back_where_they_have_come_to(begun, done):
    pair = begun(FAILED_OVER)
    pair.minions.answers["reverse_rsync.synced"] = synced(then=["libvirtd"])
    done("files_pre_synced")
    asked = pair.minions.one("pair.reload")
    assert (asked.node, asked.args) == ("salt1", ["salt", ["libvirtd"]])


def test_nothing_is_carried_from_a_node_that_does_not_answer(begun, failed):
    pair = begun(FAILED_OVER)
    pair.minions.silence("salt2")
    assert "salt2 does not answer pair.report" in failed("files_pre_synced")
    assert pair.changes == []


def test_the_former_name_of_the_pre_sync_does_the_same(begun, done):
    pair = begun(FAILED_OVER)
    assert done("files_warm") == ({}, "The files are in step.")
    assert pair.minions.one("reverse_rsync.synced").node == "salt1"


def test_repositories_are_pushed_from_the_node_that_serves(begun, done):
    pair = begun(FAILED_OVER)
    one = {"repository": "/srv/git/site.git", "pushed": ["main"], "diverged": []}
    pair.minions.answers["pair.push_git"] = [one, {**one, "repository": "/srv/git/b.git", "pushed": []}]
    assert done("repositories_pushed") == ({"/srv/git/site.git": ["main"]}, "The repositories are pushed.")
    assert pair.minions.one("pair.push_git").node == "salt2"


def test_a_branch_that_has_diverged_is_named_and_stops_nothing(begun, done):
    pair = begun(FAILED_OVER)
    branches = ["refs/heads/a", "refs/heads/b"]
    one = {"repository": "/srv/git/site.git", "pushed": [], "diverged": branches}
    pair.minions.answers["pair.push_git"] = [one]
    assert done("repositories_pushed") == (
        {},
        "Left alone because they have diverged; merge them by hand: /srv/git/site.git: refs/heads/a; "
        "/srv/git/site.git: refs/heads/b.",
    )


# --- the handover, and whether both are equal ------------------------------------------------------


def test_the_lock_holds_for_as_long_as_a_handover_may_go_on_without_its_run(begun, done):
    pair = begun(FAILED_OVER)
    done("handed_over")
    asked = [one for one in pair.minions.asked if one.function in ("pair.renew", "pair.handover")]
    assert [one.function for one in asked] == ["pair.renew", "pair.renew", "pair.handover"]
    assert all(355 < given(one)["seconds"] <= 360 for one in asked[:2])
    # The step after it does without.
    pair.minions.forget()
    done("files_equal")
    assert pair.minions.of("pair.renew") == []


def test_the_handover_is_told_as_it_went(begun, done, master):
    pair = begun(FAILED_OVER, max_delete=7)
    pair.minions.answers["pair.handover"] = lambda node, *words, **more: {
        **Pair.pair__handover(pair, node, *words, **more),
        **handed_over(9, started=["mysql"]),
    }
    changes, comment = done("handed_over")
    asked = pair.minions.one("pair.handover")
    assert (asked.node, given(asked)["max_delete"]) == ("salt1", 7)
    assert changes == {
        "active": {"old": "salt2", "new": "salt1"},
        "generation": 9,
        "window on salt1": ["    0.500 ms  release is asked for"],
        "window on salt2": ["    1.250 ms  the addresses are released"],
        "final sync": {
            "/srv/salt": "1 overwritten, 0 deleted, 2 created, 0 attributes; 3 names compared, from the "
            "journal of changes"
        },
        "started": ["mysql"],
        "seen by": {f"{GATEWAY} by client": MACS["salt1"]},
    }
    assert comment == ("salt1 is active in generation 9; the addresses were unassigned for 312.3 ms.")
    assert master.run.facts["window_milliseconds"] == 312.3
    assert "compared_as_a_whole" not in master.run.facts
    assert master.run.record()["window"] == {
        "taker": "salt1",
        "nodes": {
            "salt1": [{"milliseconds": 0.5, "step": "release is asked for"}],
            "salt2": [{"milliseconds": 1.25, "step": "the addresses are released"}],
        },
    }


def test_files_of_the_final_sync_are_counted_with_those_before(begun, done, master):
    begun(FAILED_OVER)
    master.run.facts["files"] = {"overwritten": 10, "deleted": 20, "created": 30, "attributes": 40}
    done("handed_over")
    assert master.run.facts["files"] == {"overwritten": 11, "deleted": 20, "created": 32, "attributes": 40}


def test_a_final_sync_that_had_to_compare_everything_says_why(begun, done, master):
    pair = begun(FAILED_OVER)
    path = {"path": "/srv/salt", "named": None, "why": "salt2 has no journal", **counts(deleted=1)}
    pair.minions.answers["pair.handover"] = handed_over(9, final_sync={"paths": [path]})
    changes, _ = done("handed_over")
    assert changes["final sync"] == {
        "/srv/salt": "0 overwritten, 1 deleted, 0 created, 0 attributes; everything compared, because salt2 "
        "has no journal"
    }
    assert master.run.facts["compared_as_a_whole"] == {"/srv/salt": "salt2 has no journal"}
    assert master.run.facts["files"] == counts(deleted=1)


def test_a_pair_without_paths_has_no_final_sync(begun, done, master):
    pair = begun(FAILED_OVER, pillar={"replicate": []})
    pair.minions.answers["pair.handover"] = handed_over(9, final_sync=None)
    changes, _ = done("handed_over")
    assert "final sync" not in changes and "started" not in changes and "files" not in master.run.facts


def test_what_went_wrong_once_it_served_fails_the_step_and_says_that_it_serves(begun, step):
    """Only a refusal would leave the other node serving."""
    pair = begun(FAILED_OVER)
    pair.minions.answers["pair.handover"] = handed_over(9, problems=["mysql does not start.", "See there."])
    said = step("handed_over")
    assert said["result"] is False and said["changes"]["active"] == {"old": "salt2", "new": "salt1"}
    assert said["comment"].startswith(
        "salt1 is active in generation 9, but: mysql does not start. See there."
    )


@pytest.mark.parametrize(
    ("macs", "said"),
    [
        ([], "client sees nobody answer for 10.0.0.5/24; exactly one host must."),
        (["02:aa", "02:bb"], "client sees 02:aa and 02:bb answer for 10.0.0.5/24; exactly one host must."),
    ],
)
def test_an_address_that_two_hosts_or_none_answer_for_is_found_out_by_a_witness(begun, failed, macs, said):
    pair = begun(FAILED_OVER)
    pair.minions.answers["floating_ip.answered_by"] = macs
    assert failed("handed_over").startswith(f"salt1 is active in generation 9, but: {said}")


def test_a_witness_that_cannot_be_asked_proves_nothing_and_stops_nothing(begun, done):
    pair = begun(FAILED_OVER)
    pair.minions.silence("client")
    seen = done("handed_over")[0]["seen by"]
    assert list(seen) == [f"{GATEWAY} by client"]
    assert seen[f"{GATEWAY} by client"].startswith("not asked: client does not answer")


def test_without_witnesses_nobody_has_seen_it(begun, done):
    begun(FAILED_OVER, pillar={"witnesses": []})
    assert "seen by" not in done("handed_over")[0]


def test_a_handover_that_was_refused_changes_nothing(begun, step):
    pair = begun(FAILED_OVER)
    pair.minions.refuse("pair.handover", "salt2 serves on: the final sync would take too long.")
    said = step("handed_over")
    assert (said["result"], said["changes"]) == (False, {})
    assert said["comment"] == "salt1: salt2 serves on: the final sync would take too long."


def test_both_nodes_are_compared_by_the_run_that_did_the_handover(begun, done, master):
    pair = begun(FAILED_OVER)
    done("handed_over")
    assert done("files_equal") == ({}, "Both nodes have the same files (12 compared).")
    asked = pair.minions.one("reverse_rsync.compared")
    assert (asked.node, given(asked)["run"]) == ("salt1", master.run.id)
    assert master.run.facts["compared"] == 12


BEFORE = "20261122T184500-recover-salt-77aa"


def stopped_behind_its_handover(pair):
    """The run before has brought the primary home, and ended then."""
    pair.nodes["salt1"].facts["uncompared"] = BEFORE


def test_a_run_that_goes_on_behind_a_handover_compares_what_that_one_left(begun, done):
    pair = begun(NORMAL, so=stopped_behind_its_handover)
    done("files_equal")
    assert given(pair.minions.one("reverse_rsync.compared"))["run"] == BEFORE


def test_files_that_nobody_can_explain_stop_the_run_before_lsyncd_could_overwrite_one(begun, failed):
    pair = begun(FAILED_OVER)
    names = [f"/srv/salt/{number:02}" for number in range(30)]
    pair.minions.answers["reverse_rsync.compared"] = {"files": 30, "unexplained": names}
    said = failed("files_equal")
    assert said.startswith("30 files differ between the nodes and were not changed since the handover: ")
    assert f"{', '.join(names[:20])}. lsyncd is not started" in said


def test_a_pair_without_paths_or_repositories_has_none_to_look_at(begun, done):
    pair = begun(NORMAL, pillar={"replicate": [], "git": []}, so=stopped_behind_its_handover)
    assert done("repositories_pushed") == ({}, "The pair has no repositories.")
    assert done("files_equal") == ({}, "The pair has no replicated paths.")
    assert pair.minions.asked == []


# --- agreed, addresses, alone ----------------------------------------------------------------------


def test_the_active_node_is_told_first_that_it_is(begun, done, master):
    pair = begun(STANDBY_RETURNED)
    changes, comment = done("agreed")
    both = {"salt1": "generation 8, salt1 active", "salt2": "generation 8, salt1 active"}
    assert (changes, comment) == (both, "Both nodes have it in their ledgers that salt1 is active.")
    first, second = (given(one) for one in pair.minions.of("pair.admit"))
    assert [one.node for one in pair.minions.of("pair.admit")] == ["salt1", "salt2"]
    for one in (first, second):
        assert (one["generation"], one["active"], one["run"]) == (8, "salt1", master.run.id)
        assert one["why"] == f"recover by {master.run.id}"
    # The other one takes nothing over before it has been sent all there is.
    assert (first["admitted"], first["unsaved"]) == (True, False)
    assert (second["admitted"], second["unsaved"]) == (False, False)


@pytest.mark.parametrize(
    ("pillar", "unsaved"), [({}, True), ({"replicate": []}, False)], ids=["with paths", "without"]
)
def test_what_a_standby_alone_has_stays_marked_until_a_recovery_saves_it(begun, done, pillar, unsaved):
    """A boot brings the service first, and leaves that to the recovery that follows."""
    pair = begun(COLD_SECONDARY, "boot", pillar, lambda pair: pair.nodes["salt1"].ledger.update(unsaved=True))
    done("agreed")
    assert [given(one)["unsaved"] for one in pair.minions.of("pair.admit")] == [False, unsaved]


def test_a_recovery_that_saves_it_first_does_not_mark_it(begun, done, master):
    pair = begun(SPLIT, winner="salt1", reason="x")
    done("winner_settled")
    assert master.run.verdict.unsaved
    pair.minions.forget()
    done("agreed")
    assert [given(one)["unsaved"] for one in pair.minions.of("pair.admit")] == [False, False]


def test_the_addresses_are_taken_where_they_are_missing(begun, done):
    pair = begun(COLD, "boot")
    done("agreed")
    assert done("addresses_taken") == ({"salt1": [GATEWAY]}, "salt1 has the addresses.")
    assert done("addresses_taken") == ({}, "salt1 has the addresses.")
    assert [one.node for one in pair.minions.of("pair.take")] == ["salt1", "salt1"]


def at_home(pair):
    for name, one in pair.nodes.items():
        one.write(9, "salt1")
        one.held = [GATEWAY] if name == "salt1" else []
    return pair


def test_what_runs_on_the_active_node_alone_ends_on_the_standby_first(begun, done, master):
    pair = at_home(begun(FAILED_OVER))
    pair.minions.answers["pair.stand_by"] = stood_by(stopped=["mysql"])
    activate = pair.minions.answers["pair.activate"]
    pair.minions.answers["pair.activate"] = lambda *words, **more: {
        **activate(*words, **more), "started": ["lsyncd", "mysql"]}  # fmt: skip
    changes, comment = done("active_alone")
    assert changes == {"salt2": {"stopped": ["mysql"]}, "salt1": {"started": ["lsyncd", "mysql"]}}
    assert comment.startswith("salt is normal: salt1 serves (generation 9")
    assert comment.endswith(f" {GATEWAY} by client: {MACS['salt1']}.")
    verbs = pair.minions.names("floating_ip.answered_by", "pair.report")
    assert verbs == [
        ("salt2", "pair.stand_by"),
        ("salt1", "pair.activate"),
        ("salt1", "lsyncd.first_pass"),
        # All there is has been carried to it: only now may it take over.
        ("salt2", "pair.admit"),
        ("salt1", "pair.watching"),
        ("salt2", "pair.watching"),
    ]
    assert given(pair.minions.one("pair.stand_by"))["sources"] == {"/srv/salt": {"of": "salt1"}}
    assert given(pair.minions.one("lsyncd.first_pass"))["limit"] == 3600
    admitted = given(pair.minions.one("pair.admit"))
    assert (admitted["generation"], admitted["active"]) == (9, "salt1")
    assert (admitted["admitted"], admitted["unsaved"]) == (True, False)
    asked = given(pair.minions.one("pair.activate"))
    assert (asked["anew"], asked["carry"]) == (False, True)


@pytest.mark.parametrize(
    ("found", "how"),
    [
        ({"admitted": False, "unsaved": False}, {"anew": True, "carry": True}),
        ({"admitted": True, "unsaved": True}, {"anew": False, "carry": False}),
    ],
)
def test_lsyncd_starts_by_what_the_standby_has(begun, step, found, how):
    """What was compared before its boot is no proof, and what it alone has is not overwritten."""
    pair = at_home(begun(FAILED_OVER))
    pair.minions.answers["pair.stand_by"] = stood_by(**found)
    step("active_alone")
    asked = given(pair.minions.one("pair.activate"))
    assert {key: asked[key] for key in how} == how
    assert bool(pair.minions.of("lsyncd.first_pass")) is how["carry"]
    assert bool(pair.minions.of("pair.admit")) is how["carry"]


def test_a_standby_that_lacks_a_path_is_not_admitted_and_the_active_node_serves_all_the_same(begun, step):
    pair = at_home(begun(FAILED_OVER))
    absent = ["/srv/salt was on salt2 and is missing now.", "Mount it."]
    pair.minions.answers["pair.stand_by"] = stood_by(made=["/srv/new"], absent=absent)
    said = step("active_alone")
    assert (said["result"], said["comment"]) == (False, " ".join(absent))
    assert said["changes"] == {"salt2": {"made": ["/srv/new"]}}
    assert [one.node for one in pair.minions.of("pair.activate")] == ["salt1"]
    assert pair.minions.of("lsyncd.first_pass", "pair.admit", "pair.watching") == []


def test_a_pair_without_paths_waits_for_no_first_pass(begun, done):
    pair = at_home(begun(FAILED_OVER, pillar={"replicate": []}))
    done("active_alone")
    assert pair.minions.of("lsyncd.first_pass") == []
    assert [one.node for one in pair.minions.of("pair.admit")] == ["salt2"]


def test_lsyncd_does_not_begin_on_the_secondary_so_nothing_is_waited_for_there(begun, done):
    pair = begun(NORMAL, "failover")
    done("handed_over")
    pair.minions.forget()
    done("active_alone")
    assert pair.changes == [
        ("salt1", "pair.stand_by"),
        ("salt2", "pair.activate"),
        ("salt1", "pair.watching"),
        ("salt2", "pair.watching"),
    ]
    assert pair.minions.of("lsyncd.first_pass") == []


def test_beside_a_node_that_is_off_the_other_one_is_left_alone(begun, done):
    pair = begun(NORMAL, "failover", **OFF)
    done("taken_over")
    pair.minions.forget()
    done("active_alone")
    assert pair.changes == [("salt2", "pair.activate"), ("salt2", "pair.watching")]
    asked = given(pair.minions.one("pair.activate"))
    assert (asked["anew"], asked["carry"]) == (False, True)


@pytest.mark.parametrize(
    ("so", "why"),
    [
        (
            lambda pair: pair.minions.answers.update({"pair.activate": {"started": []}}),
            "After all steps salt is normal: ",
        ),
        (
            lambda pair: pair.minions.refuse("pair.watching", "The watch is not ready."),
            "The watch is not ready.",
        ),
        (
            lambda pair: pair.nodes["salt1"].facts.update(misplaced={"/srv/salt": "lies on /dev/sdb1"}),
            "/srv/salt on salt1",
        ),
        (
            lambda pair: pair.nodes["salt1"].facts.update(services={"salt-master": "failed"}),
            "salt-master is failed on salt1.",
        ),
    ],
    ids=["lsyncd does not run", "the watch does not run", "a path lies elsewhere", "a service is down"],
)
def test_a_run_ends_with_a_look_that_proves_what_it_did(begun, failed, so, why):
    pair = at_home(begun(FAILED_OVER))
    so(pair)
    assert why in failed("active_alone")


# --- the end ---------------------------------------------------------------------------------------


def test_the_close_gives_the_record_and_the_sources_of_the_other_node_to_both(begun, done, step, master):
    pair = begun(FAILED_OVER)
    run = master.run
    done("handed_over")
    pair.minions.forget()
    closed = step("closed")
    assert closed["result"] is True
    assert closed["comment"] == f"Run {run.id} is closed. salt is served by salt1."
    assert closed["changes"]["before"] == {"verdict": "failed_over", "active": "salt2", "generation": 8}
    assert closed["changes"]["after"] == {"verdict": "normal", "active": "salt1", "generation": 9}
    first, second = pair.minions.of("pair.close_run")
    assert (first.node, second.node) == ("salt1", "salt2")
    assert given(first)["sources"] == {"/srv/salt": {"of": "salt2"}}
    assert given(second)["sources"] == {"/srv/salt": {"of": "salt1"}}
    assert (given(first)["record"].pop("told_by"), "told_by" in given(second)["record"]) == ("salt1", False)
    record = given(second)["record"]
    assert given(first)["record"] == record
    assert (record["result"], record["sentence"]) == ("succeeded", "salt is served by salt1.")
    assert record["finished"] and record["facts"] == run.facts
    # A drill and the virtual machines look there for it; the steps do not.
    assert master.run is None and master.context[orchestration.CLOSED] == [run]
    assert step("handed_over")["comment"].startswith("No run is open")
    assert first.limits == second.limits == (minions.LOOK_WITHIN, minions.LOOK_GONE_WITHIN)


def test_two_runs_of_one_orchestration_are_kept_in_their_order(begun, step, master):
    begun(FAILED_OVER)
    first = master.run
    step("closed")
    begun(NORMAL, "failover")
    second = master.run
    step("closed")
    assert master.context[orchestration.CLOSED] == [first, second]


def test_a_run_that_has_failed_records_no_sources_and_says_who_serves(begun, failed, step, master):
    pair = begun(FAILED_OVER)
    run = master.run.id
    pair.minions.refuse("pair.start_services", "salt-master does not start.")
    failed("services_started")
    closed = step("closed")
    assert (closed["result"], closed["changes"]) == (False, {})
    assert closed["comment"].startswith(f"Run {run} failed at `services`. salt is now failed_over: salt2 has")
    assert closed["comment"].endswith(" Fix the cause, then run it again.")
    told = [given(one) for one in pair.minions.of("pair.close_run")]
    assert [one["sources"] for one in told] == [None, None]
    assert [one["record"]["sentence"] for one in told] == ["salt1: salt-master does not start."] * 2


def test_the_first_node_that_answers_tells_the_hooks_how_the_run_has_ended(begun, step):
    """One that does not answer is not waited for long, and the run is not closed without it."""
    pair = begun(FAILED_OVER)
    pair.minions.silence("salt1")
    closed = step("closed")
    assert closed["result"] is False and closed["changes"] == {}
    assert "succeeded. It could not be closed. salt1 does not answer pair.close_run" in closed["comment"]
    first, second = pair.minions.of("pair.close_run")
    assert first.limits[0] == orchestration.LOOK_BESIDE_DEAD_WITHIN
    assert second.limits[0] == minions.LOOK_WITHIN
    assert given(first)["record"]["told_by"] == "salt1" and given(second)["record"]["told_by"] == "salt2"
    assert given(second)["sources"] is None


def test_a_node_that_refuses_the_close_is_named(begun, step):
    pair = begun(FAILED_OVER)
    pair.minions.refuse("pair.close_run", "No space left on device.", node="salt2")
    said = step("closed")["comment"]
    assert said.endswith(" succeeded. It could not be closed. salt2: No space left on device.")


def test_a_node_that_is_off_by_a_person_s_word_is_not_told(begun, done, step):
    pair = begun(NORMAL, "failover", **OFF)
    done("taken_over")
    pair.minions.forget()
    closed = step("closed")
    assert closed["result"] is True, closed
    assert [one.node for one in pair.minions.of("pair.close_run")] == ["salt2"]
    # Each look waits for it in vain, and so briefly.
    assert {one.limits[0] for one in pair.minions.of("pair.report")} == {
        orchestration.LOOK_BESIDE_DEAD_WITHIN
    }


def test_a_close_without_a_salt_master_says_where_to_look(begun, step, master):
    pair = begun(FAILED_OVER)
    run = master.run.id
    pair.minions.end_master()
    closed = step("closed")
    assert closed["result"] is False
    assert closed["comment"].startswith(f"Run {run} succeeded. It could not be closed, nor is it known who")
