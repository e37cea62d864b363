"""An operator's word that a node is off: what is taken for one, and when it counts no more."""

import os
import socket
import threading

import pytest
import samples

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import fencing

OWNER = {"user": "anna", "master": "salt2_master"}


@pytest.fixture
def member(tmp_path, monkeypatch):
    monkeypatch.setattr(fencing.system, "log", lambda *said: None)
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def silent(monkeypatch):
    """The other node is silent, until a test lets it answer."""
    said = {"answer": None}
    monkeypatch.setattr(fencing, "answers", lambda host: said["answer"])
    return said


def knocking(member):
    """Stands for the process that knocks: this one, which lives as long as the test."""
    word = fencing.files.read_json(member.fencing.path, "the word")
    own = {"pid": os.getpid(), "started": system.process_started(os.getpid())}
    fencing.files.write_json(member.fencing.path, {**word, "observer": own})


def given(member, seconds=60, observe=knocking):
    word = {"node": "salt1", "reason": "burnt"}
    return member.fencing.record(word, samples.RUN, OWNER, seconds, observe)


@pytest.mark.parametrize(
    "node, reason, found",
    [
        (None, None, None),
        ("salt1", "burnt PSU", {"node": "salt1", "reason": "burnt PSU"}),
        ("salt2", "  pulled  ", {"node": "salt2", "reason": "pulled"}),
        ("salt1", "größer", {"node": "salt1", "reason": "größer"}),
    ],
)
def test_words_that_are_taken(node, reason, found):
    assert fencing.declared(samples.pair(), node, reason) == found


@pytest.mark.parametrize(
    "node, reason, why",
    [
        (None, "burnt", "without the node"),
        ("salt3", "burnt", "salt1 or salt2"),
        ("", "burnt", "salt1 or salt2"),
        (True, "burnt", "salt1 or salt2"),
        (["salt1"], "burnt", "salt1 or salt2"),
        ("salt1", None, "needs a reason"),
        ("salt1", "", "needs a reason"),
        ("salt1", "   ", "needs a reason"),
        ("salt1", True, "needs a reason"),
        ("salt1", 7, "needs a reason"),
        ("salt1", "a\nb", "one line"),
        ("salt1", "x" * 501, "one line"),
    ],
)
def test_words_that_are_refused(node, reason, why):
    with pytest.raises(Refused, match=why):
        fencing.declared(samples.pair(), node, reason)


def test_a_word_counts_while_somebody_knocks(member, silent):
    given(member)
    found = member.fencing.read()
    assert (found["node"], found["reason"], found["user"]) == ("salt1", "burnt", "anna")
    assert 55 <= found["left"] <= 60
    assert member.fencing.require("salt1")["run"] == samples.RUN


LIVING = {"boot_id": "b", "until": 100.0, "observer": {"pid": 5, "started": 50}}


@pytest.mark.parametrize(
    "change, counts",
    [
        ({}, True),
        ({"boot_id": "another boot"}, False),
        ({"until": 10.0}, False),
        ({"until": 9.0}, False),
        ({"observer": None}, False),
        ({"observer": {"pid": None, "started": None}}, False),
        ({"observer": {"pid": 6, "started": None}}, False),
        ({"observer": {"pid": 5, "started": 51}}, False),
    ],
)
def test_when_a_word_counts(change, counts):
    started = {5: 50}
    assert fencing.in_force({**LIVING, **change}, "b", 10.0, started.get) is counts


def test_a_node_that_answers_cannot_be_declared_off(member, silent):
    silent["answer"] = "10.0.0.11 accepts connections on port 22"
    with pytest.raises(Refused, match="salt1 is not off: 10.0.0.11 accepts"):
        given(member)
    assert not member.fencing.path.exists()


def test_a_node_cannot_declare_itself_off(member, silent):
    itself = Member.of(samples.pair("salt1"), member.paths)
    with pytest.raises(Refused, match="this very node"):
        itself.fencing.record({"node": "salt1", "reason": "x"}, samples.RUN, OWNER, 60, knocking)


def test_a_word_is_void_when_the_node_answers_again(member, silent):
    given(member)
    silent["answer"] = "10.0.0.11 answers on port 22"
    with pytest.raises(Refused, match="is not off"):
        member.fencing.require("salt1")


def test_a_word_about_one_node_says_nothing_of_the_other(member, silent):
    given(member)
    itself = Member.of(samples.pair("salt1"), member.paths)
    with pytest.raises(Refused, match="nobody has declared it off"):
        itself.fencing.require("salt2")


def test_without_a_word_a_silent_node_is_not_off(member, silent):
    with pytest.raises(Refused, match="nobody has declared it off"):
        member.fencing.require("salt1")


def test_a_word_that_nobody_watches_over_is_an_error(member, silent, monkeypatch):
    monkeypatch.setattr(fencing, "BEGINS_WITHIN", 0.1)
    with pytest.raises(Unavailable, match="nobody would notice its return"):
        given(member, observe=lambda member: None)
    assert member.fencing.read() is None


def test_the_observer_voids_the_word_as_soon_as_the_node_answers(member, silent, monkeypatch):
    monkeypatch.setattr(fencing, "EVERY", 0.01)
    knocks = []

    def answers(host):
        knocks.append(host)
        return "it is back" if len(knocks) > 20 else None

    def observing(member):
        # What systemd starts: it reads the word that was just recorded.
        threading.Thread(target=lambda: ended.append(member.fencing.observe())).start()

    ended = []
    monkeypatch.setattr(fencing, "answers", answers)
    given(member, observe=observing)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(5)
    assert ended == ["it is back"]
    assert set(knocks) == {"10.0.0.11"}
    assert member.fencing.read() is None
    assert not member.fencing.path.exists()


def test_the_observer_ends_with_the_word(member, silent, monkeypatch):
    monkeypatch.setattr(fencing, "EVERY", 0.01)
    given(member)
    end = threading.Timer(0.1, lambda: member.fencing.void("a test"))
    end.start()
    assert "counts no more" in member.fencing.observe()


def test_an_observer_of_nothing_ends_at_once(member):
    assert "Nobody has declared" in member.fencing.observe()


def test_void_says_whether_there_was_a_word(member, silent):
    given(member)
    assert member.fencing.void("a test") is True
    assert member.fencing.void("a test") is False


def test_a_damaged_record_is_no_word(member):
    member.fencing.path.parent.mkdir(parents=True)
    member.fencing.path.write_text('{"version": 1, "node"')
    with pytest.raises(FailbackError, match="is damaged"):
        member.fencing.read()


def test_who_listens_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "accepts connections" in fencing.answers("127.0.0.1", server.getsockname()[1])


def test_who_refuses_answers_as_well():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "answers on port" in fencing.answers("127.0.0.1", port)


def test_a_name_that_nobody_knows_does_not_answer():
    assert fencing.answers("no-such-node.invalid", timeout=0.2) is None


# --- the process that knocks --------------------------------------------------------------------------


@pytest.fixture
def systemd(member, monkeypatch):
    """What systemd is told; a unit that it starts knocks."""
    found = []

    def run(argv, *_):
        found.append(argv)
        if argv[:2] == ["systemctl", "stop"]:
            raise Unavailable("Unit failback-fenced-salt.service not loaded.")
        knocking(member)

    monkeypatch.setattr(fencing.system, "run", run)
    return found


def test_it_knocks_in_a_unit_of_its_own_that_replaces_an_earlier_one(member, silent, systemd):
    given(member, observe=None)
    stopped, started = systemd
    assert stopped == ["systemctl", "stop", "failback-fenced-salt.service"]
    assert started[0] == "systemd-run" and "--unit=failback-fenced-salt.service" in started
    assert {"--quiet", "--collect"} <= set(started)
    assert started[-3:] == [str(member.paths.program), "observe", "salt"]
    assert member.fencing.read()["node"] == "salt1"


def test_a_node_with_an_agent_needs_no_reason():
    """The agent proves it; where it cannot, the run asks for one."""
    fence = {"nodes": {"salt1": {"agent": "fence_ipmilan"}}}
    config = samples.pair(fence=fence)
    assert fencing.declared(config, "salt1", None) == {"node": "salt1", "reason": None}
    assert fencing.declared(config, "salt1", "burnt") == {"node": "salt1", "reason": "burnt"}
    with pytest.raises(Refused, match="needs a reason"):
        fencing.declared(config, "salt2", None)
    with pytest.raises(Refused, match="needs a reason"):
        fencing.declared(samples.pair(fence=None), "salt1", None)


def test_an_observer_of_an_earlier_boot_s_word_ends_at_once(member, silent, monkeypatch):
    given(member)
    before = member.fencing.path.read_text()
    monkeypatch.setattr(system, "boot_id", lambda: "the next boot")
    assert member.fencing.observe() == "Nobody has declared a node of salt off."
    assert member.fencing.path.read_text() == before


def test_who_says_that_a_node_is_off(member, silent):
    word = {"node": "salt1", "reason": "its power is off"}
    assert fencing.said({**word, "user": "anna"}) == "salt1 is off by the word of anna: its power is off"
    assert fencing.said({**word, "user": "anna", "agent": "fence_x"}) == "salt1 is off: its power is off"
    found = member.fencing.record({**word, "agent": "fence_x"}, samples.RUN, OWNER, 60, knocking)
    assert (found["agent"], found["user"], found["master"]) == ("fence_x", "anna", "salt2_master")
