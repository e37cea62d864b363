"""
What a floating address is, and what is true of it on this node now.

:func:`statuses` reads the kernel's interfaces and addresses, and needs no privilege. Who else answers for an
address is asked by :py:mod:`failback.network.neighbours`; it is taken and released by
:py:mod:`failback.network.address_holder`.

An address is held by the *node*, not by an interface: whatever interface bears it, the kernel answers for it.
"""

import dataclasses
import ipaddress
import socket

from failback.decisions import addressing
from failback.errors import Refused
from failback.network import netlink


@dataclasses.dataclass(frozen=True)
class FloatingAddress:
    """
    One floating address, as the pillar gives it.

    address
        With its prefix length: ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface that bears it.

    label
        What ``ip addr`` and ``ifconfig`` show beside it, such as ``eth0:0``; IPv4 only.

    name
        What people call it. Default: the address without its prefix length.
    """

    address: str
    interface: str
    label: str = None
    name: str = None

    def __post_init__(self):
        wanted = addressing.floating(self.address)
        if wanted:
            raise Refused(f"'{self.address}' cannot be a floating address: wanted is {wanted}.")
        ip = ipaddress.ip_interface(self.address)
        if not self.interface or len(self.interface.encode()) > 15 or "/" in self.interface:
            raise Refused(
                f"'{self.interface}' cannot be the name of an interface: it has 1 to 15 bytes and no slash."
            )
        if self.label and ip.version == 6:
            raise Refused(
                f"{self.address} cannot bear the label '{self.label}': only IPv4 addresses have "
                "labels. Leave the label out."
            )
        if self.label and (
            len(self.label.encode()) > 15
            or not (self.label == self.interface or self.label.startswith(f"{self.interface}:"))
        ):
            raise Refused(
                f"'{self.label}' cannot be the label of {self.address}: a label begins with the "
                f"interface and a colon, as in {self.interface}:0, and has at most 15 bytes."
            )
        if not self.name:
            object.__setattr__(self, "name", str(ip.ip))
        object.__setattr__(self, "_ip", ip)

    @classmethod
    def from_pair(cls, entry):
        """
        The address of one entry of a normalised pair's ``floating_ips``.

        entry
            Dictionary with ``name``, ``address``, ``interface`` and ``label``.
        """
        return cls(entry["address"], entry["interface"], entry.get("label"), entry.get("name"))

    @property
    def ip(self):
        """The address without its prefix length, written the one canonical way."""
        return str(self._ip.ip)

    @property
    def prefix(self):
        """The prefix length."""
        return self._ip.network.prefixlen

    @property
    def version(self):
        """4 or 6."""
        return self._ip.version

    @property
    def network(self):
        """The network it lies in, an ``ipaddress`` network."""
        return self._ip.network

    @property
    def packed(self):
        """The address as 4 or 16 bytes."""
        return self._ip.ip.packed

    @property
    def family(self):
        """``AF_INET`` or ``AF_INET6``."""
        return socket.AF_INET if self.version == 4 else socket.AF_INET6


def of_pair(pair):
    """
    All floating addresses of a normalised pair, in its order.

    pair
        The pair's dictionary.
    """
    return [FloatingAddress.from_pair(entry) for entry in pair["floating_ips"]]


def by_link(floatings):
    """
    Addresses for which somebody can be asked now, and those on interfaces that are down or have no carrier.

    An address on an interface that this node does not have is among the first: asking for it says so.
    """
    with netlink.Netlink() as kernel:
        links = kernel.links()

    def dead(one):
        link = links.get(one.interface)
        return link is not None and not (link.up and link.carrier)

    return [one for one in floatings if not dead(one)], [one for one in floatings if dead(one)]


def status(floating):
    """
    What is true of one floating address on this node, now.

    floating
        A :class:`FloatingAddress`.

    Returns the dictionary that :func:`statuses` describes.
    """
    return statuses([floating])[0]


def statuses(floatings):
    """
    What is true of floating addresses on this node, now; read from the kernel, nothing is started.

    floatings
        List of :class:`FloatingAddress`.

    Returns a list, in the same order, of dictionaries:

    - ``name``, ``address``, ``interface``, ``label``: as asked for
    - ``interface_exists``, ``interface_up``, ``carrier``: booleans
    - ``mac``: hardware address of the interface, or None
    - ``held``: whether any interface of this node bears the address
    - ``held_on``: names of those interfaces
    - ``held_as_wanted``: borne by the right interface, with the right prefix length and label
    - ``prefix``, ``found_label``: as found on the first of them (the wanted one if it is there)
    - ``tentative``, ``dad_failed``: IPv6 only: the kernel has not settled yet whether the address
      is free, or has found that it is not
    """
    with netlink.Netlink() as kernel:
        return statuses_among(floatings, kernel.links(), kernel.addresses())


def statuses_among(floatings, links, addresses):
    """:func:`statuses` of what has been read from the kernel already."""
    names = {link.index: link.name for link in links.values()}
    found = []
    for floating in floatings:
        link = links.get(floating.interface)
        bearers = [one for one in addresses if one.packed == floating.packed]
        bearers.sort(key=lambda one: names.get(one.index) != floating.interface)
        first = bearers[0] if bearers else None
        six = floating.version == 6
        found.append(
            {
                "name": floating.name,
                "address": floating.address,
                "interface": floating.interface,
                "label": floating.label,
                "interface_exists": link is not None,
                "interface_up": bool(link and link.up),
                "carrier": bool(link and link.carrier),
                "mac": netlink.readable(link.mac) if link and link.mac else None,
                "held": bool(bearers),
                "held_on": [names.get(one.index, str(one.index)) for one in bearers],
                "held_as_wanted": len(bearers) == 1 and _as_wanted(floating, link, first),
                "prefix": first.prefix if first else None,
                "found_label": first.label if first else None,
                "tentative": bool(first and six and first.flags & netlink.TENTATIVE),
                "dad_failed": bool(first and six and first.flags & netlink.DETECTION_FAILED),
            }
        )
    return found


def _as_wanted(floating, link, borne):
    if link is None or borne.index != link.index or borne.prefix != floating.prefix:
        return False
    # An IPv4 address without a label of its own bears the interface's name.
    return floating.version == 6 or borne.label == (floating.label or floating.interface)


def own_macs(config):
    """This node's own link-layer addresses on the pair's interfaces."""
    found = {}
    for entry in config["floating_ips"]:
        try:
            with open(f"/sys/class/net/{entry['interface']}/address") as handle:
                found[entry["address"]] = handle.read().strip()
        except OSError:
            found[entry["address"]] = None
    return found
