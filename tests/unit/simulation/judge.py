"""
The invariants, asked at every moment and at the end; and what a configuration is excused from, as data.

The excuses stand in docs/guarantees.md: while two nodes cannot hear each other both may have the address,
until the claim is settled; of two that were heard by clients at the same time the newer generation wins; what
a standby was told goes with a claim that it soon renounces; one that asks nobody may take a pair back.
"""

import dataclasses

from failback.decisions import hearing
from failback.decisions import plan
from failback.decisions import verdict
from failback.state import ledger

#: Both may have the address while the nodes cannot hear each other, and until the claim is settled.
MUTE = "two holders while the nodes do not hear each other"
#: Of two nodes that others heard at the same time one loses what it was told.
SPLIT = "of two nodes that were heard, what one was told"
#: A claim that is renounced before the node is known to be heard.
MOMENT = "what a standby was told before it renounced a claim that it had just made"
#: One that asks nobody takes a pair back although it may be the one that is cut off.
TAKEN_BACK = "what the taker of a handover was told before the giver took the pair back"

#: Seconds after the nodes hear each other again in which a claim is settled, and may still begin.
SETTLED_WITHIN, BEGINS_WITHIN = 20.0, 5.0
#: A standby that renounces its claim has served for so many seconds at most while its watch was running.
SERVED_BRIEFLY = 3.0
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
        Of the pillar's ``watch``. A tuple of addresses, or one of its words.

    excuses
        Of :data:`MUTE`, :data:`SPLIT`, :data:`MOMENT` and :data:`TAKEN_BACK`.

    ttl
        Of the pair's lease, in seconds; None: it has none.
    """

    name: str
    on: str = "secondary"
    reachable: object = hearing.NOBODY
    excuses: frozenset = frozenset()
    interval: float = 0.5
    patience: float = 2.0
    ttl: float = None


class Judge:
    """Sees what happens in a world, and raises :class:`Broken`."""

    def __init__(self, world, configuration):
        self._world, self._excuses = world, configuration.excuses
        # What another node was granted must be over before one may take.
        self._service_within = SERVICE_WITHIN + 2 * (configuration.ttl or 0.0)
        #: Names of the nodes that have the address.
        self.holders = set()
        #: Whether the two nodes do not hear each other, and until when a claim could not be settled.
        self._mute, self._unsettled_at = False, -1000.0
        #: Nodes that another host heard while the two did not hear each other.
        self._heard = set()
        #: Since when two nodes have the address, and whether that may be.
        self._overlap = None
        #: Acknowledged writes that may be missing.
        self.excused = set()
        #: Writes that are in a backup.
        self.saved = set()
        #: By node: the generation of its ledger, in which it had the address last, and since when.
        self._generations, self._served_in, self._claimed_at = {}, {}, {}
        #: By node: the generation in which a handover's giver took the pair back.
        self._taken_back = {}
        #: By node that has the address: since when its watch has been running without a break.
        self._watched_since = {}
        #: The last of two holders that lost its power while others could hear it, and when.
        self._died_beside_another = (None, -1000.0)
        self._unserved_since = None

    # --- what it sees ---

    def network_changed(self):
        """Cables, cuts, losses, power."""
        world = self._world
        one, other = world.nodes.values()
        mute = not world.segment.talk(one, other) or world.segment.loss > 0
        if self._mute and not mute:
            self._unsettled_at = world.engine.now
        self._mute = mute
        self._note_heard()

    def _note_heard(self):
        """Whom others hear while the two nodes do not hear each other."""
        world = self._world
        for name in self.holders if self._mute else ():
            if any(world.segment.talk(world.nodes[name], one) for one in world.others):
                self._heard.add(name)

    def addresses_changed(self, node, has):
        """A node has the address from now on, or has it no more."""
        now, name = self._world.engine.now, node.name
        before = set(self.holders)
        if has:
            claim = self._claim(before - {name})
            self._takes(node, claim)
            self.holders.add(name)
            self._served_in[name] = self._generations.get(name, 0)
            self._claimed_at[name] = self._watched_since[name] = now
        else:
            self.holders.discard(name)
            if self.holders:
                self._gives_way(node)
            elif node.power:
                self._gives_way_to_the_dead(node)
        self._note_heard()
        if len(self.holders) > 1 and len(before) < 2:
            self._overlap = (now, MUTE in self._excuses and claim["unsettled"])
        elif len(before) > 1 and len(self.holders) < 2:
            self.look()
            self._overlap = None

    def _had_alone(self, name):
        """Acknowledged writes that are on this node and not on the other one."""
        data = self._world.data
        other = next(one for one in data if one != name)
        return data[name].files & set(self._world.client.acknowledged) - data[other].files

    def _claim(self, servers):
        """What is true at the moment of a claim: whether the nodes are deaf, and whether nobody serves."""
        world, late = self._world, self._world.engine.now - self._unsettled_at
        return {
            "unsettled": self._mute or late <= BEGINS_WITHIN,
            "unserved": not any(self._serves(world.nodes[one]) for one in servers),
        }

    def _takes(self, node, claim):
        """What the one before had not carried yet is lost with it, if it is really gone."""
        world = self._world
        self._heard.discard(node.name)
        if claim["unsettled"] and any(world.segment.talk(node, one) for one in world.others):
            self._heard.add(node.name)
        if claim["unserved"]:
            self.excused |= set(world.client.acknowledged) - world.data[node.name].files

    def _serves(self, node):
        return node.acts and self._world.segment.talk(node, self._world.client.host)

    def _gives_way(self, node):
        """
        Of two holders one goes: what it alone was told may go if the other was heard as well.

        A node that nobody heard before the two met, but clients since, may win only against what was
        written after they met.
        """
        told = self._world.client.acknowledged
        if not node.power:
            # What the other one did not have yet is on its disk alone, whoever claimed before.
            self.excused |= self._had_alone(node.name)
            if node.name in self._heard or self._world.segment.loss:
                self._died_beside_another = (node.name, self._world.engine.now)
        elif self._may_go(node):
            self.excused |= self._had_alone(node.name)
        for name in self.holders if SPLIT in self._excuses else ():
            mine = self._world.data[node.name].files & set(told) - self._world.data[name].files
            since = self._claimed_at.get(name, 0.0)
            # Where most packets are lost, one that serves may not be heard by the other one either.
            if name in self._heard or self._world.segment.loss:
                self.excused |= mine
            elif any(who == name and when >= since for who, when in told.values()):
                self.excused |= {one for one in mine if told[one][1] >= self._unsettled_at}

    def _may_go(self, node):
        """Whether what this one alone was told goes with it, although nobody else was heard."""
        if any(self._taken_back.get(one, -1) == self._generations.get(one) for one in self.holders):
            return TAKEN_BACK in self._excuses
        with self._world.on(node.name) as member:
            unheard = hearing.unheard(member.ledger.read())
        briefly = self._world.engine.now - self._watched_since[node.name] <= SERVED_BRIEFLY
        return MOMENT in self._excuses and unheard and briefly

    def _gives_way_to_the_dead(self, node):
        """
        The newer of two holders has asked this one to step down, and lost its power before this one had done
        it. What this one was told goes as if the newer one still served.
        """
        name, when = self._died_beside_another
        newer = self._served_in.get(name, 0) > self._served_in.get(node.name, 0)
        if SPLIT in self._excuses and newer and self._world.engine.now - when <= BEGINS_WITHIN:
            self.excused |= self._had_alone(node.name)

    def ledger_changed(self, name, entry):
        """A node's ledger has been replaced."""
        number = entry["generation"]
        before = self._generations.get(name, 0)
        if number < before:
            raise Broken(f"the ledger of {name} went from generation {before} to {number}")
        if number > before:
            claim = self._claim(self.holders - {name})
            if claim["unserved"] and entry["active"] == name:
                # From here on it may have served: what had not come over is lost with the one before.
                self.excused |= set(self._world.client.acknowledged) - self._world.data[name].files
            if self._mute and entry["active"] == name and entry["run"]:
                self._taken_back[name] = number
        self._generations[name] = number

    def power_lost(self, node, entry):
        """
        A node has lost its power.

        entry
            The ledger that its disk has kept, or None.
        """
        number = entry["generation"] if entry else 0
        served = self._served_in.get(node.name, 0)
        if number < served:
            raise Broken(f"{node.name} served in generation {served}, and its disk knows {number}")
        self._generations[node.name] = number
        for name in self._heard if SPLIT in self._excuses else ():
            newer = self._served_in.get(name, 0) == self._generations.get(name, 0) > number
            if newer and not self._world.nodes[name].power:
                # Both were heard, and both are off now: on their disks the newer generation is the later one.
                self.excused |= self._had_alone(node.name)

    def deleted_by_lsyncd(self, files):
        """lsyncd's first pass has removed these from the standby."""
        gone = (files & set(self._world.client.acknowledged)) - self.excused - self.saved
        if gone:
            raise Broken(f"lsyncd deleted acknowledged writes that are in no backup: {sorted(gone)}")

    # --- what must hold ---

    def look(self):
        """At this moment."""
        now = self._world.engine.now
        for name in self.holders:
            if not self._watches(self._world.nodes[name]):
                self._watched_since[name] = now
        if self._overlap is not None:
            since, may = self._overlap
            if self._paused() or self._one_stands_still():
                # Left to whoever set the pause, or until that node goes on: the watch settles it afterwards.
                self._unsettled_at = now
            late = not self._mute and now - self._unsettled_at > SETTLED_WITHIN
            if now - since > TOLERANCE and (not may or late):
                raise Broken(
                    f"{' and '.join(sorted(self.holders))} have the address since {since:.2f} s "
                    f"(it is {now:.2f} s)"
                )
        if self.holders or not self._may_serve():
            self._unserved_since = None
        elif self._unserved_since is None:
            self._unserved_since = now
        elif now - self._unserved_since > self._service_within:
            raise Broken(
                f"nobody has the address since {self._unserved_since:.2f} s, though a node may take it"
            )

    def _watches(self, node):
        watch = node.watch
        return node.acts and watch is not None and not (watch.finished or watch.dead or watch.stopped)

    def _paused(self):
        for name in self.holders:
            with self._world.on(name) as member:
                if member.pause.read():
                    return True
        return False

    def _one_stands_still(self):
        """One that has the address: as it is shipped, its kernel goes on answering for it."""
        return any(not self._world.nodes[name].acts for name in self.holders)

    def _may_serve(self):
        """Whether a node's watch is there, entitled and able to take the address."""
        world = self._world
        for name, node in world.nodes.items():
            if not self._watches(node) or not node.carrier or node.disk.latency:
                continue
            with world.on(name) as member:
                paused = member.pause.read()
                entitled = ledger.is_admitted(member.ledger.read())
            if entitled and not paused and world.sees_somebody_to_ask(node) and world.has_a_lease_for(node):
                return True
        return False

    def ended_well(self):
        """Whether one node serves, or none can, and nobody has to name a winner."""
        served = bool(self.holders) or not self._may_serve()
        return served and self._is_good(self._world.judged())

    def _is_good(self, found):
        """Whether an orchestration goes on from there, or the two nodes really have two histories."""
        if found.name == verdict.SPLIT:
            return self._says_so_itself() or SPLIT in self._excuses and self._have_two_histories()
        return found.name in GOOD_ENDS and not self._decided(found).refusal

    def _says_so_itself(self):
        """
        A node went down before it had written what lsyncd brought, or before anybody was known to hear its
        claim, and says so: a person compares.
        """
        for name in self._world.nodes:
            with self._world.on(name) as member:
                own = member.ledger.read() or {}
                if own.get("unsynced") or hearing.unheard(own):
                    return True
        return False

    def _have_two_histories(self):
        """Each node has had the address in the generation that it claims: clients may have told both."""
        claims = [(name, *entry) for name, entry in zip(self._world.nodes, self._world.ledgers())]
        return all(active == name and self._served_in.get(name) == number for name, number, active in claims)

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
        if not self._is_good(found):
            refusal = self._decided(found).refusal or ""
            raise Broken(f"in the end the pair is {found.name}: {found.sentence} {refusal}")
        if found.newest is not None:
            missing = set(world.client.acknowledged) - world.data[found.newest].files - self.excused
            if missing:
                raise Broken(
                    f"{len(missing)} acknowledged writes are out of the service of {found.newest}: "
                    f"{sorted(missing)[:5]} …"
                )
