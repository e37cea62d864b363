"""Two nodes whose pair has a lease, and an etcd that does what it is told."""

from two_nodes import World

from failback.errors import Unavailable
from failback.lease import right
from failback.network import address_holder
from failback.peer import ssh

TTL = 10.0
LEASE = {"endpoints": [], "members": [], "tls": None, "ttl": TTL, "watchdog": False, "prefix": "/failback/"}


class Cluster:
    """etcd, as much of it as is asked."""

    def __init__(self, clock):
        self.revision, self.value, self.gone = 0, None, False
        self._clock, self.written = clock, None

    def read(self, key, within):
        self._require()
        assert key == "/failback/salt"
        return (self.revision, self.value) if self.value else (0, None)

    def replace(self, key, revision, value, within):
        self._require()
        if revision != (self.revision if self.value else 0):
            return False, self.read(key, within)
        self.revision, self.value, self.written = self.revision + 1, value, self._clock()
        return True, self.revision

    def _require(self):
        if self.gone:
            raise Unavailable("etcd does not answer.")

    @property
    def holder(self):
        return self.value["holder"], self.value["generation"]


class Holder(address_holder.Holder):
    """It is always told for how long the addresses are taken."""

    def take(self, addresses=None, check=True, wait=0.3, lifetime=None):
        assert isinstance(lifetime, int)
        assert 1 <= lifetime <= TTL
        return super().take(addresses, check, wait, lifetime)


def leased_world(folder, monkeypatch, **changes):
    world = World(folder, monkeypatch, lease=dict(LEASE), **changes)
    world.cluster = Cluster(lambda: world.now)
    monkeypatch.setattr(right, "client", lambda member: world.cluster)
    monkeypatch.setattr(address_holder, "Holder", Holder)
    monkeypatch.setattr(ssh, "ask", lambda *_, **__: (_ for _ in ()).throw(Unavailable("not heard")))
    for node in world.nodes.values():
        # No guard runs here (one does in the simulation's own tests): what it would renew lives on.
        node.lives = lambda packed, seconds: None
    with world.on("salt2") as member:
        right.obtain(member, 4, create=True)
    return world
