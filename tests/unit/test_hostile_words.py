"""What others write, a peer or a user, is printable where people read it."""

import syslog

import pytest

from failback.errors import Unavailable
from failback.host import notation
from failback.host import system

#: A title for the terminal, a line of its own in the log, markup, direction, and 255 bytes.
HOSTILE = [
    "\x1b]0;title\x07",
    "a\nfailback: all is well",
    "a\rb",
    "<script>alert(1)</script>\x00".replace("\x00", "\x01"),
    "a\u202eb",
    "\x9b31m",
    "x" * 254 + "\x1b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_the_log_is_one_printable_line(monkeypatch, text):
    logged = []
    monkeypatch.setattr(syslog, "syslog", lambda level, line: logged.append(line))
    system.log(f"/srv/data/{text}")
    assert len(logged) == 1 and logged[0].isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_program_says_in_an_error_moves_no_terminal(text):
    argv = ["/bin/sh", "-c", 'printf %s "$1" >&2; exit 3', "sh", text]
    with pytest.raises(Unavailable, match="exit status 3") as caught:
        system.run(argv, 10, "ask the other node")
    assert all(one.isprintable() or one == "\n" for one in str(caught.value))
    assert all(one.isprintable() or one == "\n" for one in system.exit_status(argv, 10, "ask")[1])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_is_printable_in_lists_and_comes_back(text):
    name = text.encode()
    assert notation.readable(name).isprintable() and notation.raw(notation.readable(name)) == name


@pytest.mark.parametrize("text", ["", "plain", "two\nlines", "ünï \\#012 <b>"])
def test_what_is_printable_stays_as_it_is(text):
    assert notation.printable(text) == text
