"""The other node's answer amid what root's shell prints there."""

import json

import pytest

from failback.errors import Unavailable
from failback.peer import answers
from failback.peer import ssh

REPORT = json.dumps({"node": "salt1", "ledger": {"generation": 4}, "addresses": []})


@pytest.mark.parametrize(
    "text",
    [
        REPORT,
        f"{REPORT}\n",
        f"hi\n{REPORT}\n",
        f"hi {REPORT}\n",
        f"hi{{ you {REPORT}\nbye\n",
        f"\n\n\x1b[1mWelcome\x1b[0m\r\n{REPORT}\r\n",
        f'{{"node": "not an answer"}}\n{REPORT}\n{{"node": "neither"}}\n',
        f"{{\n[]\n{REPORT}\n}}\n",
        f"caf\udce9 \u2028\n{REPORT}\n",
    ],
)
def test_it_is_found_whatever_stands_around_it(text):
    assert answers.object_in(text, "node", "ledger") == json.loads(REPORT)
    raw = text.encode(errors="surrogateescape")
    assert answers.object_in(raw, "node", "ledger") == json.loads(REPORT)


@pytest.mark.parametrize(
    "text", ["", "hi", "{", "{" * 5000, '{"node": "salt1"}', '["node", "ledger"]', REPORT[:-1]]
)
def test_what_is_no_answer_is_none(text):
    assert answers.object_in(text, "node", "ledger") is None


def test_a_report_amid_noise_is_read_and_one_that_is_none_is_quoted(monkeypatch):
    class Peer:
        peer = {"id": "salt2", "host": "salt2"}

    monkeypatch.setattr(ssh, "ask", lambda member, *words, timeout: f"hi\n{REPORT}\n")
    assert ssh.report(Peer)["node"] == "salt1"
    monkeypatch.setattr(ssh, "ask", lambda member, *words, timeout: "hi\nis this an answer?\n")
    with pytest.raises(Unavailable, match="salt2 sent no answer that can be read, but 'hi"):
        ssh.report(Peer)


def test_a_sentence_is_the_last_line():
    assert answers.last_line("hi\n\nsalt1 stepped down to salt2 in salt, generation 5\n").startswith(
        "salt1 stepped"
    )
    assert answers.last_line("") == ""


@pytest.mark.parametrize(
    "said, named",
    [
        ('rsync: server sent "hi" rather than greeting', True),
        ("fatal: protocol error: bad line length character: hi", True),
        ("rsync: connection unexpectedly closed", False),
    ],
)
def test_what_rsync_and_git_stumble_over_is_named(said, named):
    assert ("/root/.bashrc" in answers.advice(said, "salt2")) is named
