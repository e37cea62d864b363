"""The sites that the lab can build, as data: hosts, interfaces, addresses, and their roles."""

import dataclasses
import ipaddress


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
    """One host: its interfaces by the network they are on, its number, and its roles.

    roles
        ``master`` (a node of the salt pair), ``minion``, ``witness`` (a minion that both masters
        reach), ``writer`` (the small TCP service of lab/load.py). Provisioning looks at nothing else.
    """

    name: str
    number: int
    interfaces: tuple = (("eth0", "eth0"),)  # (interface, network)
    roles: tuple = ("minion",)


@dataclasses.dataclass(frozen=True)
class Description:
    """A site: networks, hosts, and addresses that no host has by itself."""

    name: str
    networks: tuple
    machines: tuple
    floating: tuple = ()  # (name, network, number): in /etc/hosts; Failback configures them
    master_address: str = ""  # what minions other than the masters themselves call their master

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
        for machine in self.machines:
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

SITES = {
    "salt": Description(
        name="salt",
        networks=(ETH0,),
        machines=(
            Machine("salt1", 11, roles=("master", "minion", "writer")),
            Machine("salt2", 12, roles=("master", "minion", "writer")),
            Machine("client", 100, roles=("minion", "witness")),
        ),
        floating=(("salt-gw", "eth0", 5),),
        master_address="10.0.0.5",
    ),
}
