"""What a node is worth: each fact that speaks against it is one sentence with a command, and no other is."""

import copy

import pytest
import samples

from failback.decisions import plan
from failback.decisions import readiness
from failback.decisions import verdict
from failback.decisions.readiness import SERVES
from failback.decisions.readiness import STANDS_BY

ROOM = {"error": None, "free_bytes": 1 << 40, "free_files": 1 << 20}
WATCH = {"alive": True, "silent": 3.0, "sentence": "salt2 stands by.", "several": {}}

#: What a node reports that is well, by its role.
WELL = {
    SERVES: {
        "installed": True,
        "looked": 4.0,
        "watch": {},
        "paths": {"/srv/salt": ROOM},
        "ssh": {"node": "salt2", "well": True, "sentence": "answers", "at": 1},
        "in_step": None,
        "beats": True,
        "failing": None,
        "inotify": None,
        "restarts": None,
        "proved": 1,
    },
    STANDS_BY: {
        "installed": True,
        "looked": 4.0,
        "watch": {"gateway-ip": WATCH},
        "paths": {"/srv/salt": ROOM},
        "ssh": {"node": "salt1", "well": True, "sentence": "answers", "at": 1},
        "in_step": {"at": 1795372200.0, "age": 9.0, "admitted_for": 4000.0},
    },
}
FAILING = {
    "code": "23",
    "times": 4,
    "since": 1795372200.0,
    "said": "rsync: unlink(a) failed: not permitted (1)",
}


def report(role, services=None, **facts):
    node = "salt1" if role == SERVES else "salt2"
    own = samples.ledger(5, "salt1")
    holds = ("10.0.0.5/24",) if role == SERVES else ()
    found = {**copy.deepcopy(WELL[role]), **facts}
    return samples.report(node, own, holds, readiness=found, active_services=services or {})


def findings(role, services=None, lsyncd=None, **facts):
    if lsyncd:
        return readiness.wrong(samples.pair(), {**report(role, **facts), "lsyncd": lsyncd}, role)
    return readiness.wrong(samples.pair(), report(role, services, **facts), role)


@pytest.mark.parametrize("role", [SERVES, STANDS_BY])
def test_a_node_that_is_well_has_nothing_against_it(role):
    assert findings(role) == ()


def test_a_small_file_system_that_is_nearly_empty_has_room():
    small = {**ROOM, "free_bytes": 63 << 20, "bytes": 64 << 20, "free_files": 400, "files": 410}
    assert findings(STANDS_BY, paths={"/srv/salt": small}) == ()


@pytest.mark.parametrize(
    "facts", [None, {}, {"installed": False, "watch": {"gateway-ip": {**WATCH, "alive": False}}}]
)
@pytest.mark.parametrize("role", [SERVES, STANDS_BY])
def test_what_an_earlier_release_does_not_say_is_no_finding(role, facts):
    one = report(role)
    one["readiness"] = facts
    assert readiness.wrong(samples.pair(), one, role) == ()


def behind(**changes):
    return {"in_step": {**WELL[STANDS_BY]["in_step"], **changes}}


CASES = {
    "nobody has looked": (STANDS_BY, {"looked": None}, "looks", False, "state.apply pair.look"),
    "nobody looks any more": (SERVES, {"looked": 46.0}, "looks", False, "since 46 s"),
    "the watch does not run": (
        STANDS_BY,
        {"watch": {"gateway-ip": {**WATCH, "alive": False}}},
        "watch",
        False,
        "salt 'salt2' state.apply pair.watch",
    ),
    "the watch hangs": (
        STANDS_BY,
        {"watch": {"gateway-ip": {**WATCH, "silent": 36.0}}},
        "watch",
        False,
        "has said nothing for 36 s",
    ),
    "two hosts answer": (
        STANDS_BY,
        {"watch": {"gateway-ip": {**WATCH, "several": {"salt-gw": ["02:00:01", "02:00:02"]}}}},
        "address",
        False,
        "salt-gw is answered by 02:00:01 and 02:00:02",
    ),
    "the standby cannot write": (
        STANDS_BY,
        {"paths": {"/srv/salt": {**ROOM, "error": "its file system is mounted read-only"}}},
        "path",
        True,
        "salt2 would serve read-only",
    ),
    "the active node cannot write": (
        SERVES,
        {"paths": {"/srv/salt": {**ROOM, "error": "its file system is mounted read-only"}}},
        "path",
        False,
        "findmnt -T /srv/salt",
    ),
    "no room": (
        STANDS_BY,
        {"paths": {"/srv/salt": {**ROOM, "free_bytes": 63 << 20}}},
        "room",
        True,
        "/srv/salt has 63 MiB",
    ),
    "no room on a small file system": (
        STANDS_BY,
        {"paths": {"/srv/salt": {**ROOM, "free_bytes": 6 << 20, "bytes": 64 << 20}}},
        "room",
        True,
        "/srv/salt has 6 MiB",
    ),
    "no inodes": (
        STANDS_BY,
        {"paths": {"/srv/salt": {**ROOM, "free_files": 499}}},
        "room",
        True,
        "499 inodes left on salt2",
    ),
    "the host key is another one": (
        STANDS_BY,
        {"ssh": {"node": "salt1", "well": False, "sentence": "Host key verification failed.", "at": 1}},
        "ssh",
        True,
        "salt-run state.orch orch.adopt pillar='{pair: salt}'",
    ),
    "sshd is off": (
        SERVES,
        {"ssh": {"node": "salt2", "well": False, "sentence": "Connection refused", "at": 1}},
        "ssh",
        False,
        "systemctl status ssh",
    ),
    "root's shell prints": (
        STANDS_BY,
        {"ssh": {"node": "salt1", "well": False, "sentence": "root's shell on salt1 prints 'hi'", "at": 1}},
        "ssh",
        True,
        "Run on salt1: salt-call state.apply pair.access",
    ),
    "rsync fails with a file": (SERVES, {"failing": FAILING}, "rsync", True, "unlink(a) failed"),
    "rsync has failed once": (SERVES, {"failing": {**FAILING, "times": 1}}, "rsync", False, "exit code 23"),
    "rsync meets another host key": (
        SERVES,
        {"failing": {**FAILING, "code": "255", "said": "Host key verification failed."}},
        "rsync",
        True,
        "orch.adopt",
    ),
    "rsync meets a shell that prints": (
        SERVES,
        {"failing": {**FAILING, "code": "5", "said": "@ERROR: protocol startup error"}},
        "rsync",
        True,
        "Run on salt2: salt-call state.apply pair.access",
    ),
    **{
        f"rsync is not let in: {said}": (
            SERVES,
            {"failing": {**FAILING, "code": code, "said": said}},
            "rsync",
            True,
            "Run on salt2: systemctl status ssh; salt-call state.apply pair.access",
        )
        for code in ("5", "12", "255")
        for said in (
            "ssh: connect to host 10.0.0.12 port 22: Connection refused",
            "root@10.0.0.12: Permission denied (publickey).",
            "Password change required but no TTY available.",
        )
    },
    "lsyncd does not stay up": (
        SERVES,
        {"restarts": {"times": 3, "said": "Terminating since out of inotify watches"}},
        "rsync",
        True,
        "out of inotify watches",
    ),
    "no inotify watches": (SERVES, {"inotify": "no more watches"}, "inotify", False, "sysctl fs.inotify"),
    "lsyncd is of before": (SERVES, {"beats": False}, "in_step", False, "orch.recover"),
    "the standby is behind": (
        STANDS_BY,
        behind(age=31.0),
        "in_step",
        False,
        "2026-11-22T18:30:00Z, 31 s ago",
    ),
    "never in step": (
        STANDS_BY,
        behind(at=None, age=None),
        "in_step",
        False,
        "since it was admitted 4000 s ago",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_ready_is_said_with_what_mends_it(case):
    role, facts, about, stops, words = CASES[case]
    (found,) = findings(role, **facts)
    assert (found.about, found.stops) == (about, stops), found
    assert words in found.sentence
    assert found.sentence.endswith((".", "'", "access", "app", "look", "watch", "gateway-ip"))


@pytest.mark.parametrize("state", sorted(readiness.CANNOT_START))
def test_a_service_that_the_standby_cannot_start_stops_a_move_and_is_no_matter_where_it_runs(state):
    (found,) = findings(STANDS_BY, {"app": state})
    assert found.about == "services" and found.stops and "app" in found.sentence
    assert findings(STANDS_BY, {"app": "inactive"}) == () == findings(SERVES, {"app": state})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"age": 30.0}, id="as old as it may be"),
        pytest.param({"age": 31.0, "admitted_for": 29.0}, id="taken in just now"),
        pytest.param({"at": None, "age": None, "admitted_for": 12.0}, id="the first one is on its way"),
        pytest.param({"at": None, "age": None, "admitted_for": None}, id="no ledger"),
    ],
)
def test_a_standby_that_need_not_know_better_is_not_behind(changes):
    assert findings(STANDS_BY, **behind(**changes)) == ()


def test_a_lsyncd_of_before_cannot_tell_so_the_standby_is_not_blamed():
    active, standby = report(SERVES, beats=False), report(STANDS_BY, **behind(at=None, age=None))
    assert [(one.node, one.about) for one in readiness.together(samples.pair(), active, standby)] == [
        ("salt1", "in_step")
    ]
    active = report(SERVES)
    assert [(one.node, one.about) for one in readiness.together(samples.pair(), active, standby)] == [
        ("salt2", "in_step")
    ]
    # By itself it cannot know which of the two it is.
    assert readiness.alone(samples.pair(), standby, STANDS_BY) == ()


def test_what_is_not_ready_is_drift_of_a_normal_pair_and_stops_a_failover_before_anything_is():
    config = samples.pair()
    found = verdict.judge(config, report(SERVES, failing=FAILING), report(STANDS_BY))
    assert found.name == verdict.NORMAL and found.unready == found.drift == found.stops
    assert plan.decide(plan.RECOVER, config, found).steps == ("services", "take", "activate")
    refusal = plan.decide(plan.FAILOVER, config, found).refusal
    assert refusal.startswith("salt2 is not ready to serve: lsyncd on salt1")
    assert refusal.endswith("salt-run state.orch orch.failover pillar='{pair: salt}'")


def test_a_standby_that_is_merely_behind_may_still_be_moved_to():
    config = samples.pair()
    found = verdict.judge(config, report(SERVES), report(STANDS_BY, **behind(age=500.0)))
    assert found.drift and not found.stops and plan.decide(plan.FAILOVER, config, found).steps


def test_a_lsyncd_that_is_started_again_and_again_does_not_run():
    config = samples.pair()
    active = report(SERVES)
    active["lsyncd"] = {"running": False, "state": "activating"}
    assert "lsyncd does not run on salt1." in verdict.judge(config, active, report(STANDS_BY)).drift


def known(age, at=1795372200.0, admitted_for=4000.0):
    return {"at": None if age is None and at is None else at, "age": age, "admitted_for": admitted_for}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (known(30.0), None),
        (known(31.0), "at 2026-11-22T18:30:00Z, 31 s ago"),
        (known(None, None, 20.0), None),
        (known(None, None, 31.0), "not since it was admitted 31 s ago"),
        (known(None, None, None), "nobody knows when"),
    ],
)
def test_how_far_behind_a_takeover_would_be(facts, words):
    said = readiness.behind(samples.pair(), facts)
    assert said is None if words is None else words in said
    assert readiness.behind(samples.pair(replicate=[]), facts) is None


@pytest.mark.parametrize(
    ("role", "facts", "seconds"),
    [
        (SERVES, {"lag": 3.2}, 7.2),
        (SERVES, {"lag": None}, None),
        (SERVES, {}, None),
        (SERVES, {"lag": 3.2, "looked": None}, None),
        (STANDS_BY, {}, 9.0),
        # When it was admitted it had all there was.
        (STANDS_BY, {"in_step": {"at": 1.0, "age": 5000.0, "admitted_for": 40.0}}, 40.0),
        # The other node is of a release that does not tell.
        (STANDS_BY, {"in_step": {"at": None, "age": None, "admitted_for": 4000.0}}, None),
        (STANDS_BY, {"in_step": None, "lag": 3.2}, None),
        (None, {"lag": 3.2, "in_step": WELL[STANDS_BY]["in_step"]}, None),
    ],
)
def test_how_far_the_standby_may_be_behind(role, facts, seconds):
    assert readiness.lag(report(role or SERVES, **facts), role) == seconds


def test_the_pillar_says_how_far_that_may_be_and_what_then():
    config = samples.pair()
    assert (readiness.max_lag(config), readiness.refuses(config)) == (30, False)
    config["watch"] = {**config["watch"], "max_lag": 60, "beyond_max_lag": "refuse"}
    assert readiness.behind(config, known(59.0)) is None and readiness.refuses(config)


@pytest.mark.parametrize(
    ("own", "admitted", "role"),
    [(None, False, None), ("salt1", True, SERVES), ("salt2", True, STANDS_BY), ("salt1", False, None)],
)
def test_the_role_is_the_ledger_s(own, admitted, role):
    found = own and samples.ledger(5, own)
    assert readiness.role_of(found, "salt1", admitted) == role


@pytest.mark.parametrize(
    ("begun", "restarts", "words"),
    [
        (True, None, None),
        # None runs, or the node is of an earlier release: others say so.
        (None, None, None),
        (False, None, "has just been started and watches nothing yet: it is not known to stay up"),
        # One sentence of it is enough.
        (
            False,
            {"times": 1, "said": None},
            "lsyncd does not stay up on salt1, systemd has started it again once.",
        ),
    ],
)
def test_an_lsyncd_that_has_just_been_started_proves_nothing(begun, restarts, words):
    found = findings(SERVES, lsyncd={"running": True, "state": "active", "begun": begun}, restarts=restarts)
    assert [one.about for one in found] == ["rsync"] * bool(words)
    for one in found:
        assert one.node == "salt1" and one.stops and words in one.sentence


# --- where exactly a limit lies, and what each sentence says -------------------------------------------


def one_path(**changes):
    return {"paths": {"/srv/salt": {**ROOM, **changes}}}


@pytest.mark.parametrize(
    ("facts", "about"),
    [
        ({"looked": readiness.LOOKS_WITHIN}, None),
        ({"looked": readiness.LOOKS_WITHIN + 0.1}, "looks"),
        ({"installed": False, "looked": None}, None),
        ({"watch": {"gateway-ip": {**WATCH, "silent": readiness.WATCH_WITHIN}}}, None),
        ({"watch": {"gateway-ip": {**WATCH, "silent": readiness.WATCH_WITHIN + 0.1}}}, "watch"),
        ({"watch": {"gateway-ip": {**WATCH, "silent": None}}}, None),
        ({"installed": False, "watch": {"gateway-ip": {**WATCH, "silent": 9999.0}}}, None),
        (one_path(free_bytes=readiness.LEAST_BYTES), None),
        (one_path(free_bytes=readiness.LEAST_BYTES - 1), "room"),
        (one_path(free_files=readiness.LEAST_FILES), None),
        (one_path(free_files=readiness.LEAST_FILES - 1), "room"),
        (one_path(free_files=None), None),
        # Of a small file system a share is enough.
        (one_path(free_bytes=100, bytes=100 / readiness.LEAST_SHARE), None),
        (one_path(free_bytes=99, bytes=100 / readiness.LEAST_SHARE), "room"),
        # Of a large one the least is.
        (one_path(free_bytes=readiness.LEAST_BYTES, bytes=1 << 60), None),
        ({"ssh": None}, None),
        ({"ssh": {"node": "salt1", "well": None, "sentence": "", "at": 1}}, None),
        ({"in_step": None}, None),
        ({"verified": None}, None),
    ],
    ids=str,
)
def test_a_finding_begins_beyond_its_limit_and_not_at_it(facts, about):
    assert [one.about for one in findings(STANDS_BY, **facts)] == ([about] if about else [])


def test_what_room_is_left_is_said_without_files_where_nobody_counts_them():
    (found,) = findings(STANDS_BY, **one_path(free_bytes=3 << 20, free_files=None))
    assert "/srv/salt has 3 MiB left on salt2." in found.sentence and found.stops
    (found,) = findings(SERVES, **one_path(free_bytes=3 << 20, free_files=7))
    assert "3 MiB and 7 inodes left on salt1." in found.sentence and not found.stops


def test_a_path_that_cannot_be_written_says_nothing_of_its_room():
    (found,) = findings(SERVES, **one_path(error="it is immutable", free_bytes=0))
    assert found.about == "path" and "Clients cannot write there." in found.sentence


ELSEWHERE = "/srv/salt lies on /dev/vdb there, and was on /dev/vda."


@pytest.mark.parametrize(
    ("code", "said", "shown", "mends"),
    [
        ("12", ELSEWHERE, "12: the place of a path there is another one. What", "is said of that path"),
        ("23", "unlink failed", "23: unlink failed. What", "Fix that on salt2; lsyncd goes on trying"),
        ("23", "why?", "23: why? What", "Fix that on salt2"),
        ("23", None, "23. What", "Fix that on salt2"),
        ("5", None, "5. What", "Run on salt2: salt-call state.apply pair.access"),
        (
            "1",
            "protocol: rather than greeting",
            "1: protocol: rather than greeting. What",
            "Run on salt2: salt-call",
        ),
        ("255", None, "255. What", "Run on salt2: systemctl status ssh"),
        ("12", "unexplained", "12: unexplained. What", "Run on salt2: systemctl status ssh"),
        ("5", "ssh: no route", "5: ssh: no route. What", "Run on salt2: systemctl status ssh"),
        ("23", "HOST KEY VERIFICATION FAILED", "23: HOST KEY VERIFICATION FAILED. What", "orch.adopt"),
    ],
)
def test_why_rsync_fails_is_said_with_what_mends_that(code, said, shown, mends):
    (found,) = findings(SERVES, failing={**FAILING, "code": code, "said": said})
    assert f"rsync has failed 4 times, with exit code {shown}" in found.sentence
    assert mends in found.sentence
    assert ELSEWHERE not in found.sentence, "it is said beside this"


@pytest.mark.parametrize(("times", "words", "stops"), [(1, "once", False), (2, "2 times", True)])
def test_one_failure_of_rsync_stops_no_move_and_two_do(times, words, stops):
    (found,) = findings(SERVES, failing={**FAILING, "times": times})
    assert f"has failed {words}," in found.sentence and found.stops is stops
    (found,) = findings(SERVES, restarts={"times": times, "said": None})
    assert f"has started it again {words}. What" in found.sentence and found.stops


def test_what_differs_after_a_comparison_is_found_on_the_other_node(monkeypatch):
    asked = []
    monkeypatch.setattr(
        readiness.verified, "finding", lambda config, other, known: asked.append((other, known)) or "differs"
    )
    (found,) = findings(SERVES, verified={"at": 1})
    assert (found.node, found.about, found.sentence, found.stops) == ("salt2", "verified", "differs", True)
    assert asked == [("salt2", {"at": 1})]
    assert findings(STANDS_BY, verified={"at": 1}) == ()


def test_of_a_pair_that_replicates_nothing_nobody_is_behind():
    one = report(STANDS_BY, **behind(age=500.0))
    assert readiness.wrong(samples.pair(replicate=[]), one, STANDS_BY) == ()


@pytest.mark.parametrize(("waited", "found"), [(30.0, 0), (30.1, 1), (None, 0)])
def test_a_standby_is_behind_only_when_it_has_had_the_time(waited, found):
    assert len(findings(STANDS_BY, **behind(age=None, at=None, admitted_for=waited))) == found
