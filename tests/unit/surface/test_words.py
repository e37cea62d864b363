"""Text for a terminal."""

import pytest

from failback.decisions import moments
from failback_master.surface import words

COMMAND = "salt-run state.orch orch.recover pillar='{pair: salt, reason: \"the clients were on salt2\"}'"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("salt1 serves", "salt1 serves"),
        ("Öl \U0001f525", "Öl \U0001f525"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("one\ntwo\r\x07", "one\\x0atwo\\x0d\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202egnp", "abc\\u202egnp"),
        (7, "7"),
    ],
)
def test_nothing_reaches_a_terminal_that_it_would_obey(text, safe):
    assert words.safe(text) == safe


def test_a_sentence_is_broken_at_the_width_and_a_command_is_not():
    lines = words.paragraph(f"salt is split-brain: both nodes are active, which is bad. Run: {COMMAND}", 40)
    assert lines[-1] == f"    {COMMAND}"
    assert all(len(line) <= 40 for line in lines[:-1])
    assert " ".join(" ".join(lines).split()).endswith(f"bad. Run: {COMMAND}")


def test_in_a_pipe_nothing_is_broken():
    assert words.paragraph(f"One. Run: {COMMAND}\nTwo\x1b.", None) == [f"One. Run: {COMMAND}", "Two\\x1b."]


def test_a_line_break_in_a_refusal_stays_one_and_each_line_keeps_its_command():
    lines = words.paragraph(f"One. Run: {COMMAND}\nTwo.", 200)
    assert lines == ["One. Run:", f"    {COMMAND}", "Two."]


def test_what_follows_is_indented():
    found = words.paragraph("aaaa bbbb cccc dddd eeee", 26, "  ", "    ")
    assert found == ["  aaaa bbbb cccc dddd", "      eeee"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119.9, "119 s"), (120, "2 min"), (7200, "2 h"), (200000, "2 d")]
)
def test_durations(seconds, text):
    assert words.duration(seconds) == text


def test_moments(monkeypatch):
    assert moments.epoch("2026-11-22T18:00:00Z") == 1795370400
    assert moments.iso(1795370400.7) == "2026-11-22T18:00:00Z"
    assert moments.epoch(None) is None and moments.epoch("yesterday") is None
    now = moments.epoch("2026-11-22T18:00:00Z")
    assert len(words.clock(now - 60, now)) == 5
    assert len(words.clock(now - 3 * 86400, now)) == 11


def test_a_table_leaves_out_what_is_empty_and_fits_the_terminal():
    rows = [("salt", "", "recover"), ("mgmt", "", "x" * 40)]
    assert words.table(("PAIR", "RUN", "NEXT"), rows)[0] == "PAIR  NEXT"
    cut = words.table(("PAIR", "RUN", "NEXT"), rows, 20)
    assert max(map(len, cut)) == 20 and cut[2].endswith("…")
