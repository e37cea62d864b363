"""What a fence agent's answers prove, and what may follow from them."""

import pytest

from failback.decisions import fence


@pytest.mark.parametrize(
    "status, state", [(0, "on"), (2, "off"), (1, None), (3, None), (127, None), (None, None)]
)
def test_an_exit_status_is_a_state_or_proves_nothing(status, state):
    assert fence.state_of(status) == state


@pytest.mark.parametrize(
    "failed, status, said, off, sentence",
    [
        (None, 2, "", True, "salt1 was switched off by fence_x, which says that it is off"),
        # Off already, or its state is known though the action has failed.
        ("it ended with 1: no", 2, "", True, "salt1 was switched off by fence_x, which says that it is off"),
        (None, 0, "ON", False, "fence_x was told to switch salt1 off, and says that it is still on"),
        (
            "it ended with 1: no",
            0,
            "ON",
            False,
            "fence_x was told to switch salt1 off, and says that it is still on (it ended with 1: no)",
        ),
        (
            None,
            1,
            "no route",
            False,
            "fence_x does not prove that salt1 is off: asked for its state it ended with 1: no route",
        ),
        (
            None,
            1,
            "",
            False,
            "fence_x does not prove that salt1 is off: asked for its state it ended with 1: nothing said",
        ),
        ("no end", None, "", False, "fence_x does not prove that salt1 is off: no end"),
    ],
)
def test_only_a_state_that_was_asked_for_is_a_proof(failed, status, said, off, sentence):
    answer = fence.judged("salt1", "fence_x", failed, status, said)
    assert answer == fence.Answer(off, sentence)


@pytest.mark.parametrize(
    "off, policy, refused",
    [
        (True, "required", False),
        (True, "preferred", False),
        (False, "preferred", False),
        (False, "required", True),
    ],
)
def test_without_a_proof_only_the_policy_lets_a_node_take_over(off, policy, refused):
    found = fence.refusal("salt", "salt2", "salt1", policy, fence.Answer(off, "fence_x said so"))
    assert bool(found) == refused


def test_a_refusal_says_what_was_found_why_that_is_dangerous_and_what_to_run():
    found = fence.refusal("salt", "salt2", "salt1", "required", fence.Answer(False, "fence_x said no"))
    assert found.startswith("fence_x said no. salt2 does not take salt over, for salt1 may still serve")
    assert (
        "salt-run state.orch orch.failover pillar='{pair: salt, fenced: salt1, reason: <how you know>}'"
        in found
    )
