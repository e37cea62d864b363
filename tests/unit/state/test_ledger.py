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
from failback.state import ledger


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "boot_id", lambda: "this boot")
    return Paths(tmp_path)


def write(node, generation, active, **changes):
    return ledger.write("salt", node, generation, active, "a run", "a test", **changes)


def test_what_is_written_is_read_again(node):
    assert ledger.read("salt", node) is None
    written = write(node, 3, "salt1")
    assert ledger.read("salt", node) == written
    assert written["boot_id"] == "this boot" and written["run"] == "a run"
    datetime.datetime.strptime(written["since"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_node_that_is_not_admitted_has_the_id_of_no_boot(node):
    assert write(node, 3, "salt1", admitted=False)["boot_id"] not in ("this boot", None)


def test_since_when_a_node_serves_can_be_from_before_the_change_of_hands(node):
    assert write(node, 3, "salt1", since="then")["since"] == "then"
    assert ledger.read("salt", node)["since"] == "then"


def test_the_generation_never_goes_down(node):
    write(node, 7, "salt2")
    with pytest.raises(Refused, match=r"generation 7 .salt2.*generation\s+6.*pair\.status salt"):
        write(node, 6, "salt1")
    assert ledger.read("salt", node)["generation"] == 7


def test_one_generation_has_one_active_node(node):
    write(node, 7, "salt2")
    with pytest.raises(Refused, match="two histories of one generation"):
        write(node, 7, "salt1")
    assert ledger.read("salt", node)["active"] == "salt2"


def test_to_admit_a_node_again_keeps_since_when_and_why(node, monkeypatch):
    monkeypatch.setattr(ledger, "now", lambda: "then")
    write(node, 7, "salt2", admitted=False)
    monkeypatch.setattr(ledger, "now", lambda: "now")
    again = ledger.write("salt", node, 7, "salt2", "another run", "admitted")
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
        node, named = Paths(folder), {}
        for generation, active in wanted:
            before = ledger.read("salt", node)
            try:
                write(node, generation, active)
            except Refused:
                assert ledger.read("salt", node) == before
            after = ledger.read("salt", node)
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
def test_what_proves_nothing_is_unreadable_and_is_not_overwritten(node, content):
    write(node, 3, "salt1")
    node.ledger("salt").write_text(content)
    with pytest.raises(Unreadable, match="ledger of salt"):
        ledger.read("salt", node)
    with pytest.raises(Unreadable):
        write(node, 99, "salt2")
    assert node.ledger("salt").read_text() == content


@pytest.mark.parametrize("key", ["boot_id", "since", "why"])
def test_a_ledger_without_what_its_readers_need_is_unreadable(node, key):
    """The verdict, the gate and the take-over read these without asking whether they are there."""
    write(node, 3, "salt1")
    found = json.loads(node.ledger("salt").read_text())
    del found[key]
    node.ledger("salt").write_text(json.dumps(found))
    with pytest.raises(FailbackError):
        ledger.read("salt", node)


@pytest.mark.parametrize("generation", ["true", "-1"])
def test_a_generation_that_cannot_be_is_unreadable(node, generation):
    write(node, 3, "salt1")
    text = node.ledger("salt").read_text()
    node.ledger("salt").write_text(text.replace('"generation": 3', f'"generation": {generation}'))
    with pytest.raises(Unreadable):
        ledger.read("salt", node)


def test_a_crash_between_writing_and_renaming_leaves_the_old_generation(node, monkeypatch):
    write(node, 3, "salt1")

    def crash(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        write(node, 4, "salt2")
    monkeypatch.undo()
    assert ledger.read("salt", node)["generation"] == 3
    assert write(node, 4, "salt2")["generation"] == 4


def test_what_a_killed_writer_left_beside_it_is_not_read(node):
    write(node, 3, "salt1")
    (node.state("salt") / ".ledger.json.abcdefgh").write_text('{"version": 1, "generation": 9')
    assert ledger.read("salt", node)["generation"] == 3
