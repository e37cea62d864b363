"""
Take, release, announce and look for a floating IP address.

An address that moves between servers has to be claimed with care: two servers that both answer for
it split its clients between them, and a neighbour that remembers the old one sends into the void.
:py:func:`present` therefore asks the network before it claims the address and announces it
afterwards:

.. code-block:: bash

    salt 'salt2' floating_ip.answered_by 10.0.0.5 eth0
    salt 'salt2' floating_ip.present 10.0.0.5/24 eth0 label=eth0:0

Everything is read from and done by the kernel itself, see ``failback.network``. Nothing here is remembered:
an address is gone after a reboot, as it must be.
"""

import json
import logging
import sys

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import salt_errors
from failback.errors import FailbackError
from failback.host import system
from failback.network import address_holder
from failback.network import announcer
from failback.network import floating
from failback.network import neighbours

log = logging.getLogger(__name__)

__virtualname__ = "floating_ip"


def __virtual__():
    if not sys.platform.startswith("linux"):
        return False, "floating_ip works on Linux only"
    return __virtualname__


def _floating(address, interface, label=None):
    if not isinstance(address, str) or not isinstance(interface, str):
        raise SaltInvocationError("Address and interface are text, as in 10.0.0.5/24 eth0")
    try:
        return floating.FloatingAddress(address, interface, label or None)
    except FailbackError as error:
        raise SaltInvocationError(str(error)) from error


def _without_prefix(address, interface):
    # Only the address itself matters to who answers for it, so the prefix length may be left out.
    if isinstance(address, str) and "/" not in address:
        address = f"{address}/{128 if ':' in address else 32}"
    return _floating(address, interface)


@salt_errors.translated
def status(address, interface, label=None):
    """
    What is true of a floating address on this minion, now.

    address
        With its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface that should bear it.

    label
        The label it should have. IPv4 only.

    Returns a dictionary: ``held`` (any interface of this minion bears it, and the kernel answers for it),
    ``held_on`` (which bear it, answered for or not), ``interface_has_it`` (the right one does),
    ``held_as_wanted`` (the right interface, prefix length and label, and settled), ``prefix`` and
    ``found_label`` as found, ``interface_exists``, ``interface_up``, ``carrier``, ``mac``,
    ``tentative`` and ``dad_failed`` (IPv6), and ``name``, ``address``, ``interface``, ``label`` as
    asked for.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' floating_ip.status 10.0.0.5/24 eth0 label=eth0:0
    """
    return floating.status(_floating(address, interface, label))


@salt_errors.translated
def present(address, interface, label=None, check=True):
    """
    Take a floating address: ask the network whether it is free, add it, announce it.

    An address held already is announced again and otherwise left alone. One that this minion bears
    with another label, and nothing else different, is relabelled. One that the kernel has given up
    (``dad_failed``), or not settled yet, is taken anew. What was taken is announced again over the next ten
    seconds by a process of its own.

    address
        With its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface to bear it, by its name or an alternative one (altname).

    label
        What ``ip address`` and ``ifconfig`` show beside it, as in ``eth0:0``. IPv4 only. Default:
        none of its own.

    check
        Ask the network first (0.3 s). Without it two servers may hold the address, and each of
        them would get some of its clients: leave it out only if the other one is known to be off.

    Returns True if the address was added or relabelled, False if it was there. Raises
    ``CommandExecutionError`` if another host answers for it, or is about to take it as well (its hardware
    address is named), if the interface is missing, down or, when checking, without carrier, or if another
    interface of this minion bears the address.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' floating_ip.present 10.0.0.5/24 eth0 label=eth0:0
    """
    floating = _floating(address, interface, label)
    with address_holder.Holder([floating]) as holder:
        (found,) = holder.status()
        relabel = _differs_in_label_alone(found, floating)
        if relabel:
            holder.release(reset=False)
        (result,) = holder.take(check=check and not relabel)
    log.debug("floating_ip.present %s: %s", address, result)
    if result["taken"]:
        announcer.start(floating)
    return result["taken"]


@salt_errors.translated
def obstacle(address, interface, label=None, check=True):
    """
    Say why :py:func:`present` would refuse now. Nothing is changed, and nobody steps back for the question.

    address
        With its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface to bear it.

    label
        The label it is to have. IPv4 only.

    check
        Ask the network too (0.3 s), as ``present`` would.

    Returns a sentence, None if it would not refuse.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' floating_ip.obstacle 10.0.0.5/24 eth0
    """
    with address_holder.Holder([_floating(address, interface, label)]) as holder:
        try:
            holder.check() if check else holder.check_here()
        except FailbackError as error:
            return str(error)
    return None


def _differs_in_label_alone(found, floating):
    return (
        floating.version == 4
        and found["interface_has_it"]
        and len(found["held_on"]) == 1
        and found["prefix"] == floating.prefix
        and not found["held_as_wanted"]
    )


@salt_errors.translated
def absent(address, interface):
    """
    Release a floating address: reset the TCP connections to it, and remove it from this minion.

    It is removed from whatever interface bears it, because the kernel answers for an address on
    any of them; an IPv6 link-local one from its own, because elsewhere it is another one.

    address
        With its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface that should have borne it.

    Returns True if the address was removed, False if it was not there. Raises
    ``CommandExecutionError`` if the kernel refuses.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' floating_ip.absent 10.0.0.5/24 eth0
    """
    with address_holder.Holder([_floating(address, interface)]) as holder:
        (result,) = holder.release()
        if result["connections_reset"]:
            # Clients that came back before the address had gone.
            holder.reset_connections()
    log.debug("floating_ip.absent %s: %s", address, result)
    return result["released"]


@salt_errors.translated
def answered_by(address, interface=None, timeout=0.5, count=1):
    """
    Which other hosts answer for an address, as seen on the network from this minion.

    This proves who holds it, where a recorded role would not. It changes nobody's tables: ARP with
    sender 0.0.0.0 (RFC 5227), for IPv6 a neighbour solicitation.

    address
        The address; a prefix length may be given and does not matter.

    interface
        The interface to ask on; when left out, the one that this minion reaches the address by.

    timeout
        Seconds to wait for an answer.

    count
        Return as soon as so many hosts have answered: 2 shows whether two hold it, and takes the
        whole timeout when all is well.

    Returns a list of hardware addresses, empty if nobody but, maybe, this minion holds it. Raises
    ``CommandExecutionError`` if the interface is missing, down or without carrier: then silence
    would prove nothing.

    CLI Example:

    .. code-block:: bash

        salt 'client1' floating_ip.answered_by 10.0.0.5 eth0
        salt 'client1' floating_ip.answered_by 10.0.0.5 eth0 count=2
    """
    return neighbours.probe(
        _without_prefix(address, interface or _interface_to(address)),
        timeout=float(timeout),
        count=int(count),
    )


def _interface_to(address):
    """The interface by which this minion reaches an address directly; ARP goes no further."""
    host = str(address).partition("/")[0]
    text = system.run(
        ["ip", "-json", "route", "get", host], 5, f"find the interface by which to reach {host}"
    )
    route = json.loads(text)[0]
    if "gateway" in route:
        raise CommandExecutionError(
            f"{host} is behind the gateway {route['gateway']}; only a host on its own network sees "
            f"who answers for it."
        )
    return route["dev"]


@salt_errors.translated
def announce(address, interface):
    """
    Announce once more to the segment that this minion has an address.

    For hosts that still send to the former holder. What this minion does not hold is not
    announced, because that would draw another one's traffic here.

    address
        With its prefix length, as in ``10.0.0.5/24`` or ``fd00::5/64``.

    interface
        The interface that bears it.

    Returns True if it was announced, False if this minion does not hold it on that interface.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' floating_ip.announce 10.0.0.5/24 eth0
    """
    with address_holder.Holder([_floating(address, interface)]) as holder:
        return bool(holder.announce())
