"""What an orchestration will do, for every verdict."""

import itertools

import pytest
import samples

from failback.decisions import plan
from failback.decisions import verdict

MOVES_DATA = {"pre-sync", "git", "handover"}
OTHER = {"salt1": "salt2", "salt2": "salt1"}


def found(name, **changes):
    """A verdict of a name."""
    facts = {"generation": 4, "active": None, "newest": None}
    return verdict.Verdict(name, f"It is {name}.", **{**facts, **changes})


def every_plan():
    """Each operation on each verdict, with and without drift, paths, repositories and an operator's word."""
    for operation, name, drift, replicate, git, unsaved in itertools.product(
        plan.OPERATIONS,
        verdict.ALL,
        ((), ("lsyncd does not run on salt1.",)),
        ([], samples.PAIR["replicate"]),
        ([], ["/srv/git/site.git"]),
        (False, True),
    ):
        config = samples.pair(replicate=replicate, git=git)
        newest = {
            verdict.NORMAL: "salt1",
            verdict.STANDBY_RETURNED: "salt1",
            verdict.COLD: "salt2",
            verdict.FAILED_OVER: "salt2",
        }.get(name)
        active = None if name == verdict.COLD else newest
        judged = found(name, newest=newest, active=active, drift=drift, unsaved=unsaved)
        words = [{}]
        words += [{"winner": node} for node in OTHER if name == verdict.SPLIT]
        words += [{"fenced": "salt1"}] if name == verdict.PRIMARY_DOWN else []
        for word in words:
            yield operation, config, judged, plan.decide(operation, config, judged, **word)


def test_every_plan_has_steps_or_a_refusal_or_nothing_to_do():
    for operation, _, judged, made in every_plan():
        assert not (made.steps and made.refusal), made
        assert made.operation == operation
        if made.nothing_to_do:
            moved = operation == plan.FAILOVER and judged.name == verdict.FAILED_OVER
            assert moved or (judged.name == verdict.NORMAL and not judged.drift), made


def test_steps_come_in_the_one_safe_order():
    order = list(plan.STEPS)
    for *_, made in every_plan():
        assert list(made.steps) == sorted(set(made.steps), key=order.index)


def test_data_move_only_to_a_node_that_does_not_serve():
    for _, _, judged, made in every_plan():
        if not MOVES_DATA & set(made.steps):
            continue
        serving = judged.active or judged.newest
        if "settle" in made.steps:
            continue  # the winner, which this verdict does not know
        assert serving is not None and made.target != serving, made


def test_a_standby_that_served_beside_the_other_node_is_saved_before_it_is_admitted():
    for _, config, judged, made in every_plan():
        if judged.unsaved and "admit" in made.steps and judged.name != verdict.PRIMARY_RETURNED:
            # Of a cold pair nobody serves: it is started first, and the recovery that follows saves it.
            saves = bool(config["replicate"]) and judged.name != verdict.COLD
            assert ("pre-sync" in made.steps) == saves, made


def test_addresses_change_hands_only_after_the_files_and_are_followed_by_a_comparison():
    for _, config, _, made in every_plan():
        if "handover" not in made.steps:
            continue
        assert "pause" in made.steps, "the watch would take the addresses in the middle of it"
        carried = {"pre-sync", "drain"} & set(made.steps)
        assert bool(carried) == ("compare" in made.steps) == bool(config["replicate"])
        assert ("git" in made.steps) == bool(config["git"])
        assert made.steps[-1] == "activate"


def test_a_node_that_serves_is_never_the_one_that_reboots():
    for _, _, judged, made in every_plan():
        if "static" in made.steps:
            assert made.returned is not None and made.returned != judged.active
            # The returned primary becomes active later, in the handover, unless nobody serves.
            nobody = judged.name == verdict.PRIMARY_RETURNED
            assert made.returned != made.active or "handover" in made.steps or nobody


def test_the_loser_of_a_split_is_the_one_whose_data_are_replaced():
    for winner, loser in OTHER.items():
        made = plan.decide(plan.RECOVER, samples.pair(), found(verdict.SPLIT), winner=winner)
        assert made.target == loser and made.steps[:2] == ("pause", "settle")
        assert "pre-sync" in made.steps, "what it alone has would be in no backup"
        assert ("handover" in made.steps) == (winner == "salt2"), "in the end the primary is active"
        assert made.active == "salt1"


@pytest.mark.parametrize("name", [one for one in verdict.ALL if one != verdict.SPLIT])
def test_a_winner_is_no_way_round_another_verdict(name):
    without = plan.decide(plan.RECOVER, samples.pair(), found(name, active="salt1"))
    same = plan.decide(plan.RECOVER, samples.pair(), found(name, active="salt1"), winner="salt1")
    assert same == without, "an interrupted run is repeated with the same words"
    other = plan.decide(plan.RECOVER, samples.pair(), found(name, active="salt1"), winner="salt2")
    assert other.refusal and not other.steps


@pytest.mark.parametrize("word", ["winner", "fenced"])
def test_a_word_about_a_stranger_is_refused(word):
    made = plan.decide(plan.RECOVER, samples.pair(), found(verdict.SPLIT), **{word: "mgmt1"})
    assert "mgmt1 is not a node of pair salt" in made.refusal


@pytest.mark.parametrize("name", verdict.ALL)
def test_only_a_node_that_does_not_answer_can_be_declared_off(name):
    made = plan.decide(plan.FAILOVER, samples.pair(), found(name), fenced="salt1")
    assert ("takeover" in made.steps) == (name == verdict.PRIMARY_DOWN)
    if name == verdict.PRIMARY_DOWN:
        assert (made.active, made.alone) == ("salt2", "salt2")
    else:
        assert made.refusal
    other = plan.decide(plan.FAILOVER, samples.pair(), found(name), fenced="salt2")
    assert other.refusal and not other.steps


@pytest.mark.parametrize("operation", plan.OPERATIONS)
@pytest.mark.parametrize("name", verdict.ALL)
def test_a_refusal_names_a_command_or_says_what_to_do(operation, name):
    made = plan.decide(operation, samples.pair(), found(name, newest="salt2"))
    if made.refusal is None:
        return
    assert made.refusal.endswith((".", "'")), made.refusal
    assert any(word in made.refusal for word in ("salt-run ", "Start salt")), made.refusal


@pytest.mark.parametrize(
    ("operation", "name", "refused"),
    [
        (plan.RECOVER, verdict.NORMAL, False),
        (plan.RECOVER, verdict.FAILED_OVER, False),
        (plan.RECOVER, verdict.STANDBY_RETURNED, False),
        (plan.RECOVER, verdict.PRIMARY_RETURNED, False),
        (plan.RECOVER, verdict.COLD, True),
        (plan.RECOVER, verdict.SPLIT, True),
        (plan.RECOVER, verdict.PRIMARY_DOWN, True),
        (plan.RECOVER, verdict.SECONDARY_DOWN, True),
        (plan.RECOVER, verdict.UNKNOWN, True),
        (plan.FAILOVER, verdict.NORMAL, False),
        (plan.FAILOVER, verdict.FAILED_OVER, False),
        (plan.FAILOVER, verdict.STANDBY_RETURNED, True),
        (plan.FAILOVER, verdict.PRIMARY_RETURNED, True),
        (plan.FAILOVER, verdict.COLD, True),
        (plan.FAILOVER, verdict.SPLIT, True),
        (plan.FAILOVER, verdict.PRIMARY_DOWN, True),
        (plan.FAILOVER, verdict.SECONDARY_DOWN, True),
        (plan.FAILOVER, verdict.UNKNOWN, True),
        (plan.BOOT, verdict.PRIMARY_RETURNED, True),
        (plan.BOOT, verdict.NORMAL, False),
        (plan.BOOT, verdict.FAILED_OVER, True),
        (plan.BOOT, verdict.STANDBY_RETURNED, True),
        (plan.BOOT, verdict.COLD, False),
        (plan.BOOT, verdict.SPLIT, True),
        (plan.BOOT, verdict.PRIMARY_DOWN, True),
        (plan.BOOT, verdict.SECONDARY_DOWN, True),
        (plan.BOOT, verdict.UNKNOWN, True),
    ],
)
def test_what_is_refused(operation, name, refused):
    made = plan.decide(operation, samples.pair(), found(name, newest="salt1"))
    assert (made.refusal is not None) == refused


def test_a_cold_pair_is_sent_to_boot_and_a_failed_over_one_to_recover():
    cold = plan.decide(plan.RECOVER, samples.pair(), found(verdict.COLD))
    assert "salt-run state.orch orch.boot pillar='{pair: salt}'" in cold.refusal
    over = plan.decide(plan.BOOT, samples.pair(), found(verdict.FAILED_OVER))
    assert "salt-run state.orch orch.recover pillar='{pair: salt}'" in over.refusal


def test_a_cold_pair_starts_on_the_node_that_was_active_last():
    made = plan.decide(plan.BOOT, samples.pair(), found(verdict.COLD, newest="salt2"))
    assert made.active == "salt2"


PREVIEWS = [{"path": "/srv/salt", "digest": "aa"}, {"path": "/etc/salt", "digest": "bb"}]


def digest(operation=plan.RECOVER, previews=PREVIEWS, name=verdict.FAILED_OVER, **facts):
    judged = found(name, **facts)
    return plan.digest(plan.decide(operation, samples.pair(), judged), judged, previews)


def held_by(*nodes):
    return [
        {"node": node, "addresses": [{"address": "10.0.0.5/24", "held": node in nodes}]}
        for node in ("salt1", "salt2")
    ]


def test_another_holder_gives_another_digest():
    judged = verdict.Verdict(verdict.FAILED_OVER, "", active="salt2", newest="salt2", generation=7)
    made = plan.decide(plan.RECOVER, samples.pair(), judged)
    digests = {plan.digest(made, judged, PREVIEWS, held_by(*who)) for who in ((), ("salt1",), ("salt2",))}
    assert len(digests) == 3
    assert plan.digest(made, judged, PREVIEWS, held_by("salt2")) in digests


def test_the_same_facts_give_the_same_digest():
    assert digest() == digest(previews=list(reversed(PREVIEWS)))
    assert len(digest()) == 16 and int(digest(), 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"previews": [{"path": "/srv/salt", "digest": "ab"}, PREVIEWS[1]]}, id="a file"),
        pytest.param({"previews": PREVIEWS[:1]}, id="a path"),
        pytest.param({"generation": 5}, id="the generation"),
        pytest.param({"active": "salt2"}, id="who serves"),
        pytest.param({"name": verdict.STANDBY_RETURNED}, id="the verdict"),
    ],
)
def test_other_facts_give_another_digest(changed):
    assert digest(**changed) != digest()


def test_the_sentence_is_no_fact():
    one = found(verdict.FAILED_OVER)
    other = verdict.Verdict(verdict.FAILED_OVER, "Said otherwise.", generation=4)
    made = [plan.decide(plan.RECOVER, samples.pair(), each) for each in (one, other)]
    assert plan.digest(made[0], one, PREVIEWS) == plan.digest(made[1], other, PREVIEWS)


@pytest.mark.parametrize("name", [verdict.STANDBY_RETURNED, verdict.NORMAL])
def test_a_recovery_that_ended_behind_its_handover_goes_on_with_the_comparison(name):
    """lsyncd's first pass deletes on the secondary: never before both nodes are known to be equal."""
    chosen = plan.decide(
        plan.RECOVER, samples.pair(), found(name, active="salt1", newest="salt1", uncompared=samples.RUN)
    )
    assert "compare" in chosen.steps and "static" not in chosen.steps
    assert chosen.steps.index("compare") < chosen.steps.index("activate")
    assert (chosen.active, chosen.returned) == ("salt1", "salt1")


def test_a_pair_that_has_not_been_compared_is_not_moved_on():
    made = plan.decide(plan.FAILOVER, samples.pair(), found(verdict.NORMAL, uncompared=samples.RUN))
    assert "orch.recover" in made.refusal


def test_after_the_watch_of_a_manual_pair_a_failover_starts_what_is_left():
    judged = found(verdict.FAILED_OVER, incomplete=("nagios-notifications",))
    made = plan.decide(plan.FAILOVER, samples.pair(), judged)
    assert made.steps == ("activate",) and made.active == "salt2"


def test_services_of_a_primary_that_waits_to_come_home_are_no_reason_for_a_failover():
    judged = found(verdict.FAILED_OVER, drift=("salt-master is inactive on salt1.",))
    assert plan.decide(plan.FAILOVER, samples.pair(), judged).nothing_to_do


@pytest.mark.parametrize(
    ("name", "active", "keeping", "refused"),
    [
        (verdict.NORMAL, "salt1", ["salt1"], None),
        (verdict.NORMAL, "salt1", ["salt1", "salt2"], None),
        (verdict.NORMAL, "salt1", ["salt2"], "orch.failover pillar='{pair: salt}'"),
        (verdict.STANDBY_RETURNED, "salt1", ["salt1"], None),
        (verdict.FAILED_OVER, "salt2", ["salt2"], None),
        (verdict.FAILED_OVER, "salt2", ["salt1"], "orch.recover pillar='{pair: salt}'"),
        (verdict.PRIMARY_DOWN, "salt2", ["salt2"], "bring the pair in order"),
        (verdict.SECONDARY_DOWN, "salt1", ["salt1"], "bring the pair in order"),
        (verdict.SPLIT, "salt1", ["salt1"], "bring the pair in order"),
        (verdict.COLD, None, ["salt1"], "bring the pair in order"),
        (verdict.UNKNOWN, None, ["salt1"], "bring the pair in order"),
    ],
)
def test_a_run_is_undone_only_on_the_node_that_serves(name, active, keeping, refused):
    found = verdict.Verdict(name, "As it is.", active=active)
    said = plan.undo_refusal(samples.pair(), found, keeping)
    assert (said is None) if refused is None else refused in said


@pytest.mark.parametrize(
    ("active", "incomplete", "vms", "steps"),
    [
        (None, (), [], ("takeover", "activate")),
        ("salt2", ("nagios",), [], ("takeover", "activate")),
        ("salt2", (), [], ()),
        # The guests that ran on the primary are started by the same word.
        ("salt2", (), ["idm"], ("takeover", "activate")),
    ],
)
def test_a_takeover_that_is_complete_is_not_done_again(active, incomplete, vms, steps):
    down = verdict.Verdict(
        verdict.PRIMARY_DOWN, "salt1 does not answer.", active=active, incomplete=incomplete
    )
    made = plan.decide(plan.FAILOVER, samples.pair(vms=vms), down, fenced="salt1")
    assert (made.steps, made.refusal) == (steps, None)
