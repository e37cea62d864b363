"""The sites that the lab can build, as data: hosts, interfaces, addresses, and their roles."""

import dataclasses
import ipaddress
import json
import os

from lab import kinds


@dataclasses.dataclass(frozen=True)
class Network:
    """One bridge. A host's address is the subnet plus its number, in IPv4 and IPv6."""

    name: str
    ipv4: str
    ipv6: str

    def address(self, number):
        """``10.0.0.11/24`` for number 11."""
        net = ipaddress.ip_network(self.ipv4)
        return f"{net[number]}/{net.prefixlen}"

    def address6(self, number):
        """``fd00:0:0:1::11/64`` for number 11: the same digits, for people."""
        net = ipaddress.ip_network(self.ipv6)
        return f"{net[int(str(number), 16)]}/{net.prefixlen}"


@dataclasses.dataclass(frozen=True)
class Machine:
    """
    One host: its interfaces by the network they are on, its number, and its roles.

    roles
        What lab/roles makes of it: ``minion``, ``master`` (a node of the salt pair), ``witness`` (a
        minion that both masters reach), ``writer`` (the small TCP service of lab/load.py), and the
        services of the cluster. Provisioning looks at nothing else.

    pair
        The pair that it is a node of, if it is one. Its minion runs highstate at boot.

    bridge
        Name of a bridge over the first interface; the host's address is then on the bridge.

    shared
        Folders that other hosts of the lab have as well, each as (name, place in the host). They lie
        on the machine's disk and outlive every host: a stand-in for shared storage.

    devices
        Devices of the machine that the host may use, where the machine has them.
    """

    name: str
    number: int
    interfaces: tuple = (("eth0", "eth0"),)  # (interface, network)
    roles: tuple = ("minion",)
    pair: str = ""
    bridge: str = ""
    shared: tuple = ()
    devices: tuple = ()


@dataclasses.dataclass(frozen=True)
class Description:
    """A site: networks, hosts, and addresses that no host has by itself."""

    name: str
    networks: tuple
    machines: tuple
    kind: str = "base"  # a name of lab.kinds.KINDS
    debian: str = kinds.DEBIAN
    floating: tuple = ()  # (name, network, number): in /etc/hosts; Failback configures them
    master_address: str = ""  # what minions other than the masters themselves call their master
    spare: tuple = ()  # pairs that are left out unless they are asked for
    absent: tuple = ()  # machines of the site that this lab does without
    boards: tuple = ()  # (host, UDP port): its management board, on the host with the role bmc

    @property
    def image(self):
        """The name of the image that its hosts are copies of."""
        return f"{self.kind}-{self.debian}"

    @property
    def pairs(self):
        """The names of the pairs whose hosts the lab has, in the site's order."""
        return list(dict.fromkeys(each.pair for each in self.machines if each.pair))

    def chosen(self, pairs=None):
        """
        The same site with the hosts of some pairs only.

        pairs
            Names; all but the spare ones by default. The pair of the masters and the hosts that are in
            no pair are always there. LookupError for a pair that the site does not have.
        """
        everyone = sorted((*self.machines, *self.absent), key=lambda each: each.number)
        known = list(dict.fromkeys(each.pair for each in everyone if each.pair))
        if pairs is None:
            pairs = [pair for pair in known if pair not in self.spare]
        unknown = sorted(set(pairs) - set(known))
        if unknown:
            raise LookupError(
                f"The site {self.name} has no pair {', '.join(unknown)}; it has {', '.join(known)}."
            )
        wanted = {"", *pairs, *(each.pair for each in everyone if "master" in each.roles)}
        return dataclasses.replace(
            self,
            machines=tuple(each for each in everyone if each.pair in wanted),
            absent=tuple(each for each in everyone if each.pair not in wanted),
        )

    def network(self, name):
        return next(network for network in self.networks if network.name == name)

    def masters(self):
        """The fixed addresses of the hosts that can be Salt master."""
        return [self.address(machine) for machine in self.machines if "master" in machine.roles]

    def address(self, machine, interface=None):
        """A host's fixed IPv4 address (of its first interface, if none is named)."""
        wired = dict(machine.interfaces)
        network = wired[interface] if interface else machine.interfaces[0][1]
        return self.network(network).address(machine.number).split("/")[0]

    def names(self):
        """The lines of /etc/hosts."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
        # The absent ones too: they may be added while the others run.
        for machine in (*self.machines, *self.absent):
            for interface, network in machine.interfaces:
                first = interface == machine.interfaces[0][0]
                name = machine.name if first else f"{machine.name}-{interface}"
                lines.append(f"{self._plain(network, machine.number)} {name}")
                lines.append(f"{self._plain6(network, machine.number)} {name}-6")
        for name, network, number in self.floating:
            lines.append(f"{self._plain(network, number)} {name}")
        return "\n".join(lines) + "\n"

    def _plain(self, network, number):
        return self.network(network).address(number).split("/")[0]

    def _plain6(self, network, number):
        return self.network(network).address6(number).split("/")[0]


ETH0 = Network("eth0", "10.0.0.0/24", "fd00:0:0:1::/64")
IB0 = Network("ib0", "10.1.0.0/24", "fd00:0:0:2::/64")  # a second bridge in InfiniBand's stead
PUBLIC = Network("public", "192.0.2.0/24", "2001:db8::/64")

SALT = Description(
    name="salt",
    networks=(ETH0,),
    machines=(
        Machine("salt1", 11, roles=("master", "minion", "writer"), pair="salt"),
        Machine("salt2", 12, roles=("master", "minion", "writer"), pair="salt"),
        Machine("client", 100, roles=("minion", "witness")),
    ),
    floating=(("salt-gw", "eth0", 5),),
    master_address="10.0.0.5",
)

#: For the fault campaign: the same, and boards that switch its nodes off.
FAULTS = dataclasses.replace(
    SALT,
    name="faults",
    kind="services",
    machines=(
        *SALT.machines[:2],
        Machine("client", 100, roles=("minion", "witness", "bmc"), shared=(("boards", "/srv/boards"),)),
    ),
    boards=(("salt1", 9011), ("salt2", 9012)),
)


def _two(pair, first, second, **settings):
    """The two hosts of a pair, each given as (name, number)."""
    roles = ("minion", *settings.pop("roles", ()))
    return (
        Machine(*first, roles=roles, pair=pair, **settings),
        Machine(*second, roles=roles, pair=pair, **settings),
    )


DALMA = Description(
    name="dalma",
    kind="services",
    networks=(ETH0, IB0, PUBLIC),
    machines=(
        *_two("salt", ("salt1", 11), ("salt2", 12), roles=("master", "writer")),
        *_two(
            "mgmt",
            ("mgmt1", 21),
            ("mgmt2", 22),
            roles=("hypervisor",),
            bridge="br0",
            shared=(("vms", "/srv/vms"),),
            devices=("/dev/kvm",),
        ),
        *_two(
            "slurm",
            ("slurm1", 31),
            ("slurm2", 32),
            roles=("controller",),
            shared=(("slurm", "/srv/slurm"),),
        ),
        *_two("mx", ("mx1", 41), ("mx2", 42), roles=("mail",)),
        *_two(
            "monitor",
            ("monitor1", 51),
            ("monitor2", 52),
            roles=("monitor",),
            interfaces=(("eth0", "eth0"), ("eth1", "public")),
        ),
        *_two("home", ("home1", 61), ("home2", 62)),
        *_two("ssc", ("ssc1", 71), ("ssc2", 72)),
        *_two(
            "apps",
            ("apps1", 81),
            ("apps2", 82),
            interfaces=(("eth0", "eth0"), ("ib0", "ib0")),
        ),
        *_two("archive", ("archive3", 93), ("archive4", 94)),
        # The second interface is for what goes between the two nodes.
        *_two("web", ("web1", 97), ("web2", 98), interfaces=(("eth0", "eth0"), ("ib0", "ib0"))),
        Machine(
            "client",
            100,
            roles=("minion", "witness", "database", "compute", "reporter", "bmc"),
            shared=(("boards", "/srv/boards"),),
            interfaces=(("eth0", "eth0"), ("ib0", "ib0"), ("eth1", "public")),
        ),
    ),
    floating=(
        ("mgmt-gw", "eth0", 1),
        ("slurm-gw", "eth0", 3),
        ("monitor-gw", "eth0", 4),
        ("salt-gw", "eth0", 5),
        ("apps-gw", "eth0", 7),
        ("archive-gw", "eth0", 8),
        ("web-gw", "eth0", 9),
        ("apps-gw.fast", "ib0", 7),
        ("monitor-public", "public", 10),
    ),
    master_address="10.0.0.5",
    # A pair that is added to the running cluster, to show that it can be done.
    spare=("web",),
    boards=(("archive3", 9003), ("archive4", 9004)),
)

#: The hosts of the virtual machines alone; both masters reach them, so that two operators can be at them. All
#: on the newer Debian: the other sites are on the older one.
VM = Description(
    name="vm",
    kind="services",
    debian="trixie",
    networks=(ETH0,),
    machines=(
        *_two("salt", ("salt1", 11), ("salt2", 12), roles=("master",)),
        *_two(
            "mgmt",
            ("mgmt1", 21),
            ("mgmt2", 22),
            roles=("hypervisor", "witness"),
            bridge="br0",
            shared=(("vms", "/srv/vms"),),
            devices=("/dev/kvm",),
        ),
        Machine("client", 100, roles=("minion", "witness", "bmc"), shared=(("boards", "/srv/boards"),)),
    ),
    floating=(("mgmt-gw", "eth0", 1), ("salt-gw", "eth0", 5)),
    master_address="10.0.0.5",
    boards=(("mgmt1", 9021), ("mgmt2", 9022)),
)

#: For benchmarks/: two nodes and a third host that watches them, without Salt.
BENCH = Description(
    name="bench",
    kind="peers",
    networks=(ETH0,),
    machines=(
        Machine("one", 11, roles=(), pair="bench"),
        Machine("two", 12, roles=(), pair="bench"),
        Machine("client", 100, roles=("bmc",), shared=(("boards", "/srv/boards"),)),
    ),
    floating=(("gw", "eth0", 5),),
    boards=(("one", 9031), ("two", 9032)),
)


def _all():
    debian = os.environ.get("FAILBACK_DEBIAN")
    for one in (BENCH, SALT, FAULTS, DALMA, VM):
        yield one.name, dataclasses.replace(one, debian=debian or one.debian)


#: By their names. ``FAILBACK_DEBIAN`` in the environment is the Debian of all of them, whatever they say.
SITES = dict(_all())


def remember(folder, description):
    """Note in a lab's state which site it is, which of its pairs it has, and its Debian."""
    noted = {"site": description.name, "pairs": description.pairs, "debian": description.debian}
    (folder / "site.json").write_text(json.dumps(noted) + "\n")


def recall(folder):
    """The description that was noted; FileNotFoundError if there is none."""
    noted = json.loads((folder / "site.json").read_text())
    site = dataclasses.replace(SITES[noted["site"]], debian=noted["debian"])
    return site.chosen(noted["pairs"])
