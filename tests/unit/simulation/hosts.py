"""The hosts of the segment: two nodes, and others that can only be asked."""

import json

from failback.network import netlink
from simulation.disk import Disk

#: The number of the first interface.
INDEX = 2

#: Seconds after the end of its life in which a kernel has deleted an address.
DELETED_WITHIN = 1.25

#: Seconds between the first of January 1970 and the beginning of every history.
EPOCH = 1_700_000_000.0


class Host:
    """
    A host of the segment.

    number
        Of its hardware address.

    addresses
        IPv4 addresses as bytes that it answers for all the time.
    """

    def __init__(self, name, number, addresses=()):
        self.name = name
        self.mac = bytes((2, 0, 0, 0, 0, number))
        #: Whether its kernel runs, and so answers.
        self.power = True
        #: Whether its cable is in.
        self.carrier = True
        self._addresses = frozenset(addresses)
        #: Its address, if it is the gateway of the nodes' routes.
        self.gateway = None

    @property
    def answers(self):
        """Whether it hears and speaks at all."""
        return self.power and self.carrier

    def has(self, packed):
        """Whether its kernel answers for an address."""
        return packed in self._addresses

    def __repr__(self):
        return self.name


class Node(Host):
    """
    A node of the pair: what its kernel, its disk and its systemd know.

    config
        The pair as highstate wrote it on this node.
    """

    def __init__(self, world, name, number, config):
        super().__init__(name, number)
        self.world, self.config = world, config
        #: The names of its interfaces, all on the one segment.
        self.interfaces = sorted({one["interface"] for one in config["floating_ips"]}) or ["eth0"]
        self.boot = 1
        self.booted_at = -1000.0
        #: Seconds that its wall clock is ahead.
        self.wall = 0.0
        self.disk = Disk(lambda: world.engine.now)
        #: Addresses on its interface: bytes to :py:class:`netlink.Borne`; and the end that some of them have.
        self.borne, self._ends = {}, {}
        #: Whether its processes stand still although its kernel runs.
        self.frozen = False
        #: systemd: units that run, timers by unit, processes of the timers.
        self.units = set()
        self.timers = {}
        self.timer_runs = {}
        #: By address of a neighbour: when it acknowledged something last.
        self.confirmed = {}
        #: The processes that watch, keep, and renew the lease.
        self.watch = self.keeper = self.guard = None
        #: Open sockets of its programs.
        self.probers, self.rivals, self.netlinks = set(), set(), set()
        #: rsyncs of the other node that write here.
        self.incoming = []
        #: Another number after each announcement of one and each end; None before the first in this boot.
        self.incoming_mark = None
        #: Sentences for its log.
        self.log = []
        self._files_of_highstate()

    def _files_of_highstate(self):
        self.disk.put(f"/etc/failback/pairs/{self.config['name']}.json", json.dumps(self.config).encode())
        self._files_of_the_kernel()

    def _files_of_the_kernel(self):
        mac = netlink.readable(self.mac)
        for name in self.interfaces:
            self.disk.put(f"/sys/class/net/{name}/address", f"{mac}\n".encode())

    @property
    def boot_id(self):
        return f"{self.name} boot {self.boot}"

    @property
    def acts(self):
        """Whether its processes run."""
        return self.power and not self.frozen

    def has(self, packed):
        return packed in self.borne

    def links(self):
        """Its interfaces, as netlink tells them."""
        flags = netlink.UP | (netlink.LOWER_UP if self.carrier else 0)
        return {
            name: netlink.Link(index, name, 1, flags, self.mac, b"\xff" * 6)
            for index, name in enumerate(self.interfaces, INDEX)
        }

    def tell_kernel_news(self):
        """Who subscribed to changes of interfaces and addresses hears of one."""
        for opened in self.netlinks:
            opened.changed = True
            self.world.engine.news(opened)

    def lives(self, packed, seconds):
        """
        Its kernel deletes an address by itself after so many seconds, or not (None).

        As late as it may, see ``decisions.lease.MARGIN``.
        """
        engine = self.world.engine
        if packed in self._ends:
            engine.cancel(self._ends.pop(packed))
        if seconds is not None:
            self._ends[packed] = engine.after(seconds + DELETED_WITHIN, lambda: self._dies(packed))

    def _dies(self, packed):
        del self._ends[packed]
        if self.borne.pop(packed, None) is not None:
            self.tell_kernel_news()
            self.world.addresses_changed(self, packed)

    def processes(self):
        """What runs on it."""
        return self.world.engine.living(self)

    def loses_power(self, fate):
        """Nothing is left of it but its disk, as the fate has it."""
        self.power = False
        engine = self.world.engine
        for process in self.processes():
            if process is not engine.current:
                engine.kill_alone(process)
        for packed in list(self._ends):
            self.lives(packed, None)
        self.borne, self.frozen, self.confirmed = {}, False, {}
        self.units, self.timers, self.timer_runs, self.incoming = set(), {}, {}, []
        self.incoming_mark = None
        self.probers, self.rivals, self.netlinks = set(), set(), set()
        self.disk.lose_power(fate)

    def boots(self):
        """Its kernel runs again, and nothing else yet."""
        self.power = True
        self.boot += 1
        self.booted_at = self.world.engine.now
        self._files_of_the_kernel()
