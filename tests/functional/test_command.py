"""What a function of the runner gives to a person, to a program, and to another function of it."""

import pytest

from failback.errors import Refused
from failback_master.surface import command


def answered(answer):
    """A function of the runner, as Salt has loaded it: with a context of its own."""
    scope = {"answer": answer, "command": command.command, "__context__": {}}
    text = "@command\ndef status(pair=None):\n    if isinstance(answer, Exception):\n        raise answer\n"
    exec(f"{text}    return answer\n", scope)
    return scope["status"], scope["__context__"]


@pytest.fixture
def loaded(monkeypatch):
    """``loaded(*functions)``: the runner was loaded with these functions of a command line, or None."""

    def load(*functions):
        caller = command.Caller()
        for one in functions:
            caller.loaded({"fun": one} if one else {})
        monkeypatch.setattr(command, "CALLER", caller)

    return load


@pytest.mark.parametrize(
    "functions",
    [(), ("pair.status",), (None, "pair.status"), ("pair.status", None)],
    ids=["not loaded", "typed", "loaded before", "loaded again"],
)
def test_a_person_gets_an_answer_that_is_drawn(loaded, functions):
    loaded(*functions)
    function, context = answered({"pairs": {}, "retcode": 1})
    assert function() == {"data": {"pairs": {}, "retcode": 1}, "outputter": "pairs"}
    assert context == {}
    assert command.plain(function()) == {"pairs": {}, "retcode": 1}


@pytest.mark.parametrize(
    "answer, words, retcode",
    [
        ({"pairs": {}, "retcode": 0}, (), 0),
        ({"pairs": {}, "retcode": 1}, (), 1),
        ({"comment": "good"}, (), 0),
        (Refused("no"), (), 1),
        ({"comment": "good"}, ("salt", "too many"), 1),
    ],
)
def test_a_program_gets_the_answer_itself_and_salt_is_told_whether_it_is_bad(loaded, answer, words, retcode):
    loaded(None)
    function, context = answered(answer)
    found = function(*words)
    assert found.get("retcode", 0) == context["retcode"] == retcode
    assert "outputter" not in found
    assert command.plain(found) == found


def test_who_has_asked_is_whom_salt_has_authenticated(monkeypatch):
    assert command.asked_by({"__user__": "alice"}) == "alice"
    monkeypatch.setattr(command, "__user__", "bob", raising=False)
    assert command.asked_by({}) == "bob"
    monkeypatch.delattr(command, "__user__")
    monkeypatch.setattr(command.salt.utils.user, "get_specific_user", lambda: "root")
    assert command.asked_by({}) == "root"
