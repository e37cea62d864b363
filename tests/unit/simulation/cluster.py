"""
etcd as the segment has it: three members, of which a majority must hear each other; one key, compare-and-set.

In place of ``failback.lease.etcd.Client``. A write reaches a member and is done there before its answer is on
its way back: so one that its node takes for failed may have been done all the same.
"""

from failback.errors import Unavailable
from simulation import here

#: The members' names, which are their addresses.
MEMBERS = ("10.0.0.91", "10.0.0.92", "10.0.0.93")
#: Seconds that a question and its answer take.
USUAL = 0.02


class Cluster:
    """
    All members together.

    hosts
        The members, :py:class:`simulation.hosts.Host`.
    """

    def __init__(self, hosts):
        self._hosts = hosts
        #: Of the last write.
        self.revision, self.value = 0, None
        #: Seconds that a question and its answer take.
        self.latency = USUAL

    def reached(self, node):
        """The member that answers a node now, or None."""
        segment = here.world.segment
        for one in self._hosts:
            others = [other for other in self._hosts if other is one or segment.talk(one, other)]
            if segment.talk(node, one) and len(others) > len(self._hosts) // 2:
                return one
        return None

    def read(self, _key, within):
        """As ``Client.read``."""
        return self._ask("read", within, self._found)

    def replace(self, _key, revision, value, within):
        """As ``Client.replace``."""

        def write():
            if revision != self.revision:
                return False, self._found()
            self.revision, self.value = self.revision + 1, value
            return True, self.revision

        return self._ask("write", within, write)

    def _found(self):
        return self.revision, self.value

    def _ask(self, what, within, do):
        world = here.world
        engine, node = world.engine, world.node
        end, travels = engine.now + within, self.latency / 2
        world.step("etcd", what)
        engine.wait(min(end, engine.now + travels))
        if travels < within and self.reached(node):
            found = do()
            engine.wait(min(end, engine.now + travels))
            if 2 * travels < within and self.reached(node):
                return found
        engine.wait(end)
        raise Unavailable("etcd does not answer.")
