"""What the window of a handover does with the clients, and what it tells."""

import pytest
import samples
import two_nodes
from handover_cases import MOMENTS
from handover_cases import SALT1
from handover_cases import SALT2_AS_BEFORE
from handover_cases import WORK
from handover_cases import die_at
from handover_cases import serve
from handover_cases import silent
from two_nodes import Killed

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import taker
from failback.host import files
from failback.replication import sources
from failback.state import ledger


def test_the_clients_are_reset_by_the_node_that_answers_now(world):
    done = world.bring_home()
    assert world.tickled == ("salt1", [["10.0.0.5", 4505, "10.0.0.100", 40000]])
    assert world.reset_on == "salt2"
    assert done["connections"] == 1


def test_the_final_sync_hears_what_the_far_end_knows_of_changes(world):
    world.bring_home()
    assert world.named[0] is None
    assert "no journal" in world.named[1]


def test_both_nodes_tell_the_window_by_their_own_clock(world):
    done = world.bring_home()
    for steps in (done["timeline"], done["far_timeline"]):
        assert [one["milliseconds"] for one in steps] == sorted(one["milliseconds"] for one in steps)
    assert "asked to release" in [one["step"] for one in done["far_timeline"]]


@pytest.mark.parametrize(
    ("there", "found"),
    [("missing", "does not exist any more"), ("empty", "is empty, and was not"), ("as before", None)],
)
def test_a_path_that_is_not_what_it_was_is_not_handed_over(world, there, found):
    """Unmounted after the pre-sync: the final sync would delete all of it on the node that serves next."""
    folder = world.members["salt2"].paths.root / "srv/salt"
    if there != "missing":
        folder.mkdir(parents=True)
    if there == "as before":
        (folder / "top.sls").touch()
    with world.on("salt2") as member:
        fact = sources.facts(["/srv/salt"], str(member.paths.root))["/srv/salt"]
    before = {"/srv/salt": {**fact, "exists": True, "empty": False}}
    record = {"version": 1, "own": before, "peer": None}
    files.write_json(world.members["salt2"].state / "sources.json", record)
    if found is None:
        world.bring_home()
        assert (world.serving(), world.ledgers(), world.phase()) == (*SALT1, "done")
        return
    said = f"does not hand salt over and serves on.*{found}.*final sync would"
    with pytest.raises(FailbackError, match=said):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.timer is None


def test_a_node_whose_path_lies_elsewhere_is_not_handed_the_pair(world):
    """Unmounted on the node that is to serve: what comes over would be out of sight after the next mount."""
    samples.lies_elsewhere(world.members["salt1"])
    with pytest.raises(Refused, match=r"salt2 serves salt on\. /srv/salt on salt1 lies on .*Mount the right"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.timer is None


def test_a_path_that_is_unmounted_in_the_final_sync_leaves_the_far_end_serving_at_once(world):
    def unmounted(limit):
        samples.lies_elsewhere(world.members["salt1"])

    said = r"salt1 does not take salt\. /srv/salt on salt1.*salt2 serves again"
    with pytest.raises(Unavailable, match=said):
        world.bring_home(unmounted)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_a_node_whose_path_lies_elsewhere_takes_nothing_over(world):
    world.bring_home()
    world.lose_power("salt1")
    with world.on("salt2") as member:
        member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
    samples.lies_elsewhere(world.members["salt2"])
    with pytest.raises(Refused, match=r"salt2 does not take salt over\. /srv/salt on salt2 lies on"):
        silent(world, "salt2")
    assert world.serving() == "nobody"
    # What cannot be read proves nothing against the only node that is left.
    (world.members["salt2"].state / "sources.json").write_text("{")
    silent(world, "salt2")
    assert world.serving() == "salt2"


def test_by_an_operators_word_a_node_serves_with_the_data_that_it_has(world):
    world.bring_home()
    world.lose_power("salt1")
    with world.on("salt2") as member:
        member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
    samples.lies_elsewhere(member)
    with pytest.raises(Refused, match="fenced: salt1, moved: true, reason"):
        silent(world, "salt2")
    sources.record_moved(member)
    silent(world, "salt2")
    assert world.serving() == "salt2"
    assert sources.recorded(member)["peer"] is None


def test_what_only_the_active_node_runs_stops_before_anything_is_released(working):
    seen = []
    working.hooks[("salt2", "release")] = lambda: seen.append(set(working.units["salt2"]))
    assert working.bring_home()["stopped"] == [WORK]
    assert seen == [{"sshd.service"}]
    assert working.units["salt2"] == {"sshd.service"}, "it must not come back behind the handover"


def test_lsyncd_of_a_primary_that_hands_over_stops_too(working):
    working.units["salt2"].add("lsyncd.service")
    assert working.bring_home()["stopped"] == ["lsyncd.service", WORK]


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_a_far_end_that_serves_on_runs_what_it_ran(working, monkeypatch, moment, killed, unplugged):
    def die():
        working.lose_power("salt1")
        raise Killed

    final_sync = die_at(working, monkeypatch, moment, die)
    monkeypatch.setattr(taker.PeerConnection, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        working.bring_home(final_sync)
    working.deadline()
    assert working.serving() == "salt2" and WORK in working.units["salt2"]


def test_a_far_end_that_cannot_stop_a_service_serves_on(working, monkeypatch):
    def refuse(argv, *rest, real=two_nodes.system.run, **options):
        if argv[:2] == ["systemctl", "stop"] and WORK in argv:
            raise Unavailable("It hangs.")
        return real(argv, *rest, **options)

    monkeypatch.setattr(two_nodes.system, "run", refuse)
    with pytest.raises(Refused, match="It hangs"):
        working.bring_home()
    working.far.wait(10)
    assert (working.serving(), working.ledgers()) == SALT2_AS_BEFORE
    assert WORK in working.units["salt2"] and working.phase() == "done"


def test_nothing_is_stopped_that_was_not_armed(working):
    assert serve(working, {"do": "quiesce"})[1]["ok"] is False
    assert WORK in working.units["salt2"]
