"""
What keepalived and Pacemaker are told to do with addresses and services, by the text of their files. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from xml.etree import ElementTree

from failback.errors import Unreadable

#: Blocks of keepalived.conf whose lines begin with an address that it puts on an interface.
_ADDRESSES = ("virtual_ipaddress", "virtual_ipaddress_excluded")
#: Classes of a resource that are a unit or an init script of the same name.
_UNITS = ("systemd", "lsb", "service", "upstart")


def keepalived(text):
    """
    The addresses that a keepalived.conf gives to its instances.

    Returns a list of ``{"instance", "address", "line"}``, the address without its prefix length.
    """
    found, blocks, before = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        # A brace may stand on the line after the name of its block.
        for word in re.findall(r'[{}]|"[^"]*"|[^\s{}]+', re.split(r"[#!]", line)[0]):
            if word == "{":
                blocks.append(before or [""])
                before = []
            elif word == "}":
                blocks, before = blocks[:-1], []
            else:
                inside = blocks[-1][0] if blocks else ""
                if inside in _ADDRESSES:
                    ip = _ip(word)
                    if ip and not (before and before[-1] in ("brd", "broadcast", "via", "src")):
                        of = next((one[-1] for one in blocks if one[0] == "vrrp_instance"), "")
                        found.append({"instance": of, "address": ip, "line": number})
                before = [*before, word]
        if before and not _block_follows(before):
            before = []
    return found


def _block_follows(words):
    """Whether the words of a line may be the name of a block whose brace is on the next line."""
    return words[0] in ("vrrp_instance", *_ADDRESSES)


def included(text):
    """The files that a keepalived.conf includes, as patterns."""
    return re.findall(r"(?m)^\s*include\w*\s+(\S+)", text)


def _ip(word):
    try:
        return str(ipaddress.ip_interface(word).ip)
    except ValueError:
        return None


def resources(cib):
    """
    The resources of a Pacemaker cluster that are addresses or units.

    cib
        The content of cib.xml.

    Returns a list of ``{"id", "agent", "address", "unit"}``, one of the last two None. Raises ``Unreadable``.
    """
    try:
        tree = ElementTree.fromstring(cib)
    except ElementTree.ParseError as error:
        raise Unreadable(f"The configuration of Pacemaker is no XML: {error}.") from error
    templates = {one.get("id"): one for one in tree.iter("template")}
    found = []
    for one in tree.iter("primitive"):
        above = templates.get(one.get("template"), one)
        kind = one.get("class") or above.get("class")
        agent = one.get("type") or above.get("type") or ""
        values = {
            pair.get("name"): pair.get("value")
            for source in (above, one)
            for pair in source.iterfind("instance_attributes/nvpair")
        }
        if agent.startswith("IPaddr") and _ip(values.get("ip") or ""):
            found.append({"id": one.get("id"), "agent": agent, "address": _ip(values["ip"]), "unit": None})
        elif kind in _UNITS:
            found.append(
                {
                    "id": one.get("id"),
                    "agent": f"{kind}:{agent}",
                    "address": None,
                    "unit": agent.removesuffix(".service"),
                }
            )
    return found
