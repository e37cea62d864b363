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

#: Bytes of an alternative name of an interface at most (ALTIFNAMSIZ, without the zero byte).
LONGEST_NAME = 127


@dataclasses.dataclass(frozen=True)
class FloatingAddress:
    """
    One floating address, as the pillar gives it.

    address
        With its prefix length: ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface that bears it, by its name or an alternative one (altname).

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
        if not self.interface or len(self.interface.encode()) > LONGEST_NAME or "/" in self.interface:
            raise Refused(
                f"'{self.interface}' cannot be the name of an interface: it has no slash and 1 to 15 bytes, "
                f"or up to {LONGEST_NAME} if it is an alternative one (altname)."
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
    def per_link(self):
        """Whether another interface may have it too, and means another host by it: an IPv6 link-local one."""
        return addressing.per_link(self.packed)

    def is_borne(self, borne, links):
        """
        Whether an address of this node is this one, on whatever interface; a link-local one on its own alone.

        borne, links
            One of what :py:meth:`failback.network.netlink.Netlink.addresses` gave, and what ``links`` did.
        """
        if borne.packed != self.packed:
            return False
        link = links.get(self.interface)
        return not self.per_link or (link is not None and borne.index == link.index)

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
    - ``held``: whether any interface of this node bears the address, and the kernel answers for it or is
      about to
    - ``held_on``: names of the interfaces that bear it, also one that answers for it no more (``dad_failed``)
    - ``interface_has_it``: whether the right interface is among them, by whatever name it was given
    - ``held_as_wanted``: borne by the right interface, with the right prefix length and label, and settled
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
        bearers = [one for one in addresses if floating.is_borne(one, links)]
        bearers.sort(key=lambda one, link=link: link is None or one.index != link.index)
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
                "held": any(not one.failed for one in bearers),
                "held_on": [names.get(one.index, str(one.index)) for one in bearers],
                "interface_has_it": bool(link and first and first.index == link.index),
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
    return borne.settled if floating.version == 6 else borne.label == (floating.label or link.name)


def own_macs(config):
    """This node's own link-layer addresses on the pair's interfaces."""
    with netlink.Netlink() as kernel:
        links = kernel.links()
    found = [(entry["address"], links.get(entry["interface"])) for entry in config["floating_ips"]]
    return {address: netlink.readable(link.mac) if link and link.mac else None for address, link in found}
