"""What each pair of several is given on its way to an orchestration of its own."""

import subprocess

import pytest
import salt.utils.args
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback_master import cluster
from failback_master import minions
from failback_master import orchestration


@pytest.fixture(scope="module")
def minion_opts(minion_opts):
    # As a minion's own start sets it.
    minion_opts["config_dir"] = "/etc/salt"
    return minion_opts


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


class Nodes:
    """A master's nodes, of which each says that all is done."""

    def __init__(self, _opts):
        self.asked = []

    def try_all(self, nodes, function, *args, **kwargs):
        self.asked.append((function, args, kwargs))
        done = {"result": True, "comment": "Done.", "seconds": 1}
        return {node: dict.fromkeys(PAIRS, done) for node in nodes}, {}


PAIRS = {name: {"primary": f"{name}1", "secondary": f"{name}2"} for name in ("mgmt", "mx")}


def several(opts, monkeypatch):
    monkeypatch.setattr(minions, "Nodes", Nodes)
    return cluster.Cluster(opts, PAIRS, list(PAIRS), "recover")


@pytest.mark.parametrize("asked_by", [None, "alice"], ids=["here", "on the master before this one"])
def test_who_has_asked_is_known_to_the_run_of_each_pair_wherever_it_is(started, monkeypatch, asked_by):
    """Also when the masters' address moves in the middle, and the other master does the rest."""
    if asked_by:
        monkeypatch.setenv(orchestration.ASKED_BY, asked_by)
    else:
        monkeypatch.delenv(orchestration.ASKED_BY, raising=False)
    # The one that the other master's own state.orch sees is root.
    found = several({"config_dir": "/etc/salt", "user": "root" if asked_by else "alice"}, monkeypatch)
    found._delegate("salt1", list(PAIRS))
    ((function, args, kwargs),) = found._nodes.asked
    assert function == "pair.orchestrate" and args[0] == "recover" and kwargs == {"user": "alice"}
    found._one("mx")
    ((_, environment),) = started
    assert environment[orchestration.ASKED_BY] == "alice"


def test_the_other_master_begins_the_rest_in_the_name_of_who_has_asked(started, modules):
    with pytest.raises(CommandExecutionError, match="did not begin"):
        modules.pair.orchestrate("recover", {"pair": ["mx"]}, user="alice")
    ((_, environment),) = started
    assert environment[orchestration.ASKED_BY] == "alice"


def states(*entries):
    return [{"__id__": "a step", "comment": "", "changes": {}, **one} for one in entries]


DONE = {"result": True, "comment": "Done.", "seconds": 4.2}


@pytest.fixture
def ended(modules, monkeypatch):
    """``pair.orchestrate`` of two pairs, after a run that ended with these states; what it was begun with."""
    begun = []

    def end(*entries, operation="recover"):
        def salt_run(*words, **more):
            begun.append((words, more))
            return 0, states(*entries), ""

        monkeypatch.setattr(cluster, "salt_run", salt_run)
        return modules.pair.orchestrate(operation, {"pair": ["mgmt", "mx"], "at_once": 2}, user="alice")

    end.begun = begun
    return end


@pytest.mark.one_release
def test_what_became_of_each_pair_is_told_and_of_those_left_alone_too(ended):
    told = ended({"result": True}, {"result": False, "changes": {"mx": {**DONE, "result": False}}})
    assert told["mx"] == {**DONE, "result": False}
    assert told["mgmt"] == {"result": True, "comment": "Nothing to do.", "seconds": 0}
    ((config, operation, pillar), more) = ended.begun[0]
    assert (config, operation, more) == ("/etc/salt", "recover", {"user": "alice"})
    assert pillar == {"pair": ["mgmt", "mx"], "at_once": 2}


@pytest.mark.one_release
def test_a_run_that_was_refused_as_a_whole_is_no_success_of_any_pair(ended):
    with pytest.raises(CommandExecutionError, match="^No pair web. Name one.$"):
        ended({"result": True, "comment": "No pair web."}, {"result": False, "comment": "Name one."})
    nothing = {"result": True, "comment": "Nothing to do.", "seconds": 0}
    assert ended({"result": True}) == {"mgmt": nothing, "mx": nothing}


@pytest.mark.one_release
@pytest.mark.parametrize("operation", ["adopt", "reboot", "", None])
def test_only_what_moves_a_pair_is_run_for_another_master(ended, operation):
    with pytest.raises(SaltInvocationError, match="not one of recover, failover, boot"):
        ended({"result": True}, operation=operation)
    assert ended.begun == []
