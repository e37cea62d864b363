"""What looked after a pair before: what stops an adoption, and what is only said."""

import pytest
import samples

from failback.decisions import predecessors

OFF = {"active": "inactive", "enabled": "disabled"}
ON = {"active": "active", "enabled": "enabled"}
NOTHING = {
    "begun": False,
    "set_up": [],
    "programs": [],
    "keepalived": [],
    "cluster": [],
    "units": {"keepalived": OFF, "pacemaker": OFF, "corosync": OFF},
    "lsyncd": [],
    "replaced": [],
    "enabled": [],
    "unread": [],
}
PROGRAM = {
    "file": "/etc/cron.d/gw",
    "line": 4,
    "script": "/usr/local/sbin/gw.sh",
    "does": "takes",
    "what": "10.0.0.5",
    "by": "cron",
    "off": False,
}
SET_UP = {
    "address": "10.0.0.5/24",
    "interface": "eth0:0",
    "file": "/etc/network/interfaces",
    "line": 12,
    "by": "ifupdown",
}
KEEPALIVED = {
    "instance": "gw",
    "address": "10.0.0.5",
    "line": 9,
    "file": "/etc/keepalived/keepalived.conf",
}
RESOURCE = {"id": "gw", "agent": "IPaddr2", "address": "10.0.0.5", "unit": None}
SERVICE = {"id": "www", "agent": "systemd:nginx", "address": None, "unit": "nginx"}


def units(name, state):
    return {**NOTHING["units"], name: state}


def judged(node, **changes):
    config = samples.pair()
    reports = [{**NOTHING, "node": one, **(changes if one == node else {})} for one in ("salt1", "salt2")]
    return predecessors.refusal(config, reports), predecessors.notes(config, reports)


def test_a_script_that_only_looks_like_it_may_be_named():
    reports = [{**NOTHING, "node": "salt1", "programs": [PROGRAM]}, {**NOTHING, "node": "salt2"}]
    refusal = predecessors.refusal(samples.pair(), reports)
    known = """pillar='{pair: salt, harmless: ["/usr/local/sbin/gw.sh"]}'"""
    assert "guessed from its words" in refusal and known in refusal
    kept = [predecessors.without(one, ["/usr/local/sbin/gw.sh"]) for one in reports]
    assert predecessors.refusal(samples.pair(), kept) is None
    # What cron itself says is named by its file; the other script stays.
    kept = [predecessors.without(one, ["/etc/cron.d/gw"]) for one in reports]
    assert predecessors.refusal(samples.pair(), kept) == refusal


def test_what_is_no_guess_cannot_be_called_harmless():
    reports = [{**NOTHING, "node": "salt1", "set_up": [SET_UP]}, {**NOTHING, "node": "salt2"}]
    kept = [predecessors.without(one, ["/etc/network/interfaces"]) for one in reports]
    refusal = predecessors.refusal(samples.pair(), kept)
    assert "/etc/network/interfaces, line 12" in refusal and "harmless" not in refusal


@pytest.mark.parametrize("harmless", ["/usr/local/sbin/gw.sh", True, [1], ["gw.sh"], {"/a": 1}, [None]])
def test_what_is_no_list_of_scripts_is_named(harmless):
    assert "must be a list of scripts" in predecessors.harmless_problem(harmless)


@pytest.mark.parametrize("harmless", [None, [], ["/usr/local/sbin/gw.sh"]])
def test_a_list_of_scripts(harmless):
    assert predecessors.harmless_problem(harmless) is None


#: What was found, on which node, and words of the refusal.
STOPS = {
    "an alias of ifupdown": ("salt1", {"set_up": [SET_UP]}, "/etc/network/interfaces, line 12 (ifupdown)"),
    "a cron script": (
        "salt2",
        {"programs": [PROGRAM]},
        "/usr/local/sbin/gw.sh, line 4, which /etc/cron.d/gw starts (cron), takes 10.0.0.5",
    ),
    "a line of cron": (
        "salt2",
        {"programs": [{**PROGRAM, "script": None}]},
        "/etc/cron.d/gw, line 4 (cron), takes 10.0.0.5",
    ),
    "a unit": (
        "salt2",
        {"programs": [{**PROGRAM, "by": "systemd", "file": "/etc/systemd/system/gw.service"}]},
        "Disable gw.service",
    ),
    "rsync by cron": (
        "salt1",
        {"programs": [{**PROGRAM, "does": "carries", "what": "/srv/salt"}]},
        "carries /srv/salt between the nodes",
    ),
    "lsyncd by cron": ("salt1", {"programs": [{**PROGRAM, "does": "lsyncd"}]}, "starts lsyncd past the gate"),
    "keepalived": (
        "salt1",
        {"keepalived": [KEEPALIVED], "units": units("keepalived", ON)},
        "keepalived has 10.0.0.5 as its own (instance gw, /etc/keepalived/keepalived.conf, line 9)",
    ),
    "keepalived that the next boot starts": (
        "salt1",
        {
            "keepalived": [KEEPALIVED],
            "units": units("keepalived", {"active": "failed", "enabled": "enabled"}),
        },
        "End keepalived on the standby first",
    ),
    "Pacemaker": (
        "salt1",
        {"cluster": [RESOURCE], "units": units("pacemaker", ON)},
        "Pacemaker runs 10.0.0.5 as its resource gw (IPaddr2)",
    ),
    "Pacemaker with a service, half stopped": (
        "salt1",
        {"cluster": [SERVICE], "units": units("corosync", {"active": "inactive", "enabled": "enabled"})},
        "Pacemaker runs nginx as its resource www",
    ),
    "lsyncd on the secondary": (
        "salt2",
        {"lsyncd": [{"pid": 7, "unit": "lsyncd.service"}]},
        "may carry those of salt2 over them",
    ),
    "an lsyncd that is no unit": ("salt1", {"lsyncd": [{"pid": 7, "unit": None}]}, "not as lsyncd.service"),
}


@pytest.mark.parametrize("what", STOPS)
def test_a_new_pair_is_not_adopted_beside_what_is_at_work(what):
    node, found, words = STOPS[what]
    refusal, notes = judged(node, **found)
    assert refusal.startswith(f"Refused, nothing was changed. On {node}: ") and words in refusal
    assert refusal.endswith(
        "docs/migrate.md has the steps. Then: salt-run state.orch orch.adopt pillar='{pair: salt}'"
    )
    assert notes == []


@pytest.mark.parametrize("what", STOPS)
def test_a_pair_that_has_its_ledgers_is_told_and_its_keys_are_repaired(what):
    node, found, words = STOPS[what]
    reports = [
        {**NOTHING, "node": one, "begun": True, **(found if one == node else {})}
        for one in ("salt1", "salt2")
    ]
    assert predecessors.refusal(samples.pair(), reports) is None
    assert [one for one in predecessors.notes(samples.pair(), reports) if words in one]


#: What stops nothing: what was found, and words of the sentence.
SAID = {
    "nothing": ({}, None),
    "a probe": ({"programs": [{**PROGRAM, "does": "mentions"}]}, "names 10.0.0.5. Look whether"),
    "a unit that is off": ({"programs": [{**PROGRAM, "by": "systemd", "off": True}]}, "is off. Delete it"),
    "keepalived that is off": ({"keepalived": [KEEPALIVED]}, "keepalived is off"),
    "keepalived for others": ({"units": units("keepalived", ON)}, None),
    "Pacemaker that is off": ({"cluster": [RESOURCE]}, "Pacemaker is off"),
    "Pacemaker for others": ({"units": units("pacemaker", ON)}, None),
    "lsyncd of the primary": ({"lsyncd": [{"pid": 7, "unit": "lsyncd.service"}]}, None),
    "a file of the site's": (
        {"replaced": [{"file": "/etc/lsyncd/lsyncd.conf.lua", "what": "why", "kept": "/kept"}]},
        "/etc/lsyncd/lsyncd.conf.lua is replaced (why). A copy is kept as /kept.",
    ),
    "a service": ({"enabled": ["nginx"]}, "nginx will not start at boot any more"),
    "what cannot be read": ({"unread": ["/cib.xml: no XML."]}, "no XML. Look there yourself."),
}


@pytest.mark.parametrize("what", SAID)
def test_what_is_only_said(what):
    found, words = SAID[what]
    refusal, notes = judged("salt1", **found)
    assert refusal is None
    assert [words in one for one in notes] == ([True] if words else [])
