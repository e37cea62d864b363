"""The guard on a node of the simulated pair, step by step: a clock of ours, and an etcd that can go away."""

import json

import pytest
from leased_world import TTL
from leased_world import leased_world

from failback.decisions import lease
from failback.errors import FailbackError
from failback.guard import actions
from failback.guard import loop
from failback.handover import phases
from failback.host import files
from failback.lease import right
from failback.network import address_holder
from failback.peer import ssh
from failback.state import ledger

WORK = "work.service"


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
