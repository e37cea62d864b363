"""
What a node is like around its pairs: interfaces, units, paths, names. For whoever writes a pillar.

Nothing of Failback has to be set up on the node, and nothing is changed. :py:mod:`failback.pillar.site`
judges what is said here.
"""

import difflib
import ipaddress
import os
import shutil
import socket

from failback.errors import FailbackError
from failback.host import nagios
from failback.host import services
from failback.host import system
from failback.network import netlink
from failback.network import reachable
from failback.predecessors import set_up
from failback.replication import sources

#: Seconds for systemd to list its units.
LIST_WITHIN = 10
#: The interface that is the node itself.
ITSELF = "lo"


def surroundings(pairs, node, root="/"):
    """
    Look around on this node.

    pairs
        Pairs as ``normalise`` gives them; those that the node is no part of are left out. A witness has
        none.

    node
        Its minion id.

    root
        Folder that stands for ``/`` (tests).

    Returns a dict of JSON types: ``node``; ``interfaces``, by name a list of addresses with their prefix;
    ``gateways``, a list of ``{"address", "interface"}``; and ``pairs``, by name what :func:`_of_pair`
    returns.
    """
    with netlink.Netlink() as kernel:
        links, borne, gateways = kernel.links(), kernel.addresses(), kernel.gateways()
    names = {link.index: link.name for link in links.values()}
    indices = {name: index for index, name in names.items()}
    interfaces = {name: [] for name in sorted(links) if name != ITSELF}
    for one in borne:
        if names.get(one.index) in interfaces:
            address = ipaddress.ip_address(one.packed)
            if not address.is_link_local:
                interfaces[names[one.index]].append(f"{address}/{one.prefix}")
    own = [one for one in pairs if node in (one["primary"]["id"], one["secondary"]["id"])]
    return {
        "node": node,
        "interfaces": interfaces,
        "gateways": [
            {"address": str(ipaddress.ip_address(packed)), "interface": names.get(index)}
            for packed, index in sorted(gateways)
        ],
        "pairs": {one["name"]: _of_pair({**one, "node": node}, indices, root) for one in own},
    }


def _of_pair(config, indices, root):
    """
    What a pair finds on this node, whose interfaces have these numbers by name.

    Returns ``units``, by name ``{"state", "close"}``, the second the names that are like one that does not
    exist; ``programs``, those of proofs that are not there; ``paths``, by path whether it exists;
    ``repositories``, by path whether it is a bare one; ``hosts``, by name of the two nodes the addresses that
    it stands for here; ``configured`` and ``dropped``, as ``predecessors.set_up`` has them; ``asks``, as
    ``reachable.state`` has it.
    """
    # The switches inside Nagios are not there before highstate has written their units.
    entries = [
        one for one in (*config["services"], *config["active_services"]) if not nagios.unit_commands(one)
    ]
    paths = [one["path"] for one in config["replicate"]]
    return {
        "units": _units(entries),
        "programs": sorted({word for word in map(_program, entries) if word}),
        "paths": {path: one["exists"] for path, one in sources.facts(paths, root).items()},
        "repositories": {path: os.path.isfile(f"{root}/{path}/HEAD") for path in config["git"]},
        "hosts": {
            config[role]["host"]: _addresses_of(config[role]["host"]) for role in ("primary", "secondary")
        },
        "configured": set_up.configured([one["address"] for one in config["floating_ips"]], root),
        "dropped": set_up.dropped(
            {one["interface"]: indices.get(one["interface"]) for one in config["floating_ips"]}, root
        ),
        "asks": _asks(config),
    }


def _units(entries):
    plain = [{"name": one["name"]} for one in entries]
    try:
        found = services.states(plain)
    except FailbackError as error:
        return {one["name"]: {"state": str(error), "close": []} for one in plain}
    missing = [name for name, state in found.items() if state == "not-found"]
    known = _known_units() if missing else []
    return {
        name: {
            "state": state,
            "close": difflib.get_close_matches(name, known, n=1) if name in missing else [],
        }
        for name, state in found.items()
    }


def _known_units():
    listing = ["systemctl", "list-unit-files", "--type=service", "--no-legend", "--no-pager"]
    try:
        printed = system.run(listing, LIST_WITHIN, "list the units")
    except FailbackError:
        return []
    words = [line.split() for line in printed.splitlines()]
    return [one[0].removesuffix(".service") for one in words if one]


def _program(entry):
    """The program of a proof, if it is not there."""
    words = entry.get("proof") or entry.get("status")
    return words[0] if words and shutil.which(words[0]) is None else None


def _addresses_of(host):
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({one[4][0].partition("%")[0] for one in found})


def _asks(config):
    try:
        return reachable.state(config)
    except (FailbackError, OSError) as error:
        return {"asks": [], "problem": str(error)}
