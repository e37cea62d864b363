"""The giver of a handover by itself: quiesce, release, commit, take back."""

import contextlib
import io
import os
import stat

import pytest
import samples
import two_nodes
from handover_cases import GATEWAY
from handover_cases import SALT2_AS_BEFORE
from handover_cases import WORK
from handover_cases import kill
from handover_cases import serve
from two_nodes import Killed

from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import giver
from failback.handover import phases
from failback.journal import service
from failback.network import address_holder
from failback.network import floating
from failback.network import reachable
from failback.replication import incoming
from failback.state import ledger


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
            if world.phase() == phases.RELEASED:
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
    world.members["salt2"].config["watch"] = {"reachable": ["10.0.0.1"]}
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    world.far_end("commit", samples.RUN)
    with pytest.raises(Unavailable, match="None of 10.0.0.1 answers salt2.* cut off"):
        world.far_end("take_back", samples.RUN)
    assert world.serving() == "nobody" and world.ledgers()[1] == (5, "salt1")
    # The taker that gives the pair back is heard, whatever has become of the router.
    world.far_end("take_back", samples.RUN, asked=True)
    assert world.serving() == "salt2" and world.ledgers()[1] == (6, "salt2")


def test_a_node_that_is_heard_again_takes_back_what_nobody_has(world, monkeypatch):
    heard = iter([False, True])
    monkeypatch.setattr(reachable, "answers", lambda config: next(heard))
    world.members["salt2"].config["watch"] = {"reachable": ["10.0.0.1"]}
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
    for node in world.members:
        with world.on(node) as member:
            member.lock.release(samples.RUN)
            member.lock.acquire(samples.OTHER_RUN, "recover", {"boot_id": "elsewhere"}, 600)


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
    phases.write_state(working.members["salt2"], phase=phase)
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
    working.members["salt2"].config["active_services"] = []
    working.far_end("arm", samples.OTHER_RUN, 60.0)
    assert working.far_end("quiesce", samples.OTHER_RUN) == {"stopped": []}
    working.deadline()
    assert WORK not in working.units["salt2"]


def test_a_reboot_forgets_a_handover(world):
    """Its state is in /run: after a boot nothing may be taken on the strength of it."""
    world.far_end("arm", samples.RUN, 10.0)
    place = phases._state_file(world.members["salt2"])
    assert place.relative_to(world.members["salt2"].paths.root).parts[0] == "run"


def test_what_a_handover_leaves_in_run_is_for_root_alone(working):
    for node in ("salt1", "salt2"):
        incoming.announce(working.members[node])
    # As with the loosest umask that somebody may have.
    before = os.umask(0)
    try:
        working.bring_home()
    finally:
        os.umask(before)
    found = [one for member in working.members.values() for one in (member.paths.root / "run").rglob("*")]
    modes = {str(one): oct(stat.S_IMODE(one.lstat().st_mode)) for one in found}
    assert len({one.name for one in found} & {"handover.json", "incoming"}) == 2
    assert modes == {str(one): "0o700" if one.is_dir() else "0o600" for one in found}


def test_the_program_of_an_earlier_timer_is_no_obstacle(world):
    """An end at its deadline, and the next handover in that very second."""
    node, unit = world.nodes["salt2"], "failback-take-back-salt"
    earlier = node.timer_runs[unit] = world.start(unit, node, lambda: world.engine.wait(3600))
    world.far_end("arm", samples.RUN, 10.0)
    assert earlier.dead
    world.release()
    world.deadline()
    assert (world.serving(), world.phase()) == ("salt2", "taken back")


# --- the journals of changes --------------------------------------------------------------------------


class Journals:
    """In place of the process that keeps them: who asks what, and who serves then."""

    def __init__(self, world, monkeypatch, fails_at=None):
        self.world, self.fails_at, self.asked = world, fails_at, []
        monkeypatch.setattr(service, "Client", self.connected)

    def connected(self, member):
        self._note("connect")
        assert member.node == "salt2"
        return self

    def close(self):
        self._note("close")

    def ask(self, do):
        self._note(do)
        return {"ok": True}

    def changes(self, run, also):
        self._note(f"changes of {run}, and {also}")
        return {"srv-salt": {"names": ["top.sls"], "folders": [], "why": None}}

    def _note(self, what):
        self.asked.append((what, self.world.serving()))
        if self.fails_at and what.startswith(self.fails_at):
            raise Unavailable(f"no answer to {self.fails_at}")


ARM, CLOSELY = {"do": "arm", "seconds": 10}, {"do": "look_closely"}
RELEASE = {"do": "release", "also": {"srv-salt": ["kept"]}}
NAMED = f"changes of {samples.RUN}, and {{'srv-salt': ['kept']}}"


def test_what_has_changed_is_asked_when_nobody_serves_any_more(world, monkeypatch):
    journals = Journals(world, monkeypatch)
    _, armed, closely, again, released = serve(world, ARM, CLOSELY, {**ARM, "again": True}, RELEASE)
    assert [one["journal"] for one in (armed, closely, again)] == [None] * 3
    assert released["changes"]["srv-salt"]["names"] == ["top.sls"] and released["why"] is None
    # Connected to once, before anything is released; written is until nobody serves.
    first, *between, last = journals.asked
    assert first == ("connect", "salt2") and last[0] == "close"
    assert between == [("look_closely", "salt2"), (NAMED, "nobody")]


def steps(answer):
    return [one["step"] for one in answer["timeline"]]


def test_the_release_says_how_long_its_steps_took(world, monkeypatch):
    Journals(world, monkeypatch)
    *_, released, committed = serve(world, ARM, RELEASE, {"do": "commit"})
    assert steps(released) == ["asked to release", "the addresses are released", "what has changed is named"]
    assert steps(committed)[3:] == ["asked to give the pair away", "the ledger names the other node"]


@pytest.mark.parametrize(
    ("fails_at", "said", "asked"),
    [
        ("connect", [True, True, True], ["connect"]),
        ("look_closely", [False, True, True], ["connect", "look_closely", "close"]),
        ("changes", [False, False, True], ["connect", "look_closely", NAMED, "close"]),
    ],
)
def test_without_a_journal_the_taker_is_told_why_and_the_handover_goes_on(
    world, monkeypatch, fails_at, said, asked
):
    journals = Journals(world, monkeypatch, fails_at)
    _, armed, closely, released = serve(world, ARM, CLOSELY, RELEASE)
    whys = [armed["journal"], closely["journal"], released["why"]]
    assert whys == [f"no answer to {fails_at}" if one else None for one in said]
    assert released["ok"] and released["changes"] is None
    # One that has failed is not asked again in the window.
    assert [one for one, _ in journals.asked] == asked


def test_a_handover_that_is_not_armed_asks_for_no_journal(world, monkeypatch):
    journals = Journals(world, monkeypatch)
    _, closely, _ = serve(world, CLOSELY, RELEASE)
    assert closely["journal"] == "no journal of changes was asked for"
    assert journals.asked == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda member: member.ledger.path.unlink(), id="no ledger"),
        pytest.param(
            lambda member: member.ledger.write(ledger.Entry(5, "salt1", None, "a test")), id="another node"
        ),
        pytest.param(
            lambda member: member.ledger.write(ledger.Entry(5, "salt2", None, "a test")), id="a newer one"
        ),
    ],
)
def test_a_node_that_has_changed_hands_since_gives_nothing_away(world, change):
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    with world.on("salt2") as member:
        change(member)
        before = member.ledger.read()
    with pytest.raises(Refused, match="salt2 has changed hands on its own"):
        world.far_end("commit", samples.RUN)
    assert world.members["salt2"].ledger.read() == before and world.phase() == "released"


@pytest.mark.parametrize("phase", ["released", "taken back"])
def test_a_handover_whose_addresses_come_back_is_not_ended_beside_that(world, phase):
    """Its end would stop the timer that brings them back."""
    world.far_end("arm", samples.RUN, 10.0)
    world.release()
    if phase == "taken back":
        world.far_end("take_back", samples.RUN)
    with pytest.raises(Refused, match="salt2 serves salt again, or is about to"):
        world.far_end("disarm", samples.RUN)
    assert world.phase() == phase
    world.deadline()
    assert world.serving() == "salt2"


def test_another_runs_handover_is_not_ended(world):
    world.far_end("arm", samples.RUN, 10.0)
    with pytest.raises(Refused, match=f"is not that of run {samples.OTHER_RUN}"):
        world.far_end("disarm", samples.OTHER_RUN)
    assert world.phase() == "armed" and world.timer


@pytest.mark.parametrize(
    ("committed", "runs"),
    [
        pytest.param(False, True, id="released: its ledger still names it active"),
        pytest.param(True, False, id="given away: the other node has it"),
    ],
)
def test_a_pair_without_addresses_has_none_to_take_back(working, committed, runs):
    working.members["salt2"].config["floating_ips"] = []
    working.far_end("arm", samples.RUN, 60.0)
    working.far_end("quiesce", samples.RUN)
    working.release()
    if committed:
        working.far_end("commit", samples.RUN)
    said = working.far_end("take_back", samples.RUN)
    assert said == "salt has no addresses to take back." and working.phase() == "done"
    assert (WORK in working.units["salt2"]) is runs
    # Once more, by the timer: it is over.
    assert "Nothing to take back" in working.far_end("take_back", samples.RUN)


def releases(member, run):
    with address_holder.Holder(floating.of_pair(member.config)) as holder:
        return giver.release(member, run, holder)


@pytest.mark.parametrize("do", [giver.quiesce, releases, giver.commit])
@pytest.mark.parametrize("phase", [*(phases.ARMED, phases.RELEASED), phases.DONE, phases.TAKEN_BACK])
@pytest.mark.parametrize("run", [samples.RUN, samples.OTHER_RUN])
def test_each_step_is_that_of_its_run_and_its_phase_alone(working, do, phase, run):
    """A second taker, or one that comes late, finds the pair as the first has it."""
    fits = phases.RELEASED if do is giver.commit else phases.ARMED
    working.far_end("arm", samples.RUN, 60.0)
    phases.write_state(working.members["salt2"], phase=phase)
    before = phases.read_state(working.members["salt2"]), set(working.units["salt2"]), working.ledgers()
    with working.on("salt2") as member:
        if (run, phase) == (samples.RUN, fits):
            do(member, run)
            return
        with pytest.raises(Refused, match="so nothing is|are not released by run"):
            do(member, run)
    assert (
        phases.read_state(working.members["salt2"]),
        set(working.units["salt2"]),
        working.ledgers(),
    ) == before
    assert working.serving() == "salt2"


def test_all_that_is_stopped_stops_within_the_time_for_which_the_way_back_is_armed(tmp_path, monkeypatch):
    names = ["one.service", "two.service", "three.service"]
    services_ = [{"name": name, "proof": None, "status": None} for name in names]
    world = two_nodes.World(tmp_path, monkeypatch, active_services=services_)
    world.units["salt2"] = set(names)
    limits = []

    def stop(pair, key, one, node, limit):
        limits.append((one["name"], limit))
        world.now += 60

    monkeypatch.setattr(giver.services, "stop", stop)
    world.far_end("arm", samples.RUN, 300.0)
    world.far_end("quiesce", samples.RUN)
    # The last one first. Whoever has no time left gets a second, for one that stops at once.
    assert limits == [("three.service", 110), ("two.service", 50), ("one.service", 1)]


@pytest.mark.parametrize(("left", "enough"), [(4.5, True), (3.5, False)])
@pytest.mark.parametrize("verb", ["release", "commit"])
def test_nothing_is_given_away_so_late_that_the_two_turns_could_overlap(world, verb, left, enough):
    world.far_end("arm", samples.RUN, 10.0)
    if verb == "commit":
        world.release()
    world.now += 10 - left
    before = world.serving(), world.ledgers(), world.phase()
    do = world.release if verb == "release" else lambda: world.far_end("commit", samples.RUN)
    if enough:
        do()
        return
    with pytest.raises(Refused, match=f"Only {left} s are left until salt2 takes the addresses back"):
        do()
    assert (world.serving(), world.ledgers(), world.phase()) == before


def test_a_connection_that_ends_while_it_is_armed_ends_the_handover(working):
    """Nobody goes on with it, so what was stopped need not wait for the timer."""
    serve(working, ARM, {"do": "quiesce"})
    assert working.phase() == "done" and working.timer is None
    assert WORK in working.units["salt2"] and working.serving() == "salt2"


@pytest.mark.parametrize("phase", ["armed", "released", "committed"])
def test_a_connection_that_ends_leaves_what_another_run_has_begun(world, phase):
    world.far_end("arm", samples.RUN, 10.0)
    if phase != "armed":
        world.release()
    phases.write_state(world.members["salt2"], run=samples.OTHER_RUN, phase=phase)
    before = world.serving(), phases.read_state(world.members["salt2"])
    serve(world)
    assert (world.serving(), phases.read_state(world.members["salt2"])) == before
    assert world.timer


def test_a_connection_that_ends_after_the_pair_was_given_away_takes_nothing_back_by_itself(world):
    """The taker may have it: whether somebody answers is looked at when its time is over."""
    serve(world, ARM, RELEASE, {"do": "commit"})
    assert (world.phase(), world.serving()) == ("committed", "nobody") and world.timer
    world.deadline()
    assert world.serving() == "salt2" and world.ledgers()[1] == (6, "salt2")


@pytest.mark.parametrize("committed", [False, True])
def test_what_was_stopped_runs_again_when_the_addresses_have_come_back(working, committed):
    working.far_end("arm", samples.RUN, 60.0)
    working.far_end("quiesce", samples.RUN)
    working.release()
    if committed:
        working.far_end("commit", samples.RUN)
    assert WORK not in working.units["salt2"]
    working.deadline()
    assert working.serving() == "salt2" and WORK in working.units["salt2"]
    assert phases.read_state(working.members["salt2"])["stopped"] == []
