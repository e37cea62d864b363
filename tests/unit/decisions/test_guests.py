"""Where a guest may be started: every combination of what two hosts say of it, and what is refused."""

import itertools
import re

import pytest
import samples

from failback.decisions import guests
from failback.errors import Refused
from failback.errors import Unreadable

CONFIG = samples.pair("salt1", vms=["idm", "repo"])
#: What a host can say of a guest, as (state, reason), and whether it has a process of it.
STATES = [
    ("off", 0),
    ("undefined", 0),
    ("running", 1),
    ("paused", 1),
    ("paused", 2),
    ("paused", 5),
    ("paused", 14),
    ("in shutdown", 1),
    ("crashed", 1),
    ("suspended", 1),
]
ACTIVE = [state for state in STATES if state[0] not in ("off", "undefined")]


def guest(state="off", reason=0, **changes):
    running = state not in ("off", "undefined")
    return {
        "state": state,
        "reason": reason,
        "processes": [4711] if running else [],
        "claimed": False,
        "saved": False,
        "autostart": False,
        "definition": None if state == "undefined" else "d1",
        "file": None if state == "undefined" else "d1",
        "problems": [],
        **changes,
    }


def host(found, **changes):
    return {
        "storage": "mark",
        "storage_error": None,
        "locks_error": None,
        "guests": {"idm": found, "repo": guest()},
        **changes,
    }


def decide(here, there, **terms):
    """Of a guest that should run on salt1; ``there`` is what salt2 says."""
    reports = {"salt1": here, "salt2": there}
    return guests.decide("idm", "salt1", CONFIG, reports, **terms)


SILENT = {"error": "salt2 does not answer shared_vm.report"}


@pytest.mark.parametrize("here, there", itertools.product(STATES, STATES))
@pytest.mark.parametrize("how", guests.HOW)
def test_nothing_is_started_while_the_other_host_may_run_it(here, there, how):
    """The one sentence that must never be false, over all states of both hosts."""
    plan = decide(host(guest(*here)), host(guest(*there)), how=how)
    if plan.action == guests.START:
        assert here[0] == "off" and there[0] == "off"
    if plan.action in (guests.MIGRATE, guests.RESTART):
        assert here[0] == "off" and there[0] == "running" and plan.source == "salt2"
    if plan.action == guests.RESUME:
        mine, other = (here, there) if plan.source == "salt1" else (there, here)
        assert mine in (("paused", 2), ("paused", 14)) and other[0] in ("off", "undefined")
    if here in ACTIVE and there in ACTIVE:
        assert plan.refusal


@pytest.mark.parametrize("here", STATES)
def test_nothing_is_started_while_the_other_host_is_silent(here):
    plan = decide(host(guest(*here)), SILENT)
    if here[0] == "running":
        assert plan.action == guests.NOTHING and not plan.refusal
    else:
        assert plan.refusal


def test_a_silent_host_is_named_with_its_reason_and_the_way_out():
    plan = decide(host(guest()), SILENT)
    assert "salt2 does not say whether it runs there (salt2 does not answer shared_vm.report)" in plan.refusal
    assert 'fenced: salt2, reason: "how you know"' in plan.refusal


@pytest.mark.parametrize("there", [None, SILENT])
def test_a_person_s_word_that_the_other_host_is_off_is_enough(there):
    plan = decide(host(guest()), there, fenced=True)
    assert (plan.action, plan.source, plan.refusal) == (guests.START, None, None)


#: virDomainPausedReason in include/libvirt/libvirt-domain.h, and a word of what is said.
PAUSED = {
    "VIR_DOMAIN_PAUSED_USER": (1, "by a person"),
    "VIR_DOMAIN_PAUSED_MIGRATION": (2, "in a migration"),
    "VIR_DOMAIN_PAUSED_SAVE": (3, "saved"),
    "VIR_DOMAIN_PAUSED_DUMP": (4, "dumped"),
    "VIR_DOMAIN_PAUSED_IOERROR": (5, "I/O error"),
    "VIR_DOMAIN_PAUSED_WATCHDOG": (6, "watchdog"),
    "VIR_DOMAIN_PAUSED_FROM_SNAPSHOT": (7, "from a snapshot"),
    "VIR_DOMAIN_PAUSED_SHUTTING_DOWN": (8, "shuts down"),
    "VIR_DOMAIN_PAUSED_SNAPSHOT": (9, "for a snapshot"),
    "VIR_DOMAIN_PAUSED_CRASHED": (10, "crashed"),
    "VIR_DOMAIN_PAUSED_STARTING_UP": (11, "starts"),
    "VIR_DOMAIN_PAUSED_POSTCOPY": (12, "in a migration"),
    "VIR_DOMAIN_PAUSED_POSTCOPY_FAILED": (13, "a migration failed"),
    "VIR_DOMAIN_PAUSED_API_ERROR": (14, "disk"),
    "VIR_DOMAIN_PAUSED_UNKNOWN": (0, "unknown reason"),
}


@pytest.mark.parametrize(("reason", "words"), PAUSED.values(), ids=list(PAUSED))
def test_why_a_guest_is_paused_is_said_in_words(reason, words):
    both = decide(host(guest("paused", reason)), host(guest("paused", reason)))
    assert words in both.refusal


@pytest.mark.parametrize("reason, action", [(2, "resume"), (14, "resume"), (1, None), (5, None)])
def test_what_a_migration_from_a_dead_host_has_left_goes_on(reason, action):
    plan = decide(host(guest("paused", reason)), SILENT, fenced=True)
    assert (plan.action if action else plan.refusal) == (action or plan.refusal)
    assert bool(plan.refusal) == (action is None)
    assert decide(host(guest("paused", reason)), SILENT).refusal


@pytest.mark.parametrize("there", STATES)
def test_the_word_is_void_when_the_host_answers(there):
    plan = decide(host(guest()), host(guest(*there)), fenced=True)
    assert "salt2 answers, so it is not off" in plan.refusal


def test_the_target_must_answer_whatever_else_is_said():
    for fenced in (False, True):
        assert "salt1 does not say" in decide({"error": "x"}, host(guest()), fenced=fenced).refusal
        assert "salt1 does not say" in decide(None, None, fenced=fenced).refusal


@pytest.mark.parametrize(
    "here, there, terms, action, source",
    [
        (guest(), guest(), {}, "start", None),
        (guest(), guest(), {"only_if_active": True}, "nothing", None),
        (guest("running", 1), guest(), {}, "nothing", "salt1"),
        (guest("running", 1), guest("undefined"), {}, "nothing", "salt1"),
        (guest(), guest("running", 1), {}, "migrate", "salt2"),
        (guest(), guest("running", 1), {"how": "restart"}, "restart", "salt2"),
        (guest(), guest("running", 1), {"only_if_active": True}, "migrate", "salt2"),
        (guest("paused", 2), guest(), {}, "resume", "salt1"),
        (guest("paused", 14), guest(), {}, "resume", "salt1"),
        (guest(), guest("paused", 14), {}, "resume", "salt2"),
    ],
)
def test_what_is_done(here, there, terms, action, source):
    plan = decide(host(here), host(there), **terms)
    assert (plan.refusal, plan.action, plan.source) == (None, action, source)
    assert plan.sentence.startswith("idm: ")


@pytest.mark.parametrize(
    "here, there, why",
    [
        (guest("running", 1), guest("running", 1), "RUNS ON BOTH HOSTS"),
        (guest("crashed", 1), guest("running", 1), "RUNS ON BOTH HOSTS"),
        (guest("paused", 2), guest("running", 1), "a migration is running or was cut off"),
        (
            guest("paused", 1),
            guest(),
            "paused by a person on salt1, and is not touched.*virsh resume shared-idm",
        ),
        (guest(), guest("paused", 5), "paused because of an I/O error on salt2, and is not touched"),
        (guest("crashed", 1), guest(), "crashed on salt1.*virsh destroy shared-idm"),
        (guest(), guest("in shutdown", 1), "in shutdown on salt2.*Wait"),
        (guest(), guest("suspended", 1), "suspended on salt2.*dompmwakeup"),
        (
            guest(processes=[12]),
            guest(),
            r"salt1 has a process of it \(12\) that libvirt there does not know",
        ),
        (guest(), guest(processes=[12, 13]), r"salt2 has a process of it \(12, 13\)"),
        (guest(), guest("undefined", processes=[12]), "salt2 has a process of it"),
        (guest(claimed=True), guest(), "just being started, moved or stopped on salt1"),
        (guest(), guest(claimed=True), "just being started, moved or stopped on salt2"),
        (guest("running", 1), guest(claimed=True), "just being started, moved or stopped on salt2"),
        # Asked one after the other in the middle of a migration, both may say so.
        (guest("running", 1), guest("running", 1, claimed=True), "just being started, moved or stopped"),
        (guest(processes=[12]), guest("running", 1, claimed=True), "just being started, moved or stopped"),
        (guest("undefined"), guest(), "not defined on salt1"),
        (guest("undefined"), guest("running", 1), "not defined on salt1"),
        (guest(), guest("undefined"), "defined on salt1 alone"),
        (guest(), guest(definition="d2", file="d2"), "definitions differ"),
        (guest(), guest("running", 1, definition="d2", file="d2"), "definitions differ"),
        (guest(file="d2"), guest(), "libvirt on salt1 does not know .*/shared-idm.xml"),
        (guest(), guest(file=None), "libvirt on salt2 does not know"),
        (guest(saved=True), guest(), "salt1 keeps its saved memory.*managedsave-remove shared-idm"),
        (guest(), guest(saved=True), "salt2 keeps its saved memory"),
        (guest(problems=["It has no disk."]), guest(), "does not fit: It has no disk"),
    ],
)
def test_what_is_refused(here, there, why):
    plan = decide(host(here), host(there))
    assert plan.refusal
    assert re.search(why, plan.refusal), plan.refusal


@pytest.mark.parametrize(
    "here, there, why",
    [
        ({"storage_error": "not mounted."}, {}, "not mounted."),
        ({"locks_error": "virtlockd is not set up."}, {}, "virtlockd is not set up."),
        ({}, {"storage": "another"}, "not the same storage"),
    ],
)
def test_a_host_that_is_not_fit_runs_nothing_new(here, there, why):
    for found in (guest(), guest("running", 1)):
        assert why in decide(host(guest(), **here), host(found, **there)).refusal
    # What runs there already is not touched.
    assert decide(host(guest("running", 1), **here), host(guest(), **there)).action == "nothing"


def test_storage_that_is_gone_from_the_other_host_alone_keeps_nobody_from_starting():
    gone = host(guest(), storage=None, storage_error="not mounted")
    assert decide(host(guest()), gone).action == "start"


def test_the_own_claim_is_not_in_the_way():
    assert decide(host(guest(claimed=True)), host(guest()), own_claim="salt1").action == "start"
    assert decide(host(guest(claimed=True)), host(guest(claimed=True)), own_claim="salt1").refusal
    moved = decide(host(guest()), host(guest("running", 1, claimed=True)), own_claim="salt2")
    assert moved.action == "migrate"


# --- what an operator means --------------------------------------------------------------------

PAIRS = {
    "mgmt": {
        **samples.pair(vms=["idm", "repo"]),
        "name": "mgmt",
        "primary": {"id": "mgmt1", "host": "mgmt1"},
        "secondary": {"id": "mgmt2", "host": "mgmt2"},
    },
    "web": {
        **samples.pair(vms=["shop"]),
        "name": "web",
        "primary": {"id": "web1", "host": "web1"},
        "secondary": {"id": "web2", "host": "web2"},
    },
    "salt": samples.pair(),
}


@pytest.mark.parametrize(
    "words, found",
    [
        (("idm", "mgmt2", None), ("mgmt", ["idm"], "mgmt2")),
        (("idm", None, "mgmt2"), ("mgmt", ["idm"], "mgmt1")),
        (("all", "mgmt1", None), ("mgmt", ["idm", "repo"], "mgmt1")),
        (("all", None, "web1"), ("web", ["shop"], "web2")),
    ],
)
def test_words_that_mean_something(words, found):
    assert guests.chosen(PAIRS, *words) == found


@pytest.mark.parametrize(
    "words, why",
    [
        ((None, "mgmt1", None), "No guest was named"),
        (("", "mgmt1", None), "No guest was named"),
        ((["idm"], "mgmt1", None), "No guest was named"),
        ((True, "mgmt1", None), "No guest was named"),
        (("nosuch", "mgmt1", None), r"There is no guest nosuch \(guests: idm, repo, shop; or all\)"),
        (("--all", "mgmt1", None), "'--all' is not the name of a guest"),
        (("-c", "mgmt1", None), "'-c' is not the name of a guest"),
        (("../idm", "mgmt1", None), "is not the name of a guest"),
        (("/etc/passwd", "mgmt1", None), "is not the name of a guest"),
        (("idm;reboot", "mgmt1", None), "is not the name of a guest"),
        (("idm\n", "mgmt1", None), "is not the name of a guest"),
        (("shared-idm", "mgmt1", None), "There is no guest shared-idm"),
        (("idm", None, None), "host or away_from"),
        (("idm", "mgmt1", "mgmt2"), "host or away_from"),
        (("idm", "nosuch", None), "host must be one of"),
        (("idm", "salt1", None), "host must be one of mgmt1, mgmt2, web1, web2, not 'salt1'"),
        (("idm", None, 7), "away_from must be one of"),
        (("idm", "web1", None), "idm belongs to the pair mgmt; its host is mgmt1 or mgmt2, not web1"),
        (("all", ["mgmt1"], None), "host must be one of"),
    ],
)
def test_words_that_do_not(words, why):
    with pytest.raises(Refused, match=why):
        guests.chosen(PAIRS, *words)


# --- what is shown -----------------------------------------------------------------------------


def test_where_each_guest_runs():
    reports = {"salt1": host(guest("running", 1)), "salt2": host(guest())}
    assert guests.shown(CONFIG, reports) == {"idm": "running on salt1", "repo": "runs nowhere"}
    assert guests.wrong(CONFIG, reports) == []


def test_a_silent_host_is_shown_as_such():
    reports = {"salt1": host(guest("running", 1)), "salt2": SILENT}
    found = guests.shown(CONFIG, reports)
    assert found == {"idm": "running on salt1, not known of salt2", "repo": "not known of salt2"}
    assert "salt2 says nothing" in guests.wrong(CONFIG, reports)[0]


@pytest.mark.parametrize("there", [guest("running", 1), guest("paused", 2), guest(processes=[12]), guest()])
def test_a_guest_that_is_just_being_moved_is_shown_and_not_wrong(there):
    """Asked one after the other in the middle of it, both hosts may say that it runs."""
    reports = {"salt1": host(guest("running", 1, claimed=True)), "salt2": host(there)}
    assert guests.wrong(CONFIG, reports) == []
    assert "just being started, moved or stopped by salt1" in guests.shown(CONFIG, reports)["idm"]


@pytest.mark.parametrize(
    "here, there, why",
    [
        (guest("running", 1), guest("running", 1), "idm RUNS ON BOTH HOSTS"),
        (guest("running", 1), guest(processes=[12]), "idm RUNS ON BOTH HOSTS"),
        (guest(), guest(processes=[12]), "idm is running unknown to libvirt (process 12) on salt2."),
        (guest("paused", 5), guest(), "idm is paused because of an I/O error on salt1."),
        (guest(), guest(definition="d2"), "The definitions of idm differ between salt1 and salt2."),
        (guest(), guest("undefined"), "idm is defined on salt1 alone."),
        (guest("undefined"), guest(), "idm is defined on salt2 alone."),
        (guest(autostart=True), guest(), "idm would be started at boot on salt1"),
        (guest(), guest(saved=True), "salt2 keeps a saved memory of idm."),
        (guest(problems=["No disk."]), guest(), "idm on salt1: No disk."),
    ],
)
def test_what_is_wrong_is_said(here, there, why):
    found = guests.wrong(CONFIG, {"salt1": host(here), "salt2": host(there)})
    assert any(why in sentence for sentence in found), found


def test_hosts_that_are_wrong_are_said():
    reports = {"salt1": host(guest(), locks_error="No locks."), "salt2": host(guest(), storage="other")}
    found = guests.wrong(CONFIG, reports)
    assert "No locks." in found and any("not the same storage" in one for one in found)


# --- definitions -------------------------------------------------------------------------------

DOMAIN = "<domain><name>x</name><devices>{}</devices></domain>"
DISK = "<disk type='{type}' device='{device}'><source {source}/><target dev='vda'/>{more}</disk>"


def disk(type="file", device="disk", source="file='/srv/vms/idm.img'", more=""):
    return DISK.format(type=type, device=device, source=source, more=more)


@pytest.mark.parametrize(
    "disks, found",
    [
        ([disk()], []),
        ([disk(type="block", source="dev='/dev/san/idm'")], []),
        ([disk(), disk(device="cdrom", source="file='/iso/x.iso'")], []),
        ([disk(), disk(more="<readonly/>", source="file='/elsewhere'")], []),
        ([disk(), "<disk type='file' device='cdrom'><target dev='sda'/></disk>"], []),
        ([], ["no disk that it writes to"]),
        ([disk(device="cdrom")], ["no disk that it writes to"]),
        ([disk(more="<shareable/>")], ["marked shareable"]),
        ([disk(source="file='/var/lib/x.img'")], ["does not lie in /srv/vms"]),
        ([disk(source="file='/srv/vms-old/x.img'")], ["does not lie in /srv/vms"]),
        ([disk(source="file='/srv/vms/../x.img'")], ["does not lie in /srv/vms"]),
        ([disk(type="network", source="protocol='rbd' name='a/b'")], ["disk vda is neither"]),
        ([disk(), disk(more="<shareable/>"), disk(source="file='/x'")], ["shareable", "does not lie"]),
    ],
)
def test_what_is_wrong_with_a_definition(disks, found):
    said = guests.problems(DOMAIN.format("".join(disks)), "/srv/vms")
    assert len(said) == len(found), said
    assert all(part in sentence for part, sentence in zip(found, said)), said


def test_a_definition_is_the_same_however_it_is_written():
    plain = guests.definition_digest("<domain a='1' b='2'><name>x</name></domain>")
    other = '<!-- c -->\n<domain b="2"  a="1">\n  <name>x</name>\n</domain>\n'
    assert guests.definition_digest(other) == plain
    assert guests.definition_digest("<domain a='1' b='2'><name>y</name></domain>") != plain


@pytest.mark.parametrize("text", ["", "no xml", "<domain>", "<a/><b/>"])
def test_what_is_no_definition(text):
    with pytest.raises(Unreadable):
        guests.definition_digest(text)
