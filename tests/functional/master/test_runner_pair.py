"""The runner ``pair``: what it asks of which node, what it answers, and with which exit status."""

import os
import signal
import threading
import time

import asked_minions
import pytest
import salt.output
import salt.utils.user
import samples

from failback.decisions import conflicts
from failback.decisions import plan as plans
from failback.host import system
from failback.recovery import itemize
from failback_master.surface import command
from failback_master.surface import live

pytestmark = pytest.mark.one_release(but="the first case")

NOW = asked_minions.NOW
BOTH = ["salt1", "salt2"]


def gone(node, *args, **kwargs):
    return asked_minions.SILENT


@pytest.fixture
def user(monkeypatch):
    """Whoever asks is alice."""
    monkeypatch.setattr(salt.utils.user, "get_specific_user", lambda: "alice")


# --- pair.nodes and pair.status -------------------------------------------------------------------


def test_the_nodes_are_those_of_the_pillar(run):
    assert run("pair.nodes") == {"salt": BOTH, "web": ["web1", "web2"]}
    assert run("pair.nodes", "web") == {"web": ["web1", "web2"]}


@pytest.mark.parametrize(
    "words",
    [
        ("nodes", "nope"),
        ("status", "nope"),
        ("status", ""),
        ("plan", "nope"),
        ("plan",),
        ("history", "nope"),
        ("pause", "nope", 5),
        ("pause", None, 5),
        ("resume", "nope"),
        ("resume",),
        ("follow", "nope"),
        ("watch", "nope"),
        ("report", "nope"),
        ("report",),
        ("undo", "20261122T183000-recover-nope-4f2a"),
        ("undo", "../../etc"),
        ("undo", None),
    ],
    ids=str,
)
def test_what_is_named_wrongly_is_refused_with_the_usage_before_a_node_is_asked(run, minions, words):
    function, *given = words
    answer = run(f"pair.{function}", *given)
    # Those that look again and again leave the name to those by which they look.
    shown = {"follow": "nodes", "watch": "status"}.get(function, function)
    assert answer["retcode"] == 1 and f"salt-run pair.{shown}" in answer["error"], answer
    assert minions.asked == []


@pytest.mark.parametrize(
    "function", ["nodes", "status", "plan", "history", "pause", "resume", "recover", "check", "report"]
)
def test_a_word_that_nobody_knows_is_refused_with_the_usage(run, minions, function):
    answer = run(f"pair.{function}", "salt", nothing=1)
    assert answer["retcode"] == 1 and f"Usage: salt-run -d pair.{function}" in answer["error"]
    assert minions.asked == []


def test_a_pillar_that_cannot_be_rendered_is_a_sentence(run, minions, write_pillar):
    write_pillar({"salt": "pairs: {{ nothing.that.is }}\n"})
    for words in (["pair.status"], ["pair.resume", "salt"], ["pair.report", "salt"]):
        answer = run(*words)
        assert answer["retcode"] == 1, answer
        assert "The pillar of salt2_master cannot be rendered: " in answer["error"]
    assert minions.asked == []


@pytest.mark.parametrize(
    ("said", "verdict", "retcode"),
    [
        (asked_minions.normal, "normal", 0),
        (asked_minions.failed_over, "failed_over", 1),
        (asked_minions.split, "split-brain", 1),
        (gone, "unknown", 1),
        (
            lambda node: asked_minions.report(node, 3, "salt1", services={"salt-master": "failed"}),
            "normal",
            1,
        ),
    ],
    ids=["normal", "failed over", "split", "silent", "a service has failed"],
)
def test_the_exit_status_is_0_when_the_pair_is_normal_and_nothing_is_wrong(
    run, minions, said, verdict, retcode
):
    minions.answers = {"pair.report": said}
    answer = run("pair.status", "salt")
    assert (answer["pairs"]["salt"]["verdict"], answer["retcode"]) == (verdict, retcode)
    assert minions.functions() == ["pair.report"], "who looks changes nothing"


@pytest.mark.parametrize(("web", "retcode"), [(asked_minions.normal, 0), (gone, 1)])
def test_all_pairs_are_asked_at_once_and_one_that_is_not_well_is_the_exit_status(run, minions, web, retcode):
    def said(node):
        if node in BOTH:
            return asked_minions.normal(node)
        found = web(node)
        return found if found is asked_minions.SILENT else asked_minions.report(node, 3, "web1", addresses=[])

    minions.answers = {"pair.report": said}
    answer = run("pair.status")
    assert list(answer["pairs"]) == ["salt", "web"] and answer["retcode"] == retcode
    (asked,) = minions.asked
    assert asked.nodes == [*BOTH, "web1", "web2"] and (asked.args, asked.kwargs) == ([], {})
    assert (asked.look, asked.gone) == (3, 1.5)


@pytest.mark.parametrize(("timeout", "gone_within"), [(0.5, 0.25), (4, 2), (10, 5), (60, 5)])
def test_who_has_more_patience_gives_a_slow_node_more_time(run, minions, timeout, gone_within):
    minions.answers = {"pair.report": asked_minions.normal}
    assert run("pair.status", "salt", timeout=timeout)["retcode"] == 0
    assert (minions.asked[0].look, minions.asked[0].gone) == (timeout, gone_within)


@pytest.mark.parametrize("timeout", [0, -1, 60.5, 61, "3 s", True, None])
def test_a_timeout_that_is_none_is_refused(run, minions, timeout):
    answer = run("pair.status", "salt", timeout=timeout)
    assert "timeout must be from 1 to 60" in answer["error"] and minions.asked == []


@pytest.mark.parametrize("here", [None, "salt1", "salt2"])
def test_a_master_on_the_node_that_would_reboot_names_the_other_one(run, minions, here):
    def said(node):
        found = asked_minions.failed_over(node)
        if node != here:
            return found
        own = {**found["ledger"], "boot_id": system.boot_id()} if node == "salt2" else found["ledger"]
        return {**found, "boot_id": system.boot_id(), "ledger": own}

    minions.answers = {"pair.report": said}
    shown = run("pair.status", "salt")["pairs"]["salt"]
    assert shown["verdict"] == "failed_over"
    assert shown["master"] == ("salt2" if here == "salt1" else None)


@pytest.mark.parametrize("function", ["status", "watch", "follow"])
def test_where_no_master_runs_it_is_said_at_once(run, minions, no_master, function):
    answer = run(f"pair.{function}", "salt")
    assert "takes no connections" in answer["error"] and answer["retcode"] == 1
    assert minions.asked == []
    if function != "follow":
        assert answer["error"].endswith("Or use the master on salt1.")


def guest(state="off", reason=0):
    return {
        "state": state,
        "reason": reason,
        "processes": [] if state == "off" else [4711],
        "claimed": False,
        "saved": False,
        "autostart": False,
        "definition": "d1",
        "file": "d1",
        "problems": [],
    }


def hosts(**by_node):
    """What hosts report that have guests: by host, the guests."""

    def said(node, guests=None):
        assert guests is True
        found = asked_minions.normal(node)
        if by_node.get(node) is None:
            return found if node in by_node else asked_minions.SILENT
        more = {"storage": "mark", "storage_error": None, "locks_error": None}
        return {**found, "guests": {"guests": {"idm": by_node[node]}, **more}}

    return said


@pytest.mark.parametrize(
    ("said", "shown", "wrong"),
    [
        (hosts(salt1=guest("running"), salt2=guest()), "running on salt1", None),
        (hosts(salt1=guest(), salt2=guest()), "runs nowhere", None),
        (
            hosts(salt1=guest("paused"), salt2=guest()),
            "paused for an unknown reason on salt1",
            "idm is paused for",
        ),
        (
            hosts(salt1=guest("running"), salt2=None),
            "running on salt1, not known of salt2",
            "salt2 knows of no guests: highstate has not run there.",
        ),
        (
            hosts(salt1=guest("running")),
            "running on salt1, not known of salt2",
            "salt2 does not answer pair.report",
        ),
    ],
    ids=["one runs", "none runs", "one is paused", "a host knows of none", "a host is silent"],
)
def test_guests_are_shown_with_their_pair_and_what_is_wrong_with_one_is_the_exit_status(
    run, minions, write_pillar, said, shown, wrong
):
    write_pillar({"salt": {**asked_minions.SALT, "vms": ["idm"], "virtualization": {}}})
    minions.answers = {"pair.report": said}
    answer = run("pair.status", "salt")
    found = answer["pairs"]["salt"]
    assert found["guests"] == {"idm": shown}
    assert (wrong or "") in " ".join(found["guests_wrong"]) and bool(wrong) == bool(found["guests_wrong"])
    assert answer["retcode"] == bool(wrong)


# --- pair.plan ------------------------------------------------------------------------------------

CONFLICTS = {"/srv/salt/a": conflicts.BOTH, "/srv/salt/b\\#012c": conflicts.BEFORE}


def preview(conflicting=(), **changes):
    """What the returned node says of one path."""
    found = {
        "path": "/srv/salt",
        "digest": "aa",
        "names": {
            itemize.OVERWRITTEN: ["/srv/salt/a", "/srv/salt/b\\#012c", "/srv/salt/old"],
            itemize.DELETED: [],
            itemize.ATTRIBUTES: [],
            itemize.CREATED: ["/srv/salt/new"],
        },
        "overwritten": 3,
        "deleted": 0,
        "attributes": 0,
        "created": 1,
        "total_files": 9,
        "bytes": 77,
        "conflicts": len(conflicting),
        "conflict_names": dict(conflicting),
        "truncated": False,
    }
    return {**found, **changes}


def planned(minions, said=asked_minions.failed_over, refusals=(), **of_preview):
    minions.answers = {
        "pair.report": said,
        "reverse_rsync.preview": [preview(**of_preview)],
        "reverse_rsync.refusals": list(refusals),
    }


@pytest.mark.parametrize("refusals", [[], ["Too much would be deleted."]])
def test_conflicts_are_shown_apart_each_with_its_reason(run, minions, refusals):
    planned(minions, refusals=refusals, conflicting=CONFLICTS)
    shown = run("pair.plan", "salt")
    assert shown["verdict"] == "failed_over"
    assert shown["conflicts"] == CONFLICTS
    assert shown["files"]["/srv/salt"]["counts"].endswith("; 2 conflicts")
    assert minions.questions("reverse_rsync.preview")[0].kwargs["takeover"] is not None
    assert shown.get("refused") == (refusals or None) and shown.get("retcode") == (1 if refusals else None)


def test_where_there_are_none_nothing_is_said_of_conflicts(run, minions):
    planned(minions)
    shown = run("pair.plan", "salt")
    assert "conflicts" not in shown and shown["digest"] in shown["command"]


def test_a_plan_shows_each_file_and_asks_only_the_node_that_came_back(run, minions):
    planned(minions)
    shown = run("pair.plan", "salt", names=7)
    assert shown["pair"] == "salt" and shown["sentence"].startswith("salt2 has served since")
    assert shown["steps"][0] == f"pause: {plans.STEPS['pause']}" and len(shown["steps"]) > 5
    assert shown["files"] == {
        "/srv/salt": {
            "overwritten": ["/srv/salt/a", "/srv/salt/b\\#012c", "/srv/salt/old"],
            "created": ["/srv/salt/new"],
            "counts": "3 overwritten, 0 deleted, 0 attributes only, 1 created, of 9 files; 77 bytes to "
            "transfer; 0 conflicts",
        }
    }
    looked, *asked = minions.asked
    assert (looked.function, looked.nodes) == ("pair.report", BOTH)
    assert [(one.function, one.nodes) for one in asked] == [
        ("reverse_rsync.preview", ["salt1"]),
        ("reverse_rsync.refusals", ["salt1"]),
    ]
    # By what lies on the node that serves.
    sources = {"/srv/salt": {"of": "salt2"}}
    assert asked[0].args == ["salt", sources] and asked[0].kwargs["names"] == 7
    assert asked[1].args == ["salt", [preview()], sources]
    assert asked[1].kwargs == {"max_delete": 100, "max_change_percent": 25, "operation": "recover"}
    assert shown["command"].startswith("salt-run state.orch orch.recover pillar='{pair: salt, plan: ")
    assert shown["digest"] in shown["command"]


def test_the_digest_of_a_plan_is_the_one_to_which_a_run_is_held(run, minions):
    """It is another one when other files would be deleted, or another node serves."""
    found = set()
    for words, digest in ((asked_minions.failed_over, "aa"), (asked_minions.failed_over, "bb")):
        planned(minions, words, digest=digest)
        found.add(run("pair.plan", "salt")["digest"])
    planned(minions)
    assert run("pair.plan", "salt")["digest"] in found and len(found) == 2


def test_names_that_do_not_fit_are_in_a_file_on_the_node(run, minions):
    planned(minions, truncated=True, list="/var/lib/failback/plan")
    shown = run("pair.plan", "salt", names=0)
    assert shown["files"]["/srv/salt"]["list"] == "more than shown; all of them: /var/lib/failback/plan"
    assert minions.questions("reverse_rsync.preview")[0].kwargs["names"] == 0


@pytest.mark.parametrize("names", [-1, True, "many", 1.5, None])
def test_a_number_of_names_that_is_none_is_refused(run, minions, names):
    answer = run("pair.plan", "salt", names=names)
    assert "names must be a whole number" in answer["error"] and minions.asked == []


@pytest.mark.parametrize("operation", ["destroy", "adopt", None])
def test_only_what_can_be_planned_is(run, minions, operation):
    answer = run("pair.plan", "salt", operation=operation)
    assert "operation must be one of recover, failover, boot" in answer["error"]
    assert answer["retcode"] == 1 and minions.asked == []


def test_the_plan_of_a_failover_is_about_the_standby(run, minions):
    planned(minions, asked_minions.normal)
    shown = run("pair.plan", "salt", "failover")
    asked = minions.questions("reverse_rsync.preview")
    assert [one.nodes for one in asked] == [["salt2"]] and asked[0].kwargs["takeover"] is None
    assert minions.questions("reverse_rsync.refusals")[0].kwargs["operation"] == "failover"
    assert "orch.failover" in shown["command"] and "retcode" not in shown


@pytest.mark.parametrize(
    ("said", "operation", "steps"),
    [
        (asked_minions.normal, "recover", "Nothing to do."),
        (asked_minions.normal, "boot", "Nothing to do."),
        (
            lambda node, pair: asked_minions.report(node, 3, "salt1", "an earlier boot"),
            "boot",
            ["pause", "services", "admit", "take", "activate"],
        ),
    ],
)
def test_where_no_file_is_carried_none_is_looked_for(run, minions, said, operation, steps):
    minions.answers = {"pair.report": said}
    shown = run("pair.plan", "salt", operation)
    found = shown["steps"]
    assert (found if isinstance(found, str) else [one.partition(":")[0] for one in found]) == steps
    assert shown["digest"] in shown["command"] and "files" not in shown and "retcode" not in shown
    assert minions.functions() == ["pair.report"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (asked_minions.split, "Compare them"),
        (asked_minions.of_node(salt1=asked_minions.normal("salt1")), "Start salt2"),
    ],
)
def test_a_plan_that_is_refused_says_why_and_looks_no_further(run, minions, said, words):
    minions.answers = {"pair.report": said}
    shown = run("pair.plan", "salt")
    assert shown["retcode"] == 1 and words in shown["refused"][0]
    assert not {"digest", "command", "files"} & set(shown)
    silent = [one for one in shown["refused"][1:] if "salt2 does not answer pair.report" in one]
    assert len(silent) == (said is not asked_minions.split)
    assert minions.functions() == ["pair.report"]


def test_a_word_about_a_split_is_part_of_the_plan_and_of_what_is_typed(run, minions):
    planned(minions, asked_minions.split)
    shown = run("pair.plan", "salt", winner="salt2")
    assert any(one.startswith("settle:") for one in shown["steps"])
    refusals = minions.questions("reverse_rsync.refusals")[0].kwargs
    assert refusals["overrides"] == {"winner": "salt2", "reason": "..."}
    assert "winner: salt2" in shown["command"] and "reason:" in shown["command"]


# --- pair.history ---------------------------------------------------------------------------------


def record(run=samples.RUN, **changes):
    found = {"run": run, "pair": "salt", "operation": "recover", "started": samples.SINCE, "user": "root"}
    return {**found, "result": "succeeded", "finished": samples.SINCE, "backup": False, **changes}


@pytest.mark.parametrize("silent", [None, "salt2"])
def test_the_history_is_that_of_both_nodes_and_says_who_did_not_answer(run, minions, silent):
    kept = {
        "salt1": [record(backup=True)],
        "salt2": [record(), record(samples.OTHER_RUN, result="failed", sentence="no room")],
    }
    minions.answers = {"pair.history": lambda node, pair: kept[node] if node != silent else gone(node)}
    answer = run("pair.history", "salt")
    found = [(one["run"], one["result"], one["backup"]) for one in answer["runs"]]
    last = [] if silent else [(samples.OTHER_RUN, "failed", [])]
    assert found == [(samples.RUN, "succeeded", ["salt1"]), *last]
    assert answer.get("retcode", 0) == bool(silent)
    assert [one.partition(" (")[0] for one in answer.get("no answer", [])] == (
        ["salt2 does not answer pair.history"] if silent else []
    )
    (asked,) = minions.asked
    assert (asked.nodes, asked.kwargs, asked.look) == (BOTH, {"pair": "salt"}, 10)


def test_the_history_of_all_pairs_is_asked_of_all_nodes(run, minions):
    minions.answers = {"pair.history": []}
    assert run("pair.history") == {"runs": []}
    (asked,) = minions.asked
    assert (asked.nodes, asked.kwargs) == ([*BOTH, "web1", "web2"], {"pair": None})


# --- pair.pause and pair.resume -------------------------------------------------------------------


def paused(node, pair, seconds, reason, user):
    late = 60 if node == "salt1" else 0
    return {"until": time.time() + seconds + late, "reason": reason, "user": user, "run": None}


@pytest.mark.parametrize("function", ["pause", "hold"])
@pytest.mark.parametrize("minutes", [0.5, 30, 1440])
def test_a_pause_is_told_to_both_nodes_with_its_reason_and_who_wants_it(
    run, minions, user, function, minutes
):
    minions.answers = {"pair.pause": paused}
    answer = run(f"pair.{function}", "salt", minutes, reason="switch maintenance")
    (asked,) = minions.asked
    assert (asked.nodes, asked.args) == (BOTH, ["salt", minutes * 60, "switch maintenance"])
    assert asked.kwargs == {"user": "alice"}
    assert answer["comment"].startswith("The watch of salt is paused until ")
    assert answer["comment"].endswith(" by alice: switch maintenance. It takes nothing until then.")
    assert set(answer["nodes"]) == set(BOTH) and "retcode" not in answer
    assert {one["reason"] for one in answer["nodes"].values()} == {"switch maintenance"}


def test_a_pause_is_over_when_the_first_node_says_so(run, minions):
    minions.answers = {
        "pair.pause": lambda node, *_, **__: {"until": NOW + 3600 * int(node[-1]), "reason": "x"}
    }
    answer = run("pair.pause", "salt", 30)
    assert minions.asked[0].args[2] == "paused by an operator"
    hour = time.strftime("%H:%M", time.localtime(NOW + 3600))
    assert f"{hour}: x" in answer["comment"]
    assert [answer["nodes"][node]["until"][11:13] for node in BOTH] == ["20", "21"]


@pytest.mark.parametrize("minutes", [None, 0, -5, 1440.5, 1441, "x", True])
def test_a_pause_of_no_length_or_of_days_is_refused(run, minions, minutes):
    answer = run("pair.pause", "salt", minutes)
    assert "minutes must be from 1 to 1440" in answer["error"] and answer["retcode"] == 1
    assert minions.asked == []


def test_a_pause_that_one_node_has_not_got_says_what_the_other_one_does(run, minions, user):
    minions.answers = {
        "pair.pause": lambda node, *a, **k: paused(node, *a, **k) if node == "salt1" else gone(node)
    }
    answer = run("pair.pause", "salt", 30)
    assert answer["retcode"] == 1
    assert answer["error"].startswith("salt2 does not answer pair.pause")
    assert "The watch of salt on salt1 is paused until " in answer["error"]


@pytest.mark.parametrize(
    ("said", "comment"),
    [
        ({"salt1": True, "salt2": True}, "The pause of salt is over."),
        ({"salt1": False, "salt2": True}, "The pause of salt is over."),
        ({"salt1": False, "salt2": False}, "The watch of salt was not paused."),
    ],
)
def test_the_end_of_a_pause_is_told_to_both_nodes(run, minions, said, comment):
    minions.answers = {"pair.resume": asked_minions.of_node(**said)}
    assert run("pair.resume", "salt") == {"comment": comment, "nodes": said}
    (asked,) = minions.asked
    assert (asked.nodes, asked.args, asked.kwargs) == (BOTH, ["salt"], {})


@pytest.mark.parametrize(("was", "words"), [(True, "is not paused any more."), (False, "was not paused.")])
def test_a_watch_that_was_not_told_of_the_end_of_a_pause_is_named(run, minions, was, words):
    minions.answers = {"pair.resume": asked_minions.of_node(salt1=was)}
    answer = run("pair.resume", "salt")
    assert answer["retcode"] == 1 and answer["error"].startswith("salt2 does not answer pair.resume")
    assert answer["error"].endswith(f"The watch of salt on salt1 {words}")


# --- pair.undo ------------------------------------------------------------------------------------


class Undo:
    """
    The nodes of an undo: each keeps a record of the run; ``keeping`` have its backup.

    left
        What the node has left because somebody had put a link in place of a folder.
    """

    def __init__(self, minions, said=asked_minions.normal, keeping=("salt1",), left=(), **answers):
        self._keeping, self._left = keeping, list(left)
        self.minions = minions
        minions.answers = {
            "pair.history": lambda node, pair: [
                record(samples.OTHER_RUN, backup=True),
                record(backup=node in keeping),
            ],
            "pair.report": said,
            "reverse_rsync.restored": self._restored,
            "pair.owner_has_ended": False,
            "pair.lock": {"taken_over": None},
            "pair.open_run": True,
            "pair.close_run": True,
            "pair.renew": True,
            **answers,
        }

    def _restored(self, node, pair, run, own, test=False, **chosen):
        return {"restored": ["/srv/salt/a"], "left": self._left, "run": own}

    @property
    def changes(self):
        """What was asked that changes a node."""
        looks = ("pair.history", "pair.report", "pair.owner_has_ended")
        return [
            one
            for one in self.minions.asked
            if one.function not in looks
            and not (one.function == "reverse_rsync.restored" and one.kwargs.get("test"))
        ]


def test_an_undo_takes_the_pair_keeps_a_record_and_puts_back_on_the_node_that_serves(run, minions, user):
    undo = Undo(minions, keeping=("salt1", "salt2"))
    answer = run("pair.undo", samples.RUN)
    (history,) = minions.questions("pair.history")
    assert (history.nodes, history.kwargs) == (BOTH, {"pair": "salt"})
    assert [(one.function, one.nodes) for one in undo.changes] == [
        ("pair.lock", ["salt1"]),
        ("pair.lock", ["salt2"]),
        ("pair.open_run", BOTH),
        ("reverse_rsync.restored", ["salt1"]),
        ("pair.close_run", BOTH),
    ]
    lock, _, opened, restored, closed = undo.changes
    own = lock.args[1]
    assert own != samples.RUN and "-undo-salt-" in own and lock.args[2] == "undo"
    assert opened.args[:2] == ["salt", own] and opened.args[2]["result"] is None
    assert opened.args[2]["user"] == "alice"
    assert restored.args == ["salt", samples.RUN, own] and restored.kwargs == {"paths": None}
    assert closed.args[:2] == ["salt", own]
    assert closed.args[2]["result"] == "succeeded" and closed.args[2]["told_by"] == "salt1"
    assert closed.args[2]["sentence"] == f"undo of {samples.RUN}"
    assert answer == {
        "salt1": {"restored": ["/srv/salt/a"], "left": [], "run": own},
        "undo this with": f"salt-run pair.undo {own}",
    }
    assert not [one for one in threading.enumerate() if one.name == "failback-heartbeat"]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"paths": "/srv/salt/a"}, {"paths": "/srv/salt/a"}),
        ({"paths": ["/srv/salt/a", "/srv/salt/b"]}, {"paths": ["/srv/salt/a", "/srv/salt/b"]}),
        ({"conflicts": True}, {"paths": None, "conflicts": True}),
        ({"conflicts": False}, {"paths": None}),
    ],
)
@pytest.mark.parametrize("test", [False, True])
def test_only_what_was_chosen_is_put_back(run, minions, given, chosen, test):
    undo = Undo(minions)
    answer = run("pair.undo", samples.RUN, test=test, **given)
    (restored,) = minions.questions("reverse_rsync.restored")
    assert restored.kwargs == {**chosen, **({"test": True} if test else {})}
    assert bool(undo.changes) is not test and "retcode" not in answer


def test_a_test_of_an_undo_asks_each_node_that_keeps_a_backup_and_changes_none(run, minions):
    undo = Undo(minions, keeping=("salt1", "salt2"))
    answer = run("pair.undo", samples.RUN, test=True)
    assert set(answer) == set(BOTH) and undo.changes == []
    assert [one.nodes for one in minions.questions("reverse_rsync.restored")] == [["salt1"], ["salt2"]]


def test_what_was_left_is_a_failed_undo_that_can_be_undone(run, minions):
    undo = Undo(minions, left=["/srv/salt/link"])
    answer = run("pair.undo", samples.RUN)
    assert answer["retcode"] == 1 and "undo this with" in answer
    assert undo.changes[-1].function == "pair.close_run"
    assert undo.changes[-1].args[2]["result"] == "failed"


REFUSED_UNDOS = {
    "the standby alone has the backup": ({"keeping": ("salt2",)}, "The backup is on salt2, and salt1 serves"),
    "split": ({"said": asked_minions.split, "keeping": BOTH}, "salt is split-brain"),
    "a node is silent": (
        {"said": asked_minions.of_node(salt1=asked_minions.normal("salt1"))},
        "salt is secondary_down",
    ),
}


@pytest.mark.parametrize(("site", "words"), REFUSED_UNDOS.values(), ids=REFUSED_UNDOS)
@pytest.mark.parametrize("test", [False, True])
def test_an_undo_that_somebody_else_would_overwrite_is_refused_before_anything_is_changed(
    run, minions, site, words, test
):
    undo = Undo(minions, **site)
    answer = run("pair.undo", samples.RUN, test=test)
    assert answer["retcode"] == 1 and undo.changes == []
    if test:
        # What would be put back is shown all the same.
        assert words in answer["refused"] and set(answer) & set(BOTH)
    else:
        assert answer["error"].startswith("Refused, nothing was changed. ") and words in answer["error"]


def other_release(node, *args):
    return asked_minions.report(node, 3, "salt1", package={"modules": "x", "program": "x"})


def locked(node, *args):
    owner = {"machine": "m/elsewhere", "boot_id": "b", "pid": 1, "user": "bob", "master": "m_master"}
    lock = {"state": "held", "run": samples.OTHER_RUN, "owner": owner, "operation": "recover", "renewed": NOW}
    return asked_minions.report(node, 3, "salt1", lock={**lock, "since": samples.SINCE, "expires": NOW})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (other_release, "another release of Failback than this master"),
        (locked, f"salt is locked by run {samples.OTHER_RUN} (recover, started {samples.SINCE} by bob"),
    ],
)
def test_an_undo_waits_for_nobody_and_mixes_no_releases(run, minions, said, words):
    undo = Undo(minions, said)
    answer = run("pair.undo", samples.RUN)
    assert answer["retcode"] == 1 and words in answer["error"] and undo.changes == []


@pytest.mark.parametrize("silent", [(), ("salt2",)])
def test_a_run_of_which_nobody_keeps_a_backup_is_not_undone(run, minions, silent):
    undo = Undo(minions, keeping=())
    known = minions.answers["pair.history"]
    minions.answers["pair.history"] = lambda node, pair: gone(node) if node in silent else known(node, pair)
    answer = run("pair.undo", samples.RUN)
    assert answer["error"].startswith(
        f"No node of salt keeps a backup of {samples.RUN}. `salt-run pair.history"
    )
    assert answer["error"].endswith(
        "salt2 does not answer pair.history (is its salt-minion up?)" if silent else "are."
    )
    assert answer["retcode"] == 1 and undo.changes == [] and minions.functions() == ["pair.history"]


def test_a_pair_that_another_run_takes_first_is_left_alone(run, minions):
    def lock(node, *args, **kwargs):
        if node == "salt2":
            raise RuntimeError("salt is locked by another run")
        return {"taken_over": None}

    undo = Undo(minions, **{"pair.lock": lock, "pair.unlock": True})
    answer = run("pair.undo", samples.RUN)
    assert "salt is locked by another run" in answer["error"] and answer["retcode"] == 1
    assert [(one.function, one.nodes) for one in undo.changes] == [
        ("pair.lock", ["salt1"]),
        ("pair.lock", ["salt2"]),
        ("pair.unlock", ["salt1"]),
    ]


@pytest.mark.parametrize("failing", ["pair.open_run", "reverse_rsync.restored"])
def test_an_undo_that_fails_is_kept_as_failed_and_gives_the_pair_back(run, minions, failing):
    undo = Undo(minions, **{failing: RuntimeError("no room")})
    answer = run("pair.undo", samples.RUN)
    assert "salt1: no room" in answer["error"] and answer["retcode"] == 1
    closed = undo.changes[-1]
    assert (closed.function, closed.nodes) == ("pair.close_run", BOTH)
    assert (closed.args[2]["result"], closed.args[2]["told_by"]) == ("failed", "salt1")
    assert ("reverse_rsync.restored" in minions.functions()) is (failing == "reverse_rsync.restored")
    assert not [one for one in threading.enumerate() if one.name == "failback-heartbeat"]


# --- what a person has typed ----------------------------------------------------------------------


class Ended(BaseException):
    """The process has ended with an exit status."""


@pytest.fixture
def typed(master_opts, monkeypatch):
    """``typed("pair.recover", "salt")``: the runner is loaded for this command line; what is left of it."""
    import salt.loader

    def ended(status):
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    monkeypatch.setattr(salt.output, "display_output", salt.output.display_output)
    monkeypatch.setattr(command, "CALLER", command.Caller())
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def load(function, *words):
        opts = {**master_opts, "fun": function, "arg": list(words)}
        loader = salt.loader.runner(opts, whitelist=["pair", "pillar"])
        assert "pair.nodes" in loader
        return loader

    yield load
    live.SCREEN.close()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["state.orch", "orch.recover", "pair=salt"], "state.orch cannot be called like this"),
        (
            ["state.orchestrate", "orch.boot", "a", "b", "c", "d", "e", "f", "g", "h"],
            "cannot be called like this",
        ),
        (["state.sls", "orch.vm", "vm=idm"], "pillar='{vm: <guest or all>, host: <host>}'"),
        (["state.orch", "mods=orch.recover", "pair=salt"], "orch.recover pillar='{pair: <pair>}'"),
        (
            ["state.orch", "orch.recover", "pillar=salt"],
            "The pillar 'salt' is not a mapping. Nothing was done.",
        ),
        (["state.orch", "orch.recover", "pillar={pair: salt, plann: x}"], "plann (did you mean plan?)"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_a_command_line_that_salt_would_call_a_success_ends_with_a_sentence(typed, capfd, words, said):
    with pytest.raises(Ended) as ended:
        typed(*words)
    assert ended.value.args == (64,)
    printed = capfd.readouterr()
    assert said in printed.err and "Nothing was done." in printed.err and printed.out == ""
    assert not live.SCREEN.is_open


@pytest.mark.parametrize(
    "words",
    [
        ["state.orch", "site.own", "anything=1"],
        ["state.orch"],
        ["state.orch", "mods=7"],
        ["state.orch", "orch.own", "pillar={x: 1}"],
        ["test.arg", "orch.recover", "pair=salt"],
        [None],
    ],
    ids=str,
)
def test_what_is_not_of_this_tree_is_left_to_salt(typed, capfd, words):
    typed(*words)
    assert capfd.readouterr().err == "" and not live.SCREEN.is_open
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


ORCHESTRATED = [
    (["pair.recover", "salt"], "orch.recover salt"),
    (["pair.failover", "pair=salt", "plan=x"], "orch.failover salt"),
    (["pair.boot", "all"], "orch.boot all"),
    (["pair.adopt", "web"], "orch.adopt web"),
    (["pair.verify", "web"], "orch.verify web"),
    (["pair.drill", "web"], "orch.drill web"),
    (["pair.retire", "web"], "orch.retire web"),
    (["pair.vm", "vm=idm", "host=mgmt2"], "orch.vm idm"),
    (["pair.recover"], "orch.recover "),
    (["state.orch", "orch.recover", "pillar={pair: salt}"], "orch.recover salt"),
    (["state.orchestrate", "orch.vm", "pillar={vm: idm}"], "orch.vm idm"),
    (["state.sls", "orch.boot"], "orch.boot "),
]


@pytest.mark.parametrize(
    ("words", "begins"), ORCHESTRATED, ids=lambda one: one[0] + one[-1] if isinstance(one, list) else None
)
def test_what_takes_its_time_is_said_in_the_first_second(typed, capfd, words, begins):
    typed(*words)
    assert capfd.readouterr().err[8:] == f"  {begins}: the orchestration is rendered\n"
    assert live.SCREEN.is_open
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler


def test_what_only_asks_says_nothing_before_its_answer_and_ends_with_ctrl_c(typed, capfd):
    typed("pair.status", "salt")
    assert capfd.readouterr().err == "" and not live.SCREEN.is_open
    with pytest.raises(Ended) as ended:
        signal.raise_signal(signal.SIGINT)
    assert ended.value.args == (130,)
    assert "Interrupted. What was under way on the nodes goes on there" in capfd.readouterr().err


def test_a_person_gets_an_answer_that_is_drawn(typed, write_pillar):
    write_pillar({"web": asked_minions.WEB})
    loader = typed("pair.nodes")
    found = loader["pair.status"]("web", timeout=99)
    assert found["outputter"] == "pairs" and found["data"]["retcode"] == 1
