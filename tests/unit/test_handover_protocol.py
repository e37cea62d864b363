"""
A handover, with both its ends real, and everything that can die in it dying at every moment.

What is asked after each: who serves, in which generation, and do the two ledgers tell the same story.
"""

import contextlib
import io
import json
import os
import stat

import pytest
import samples
import two_nodes
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone
from hypothesis import settings
from hypothesis import stateful
from hypothesis import strategies
from two_nodes import Killed
from two_nodes import World

from effort import examples
from failback import address
from failback import files
from failback import gate
from failback import handover
from failback import incoming
from failback import ledger
from failback import lock
from failback import reachable
from failback import sources
from failback import system
from failback import takeover
from failback import verdict
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable

GATEWAY = "10.0.0.5/24"


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def kill():
    raise Killed


# --- as it should be ---------------------------------------------------------------------------


def test_the_pair_changes_hands(world):
    seen = []

    def last_pass(limit):
        seen.append((world.serving(), world.ledgers(), world.phase(), limit))
        return {"paths": []}

    done = world.bring_home(last_pass)
    assert seen == [("nobody", [(3, "salt1"), (4, "salt2")], "released", 5.0)]
    assert world.serving() == "salt1"
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]
    assert (done["generation"], done["last_pass"]) == (5, {"paths": []})
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


def test_a_pair_without_paths_needs_no_last_pass(world):
    assert world.bring_home(None)["last_pass"] is None
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
    with world.on("salt1"):
        own = ledger.read("salt", world.paths["salt1"])
        boot_id = two_nodes.system.boot_id()
    assert gate.lsyncd_refusal(world.configs["salt1"], own, boot_id, True) is None
    theirs = ledger.read("salt", world.paths["salt2"])
    assert gate.write_refusal(world.configs["salt2"], theirs) is None


def test_every_process_is_asked_for_its_files_before_anything_is_released(world, monkeypatch):
    asked = []
    monkeypatch.setattr(
        handover._Journals, "look_closely", lambda self: asked.append(world.serving()) or {"journal": None}
    )
    world.bring_home(lambda limit: None)
    assert asked == ["salt2"]


def test_a_journal_that_cannot_look_closely_is_a_reason_to_compare_everything_and_no_failure(world):
    class Gone:
        def ask(self, do):
            raise Unavailable("the journal of changes does not answer")

        def close(self):
            pass

    journals = handover._Journals(world.configs["salt2"], samples.RUN, world.paths["salt2"])
    journals._client = Gone()
    said = journals.look_closely()
    assert said == {"journal": "the journal of changes does not answer"}
    assert journals.changes(None) == {"changes": None, "why": said["journal"]}


# --- the near end dies -------------------------------------------------------------------------

SALT2_AS_BEFORE = ("salt2", [(3, "salt1"), (4, "salt2")])
SALT2_AGAIN = ("salt2", [(3, "salt1"), (6, "salt2")])
SALT2_AFTER_SALT1 = ("salt2", [(5, "salt1"), (6, "salt2")])
SALT1 = ("salt1", [(5, "salt1"), (5, "salt1")])

MOMENTS = [
    pytest.param("before arm", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="before the way back is armed"),
    pytest.param("after arm", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after the way back is armed"),
    pytest.param("after quiesce", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after its services have stopped"),
    pytest.param("after look_closely", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="with the journals close"),
    pytest.param("after release", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after the release"),
    pytest.param("in the last pass", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="in the last pass"),
    pytest.param("before commit", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="before the commit"),
    pytest.param("after commit", SALT2_AGAIN, SALT2_AGAIN, id="after the commit"),
    pytest.param("take", SALT2_AFTER_SALT1, SALT2_AFTER_SALT1, id="before the addresses are taken"),
    pytest.param("taken", SALT1, SALT2_AFTER_SALT1, id="when the addresses are taken"),
    pytest.param("after prove", SALT1, SALT2_AFTER_SALT1, id="after the proof"),
]


def die_at(world, monkeypatch, moment, die):
    """Arrange for the near end to die at a moment; returns its last pass."""
    if moment in ("take", "taken"):
        world.hooks[("salt1", moment)] = die
    when, _, what = moment.partition(" ")
    real = handover.FarEnd.ask

    def ask(far, do, *rest, **request):
        if (when, what) == ("before", do):
            die()
        answer = real(far, do, *rest, **request)
        if (when, what) == ("after", do):
            die()
        return answer

    monkeypatch.setattr(handover.FarEnd, "ask", ask)
    return (lambda limit: die()) if moment == "in the last pass" else (lambda limit: None)


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_near_ends_process_is_killed(world, monkeypatch, moment, killed, unplugged):
    """Its connection ends at once; the addresses that it has taken stay on its interface."""
    last_pass = die_at(world, monkeypatch, moment, kill)
    with pytest.raises(Killed):
        world.bring_home(last_pass)
    if killed is SALT2_AS_BEFORE:
        assert world.serving() == "salt2", "not at once, but only at the deadline"
    world.deadline()
    assert (world.serving(), world.ledgers()) == killed
    assert judged(world).name == (verdict.STANDBY_RETURNED if killed is SALT1 else verdict.FAILED_OVER)


@pytest.mark.parametrize(("moment", "killed", "unplugged"), MOMENTS)
def test_the_near_end_loses_power(world, monkeypatch, moment, killed, unplugged):
    """Its connection does not end: nobody is there to say so. The timer alone brings the service back."""

    def die():
        world.lose_power("salt1")
        raise Killed

    last_pass = die_at(world, monkeypatch, moment, die)
    monkeypatch.setattr(handover.FarEnd, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        world.bring_home(last_pass)
    world.deadline()
    assert (world.serving(), world.ledgers()) == unplugged
    # Minutes later TCP gives up, and the far end's process learns of it. That changes nothing any more.
    world.far.stdin.close()
    world.far.wait(10)
    assert (world.serving(), world.ledgers()) == unplugged
    assert judged(world).name == verdict.FAILED_OVER


# --- a pair without paths: the ledgers are written while the far end still serves ---------------


@pytest.fixture
def pathless(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch, replicate=[])


def test_a_pair_without_paths_is_given_away_before_it_is_released(pathless):
    seen = []
    pathless.hooks[("salt2", "release")] = lambda: seen.append((pathless.serving(), pathless.ledgers()))
    done = pathless.bring_home(None)
    assert seen == [("salt2", [(5, "salt1"), (5, "salt1")])]
    assert (pathless.serving(), pathless.ledgers(), pathless.phase()) == (*SALT1, "done")
    assert (done["last_pass"], pathless.timer) == (None, None)
    steps = [one["step"] for one in done["timeline"]]
    assert steps.index("the other node has given the pair away") < steps.index("release is asked for")


WITHOUT_PATHS = [
    pytest.param("before commit", SALT2_AS_BEFORE, id="before the commit"),
    pytest.param("after commit", SALT2_AGAIN, id="after the commit"),
    pytest.param("before release", SALT2_AFTER_SALT1, id="before the release"),
    pytest.param("after release", SALT2_AFTER_SALT1, id="after the release"),
    pytest.param("take", SALT2_AFTER_SALT1, id="before the addresses are taken"),
]


@pytest.mark.parametrize("power", [False, True], ids=["its process is killed", "it loses power"])
@pytest.mark.parametrize(("moment", "afterwards"), WITHOUT_PATHS)
def test_the_near_end_of_a_pair_without_paths_dies(pathless, monkeypatch, moment, afterwards, power):
    def die():
        if power:
            pathless.lose_power("salt1")
            monkeypatch.setattr(handover.FarEnd, "__exit__", lambda *_: None)
        raise Killed

    die_at(pathless, monkeypatch, moment, die)
    with pytest.raises(Killed):
        pathless.bring_home(None)
    if "release" not in moment and moment != "take":
        assert pathless.serving() == "salt2", "for a moment nobody served"
    pathless.deadline()
    assert (pathless.serving(), pathless.ledgers()) == afterwards
    assert judged(pathless).name == verdict.FAILED_OVER


@pytest.mark.parametrize("moment", ["commit", "written", "release", "released"])
def test_the_far_end_of_a_pair_without_paths_is_killed(pathless, monkeypatch, moment):
    real = ledger.write

    def write(*arguments, **options):
        if (pathless.node, moment) == ("salt2", "commit"):
            pathless.kill()
        new = real(*arguments, **options)
        if (pathless.node, moment) == ("salt2", "written"):
            pathless.kill()
        return new

    pathless.hooks[("salt2", moment)] = pathless.kill
    monkeypatch.setattr(ledger, "write", write)
    with pytest.raises(FailbackError, match="salt2"):
        pathless.bring_home(None)
    assert pathless.serving() == ("nobody" if moment == "released" else "salt2")
    monkeypatch.setattr(ledger, "write", real)
    pathless.deadline()
    assert pathless.serving() == "salt2"
    assert pathless.ledgers()[1][1] == "salt2"
    assert judged(pathless).name == verdict.FAILED_OVER


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_a_ledger_that_cannot_be_written_leaves_a_pair_without_paths_where_it_is(pathless, monkeypatch, node):
    real = ledger.write

    def write(pair, paths, generation, active, *rest, **options):
        if pathless.node == node and active == "salt1":
            raise OSError(28, "No space left on device")
        return real(pair, paths, generation, active, *rest, **options)

    monkeypatch.setattr(ledger, "write", write)
    with pytest.raises(Unavailable, match="No space left"):
        pathless.bring_home(None)
    assert pathless.serving() == "salt2"
    assert pathless.ledgers()[1][1] == "salt2"
    assert judged(pathless).name == verdict.FAILED_OVER


# --- what the window does with the clients, and what it tells ------------------------------------


def test_the_clients_are_reset_by_the_node_that_answers_now(world):
    done = world.bring_home()
    assert world.tickled == ("salt1", [["10.0.0.5", 4505, "10.0.0.100", 40000]])
    assert world.reset_on == "salt2"
    assert done["connections"] == 1


def test_the_last_pass_hears_what_the_far_end_knows_of_changes(world):
    world.bring_home()
    assert world.named[0] is None
    assert "no journal" in world.named[1]


def test_both_nodes_tell_the_window_by_their_own_clock(world):
    done = world.bring_home()
    for steps in (done["timeline"], done["far_timeline"]):
        assert [one["milliseconds"] for one in steps] == sorted(one["milliseconds"] for one in steps)
    assert "asked to release" in [one["step"] for one in done["far_timeline"]]


WORK = "work.service"


@pytest.fixture
def working(tmp_path, monkeypatch):
    """salt2 serves, and runs what only the active node runs."""
    world = World(tmp_path, monkeypatch, active_services=[{"name": WORK, "proof": None, "status": None}])
    world.units["salt2"] = {WORK, "sshd.service"}
    return world


@pytest.mark.parametrize(
    ("there", "found"),
    [("missing", "does not exist any more"), ("empty", "is empty, and was not"), ("as before", None)],
)
def test_a_path_that_is_not_what_it_was_is_not_handed_over(world, there, found):
    """Unmounted after the warm pass: the last pass would delete all of it on the node that serves next."""
    folder = world.paths["salt2"].root / "srv/salt"
    if there != "missing":
        folder.mkdir(parents=True)
    if there == "as before":
        (folder / "top.sls").touch()
    with world.on("salt2"):
        fact = sources.facts(["/srv/salt"], str(world.paths["salt2"].root))["/srv/salt"]
    before = {"/srv/salt": {**fact, "exists": True, "empty": False}}
    record = {"version": 1, "own": before, "peer": None}
    files.write_json(world.paths["salt2"].state("salt") / "sources.json", record)
    if found is None:
        world.bring_home()
        assert (world.serving(), world.ledgers(), world.phase()) == (*SALT1, "done")
        return
    said = f"does not hand salt over and serves on.*{found}.*last pass would"
    with pytest.raises(FailbackError, match=said):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.timer is None


def test_a_node_whose_path_lies_elsewhere_is_not_handed_the_pair(world):
    """Unmounted on the node that is to serve: what comes over would be out of sight after the next mount."""
    samples.lies_elsewhere(world.paths["salt1"])
    with pytest.raises(Refused, match=r"salt2 serves salt on\. /srv/salt on salt1 lies on .*Mount the right"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.timer is None


def test_a_path_that_is_unmounted_in_the_last_pass_leaves_the_far_end_serving_at_once(world):
    def unmounted(limit):
        samples.lies_elsewhere(world.paths["salt1"])

    said = r"salt1 does not take salt\. /srv/salt on salt1.*salt2 serves again"
    with pytest.raises(Unavailable, match=said):
        world.bring_home(unmounted)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_a_node_whose_path_lies_elsewhere_takes_nothing_over(world):
    world.bring_home()
    world.lose_power("salt1")
    with world.on("salt2"):
        ledger.write("salt", world.paths["salt2"], 5, "salt1", None, "a test")
    samples.lies_elsewhere(world.paths["salt2"])
    with pytest.raises(Refused, match=r"salt2 does not take salt over\. /srv/salt on salt2 lies on"):
        silent(world, "salt2")
    assert world.serving() == "nobody"
    # What cannot be read proves nothing against the only node that is left.
    (world.paths["salt2"].state("salt") / "sources.json").write_text("{")
    silent(world, "salt2")
    assert world.serving() == "salt2"


def test_by_an_operators_word_a_node_serves_with_the_data_that_it_has(world):
    world.bring_home()
    world.lose_power("salt1")
    paths = world.paths["salt2"]
    with world.on("salt2"):
        ledger.write("salt", paths, 5, "salt1", None, "a test")
    samples.lies_elsewhere(paths)
    with pytest.raises(Refused, match="fenced: salt1, moved: true, reason"):
        silent(world, "salt2")
    sources.record_moved(world.configs["salt2"], paths)
    silent(world, "salt2")
    assert world.serving() == "salt2"
    assert sources.recorded("salt", paths)["peer"] is None


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

    last_pass = die_at(working, monkeypatch, moment, die)
    monkeypatch.setattr(handover.FarEnd, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        working.bring_home(last_pass)
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


def judged(world):
    """The verdict over both nodes as they are, the near end's minion having come back."""
    reports = []
    for node in ("salt1", "salt2"):
        with world.on(node):
            boot_id = two_nodes.system.boot_id()
        reports.append(
            {
                **samples.report(node, ledger.read("salt", world.paths[node])),
                "boot_id": boot_id,
                "addresses": [
                    {"address": one, "held": node in holders} for one, holders in world.holders.items()
                ],
            }
        )
    return verdict.judge(world.configs["salt1"], *reports)


# --- the far end dies, refuses, or is slow -----------------------------------------------------


@pytest.mark.parametrize("moment", ["release", "released"])
def test_the_far_ends_process_is_killed_while_it_releases(world, moment):
    world.hooks[("salt2", moment)] = world.kill
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    world.deadline()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


@pytest.mark.parametrize(
    ("before_the_ledger", "generation"),
    [pytest.param(True, 4, id="before its ledger"), pytest.param(False, 6, id="between ledger and phase")],
)
def test_the_far_ends_process_is_killed_while_it_commits(
    world, monkeypatch, before_the_ledger, generation
):
    """Whatever it had written by then, afterwards it serves and its own ledger says so."""
    real = ledger.write

    def write(*arguments, **options):
        if world.node == "salt2" and before_the_ledger:
            world.kill()
        new = real(*arguments, **options)
        if world.node == "salt2":
            world.kill()
        return new

    monkeypatch.setattr(ledger, "write", write)
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    assert world.serving() == "nobody"
    monkeypatch.setattr(ledger, "write", real)
    world.deadline()
    assert world.serving() == "salt2"
    assert world.ledgers()[1] == (generation, "salt2")
    assert judged(world).name == verdict.FAILED_OVER


def test_a_far_end_that_cannot_write_down_its_phase_serves_again(world, monkeypatch):
    """A full /run, say: the commit has failed, after the ledger was raised in the other's favour."""
    real = handover._write_state

    def write(config, paths, **changes):
        if changes.get("phase") == handover.COMMITTED:
            raise OSError(28, "No space left on device")
        return real(config, paths, **changes)

    monkeypatch.setattr(handover, "_write_state", write)
    with pytest.raises(Unavailable, match="No space left.*salt2 serves again"):
        world.bring_home()
    assert world.serving() == "salt2"
    assert world.ledgers()[1] == (6, "salt2")
    assert judged(world).name == verdict.FAILED_OVER


def test_the_far_end_loses_power_after_the_commit(world, monkeypatch):
    """The near end has its answer: it goes on, and serves."""

    def die():
        world.lose_power("salt2")

    last_pass = die_at(world, monkeypatch, "take", die)
    monkeypatch.setattr(
        handover.FarEnd,
        "ask",
        _silent_after(handover.FarEnd.ask, lambda: not world.power["salt2"]),
    )
    with pytest.raises(FailbackError):
        world.bring_home(last_pass)
    assert world.serving() == "salt1"
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]


def _silent_after(real, silent):
    def ask(far, do, *rest, **request):
        if silent():
            raise Unavailable(f"{far.name} gave no answer.")
        return real(far, do, *rest, **request)

    return ask


def test_a_commit_too_close_to_the_deadline_is_refused(world):
    def slow(limit):
        world.now += 10 - handover.COMMIT_MARGIN + 0.1

    with pytest.raises(Unavailable, match=r"Only 3\.9 s are left.*salt2 serves again"):
        world.bring_home(slow)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE
    assert world.deadline() is None or world.serving() == "salt2"


def test_a_last_pass_beyond_the_deadline_finds_the_far_end_serving(world):
    with pytest.raises(Unavailable, match="salt2"):
        world.bring_home(lambda limit: world.deadline())
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


@pytest.mark.parametrize("error", [Unavailable("rsync ended with exit code 23."), Refused("No.")])
def test_a_last_pass_that_fails_leaves_the_far_end_serving_at_once(world, error):
    def broken(limit):
        raise error

    with pytest.raises(Unavailable, match=rf"{error}.*salt2 serves again"):
        world.bring_home(broken)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_a_near_end_that_was_slow_takes_nothing(world, monkeypatch):
    real = ledger.write

    def write(*arguments, **options):
        if world.node == "salt1":
            world.lag += handover.TAKE_WITHIN + 0.1
        return real(*arguments, **options)

    monkeypatch.setattr(ledger, "write", write)
    with pytest.raises(Unavailable, match="too slow.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AFTER_SALT1
    assert judged(world).name == verdict.FAILED_OVER


@pytest.mark.parametrize("moment", ["take", "taken"])
def test_an_address_that_cannot_be_taken_is_given_back(world, moment):
    def fail():
        raise Unavailable("The kernel says no.")

    world.hooks[("salt1", moment)] = fail
    with pytest.raises(Unavailable, match="kernel says no.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AFTER_SALT1


def test_a_release_that_fails_is_taken_back(world):
    def fail():
        raise Unavailable("The kernel did not remove it.")

    world.hooks[("salt2", "released")] = fail
    with pytest.raises(Unavailable, match="did not remove it.*salt2 serves again"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(world, monkeypatch):
    """The near end has given up on ``release`` and asks to abort; what arrives first is the other answer."""
    release = handover.release
    gone_on = two_nodes.threading.Event()

    def slow(*arguments):
        answer = release(*arguments)
        gone_on.wait(5)
        return answer

    monkeypatch.setattr(handover, "release", slow)
    real = handover.FarEnd.ask

    def ask(far, do, *rest, **request):
        if do == "release":
            return real(far, do, 0.2)
        if do == "abort":
            gone_on.set()
        return real(far, do, *rest, **request)

    monkeypatch.setattr(handover.FarEnd, "ask", ask)
    with pytest.raises(FailbackError, match="salt2 (serves again|takes the addresses back)"):
        world.bring_home()
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


# --- refused before anything is released -------------------------------------------------------


def assert_untouched(world):
    assert (world.serving(), world.ledgers()[1]) == ("salt2", (4, "salt2"))
    assert world.phase() in (None, "done") and world.timer is None


def test_a_run_without_the_lock_is_refused(world):
    with world.on("salt1"):
        lock.release("salt", world.paths["salt1"], samples.RUN)
    with pytest.raises(Refused, match="no run holds it"):
        world.bring_home()
    assert_untouched(world)


def test_a_run_that_lost_the_far_ends_lock_is_refused(world):
    with world.on("salt2"):
        lock.release("salt", world.paths["salt2"], samples.RUN)
    with pytest.raises(Refused, match="salt2.*no run holds it"):
        world.bring_home()
    assert_untouched(world)


@pytest.mark.parametrize("why", ["it names the other node", "it has rebooted since"])
def test_a_far_end_that_does_not_serve_is_refused(world, why):
    if why == "it has rebooted since":
        world.boots["salt2"] += 1
    else:
        with world.on("salt2"):
            ledger.write("salt", world.paths["salt2"], 5, "salt1", None, "a test")
    with pytest.raises(Refused, match="does not serve salt"):
        world.bring_home()
    assert world.phase() is None and world.serving() == "salt2"


@pytest.mark.parametrize("first", ["the stranger", "the far end"])
def test_a_third_host_with_the_address_is_found_first(world, first):
    """Whoever of the two answers first: one answer is not enough to know that nobody else has it."""
    world.strangers = ["02:00:00:00:00:99"]
    if first == "the stranger":
        world.cut = True
    with pytest.raises(Refused, match="02:00:00:00:00:99.*Nothing was changed"):
        world.bring_home()
    assert_untouched(world)


@pytest.mark.parametrize("what", ["newer than the far end's", "torn"])
def test_a_near_end_whose_own_ledger_is_unfit_refuses_before_the_release(world, what):
    """It could not write the new generation down: that must not be found out when nobody serves."""
    if what == "torn":
        world.paths["salt1"].ledger("salt").write_text("{")
    else:
        with world.on("salt1"):
            ledger.write("salt", world.paths["salt1"], 9, "salt1", None, "a test")
    with pytest.raises(FailbackError):
        world.bring_home()
    assert world.serving() == "salt2"
    assert ledger.read("salt", world.paths["salt2"])["generation"] == 4
    assert world.phase() in (None, "done")


# --- two holders -------------------------------------------------------------------------------


def test_a_proof_that_fails_does_not_end_with_two_holders(world):
    """The far end does not see the near end, so it will take the addresses back when its time comes."""
    world.hooks[("salt1", "taken")] = lambda: setattr(world, "cut", True)
    with pytest.raises(FailbackError, match="salt2"):
        world.bring_home()
    world.deadline()
    assert world.serving() in ("salt1", "salt2")


def test_a_far_end_that_was_taken_over_by_its_own_watch_does_not_commit(world):
    """Somebody has ended the hold: the watch sees silence, and takes the addresses on the far end."""

    def last_pass(limit):
        with world.on("salt2"):
            takeover.take_over(world.configs["salt2"], "silence", world.paths["salt2"])
        assert world.serving() == "salt2"

    with pytest.raises(FailbackError):
        world.bring_home(last_pass)
    world.deadline()
    assert world.serving() == "salt2"
    assert world.ledgers()[1][1] == "salt2"


def test_nothing_is_released_when_the_timer_has_already_gone_off(world):
    """The near end was slow between arming and releasing: nobody would bring the service back."""
    world.far_end("arm", samples.RUN, 10.0)
    assert "Nothing to take back" in world.deadline()
    with pytest.raises(Refused):
        world.release()
    assert world.serving() == "salt2"


@pytest.mark.parametrize("wait", [0.0, 1.0, 1.9, 2.0, 2.1, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("asked_at", [0.0, 3.0, 5.0, 5.9, 6.0, 6.1, 7.0, 8.0, 8.5, 9.0, 9.5, 9.9])
def test_the_turns_of_the_two_never_overlap(world, asked_at, wait):
    """Whenever the commit is asked for, and however late the near end acts upon the answer."""
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    started = world.now
    world.now = started + asked_at
    try:
        world.far_end("commit", samples.RUN)
    except Refused:
        assert asked_at > 10.0 - handover.COMMIT_MARGIN
        wait = float("inf")
    if asked_at + wait >= 10.0:
        world.deadline()
        assert world.serving() == "salt2"
    if wait <= handover.TAKE_WITHIN:
        with world.on("salt1"), address.Holder(world.wanted) as holder:
            holder.take(check=False)
        assert world.serving() == "salt1"
    world.deadline()
    assert world.serving() in ("salt1", "salt2")


class TwoHolders(stateful.RuleBasedStateMachine):
    """
    Both ends in steps of any order and at any time: never do both hold the addresses.

    The near end behaves as ``bring_home`` does: it takes the addresses within ``TAKE_WITHIN``
    of asking for the commit, if that was answered, and gives them back if anything after it fails.
    """

    def __init__(self):
        super().__init__()
        import pathlib
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.patch = MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here loses its cache
        self.world = World(pathlib.Path(self.folder.name), self.patch)
        self.asked = None
        self.committed = None

    def teardown(self):
        self.patch.undo()
        self.folder.cleanup()

    def far(self, verb, *arguments):
        try:
            return self.world.far_end(verb, *arguments)
        except FailbackError:
            return None

    @stateful.initialize(seconds=strategies.sampled_from([0.0, 3.0, 5.5, 8.5]))
    def armed_and_released(self, seconds):
        self.world.far_end("arm", samples.RUN, 10.0)
        self.world.release()
        self.world.now += seconds

    @stateful.rule(seconds=strategies.sampled_from([0.3, 1.9, 2.1, 4.1]))
    def time_passes(self, seconds):
        end = self.world.now + seconds
        if self.world.timer and self.world.timer[0] <= end:
            self.world.deadline()
        self.world.now = max(self.world.now, end)

    @stateful.precondition(lambda self: self.asked is None and self.world.power["salt1"])
    @stateful.rule(answered=strategies.sampled_from([True, True, True, False]))
    def ask_for_the_commit(self, answered):
        self.asked = self.world.now
        found = self.far("commit", samples.RUN)
        self.committed = found["generation"] if found and answered else None

    @stateful.precondition(lambda self: self.committed and self.world.power["salt1"])
    @stateful.rule()
    def the_near_end_goes_on(self):
        world, generation, self_asked = self.world, self.committed, self.asked
        self.committed = None
        with world.on("salt1"), address.Holder(world.wanted) as holder:
            try:
                ledger.write("salt", world.paths["salt1"], generation, "salt1", samples.RUN, "test")
            except FailbackError:
                return
            if world.now - self_asked <= handover.TAKE_WITHIN:
                holder.take(check=False)

    @stateful.precondition(lambda self: self.committed is None)
    @stateful.rule()
    def abort(self):
        """The near end asks for it, or its connection ends: either way it takes nothing any more."""
        self.far("take_back", samples.RUN)

    @stateful.precondition(lambda self: self.world.serving() == "salt1")
    @stateful.rule()
    def disarm(self):
        self.far("disarm", samples.RUN)

    @stateful.precondition(lambda self: self.world.power["salt1"])
    @stateful.rule()
    def the_near_end_loses_power(self):
        self.world.lose_power("salt1")
        self.committed = None

    @stateful.invariant()
    def nobody_holds_twice(self):
        assert self.world.serving() in ("salt1", "salt2", "nobody")

    @stateful.invariant()
    def a_serving_near_end_is_what_both_ledgers_say(self):
        if self.world.serving() == "salt1":
            mine, theirs = self.world.ledgers()
            assert mine == theirs and mine[1] == "salt1"

    @stateful.invariant()
    def as_long_as_nobody_serves_somebody_is_going_to(self):
        """Or the near end had them last, and the watch of the far end is there for that."""
        if self.world.serving() == "nobody":
            # After "done" the near end has served, and lost power: that is the watch's concern.
            assert self.world.timer is not None or self.world.phase() == "done"


TestTwoHolders = TwoHolders.TestCase
TestTwoHolders.settings = settings(
    max_examples=examples(300), stateful_step_count=8, database=None
)


# --- the far end by itself ---------------------------------------------------------------------


def serve(world, *requests, answers=None):
    """Let the far end answer some requests, then end its connection. Returns its answers."""
    answers = io.StringIO() if answers is None else answers
    lines = [
        one if isinstance(one, str) else json.dumps({"number": number, **one})
        for number, one in enumerate(requests)
    ]
    with world.on("salt2"):
        handover.serve(
            world.configs["salt2"], samples.RUN, world.paths["salt2"], io.StringIO("\n".join(lines)), answers
        )
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_it_introduces_itself(world):
    (hello,) = serve(world)
    assert hello["ready"] and hello["ledger"]["generation"] == 4
    assert hello["macs"] == {GATEWAY: two_nodes.MACS["salt2"]}


@pytest.mark.parametrize(
    "nonsense",
    ["", "no json", "[]", "7", "null", '"arm"', "{}", '{"do": "sh"}', '{"do": null}', '{"do": []}',
     '{"do": "arm"}', '{"do": "arm", "seconds": null}', '{"do": "arm", "seconds": "soon"}', "\0"],
)  # fmt: skip
def test_nonsense_is_answered_and_it_goes_on(world, nonsense):
    _, refused, looked = serve(world, nonsense, {"do": "look_closely"})
    assert refused["ok"] is False and refused["error"]
    assert looked["ok"] is True


def test_nonsense_after_the_release_does_not_keep_the_addresses_from_coming_back(world):
    with contextlib.suppress(TypeError):
        serve(world, {"do": "arm", "seconds": 10}, {"do": "release"}, {"do": ["arm"]})
    assert world.serving() == "salt2"


@pytest.mark.parametrize("verb", ["release", "commit"])
def test_nothing_is_given_away_that_was_not_armed(world, verb):
    assert serve(world, {"do": verb})[1]["ok"] is False
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_a_near_end_that_does_not_wait_for_the_answer_to_its_release(world):
    """Gone while the addresses were released: whether its answer can be written must not matter."""

    class Gone(io.StringIO):
        def flush(self):
            if world.phase() == handover.RELEASED:
                raise BrokenPipeError(32, "Broken pipe")

    with contextlib.suppress(OSError):
        serve(world, {"do": "arm", "seconds": 10}, {"do": "release"}, answers=Gone())
    assert world.serving() == "salt2", "they come back only at the deadline"


def test_a_take_back_that_failed_can_be_tried_again(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()

    def fail():
        raise Unavailable("The interface is down.")

    world.hooks[("salt2", "take")] = fail
    with pytest.raises(Unavailable):
        world.far_end("take_back", samples.RUN)
    world.far_end("take_back", samples.RUN)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_addresses_that_somebody_answers_for_are_left_alone(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    world.holders[GATEWAY].add("salt1")
    assert "leaves the addresses alone" in world.deadline()
    assert world.serving() == "salt1" and world.ledgers()[1] == (5, "salt1")


def test_a_node_that_is_cut_off_takes_nothing_back_that_it_has_given_away(world, monkeypatch):
    """Found by the campaign (recover/secondary_cut/committed): clients had written to the other one since."""
    monkeypatch.setattr(reachable, "answers", lambda config: False)
    world.configs["salt2"]["watch"] = {"reachable": ["10.0.0.1"]}
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    with pytest.raises(Unavailable, match="None of 10.0.0.1 answers salt2.* cut off"):
        world.far_end("take_back", samples.RUN)
    assert world.serving() == "nobody" and world.ledgers()[1] == (5, "salt1")
    # The near end that gives the pair back is heard, whatever has become of the router.
    world.far_end("take_back", samples.RUN, asked=True)
    assert world.serving() == "salt2" and world.ledgers()[1] == (6, "salt2")


def test_a_node_that_is_heard_again_takes_back_what_nobody_has(world, monkeypatch):
    heard = iter([False, True])
    monkeypatch.setattr(reachable, "answers", lambda config: next(heard))
    world.configs["salt2"]["watch"] = {"reachable": ["10.0.0.1"]}
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    with pytest.raises(Unavailable):
        world.far_end("take_back", samples.RUN)
    world.far_end("take_back", samples.RUN)
    assert world.serving() == "salt2"


def test_a_node_that_is_cut_off_takes_back_what_it_has_not_given_away(world, monkeypatch):
    monkeypatch.setattr(reachable, "answers", lambda config: False)
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("take_back", samples.RUN)
    assert (world.serving(), world.ledgers()) == SALT2_AS_BEFORE


def test_another_runs_timer_takes_nothing(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    assert "Nothing to take back" in world.far_end("take_back", samples.OTHER_RUN)
    assert world.serving() == "nobody"


def next_run(world):
    """Another run has taken over the locks of the one that died."""
    for node, paths in world.paths.items():
        with world.on(node):
            lock.release("salt", paths, samples.RUN)
            lock.acquire("salt", paths, samples.OTHER_RUN, "recover", {"boot_id": "elsewhere"}, 600)


@pytest.mark.parametrize(("later", "refused"), [(0, True), (9, True), (39, True), (41, False)])
def test_a_handover_outlives_its_run_and_the_next_one_waits_for_its_end(world, later, refused):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    next_run(world)
    world.now += later
    if not refused:
        # The timer never went off.
        world.far_end("arm", samples.OTHER_RUN, 10.0)
        assert world.phase() == "armed"
        return
    with pytest.raises(Refused, match=f"run {samples.RUN} has released the addresses"):
        world.far_end("arm", samples.OTHER_RUN, 10.0)
    assert world.phase() == "released"
    world.deadline()
    assert world.serving() == "salt2"
    world.far_end("arm", samples.OTHER_RUN, 10.0)


def test_what_a_dead_run_had_stopped_is_started_by_the_next_ones_way_back(working):
    working.far_end("arm", samples.RUN, 60.0)
    working.far_end("quiesce", samples.RUN)
    assert WORK not in working.units["salt2"]
    next_run(working)
    working.far_end("arm", samples.OTHER_RUN, 60.0)
    working.far_end("quiesce", samples.OTHER_RUN)
    working.deadline()
    assert WORK in working.units["salt2"]


def test_what_a_dead_run_had_stopped_is_not_forgotten_for_what_runs_now(working, monkeypatch):
    """The dead run had stopped lsyncd and had not come to the rest; the next one finds only the rest."""
    working.units["salt2"].add("lsyncd.service")
    commands = []
    real = two_nodes.system.run
    monkeypatch.setattr(
        two_nodes.system, "run", lambda argv, *rest, **options: commands.append(argv) or real(argv, *rest)
    )
    working.far_end("arm", samples.RUN, 60.0)
    working.hooks[("salt2", "stop")] = lambda: working.hooks.update({("salt2", "stop"): kill})
    with pytest.raises(Killed):
        working.far_end("quiesce", samples.RUN)
    assert working.units["salt2"] & {"lsyncd.service", WORK} == {WORK}
    next_run(working)
    working.far_end("arm", samples.OTHER_RUN, 60.0)
    assert working.far_end("quiesce", samples.OTHER_RUN) == {"stopped": ["lsyncd.service", WORK]}
    working.deadline()
    assert {"lsyncd.service", WORK} <= working.units["salt2"]
    # The order in which they were started the first time: lsyncd last.
    assert [one[4:] for one in commands if "--no-block" in one] == [[WORK, "lsyncd.service"]]


@pytest.mark.parametrize("phase", ["armed", "released", "taken back"])
def test_what_has_not_been_started_again_is_kept_whatever_the_dead_run_came_to(working, phase):
    working.far_end("arm", samples.RUN, 60.0)
    working.far_end("quiesce", samples.RUN)
    handover._write_state(working.configs["salt2"], working.paths["salt2"], phase=phase)
    next_run(working)
    working.now += 1000
    working.far_end("arm", samples.OTHER_RUN, 60.0)
    working.far_end("quiesce", samples.OTHER_RUN)
    working.deadline()
    assert WORK in working.units["salt2"]


def test_what_the_pillar_names_no_more_is_not_started_again(working):
    working.far_end("arm", samples.RUN, 60.0)
    working.far_end("quiesce", samples.RUN)
    next_run(working)
    working.configs["salt2"]["active_services"] = []
    working.far_end("arm", samples.OTHER_RUN, 60.0)
    assert working.far_end("quiesce", samples.OTHER_RUN) == {"stopped": []}
    working.deadline()
    assert WORK not in working.units["salt2"]


def test_a_reboot_forgets_a_handover(world):
    """Its state is in /run: after a boot nothing may be taken on the strength of it."""
    world.far_end("arm", samples.RUN, 10.0)
    place = handover._state_file(world.configs["salt2"], world.paths["salt2"])
    assert place.relative_to(world.paths["salt2"].root).parts[0] == "run"


def test_what_a_handover_leaves_in_run_is_for_root_alone(working):
    for node in ("salt1", "salt2"):
        incoming.announce("salt", working.paths[node])
    # As with the loosest umask that somebody may have.
    before = os.umask(0)
    try:
        working.bring_home()
    finally:
        os.umask(before)
    found = [one for node in working.paths.values() for one in (node.root / "run").rglob("*")]
    modes = {str(one): oct(stat.S_IMODE(one.lstat().st_mode)) for one in found}
    assert len({one.name for one in found} & {"handover.json", "incoming"}) == 2
    assert modes == {str(one): "0o700" if one.is_dir() else "0o600" for one in found}


# --- what is left when it did not end as it should -----------------------------------------------


def silent(world, node):
    """What a node's watch does when nobody answers."""
    with world.on(node):
        return takeover.take_over(world.configs[node], "silence", world.paths[node])


def test_a_takeover_ends_what_writes_here_between_its_ledger_and_its_addresses(world, monkeypatch):
    """Before the ledger another one could begin; behind the addresses it would write into what is served."""
    world.bring_home()
    world.lose_power("salt1")
    with world.on("salt2"):
        ledger.write("salt", world.paths["salt2"], 5, "salt1", None, "a test")
    seen = []
    monkeypatch.setattr(
        takeover.incoming, "stop", lambda *_: seen.append((world.ledgers()[1], world.serving())) or []
    )
    silent(world, "salt2")
    # And once more when it serves, to wait until they are gone.
    assert seen == [((6, "salt2"), "nobody"), ((6, "salt2"), "salt2")]
    assert world.serving() == "salt2"


@pytest.mark.parametrize("changes", [{}, {"replicate": []}])
def test_a_near_end_that_gave_up_takes_nothing_over_later(tmp_path, monkeypatch, changes):
    """Hours later the far end dies. What the near end has is as old as the handover that failed."""
    world = World(tmp_path, monkeypatch, **changes)

    def fail():
        raise Unavailable("The kernel says no.")

    world.hooks[("salt1", "take")] = fail
    with pytest.raises(Unavailable, match="salt2 serves again"):
        world.bring_home()
    assert world.ledgers() == [(5, "salt1"), (6, "salt2")]
    assert world.detached == [("salt2", ["ask-to-yield", "salt"])]
    world.lose_power("salt2")
    with pytest.raises(Refused, match="has not been admitted"):
        silent(world, "salt1")
    with world.on("salt1"):
        assert ledger.read("salt", world.paths["salt1"])["unsaved"] is True


def test_a_near_end_that_was_killed_is_told_who_serves(world, monkeypatch):
    world.hooks[("salt1", "taken")] = lambda: (_ for _ in ()).throw(Killed())
    monkeypatch.setattr(handover.FarEnd, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        world.bring_home()
    world.holders[GATEWAY].discard("salt1")
    world.deadline()
    assert world.serving() == "salt2"
    assert world.detached == [("salt2", ["ask-to-yield", "salt"])]
    with world.on("salt1"):
        told = takeover.yield_to(world.configs["salt1"], 6, "salt2", world.paths["salt1"])
    assert "gave way" in told
    with pytest.raises(Refused):
        silent(world, "salt1")


def test_a_commit_that_nobody_could_look_after_in_time_is_left_alone(world):
    """Its cable was out for an hour: the other node may have served since, and died."""
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    world.now += 10 + handover.TAKEN_BACK_WITHIN + 1
    assert "could not look in time" in world.far_end("take_back", samples.RUN)
    assert (world.serving(), world.ledgers()[1], world.phase()) == ("nobody", (5, "salt1"), "done")


def test_addresses_that_were_never_given_away_come_back_however_late(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.now += 3600
    world.far_end("take_back", samples.RUN)
    assert world.serving() == "salt2"


def test_a_far_end_that_has_taken_the_addresses_back_proves_and_disarms_nothing(world):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    world.deadline()
    for verb in ("prove", "disarm"):
        with pytest.raises(Refused):
            world.far_end(verb, samples.RUN)
    assert (world.serving(), world.phase()) == ("salt2", "taken back")


def test_the_near_end_gives_up_when_the_far_end_serves_again_already(world):
    """It stood still for long in the very moment after it had looked at its clock."""
    world.hooks[("salt1", "taken")] = lambda: (world.holders[GATEWAY].discard("salt1"), world.deadline())
    with pytest.raises(Unavailable, match="is not given away"):
        world.bring_home()
    assert world.serving() == "salt2"


def test_a_near_end_without_proof_says_that_it_serves(world, monkeypatch):
    real = handover.FarEnd.ask

    def ask(far, do, *arguments, **request):
        if do == "prove":
            raise Unavailable("The connection has ended.")
        return real(far, do, *arguments, **request)

    monkeypatch.setattr(handover.FarEnd, "ask", ask)
    with pytest.raises(Unavailable, match="salt1 has the addresses of salt, but salt2 proved nothing"):
        world.bring_home()
    assert "leaves the addresses alone" in world.deadline()
    assert world.serving() == "salt1"


def test_the_near_ends_own_watch_takes_nothing_while_the_last_changes_come_over(world):
    with world.on("salt1"):
        ledger.write("salt", world.paths["salt1"], 4, "salt2", None, "admitted")

    def last_pass(limit):
        with pytest.raises(Refused, match="A handover of salt is under way"):
            silent(world, "salt1")

    world.bring_home(last_pass)
    assert (world.serving(), world.ledgers()) == ("salt1", [(5, "salt1"), (5, "salt1")])


def test_a_near_end_that_took_over_meanwhile_does_not_lead(world):
    with world.on("salt1"):
        ledger.write("salt", world.paths["salt1"], 4, "salt2", None, "admitted")

    def expect():
        world.holders[GATEWAY].discard("salt2")
        silent(world, "salt1")
        world.holders[GATEWAY].add("salt2")

    world.hooks[("salt1", "expect")] = expect
    with pytest.raises(Refused, match="salt1 has taken salt over by itself"):
        world.bring_home()


def test_a_handover_is_armed_anew_only_before_its_timer_has_gone_off(working):
    """Else what was stopped would run again while the addresses are released."""
    working.far_end("arm", samples.RUN, 10.0)
    working.far_end("quiesce", samples.RUN)
    working.deadline()
    assert WORK in working.units["salt2"]
    with working.on("salt2"), pytest.raises(Refused, match="took too long"):
        handover.arm(working.configs["salt2"], samples.RUN, 10.0, working.paths["salt2"], again=True)
    assert working.phase() == "done"


def test_what_could_not_be_started_again_is_tried_once_more(working, monkeypatch):
    """systemd was busy: its timer's unit, which failed, runs again a second later."""
    real = working.run

    def busy(argv, *rest, **options):
        if argv[:3] == ["systemctl", "start", "--no-block"]:
            raise Unavailable("Cannot start services again: it did not end within 10 s.")
        return real(argv, *rest, **options)

    for phase in ("armed", "released"):
        working.far_end("arm", samples.RUN, 10.0)
        working.far_end("quiesce", samples.RUN)
        if phase == "released":
            working.release()
        monkeypatch.setattr(system, "run", busy)
        with pytest.raises(Unavailable, match="start services again"):
            working.far_end("take_back", samples.RUN)
        monkeypatch.setattr(system, "run", real)
        working.far_end("take_back", samples.RUN)
        assert working.serving() == "salt2" and WORK in working.units["salt2"]


def test_one_dead_link_does_not_keep_the_other_addresses_from_coming_back(tmp_path, monkeypatch):
    world = two_addresses(tmp_path, monkeypatch)
    one, two = (each.address for each in world.wanted)
    world.unlinked["salt2"] = {two}
    monkeypatch.setattr(address, "probe_all", linked_only(world))
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.deadline()
    assert world.holders == {one: {"salt2"}, two: {"salt2"}}


def test_a_dead_link_of_the_node_that_gives_the_pair_away_does_not_stop_it(tmp_path, monkeypatch):
    world = two_addresses(tmp_path, monkeypatch)
    world.unlinked["salt2"] = {world.wanted[1].address}
    monkeypatch.setattr(address, "probe_all", linked_only(world))
    world.bring_home()
    assert (world.serving(), world.phase()) == ("salt1", "done")


def two_addresses(tmp_path, monkeypatch):
    entry = samples.pair()["floating_ips"][0]
    other = {**entry, "name": "second", "address": "10.0.1.5/24", "interface": "eth1", "label": None}
    return World(tmp_path, monkeypatch, floating_ips=[entry, other])


def linked_only(world):
    """Asking on an interface without a link is an error, as on a real host."""

    def probe_all(floatings, timeout=0.5, count=1):
        dead = [one.address for one in floatings if one.address in world.unlinked[world.node]]
        if dead:
            raise Unavailable(f"{dead} has no carrier")
        return world.probe_all(floatings, timeout, count)

    return probe_all


def test_the_margins_leave_room_between_the_two():
    """The near end's time ends before the far end's can begin, with a second for a busy host."""
    assert handover.TAKE_WITHIN + 1.0 <= handover.COMMIT_MARGIN


def test_the_far_end_of_a_handover_that_is_not_ours_is_refused(world):
    files.write_json(
        world.paths["salt2"].lock("salt"),
        {**files.read_json(world.paths["salt2"].lock("salt"), "a test"), "run": samples.OTHER_RUN},
    )
    answers = serve(world, {"do": "arm", "seconds": 10}, {"do": "release"})
    assert [one["ok"] for one in answers[1:]] == [False, False]
    assert world.serving() == "salt2"
    assert not os.path.exists(handover._state_file(world.configs["salt2"], world.paths["salt2"]))
