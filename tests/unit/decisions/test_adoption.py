"""What an adoption does with the ledgers it finds: begin them, leave them, or refuse."""

import pytest
import samples

from failback.decisions import adoption
from failback.decisions import verdict

NEVER_ADMITTED = samples.ledger(1, "salt1", boot_id=None)
ELSEWHERE = {"/srv/salt": "lay on /dev/vdb1, and lies on /dev/vda1 now"}


def decided(own1, own2, has1=(), has2=(), elsewhere=None, moved=False):
    """What is decided of two nodes with these ledgers, addresses and, on salt1, moved paths."""
    config = samples.pair()
    reports = {
        "salt1": samples.report("salt1", own1, has1, misplaced=elsewhere or {}),
        "salt2": samples.report("salt2", own2, has2, misplaced={}),
    }
    found = verdict.judge(config, reports["salt1"], reports["salt2"])
    made = adoption.decide(config, found, reports, moved)
    return made, None if made.refusal else adoption.outcome(config, made)


@pytest.mark.parametrize(
    "own1, own2, begins, sentence",
    [
        pytest.param(None, None, True, "salt is adopted. Start it: ", id="new on both nodes"),
        pytest.param(NEVER_ADMITTED, None, True, "salt is adopted.", id="ended between the two nodes"),
        pytest.param(
            samples.ledger(4, "salt1"),
            samples.ledger(4, "salt1"),
            False,
            "salt has its ledgers already",
            id="adopted before",
        ),
    ],
)
def test_ledgers_begin_where_nobody_was_ever_admitted(own1, own2, begins, sentence):
    has1 = ["10.0.0.5/24"] if own2 else []
    made, (changes, comment) = decided(own1, own2, has1)
    assert made.begins is begins
    assert set(changes) == ({"salt1", "salt2"} if begins else set())
    assert comment.startswith(sentence)


@pytest.mark.parametrize(
    "own1, own2, has1, has2, begins",
    [
        pytest.param(None, None, (), ["10.0.0.5/24"], True, id="new, and the secondary serves"),
        pytest.param(None, samples.ledger(4, "salt1", None), (), (), False, id="history lost on the primary"),
        pytest.param(samples.ledger(1, "salt1"), None, (), (), False, id="lost, and once admitted"),
        pytest.param(
            samples.ledger(7, "salt1"),
            samples.ledger(7, "salt2"),
            ["10.0.0.5/24"],
            ["10.0.0.5/24"],
            False,
            id="two histories",
        ),
    ],
)
def test_nothing_is_written_where_data_may_be_newer_elsewhere(own1, own2, has1, has2, begins):
    made, _ = decided(own1, own2, has1, has2)
    assert made.refusal and made.begins is begins


def test_the_refusals_name_what_was_found_and_what_to_do():
    serves, _ = decided(None, None, has2=["10.0.0.5/24"])
    assert serves.refusal.startswith("salt2 has 10.0.0.5/24, so it may have the newer data")
    lost, _ = decided(None, samples.ledger(4, "salt1", None))
    assert "salt1 has no ledger of salt and salt2 has one" in lost.refusal
    assert "`salt-run pair.status salt` shows what is known." in lost.refusal
    split, _ = decided(
        samples.ledger(7, "salt1"), samples.ledger(7, "salt2"), ["10.0.0.5/24"], ["10.0.0.5/24"]
    )
    assert "winner: salt2" in split.refusal


def test_a_node_that_serves_keeps_its_history_though_the_other_has_none():
    made, (changes, comment) = decided(samples.ledger(4, "salt1"), None, ["10.0.0.5/24"])
    assert not made.begins and changes == {}
    assert comment.startswith("salt2 has no ledger of salt. The recovery gives it one")


@pytest.mark.parametrize("moved", [False, True])
def test_paths_that_lie_elsewhere_need_the_operators_word(moved):
    ledgers = (samples.ledger(4, "salt1"), samples.ledger(4, "salt1"))
    made, outcome = decided(*ledgers, ["10.0.0.5/24"], elsewhere=ELSEWHERE, moved=moved)
    assert made.elsewhere == {"salt1": ELSEWHERE}
    if moved:
        changes, comment = outcome
        assert changes == {"salt1": ["/srv/salt"]} and comment.startswith("It is recorded where these")
    else:
        assert made.refusal.startswith("Where the paths of salt lie was not recorded. ")
        assert "/srv/salt on salt1 lay on /dev/vdb1" in made.refusal


GENERATION_1 = samples.ledger(1, "salt1", boot_id="")


@pytest.mark.parametrize(
    ("own1", "own2", "has1", "has2", "serves"),
    [
        pytest.param(None, None, ["10.0.0.5/24"], [], True, id="new, and the primary serves"),
        pytest.param(None, None, [], [], False, id="new, and nobody serves"),
        pytest.param(GENERATION_1, None, ["10.0.0.5/24"], [], True, id="ended between the two ledgers"),
        pytest.param(GENERATION_1, GENERATION_1, ["10.0.0.5/24"], [], True, id="ended before the admission"),
        pytest.param(
            samples.ledger(4, "salt1", boot_id=""),
            samples.ledger(4, "salt1", boot_id=""),
            ["10.0.0.5/24"],
            [],
            False,
            id="served before, and took the address at boot",
        ),
        pytest.param(
            samples.ledger(1, "salt1"),
            GENERATION_1,
            ["10.0.0.5/24"],
            [],
            False,
            id="admitted already",
        ),
        pytest.param(None, None, ["10.0.0.5/24"], ["10.0.0.5/24"], False, id="both have it"),
    ],
)
def test_a_primary_that_serves_already_is_let_go_on(own1, own2, has1, has2, serves):
    made, said = decided(own1, own2, has1, has2)
    assert (made.serves and not made.refusal) is serves
    if serves:
        assert set(said[0]) == {"salt1", "salt2"} and "salt1 goes on serving. Take salt2 in" in said[1]


def test_with_half_of_its_addresses_a_primary_does_not_serve():
    config = samples.pair(floating_ips=[*samples.PAIR["floating_ips"], samples.SECOND])
    reports = {node: samples.report(node, None, [], misplaced={}) for node in ("salt1", "salt2")}
    reports["salt1"]["addresses"] = [
        {"address": "10.0.0.5/24", "held": True},
        {"address": "10.0.0.6/24", "held": False},
    ]
    found = verdict.judge(config, *reports.values())
    assert adoption.decide(config, found, reports).serves is False
