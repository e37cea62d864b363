"""Who hears whom on the segment, and the sockets with which the code asks: netlink, ARP, echo."""

import random
import struct

from failback.network import netlink
from failback.network import rivals
from simulation import here
from simulation.hosts import INDEX

#: Seconds for which the kernel knows that a neighbour has heard it.
LATELY = 30.0


class Segment:
    """
    The wire between the hosts.

    Each direction between each two hosts can be cut, and packets can be lost. Answers come at once: what
    takes time here is silence.
    """

    def __init__(self, world):
        self._world = world
        #: By name.
        self.hosts = {}
        #: ``(sender, receiver)`` whose packets do not arrive, by name.
        self.cuts = set()
        #: Share of the packets that is lost, and by what chance.
        self.loss = 0.0
        #: Whether no node hears who answers for an address (ARP alone; TCP goes on).
        self.deaf_to_arp = False
        self._chance = random.Random(0)

    def add(self, host):
        self.hosts[host.name] = host
        return host

    def hears(self, sender, receiver):
        """Whether what one host sends would arrive at the other, but for lost packets."""
        return sender.answers and receiver.answers and (sender.name, receiver.name) not in self.cuts

    def talk(self, one, other):
        """Whether two hosts hear each other: what TCP needs, which sends again what was lost."""
        return self.hears(one, other) and self.hears(other, one)

    def arrives(self, sender, receiver):
        """One packet."""
        return self.hears(sender, receiver) and not (self.loss and self._chance.random() < self.loss)

    def answering(self, asker, packed):
        """The hosts whose answer for an address reaches who asks for it by broadcast."""
        return [
            host
            for host in self.hosts.values()
            if host is not asker
            and host.has(packed)
            and not (self.deaf_to_arp and hasattr(host, "probers"))
            and self.arrives(asker, host)
            and self.arrives(host, asker)
        ]

    def announce(self, sender, packed):
        """A gratuitous ARP."""
        for host in self.hosts.values():
            if host is not sender and self.arrives(sender, host):
                self._world.hears_announcement(host, sender, packed)
                for prober in getattr(host, "probers", ()):
                    prober.deliver(packed, sender.mac, answers_us=False)

    def probe(self, sender, packed):
        """The question of one who is about to take an address: those who are, too, hear it."""
        for host in self.hosts.values():
            if host is not sender and self.arrives(sender, host) and not self.deaf_to_arp:
                for listener in getattr(host, "rivals", ()):
                    listener.deliver(packed, sender.mac)


class Socket:
    """What can be waited for: it is readable, or will have news."""

    def __init__(self):
        self.world = here.world
        self.node = self.world.node
        self.waiters = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        pass


class Prober(Socket):
    """In place of ``neighbours.Prober``."""

    def __init__(self, addresses, links, borne):
        super().__init__()
        self._by_packed = {one.packed: one.ip for one in addresses}
        self._heard = []
        self.node.probers.add(self)

    def sockets(self):
        return [self]

    def close(self):
        self.node.probers.discard(self)

    def readable(self):
        return bool(self._heard)

    def deliver(self, packed, mac, answers_us):
        if packed in self._by_packed:
            self._heard.append((self._by_packed[packed], netlink.readable(mac), answers_us))
            self.world.engine.news(self)

    def ask(self, addresses, claim=False):
        self.world.alive()
        if not self.node.carrier:
            return list(addresses)  # the packet is sent, and goes nowhere
        for one in addresses:
            if claim:
                self.world.segment.probe(self.node, one.packed)
            for host in self.world.segment.answering(self.node, one.packed):
                # To this node's hardware address: every packet socket on it sees the answer.
                for prober in self.node.probers:
                    prober.deliver(one.packed, host.mac, answers_us=True)
        return list(addresses)

    def read(self):
        self.world.alive()
        heard, self._heard = self._heard, []
        return heard

    def announce(self, floating):
        self.world.step("announce", floating.address)
        self.world.segment.announce(self.node, floating.packed)


class Rivals(Socket):
    """In place of ``rivals.Rivals``."""

    def __init__(self, addresses, links):
        super().__init__()
        self._by_packed = {one.packed: one.ip for one in addresses}
        self._heard = []
        self.node.rivals.add(self)

    def sockets(self):
        return [self]

    def close(self):
        self.node.rivals.discard(self)

    def readable(self):
        return bool(self._heard)

    def deliver(self, packed, mac):
        if packed in self._by_packed:
            self._heard.append(rivals.Rival(self._by_packed[packed], mac))
            self.world.engine.news(self)

    def read(self):
        self.world.alive()
        heard, self._heard = self._heard, []
        return heard


class Echo(Socket):
    """In place of ``reachable.Echo``."""

    def __init__(self, addresses):
        super().__init__()
        self._targets = list(addresses)
        self._answered = False

    def sockets(self):
        return [self] if self._targets else []

    def readable(self):
        return self._answered

    def ask(self):
        self.world.alive()
        segment = self.world.segment
        for target in self._targets:
            host = segment.hosts.get(target)
            if host and segment.arrives(self.node, host) and segment.arrives(host, self.node):
                self._answered = True
                self.world.engine.news(self)

    def read(self):
        answered, self._answered = self._answered, False
        return answered


class Bell(Socket):
    """In place of ``watch.slow.Bell``."""

    def __init__(self):
        super().__init__()
        self._rung = False

    def readable(self):
        return self._rung

    def ring(self):
        self.world.alive()
        self._rung = True
        self.world.engine.news(self)

    def hear(self):
        self._rung = False

    def close(self):
        pass


class Netlink(Socket):
    """In place of ``netlink.Netlink``: interfaces, addresses, their changes."""

    def __init__(self, groups=0, protocol=0):
        super().__init__()
        self.changed = False
        if groups & netlink.CHANGES:
            self.node.netlinks.add(self)

    def fileno(self):
        return -1

    def close(self):
        self.node.netlinks.discard(self)

    def readable(self):
        return self.changed

    def drain(self):
        changed, self.changed = self.changed, False
        return changed

    def links(self):
        self.world.alive()
        return self.node.links()

    def addresses(self):
        self.world.alive()
        return list(self.node.borne.values())

    def gateways(self):
        """The gateways of the node's routes, with the number of their interface."""
        return {(host.gateway, INDEX) for host in self.world.segment.hosts.values() if host.gateway}

    def confirmed(self, _indexes):
        """Seconds since a neighbour has acknowledged something, by its address."""
        now = self.world.engine.now
        return {packed: now - when for packed, when in self.node.confirmed.items() if now - when < LATELY}

    def is_local(self, floating, index=None):
        return self.node.has(floating.packed)

    def request(self, kind, flags, body):
        """What ``address_holder.Holder`` asks the kernel for: an address added or deleted."""
        _, prefix, _, scope, index = struct.unpack_from("=BBBBi", body)
        attributes = netlink._attributes(body, 8)
        packed = attributes[netlink.LOCAL]
        if kind == netlink.NEW_ADDRESS:
            life, _ = netlink._life(attributes.get(netlink.LIFETIME))
            if packed in self.node.borne and flags & netlink.REPLACE:
                self.world.step("limit", packed)
                self.node.lives(packed, life)
                return []
            self.world.step("take", packed)
            if packed in self.node.borne:
                raise FileExistsError(17, "File exists")
            label = attributes.get(netlink.LABEL, b"").rstrip(b"\0").decode()
            made = int(self.world.engine.now * 100)
            self.node.borne[packed] = netlink.Borne(packed, prefix, index, scope, 0, label, life, made)
            self.node.lives(packed, life)
        elif kind == netlink.DELETE_ADDRESS:
            self.world.step("release", packed)
            if self.node.borne.pop(packed, None) is None:
                raise OSError(99, "Cannot assign requested address")
        else:
            raise AssertionError(f"the kernel of the simulation does not know request {kind}")
        self.node.tell_kernel_news()
        self.world.addresses_changed(self.node, packed)
        return []


class Connections:
    """In place of ``tcp.Connections``: the clients' connections are those of the model."""

    def close(self):
        pass

    def reset(self, floating, index=None):
        return 0

    def listed(self, floating, index=None):
        return []
