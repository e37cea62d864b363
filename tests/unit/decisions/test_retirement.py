"""A pair is retired only if it is clear who has the newest data, and the list of what is left is honest."""

import pytest
import samples

from failback.decisions import retirement
from failback.decisions import verdict as verdicts

BOTH = ["salt1", "salt2"]


def verdict(name, active="salt1"):
    return verdicts.Verdict(name, "The sentence.", active=active)


@pytest.mark.parametrize("name", verdicts.ALL)
def test_only_what_is_clear_may_be_retired(name):
    refusal = retirement.refusal(samples.pair(), verdict(name), BOTH)
    if name in ("normal", "failed_over", "standby_returned", "cold"):
        assert refusal is None
    else:
        assert refusal.startswith(f"salt is {name}: The sentence. ")
        assert refusal.endswith("salt-run pair.status salt")


@pytest.mark.parametrize("knowing", [[], ["salt1"], ["salt2"]])
def test_what_was_begun_is_finished(knowing):
    assert retirement.refusal(samples.pair(), None, knowing) is None


@pytest.mark.parametrize("knowing", [BOTH, ["salt2"]])
def test_a_pair_with_a_lease_gives_that_up_first(knowing):
    """Its addresses have a lifetime in the kernel, which only the guard of a pair renews."""
    config = {**samples.pair(), "lease": {"ttl": 10}}
    refusal = retirement.refusal(config, verdict("normal"), knowing)
    assert "Remove `lease` from the pillar" in refusal
    assert refusal.endswith("salt -L salt1,salt2 state.apply")
    assert retirement.refusal(config, None, []) is None


def facts(node, **changes):
    nothing = {
        "node": node,
        "known": False,
        "held": [],
        "units": {},
        "lsyncd": False,
        "state": None,
        "program": [],
    }
    return {**nothing, **changes}


def test_nothing_left_is_nothing_said():
    assert retirement.left(samples.pair(), facts("salt1")) == []


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"known": True}, ["salt1 still knows salt", "Run this again."]),
        (
            {"held": [{"address": "10.0.0.5/24", "interface": "eth0"}]},
            ["10.0.0.5/24 on eth0 until it reboots", "ip address del 10.0.0.5/24 dev eth0"],
        ),
        (
            {"units": {"nginx": {"active": "active", "enabled": "disabled"}}},
            ["nginx runs on salt1 and does not start at boot", "systemctl enable nginx"],
        ),
        (
            {"units": {"nginx": {"active": "inactive", "enabled": "disabled"}}},
            ["nginx does not run on salt1 and does not start at boot"],
        ),
        ({"lsyncd": True}, ["systemctl stop lsyncd"]),
        ({"state": "/var/lib/failback/salt"}, ["the backups", "rm -r /var/lib/failback/salt"]),
        ({"program": ["/a", "/b"]}, ["rm -r /a /b"]),
    ],
)
def test_what_is_left_is_said_with_its_command(changes, words):
    (said,) = retirement.left(samples.pair(), facts("salt1", **changes))
    for one in words:
        assert one in said


@pytest.mark.parametrize("enabled", ["enabled", "static", "not-found", "alias"])
def test_a_unit_that_starts_by_itself_or_never_is_not_named(enabled):
    units = {"nginx": {"active": "active", "enabled": enabled}}
    assert retirement.left(samples.pair(), facts("salt1", units=units)) == []


def test_the_list_begins_with_what_is_no_more_and_ends_with_the_pillar():
    lines = retirement.outcome(
        samples.pair(), [facts("salt1"), facts("salt2")], verdict("failed_over", "salt2")
    ).split("\n")
    assert lines[0].startswith("salt1 and salt2 are no pair any more")
    assert lines[1] == "salt2 served last and has the newest data."
    assert lines[2].startswith("Nothing is carried any more: /")
    assert lines[-1].startswith("Now remove the line of salt in pillar/top.sls")


def test_a_second_run_no_longer_knows_who_served():
    text = retirement.outcome(samples.pair(), [facts("salt1"), facts("salt2")], None)
    assert "served last" not in text
