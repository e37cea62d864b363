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
from failback.state import fencing

OWNER = {"user": "anna", "master": "salt2_master"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(fencing.system, "log", lambda sentence: None)
    return Paths(tmp_path)


@pytest.fixture
def silent(monkeypatch):
    """The other node is silent, until a test lets it answer."""
    said = {"answer": None}
    monkeypatch.setattr(fencing, "answers", lambda host: said["answer"])
    return said


def knocking(pair, paths):
    """Stands for the process that knocks: this one, which lives as long as the test."""
    found = fencing.files.read_json(paths.fenced(pair), "the word")
    own = {"pid": os.getpid(), "started": system.process_started(os.getpid())}
    fencing.files.write_json(paths.fenced(pair), {**found, "observer": own})


def given(node, seconds=60, observe=knocking):
    config = samples.pair("salt2")
    word = {"node": "salt1", "reason": "burnt"}
    return fencing.record(config, node, word, samples.RUN, OWNER, seconds, observe)


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


def test_a_word_counts_while_somebody_knocks(node, silent):
    given(node)
    found = fencing.read("salt", node)
    assert (found["node"], found["reason"], found["user"]) == ("salt1", "burnt", "anna")
    assert 55 <= found["left"] <= 60
    assert fencing.require(samples.pair("salt2"), node, "salt1")["run"] == samples.RUN


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


def test_a_node_that_answers_cannot_be_declared_off(node, silent):
    silent["answer"] = "10.0.0.11 accepts connections on port 22"
    with pytest.raises(Refused, match="salt1 is not off: 10.0.0.11 accepts"):
        given(node)
    assert not node.fenced("salt").exists()


def test_a_node_cannot_declare_itself_off(node, silent):
    with pytest.raises(Refused, match="this very node"):
        fencing.record(
            samples.pair("salt1"), node, {"node": "salt1", "reason": "x"}, samples.RUN, OWNER, 60, knocking
        )


def test_a_word_is_void_when_the_node_answers_again(node, silent):
    given(node)
    silent["answer"] = "10.0.0.11 answers on port 22"
    with pytest.raises(Refused, match="is not off"):
        fencing.require(samples.pair("salt2"), node, "salt1")


def test_a_word_about_one_node_says_nothing_of_the_other(node, silent):
    given(node)
    with pytest.raises(Refused, match="nobody has declared it off"):
        fencing.require(samples.pair("salt1"), node, "salt2")


def test_without_a_word_a_silent_node_is_not_off(node, silent):
    with pytest.raises(Refused, match="nobody has declared it off"):
        fencing.require(samples.pair("salt2"), node, "salt1")


def test_a_word_that_nobody_watches_over_is_an_error(node, silent, monkeypatch):
    monkeypatch.setattr(fencing, "BEGINS_WITHIN", 0.1)
    with pytest.raises(Unavailable, match="nobody would notice its return"):
        given(node, observe=lambda pair, paths: None)
    assert fencing.read("salt", node) is None


def test_the_observer_voids_the_word_as_soon_as_the_node_answers(node, silent, monkeypatch):
    monkeypatch.setattr(fencing, "EVERY", 0.01)
    knocks = []

    def answers(host):
        knocks.append(host)
        return "it is back" if len(knocks) > 20 else None

    def observing(pair, paths):
        # What systemd starts: it reads the word that was just recorded.
        threading.Thread(target=lambda: ended.append(fencing.observe(samples.pair("salt2"), paths))).start()

    ended = []
    monkeypatch.setattr(fencing, "answers", answers)
    given(node, observe=observing)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(5)
    assert ended == ["it is back"]
    assert set(knocks) == {"10.0.0.11"}
    assert fencing.read("salt", node) is None
    assert not node.fenced("salt").exists()


def test_the_observer_ends_with_the_word(node, silent, monkeypatch):
    monkeypatch.setattr(fencing, "EVERY", 0.01)
    given(node)
    end = threading.Timer(0.1, lambda: fencing.void("salt", node, "a test"))
    end.start()
    assert "counts no more" in fencing.observe(samples.pair("salt2"), node)


def test_an_observer_of_nothing_ends_at_once(node):
    assert "Nobody has declared" in fencing.observe(samples.pair("salt2"), node)


def test_void_says_whether_there_was_a_word(node, silent):
    given(node)
    assert fencing.void("salt", node, "a test") is True
    assert fencing.void("salt", node, "a test") is False


def test_a_damaged_record_is_no_word(node):
    node.fenced("salt").parent.mkdir(parents=True)
    node.fenced("salt").write_text('{"version": 1, "node"')
    with pytest.raises(FailbackError, match="is damaged"):
        fencing.read("salt", node)


def test_who_listens_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "accepts connections" in fencing.answers("127.0.0.1", server.getsockname()[1])


def test_who_refuses_answers_as_well():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "answers on port" in fencing.answers("127.0.0.1", port)


def test_a_name_that_nobody_knows_does_not_answer():
    assert fencing.answers("no-such-node.invalid", timeout=0.2) is None
