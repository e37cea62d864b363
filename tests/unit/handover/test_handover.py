"""A handover as it should be, with both its ends real."""

import pytest
import samples
import two_nodes
from handover_cases import GATEWAY
from two_nodes import World

from failback.decisions import gate
from failback.errors import Unavailable
from failback.handover import giver


def test_the_pair_changes_hands(world):
    seen = []

    def final_sync(limit):
        seen.append((world.serving(), world.ledgers(), world.phase(), limit))
        return {"paths": []}

    done = world.bring_home(final_sync)
    assert seen == [("nobody", [(3, "salt1"), (4, "salt2")], "released", 5.0)]
    assert world.serving() == "salt1"
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]
    assert (done["generation"], done["final_sync"]) == (5, {"paths": []})
    assert done["answering"] == {GATEWAY: [two_nodes.MACS["salt1"]]}
    assert 0 <= done["window_milliseconds"] < 2000
    assert [one["milliseconds"] for one in done["timeline"]] == sorted(
        one["milliseconds"] for one in done["timeline"]
    )
    assert world.phase() == "done" and world.timer is None


def test_it_is_over_when_it_is_over(world):
    world.bring_home()
    assert world.deadline() is None
    assert "Nothing to take back" in world.far_end("take_back", samples.RUN)
    assert world.serving() == "salt1" and world.ledgers()[1] == (5, "salt1")


def test_a_pair_without_paths_needs_no_final_sync(world):
    assert world.bring_home(None)["final_sync"] is None
    assert world.serving() == "salt1"


@pytest.mark.parametrize(
    "addresses", [[], [samples.PAIR["floating_ips"][0], samples.SECOND]], ids=["none", "two"]
)
def test_a_pair_has_as_many_addresses_as_it_has(tmp_path, monkeypatch, addresses):
    world = World(tmp_path, monkeypatch, floating_ips=addresses)
    world.bring_home()
    assert all(holders == {"salt1"} for holders in world.holders.values())
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]


def test_afterwards_the_gate_is_open_on_the_near_end_and_to_it(world):
    world.bring_home()
    with world.on("salt1") as member:
        own = member.ledger.read()
        boot_id = two_nodes.system.boot_id()
    assert gate.lsyncd_refusal(world.members["salt1"].config, own, boot_id, True) is None
    theirs = world.members["salt2"].ledger.read()
    assert gate.write_refusal(world.members["salt2"].config, theirs) is None


def test_every_process_is_asked_for_its_files_before_anything_is_released(world, monkeypatch):
    asked = []
    monkeypatch.setattr(
        giver._Journals, "look_closely", lambda self: asked.append(world.serving()) or {"journal": None}
    )
    world.bring_home(lambda limit: None)
    assert asked == ["salt2"]


def test_a_journal_that_cannot_look_closely_is_a_reason_to_compare_everything_and_no_failure(world):
    class Gone:
        def ask(self, do):
            raise Unavailable("the journal of changes does not answer")

        def close(self):
            pass

    journals = giver._Journals(world.members["salt2"], samples.RUN)
    journals._client = Gone()
    said = journals.look_closely()
    assert said == {"journal": "the journal of changes does not answer"}
    assert journals.changes(None) == {"changes": None, "why": said["journal"]}


def test_what_root_s_shell_prints_on_the_giver_does_no_harm(world, monkeypatch):
    """It comes before the first answer, with or without an end of line."""
    serve = giver.serve

    def after_noise(member, run, requests, answers):
        answers.write("hi\n\nand welcome ")
        serve(member, run, requests, answers)

    monkeypatch.setattr(giver, "serve", after_noise)
    assert world.bring_home()["generation"] == 5
    assert world.serving() == "salt1"
