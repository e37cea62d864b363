"""
Take, release and announce floating addresses: the one implementation of it.

The Salt module ``floating_ip``, the watch and both ends of the handover use this file, and nothing
else on a node changes a floating address. It speaks to the kernel by itself (rtnetlink, packet
sockets, sock_diag), so that no process is started and the interval in which nobody holds the
address is that of two system calls:

.. code-block:: python

    gateway = FloatingAddress("10.0.0.5/24", "eth0", "eth0:0", "salt-gw")
    with Holder([gateway]) as holder:       # opens every socket beforehand
        holder.take()                       # asks the network, adds, announces
        holder.release()                    # resets open connections, deletes

It works on Linux alone, and needs root (CAP_NET_ADMIN and CAP_NET_RAW).

An address is held by the *node*, not by an interface: whatever interface bears it, the kernel
answers for it. Therefore release removes it from every interface, and take refuses where another
interface, or another prefix length, bears it already.
"""

import contextlib
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
from failback.network import neighbours
from failback.network import netlink
from failback.network import rivals
from failback.network import tcp
from failback.network.floating import statuses_among

#: Seconds in which an address must stay unanswered before it is claimed. RFC 5227 probes for up to
#: 7 s; here a holder on the same segment answers in under 1 ms, and in 60 ms on a busy host.
CHECK_SECONDS = 0.3

#: Seconds after a claim at which it is announced again, for switches and hosts that missed it.
ANNOUNCE_TIMES = (0.2, 1.0, 3.0, 10.0)


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
            self._netlink = netlink.Netlink()
            self._routes = netlink.Netlink(netlink.GROUP_IPV6_ROUTE)
            self._links = self._netlink.links()
            self._diagnosis = tcp.Connections()
            self._open_prober()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _open_prober(self):
        self._prober = neighbours.Prober(
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
        """What :func:`failback.network.floating.statuses` says, over the open socket."""
        return statuses_among(
            self.every if addresses is None else addresses,
            self._netlink.links(),
            self._netlink.addresses(),
        )

    def take(self, addresses=None, check=True, wait=CHECK_SECONDS, lifetime=None):
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
            Seconds in which nobody may answer, when ``check`` is set; twice as long where another host is
            about to take one in the same moment, see ``network.rivals``.

        lifetime
            Whole seconds after which the kernel deletes them by itself unless they are :meth:`limit`-ed anew;
            None: never.

        Returns a list of dictionaries, one an address: ``name``, ``address``, ``taken`` (False if
        this node held it already), ``announced``, and ``monotonic_ns`` and ``realtime_ns`` at the
        moment when the kernel had confirmed it.

        Raises :class:`~failback.errors.Refused` naming the hardware address that answered or is
        about to take one as well, or the
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
                    self._clear(floating)
                    taken = self._add(floating, lifetime)
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
        while not self._netlink.is_local(floating, self._index(floating)) and time.monotonic() < end:
            select.select([self._routes], [], [], max(0.0, end - time.monotonic()))
            self._routes.drain()

    def check(self, addresses=None, wait=CHECK_SECONDS):
        """
        What :meth:`take` asks before it claims anything, for who has something to do in between.

        Others who merely ask for the address are not heeded, nor do they heed this: whoever calls it has the
        right to serve from the ledger or a lease, and no stranger who asks may take that away.

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
        self._check_network(wanted, wait, claim=False)

    def check_here(self, addresses=None):
        """The part of :meth:`check` that asks nobody: this node itself. Raises what :meth:`take` raises."""
        self._check_here(self.every if addresses is None else list(addresses))

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
        held = [one for one in wanted if any(one.is_borne(other, self._links) for other in borne)]
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
        return {one.address: self._diagnosis.reset(one, self._index(one)) for one in wanted}

    def connections(self, addresses=None, limit=tcp.MOST_CONNECTIONS):
        """
        The open TCP connections whose end on this node is one of the addresses.

        Returns a list of ``[address, port, other address, other port]``, no more than so many: what
        :meth:`tickle` needs on the node that answers next.
        """
        wanted = self.every if addresses is None else list(addresses)
        found = []
        for one in wanted:
            found += self._diagnosis.listed(one, self._index(one))
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
                scope = (0, self._index(floating)) if floating.per_link else ()
                opened.bind((str(floating.ip), 0, *scope))
                for _local, port, remote, remote_port in wanted:
                    with contextlib.suppress(OSError):
                        opened.sendto(tcp.tickle(floating, port, remote, remote_port), (remote, 0, *scope))
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

    def _index(self, floating):
        """The number of the interface of an address that means something there alone; else None."""
        link = self._links.get(floating.interface)
        return link.index if link and floating.per_link else None

    def _clear(self, floating):
        """Remove what the kernel has not settled, or has given up, so that it can be added anew."""
        for one in self._netlink.addresses():
            if floating.is_borne(one, self._links) and not one.settled:
                self._delete_everywhere(floating, [one])

    def _held(self, wanted):
        """Those of the wanted that this node bears where and with the prefix length it should."""
        borne = self._netlink.addresses()
        held = []
        for one in wanted:
            link = self._links.get(one.interface)
            if link and any(
                other.packed == one.packed
                and other.index == link.index
                and other.prefix == one.prefix
                and other.settled
                for other in borne
            ):
                held.append(one)
        return held

    def _check_here(self, wanted):
        before, self._links = self._links, self._netlink.links()
        neighbours.require_link(wanted, self._links, carrier=False)
        if any(before.get(one.interface) != self._links[one.interface] for one in wanted):
            # Unplugged and back under a new number, or up since: the old sockets hear nothing.
            self._prober.close()
            self._open_prober()
        names = {link.index: link.name for link in self._links.values()}
        borne = self._netlink.addresses()
        for one in wanted:
            for other in borne:
                place = names.get(other.index)
                wanted_there = (self._links[one.interface].index, one.prefix)
                if one.is_borne(other, self._links) and (other.index, other.prefix) != wanted_there:
                    raise Refused(
                        f"{one.name} ({one.address} on {one.interface}) is already on {place} of "
                        f"this node as {one.ip}/{other.prefix}: held twice, replies would leave by "
                        f"the wrong interface. Remove that one first: "
                        f"ip address del {one.ip}/{other.prefix} dev {place}"
                    )

    def _check_network(self, wanted, wait, claim=True):
        held = self._held(wanted)
        missing = [one for one in wanted if one not in held]
        if not missing:
            return
        neighbours.require_link(missing, self._links)
        if claim:
            answered, rival = rivals.ask(self._prober, self._links, missing, wait)
        else:
            answered, rival = neighbours.answers(self._prober, missing, wait, 1, any_one=True), None
        for one in missing:
            if answered[one.ip]:
                raise Refused(
                    f"{one.name} ({one.address} on {one.interface}) is answered by "
                    f"{', '.join(answered[one.ip])}: another node has it, and a second holder "
                    "would split its clients between the two. Nothing was taken. See who it is: "
                    "salt-run pair.status. orch.recover moves an address home."
                )
        if rival:
            address, mac = rival
            raise Refused(
                f"{address} is about to be taken by {mac} as well, which asks for it at this moment: both "
                "would have it, and its clients would be split between the two. Nothing was taken. See who "
                "has it now: salt-run pair.status"
            )

    def limit(self, lifetime, addresses=None):
        """
        Give the addresses that this node has a lifetime in the kernel, or another one. None is added.

        lifetime
            Whole seconds from now, at least 1; None: they stay until somebody deletes them.

        addresses
            Those to limit; all by default.

        Returns the list of those that this node has. Raises :class:`~failback.errors.Unavailable`.

        The kernel adds an address that it does not have at such a request, too. One that has gone between the
        look and the request, by its lifetime or by another process, is found by the moment at which it was
        made, and is deleted at once.
        """
        wanted = self.every if addresses is None else list(addresses)
        self._links = self._netlink.links()
        limited = []
        for one in self._held(wanted):
            before = self._made(one)
            if lifetime is not None:
                self._keep_the_others(one)
            self._add(one, lifetime, netlink.REPLACE)
            if before is None or self._made(one) != before:
                self._delete_everywhere(one)
            else:
                limited.append(one.address)
        return limited

    def _keep_the_others(self, floating):
        """When the kernel deletes this one by itself, the others of its subnet must not go with it."""
        borne = self._netlink.addresses()
        index = self._links[floating.interface].index
        for one in borne:
            if (one.packed, one.index) == (floating.packed, index):
                place = _secondaries_kept(one, borne, self._links[floating.interface].name).setting
                if place is not None and place.read_text().strip() == "0":
                    place.write_text("1")

    def _made(self, floating):
        """When the kernel was given an address, None if it does not have it."""
        index = self._links[floating.interface].index
        for one in self._netlink.addresses():
            if (one.packed, one.index, one.prefix) == (floating.packed, index, floating.prefix):
                return one.made
        return None

    def _add(self, floating, lifetime=None, how=netlink.CREATE | netlink.EXCLUSIVE):
        link = self._links[floating.interface]
        attributes = netlink.attribute(netlink.LOCAL, floating.packed)
        attributes += netlink.attribute(netlink.ADDRESS, floating.packed)
        if floating.version == 4:
            if floating.prefix < 31:
                broadcast = floating.network.broadcast_address.packed
                attributes += netlink.attribute(netlink.BROADCAST, broadcast)
            label = floating.label or link.name
            attributes += netlink.attribute(netlink.LABEL, label.encode() + b"\0")
        else:
            # The check was ours; the kernel's own would leave the address mute for a second.
            attributes += netlink.attribute(netlink.FLAGS, struct.pack("=I", netlink.NO_DETECTION))
        # What begins on this node keeps the node's own address: this one may be another's in a moment.
        attributes += netlink.lifetime(lifetime, preferred=floating.version == 4)
        body = struct.pack("=BBBBi", floating.family, floating.prefix, 0, 0, link.index)
        try:
            self._netlink.request(netlink.NEW_ADDRESS, how | netlink.ACKNOWLEDGE, body + attributes)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            raise Unavailable(
                f"The kernel did not add {floating.address} to {floating.interface}: "
                f"{error.strerror}{_hint(error, floating, link.name)}"
            ) from None
        return True

    def _delete_everywhere(self, floating, borne=None):
        borne = self._netlink.addresses() if borne is None else borne
        names = {link.index: link.name for link in self._links.values()}
        removed = []
        for one in borne:
            if not floating.is_borne(one, self._links):
                continue
            place = names.get(one.index) or _name_of(one.index)
            body = struct.pack("=BBBBi", floating.family, one.prefix, 0, 0, one.index)
            body += netlink.attribute(netlink.LOCAL, one.packed)
            with _secondaries_kept(one, borne, place):
                try:
                    self._netlink.request(netlink.DELETE_ADDRESS, netlink.ACKNOWLEDGE, body)
                except OSError as error:
                    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
                        continue
                    raise Unavailable(
                        f"The kernel did not remove {floating.address} from {place}: "
                        f"{error.strerror}{_hint(error, floating, place)}"
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


def announce_later(member):
    """
    Have the pair's addresses announced again over the next seconds, without waiting for it.

    member
        :py:class:`failback.pair.Member`.

    Returns whether the program could be started. That it could not is no failure: the addresses
    have been announced once already.
    """
    try:
        spawn_announcer(member.paths.program, member.pair)
    except OSError:
        return False
    return True


class _secondaries_kept:
    """
    Keeps the other addresses of a subnet while its first one is deleted.

    The kernel deletes all addresses of a subnet with the first one of it, unless it may promote the
    next (sysctl promote_secondaries): the node would lose its own address with the floating one.
    """

    def __init__(self, going, borne, interface):
        #: The sysctl, if it matters for this address; None if nothing would go with it.
        self.setting = self._file = None
        network = _network(going)
        if (
            len(going.packed) == 4
            and not going.flags & netlink.SECONDARY
            and any(
                one is not going
                and one.index == going.index
                and len(one.packed) == 4
                and _network(one) == network
                for one in borne
            )
        ):
            self._file = pathlib.Path("/proc/sys/net/ipv4/conf", interface, "promote_secondaries")
            self.setting = self._file

    def __enter__(self):
        if self._file is not None:
            if self._file.read_text().strip() == "0":
                self._file.write_text("1")
            else:
                self._file = None

    def __exit__(self, *_):
        if self._file is not None:
            self._file.write_text("0")


def _hint(error, floating, interface):
    if error.errno == errno.EPERM:
        return ". This needs root (CAP_NET_ADMIN)."
    if error.errno == errno.EACCES and floating.version == 6:
        return f". IPv6 is switched off: sysctl net.ipv6.conf.{interface}.disable_ipv6"
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
