"""What is done with a fence agent before a takeover, at an operator's word, and to try it."""

import agents
import pytest

from failback.errors import Refused
from failback.fence import proof

STAYS_ON = 'if options["action"] == "off": sys.exit(0)'
BROKEN = 'sys.exit("Failed: Unable to obtain correct plug status or plug is not available")'


def actions(folder):
    return [options["action"] for _, options in agents.told(folder)]


def test_the_other_node_is_switched_off_and_asked(tmp_path):
    found = proof.before_takeover(agents.member(tmp_path), "salt-gw did not answer for 2 s")
    assert found == (
        "salt-gw did not answer for 2 s; salt1 was switched off by fence_test, which says that it is off"
    )
    assert actions(tmp_path) == ["off", "status"]


@pytest.mark.parametrize("body", [STAYS_ON, BROKEN, "import time; time.sleep(60)"])
def test_without_a_proof_nobody_takes_over(tmp_path, body):
    member = agents.member(tmp_path, body, timeout=0.5)
    with pytest.raises(Refused, match="salt2 does not take salt over, for salt1 may still serve"):
        proof.before_takeover(member, "silence")


@pytest.mark.parametrize("body", [STAYS_ON, BROKEN])
def test_with_preferred_it_takes_over_and_says_what_the_agent_said(tmp_path, body):
    member = agents.member(tmp_path, body, policy="preferred")
    found = proof.before_takeover(member, "silence")
    assert found.startswith("silence; fence_test ") and "off" in found


def test_a_node_that_is_off_though_the_agent_failed_is_off(tmp_path):
    member = agents.member(tmp_path, 'if options["action"] == "off": state.write_text("off"); sys.exit(1)')
    assert "which says that it is off" in proof.before_takeover(member, "silence")


def test_no_agent_no_question(tmp_path):
    member = agents.member(tmp_path, nodes={})
    assert proof.before_takeover(member, "silence") == "silence"
    assert actions(tmp_path) == []


def test_nobody_is_switched_off_during_a_pause(tmp_path):
    member = agents.member(tmp_path)
    member.pause.set(60, "switch maintenance")
    with pytest.raises(Refused, match="paused .switch maintenance., so no node is switched off"):
        proof.before_takeover(member, "silence")
    assert actions(tmp_path) == []


def test_a_word_is_proved_where_it_can_be(tmp_path):
    found = proof.proved(agents.member(tmp_path), {"node": "salt1", "reason": None})
    assert found["agent"] == "fence_test"
    assert found["reason"] == "salt1 was switched off by fence_test, which says that it is off"


def test_what_the_operator_said_stays_with_the_proof(tmp_path):
    found = proof.proved(agents.member(tmp_path), {"node": "salt1", "reason": "burnt PSU"})
    assert found["reason"].endswith("says that it is off; burnt PSU")


def test_a_word_counts_though_the_agent_is_without_power_too(tmp_path):
    word = {"node": "salt1", "reason": "the rack burns"}
    assert proof.proved(agents.member(tmp_path, BROKEN), word) == word


def test_neither_proof_nor_word_is_refused(tmp_path):
    with pytest.raises(Refused, match='say how: fenced: salt1, reason: "how you know"'):
        proof.proved(agents.member(tmp_path, BROKEN), {"node": "salt1", "reason": None})


def test_a_word_about_this_very_node_switches_nobody_off(tmp_path):
    word = {"node": "salt2", "reason": "x"}
    assert proof.proved(agents.member(tmp_path), word) == word
    assert actions(tmp_path) == []


def test_a_trial_switches_nothing_off_and_is_kept(tmp_path):
    member = agents.member(tmp_path)
    assert proof.last_tried(member)["sentence"] == "not tried yet"
    assert proof.tried(member)["sentence"] == "salt1 is on"
    kept = proof.last_tried(member)
    assert (kept["well"], kept["sentence"], kept["policy"]) == (True, "salt1 is on", "required")
    assert actions(tmp_path) == ["status"]


def test_an_agent_that_has_done_its_work_is_not_reported_as_broken_any_more(tmp_path):
    member = agents.member(tmp_path, 'if not (folder / "board").exists(): sys.exit("Connection timed out")')
    assert proof.tried(member)["well"] is False
    (tmp_path / "usr/sbin/board").touch()
    proof.before_takeover(member, "silence")
    kept = proof.last_tried(member)
    assert (kept["well"], kept["sentence"]) == (True, "salt1 is off")


def test_an_agent_that_failed_when_it_was_needed_is_reported(tmp_path):
    member = agents.member(tmp_path, BROKEN)
    with pytest.raises(Refused):
        proof.before_takeover(member, "silence")
    assert proof.last_tried(member)["well"] is False


def test_what_python_says_of_an_agents_source_is_not_what_the_agent_says(tmp_path):
    warns = 'import warnings; warnings.warn("pipes is deprecated", DeprecationWarning); '
    assert proof.tried(agents.member(tmp_path, warns + 'sys.exit("Connection timed out")'))["sentence"] == (
        "exit status 1: Connection timed out"
    )


@pytest.mark.parametrize("body", [BROKEN, "sys.exit(3)", "import time; time.sleep(60)"])
def test_an_agent_that_knows_no_state_is_not_well(tmp_path, body):
    member = agents.member(tmp_path, body, timeout=0.5)
    assert proof.tried(member)["well"] is False
    assert proof.last_tried(member)["well"] is False


def test_no_password_is_in_what_is_said(tmp_path):
    member = agents.member(tmp_path, 'sys.exit("login admin s3cret! refused")')
    with pytest.raises(Refused) as refused:
        proof.before_takeover(member, "silence")
    assert "s3cret!" not in str(refused.value) + str(proof.tried(member))


def test_a_file_of_another_node_is_not_used(tmp_path):
    member = agents.member(tmp_path)
    text = member.paths.fence_agent("salt").read_text()
    member.paths.fence_agent("salt").write_text(text.replace('"salt1"', '"salt9"'))
    with pytest.raises(Refused, match="missing or of another node"):
        proof.before_takeover(member, "silence")
    assert actions(tmp_path) == []


def test_without_an_agent_there_is_nothing_to_try_and_nothing_to_say_of_it(tmp_path):
    member = agents.member(tmp_path, nodes={"salt2": {"agent": "fence_test"}})
    assert proof.tried(member) is None and proof.last_tried(member) is None
    assert agents.told(tmp_path) == [] and not (member.volatile / "fence.json").exists()
