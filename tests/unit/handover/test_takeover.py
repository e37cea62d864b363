"""A node that takes over, and a node that steps down, with no orchestration."""

import contextlib
import copy
import json
import os

import pytest
import samples
from two_nodes import Killed
from two_nodes import World

from failback.decisions import conflicts
from failback.decisions import fence
from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.fence import proof
from failback.handover import claims
from failback.handover import takeover
from failback.host import files
from failback.host import system
from failback.pair import Member
from failback.peer import ssh
from failback.replication import in_step
from failback.state import ledger

GATEWAY = "10.0.0.5/24"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """As it should be: salt1 serves in generation 5, salt2 stands by, and lsyncd runs."""
    world = World(tmp_path, monkeypatch)
    world.bring_home()
    with world.on("salt2") as member:
        # lsyncd's first pass has ended, and the recovery has admitted the standby.
        member.ledger.write(ledger.Entry(5, "salt1", samples.RUN, "recovered"))
    world.units["salt1"].add("lsyncd.service")
    return world


def take_over(world, node="salt2"):
    with world.on(node) as member:
        return takeover.take_over(member, "silence")


def yield_to(world, generation, active="salt2", node="salt1"):
    with world.on(node) as member:
        return takeover.yield_to(member, generation, active)


def own(world, node):
    return world.members[node].ledger.read()


def test_a_node_takes_over(world):
    world.lose_power("salt1")
    assert take_over(world)["generation"] == 6
    assert world.serving() == "salt2"
    assert world.ledgers() == [(5, "salt1"), (6, "salt2")]
    assert own(world, "salt2")["why"] == "silence"


def test_the_history_tells_of_a_takeover_and_of_a_step_down(world, monkeypatch):
    logged = []
    monkeypatch.setattr(system, "log", lambda sentence, priority=system.NOTICE: logged.append(priority))
    yield_to(world, 6)
    world.lose_power("salt1")
    take_over(world)
    for node, operation, reason in (
        ("salt2", "takeover", "silence"),
        ("salt1", "stepdown", "stepped down to salt2, after it had served too"),
    ):
        last = world.members[node].runs.history()[-1]
        assert (last["operation"], last["reason"], last["result"]) == (operation, reason, "succeeded")
        assert last["user"] == "watch" and not last["backup"]
    assert logged == [system.WARNING] * 2


def test_a_takeover_that_the_history_cannot_keep_is_one_all_the_same(world, monkeypatch):
    world.lose_power("salt1")
    with world.on("salt2") as member:
        monkeypatch.setattr(type(member.runs), "note", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert take_over(world)["generation"] == 6
    assert world.serving() == "salt2"


def test_it_asks_the_old_holder_to_give_way_when_it_holds_the_addresses(world, monkeypatch):
    asked = []
    monkeypatch.setattr(
        system, "start_detached", lambda argv: asked.append((tuple(argv[1:]), world.serving()))
    )
    world.lose_power("salt1")
    take_over(world)
    assert asked == [(("ask-to-yield", "salt"), "salt2")]


def test_it_is_told_when_the_takeover_is_done(world, monkeypatch):
    """So no hook can make it longer."""
    told = []
    monkeypatch.setattr(
        takeover.tell,
        "tell",
        lambda _, kind, *__, **___: told.append((kind, world.serving(), world.ledgers()[1])),
    )
    world.lose_power("salt1")
    take_over(world)
    assert told == [("takeover", "salt2", (6, "salt2"))]


def test_the_generation_is_written_before_the_address_is_taken(world):
    world.lose_power("salt1")
    seen = []
    world.hooks[("salt2", "take")] = lambda: seen.append(world.ledgers()[1])
    take_over(world)
    assert seen == [(6, "salt2")]


def test_a_node_that_dies_before_it_takes_the_address_may_have_served(world):
    world.lose_power("salt1")

    def die():
        world.lose_power("salt2")
        raise Killed

    world.hooks[("salt2", "take")] = die
    with pytest.raises(Killed):
        take_over(world)
    reports = [
        samples.report("salt1", own(world, "salt1")),
        samples.report("salt2", own(world, "salt2")),
    ]
    found = verdict.judge(samples.pair(), *reports)
    assert found.name == verdict.SPLIT and "salt1 may have served on" in found.sentence
    assert verdict.judge({**samples.pair(), "lease": {"ttl": 10}}, *reports).newest == "salt2"


def test_a_node_that_serves_already_has_taken_nothing_over(world):
    """The watch had looked before the handover gave the addresses back."""
    found = take_over(world, "salt1")
    assert (found["generation"], found["addresses"]) == (5, [])
    assert world.ledgers()[0] == (5, "salt1")


def test_nothing_is_taken_while_somebody_answers(world):
    with pytest.raises(Refused, match="is answered by"):
        take_over(world)
    assert world.ledgers() == [(5, "salt1"), (5, "salt1")]


def test_a_node_that_has_rebooted_takes_nothing(world):
    world.lose_power("salt1")
    world.boots["salt2"] += 1
    with pytest.raises(Refused, match=r"not been admitted.*pair\.status salt"):
        take_over(world)
    assert (world.serving(), world.ledgers()[1]) == ("nobody", (5, "salt1"))


@pytest.mark.parametrize("content", [None, "", '{"generation"'], ids=["missing", "empty", "torn"])
def test_a_node_without_a_readable_ledger_takes_nothing(world, content):
    world.lose_power("salt1")
    place = world.members["salt2"].ledger.path
    place.unlink()
    if content is not None:
        place.write_text(content)
    with pytest.raises(FailbackError):
        take_over(world)
    assert world.serving() == "nobody"


def test_a_node_that_gave_way_does_not_take_over(world):
    """It has missed what the other one wrote since."""
    yield_to(world, 6)
    with pytest.raises(Refused, match="not been admitted"):
        take_over(world, "salt1")


# --- stepping down --------------------------------------------------------------------------------


def test_what_a_node_has_written_in_an_earlier_boot_is_still_unsaved_when_it_steps_down(world):
    world.lose_power("salt1")
    world.power["salt1"] = True
    yield_to(world, 6)
    assert own(world, "salt1")["unsaved"] is True


def test_the_older_generation_steps_down(world):
    assert "salt1 stepped down to salt2" in yield_to(world, 6)
    assert world.serving() == "nobody"
    found = own(world, "salt1")
    assert (found["generation"], found["active"], found["boot_id"]) == (6, "salt2", "")


@pytest.mark.parametrize("generation", [0, 4, 5])
def test_nobody_steps_down_to_what_is_not_newer(world, generation):
    with pytest.raises(Refused, match=f"does not step down to {generation}"):
        yield_to(world, generation)
    assert (world.serving(), world.ledgers()[0]) == ("salt1", (5, "salt1"))


@pytest.mark.parametrize("generation", [26, 999_999_999_999])
def test_nobody_steps_down_to_a_generation_that_cannot_be_true(world, monkeypatch, generation):
    """Else the next one could not be said any more, and whoever named it would be the newest for ever."""
    logged = []
    monkeypatch.setattr(takeover.system, "log", lambda sentence, *_: logged.append(sentence))
    with pytest.raises(Refused, match=r"mistake or an attack.*salt-run pair\.status"):
        yield_to(world, generation)
    assert (world.serving(), world.ledgers()[0]) == ("salt1", (5, "salt1"))
    assert len(logged) == 1 and str(generation) in logged[0]
    assert "stepped down" in yield_to(world, 25)


def test_a_node_does_not_give_way_to_itself(world):
    with pytest.raises(FailbackError):
        yield_to(world, 6, active="salt1")
    assert world.serving() == "salt1"


def test_a_service_that_does_not_stop_does_not_keep_the_ledger_at_the_old_generation(world):
    """Still named active and admitted, it would take over in the very generation it stepped down to."""

    def fail():
        raise Unavailable("Cannot stop what only the active node runs.")

    world.hooks[("salt1", "stop")] = fail
    with pytest.raises(Unavailable):
        yield_to(world, 6)
    assert world.serving() == "nobody"
    found = own(world, "salt1")
    assert (found["generation"], found["active"]) == (6, "salt2")


def test_the_addresses_go_before_the_services(world):
    seen = []
    world.hooks[("salt1", "stop")] = lambda: seen.append(world.serving())
    yield_to(world, 6)
    assert seen == ["nobody"]


# --- asking the other one ----------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the other node was asked over SSH."""
    asked = []

    def ask(member, *words, timeout=None):
        asked.append(words)
        if words[0] == "report":
            return json.dumps({"ledger": samples.ledger(asked.theirs, "salt2")})
        return "It stepped down.\n"

    class Asked(list):
        theirs = 6

    asked = Asked()
    monkeypatch.setattr(ssh, "ask", ask)
    return asked


def ask_to_yield(world, node="salt1"):
    with world.on(node) as member:
        return takeover.ask_to_yield(member)


def test_the_active_node_says_in_which_generation_it_is_active(world, asked):
    assert ask_to_yield(world) == "It stepped down."
    assert asked == [("yield", "5")]


def test_a_node_that_is_not_active_asks_nobody_to_give_way(world, asked):
    """It would have the active node yield to a node that does not serve: then nobody does."""
    with contextlib.suppress(FailbackError):
        ask_to_yield(world, "salt2")
    assert asked == []


def test_a_node_without_a_ledger_says_so(world, asked):
    world.members["salt1"].ledger.path.unlink()
    with contextlib.suppress(FailbackError):
        assert isinstance(ask_to_yield(world), str)
    assert asked == []


@pytest.mark.parametrize(
    ("theirs", "serving", "words"),
    [
        pytest.param(6, "nobody", [("report",)], id="the newer one: this node steps down"),
        pytest.param(4, "salt1", [("report",), ("yield", "5")], id="the older one: it is asked to"),
    ],
)
def test_of_two_holders_the_older_generation_steps_down(world, asked, theirs, serving, words):
    asked.theirs = theirs
    with world.on("salt1") as member:
        takeover.conflict(member, ["02:00:00:00:00:02"])
    assert (world.serving(), asked) == (serving, words)


@pytest.mark.parametrize("answer", ["hi\n", "", "hi\n{\n"])
def test_a_peer_whose_answer_cannot_be_read_is_told_to_step_down_all_the_same(world, monkeypatch, answer):
    """It judges by its own ledger. Its shell may print something, and two would have the address for ever."""
    words = []

    def ask(member, *said, timeout=None):
        words.append(said)
        return answer if said[0] == "report" else "hi\nsalt2 stepped down to salt1.\n"

    monkeypatch.setattr(ssh, "ask", ask)
    with world.on("salt1") as member:
        said = takeover.conflict(member, ["02:00:00:00:00:02"])
    assert words == [("report",), ("yield", "5")] and world.serving() == "salt1"
    assert "no answer that can be read" in said and said.endswith("salt2 stepped down to salt1.")


def test_a_report_behind_what_the_peer_s_shell_prints_is_read(world, monkeypatch):
    report = json.dumps({"node": "salt2", "ledger": samples.ledger(6, "salt2")})
    monkeypatch.setattr(ssh, "ask", lambda member, *words, timeout=None: f"hi\n{report}\n")
    with world.on("salt1") as member:
        assert takeover.conflict(member, ["02:00:00:00:00:02"]).startswith("salt1 stepped down to salt2")
    assert world.serving() == "nobody"


def test_a_second_holder_that_is_not_the_peer_is_reported_and_nothing_given_up(world, monkeypatch):
    def silent(*_, **__):
        raise Unavailable("no answer")

    monkeypatch.setattr(ssh, "ask", silent)
    with world.on("salt1") as member:
        said = takeover.conflict(member, ["02:00:00:00:00:99"])
    assert "02:00:00:00:00:99" in said and world.serving() == "salt1"


# --- what only the active node runs --------------------------------------------------------------


FIRST, SECOND = ({"name": name, "proof": None, "status": None} for name in ("first", "second"))


@pytest.fixture
def detached(monkeypatch):
    """The commands that were started on their own, in order."""
    detached = []
    monkeypatch.setattr(system, "start_detached", lambda argv: detached.append(tuple(argv[1:])))
    return detached


@pytest.mark.parametrize(
    ("mode", "entries", "run", "command"),
    [
        ("automatic", [FIRST], None, "activate"),
        ("automatic", [], None, "ask-to-yield"),
        ("manual", [FIRST], None, "ask-to-yield"),
        ("manual", [], None, "ask-to-yield"),
        # An orchestration starts them itself, after it has proved the rest.
        ("automatic", [FIRST], samples.RUN, "ask-to-yield"),
    ],
)
def test_the_watch_has_active_services_started_in_an_automatic_pair(
    world, detached, mode, entries, run, command
):
    world.lose_power("salt1")
    config = {**world.members["salt2"].config, "mode": mode, "active_services": entries}
    with world.on("salt2") as member:
        takeover.take_over(Member.of(config, member.paths), "silence", run)
    assert detached == [(command, "salt")]


@pytest.fixture
def started(world, monkeypatch, asked):
    """What was started and stopped, in order; the names in ``failing`` do not start."""

    class Started(list):
        failing = ()

        def start(self, pair, key, service, node):
            if service["name"] in self.failing:
                raise Unavailable(f"{service['name']} does not start")
            self.append(f"start {service['name']}")
            world.hook(f"start {service['name']}")
            return "started"

        def stop(self, pair, key, service, node):
            self.append(f"stop {service['name']}")
            return "stopped"

    started = Started()
    monkeypatch.setattr(takeover.services, "start", started.start)
    monkeypatch.setattr(takeover.services, "stop", started.stop)
    return started


def taken_over(world):
    world.lose_power("salt1")
    take_over(world)


def activate(world, mode="automatic", entries=(FIRST, SECOND)):
    config = {**world.members["salt2"].config, "mode": mode, "active_services": list(entries)}
    with world.on("salt2") as member:
        return takeover.activate(Member.of(config, member.paths))


def test_they_are_started_in_order_after_the_other_node_was_asked_to_stop_its_own(world, started, asked):
    taken_over(world)
    said = activate(world)
    assert asked == [("report",), ("yield", "6")]
    assert started == ["start first", "start second"]
    assert all(words in " ".join(said) for words in ("It stepped down", "first on salt2", "second on salt2"))


@pytest.mark.parametrize(("mode", "entries"), [("manual", [FIRST]), ("automatic", [])])
def test_nothing_is_started_that_the_pillar_does_not_want_started(world, started, mode, entries):
    taken_over(world)
    activate(world, mode, entries)
    assert started == []


def test_a_node_that_is_not_active_starts_nothing(world, started):
    assert "not the active node" in " ".join(activate(world))
    assert started == []


def test_a_node_that_has_rebooted_since_it_took_over_starts_nothing(world, started):
    taken_over(world)
    world.boots["salt2"] += 1
    activate(world)
    assert started == []


def test_an_unreadable_ledger_starts_nothing(world, started):
    taken_over(world)
    world.members["salt2"].ledger.path.write_text("{")
    assert activate(world) and started == []


def test_what_follows_a_service_that_does_not_start_is_not_started(world, started):
    taken_over(world)
    started.failing = ("first",)
    assert "first does not start" in activate(world)
    assert started == []


def test_a_node_that_gave_way_meanwhile_stops_what_it_has_just_started(world, started):
    taken_over(world)
    world.hooks[("salt2", "start first")] = lambda: world.members["salt2"].ledger.write(
        ledger.Entry(7, "salt1", None, "stepped down", admitted=False)
    )
    said = activate(world)
    assert started == ["start first", "stop lsyncd.service", "stop second", "stop first"]
    assert "not the active node" in said[-1]


@pytest.mark.parametrize(("later", "starts"), [(0, False), (1000, True)])
def test_in_a_handover_nothing_is_started_behind_its_back(world, started, later, starts):
    taken_over(world)
    world.far_end("arm", samples.RUN, 10)
    world.now += later
    activate(world)
    assert bool(started) is starts


def test_a_peer_that_does_not_answer_keeps_nothing_from_starting(world, started, monkeypatch):
    def silent(*_, **__):
        raise Unavailable("no answer")

    taken_over(world)
    monkeypatch.setattr(ssh, "ask", silent)
    assert "no answer" in " ".join(activate(world))
    assert started == ["start first", "start second"]


FENCE = {"policy": "required", "timeout": 30, "delay": 10, "nodes": {"salt1": {"agent": "fence_test"}}}


@pytest.fixture
def fenced(world, monkeypatch):
    """The pillar names an agent for salt1; ``answers`` is what it says, ``asked`` how often it was called."""
    world.members["salt2"].config["fence"] = copy.deepcopy(FENCE)
    world.asked, world.off, world.cut = 0, True, True

    def switch_off(member):
        world.asked += 1
        assert member.ledger.read()["generation"] == 5, "the ledger is raised before the other node is off"
        if world.off:
            world.lose_power("salt1")
        return fence.Answer(world.off, "salt1 was switched off" if world.off else "the agent failed")

    monkeypatch.setattr(proof, "switch_off", switch_off)
    return world


def test_the_other_node_is_switched_off_before_anything_is_taken(fenced):
    assert take_over(fenced)["generation"] == 6
    assert (fenced.serving(), fenced.asked) == ("salt2", 1)
    assert own(fenced, "salt2")["why"] == "silence; salt1 was switched off"


def test_without_the_proof_nothing_is_taken_and_the_ledger_stays(fenced):
    fenced.off = False
    before = own(fenced, "salt2")
    with pytest.raises(Refused, match="the agent failed. salt2 does not take salt over"):
        take_over(fenced)
    assert own(fenced, "salt2") == before
    assert fenced.serving() == "salt1"


def test_a_node_that_may_not_take_over_switches_nobody_off(fenced):
    fenced.boots["salt2"] += 1
    with pytest.raises(Refused, match="has not been admitted"):
        take_over(fenced)
    assert fenced.asked == 0


def test_nobody_is_switched_off_while_somebody_answers(fenced, monkeypatch):
    fenced.strangers = ["02:00:00:00:00:99"]
    with pytest.raises(Refused):
        take_over(fenced)
    assert fenced.asked == 0


def test_nobody_is_switched_off_by_a_node_that_serves_already(fenced):
    with fenced.on("salt2") as member:
        member.ledger.write(ledger.Entry(6, "salt2", None, "the handover went back"))
    fenced.holders[GATEWAY] = {"salt2"}
    assert take_over(fenced) == {"generation": 6, "addresses": []}
    assert fenced.asked == 0


def test_in_a_handover_nobody_is_switched_off(fenced):
    with fenced.on("salt2") as member:
        state = {"run": samples.RUN, "phase": "taking", "deadline": fenced.now + 10, "generation": 5}
        files.write_json(member.volatile / "handover.json", state)
    with pytest.raises(Refused, match="A handover of salt is under way"):
        take_over(fenced)
    assert fenced.asked == 0


def test_what_changed_while_the_agent_worked_is_seen(fenced, monkeypatch):
    switch_off = proof.switch_off

    def slowly(member):
        answer = switch_off(member)
        fenced.boots["salt2"] += 1
        return answer

    monkeypatch.setattr(proof, "switch_off", slowly)
    with pytest.raises(Refused, match="has not been admitted"):
        take_over(fenced)


def was_in_step(world, seconds_ago, at=1795372200.0):
    """salt2 was told that it was in step, so many seconds ago; it was admitted long before."""
    with world.on("salt2") as member:
        place = in_step.folder(member)
        files.make_folder(place)
        (place / in_step.NAME).write_text(json.dumps({"in_step": at, "old": seconds_ago}))
        os.utime(member.ledger.path, (1, 1))


def test_a_takeover_keeps_the_moment_until_which_all_had_been_carried(world):
    was_in_step(world, 9)
    world.lose_power("salt1")
    take_over(world)
    found = own(world, "salt2")
    assert (found["in_step"], found["why"]) == (1795372200.0, "silence")
    with world.on("salt2") as member:
        claims.heard(member)
        member.ledger.synced(found["generation"])
    report = {"ledger": own(world, "salt2"), "time": 0}
    assert report["ledger"]["heard"] is True
    assert conflicts.taken_over(report, {"time": 0}).in_step == 1795372200.0


def test_people_are_told_when_the_other_node_has_been_and_the_watch_looks_again(world, monkeypatch):
    """What is kept for them waits for a disk."""
    order = []
    monkeypatch.setattr(takeover, "_remember", lambda *_: order.append("remembered"))
    monkeypatch.setattr(takeover.tell, "tell", lambda *_, **__: order.append("told"))
    world.lose_power("salt1")
    with world.on("salt2") as member:
        begun = len(world.detached)
        takeover.take_over(member, "silence", serves=lambda: order.append(world.detached[begun:]))
    asked, *people = order
    assert asked == [("salt2", ["ask-to-yield", "salt"])] and people == ["remembered", "told"]


def test_a_takeover_by_a_standby_that_is_behind_says_so(world):
    was_in_step(world, 52)
    world.lose_power("salt1")
    take_over(world)
    why = own(world, "salt2")["why"]
    assert why.startswith("silence; salt2 was last in step with salt1 at 2026-11-22T18:30:00Z, 5")
    assert why.endswith("what was written there since is missing here")
    assert world.members["salt2"].runs.history()[-1]["reason"] == why


def test_the_pillar_may_forbid_a_takeover_that_would_lose_too_much_but_not_a_person(world):
    was_in_step(world, 52)
    world.lose_power("salt1")
    with world.on("salt2") as member:
        watch = member.config["watch"]
        member.config["watch"] = {**watch, "beyond_max_lag": "refuse"}
        with pytest.raises(Refused, match="forbids a takeover that would lose what was written since"):
            takeover.take_over(member, "silence")
        assert world.ledgers()[1] == (5, "salt1") and world.serving() == "nobody"
        member.config["watch"] = {**member.config["watch"], "max_lag": 60}
        assert takeover.take_over(member, "silence")["generation"] == 6


def test_what_the_active_node_was_silent_for_is_no_lag(world):
    """The standby was in step when the other one died; then it had to wait for the lease, or for an agent."""
    was_in_step(world, 52)
    world.lose_power("salt1")
    with world.on("salt2") as member:
        member.config["watch"] = {**member.config["watch"], "beyond_max_lag": "refuse"}
        with pytest.raises(Refused, match="forbids a takeover"):
            takeover.take_over(member, "silence", silent=10.0)
        assert takeover.take_over(member, "silence", silent=45.0)["generation"] == 6
    assert own(world, "salt2")["why"] == "silence"


def test_nobody_is_switched_off_by_a_node_that_may_not_serve_for_its_lag(fenced):
    was_in_step(fenced, 52)
    with fenced.on("salt2") as member:
        member.config["watch"] = {**member.config["watch"], "beyond_max_lag": "refuse"}
    with pytest.raises(Refused, match="forbids a takeover"):
        take_over(fenced)
    assert fenced.asked == 0
    with fenced.on("salt2") as member:
        member.config["watch"] = {**member.config["watch"], "max_lag": 60}


def test_a_standby_does_not_fall_behind_while_an_agent_works(fenced, monkeypatch):
    was_in_step(fenced, 25)
    switch_off = proof.switch_off

    def slowly(member):
        was_in_step(fenced, 60)
        return switch_off(member)

    monkeypatch.setattr(proof, "switch_off", slowly)
    with fenced.on("salt2") as member:
        member.config["watch"] = {**member.config["watch"], "beyond_max_lag": "refuse"}
    assert take_over(fenced)["generation"] == 6
    assert own(fenced, "salt2")["why"] == "silence; salt1 was switched off"


@pytest.mark.parametrize("content", ["", "{", '{"in_step": "x", "old": 1}', '{"in_step": 1, "old": -5}', "7"])
def test_what_the_other_node_has_sent_is_not_believed_blindly(world, content):
    with world.on("salt2") as member:
        files.make_folder(in_step.folder(member))
        (in_step.folder(member) / in_step.NAME).write_text(content)
        assert in_step.last(member) is None
        (in_step.folder(member) / in_step.NAME).unlink()
        os.mkfifo(in_step.folder(member) / in_step.NAME)
        assert in_step.last(member) is None
