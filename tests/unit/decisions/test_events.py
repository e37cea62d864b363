"""What is told, and which programs are told."""

import pytest
import samples

from failback.decisions import events
from failback.decisions.ownership import Entry

FOLDERS = [Entry("/", 0, 0o755), Entry("/etc", 0, 0o755), Entry("/etc/failback", 0, 0o700)]
HOOK = Entry("/etc/failback/hooks.d/mail", 0, 0o755, "file")


def test_an_event_says_who_tells_and_of_what():
    told = events.event(
        events.TAKEOVER, samples.pair("salt2"), 1000.5, "It is so.", samples.ledger(5, "salt2"), run=None
    )
    assert told == {
        "version": 1,
        "event": "takeover",
        "severity": "critical",
        "pair": "salt",
        "node": "salt2",
        "role": "secondary",
        "peer": "salt1",
        "time": 1000.5,
        "sentence": "It is so.",
        "active": "salt2",
        "generation": 5,
    }


def test_what_is_not_known_is_empty_and_a_zero_byte_reaches_no_program():
    told = events.event(events.RUN_FAILED, samples.pair(), 7.6, "a\0b" + "x" * 9999, reason="r")
    found = events.environment(told, samples.pair(notify={"mail": ["ops@example.org", "root"]}))
    assert found["FAILBACK_ACTIVE"] == found["FAILBACK_GENERATION"] == found["FAILBACK_RUN"] == ""
    assert found["FAILBACK_MAIL"] == "ops@example.org root"
    assert found["FAILBACK_TIME"] == "8"
    assert found["FAILBACK_SENTENCE"].startswith("abxx")
    assert len(found["FAILBACK_SENTENCE"]) == events.LONGEST_SENTENCE - 1
    assert told["reason"] == "r"


@pytest.mark.parametrize(
    ("config", "kind", "wanted"),
    [
        ({}, events.TAKEOVER, True),
        ({"notify": {}}, events.PAUSE_ENDED, True),
        ({"notify": {"events": ["takeover"]}}, events.TAKEOVER, True),
        ({"notify": {"events": ["takeover"]}}, events.RUN_FAILED, False),
        ({"notify": {"events": []}}, events.TAKEOVER, False),
    ],
)
def test_the_pillar_says_what_is_told(config, kind, wanted):
    assert events.is_wanted(config, kind) is wanted


@pytest.mark.parametrize(
    ("kind", "last", "now", "already"),
    [
        (events.SPLIT_BRAIN, None, 100.0, False),
        (events.SPLIT_BRAIN, 90.0, 100.0, True),
        (events.SPLIT_BRAIN, 100.0, 3699.0, True),
        (events.SPLIT_BRAIN, 100.0, 3700.0, False),
        # Of another boot, whose clock had gone further.
        (events.SPLIT_BRAIN, 5000.0, 100.0, False),
        (events.TAKEOVER, 99.0, 100.0, False),
    ],
)
def test_what_lasts_is_told_once_an_hour(kind, last, now, already):
    assert events.is_told_already(kind, last, now) is already


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("page-me", True),
        ("10-page.sh", True),
        ("failback-mail", True),
        ("failback-webhook", False),
        ("failback-other", False),
        (".hidden", False),
        ("page~", False),
        ("page.dpkg-old", False),
        ("page.orig", False),
        ("#page#", False),
    ],
)
def test_a_pair_runs_the_shipped_hooks_that_it_names_and_all_of_the_sites_own(name, chosen):
    assert events.is_chosen(name, {"notify": {"hooks": ["mail"]}}) is chosen


@pytest.mark.parametrize(
    ("above", "hook", "said"),
    [
        ((), {}, None),
        ((), {"uid": 1000}, "chown root: /etc/failback/hooks.d/mail"),
        ((), {"mode": 0o775}, "somebody else could choose what runs as root"),
        ((), {"mode": 0o757}, "chmod go-w /etc/failback/hooks.d/mail"),
        ((), {"mode": 0o644}, "chmod +x"),
        ((), {"kind": "link"}, "is a link"),
        ((), {"kind": "other"}, "is no file"),
        (
            (Entry("/etc/failback/hooks.d", 33, 0o755),),
            {},
            "/etc/failback/hooks.d is not root's alone (uid 33",
        ),
        ((Entry("/etc/failback/hooks.d", 0, 0o1777),), {}, "mode 1777"),
        ((), {"path": "/etc/failback/hooks.d/a b", "mode": 0o777}, "'/etc/failback/hooks.d/a b'"),
    ],
)
def test_only_what_is_roots_alone_is_run(above, hook, said):
    fields = {"path": HOOK.path, "uid": HOOK.uid, "mode": HOOK.mode, "kind": HOOK.kind}
    problem = events.hook_problem([*FOLDERS, *above], Entry(**{**fields, **hook}))
    assert problem is None if said is None else said in problem
