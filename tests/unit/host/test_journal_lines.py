"""Failback's own lines in the system's log, as journalctl gives them."""

import json

import pytest

from failback.errors import Unavailable
from failback.host import journal_lines
from failback.host import system


@pytest.fixture
def journal(monkeypatch):
    """What journalctl is asked, and what it prints."""

    def run(argv, timeout, what, **_):
        run.asked.append((argv, timeout, what))
        return "\n".join(run.prints)

    run.asked, run.prints = [], []
    monkeypatch.setattr(system, "run", run)
    return run


def line(message, **more):
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": "1795372200250000", **more})


def test_only_failback_s_own_lines_of_that_span_are_asked_for(journal):
    assert journal_lines.of(1795372200.9, 1795372260.1, 50) == []
    [(words, within, what)] = journal.asked
    # All of the first and of the last second.
    assert {"--since=@1795372200", "--until=@1795372261"} <= set(words)
    assert {"--identifier=failback", "--output=json", "--lines=50", "--quiet"} <= set(words)
    assert words[0] == "journalctl" and within == journal_lines.WITHIN and what == "read the system's log"


def test_a_line_has_its_moment_its_weight_and_its_words(journal):
    journal.prints = [
        line("salt1 serves", PRIORITY="4"),
        "",
        line("no weight"),
        line([0x67, 0xFC, 0x74]),
        line("a name\x1b[2J"),
        line(None),
    ]
    found = journal_lines.of(0, 1, 10)
    assert found[0] == {"time": 1795372200.25, "priority": 4, "text": "salt1 serves"}
    assert [one["priority"] for one in found[1:]] == [5] * 4
    assert [one["text"] for one in found[1:3]] == ["no weight", "g\N{REPLACEMENT CHARACTER}t"]
    assert "\x1b" not in found[3]["text"] and found[3]["text"].startswith("a name")


def test_a_node_without_a_journal_says_so(monkeypatch):
    def run(*_, **__):
        raise Unavailable("Cannot read the system's log: the program journalctl is not installed.")

    monkeypatch.setattr(system, "run", run)
    with pytest.raises(Unavailable, match="not installed"):
        journal_lines.of(0, 1, 10)
