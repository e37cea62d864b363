"""The lab's network: a network namespace of its own with a bridge for each network of the site.

Interface names need not differ between labs, since each lab has its own namespace; nothing is added
to the machine's own network.
"""

import contextlib
import pathlib
import select
import socket
import time

from lab import cache

NAMESPACES = pathlib.Path("/run/netns")


def namespace(lab):
    """The name of the lab's network namespace."""
    return f"failback-{lab}"


def entering(lab, arguments):
    """An argument list that runs ``arguments`` in the lab's network.

    ``nsenter``, not ``ip netns exec``, which mounts /sys anew and hides the control groups.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace(lab)}", *arguments]


def exists(lab):
    return (NAMESPACES / namespace(lab)).exists()


def create(lab, networks):
    """The namespace and its bridges (``br-eth0``, ``br-ib0``); what is there is left as it is."""
    if not exists(lab):
        cache.call(["ip", "netns", "add", namespace(lab)])
    inside("ip", lab, "link", "set", "lo", "up")
    # Inherited from the machine, where it may be on; see lab/files/image/etc/sysctl.d.
    for setting in ("net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"):
        inside("sysctl", lab, "-q", "-w", setting)
    there = inside("ip", lab, "-brief", "link")
    for network in networks:
        bridge = f"br-{network}"
        if f"{bridge} " not in there:
            inside("ip", lab, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
        inside("ip", lab, "link", "set", bridge, "up")


def remove(lab):
    if exists(lab):
        cache.call(["ip", "netns", "delete", namespace(lab)])


def inside(program, lab, *arguments):
    """Run a program in the lab's network; returns its output."""
    return cache.call(entering(lab, [program, *arguments]))


def outer_name(host, interface):
    """The name of the bridge's end of a host's interface."""
    name = f"{host}-{interface}"
    if len(name) > 15:
        raise ValueError(f"{name}: the kernel wants at most 15 characters for an interface.")
    return name


def attach(lab, host, interface, network):
    """Plug a host's interface into its network."""
    outer = outer_name(host, interface)
    inside("ip", lab, "link", "set", outer, "master", f"br-{network}", "up")


def pull(lab, host, interface):
    """Pull the cable: the host sees that the link is gone."""
    inside("ip", lab, "link", "set", outer_name(host, interface), "down")


def isolate(lab, host, interface):
    """Cut the path behind the switch's port: the host still sees a link."""
    inside("ip", lab, "link", "set", outer_name(host, interface), "nomaster", "up")


def set_isolated(lab, host, interface, on):
    """Let a port of the bridge talk to no other port that is isolated too, or to all again."""
    inside(
        "bridge", lab, "link", "set", "dev", outer_name(host, interface), "isolated", "on" if on else "off"
    )


def discard(lab, host, interface):
    """
    Remove what is left of an interface of a host that is off; nothing if nothing is left.

    The kernel takes a network away some time after the last process in it, longer on a busy machine.
    """
    outer = outer_name(host, interface)
    if f" {outer}@" in inside("ip", lab, "-oneline", "link"):
        with contextlib.suppress(RuntimeError):  # it has gone meanwhile
            inside("ip", lab, "link", "delete", outer)


class Links:
    """Waits for interfaces to appear, told by the kernel. Use it inside the lab's network."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 1))  # RTMGRP_LINK

    def wait(self, names, gone, limit):
        """Until all names are there. ``gone()`` says that waiting is pointless."""
        deadline = time.monotonic() + limit
        missing = set(names)
        while True:
            missing = {name for name in missing if not _present(name)}
            if not missing:
                return True
            if gone() or time.monotonic() > deadline:
                return False
            if select.select([self._socket], [], [], 0.2)[0]:
                # Nobody has read while the host ran, so there may have been more news than there was
                # room for; what counts is looked at anew anyway.
                with contextlib.suppress(OSError):
                    self._socket.recv(65536)


def _present(name):
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False
