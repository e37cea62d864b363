"""How a fence agent is called: options on standard input, no password anywhere else."""

import os

import agents
import pytest

from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.fence.agent import FenceAgent


def test_options_go_to_standard_input_and_nothing_is_on_the_command_line(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path))
    assert agent.act("status") == (0, "")
    ((arguments, options),) = agents.told(tmp_path)
    assert arguments == []
    assert options == {
        "ip": "10.0.0.21",
        "username": "admin",
        "password": "s3cret!",
        "lanplus": "1",
        "ssl": "0",
        "action": "status",
    }


def test_it_switches_off_and_knows_the_state(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path))
    assert [agent.act(action)[0] for action in ("status", "off", "status")] == [0, 0, 2]


def test_what_it_prints_is_one_line_without_its_options(tmp_path):
    body = 'print("cannot log in\\nas admin with s3cret! at 10.0.0.21", file=sys.stderr); sys.exit(1)'
    agent = FenceAgent.load(agents.member(tmp_path, body))
    assert agent.act("off") == (1, "cannot log in as *** with *** at ***")


def test_what_it_prints_is_cut_off(tmp_path):
    status, said = FenceAgent.load(agents.member(tmp_path, 'sys.exit("x" * 100000)')).act("off")
    assert (status, len(said)) == (1, 300)


def test_one_that_does_not_end_is_killed_and_named(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path, "import time; time.sleep(60)", timeout=0.5))
    with pytest.raises(Unavailable, match="fence_test did not end its action off for salt1 within 0.5 s"):
        agent.act("off")


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_one_that_others_may_change_is_not_run(tmp_path, mode):
    agent = FenceAgent.load(agents.member(tmp_path, mode=mode))
    with pytest.raises(Unavailable, match="may be changed by others than root"):
        agent.act("off")
    assert agents.told(tmp_path) == []


def test_one_that_is_not_there_is_named(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path))
    (tmp_path / "usr/sbin/fence_test").unlink()
    with pytest.raises(Unavailable, match="fence_test is not installed on this node"):
        agent.act("off")


def test_a_site_s_own_agent_is_found(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path))
    (tmp_path / "usr/local/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/fence_test").rename(tmp_path / "usr/local/sbin/fence_test")
    assert agent.act("status") == (0, "")


def test_a_node_without_an_agent_for_the_other_one_has_none(tmp_path):
    member = agents.member(tmp_path, nodes={"salt2": {"agent": "fence_test"}})
    assert FenceAgent.load(member) is None


def test_options_that_highstate_has_not_written_are_named_with_what_to_run(tmp_path):
    member = agents.member(tmp_path)
    member.paths.fence_agent("salt").unlink()
    with pytest.raises(Unavailable, match="Run highstate: salt 'salt2' state.apply"):
        FenceAgent.load(member)


def test_options_that_are_cut_off_are_no_options(tmp_path):
    member = agents.member(tmp_path)
    member.paths.fence_agent("salt").write_text('{"version": 1, "node"')
    with pytest.raises(Unreadable):
        FenceAgent.load(member)


def test_one_that_the_kernel_does_not_start_is_named(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path))
    (tmp_path / "usr/sbin/fence_test").write_text("#!/no/such/interpreter\n")
    with pytest.raises(Unavailable, match="fence_test cannot be started: No such file"):
        agent.act("status")


def test_one_that_is_anothers_is_not_run(tmp_path, monkeypatch):
    agent = FenceAgent.load(agents.member(tmp_path))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(Unavailable, match="may be changed by others than root"):
        agent.act("status")
    assert agents.told(tmp_path) == []


@pytest.mark.parametrize("length", [300, 301])
def test_what_it_prints_is_cut_off_at_its_limit_alone(tmp_path, length):
    _, said = FenceAgent.load(agents.member(tmp_path, f'print("x" * {length}); sys.exit(1)')).act("off")
    assert said == ("x" * 300 if length == 300 else "x" * 297 + "...")


def test_what_is_too_short_for_a_secret_is_left_in_what_it_says(tmp_path):
    agent = FenceAgent.load(agents.member(tmp_path, 'print("1 of 10 plugs, admin"); sys.exit(1)'))
    agent._options = {"ssl": True, "plug": "10", "username": "admin", "domain": "adm"}
    # The longest is blotted out first: else what is left of it would stay.
    assert agent.act("off") == (1, "1 of 10 plugs, ***")


def test_the_agent_of_another_node_is_not_the_one_that_was_asked_for(tmp_path):
    member = agents.member(tmp_path)
    place = member.paths.fence_agent("salt")
    place.write_text(place.read_text().replace('"salt1"', '"salt3"'))
    with pytest.raises(Unavailable, match="is missing or of another node"):
        FenceAgent.load(member)
