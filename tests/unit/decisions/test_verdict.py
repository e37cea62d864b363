"""The verdict, over every combination of what two nodes can say, and over the histories that lead there."""

import itertools

import pytest
import samples

from failback.decisions import plan
from failback.decisions import verdict

GATEWAY, SECOND = "10.0.0.5/24", "10.0.0.6/24"
UNREADABLE = "ledger.json is damaged (0 bytes), so it proves nothing."


def everything_a_node_can_say(node, other, addresses):
    """No answer; a ledger missing or unreadable; and every ledger with every set of addresses held."""
    yield None
    held_sets = [
        held for size in range(len(addresses) + 1) for held in itertools.combinations(addresses, size)
    ]
    for held in held_sets:
        yield samples.report(node, None, held, addresses)
        yield samples.report(node, None, held, addresses, error=UNREADABLE)
        for generation, active, boot in itertools.product(
            range(4), (node, other), ("this boot", "an earlier boot")
        ):
            yield samples.report(node, samples.ledger(generation, active, boot), held, addresses)


def everything(addresses=(GATEWAY,)):
    """All pairs of reports, with the verdict and the two plans drawn from them."""
    config = samples.pair()
    config["floating_ips"] = [{"address": one} for one in addresses]
    for primary, secondary in itertools.product(
        everything_a_node_can_say("salt1", "salt2", addresses),
        everything_a_node_can_say("salt2", "salt1", addresses),
    ):
        yield config, primary, secondary, verdict.judge(config, primary, secondary)


@pytest.fixture(scope="module", params=[(GATEWAY,), (GATEWAY, SECOND), ()], ids=["one", "two", "no"])
def combinations(request):
    """All combinations for pairs with one, two and no addresses."""
    return list(everything(request.param))


def said(primary, secondary):
    return f"\nprimary: {primary}\nsecondary: {secondary}"


def test_there_is_a_verdict_and_a_sentence_for_everything(combinations):
    """``judge`` and ``decide`` never raise, and never say less than a sentence."""
    assert len(combinations) > 300
    for config, primary, secondary, found in combinations:
        assert found.name in verdict.ALL
        # A sentence, or one that ends with a command to type.
        assert found.sentence.endswith((".", "'")), found.sentence + said(primary, secondary)
        for operation in (plan.RECOVER, plan.BOOT):
            assert plan.decide(operation, config, found).verdict == found.name


def test_the_newest_node_is_the_one_of_the_highest_generation_or_the_one_it_was_handed_to(
    combinations,
):
    """
    No node is called newest against a higher generation.

    But for one case, which is no exception to the truth: a handover's giver raises its own ledger
    in favour of the other, after the final sync, before the other one writes that down.
    """
    for _, primary, secondary, found in combinations:
        if found.newest is None:
            continue
        one, other = (primary, secondary) if found.newest == "salt1" else (secondary, primary)
        mine, theirs = one["ledger"], other["ledger"]
        if theirs is None:
            continue
        handed_over = theirs["active"] == found.newest
        assert mine["generation"] >= theirs["generation"] or handed_over, said(primary, secondary)
        assert found.generation == max(mine["generation"], theirs["generation"])


def test_a_node_that_serves_was_named_admitted_and_holds_an_address(combinations):
    for _, primary, secondary, found in combinations:
        if found.active is None:
            continue
        report = primary if found.active == "salt1" else secondary
        assert report["ledger"]["active"] == found.active, said(primary, secondary)
        assert report["ledger"]["boot_id"] == report["boot_id"], said(primary, secondary)
        held = [one["held"] for one in report["addresses"]]
        assert not held or any(held), said(primary, secondary)


def test_two_nodes_that_both_serve_are_a_split(combinations):
    for _, primary, secondary, found in combinations:
        if primary and secondary and verdict.claims(primary) and verdict.claims(secondary):
            assert found.name in (verdict.SPLIT, verdict.UNKNOWN), said(primary, secondary)
            assert found.newest is None


def test_an_address_held_twice_is_never_called_healthy(combinations):
    for _, primary, secondary, found in combinations:
        if not primary or not secondary:
            continue
        twice = [
            one["address"]
            for one, other in zip(primary["addresses"], secondary["addresses"])
            if one["held"] and other["held"]
        ]
        if twice:
            assert found.name in (verdict.SPLIT, verdict.UNKNOWN), said(primary, secondary)


def test_an_address_held_by_the_node_that_stands_by_is_at_least_drift(combinations):
    for _, primary, secondary, found in combinations:
        if found.name not in (verdict.NORMAL, verdict.FAILED_OVER, verdict.STANDBY_RETURNED):
            continue
        standby = secondary if found.active == "salt1" else primary
        if any(one["held"] for one in standby["addresses"]):
            assert found.drift, said(primary, secondary)


def test_nodes_that_say_the_same_of_themselves_are_never_normal(combinations):
    """Each "I am active" or each "the other one is": whatever is symmetric proves nothing."""
    for _, primary, secondary, found in combinations:
        if not primary or not secondary or not primary["ledger"] or not secondary["ledger"]:
            continue
        mine, theirs = primary["ledger"], secondary["ledger"]
        symmetric = (
            mine["generation"] == theirs["generation"]
            and (mine["active"] == "salt1") == (theirs["active"] == "salt2")
            and mine["boot_id"] == theirs["boot_id"]
            and [one["held"] for one in primary["addresses"]]
            == [one["held"] for one in secondary["addresses"]]
        )
        if symmetric:
            assert found.name in (verdict.SPLIT, verdict.UNKNOWN), said(primary, secondary)
            assert found.newest is None


def test_a_node_that_does_not_answer_has_nothing_decided_against_it(combinations):
    for _, primary, secondary, found in combinations:
        if primary is None and secondary is None:
            assert found.name == verdict.UNKNOWN
        elif primary is None:
            assert found.name == verdict.PRIMARY_DOWN
        elif secondary is None:
            assert found.name == verdict.SECONDARY_DOWN
        else:
            continue
        assert found.newest is None


def test_a_ledger_that_cannot_be_read_proves_nothing(combinations):
    for _, primary, secondary, found in combinations:
        if primary and secondary and UNREADABLE in (primary["ledger_error"], secondary["ledger_error"]):
            assert found.name == verdict.UNKNOWN, said(primary, secondary)
            assert found.newest is None


def test_a_node_without_a_ledger_is_behind_the_one_that_serves_and_saved_first(combinations):
    for config, primary, secondary, found in combinations:
        reports = [one for one in (primary, secondary) if one]
        if len(reports) < 2 or UNREADABLE in [one["ledger_error"] for one in reports]:
            continue
        without = [one for one in reports if one["ledger"] is None]
        if not without:
            continue
        serving = [one["node"] for one in reports if verdict.claims(one)]
        held = any(address["held"] for one in without for address in one["addresses"])
        if held or not serving:
            assert (found.name, found.newest) == (verdict.UNKNOWN, None), said(primary, secondary)
            continue
        assert [found.active] == serving, said(primary, secondary)
        made = plan.decide(plan.RECOVER, config, found)
        assert made.target == without[0]["node"] and found.name == (
            verdict.FAILED_OVER if serving == ["salt2"] else verdict.STANDBY_RETURNED
        )
        assert "pre-sync" in made.steps or found.uncompared, made


def test_normal_means_that_the_standby_was_admitted_in_the_same_generation(combinations):
    for _, primary, secondary, found in combinations:
        if found.name == verdict.NORMAL:
            assert secondary["ledger"]["generation"] == primary["ledger"]["generation"]
            assert verdict.admitted(secondary) and found.active == found.newest == "salt1"


def test_every_verdict_is_reached(combinations):
    # With addresses nobody can be sure that the other node did not take over while the primary booted.
    floating = combinations[0][0]["floating_ips"]
    wanted = set(verdict.ALL) - ({verdict.PRIMARY_RETURNED} if floating else set())
    assert {found.name for *_, found in combinations} == wanted


@pytest.mark.parametrize(
    ("mine", "theirs", "name"),
    [
        ((3, "salt1", "this boot"), (3, "salt1", "this boot"), verdict.NORMAL),
        ((3, "salt1", "before"), (3, "salt1", "this boot"), verdict.PRIMARY_RETURNED),
        ((3, "salt1", "before"), (3, "salt1", "before"), verdict.COLD),
        ((3, "salt1", "this boot"), (3, "salt1", "before"), verdict.STANDBY_RETURNED),
        ((3, "salt1", "before"), (4, "salt2", "this boot"), verdict.FAILED_OVER),
        ((4, "salt2", ""), (4, "salt2", "before"), verdict.COLD),
        ((3, "salt1", "before"), (2, "salt1", "this boot"), verdict.COLD),
    ],
)
def test_a_pair_without_addresses(mine, theirs, name):
    config = samples.pair(floating_ips=[])
    reports = [
        samples.report(node, samples.ledger(*own), addresses=())
        for node, own in (("salt1", mine), ("salt2", theirs))
    ]
    found = verdict.judge(config, *reports)
    assert found.name == name
    if name == verdict.PRIMARY_RETURNED:
        assert (found.active, found.newest, found.generation) == (None, "salt1", 3)


@pytest.mark.parametrize("ahead", ["salt1", "salt2"])
@pytest.mark.parametrize("held", [(), (GATEWAY,)])
@pytest.mark.parametrize("operation", [plan.RECOVER, plan.FAILOVER, plan.BOOT])
def test_a_node_whose_generation_cannot_be_true_is_not_believed_and_nothing_is_done(ahead, held, operation):
    config = samples.pair()
    generation = {"salt1": 5, "salt2": 5, ahead: 999_999_999_999}
    reports = [
        samples.report(node, samples.ledger(generation[node], ahead, "this boot"), held)
        for node in ("salt1", "salt2")
    ]
    found = verdict.judge(config, *reports)
    assert found.name == verdict.UNKNOWN and "a mistake or an attack" in found.sentence
    assert ahead in found.sentence and plan.decide(operation, config, found).refusal


def test_a_standby_that_gave_way_with_changes_of_its_own_is_not_normal():
    theirs = {**samples.ledger(3, "salt1"), "unsaved": True}
    reports = [PRIMARY_SERVES, samples.report("salt2", theirs)]
    found = verdict.judge(samples.pair(), *reports)
    assert (found.name, found.unsaved) == (verdict.STANDBY_RETURNED, True)
    stopped = {**PRIMARY_SERVES, "lsyncd": {"running": False}}
    assert not verdict.judge(samples.pair(), stopped, reports[1]).drift, "it waits for the recovery"
    off = samples.report("salt1", samples.ledger(3, "salt1", "before"))
    cold = verdict.judge(samples.pair(), off, reports[1])
    assert (cold.name, cold.unsaved) == (verdict.COLD, True)


PRIMARY_SERVES = samples.report("salt1", samples.ledger(3, "salt1"), [GATEWAY])
SECONDARY_STANDS_BY = samples.report("salt2", samples.ledger(3, "salt1"))


@pytest.mark.parametrize(
    ("primary", "secondary", "name"),
    [
        pytest.param(PRIMARY_SERVES, SECONDARY_STANDS_BY, verdict.NORMAL, id="as it should be"),
        pytest.param(
            samples.report("salt1", samples.ledger(3, "salt1", "an earlier boot")),
            samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY]),
            verdict.FAILED_OVER,
            id="the primary died, the secondary took over, the primary is back",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(4, "salt2", "")),
            samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY]),
            verdict.FAILED_OVER,
            id="the primary was cut off and stepped down",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(5, "salt1")),
            samples.report("salt2", samples.ledger(6, "salt2"), [GATEWAY]),
            verdict.FAILED_OVER,
            id="a handover was taken back after the commit",
        ),
        pytest.param(
            PRIMARY_SERVES,
            samples.report("salt2", samples.ledger(3, "salt1", "an earlier boot")),
            verdict.STANDBY_RETURNED,
            id="the secondary has rebooted",
        ),
        pytest.param(
            PRIMARY_SERVES,
            samples.report("salt2", samples.ledger(2, "salt2")),
            verdict.STANDBY_RETURNED,
            id="the secondary missed a change of hands",
        ),
        pytest.param(
            PRIMARY_SERVES,
            samples.report("salt2", samples.ledger(4, "salt2", "an earlier boot")),
            verdict.SPLIT,
            id="the primary was started although the secondary had served later",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(4, "salt1", "an earlier boot")),
            samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY]),
            verdict.SPLIT,
            id="both changed the same generation",
        ),
        pytest.param(
            PRIMARY_SERVES,
            samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY]),
            verdict.SPLIT,
            id="a cut network: both serve",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(3, "salt1", "an earlier boot")),
            samples.report("salt2", samples.ledger(3, "salt1", "an earlier boot")),
            verdict.COLD,
            id="a power failure of both",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(3, "salt1", "an earlier boot"), [GATEWAY]),
            samples.report("salt2", samples.ledger(3, "salt1", "an earlier boot")),
            verdict.UNKNOWN,
            id="an address configured at boot",
        ),
        pytest.param(
            samples.report("salt1", samples.ledger(0, "salt1", "")),
            samples.report("salt2", samples.ledger(0, "salt1", "")),
            verdict.COLD,
            id="adopted and never started",
        ),
        pytest.param(None, SECONDARY_STANDS_BY, verdict.PRIMARY_DOWN, id="the primary is off"),
        pytest.param(PRIMARY_SERVES, None, verdict.SECONDARY_DOWN, id="the secondary is off"),
    ],
)
def test_what_is_found(primary, secondary, name):
    assert verdict.judge(samples.pair(), primary, secondary).name == name


def test_a_cold_pair_names_the_node_that_was_active_last():
    found = verdict.judge(
        samples.pair(),
        samples.report("salt1", samples.ledger(3, "salt1", "an earlier boot")),
        samples.report("salt2", samples.ledger(4, "salt2", "an earlier boot")),
    )
    assert (found.name, found.newest, found.generation) == (verdict.COLD, "salt2", 4)


LEASE = {"lease": {"ttl": 10}}
REQUIRED = {"fence": {"nodes": {"salt1": {"agent": "fence_ipmilan"}}, "policy": "required"}}


#: ``samples.SINCE`` in seconds since the epoch.
BEGAN = 1795370400.0


@pytest.mark.parametrize(
    ("heard", "theirs", "ahead", "config", "name"),
    [
        # salt1 was heard until salt2 took over, or shortly after that by clocks that are never the same.
        (BEGAN - 3, 3, 0, {}, verdict.COLD),
        (BEGAN + 29, 3, 0, {}, verdict.COLD),
        # And for long after that.
        (BEGAN + 31, 3, 0, {}, verdict.SPLIT),
        (BEGAN + 864000, 3, 0, {}, verdict.SPLIT),
        # Its clock is ahead, or behind: in truth it was before, or after.
        (BEGAN + 3600, 3, 3590, {}, verdict.COLD),
        (BEGAN - 3600, 3, -3640, {}, verdict.SPLIT),
        # In another generation: that was before it was told who serves.
        (BEGAN + 864000, 2, 0, {}, verdict.COLD),
        (BEGAN + 864000, None, 0, {}, verdict.COLD),
        # An earlier release says nothing.
        (None, 3, 0, {}, verdict.COLD),
        # salt1 is proved to have ended.
        (BEGAN + 864000, 3, 0, {"lease": {"ttl": 10}}, verdict.COLD),
        (BEGAN + 864000, 3, 0, {"fence": {"policy": "required", "nodes": {"salt1": {}}}}, verdict.COLD),
        (BEGAN + 864000, 3, 0, {"fence": {"policy": "preferred", "nodes": {"salt1": {}}}}, verdict.SPLIT),
        (BEGAN + 864000, 3, 0, {"fence": {"policy": "required", "nodes": {"salt2": {}}}}, verdict.SPLIT),
    ],
)
@pytest.mark.parametrize("newer", ["salt1", "salt2"])
def test_two_that_served_and_are_off_are_judged_by_who_was_heard_last(
    newer, heard, theirs, ahead, config, name
):
    older = "salt1" if newer == "salt2" else "salt2"
    if newer == "salt1" and "fence" in config:
        nodes = {"salt2" if one == "salt1" else "salt1": {} for one in config["fence"]["nodes"]}
        config = {"fence": {**config["fence"], "nodes": nodes}}
    last = None if heard is None else {"generation": theirs, "at": heard}
    reports = {
        newer: samples.report(newer, {**samples.ledger(4, newer, "before"), "heard": True}, time=5.0),
        older: samples.report(older, samples.ledger(3, older, "before"), last_heard=last, time=5.0 + ahead),
    }
    found = verdict.judge(samples.pair(**config), reports["salt1"], reports["salt2"])
    assert found.name == name
    assert found.newest == (newer if name == verdict.COLD else None)
    assert (f"others heard {older} as the active node until" in found.sentence) is (name == verdict.SPLIT)


def test_a_node_that_knows_who_took_over_is_no_rival_however_long_it_was_heard():
    """It has stepped down: what it alone had is in its ledger as such."""
    heard = {"generation": 3, "at": BEGAN + 864000}
    for own in (samples.ledger(3, "salt2", "before"), samples.ledger(4, "salt2", "before")):
        newer = {**samples.ledger(4, "salt2", "before"), "heard": True}
        primary = samples.report("salt1", own, last_heard=heard)
        assert verdict.judge(samples.pair(), primary, samples.report("salt2", newer)).name == verdict.COLD


@pytest.mark.parametrize(
    ("theirs", "heard", "config", "name"),
    [
        ((3, "salt1"), False, {}, verdict.SPLIT),
        ((3, "salt1"), True, {}, verdict.COLD),
        ((3, "salt1"), None, {}, verdict.COLD),
        # It has stepped down, so it was told.
        ((4, "salt2"), False, {}, verdict.COLD),
        # The other one had no right to serve on, or no power.
        ((3, "salt1"), False, LEASE, verdict.COLD),
        ((3, "salt1"), False, REQUIRED, verdict.COLD),
        ((3, "salt1"), False, {"fence": {**REQUIRED["fence"], "policy": "preferred"}}, verdict.SPLIT),
        ((3, "salt1"), False, {"fence": {"nodes": {}, "policy": "required"}}, verdict.SPLIT),
    ],
)
def test_a_claim_that_nobody_was_known_to_hear_wins_only_if_the_other_node_could_not_serve_on(
    theirs, heard, config, name
):
    found = verdict.judge(
        {**samples.pair(), **config},
        samples.report("salt1", samples.ledger(*theirs, "an earlier boot")),
        samples.report("salt2", {**samples.ledger(4, "salt2", "an earlier boot"), "heard": heard}),
    )
    assert found.name == name
    assert ("whether anybody heard it: salt1 may have served on" in found.sentence) is (name == verdict.SPLIT)


def test_a_commit_that_the_near_end_did_not_survive_names_the_near_end():
    """The giver writes the new generation after the final sync: the taker has all of it."""
    found = verdict.judge(
        samples.pair(),
        samples.report("salt1", samples.ledger(4, "salt2", "")),
        samples.report("salt2", samples.ledger(5, "salt1", "an earlier boot")),
    )
    assert (found.name, found.newest, found.generation) == (verdict.COLD, "salt1", 5)


AGENT = {"well": False, "node": "salt2", "agent": "fence_x", "sentence": "no answer"}


@pytest.mark.parametrize(
    ("primary", "secondary", "word"),
    [
        ({"lsyncd": {"running": False}}, {}, "lsyncd does not run on salt1"),
        ({}, {"lsyncd": {"running": True}}, "lsyncd runs on the standby salt2"),
        ({"services": {"salt-master": "failed"}}, {}, "salt-master is failed on salt1"),
        ({}, {"services": {"salt-master": "inactive"}}, "salt-master is inactive on salt2"),
        ({"active_services": {"slurmctld": "failed"}}, {}, "slurmctld is failed on salt1"),
        ({}, {"active_services": {"slurmctld": "active"}}, "slurmctld runs on the standby salt2"),
        ({}, {"misplaced": {"/srv/salt": "lies on / now"}}, "/srv/salt on salt2 lies on / now. Mount"),
        ({"misplaced": {"/srv/salt": "lies on / now"}}, {}, "/srv/salt on salt1 lies on / now. Mount"),
        ({}, {"misplaced": {"error": "The record is damaged."}}, "salt2: The record is damaged."),
        ({}, {"active_services": {"slurmctld": "activating"}}, "slurmctld runs on the standby salt2"),
        ({}, {"active_services": {"slurmctld": "reloading"}}, "slurmctld runs on the standby salt2"),
        (
            {},
            {"active_services": {"slurmctld": "unknown"}},
            "not known whether slurmctld runs on the standby",
        ),
        ({}, {"lsyncd": {"running": False, "state": "activating"}}, "lsyncd runs on the standby salt2"),
        ({"ledger": {**samples.ledger(3, "salt1"), "unsynced": True}}, {}, "not known to be on its disk"),
        ({"fence": AGENT}, {}, "salt1 could not switch salt2 off: fence_x: no answer. Try it: salt 'salt1'"),
        ({}, {"fence": {**AGENT, "node": "salt1"}}, "salt2 could not switch salt1 off: fence_x: no answer"),
    ],
)
def test_drift_is_named_and_repaired(primary, secondary, word):
    found = verdict.judge(samples.pair(), {**PRIMARY_SERVES, **primary}, {**SECONDARY_STANDS_BY, **secondary})
    assert found.name == verdict.NORMAL
    assert any(word in one for one in found.drift)
    assert plan.decide(plan.RECOVER, samples.pair(), found).steps


def test_a_split_says_who_holds_what_since_when():
    found = verdict.judge(
        samples.pair(),
        PRIMARY_SERVES,
        samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY]),
    )
    for word in ("salt1: generation 3", "salt2: generation 4", samples.SINCE, GATEWAY):
        assert word in found.sentence


def test_a_handover_that_nobody_compared_is_part_of_the_verdict():
    primary = samples.report(
        "salt1", samples.ledger(5, "salt1"), holds=("10.0.0.5/24",), uncompared=samples.RUN
    )
    secondary = samples.report("salt2", samples.ledger(5, "salt1", boot_id=""))
    found = verdict.judge(samples.pair(), primary, secondary)
    assert (found.name, found.uncompared) == (verdict.STANDBY_RETURNED, samples.RUN)


def test_what_a_takeover_has_left_to_do():
    runs = {"work": "inactive", "other": "active"}
    theirs = samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY], active_services=runs)
    mine = samples.report("salt1", samples.ledger(3, "salt1", "before"), services={"salt-master": "inactive"})
    found = verdict.judge(samples.pair(), mine, theirs)
    assert found.incomplete == ("work",)
    assert "salt-master is inactive on salt1." in found.drift


LEASE = {
    "serves_for": 8.2,
    "source": "lease",
    "holder": "salt1",
    "generation": 3,
    "promised_for": 0,
    "etcd_silent": 1.0,
    "released": False,
    "guard": "salt1 serves salt by the lease",
}


@pytest.mark.parametrize(
    ("active", "standby", "word"),
    [
        ({}, {"serves_for": 0}, None),
        (
            {"serves_for": 0, "guard": "it asks again"},
            {},
            "no right to serve salt at this moment: it asks again.",
        ),
        ({"etcd_silent": 31}, {}, "etcd does not answer salt1"),
        ({}, {"etcd_silent": None}, "etcd does not answer salt2"),
        ({}, {"error": "it is damaged."}, "The lease of salt on salt2: it is damaged."),
    ],
)
def test_a_lease_that_keeps_a_node_from_serving_is_drift(active, standby, word):
    own = samples.ledger(3, "salt1")
    one = samples.report("salt1", own, [GATEWAY], lease={**LEASE, **active})
    other = samples.report("salt2", own, lease={**LEASE, **standby})
    found = verdict.judge(samples.pair(), one, other).drift
    assert [word in sentence for sentence in found] == ([True] if word else [])


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [
        ({"fence": {**AGENT, "well": None}}, {"fence": {**AGENT, "well": True}}),
        (
            {"fence": None, "services": None, "active_services": None, "misplaced": {}},
            {"active_services": None},
        ),
        ({"active_services": {"work": "active"}}, {"active_services": {"work": "inactive"}}),
        ({"lease": None}, {}),
        ({"lease": {**LEASE, "etcd_silent": verdict.ETCD_SILENT}}, {"lease": {**LEASE, "serves_for": 0}}),
    ],
    ids=str,
)
def test_what_is_as_it_should_be_is_no_drift(primary, secondary):
    found = verdict.judge(samples.pair(), {**PRIMARY_SERVES, **primary}, {**SECONDARY_STANDS_BY, **secondary})
    assert (found.name, found.drift) == (verdict.NORMAL, ())


@pytest.mark.parametrize(
    ("state", "running", "drift"),
    [("active", True, True), ("activating", False, True), ("failed", False, False)],
)
def test_lsyncd_on_a_secondary_that_serves_is_drift(state, running, drift):
    theirs = samples.report(
        "salt2", samples.ledger(4, "salt2"), [GATEWAY], lsyncd={"running": running, "state": state}
    )
    mine = samples.report("salt1", samples.ledger(3, "salt1", "before"))
    found = verdict.judge(samples.pair(), mine, theirs)
    assert ("lsyncd runs on salt2, the secondary." in found.drift) is drift
    # On the primary it must not run then, nor is it missed on a pair that replicates nothing.
    stopped = {**PRIMARY_SERVES, "lsyncd": {"running": False}}
    assert not verdict.judge(samples.pair(replicate=[]), stopped, SECONDARY_STANDS_BY).drift


def test_a_node_that_is_alone_says_what_it_has_not_begun():
    """The addresses and the services; of one that does not serve nothing is missed."""
    own, services = samples.ledger(4, "salt2"), {"work": "inactive", "other": "active"}
    both = (GATEWAY, SECOND)
    serves = samples.report("salt2", own, [GATEWAY], both, active_services=services)
    found = verdict.judge(samples.pair(), None, serves)
    assert (found.name, found.active, found.incomplete) == (verdict.PRIMARY_DOWN, "salt2", (SECOND, "work"))
    assert found.generation == 4 and "serves the pair in generation 4 since" in found.sentence
    stands_by = samples.report("salt2", samples.ledger(4, "salt1"), active_services=services)
    found = verdict.judge(samples.pair(), None, stands_by)
    assert (found.active, found.incomplete, found.generation) == (None, (), 4)
    assert "does not serve the pair" in found.sentence
    found = verdict.judge(samples.pair(), samples.report("salt1", None), None)
    assert (found.name, found.generation) == (verdict.SECONDARY_DOWN, None)


def test_whoever_lost_its_files_before_they_were_on_its_disk_is_no_winner():
    holes = {**samples.ledger(4, "salt2", "before"), "unsynced": True}
    mine = samples.report("salt1", samples.ledger(4, "salt2", "before"))
    found = verdict.judge(samples.pair(), mine, samples.report("salt2", holes))
    assert (
        found.name == verdict.SPLIT and "what salt1 had just carried to it may be missing" in found.sentence
    )
    # Still up, it is about to write them; and of an older generation it is no matter.
    up = samples.report("salt2", {**holes, "boot_id": "this boot"})
    assert verdict.judge(samples.pair(), mine, up).name == verdict.COLD
    newer = samples.report("salt1", samples.ledger(5, "salt1", "before"))
    assert verdict.judge(samples.pair(), newer, samples.report("salt2", holes)).name == verdict.COLD


def test_the_nodes_that_hold_something_in_a_split_are_named_with_whether_they_have_rebooted():
    mine = samples.report("salt1", samples.ledger(3, "salt1", "before"), [GATEWAY])
    theirs = samples.report("salt2", samples.ledger(4, "salt2"), [GATEWAY])
    found = verdict.judge(samples.pair(), mine, theirs)
    assert f"both hold {GATEWAY}" in found.sentence
    assert f"(a test), holds {GATEWAY}, has rebooted since; salt2" in found.sentence
    assert found.sentence.endswith(f"(a test), holds {GATEWAY}.")
    nothing = samples.report("salt2", samples.ledger(4, "salt2"))
    assert "holds no address" in verdict.judge(samples.pair(), PRIMARY_SERVES, nothing).sentence


@pytest.mark.parametrize("heard_at", [29.9, 30.0, 30.1])
def test_clocks_that_are_no_further_apart_than_they_may_be_prove_nothing(heard_at):
    newer = samples.report("salt2", {**samples.ledger(4, "salt2", "before"), "heard": True})
    last = {"generation": 3, "at": BEGAN + heard_at}
    older = samples.report("salt1", samples.ledger(3, "salt1", "before"), last_heard=last)
    found = verdict.judge(samples.pair(), older, newer)
    assert (found.name == verdict.SPLIT) is (heard_at > verdict.CLOCKS)
