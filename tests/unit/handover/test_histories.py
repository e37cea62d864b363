"""
Crashes, reboots, take-overs and handovers in any order: does the verdict ever favour stale data?

The data of a node is the set of writes it has seen. A write is acknowledged by the node that holds
the address; lsyncd brings it to the standby later, so a take-over by the watch may lose what was
still on its way. Nothing else may be lost, whatever comes after what.
"""

import os
import pathlib
import tempfile

import pytest
import samples
from _pytest.monkeypatch import MonkeyPatch  # pytest 6 has it here alone
from hypothesis import settings
from hypothesis import stateful
from hypothesis import strategies
from two_nodes import World

from effort import examples
from failback.decisions import gate
from failback.decisions import plan
from failback.decisions import verdict
from failback.errors import FailbackError
from failback.handover import takeover
from failback.host import system
from failback.network import address_holder
from failback.replication import on_disk
from failback.state import ledger

pytestmark = pytest.mark.one_release

NODES = ("salt1", "salt2")


class Histories(stateful.RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.patch = MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here loses its cache
        self.world = World(pathlib.Path(self.folder.name), self.patch)
        self.data = {"salt1": {0}, "salt2": {0, 1}}
        #: Acknowledged, and not on its way to a standby when its only holder died.
        self.truth = {0, 1}
        #: Nodes that have had the same data as the active one at some time since they booted.
        self.current = {"salt2"}
        self.writes = 1
        #: What the lsyncd that runs believes the standby to have; None while none runs.
        self.carried = None
        #: In a backup of a recovery.
        self.saved = set()

    def teardown(self):
        self.patch.undo()
        self.folder.cleanup()

    def on(self, node):
        return self.world.on(node)

    def up(self, *nodes):
        return all(self.world.power[node] for node in nodes)

    def own(self, node):
        return self.world.members[node].ledger.read()

    def report(self, node):
        if not self.up(node):
            return None
        with self.on(node):
            boot_id = system.boot_id()
        held = [one for one, holders in self.world.holders.items() if node in holders]
        return {**samples.report(node, self.own(node), held), "boot_id": boot_id}

    def judged(self):
        return verdict.judge(samples.pair(), *(self.report(node) for node in NODES))

    # --- what happens by itself ---

    @stateful.rule()
    def a_client_writes(self):
        holder = self.world.serving()
        if holder in NODES:
            self.writes += 1
            self.data[holder] = self.data[holder] | {self.writes}
            self.truth = self.truth | {self.writes}

    @stateful.rule()
    def lsyncd_copies(self):
        if not self.up(*NODES):
            return
        with self.on("salt1") as member:
            holds = self.world.serving() == "salt1"
            sends = gate.lsyncd_refusal(member.config, self.own("salt1"), system.boot_id(), holds)
        if sends or gate.write_refusal(self.world.members["salt2"].config, self.own("salt2")):
            return
        if self.carried is None:
            # --delete: the first pass makes the standby what the active node is.
            alone = self.data["salt2"] - self.data["salt1"] - self.saved
            assert not alone, f"lsyncd has deleted writes that are in no backup: {alone}"
            self.data["salt2"] = self.data["salt1"]
        else:
            self.data["salt2"] = self.data["salt2"] | (self.data["salt1"] - self.carried)
        self.carried = self.data["salt1"]
        if self.data["salt2"] == self.data["salt1"]:
            self.current.add("salt2")

    def the_keeper_settles(self, node):
        """What it does within seconds of a change of hands."""
        with self.on(node) as member:
            on_disk.settle(member)

    @stateful.rule(
        node=strategies.sampled_from(NODES),
        cache=strategies.booleans(),
        at_once=strategies.sampled_from([False, False, False, True]),
    )
    def a_node_loses_power(self, node, cache=False, at_once=False):
        if not self.up(node):
            return
        if not at_once:
            self.the_keeper_settles(node)
        if cache and node == "salt2" and self.world.serving() == "salt1":
            # lsyncd's rsync leaves what it has written to the cache of the kernel.
            self.data[node] = self.data[node] - {self.writes}
        if node == "salt1":
            self.carried = None
        self.world.lose_power(node)
        self.current.discard(node)

    @stateful.rule(node=strategies.sampled_from(NODES))
    def a_node_boots(self, node):
        self.world.power[node] = True

    @stateful.rule(node=strategies.sampled_from(NODES))
    def the_watch_sees_silence(self, node):
        if not self.up(node) or self.world.serving() != "nobody":
            return
        try:
            with self.on(node) as member:
                takeover.take_over(member, "silence")
        except FailbackError:
            return
        assert node in self.current, f"{node} took over with data from before its boot"
        self.truth = self.truth & self.data[node]

    # --- what an operator does ---

    @stateful.rule(
        operation=strategies.sampled_from([plan.RECOVER, plan.FAILOVER]),
        dies=strategies.sampled_from([None, *NODES]),
        after=strategies.sampled_from(["pre-sync", "release", "final sync", "commit", "ledger", "take"]),
    )
    def change_hands(self, operation, dies, after):
        """The plan of a recovery or a failover; one of the nodes may die after any step."""
        decided = plan.decide(operation, samples.pair(), self.judged())
        if "handover" not in decided.steps:
            return
        world, near = self.world, decided.active
        world.server = "salt2" if near == "salt1" else "salt1"
        try:
            for step in self.handover_steps(near, world.server):
                if dies and step == after:
                    self.a_node_loses_power(dies)
                if not self.up(*NODES):
                    raise FailbackError("The connection has ended.")
        except FailbackError:
            # What of it lives tries to serve again: the giver by itself, at the deadline.
            far = world.server
            if self.up(far):
                world.deadline()
                if self.world.serving() == far:
                    # As after any other outage of the one that served.
                    self.truth = self.truth & self.data[far]
            world.timer = None

    def handover_steps(self, near, far):
        world, run = self.world, samples.RUN
        for node in NODES:
            with self.on(node) as member:
                member.lock.acquire(run, "recover", {"boot_id": "elsewhere"}, 600)
        if near == "salt1":
            reason = gate.pull_refusal(world.members[near].config, self.own(near), "", self.report(far))
            assert reason is None, reason
        self.saved = self.saved | self.data[near]
        self.data[near] = self.data[far]
        self.carried = None
        yield "pre-sync"
        self.a_client_writes()
        world.far_end("arm", run, 10.0)
        world.release()
        yield "release"
        self.data[near] = self.data[far]
        self.current.add(near)
        yield "final sync"
        generation = world.far_end("commit", run)["generation"]
        yield "commit"
        with self.on(near) as member:
            member.ledger.write(ledger.Entry(generation, near, run, "handover"))
        yield "ledger"
        with self.on(near), address_holder.Holder(world.wanted) as holder:
            holder.take(check=False)
        self.a_client_writes()
        yield "take"
        world.far_end("disarm", run)

    @stateful.rule()
    def boot_a_cold_pair(self):
        found = self.judged()
        decided = plan.decide(plan.BOOT, samples.pair(), found)
        if "take" not in decided.steps or found.name != verdict.COLD:
            return
        self.carried = None
        # The active node alone: the other one may have missed writes, and is admitted when it has them.
        self.admit(decided.active, found)
        other = "salt2" if decided.active == "salt1" else "salt1"
        self.admit(other, found, admitted=False, unsaved=found.unsaved)
        self.current.add(decided.active)
        with self.on(decided.active), address_holder.Holder(self.world.wanted) as holder:
            holder.take()

    @stateful.rule()
    def admit_a_standby_that_returned(self):
        found = self.judged()
        if found.name != verdict.STANDBY_RETURNED or not self.up(*NODES):
            return
        if found.unsaved:
            self.saved = self.saved | self.data["salt2"]
        self.admit("salt2", found, admitted=False)
        # lsyncd is started anew.
        self.carried = None
        self.lsyncd_copies()
        self.admit("salt2", found)

    def admit(self, node, found, admitted=True, unsaved=False):
        with self.on(node) as member:
            member.ledger.write(
                ledger.Entry(
                    found.generation, found.newest, samples.RUN, "a test", admitted=admitted, unsaved=unsaved
                )
            )

    # --- what must hold ---

    @stateful.invariant()
    def nobody_holds_twice(self):
        assert self.world.serving() in (*NODES, "nobody")

    @stateful.invariant()
    def the_newest_node_has_every_acknowledged_write(self):
        found = self.judged()
        for node in {found.newest, found.active} - {None}:
            assert self.truth <= self.data[node], (found, self.data, self.truth)

    @stateful.invariant()
    def who_serves_has_every_acknowledged_write(self):
        holder = self.world.serving()
        if holder in NODES:
            assert self.truth <= self.data[holder]

    def has_holes(self, node):
        own = self.own(node)
        with self.on(node):
            return bool(own.get("unsynced")) and not ledger.is_admitted(own)

    @stateful.invariant()
    def only_a_split_needs_a_person_and_there_is_none_here(self):
        """
        No cut network in this world: whatever died, the pair can be judged again when both are up.

        But for a node that went down before the keeper could write what had come to it.
        """
        if self.up(*NODES) and not any(self.has_holes(node) for node in NODES):
            assert self.judged().name in (
                verdict.NORMAL,
                verdict.FAILED_OVER,
                verdict.STANDBY_RETURNED,
                verdict.COLD,
            ), self.judged()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=examples(400), stateful_step_count=25, database=None)


def test_a_failover_that_goes_back_keeps_what_the_secondary_was_told_meanwhile():
    """It had the addresses for a moment, and died before it could prove it."""
    history = Histories()
    try:
        history.change_hands(plan.RECOVER, None, "take")
        history.admit_a_standby_that_returned()
        assert history.judged().name == verdict.NORMAL
        history.change_hands(plan.FAILOVER, "salt2", "take")
        history.a_node_boots("salt2")
        assert history.world.serving() == "salt1"
        assert history.data["salt2"] - history.data["salt1"], "salt2 alone has a write"
        history.lsyncd_copies()
        history.admit_a_standby_that_returned()
        assert history.data["salt2"] == history.data["salt1"]
    finally:
        history.teardown()
