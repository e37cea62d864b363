"""What each pair of several is given on its way to an orchestration of its own."""

import subprocess

import pytest
import salt.utils.args

from failback_master import cluster


@pytest.fixture
def started(monkeypatch):
    """The command lines and environments of the programs that were started; none of them is."""
    calls = []

    def run(words, **more):
        calls.append((words, more["env"]))
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    "reason",
    ["burnt \U0001f525", "a \"q\" 'p': # c\n\\ {{ 7 }}", "é\x7f\x9b\u2028\U000e0041", "yes", None, ["x", 5]],
    ids=ascii,
)
def test_salt_reads_of_the_command_line_what_the_pair_is_given(started, reason):
    given = {"pair": "salt", "reason": reason}
    cluster.salt_run("/etc/salt", "failover", given)
    ((words, _),) = started
    read = salt.utils.args.parse_input(words[words.index("state.orch") + 1 :], condition=True)
    assert read[0] == "orch.failover"
    assert {key: value for key, value in read[1].items() if key != "__kwarg__"} == {"pillar": given}
