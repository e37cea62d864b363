"""
The invariants, asked at every moment and at the end; and what a configuration is excused from, as data.

Two excuses stand in docs/faults.md: while two nodes cannot hear each other both may have the address, until
the claim is settled; and of two that were heard by clients at the same time the newer generation wins.
"""

import dataclasses

from failback.decisions import plan
from failback.decisions import verdict
from failback.state import ledger

#: Both may have the address while the nodes cannot hear each other, and until the claim is settled.
MUTE = "two holders while the nodes do not hear each other"
#: Of two nodes that others heard at the same time one loses what it was told.
SPLIT = "of two nodes that were heard, what one was told"
#: What an rsync has brought is lost with the cache of a node that has taken over.
CACHE = "what lsyncd brought, with the page cache"

#: Seconds after the nodes hear each other again in which a claim is settled, and may still begin.
SETTLED_WITHIN, BEGINS_WITHIN = 20.0, 5.0
#: Seconds that count as one moment.
TOLERANCE = 0.05
#: Seconds in which a node that may serve does.
SERVICE_WITHIN = 20.0

#: What a pair may be in the end without a person who names a winner.
GOOD_ENDS = (verdict.NORMAL, verdict.FAILED_OVER, verdict.STANDBY_RETURNED, verdict.COLD)


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclasses.dataclass(frozen=True)
class Configuration:
    """
    What the site chose, and what it is excused from by that.

    on, reachable
        Of the pillar's ``watch``.

    excuses
        Of :data:`MUTE`, :data:`SPLIT`, :data:`CACHE`.
    """

    name: str
    on: str = "secondary"
    reachable: tuple = ()
    excuses: frozenset = frozenset()
    interval: float = 0.5
    patience: float = 2.0


class Judge:
    """Sees what happens in a world, and raises :class:`Broken`."""

    def __init__(self, world, configuration):
        self._world, self._excuses = world, configuration.excuses
        #: Names of the nodes that have the address.
        self.holders = set()
        self._mute, self._heard_again_at = False, -1000.0
        #: Nodes that another host heard while the two did not hear each other.
        self._heard = set()
        #: Since when two nodes have the address, and whether that may be.
        self._overlap = None
        #: Acknowledged writes that may be missing.
        self.excused = set()
        #: Writes that are in a backup.
        self.saved = set()
        self._generations, self._served_in = {}, {}
        self._unserved_since = None

    # --- what it sees ---

    def network_changed(self):
        """Cables, cuts, losses, power."""
        world = self._world
        self._note_heard()
        one, other = world.nodes.values()
        mute = not world.segment.talk(one, other) or world.segment.loss > 0
        if mute and not self._mute:
            self._heard = set()
        if self._mute and not mute:
            self._heard_again_at = world.engine.now
        self._mute = mute
        self._note_heard()

    def _note_heard(self):
        if self._mute:
            world = self._world
            for name in self.holders:
                if any(world.segment.talk(world.nodes[name], one) for one in world.others):
                    self._heard.add(name)

    def addresses_changed(self, node, has):
        """A node has the address from now on, or has it no more."""
        now = self._world.engine.now
        before = set(self.holders)
        if has:
            self._takes(node, before - {node.name})
            self.holders.add(node.name)
            self._heard.discard(node.name)
            self._served_in[node.name] = self._generations.get(node.name, 0)
        else:
            self.holders.discard(node.name)
            if self.holders:
                self._gives_way(node)
        self._note_heard()
        if len(self.holders) > 1 and len(before) < 2:
            may = MUTE in self._excuses and (self._mute or now - self._heard_again_at <= BEGINS_WITHIN)
            self._overlap = (now, may)
        elif len(before) > 1 and len(self.holders) < 2:
            self.look()
            self._overlap = None

    def _takes(self, node, servers):
        """What the one before had not carried yet is lost with it, if it is really gone."""
        world = self._world
        if any(self._serves(world.nodes[name]) for name in servers):
            return
        self.excused |= set(world.client.acknowledged) - world.data[node.name].files

    def _serves(self, node):
        return node.acts and self._world.segment.talk(node, self._world.client.host)

    def _gives_way(self, node):
        """Of two holders one goes: what it alone was told may go if the other was heard as well."""
        for name in self.holders:
            if SPLIT in self._excuses and name in self._heard:
                mine = self._world.data[node.name].files - self._world.data[name].files
                self.excused |= mine & set(self._world.client.acknowledged)

    def generation(self, name, number):
        """A node's ledger has been replaced."""
        before = self._generations.get(name, 0)
        if number < before:
            raise Broken(f"the ledger of {name} went from generation {before} to {number}")
        self._generations[name] = number

    def power_lost(self, node, number, lost):
        """
        A node has lost its power.

        number
            The generation that its disk has kept.

        lost
            Writes that its cache alone had.
        """
        served = self._served_in.get(node.name, 0)
        if number < served:
            raise Broken(f"{node.name} served in generation {served}, and its disk knows {number}")
        self._generations[node.name] = number
        if node.name in self.holders and CACHE in self._excuses:
            self.excused |= lost

    def deleted_by_lsyncd(self, files):
        """lsyncd's first pass has removed these from the standby."""
        gone = (files & set(self._world.client.acknowledged)) - self.excused - self.saved
        if gone:
            raise Broken(f"lsyncd deleted acknowledged writes that are in no backup: {sorted(gone)}")

    # --- what must hold ---

    def look(self):
        """At this moment."""
        now = self._world.engine.now
        if self._overlap is not None:
            since, may = self._overlap
            late = not self._mute and now - self._heard_again_at > SETTLED_WITHIN
            if now - since > TOLERANCE and (not may or late):
                raise Broken(f"{' and '.join(sorted(self.holders))} have the address since {since:.2f} s "
                             f"(it is {now:.2f} s)")
        if self.holders or not self._may_serve():
            self._unserved_since = None
        elif self._unserved_since is None:
            self._unserved_since = now
        elif now - self._unserved_since > SERVICE_WITHIN:
            raise Broken(f"nobody has the address since {self._unserved_since:.2f} s, though a node may take it")

    def _may_serve(self):
        """Whether a node's watch is there, entitled and able to take the address."""
        world = self._world
        for name, node in world.nodes.items():
            watching = node.acts and node.carrier and node.watch is not None and not node.watch.finished
            if not watching or node.watch.stopped or node.disk.latency:
                continue
            with world.on(name) as member:
                paused = member.pause.read()
                entitled = ledger.is_admitted(member.ledger.read())
            if entitled and not paused and world.sees_somebody_to_ask(node):
                return True
        return False

    def ended_well(self):
        """Whether one node serves, or none can, and nobody has to name a winner."""
        found = self._world.judged()
        served = bool(self.holders) or not self._may_serve()
        return served and found.name in GOOD_ENDS and not self._decided(found).refusal

    def _decided(self, found):
        operation = plan.BOOT if found.name == verdict.COLD else plan.RECOVER
        return plan.decide(operation, self._world.nodes["salt1"].config, found)

    def at_the_end(self):
        """The network is whole, both nodes run, and time has passed."""
        world = self._world
        self.look()
        if len(self.holders) > 1:
            raise Broken("two holders in the end")
        found = world.judged()
        decided = self._decided(found)
        if found.name not in GOOD_ENDS or decided.refusal:
            raise Broken(f"in the end the pair is {found.name}: {found.sentence} {decided.refusal or ''}")
        if found.newest is not None:
            missing = set(world.client.acknowledged) - world.data[found.newest].files - self.excused
            if missing:
                raise Broken(
                    f"{len(missing)} acknowledged writes are out of the service of {found.newest}: "
                    f"{sorted(missing)[:5]} …"
                )
