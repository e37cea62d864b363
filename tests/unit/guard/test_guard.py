"""The guard on a node of the simulated pair, step by step: a clock of ours, and an etcd that can go away."""

import json

import pytest
from leased_world import TTL
from leased_world import leased_world

from failback.decisions import lease
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.guard import actions
from failback.guard import loop
from failback.handover import phases
from failback.host import files
from failback.lease import right
from failback.network import address_holder
from failback.peer import ssh
from failback.state import ledger

WORK = "work.service"
#: The world has a stand-in: nobody installs a release in it.
MARK = loop._mark


class Device:
    """In the place of /dev/watchdog."""

    def __init__(self):
        self.fed, self.armed = [], False

    def feed(self, seconds):
        self.fed.append(seconds)
        self.armed = True

    def disarm(self):
        self.armed = False


class Guarded:
    """The guard of one node; what it leaves to threads is done at once."""

    def __init__(self, world, node, monkeypatch):
        self.world, self.node, self.limits = world, node, []
        monkeypatch.setattr(loop.Guard, "_begin", self._at_once)
        monkeypatch.setattr(actions, "limit", lambda member, right, seconds: self.limits.append(seconds))
        self.device = Device()
        with world.on(node) as member:
            self.guard = loop.Guard(member, self.device)

    def _at_once(self, do, *arguments):
        try:
            do(*arguments)
        except FailbackError as error:
            self.world.told.append(str(error))

    def run(self, seconds):
        """So many seconds of steps, four a second."""
        with self.world.on(self.node):
            for _ in range(int(seconds * 4)):
                self.guard.step()
                self.world.now += 0.25

    def says(self):
        return json.loads((self.world.members[self.node].volatile / "guard.json").read_text())["sentence"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """salt2 serves, and runs what only the active node runs."""
    made = leased_world(
        tmp_path, monkeypatch, active_services=[{"name": WORK, "proof": None, "status": None}]
    )
    made.units["salt2"] = {WORK, "sshd.service"}
    return made


@pytest.fixture
def guarded(world, monkeypatch):
    return Guarded(world, "salt2", monkeypatch)


def promising(world, monkeypatch):
    """The other node is heard: it answers with what its own library says."""

    def ask(member, verb, generation, timeout):
        assert verb == "promise"
        with world.on("salt1") as other:
            return json.dumps({"promised": right.promise(other, int(generation))})

    monkeypatch.setattr(ssh, "ask", ask)


def test_it_renews_in_time_and_limits_the_addresses_with_each_right(guarded, world):
    guarded.run(60)
    assert guarded.says() == "salt2 serves salt by the lease"
    assert 25 <= len(guarded.limits) <= 32
    assert set(guarded.limits) == {8}
    assert world.cluster.revision - len(guarded.limits) in (0, 1)
    assert world.serving() == "salt2"


def test_without_etcd_and_the_other_node_it_releases_in_time_and_stops_the_services(guarded, world):
    guarded.run(2)
    asked = right.read(world.members["salt2"]).right.asked
    world.cluster.gone = True
    guarded.run(asked + TTL - lease.MARGIN - world.now)
    assert world.serving() == "salt2"
    guarded.run(0.5)
    assert world.now < asked + TTL
    assert world.serving() == "nobody"
    assert world.units["salt2"] == {"sshd.service"}
    guarded.run(30)
    assert world.serving() == "nobody"
    world.cluster.gone = False
    with world.on("salt2") as member:
        right.look(member)
        assert "takes it up again by itself" in right.takeover_refusal(member), "it is not the watch's"

    guarded.run(4)
    assert world.serving() == "salt2"
    assert world.units["salt2"] == {WORK, "sshd.service"}
    assert world.ledgers()[1] == (4, "salt2")
    assert guarded.says() == "salt2 serves salt by the lease"


def test_it_serves_on_by_the_other_nodes_promise(guarded, world, monkeypatch):
    promising(world, monkeypatch)
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    world.cluster.gone = True
    guarded.run(60)
    assert guarded.says() == "salt2 serves salt by the other node's promise, because etcd does not answer"
    assert world.serving() == "salt2"
    with world.on("salt1") as member:
        assert right.read(member).promised_until > world.now
    world.cluster.gone = False
    guarded.run(3)
    assert guarded.says() == "salt2 serves salt by the lease"


def test_a_node_that_stood_still_takes_nothing_back_and_steps_down(guarded, world):
    guarded.run(2)
    world.now += 60
    for holders in world.holders.values():  # the kernel's part
        holders.discard("salt2")
    world.cluster.revision += 1
    world.cluster.value = {"holder": "salt1", "generation": 5, "ttl": TTL}
    for holders in world.holders.values():
        holders.add("salt1")
    guarded.run(4)
    assert world.serving() == "salt1"
    assert world.ledgers()[1] == (5, "salt1")
    own = world.members["salt2"].ledger.read()
    assert (own["boot_id"], own["unsaved"]) == ("", True)
    assert world.units["salt2"] == {"sshd.service"}
    assert "does not serve salt" in guarded.says()


def test_a_node_that_stood_still_serves_on_when_nobody_had_the_lease_since(guarded, world):
    guarded.run(2)
    world.now += 60
    for holders in world.holders.values():
        holders.discard("salt2")
    guarded.run(4)
    assert world.serving() == "salt2"
    assert world.ledgers()[1] == (4, "salt2")


def test_it_takes_nothing_up_in_a_handover_or_a_pause_or_when_another_host_answers(guarded, world):
    world.cluster.gone = True
    guarded.run(TTL + 1)
    world.cluster.gone = False
    with world.on("salt2") as member:
        phases.write_state(member, run="r", phase=phases.COMMITTED, deadline=world.now + 20)
    guarded.run(10)
    assert world.serving() == "nobody"
    assert "a handover is under way (run r)" in guarded.says()
    with world.on("salt2") as member:
        phases.write_state(member, phase=phases.DONE)
        member.pause.set(3600, "a test")
    guarded.run(10)
    assert "the watch is paused (a test)" in guarded.says()
    with world.on("salt2") as member:
        member.pause.clear()
    world.strangers = ["02:00:00:00:00:99"]
    guarded.run(10)
    assert world.serving() == "nobody"
    world.strangers = []
    guarded.run(4)
    assert world.serving() == "salt2"


def test_a_node_that_serves_already_when_the_lease_is_introduced_serves_on(tmp_path, monkeypatch):
    world = leased_world(tmp_path, monkeypatch)
    right.place(world.members["salt2"]).unlink()
    world.cluster.value, world.cluster.gone = None, True
    guarded = Guarded(world, "salt2", monkeypatch)
    guarded.run(30)
    assert (world.serving(), guarded.limits) == ("salt2", [])
    assert guarded.says() == "salt2 is active in salt without a lease so far, and asks etcd for it"
    world.cluster.gone = False
    guarded.run(3)
    assert world.cluster.holder == ("salt2", 4)
    assert guarded.limits


def test_the_standby_looks_so_that_its_watch_knows(world, monkeypatch):
    guarded = Guarded(world, "salt1", monkeypatch)
    guarded.run(5)
    found = right.read(world.members["salt1"])
    assert (found.key.holder, found.right) == ("salt2", None)
    since = found.key.since
    guarded.run(TTL)
    found = right.read(world.members["salt1"])
    assert found.key.since == since, "nobody has renewed it meanwhile"
    assert world.now - found.answered < 3


def test_a_record_that_cannot_be_read_counts_as_run_out(guarded, world):
    guarded.run(1)
    right.place(world.members["salt2"]).write_text("{")
    with world.on("salt2"):
        guarded.guard.step()
    assert world.serving() == "nobody"
    guarded.run(4)
    assert world.serving() == "salt2"


def test_the_watchdog_is_fed_once_for_each_right_and_let_go_when_all_has_stopped(world, monkeypatch):
    for member in world.members.values():
        member.config["lease"]["watchdog"] = True
    guarded = Guarded(world, "salt2", monkeypatch)
    guarded.run(10)
    assert set(guarded.device.fed) <= {9, 10}
    assert len(guarded.device.fed) == len(guarded.limits)
    world.cluster.gone = True
    fed = len(guarded.device.fed)
    guarded.run(5)
    assert (len(guarded.device.fed), guarded.device.armed) == (fed, True)
    guarded.run(10)
    assert not guarded.device.armed


def test_without_a_lease_in_the_pillar_the_addresses_stay(world, monkeypatch):
    lifetimes = []
    monkeypatch.setattr(address_holder.Holder, "limit", lambda _, seconds: lifetimes.append(seconds))
    with world.on("salt2") as member:
        member.config["lease"] = None
        assert loop.main(member) == loop.NO_LEASE
        assert loop.main(member) == loop.NO_LEASE
    assert lifetimes == [None]
    assert not right.place(world.members["salt2"]).exists()


def test_a_highstate_that_takes_the_lease_away_and_stops_the_guard_at_once_leaves_the_addresses(
    world, monkeypatch
):
    """Between the two steps of that highstate there is no time for the guard to see the first one."""
    lifetimes = []
    monkeypatch.setattr(address_holder.Holder, "limit", lambda _, seconds: lifetimes.append(seconds))
    monkeypatch.setattr(loop.signal, "signal", lambda *_: None)

    def ended(guard):
        with open(member.paths.pair_config("salt"), "w") as opened:
            json.dump({**member.config, "lease": None}, opened)

    monkeypatch.setattr(loop.Guard, "run", ended)
    with world.on("salt2") as member:
        assert loop.main(member) == loop.NO_LEASE
    assert lifetimes == [None]
    assert not right.place(world.members["salt2"]).exists()


def test_a_guard_that_is_stopped_while_the_lease_stays_leaves_all_as_it_is(world, monkeypatch):
    monkeypatch.setattr(loop.signal, "signal", lambda *_: None)
    monkeypatch.setattr(loop.Guard, "run", lambda _: None)
    with world.on("salt2") as member:
        assert loop.main(member) == 0
    assert right.place(world.members["salt2"]).exists()


def test_a_node_whose_programs_run_late_lets_the_other_one_go_first(guarded, world):
    guarded.run(1)
    world.now += TTL  # it stood still for so long
    guarded.run(TTL / 2)
    assert "the other node goes first" in guarded.says()
    assert right.in_force(world.members["salt2"]) is None
    # The other one is dead, or does not want it.
    guarded.run(TTL + 4)
    assert guarded.says() == "salt2 serves salt by the lease"


def test_a_node_that_was_on_time_asks_again_as_soon_as_etcd_is_back(guarded, world):
    guarded.run(1)
    world.cluster.gone = True
    guarded.run(TTL)
    assert "it asks again" in guarded.says()
    world.cluster.gone = False
    guarded.run(TTL / 2)
    assert guarded.says() == "salt2 serves salt by the lease"


def test_an_address_that_the_kernel_has_deleted_too_early_is_put_back(world, monkeypatch):
    """It counts whole seconds; the right was renewed in the last of them, so nothing was released."""
    limit = actions.limit
    guarded = Guarded(world, "salt2", monkeypatch)
    monkeypatch.setattr(actions, "limit", limit)
    guarded.run(2)
    for holders in world.holders.values():
        holders.discard("salt2")
    guarded.run(4)
    assert world.serving() == "salt2"
    assert world.units["salt2"] == {WORK, "sshd.service"}
    assert world.ledgers()[1] == (4, "salt2")


def test_nothing_is_put_back_while_a_handover_takes_it_away(world, monkeypatch):
    limit = actions.limit
    guarded = Guarded(world, "salt2", monkeypatch)
    monkeypatch.setattr(actions, "limit", limit)
    guarded.run(2)
    monkeypatch.setattr(actions, "busy", lambda member: "a handover is under way")
    for holders in world.holders.values():
        holders.discard("salt2")
    guarded.run(4)
    assert world.serving() == "nobody"


def test_what_was_taken_meanwhile_is_not_said_to_be_put_back(guarded, world):
    """The address was missed when the right was granted, and whoever was about to take it has done it."""
    guarded.run(2)
    with world.on("salt2") as member:
        assert actions.put_back(member, 4) == ""
    assert world.serving() == "salt2"


def test_it_releases_nothing_if_the_node_has_got_a_right_since_it_looked(guarded, world):
    """A handover gives the pair to this node: its ledger names it, and the lease comes a moment later."""
    with world.on("salt2") as member:
        right.change(member, right=right.SPENT)
        observation = guarded.guard._observe()
        granted = right.renew(member, 4)
        guarded.guard._release(observation)
        assert right.read(member).right == granted
        assert right.read(member).released is None
    assert world.serving() == "salt2"
    assert world.units["salt2"] == {WORK, "sshd.service"}


def test_no_right_is_written_down_while_it_releases_by_an_old_one(guarded, world):
    """So what is taken by a newer one is not deleted."""
    free = []

    def released():
        with files.locked_at_once(world.members["salt2"].volatile / ".lease.flock") as locked:
            free.append(locked)

    world.hooks[("salt2", "release")] = released
    with world.on("salt2") as member:
        right.change(member, right=right.SPENT)
        assert actions.release(member, 4)
    assert free == [False]
    assert world.serving() == "nobody"


def test_on_a_node_that_does_not_serve_a_right_that_is_over_is_forgotten(world, monkeypatch):
    """An orchestration may call it active later, before it has the lease: nothing of then is released."""
    guarded = Guarded(world, "salt1", monkeypatch)
    with world.on("salt1") as member:
        right.change(member, right=right.SPENT, released={"generation": 3, "stopped": [WORK], "ended": 1.0})
    guarded.run(1)
    found = right.read(world.members["salt1"])
    assert (found.right, found.released) == (None, None)


# --- the loop -----------------------------------------------------------------------------------------


class Running:
    """The guard of one node with its threads, and a plan of what happens at its steps."""

    def __init__(self, world, node, monkeypatch):
        self.world, self.node = world, world.nodes[node]
        monkeypatch.setattr(actions, "limit", lambda *_: [])
        self.device, self.steps, self.plan = Device(), 0, {}
        with world.on(node) as member:
            self.guard = loop.Guard(member, self.device)
        real = self.guard.step

        def step():
            self.steps += 1
            self.plan.pop(self.steps, lambda: None)()
            real()

        monkeypatch.setattr(self.guard, "step", step)

    def run(self, steps=None):
        """Until it ends; it is told to after so many steps."""
        if steps is not None:
            self.plan[steps] = self.guard.end
        begun = self.world.now
        process = self.world.start("guard", self.node, self.guard.run)
        self.world.engine.wait(begun + 3600, [process])
        assert process.finished and process.error is None, process.error
        return self.world.now - begun

    def said(self, words):
        return [sentence for _, sentence in self.node.log if words in sentence]


@pytest.fixture
def running(world, monkeypatch):
    return Running(world, "salt2", monkeypatch)


def test_it_looks_four_times_a_second_and_ends_when_it_is_told_to(running):
    assert running.run(steps=41) <= 40 * loop.LOOK_EVERY
    assert running.steps == 41 and not running.said("starts anew")
    assert right.in_force(running.world.members["salt2"]) is not None
    assert running.world.serving() == "salt2"


def test_an_end_is_not_waited_for(running):
    """systemd stops it: it must not be killed for the quarter of a second that it sleeps."""
    running.guard.end()
    assert running.run() == 0 and running.steps == 0


@pytest.mark.parametrize("error", [FailbackError("no kernel"), OSError(28, "No space left on device")])
def test_a_step_that_fails_is_said_and_followed_by_the_next(running, error):
    def fail():
        raise error

    running.plan[2] = fail
    running.run(steps=6)
    assert running.steps == 6 and running.said(f"salt: {error}")


def new_configuration(member):
    with open(member.paths.pair_config("salt"), "a") as opened:
        opened.write("\n")


def new_release(member):
    member.paths.release.unlink()
    member.paths.release.symlink_to("releases/another one")


def no_configuration(member):
    member.paths.pair_config("salt").unlink()


@pytest.mark.parametrize("change", [new_configuration, new_release, no_configuration])
def test_it_ends_when_its_configuration_or_its_program_is_another(world, monkeypatch, change):
    member = world.members["salt2"]
    member.paths.release.parent.mkdir(parents=True, exist_ok=True)
    member.paths.release.symlink_to("releases/one")
    monkeypatch.setattr(loop, "_mark", MARK)
    running = Running(world, "salt2", monkeypatch)
    running.plan[3] = lambda: change(member)
    running.run()
    assert running.steps == 3
    assert running.said("the configuration or the program has changed, the guard starts anew")
    assert world.serving() == "salt2"


def test_at_its_end_the_watchdog_is_left(world, monkeypatch):
    """Nobody feeds it until the next guard comes: it would reset a node that serves."""
    world.members["salt2"].config["lease"]["watchdog"] = True
    running = Running(world, "salt2", monkeypatch)
    armed = []
    running.plan[9] = lambda: armed.append(running.device.armed)
    running.run(steps=10)
    assert armed == [True] and running.device.armed is False


def test_what_goes_on_failing_is_said_once_a_minute(running):
    running.world.cluster.gone = True
    running.run(steps=4 * 130)
    assert 2 <= len(running.said("etcd does not answer")) <= 4


def test_what_fails_again_after_it_went_well_is_said_at_once(running):
    def gone(value):
        return lambda: setattr(running.world.cluster, "gone", value)

    running.plan.update({1: gone(True), 20: gone(False), 60: gone(True)})
    running.run(steps=90)
    assert len(running.said("etcd does not answer")) == 2


def test_a_mistake_of_its_own_is_called_one_and_the_guard_goes_on(running, monkeypatch):
    real, calls = right.renew, []

    def renew(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("revision")
        return real(*arguments)

    monkeypatch.setattr(right, "renew", renew)
    running.run(steps=60)
    assert running.said("KeyError: 'revision'. This is a mistake of Failback itself.")
    assert len(calls) > 1 and running.world.serving() == "salt2"


def test_nobody_is_asked_twice_at_once(running, monkeypatch):
    """etcd may take longer to answer than the guard to look again."""
    real, asked = running.world.cluster.replace, []

    def slowly(*arguments, **words):
        asked.append(running.world.now)
        running.world.engine.wait(running.world.now + 2)
        return real(*arguments, **words)

    monkeypatch.setattr(running.world.cluster, "replace", slowly)
    running.run(steps=40)
    assert len(asked) > 1 and all(later - one >= 2 for one, later in zip(asked, asked[1:]))
    assert running.world.serving() == "salt2"


def test_a_configuration_that_cannot_be_read_at_its_end_changes_nothing(world, monkeypatch):
    monkeypatch.setattr(loop.signal, "signal", lambda *_: None)
    monkeypatch.setattr(loop.Guard, "run", lambda _: None)
    with world.on("salt2") as member:
        member.paths.pair_config("salt").write_text("torn")
        assert loop.main(member) == 0
    assert any("damaged" in sentence for _, sentence in world.nodes["salt2"].log)
    assert right.place(world.members["salt2"]).exists()


def test_systemd_may_stop_it(world, monkeypatch):
    handlers, ended = {}, []
    monkeypatch.setattr(loop.signal, "signal", lambda number, handler: handlers.update({number: handler}))
    monkeypatch.setattr(loop.Guard, "end", lambda _: ended.append("ended"))
    monkeypatch.setattr(
        loop.Guard, "run", lambda _: [handlers[number](number, None) for number in sorted(handlers)]
    )
    with world.on("salt2") as member:
        loop.main(member)
    assert set(handlers) == {loop.signal.SIGTERM, loop.signal.SIGINT} and ended == ["ended"] * 2


# --- what it does -------------------------------------------------------------------------------------


def in_phase(phase):
    return lambda world, member: phases.write_state(member, run="r", phase=phase, deadline=world.now + 20)


def torn_handover(world, member):
    phases.write_state(member, phase=phases.DONE)
    phases._state_file(member).write_text("torn")


def torn_pause(world, member):
    member.pause.set(60, "a test")
    member.pause.path.write_text("torn")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda *_: None, None),
        (in_phase(phases.ARMED), None),
        (in_phase(phases.DONE), None),
        (in_phase(phases.RELEASED), "a handover is under way (run r)"),
        (in_phase(phases.TAKING), "a handover is under way (run r)"),
        (lambda world, member: member.pause.set(60, "a test"), "the watch is paused (a test)"),
        (lambda world, member: member.pause.set(60, None), "the watch is paused (no reason given)"),
        (torn_handover, "the state of a handover, is damaged"),
        (torn_pause, "the pause of salt, is damaged"),
    ],
)
def test_when_the_addresses_are_somebody_else_s_to_take(world, change, reason):
    with world.on("salt2") as member:
        change(world, member)
        found = actions.busy(member)
    assert reason in found if reason else found is None


def test_addresses_that_it_does_not_have_are_missed_when_they_get_their_end(world):
    with world.on("salt2") as member:
        granted = right.read(member).right
        assert actions.limit(member, granted, 8) == []
        for address, holders in world.holders.items():
            holders.discard("salt2")
            assert actions.limit(member, granted, 8) == [address]
        member.config["floating_ips"] = []
        assert actions.limit(member, granted, 8) == []


def test_a_node_that_stood_still_between_its_clock_and_the_kernel_releases(world):
    """The kernel may have been given back what had run out."""
    with world.on("salt2") as member:
        granted = right.read(member).right
        world.now += TTL
        with pytest.raises(Unavailable, match="salt2 stood still while it renewed salt, and has released it"):
            actions.limit(member, granted, 8)
        assert world.serving() == "nobody"
        # It has none by now, so nothing was given back.
        assert len(actions.limit(member, granted, 8)) == 1


@pytest.mark.parametrize("do", [actions.resume, lambda member: actions.put_back(member, 4)])
@pytest.mark.parametrize("why", ["another node serves", "a newer generation", "nothing to do", "busy"])
def test_nothing_is_taken_up_that_is_not_this_nodes_to_take_any_more(world, do, why):
    for holders in world.holders.values():
        holders.discard("salt2")
    resumes = do is actions.resume
    with world.on("salt2") as member:
        released = {"generation": 4, "stopped": [], "ended": world.now}
        right.change(member, released=released if resumes != (why == "nothing to do") else None)
        if why == "another node serves":
            member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
        elif why == "a newer generation":
            member.ledger.write(ledger.Entry(5, "salt2", None, "a test", admitted=False))
        elif why == "busy":
            member.pause.set(60, "a test")
        if why == "busy":
            with pytest.raises(Refused, match="yet: the watch is paused .a test."):
                do(member)
        else:
            assert "its ledger has changed" in do(member)
    assert world.serving() == "nobody"


def test_a_service_that_does_not_stop_is_named_and_the_rest_stops(world, monkeypatch):
    with world.on("salt2") as member:
        right.change(member, right=right.SPENT)
        actions.release(member, 4)
        monkeypatch.setattr(actions.services, "stop_each", lambda config, running: ["work.service runs on."])
        with pytest.raises(Unavailable, match="work.service runs on"):
            actions.stop_services(member)
        # Written down before: it is started again with the right.
        assert right.read(member).released["stopped"] == [WORK]


def test_what_was_stopped_starts_in_its_order_again(tmp_path, monkeypatch):
    more = [{"name": name, "proof": None, "status": None} for name in (WORK, "later.service")]
    world = leased_world(tmp_path, monkeypatch, active_services=more)
    world.units["salt2"] = {WORK, "later.service", "lsyncd.service"}
    started, real = [], actions.system.run
    monkeypatch.setattr(
        actions.system, "run", lambda argv, *rest, **more: started.append(argv) or real(argv, *rest, **more)
    )
    with world.on("salt2") as member:
        right.change(member, right=right.SPENT)
        actions.release(member, 4)
        actions.stop_services(member)
        # What a first attempt had stopped is not forgotten by a second one, which finds nothing.
        actions.stop_services(member)
        assert world.units["salt2"] == set()
        world.now += 1
        right.renew(member, 4)
        actions.resume(member)
    assert [one[4:] for one in started if "--no-block" in one] == [[WORK, "later.service", "lsyncd.service"]]
    assert world.serving() == "salt2"


@pytest.fixture
def announced(monkeypatch):
    """By which nodes the addresses are announced again, in the seconds after."""
    found = []
    monkeypatch.setattr(address_holder, "announce_later", lambda member: found.append(member.node))
    return found


def test_what_is_taken_again_is_said_and_announced_again(world, announced):
    """Whoever has learnt another host's address hears of it more than once."""
    for holders in world.holders.values():
        holders.discard("salt2")
    with world.on("salt2") as member:
        said = actions.put_back(member, 4)
        assert "salt2 has put back the addresses of salt" in said and announced == ["salt2"]
        assert actions.put_back(member, 4) == "" and announced == ["salt2"]
        right.change(member, right=right.SPENT)
        actions.release(member, 4)
        world.now += 1
        right.renew(member, 4)
        assert "salt2 serves salt again" in actions.resume(member)
    assert announced == ["salt2"] * 2 and world.serving() == "salt2"


def test_a_node_that_steps_down_has_no_right_whatever_becomes_of_that(world, monkeypatch):
    def fails(*_):
        raise Unavailable("no disk")

    monkeypatch.setattr(actions.takeover, "yield_to", fails)
    with world.on("salt2") as member:
        key = lease.Key(9, "salt1", 5, TTL, world.now)
        assert right.in_force(member)
        with pytest.raises(Unavailable):
            actions.step_down(member, key)
        assert right.in_force(member) is None


def test_systemd_does_not_start_a_guard_again_that_has_no_lease(world, tree):
    with world.on("salt2") as member:
        member.config["lease"] = None
        status = loop.main(member)
    unit = (tree / "salt/pair/files/lease.service").read_text().splitlines()
    assert f"RestartPreventExitStatus={status}" in unit
