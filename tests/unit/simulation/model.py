"""The client that writes through the address, and the lsyncd that carries what it wrote."""

import ipaddress

from failback.host import services
from failback.replication import gate
from simulation.disk import WRITTEN_BACK

#: Seconds between two writes.
EVERY = 0.4
#: Seconds that one rsync of lsyncd takes.
TRANSFER = 0.2


class Data:
    """The replicated files of one node: numbers of writes."""

    def __init__(self):
        self.files = set()
        #: Written by an rsync and not synced yet, with the time.
        self.cached = {}

    def sync(self):
        """On the disk from now on."""
        self.cached = {}

    def lose_power(self, now):
        """What was in the cache alone is gone."""
        lost = {one for one, when in self.cached.items() if now - when < WRITTEN_BACK}
        self.files -= lost
        self.cached = {}


class Client:
    """
    A host that keeps writing. A write is acknowledged when it is on the disk of the node that answers.

    It sends to the hardware address that it knows, and asks anew when nobody answers there.
    """

    def __init__(self, world, host, packed):
        self._world, self.host = world, host
        self._packed = packed
        self._own = ipaddress.ip_address(host.name).packed
        self._knows = None
        #: Of the writes, by number: the name of the node that acknowledged it, and when.
        self.acknowledged = {}
        #: The number of the last one, acknowledged or not.
        self.last = 0
        #: When a write was acknowledged last.
        self.served_at = 0.0

    def begin(self):
        self._write()

    def hears_announcement(self, node, packed):
        """A gratuitous ARP: its table follows."""
        if packed == self._packed:
            self._knows = node

    def _write(self):
        world = self._world
        world.engine.after(EVERY, self._write)
        target = self._knows
        if target is None or not self._reaches(target):
            answering = [
                one for one in world.segment.answering(self.host, self._packed) if self._reaches(one)
            ]
            self._knows = target = answering[0] if answering else None
        if target is None or not target.acts:
            return
        self.last += 1
        world.data[target.name].files.add(self.last)
        self.acknowledged[self.last] = (target.name, world.engine.now)
        self.served_at = target.confirmed[self._own] = world.engine.now

    def _reaches(self, node):
        return node.has(self._packed) and self._world.segment.talk(self.host, node)


class Lsyncd:
    """
    It runs on the primary while its unit does: started where the gate opens, its rsync ends where the
    receiving side refuses. Its first pass makes the standby what the active node is, with ``--delete``.
    """

    def __init__(self, world, node):
        self._world, self.node = world, node
        self._generation = 0
        #: What it believes the standby to have; None before its first pass.
        self.carried = None
        #: Why the standby refused last, and since when; None when it did not.
        self.refused = None

    def start(self):
        """Its unit is started."""
        self.node.units.add(services.LSYNCD)
        self._generation += 1
        self.carried, self.refused = None, None
        self._tick(self._generation)

    def _runs(self, generation):
        return generation == self._generation and services.LSYNCD in self.node.units and self.node.power

    def _tick(self, generation):
        world, node = self._world, self.node
        if not self._runs(generation):
            return
        peer = world.other(node)
        delay = node.config["lsyncd"]["delay"]
        mine = world.data[node.name].files
        reachable = world.segment.talk(node, peer) and peer.acts and node.acts
        if reachable and (self.carried is None or mine - self.carried):
            self.refused = self._refusal(peer)
            if not self.refused:
                transfer = {"files": set(mine), "ended": False}
                peer.incoming.append(transfer)
                peer.incoming_mark = world.engine.now
                world.engine.after(TRANSFER, lambda: self._arrived(generation, peer, transfer))
        world.engine.after(delay, lambda: self._tick(generation))

    def _refusal(self, peer):
        with self._world.on(peer.name) as member:
            return gate.gate.write_refusal(member.config, member.ledger.read())

    def _arrived(self, generation, peer, transfer):
        world, node = self._world, self.node
        if transfer in peer.incoming:
            peer.incoming.remove(transfer)
            peer.incoming_mark = world.engine.now
        whole = world.segment.talk(node, peer) and peer.acts and node.acts
        if transfer["ended"] or not whole or not self._runs(generation):
            return
        theirs, files = world.data[peer.name], transfer["files"]
        if self.carried is None:
            world.judge.deleted_by_lsyncd(theirs.files - files)
            new = files - theirs.files
            theirs.files = set(files)
        else:
            new = files - self.carried - theirs.files
            theirs.files |= new
        theirs.cached.update(dict.fromkeys(new, world.engine.now))
        self.carried = files
