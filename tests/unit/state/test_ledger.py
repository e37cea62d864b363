"""A node's record of who is active, and that it never goes back."""

import datetime
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import ledger


@pytest.fixture
def member(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "boot_id", lambda: "this boot")
    return Member("salt", Paths(tmp_path))


def write(member, generation, active, **changes):
    return member.ledger.write(ledger.Entry(generation, active, "a run", "a test", **changes))


def test_what_is_written_is_read_again(member):
    assert member.ledger.read() is None
    written = write(member, 3, "salt1")
    assert member.ledger.read() == written
    assert written["boot_id"] == "this boot" and written["run"] == "a run"
    datetime.datetime.strptime(written["since"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_node_that_is_not_admitted_has_the_id_of_no_boot(member):
    assert write(member, 3, "salt1", admitted=False)["boot_id"] not in ("this boot", None)


def test_since_when_a_node_serves_can_be_from_before_the_change_of_hands(member):
    assert write(member, 3, "salt1", since="then")["since"] == "then"
    assert member.ledger.read()["since"] == "then"


def test_what_became_of_a_claim_is_written_only_where_there_was_one(member):
    """A release that does not know these keys reads the rest as it always did."""
    assert not {"heard", "withdrawn", "unsaved"} & set(write(member, 3, "salt1"))
    assert write(member, 4, "salt1", heard=False)["heard"] is False
    withdrawn = write(member, 4, "salt1", heard=False, withdrawn=True)
    assert withdrawn["withdrawn"] is True
    assert ledger.is_admitted(withdrawn) and not ledger.is_active(withdrawn, "salt1")


def test_the_generation_never_goes_down(member):
    write(member, 7, "salt2")
    with pytest.raises(Refused, match=r"generation 7 .salt2.*generation\s+6.*pair\.status salt"):
        write(member, 6, "salt1")
    assert member.ledger.read()["generation"] == 7


def test_one_generation_has_one_active_node(member):
    write(member, 7, "salt2")
    with pytest.raises(Refused, match="two histories of one generation"):
        write(member, 7, "salt1")
    assert member.ledger.read()["active"] == "salt2"


def test_to_admit_a_node_again_keeps_since_when_and_why(member, monkeypatch):
    monkeypatch.setattr(ledger, "now", lambda: "then")
    write(member, 7, "salt2", admitted=False)
    monkeypatch.setattr(ledger, "now", lambda: "now")
    again = member.ledger.write(ledger.Entry(7, "salt2", "another run", "admitted"))
    assert (again["since"], again["run"], again["why"]) == ("then", "a run", "a test")
    assert again["boot_id"] == "this boot"


@given(
    strategies.lists(
        strategies.tuples(strategies.integers(0, 4), strategies.sampled_from(["salt1", "salt2"])),
        max_size=12,
    )
)
def test_whatever_is_asked_for_generations_rise_and_their_active_node_stays(wanted):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        member, named = Member("salt", Paths(folder)), {}
        for generation, active in wanted:
            before = member.ledger.read()
            try:
                write(member, generation, active)
            except Refused:
                assert member.ledger.read() == before
            after = member.ledger.read()
            assert after["generation"] >= (before or after)["generation"]
            assert named.setdefault(after["generation"], after["active"]) == after["active"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param('{"version": 1, "generation": 3', id="torn"),
        pytest.param('{"version": 2, "generation": 3, "active": "salt1"}', id="of a newer version"),
        pytest.param('{"version": 1, "active": "salt1"}', id="without a generation"),
        pytest.param('{"version": 1, "generation": "3", "active": "salt1"}', id="a word for a generation"),
        pytest.param('{"version": 1, "generation": 3, "active": null}', id="without an active node"),
    ],
)
def test_what_proves_nothing_is_unreadable_and_is_not_overwritten(member, content):
    write(member, 3, "salt1")
    member.ledger.path.write_text(content)
    with pytest.raises(Unreadable, match="ledger of salt"):
        member.ledger.read()
    with pytest.raises(Unreadable):
        write(member, 99, "salt2")
    assert member.ledger.path.read_text() == content


@pytest.mark.parametrize("key", ["boot_id", "since", "why"])
def test_a_ledger_without_what_its_readers_need_is_unreadable(member, key):
    """The verdict, the gate and the take-over read these without asking whether they are there."""
    write(member, 3, "salt1")
    found = json.loads(member.ledger.path.read_text())
    del found[key]
    member.ledger.path.write_text(json.dumps(found))
    with pytest.raises(FailbackError):
        member.ledger.read()


@pytest.mark.parametrize("generation", ["true", "-1"])
def test_a_generation_that_cannot_be_is_unreadable(member, generation):
    write(member, 3, "salt1")
    text = member.ledger.path.read_text()
    member.ledger.path.write_text(text.replace('"generation": 3', f'"generation": {generation}'))
    with pytest.raises(Unreadable):
        member.ledger.read()


def test_a_crash_between_writing_and_renaming_leaves_the_old_generation(member, monkeypatch):
    write(member, 3, "salt1")

    def crash(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        write(member, 4, "salt2")
    monkeypatch.undo()
    assert member.ledger.read()["generation"] == 3
    assert write(member, 4, "salt2")["generation"] == 4


def test_what_a_killed_writer_left_beside_it_is_not_read(member):
    write(member, 3, "salt1")
    (member.state / ".ledger.json.abcdefgh").write_text('{"version": 1, "generation": 9')
    assert member.ledger.read()["generation"] == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        (None, {}, False),
        ({}, None, False),
        ({"generation": 4, "unsynced": True}, {"generation": 4, "unsynced": False}, True),
        ({"generation": 4, "unsynced": True}, {"generation": 4}, True),
        ({"generation": 4, "heard": False}, {"generation": 4, "heard": True}, False),
        ({"generation": 4}, {"generation": 5}, False),
    ],
)
def test_what_the_keeper_notes_by_itself_makes_no_other_ledger(one, other, same):
    assert ledger.is_same_entry(one, other) is same


def test_a_note_that_cannot_be_read_has_heard_nobody(member):
    member.ledger.write(ledger.Entry(4, "salt1", None, "silence", heard=False))
    member.ledger.note_heard(member.ledger.read())
    assert member.ledger.read()["heard"] is True and member.ledger.is_behind()
    for place in member.volatile.iterdir():
        if place.is_file():
            place.write_text("torn")
    assert member.ledger.read()["heard"] is False and not member.ledger.is_behind()


def test_who_has_no_ledger_is_behind_with_nothing(member):
    assert member.ledger.is_behind() is False
    assert ledger.is_active(None, "salt1") is False and ledger.is_admitted(None) is False
