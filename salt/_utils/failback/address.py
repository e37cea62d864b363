"""
Hold, release, announce and look for a floating address: the one implementation of it.

The Salt module ``floating_ip``, the watch and both ends of the handover use this file, and nothing
else on a node touches a floating address. It speaks to the kernel by itself (rtnetlink, packet
sockets, sock_diag), so that no process is started and the interval in which nobody holds the
address is that of two system calls:

.. code-block:: python

    gateway = FloatingAddress("10.0.0.5/24", "eth0", "eth0:0", "salt-gw")
    with Holder([gateway]) as holder:       # opens every socket beforehand
        holder.take()                       # asks the network, adds, announces
        holder.release()                    # resets open connections, deletes

It works on Linux alone. Taking, releasing and probing need root (CAP_NET_ADMIN and CAP_NET_RAW);
:func:`status` needs nothing.

An address is held by the *node*, not by an interface: whatever interface bears it, the kernel
answers for it. Therefore release removes it from every interface, and take refuses where another
interface, or another prefix length, bears it already.
"""

import contextlib
import ctypes
import dataclasses
import errno
import ipaddress
import os
import pathlib
import select
import socket
import struct
import subprocess
import time

from failback.errors import Refused
from failback.errors import Unavailable

#: Seconds in which an address must stay unanswered before it is claimed. RFC 5227 probes for up to
#: 7 s; here a holder on the same segment answers in under 1 ms, and in 60 ms on a busy host.
CHECK_SECONDS = 0.3

#: How many connections are named to the next holder; the clients of the others find out when they speak.
MOST_CONNECTIONS = 5000

#: Probes sent within that time at least, as RFC 5227's PROBE_NUM.
CHECK_PROBES = 3

#: Seconds after a claim at which it is announced again, for switches and hosts that missed it.
ANNOUNCE_TIMES = (0.2, 1.0, 3.0, 10.0)

# From linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h.
_ACKNOWLEDGE, _REQUEST, _DUMP = 0x04, 0x01, 0x300
_EXCLUSIVE, _CREATE = 0x200, 0x400
_DUMP_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_GET_LINK, _NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS, _GET_ROUTE = 18, 20, 21, 22, 26
_LINK_ADDRESS, _LINK_BROADCAST, _LINK_NAME, _LINK_MASK = 1, 2, 3, 29
_SKIP_STATISTICS = 1 << 3
_ADDRESS, _LOCAL, _LABEL, _BROADCAST, _FLAGS = 1, 2, 3, 4, 8
_UP, _NO_ARP, _LOWER_UP = 0x1, 0x80, 0x10000
_SECONDARY, _NO_DETECTION, _DETECTION_FAILED, _TENTATIVE = 0x01, 0x02, 0x08, 0x40
_GROUP_LINK, _GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS, _GROUP_IPV6_ROUTE = 0x1, 0x10, 0x100, 0x400
_ROUTE_DESTINATION, _ROUTE_LOCAL = 1, 2
#: The groups that tell of changed interfaces and addresses.
CHANGES = _GROUP_LINK | _GROUP_IPV4_ADDRESS | _GROUP_IPV6_ADDRESS
_INFINIBAND = 32

# From linux/if_ether.h, if_packet.h, in6.h, icmpv6.h, filter.h.
_ARP, _IPV6 = 0x0806, 0x86DD
_ICMP6_FILTER = 1
_ATTACH_FILTER = 26
_SOLICITATION, _ADVERTISEMENT = 135, 136

# From linux/sock_diag.h, inet_diag.h.
_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21
_SOURCE_CONDITION = 7
#: Every state of a TCP socket except CLOSE, TIME_WAIT and LISTEN: a listener outlives its address.
_OPEN_STATES = 0xFFF & ~(1 << 7 | 1 << 6 | 1 << 10)


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
        try:
            ip = ipaddress.ip_interface(self.address)
        except ValueError as error:
            raise Refused(
                f"'{self.address}' is not an address with a prefix length, as in 10.0.0.5/24 or "
                f"fd00::5/64 ({error})."
            ) from None
        if "/" not in self.address:
            raise Refused(
                f"'{self.address}' has no prefix length: write {self.address}/24, or whatever the "
                "network has. Without it the node would take every other host for a remote one."
            )
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
    with Netlink() as netlink:
        links = netlink.links()

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
    with Netlink() as netlink:
        return _statuses(floatings, netlink.links(), netlink.addresses())


def _statuses(floatings, links, addresses):
    names = {link.index: link.name for link in links.values()}
    found = []
    for floating in floatings:
        link = links.get(floating.interface)
        bearers = [one for one in addresses if one.packed == floating.packed]
        bearers.sort(key=lambda one: names.get(one.index) != floating.interface)
        first = bearers[0] if bearers else None
        found.append(
            {
                "name": floating.name,
                "address": floating.address,
                "interface": floating.interface,
                "label": floating.label,
                "interface_exists": link is not None,
                "interface_up": bool(link and link.up),
                "carrier": bool(link and link.carrier),
                "mac": _readable(link.mac) if link and link.mac else None,
                "held": bool(bearers),
                "held_on": [names.get(one.index, str(one.index)) for one in bearers],
                "held_as_wanted": len(bearers) == 1 and _as_wanted(floating, link, first),
                "prefix": first.prefix if first else None,
                "found_label": first.label if first else None,
                "tentative": bool(first and floating.version == 6 and first.flags & _TENTATIVE),
                "dad_failed": bool(first and floating.version == 6 and first.flags & _DETECTION_FAILED),
            }
        )
    return found


def _as_wanted(floating, link, borne):
    if link is None or borne.index != link.index or borne.prefix != floating.prefix:
        return False
    # An IPv4 address without a label of its own bears the interface's name.
    return floating.version == 6 or borne.label == (floating.label or floating.interface)


def probe(floating, timeout=0.5, count=1):
    """
    Who answers for an address, as seen on the network and from outside this node.

    Asks as duplicate-address detection does: ARP with sender 0.0.0.0 (RFC 5227), so that nobody's
    table changes; for IPv6 a neighbour solicitation from the interface's link-local address, so
    that a node in the middle of its own detection is not disturbed (RFC 4862, 5.4.3).

    floating
        A :class:`FloatingAddress`; only its address and interface matter.

    timeout
        Seconds to wait at most. At least three probes are sent in this time.

    count
        Return as soon as so many hardware addresses have answered.

    Returns a list of hardware addresses as text, in the order of their answers; this node's own are
    left out. Empty if nobody answered. Raises :class:`~failback.errors.Unavailable` if the
    interface is missing, down or without carrier, because then silence proves nothing.
    """
    return probe_all([floating], timeout, count)[floating.address]


def probe_all(floatings, timeout=0.5, count=1):
    """
    :func:`probe` of several addresses at once, in the time of one.

    Returns a dict of ``FloatingAddress.address`` to the list of hardware addresses.
    """
    with Netlink() as netlink:
        links = netlink.links()
        _require_link(floatings, links)
        with Prober(floatings, links, netlink.addresses()) as prober:
            answered = _answers(prober, floatings, timeout, count)
            return {one.address: answered[one.ip] for one in floatings}


class Holder:
    """
    Takes, releases and announces floating addresses over sockets that are opened beforehand.

    addresses
        List of :class:`FloatingAddress`. The methods act on all of them unless given fewer.

    clock
        Seconds, for the schedule of later announcements.

    A context manager. Opening it changes nothing, and tolerates a missing interface, because an
    address on an interface that is gone can be "released" all the same.
    """

    def __init__(self, addresses, clock=time.monotonic):
        self.every = list(addresses)
        self.clock = clock
        self._netlink = None
        self._routes = None
        self._diagnosis = None
        self._prober = None
        self._due = []

    def __enter__(self):
        try:
            self._netlink = Netlink()
            self._routes = Netlink(_GROUP_IPV6_ROUTE)
            self._links = self._netlink.links()
            self._diagnosis = _Connections()
            self._open_prober()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _open_prober(self):
        self._prober = Prober(
            [one for one in self.every if one.interface in self._links],
            self._links,
            self._netlink.addresses(),
        )

    def close(self):
        """Close every socket. Addresses stay as they are."""
        for opened in (self._netlink, self._routes, self._diagnosis, self._prober):
            if opened is not None:
                opened.close()
        self._netlink = self._routes = self._diagnosis = self._prober = None

    def status(self, addresses=None):
        """The same as :func:`statuses`, over the open socket."""
        return _statuses(
            self.every if addresses is None else addresses,
            self._netlink.links(),
            self._netlink.addresses(),
        )

    def take(self, addresses=None, check=True, wait=CHECK_SECONDS):
        """
        Claim addresses: ask the network, add them, announce them.

        All or nothing: if one is answered by somebody else, or cannot be added, none is held
        afterwards that was not held before.

        addresses
            Those to take; all by default.

        check
            Ask the network first. Only a caller who has just seen the other node release them
            leaves it out.

        wait
            Seconds in which nobody may answer, when ``check`` is set.

        Returns a list of dictionaries, one an address: ``name``, ``address``, ``taken`` (False if
        this node held it already), ``announced``, and ``monotonic_ns`` and ``realtime_ns`` at the
        moment when the kernel had confirmed it.

        Raises :class:`~failback.errors.Refused` naming the hardware address that answered, or the
        interface of this node that bears the address already;
        :class:`~failback.errors.Unavailable` if the interface is missing or the kernel says no.
        """
        wanted = self.every if addresses is None else list(addresses)
        self._check_here(wanted)
        if check:
            self._check_network(wanted, wait)
        held = self._held(wanted)
        added, results = [], []
        for floating in wanted:
            taken = False
            if floating not in held:
                try:
                    taken = self._add(floating)
                except Unavailable:
                    for one in added:
                        self._delete_everywhere(one)
                    raise
            if taken:
                added.append(floating)
            results.append({**_moment(floating), "taken": taken})
        announced = self._announce([one for one in wanted if one.version == 4])
        late = [one for one in wanted if one.version == 6]
        for floating, result in zip(wanted, results):
            if floating in late and result["taken"]:
                self._wait_until_local(floating)
                result.update(_moment(floating))
        announced += self._announce(late)
        for floating, result in zip(wanted, results):
            result["announced"] = floating in announced
        return results

    def _wait_until_local(self, floating):
        """
        Wait until an IPv6 address works, a millisecond as a rule, a second at most.

        The kernel makes its local route and joins its multicast group in a work queue, after it has
        confirmed the address. Announced before, the first packet of each client would be dropped.
        """
        end = time.monotonic() + 1
        while not self._netlink.is_local(floating) and time.monotonic() < end:
            select.select([self._routes], [], [], max(0.0, end - time.monotonic()))
            self._routes.drain()

    def check(self, addresses=None, wait=CHECK_SECONDS):
        """
        What :meth:`take` asks before it claims anything, for who has something to do in between.

        All addresses are asked for at once, and the first answer ends it. Those that this node
        holds already are not asked for.

        addresses
            Those to ask for; all by default.

        wait
            Seconds in which nobody may answer.

        Raises what :meth:`take` raises; returns nothing.
        """
        wanted = self.every if addresses is None else list(addresses)
        self._check_here(wanted)
        self._check_network(wanted, wait)

    def release(self, addresses=None, reset=True):
        """
        Give addresses up: reset the TCP connections to them, and delete them from every interface.

        A connection is reset *before* the address goes, because afterwards the kernel could not
        send its reset. One that arrives in between is reset by the next holder when its client
        speaks; its end on this node is closed by :meth:`reset_connections`, for which a caller has
        time once somebody answers for the address again. Listening sockets stay.

        addresses
            Those to release; all by default.

        reset
            Reset open TCP connections.

        Returns a list of dictionaries, one an address: ``name``, ``address``, ``released`` (False
        if this node did not hold it), ``interfaces`` it was removed from, ``connections_reset``
        (None if this kernel cannot: CONFIG_INET_DIAG_DESTROY), and ``monotonic_ns`` and
        ``realtime_ns`` at the moment when the kernel had confirmed the last deletion.

        Raises :class:`~failback.errors.Unavailable` if the kernel says no; the others are released
        first.
        """
        wanted = self.every if addresses is None else list(addresses)
        borne = self._netlink.addresses()
        held = [one for one in wanted if any(one.packed == other.packed for other in borne)]
        count = self.reset_connections(held) if reset else {}
        results, problems = [], []
        for floating in wanted:
            interfaces = []
            if floating in held:
                try:
                    interfaces = self._delete_everywhere(floating, borne)
                except Unavailable as error:
                    problems.append(str(error))
            results.append(
                {
                    **_moment(floating),
                    "released": bool(interfaces),
                    "interfaces": interfaces,
                    "connections_reset": count.get(floating.address, 0),
                }
            )
        if problems:
            raise Unavailable(" ".join(problems))
        return results

    def reset_connections(self, addresses=None):
        """
        Reset the open TCP connections whose end on this node is one of the addresses.

        addresses
            Those to reset; all by default.

        Returns a dictionary of address to the number of connections reset, None if this kernel
        cannot (CONFIG_INET_DIAG_DESTROY). Costs about 0.3 ms, and 20 µs a connection.
        """
        wanted = self.every if addresses is None else list(addresses)
        return {one.address: self._diagnosis.reset(one) for one in wanted}

    def connections(self, addresses=None, limit=MOST_CONNECTIONS):
        """
        The open TCP connections whose end on this node is one of the addresses.

        Returns a list of ``[address, port, other address, other port]``, no more than so many: what
        :meth:`tickle` needs on the node that answers next.
        """
        wanted = self.every if addresses is None else list(addresses)
        found = []
        for one in wanted:
            found += self._diagnosis.listed(one)
        return found[:limit]

    def tickle(self, connections):
        """
        Make the clients of another node's connections notice that this node answers now.

        Each is sent one segment that does not fit its connection. The client says what it expects
        instead (RFC 9293, 3.10.7.4), this node's kernel knows of no such connection, and resets it: the
        client connects anew at once, where it would wait for an answer for minutes. CTDB and
        ``ocf:heartbeat:portblock`` call this a tickle.

        connections
            As :meth:`connections` returns them on the node that answered before. Those of addresses that
            are not held here are left out.

        Returns how many were sent.
        """
        count = 0
        for floating in self._held(self.every):
            wanted = [one for one in connections if one[0] == str(floating.ip)]
            if not wanted:
                continue
            with socket.socket(floating.family, socket.SOCK_RAW, socket.IPPROTO_TCP) as opened:
                opened.setblocking(False)
                opened.bind((str(floating.ip), 0))
                for _local, port, remote, remote_port in wanted:
                    with contextlib.suppress(OSError):
                        opened.sendto(_tickle(floating, port, remote, remote_port), (remote, 0))
                        count += 1
        return count

    def announce(self, addresses=None):
        """
        Tell the segment once where the addresses are; those not held here are skipped.

        IPv4: gratuitous ARP as a request and as a reply, because hosts differ in which they
        believe. IPv6: an unsolicited neighbour advertisement with the override flag to ff02::1.

        addresses
            Those to announce; all by default.

        Returns the list of addresses announced. Announcing what another node holds would draw its
        traffic here, so what is held is looked up each time.
        """
        wanted = self.every if addresses is None else list(addresses)
        return [one.address for one in self._announce(self._held(wanted))]

    def announce_later(self, addresses=None, times=ANNOUNCE_TIMES):
        """
        Note further announcements; :meth:`announce_due` makes them. Nothing waits, nothing forks.

        addresses
            Those to announce; all by default.

        times
            Seconds from now.
        """
        wanted = self.every if addresses is None else list(addresses)
        now = self.clock()
        self._due += [(now + one, wanted) for one in times]
        self._due.sort(key=lambda one: one[0])

    def announce_due(self):
        """
        Make the announcements whose time has come.

        Returns the seconds until the next one, None if there is none: what a loop hands to select.
        """
        now = self.clock()
        while self._due and self._due[0][0] <= now:
            self.announce(self._due.pop(0)[1])
        return max(0.0, self._due[0][0] - now) if self._due else None

    def _held(self, wanted):
        """Those of the wanted that this node bears where and with the prefix length it should."""
        borne = self._netlink.addresses()
        held = []
        for one in wanted:
            link = self._links.get(one.interface)
            if link and any(
                other.packed == one.packed and other.index == link.index and other.prefix == one.prefix
                for other in borne
            ):
                held.append(one)
        return held

    def _check_here(self, wanted):
        before, self._links = self._links, self._netlink.links()
        _require_link(wanted, self._links, carrier=False)
        if any(before.get(one.interface) != self._links[one.interface] for one in wanted):
            # Unplugged and back under a new number, or up since: the old sockets hear nothing.
            self._prober.close()
            self._open_prober()
        names = {link.index: link.name for link in self._links.values()}
        borne = self._netlink.addresses()
        for one in wanted:
            for other in borne:
                place = names.get(other.index)
                if other.packed == one.packed and (place, other.prefix) != (
                    one.interface,
                    one.prefix,
                ):
                    raise Refused(
                        f"{one.name} ({one.address} on {one.interface}) is already on {place} of "
                        f"this node as {one.ip}/{other.prefix}: held twice, replies would leave by "
                        f"the wrong interface. Remove that one first: "
                        f"ip address del {one.ip}/{other.prefix} dev {place}"
                    )

    def _check_network(self, wanted, wait):
        held = self._held(wanted)
        missing = [one for one in wanted if one not in held]
        if not missing:
            return
        _require_link(missing, self._links)
        answered = _answers(self._prober, missing, wait, 1, any_one=True)
        for one in missing:
            if answered[one.ip]:
                raise Refused(
                    f"{one.name} ({one.address} on {one.interface}) is answered by "
                    f"{', '.join(answered[one.ip])}: another node holds it, and a second holder "
                    "would split its clients between the two. Nothing was taken. See who it is: "
                    "salt-run pair.status. orch.recover moves an address home."
                )

    def _add(self, floating):
        link = self._links[floating.interface]
        attributes = _attribute(_LOCAL, floating.packed) + _attribute(_ADDRESS, floating.packed)
        if floating.version == 4:
            if floating.prefix < 31:
                broadcast = floating.network.broadcast_address.packed
                attributes += _attribute(_BROADCAST, broadcast)
            label = floating.label or floating.interface
            attributes += _attribute(_LABEL, label.encode() + b"\0")
        else:
            # The check was ours; the kernel's own would leave the address mute for a second.
            attributes += _attribute(_FLAGS, struct.pack("=I", _NO_DETECTION))
        body = struct.pack("=BBBBi", floating.family, floating.prefix, 0, 0, link.index)
        try:
            self._netlink.request(_NEW_ADDRESS, _CREATE | _EXCLUSIVE | _ACKNOWLEDGE, body + attributes)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            raise Unavailable(
                f"The kernel did not add {floating.address} to {floating.interface}: "
                f"{error.strerror}{_hint(error, floating)}"
            ) from None
        return True

    def _delete_everywhere(self, floating, borne=None):
        borne = self._netlink.addresses() if borne is None else borne
        names = {link.index: link.name for link in self._links.values()}
        removed = []
        for one in borne:
            if one.packed != floating.packed:
                continue
            place = names.get(one.index) or _name_of(one.index)
            body = struct.pack("=BBBBi", floating.family, one.prefix, 0, 0, one.index)
            body += _attribute(_LOCAL, one.packed)
            with _secondaries_kept(one, borne, place):
                try:
                    self._netlink.request(_DELETE_ADDRESS, _ACKNOWLEDGE, body)
                except OSError as error:
                    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
                        continue
                    raise Unavailable(
                        f"The kernel did not remove {floating.address} from {place}: "
                        f"{error.strerror}{_hint(error, floating)}"
                    ) from None
            removed.append(place)
        return removed

    def _announce(self, wanted):
        announced = []
        for one in wanted:
            try:
                self._prober.announce(one)
            except OSError:
                continue  # the interface is down or gone: nobody hears, and the claim stands
            announced.append(one)
        return announced


def announce_repeatedly(addresses, times=(0.0, *ANNOUNCE_TIMES)):
    """
    Announce several times, then end: the short-lived program ``failback announce <pair>``.

    Ends early as soon as this node holds none of the addresses.

    addresses
        List of :class:`FloatingAddress`.

    times
        Seconds from now.

    Returns how many announcements were made.
    """
    made = 0
    begin = time.monotonic()
    with Holder(addresses) as holder:
        for moment in times:
            # Interrupted by nothing: the pause between two announcements is the thing itself.
            select.select([], [], [], max(0.0, begin + moment - time.monotonic()))
            announced = holder.announce()
            if not announced:
                break
            made += len(announced)
    return made


def spawn_announcer(program, pair):
    """
    Start ``<program> announce <pair>`` detached, so that a caller who must end can end.

    program
        Path of the ``failback`` program, or a list (interpreter and script).

    pair
        Name of the pair.

    Returns its process id.
    """
    command = [str(program)] if isinstance(program, (str, os.PathLike)) else list(program)
    return subprocess.Popen(
        [*command, "announce", pair],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
    ).pid


def announce_later(pair, paths):
    """
    Have the pair's addresses announced again over the next seconds, without waiting for it.

    pair
        Name of the pair.

    paths
        ``Paths`` of the node: where the program is.

    Returns whether the program could be started. That it could not is no failure: the addresses
    have been announced once already.
    """
    try:
        spawn_announcer(paths.program, pair)
    except OSError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Link:
    """One interface as the kernel describes it."""

    index: int
    name: str
    hardware: int
    flags: int
    mac: bytes
    broadcast: bytes

    @property
    def up(self):
        """Whether an administrator has set it up."""
        return bool(self.flags & _UP)

    @property
    def carrier(self):
        """Whether it is up and something is at the other end of the cable."""
        return bool(self.flags & _UP and self.flags & _LOWER_UP)

    @property
    def speaks(self):
        """Whether there are neighbours to ask at all: not on loopback or point-to-point links."""
        return not self.flags & _NO_ARP and bool(self.mac) and any(self.broadcast)


@dataclasses.dataclass(frozen=True)
class Borne:
    """One address that an interface of this node bears."""

    packed: bytes
    prefix: int
    index: int
    scope: int
    flags: int
    label: str


class Netlink:
    """
    A socket to the kernel's rtnetlink.

    groups
        Whose changes to subscribe to: the socket becomes readable when one happens.

    protocol
        Another protocol of netlink.
    """

    def __init__(self, groups=0, protocol=0):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.bind((0, groups))
        self.socket.settimeout(5)
        self._sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        """For select."""
        return self.socket.fileno()

    def close(self):
        """Close the socket."""
        self.socket.close()

    def drain(self):
        """Forget the news that have arrived. Returns whether there were any."""
        any_news = False
        while select.select([self.socket], [], [], 0)[0]:
            any_news = True
            try:
                self.socket.recv(65536)
            except OSError:  # ENOBUFS: more news than fit, which is news as well
                continue
        return any_news

    def links(self):
        """All interfaces: dictionary of name to :class:`Link`."""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        body += _attribute(_LINK_MASK, struct.pack("=I", _SKIP_STATISTICS))
        found = {}
        for payload in self.request(_GET_LINK, _DUMP, body):
            _, hardware, index, flags, _ = struct.unpack_from("=BxHiII", payload)
            attributes = _attributes(payload, 16)
            name = _text(attributes.get(_LINK_NAME, b""))
            found[name] = Link(
                index,
                name,
                hardware,
                flags,
                attributes.get(_LINK_ADDRESS, b""),
                attributes.get(_LINK_BROADCAST, b""),
            )
        return found

    def addresses(self):
        """All addresses of all interfaces: list of :class:`Borne`."""
        found = []
        for payload in self.request(_GET_ADDRESS, _DUMP, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
            _, prefix, flags, scope, index = struct.unpack_from("=BBBBi", payload)
            attributes = _attributes(payload, 8)
            if _FLAGS in attributes:
                (flags,) = struct.unpack("=I", attributes[_FLAGS])
            found.append(
                Borne(
                    # IFA_ADDRESS is the far end of a point-to-point link, IFA_LOCAL is ours.
                    attributes.get(_LOCAL) or attributes.get(_ADDRESS, b""),
                    prefix,
                    index,
                    scope,
                    flags,
                    _text(attributes.get(_LABEL, b"")),
                )
            )
        return found

    def is_local(self, floating):
        """Whether the kernel takes packets to an address as its own."""
        size = len(floating.packed)
        body = struct.pack("=BBBBBBBBI", floating.family, size * 8, 0, 0, 0, 0, 0, 0, 0)
        body += _attribute(_ROUTE_DESTINATION, floating.packed)
        try:
            found = self.request(_GET_ROUTE, _ACKNOWLEDGE, body)
        except OSError:  # no route at all
            return False
        return bool(found) and found[0][7] == _ROUTE_LOCAL

    def request(self, kind, flags, body):
        """
        Send one request and read its answer.

        Returns the list of payloads of a dump, an empty list for an acknowledgement. Raises OSError
        with the kernel's error number.
        """
        for _ in range(5):
            answer, interrupted = self._exchange(kind, flags, body)
            if not interrupted:
                break
        return answer

    def _exchange(self, kind, flags, body):
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, self._sequence, 0)
        self.socket.send(header + body)
        payloads, interrupted = [], False
        while True:
            data = self.socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(data):
                length, found, found_flags, sequence, _ = struct.unpack_from("=IHHII", data, at)
                payload = data[at + 16 : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(found_flags & _DUMP_INTERRUPTED)
                if found in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code:
                        raise OSError(code, os.strerror(code))
                    return payloads, interrupted
                payloads.append(payload)


class Prober:
    """
    Asks the segment who answers for addresses, and tells it who does, over sockets kept open.

    A filter in the kernel lets through only ARP that names one of the addresses as its sender, so
    a busy segment costs nothing.

    addresses
        List of :class:`FloatingAddress` whose interfaces exist.

    links, borne
        What :meth:`Netlink.links` and :meth:`Netlink.addresses` gave.
    """

    def __init__(self, addresses, links, borne):
        self._own = {link.mac for link in links.values()}
        self._links = links
        self._by_packed = {one.packed: one.ip for one in addresses}
        self._arp, self._neighbour, self._source, self._router = {}, {}, {}, {}
        try:
            for name in sorted({one.interface for one in addresses if one.version == 4}):
                mine = [one for one in addresses if (one.interface, one.version) == (name, 4)]
                self._arp[name] = self._open_arp(links[name], mine)
            for name in sorted({one.interface for one in addresses if one.version == 6}):
                self._neighbour[name] = self._open_neighbour(links[name])
                self._source[name] = link_local(links[name], borne)
                self._router[name] = _forwards(name)
        except PermissionError as error:
            self.close()
            raise Unavailable(f"Packet sockets need root (CAP_NET_RAW): {error.strerror}.") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close every socket."""
        for opened in self.sockets():
            opened.close()

    def sockets(self):
        """For select: those that become readable when somebody answers."""
        return [*self._arp.values(), *self._neighbour.values()]

    def ask(self, addresses):
        """
        Send one question for each address.

        Returns the addresses asked for; those whose interface is down or gone are left out.
        """
        asked = []
        for one in addresses:
            link = self._links[one.interface]
            if not link.speaks:
                continue
            try:
                if one.version == 4:
                    packet = _arp(link, 1, bytes(4), bytes(len(link.mac)), one.packed)
                    _send(self._arp[one.interface], link, packet, link.broadcast, _ARP)
                else:
                    self._solicit(one, link)
            except OSError:
                continue
            asked.append(one)
        return asked

    def read(self):
        """
        What has arrived, without waiting.

        Returns a list of (address without prefix length, hardware address as text) of foreign
        hosts that answered or announced themselves.
        """
        heard = []
        for name, opened in self._arp.items():
            size = len(self._links[name].mac)
            for packet in _drain(opened):
                if len(packet) < 12 + 2 * size or packet[4] != size:
                    continue
                sender = packet[8 : 8 + size]
                heard.append((packet[8 + size : 12 + size], sender))
        for name, opened in self._neighbour.items():
            for packet in _drain(opened):
                if len(packet) >= 24 and packet[0] == _ADVERTISEMENT:
                    sender = _link_layer_option(packet[24:], len(self._links[name].mac))
                    heard.append((packet[8:24], sender))
        return [
            (self._by_packed[packed], _readable(sender))
            for packed, sender in heard
            if packed in self._by_packed and sender not in self._own
        ]

    def announce(self, floating):
        """Tell the segment that this node holds the address. OSError if it cannot be sent."""
        link = self._links[floating.interface]
        if not link.speaks:
            return
        if floating.version == 4:
            for operation, target in ((1, bytes(len(link.mac))), (2, link.broadcast)):
                packet = _arp(link, operation, floating.packed, target, floating.packed)
                _send(self._arp[floating.interface], link, packet, link.broadcast, _ARP)
            return
        override, router = 0x20000000, 0x80000000 if self._router[floating.interface] else 0
        packet = struct.pack(">BBHI", _ADVERTISEMENT, 0, 0, override | router) + floating.packed
        packet += _option(2, link)
        self._send6(link, packet, floating.packed, "ff02::1")

    def _solicit(self, floating, link):
        group = (
            "ff02::1:ff"
            + f"{floating.packed[13]:02x}:{floating.packed[14]:02x}"
            + (f"{floating.packed[15]:02x}")
        )
        packet = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + floating.packed
        source = self._source[floating.interface]
        if source:
            self._send6(link, packet + _option(1, link), source, group)
            return
        # No link-local address yet: ask from ::, which a raw socket cannot do.
        destination = socket.inet_pton(socket.AF_INET6, group)
        packet = _checksummed(packet, bytes(16), destination)
        header = struct.pack(">IHBB", 6 << 28, len(packet), 58, 255) + bytes(16) + destination
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as opened:
            _send(opened, link, header + packet, b"\x33\x33" + destination[12:], _IPV6)

    def _send6(self, link, packet, source, destination):
        control = struct.pack("=16sI", source, link.index)
        self._neighbour[link.name].sendmsg(
            [packet],
            [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, control)],
            0,
            (destination, 0, 0, link.index),
        )

    @staticmethod
    def _open_arp(link, addresses):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            _attach(opened, _sender_filter(8 + len(link.mac), [one.packed for one in addresses]))
            opened.bind((link.name, _ARP))
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        return opened

    @staticmethod
    def _open_neighbour(link):
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
        try:
            opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, icmp6_filter(_ADVERTISEMENT))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        return opened


class _Connections:
    """Finds and resets the TCP connections of an address, through sock_diag."""

    def __init__(self):
        try:
            self._netlink = Netlink(protocol=_SOCK_DIAG)
        except OSError:
            self._netlink = None

    def close(self):
        if self._netlink:
            self._netlink.close()

    def reset(self, floating):
        """Returns how many connections were reset, None if this kernel cannot."""
        if self._netlink is None:
            return None
        count = 0
        for payload in self._open(floating):
            request = struct.pack("=BBBxI", payload[0], 6, 0, 0xFFFFFFFF) + payload[4:52]
            try:
                self._netlink.request(_DESTROY, _ACKNOWLEDGE, request)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                    return None
                continue  # ENOENT: it has closed by itself
            count += 1
        return count

    def listed(self, floating):
        """``[address, port, other address, other port]`` of each; none if this kernel cannot tell."""
        if self._netlink is None:
            return []
        found = []
        for payload in self._open(floating):
            # struct inet_diag_sockid: both ports, then 16 bytes for each address, of which IPv4 uses 4.
            port, remote_port = struct.unpack_from("!HH", payload, 4)
            packed = payload[24:28] if payload[0] == socket.AF_INET else payload[24:40]
            remote = ipaddress.ip_address(packed)
            remote = getattr(remote, "ipv4_mapped", None) or remote
            found.append([str(floating.ip), port, str(remote), remote_port])
        return found

    def _open(self, floating):
        # A daemon that listens on :: has its IPv4 connections as IPv6 sockets.
        for family in (socket.AF_INET, socket.AF_INET6):
            if family == socket.AF_INET and floating.version == 6:
                continue
            with contextlib.suppress(OSError):
                yield from self._netlink.request(_BY_FAMILY, _DUMP, self._query(family, floating))

    @staticmethod
    def _query(family, floating):
        size = 12 + len(floating.packed)
        # "Source address is …" with any port: yes goes to the end, no goes past it.
        condition = struct.pack("=BBH", _SOURCE_CONDITION, size, size + 4)
        condition += struct.pack("=BBxxi", floating.family, len(floating.packed) * 8, -1)
        condition += floating.packed
        return struct.pack("=BBBxI", family, 6, 0, _OPEN_STATES) + bytes(48) + _attribute(1, condition)


class _secondaries_kept:
    """
    Keeps the other addresses of a subnet while its first one is deleted.

    The kernel deletes all addresses of a subnet with the first one of it, unless it may promote the
    next (sysctl promote_secondaries): the node would lose its own address with the floating one.
    """

    def __init__(self, going, borne, interface):
        self._file = None
        network = _network(going)
        if (
            len(going.packed) == 4
            and not going.flags & _SECONDARY
            and any(
                one is not going
                and one.index == going.index
                and len(one.packed) == 4
                and _network(one) == network
                for one in borne
            )
        ):
            self._file = pathlib.Path("/proc/sys/net/ipv4/conf", interface, "promote_secondaries")

    def __enter__(self):
        if self._file is not None:
            if self._file.read_text().strip() == "0":
                self._file.write_text("1")
            else:
                self._file = None

    def __exit__(self, *_):
        if self._file is not None:
            self._file.write_text("0")


def _answers(prober, addresses, timeout, count, any_one=False):
    """Ask several times until the timeout. Returns {address: [hardware addresses]}."""
    answered = {one.ip: [] for one in addresses}
    spacing = min(timeout / CHECK_PROBES, 0.2)
    begin = time.monotonic()
    poll = select.poll()
    for opened in prober.sockets():
        poll.register(opened, select.POLLIN)
    prober.read()  # what was heard before the question is no answer to it
    asked = 0
    while True:
        passed = time.monotonic() - begin
        if passed >= timeout and asked:
            break
        if passed >= asked * spacing:
            prober.ask(addresses)
            asked += 1
        # A millisecond more, because poll rounds down and would spin through the last one.
        poll.poll(max(0.0, begin + min(timeout, asked * spacing) - time.monotonic()) * 1000 + 1)
        for ip, mac in prober.read():
            if ip in answered and mac not in answered[ip]:
                answered[ip].append(mac)
        enough = [len(macs) >= count for macs in answered.values()]
        if all(enough) or (any_one and any(enough)):
            break
    return answered


def _require_link(addresses, links, carrier=True):
    for one in addresses:
        link = links.get(one.interface)
        what = f"{one.name} ({one.address})"
        if link is None:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which this node does not have; "
                f"it has {', '.join(sorted(links)) or 'none'}."
            )
        if not link.up:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which is down: nobody would "
                "reach it, and who else holds it cannot be seen. Run: "
                f"ip link set {one.interface} up"
            )
        if carrier and not link.carrier:
            raise Unavailable(
                f"{what} belongs on the interface {one.interface}, which has no carrier: who else "
                "holds it cannot be seen. Look at its cable and its switch."
            )


def _hint(error, floating):
    if error.errno == errno.EPERM:
        return ". This needs root (CAP_NET_ADMIN)."
    if error.errno == errno.EACCES and floating.version == 6:
        return f". IPv6 is switched off: sysctl net.ipv6.conf.{floating.interface}.disable_ipv6"
    return "."


def _moment(floating):
    return {
        "name": floating.name,
        "address": floating.address,
        "monotonic_ns": time.monotonic_ns(),
        "realtime_ns": time.time_ns(),
    }


def _name_of(index):
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def _network(borne):
    return ipaddress.ip_network((borne.packed, borne.prefix), strict=False)


def _readable(mac):
    return mac.hex(":")


def _text(raw):
    return raw.rstrip(b"\0").decode(errors="surrogateescape")


def _attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(payload, at):
    found = {}
    while at + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = payload[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _drain(opened):
    """The packets that wait in a socket. A network that is down is no reason to fail."""
    packets = []
    while len(packets) < 1000:
        try:
            packets.append(opened.recv(2048))
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in (errno.ENETDOWN, errno.EINTR, errno.ENODEV):
                if error.errno == errno.ENODEV:
                    break
                continue
            break
    return packets


def _arp(link, operation, sender, target_mac, target):
    # Ethernet is 1; InfiniBand has its own number and 20-byte addresses (RFC 4391).
    hardware = _INFINIBAND if link.hardware == _INFINIBAND else 1
    return (
        struct.pack(">HHBBH", hardware, 0x0800, len(link.mac), 4, operation)
        + link.mac
        + sender
        + target_mac
        + target
    )


def _send(opened, link, packet, destination, protocol):
    if len(destination) <= 8:
        opened.sendto(packet, (link.name, protocol, 0, link.hardware, destination))
    else:
        _send_long(opened, link, packet, destination, protocol)


def _send_long(opened, link, packet, destination, protocol):
    # Python refuses link-layer addresses of more than 8 bytes, the kernel takes InfiniBand's 20.
    place = struct.pack(
        "=HHiHBB",
        socket.AF_PACKET,
        socket.htons(protocol),
        link.index,
        link.hardware,
        0,
        len(destination),
    )
    place = (place + destination).ljust(20, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sendto(opened.fileno(), packet, len(packet), 0, place, len(place)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _option(kind, link):
    """A link-layer address option of neighbour discovery; InfiniBand's has two bytes of padding."""
    padding = b"\0\0" if link.hardware == _INFINIBAND else b""
    value = padding + link.mac
    value += bytes(-(2 + len(value)) % 8)
    return struct.pack("BB", kind, (2 + len(value)) // 8) + value


def _link_layer_option(options, size):
    while len(options) >= 8 and options[1]:
        if options[0] == 2:
            at = 4 if size == 20 else 2
            return options[at : at + size]
        options = options[options[1] * 8 :]
    return b""


def _tickle(floating, port, remote, remote_port):
    """A TCP segment that does not fit: an acknowledgement, with every number 0."""
    segment = struct.pack("!HHIIBBHHH", port, remote_port, 0, 0, 5 << 4, 0x10, 1024, 0, 0)
    source, destination = floating.packed, ipaddress.ip_address(remote).packed
    if floating.version == 4:
        pseudo = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
    else:
        pseudo = source + destination + struct.pack("!IxxxB", len(segment), socket.IPPROTO_TCP)
    total = sum(struct.unpack(f"!{len(pseudo + segment) // 2}H", pseudo + segment))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return segment[:16] + struct.pack("!H", ~total & 0xFFFF) + segment[18:]


def _checksummed(packet, source, destination):
    pseudo = source + destination + struct.pack(">IxxxB", len(packet), 58) + packet
    pseudo += bytes(len(pseudo) % 2)
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack(">H", ~total & 0xFFFF) + packet[4:]


def link_local(link, borne):
    """The link-local address that an interface can use now, as bytes; None if it has none."""
    for one in borne:
        if (
            one.index == link.index
            and one.packed[:2] == b"\xfe\x80"
            and not one.flags & (_TENTATIVE | _DETECTION_FAILED)
        ):
            return one.packed
    return None


def icmp6_filter(kind):
    """The socket option that lets through one type of ICMPv6 alone (linux/icmpv6.h)."""
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *words)


def _forwards(interface):
    try:
        return pathlib.Path("/proc/sys/net/ipv6/conf", interface, "forwarding").read_text().strip() == "1"
    except OSError:
        return False


def _sender_filter(offset, addresses):
    """A classic packet filter: accept what has one of the addresses at the offset."""
    load, equal, give = 0x20, 0x15, 0x06
    program = [struct.pack("=HBBI", load, 0, 0, offset)]
    for number, packed in enumerate(addresses):
        (value,) = struct.unpack(">I", packed)
        program.append(struct.pack("=HBBI", equal, len(addresses) - number, 0, value))
    program.append(struct.pack("=HBBI", give, 0, 0, 0))
    program.append(struct.pack("=HBBI", give, 0, 0, 0xFFFFFFFF))
    return program


def _attach(opened, program):
    code = ctypes.create_string_buffer(b"".join(program))
    opened.setsockopt(
        socket.SOL_SOCKET,
        _ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(code)),
    )
