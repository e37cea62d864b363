"""
Which addresses the set-up of a node's network gives its interfaces, by the text of one of its files. Pure.

    taken("ifupdown", text)  ->  [Own("eth0:0", "10.0.0.5", 7)]

What is read is what these programs themselves read as an address of the interface: not the gateway, not a
name server, not a comment. :py:mod:`failback.predecessors.set_up` knows where the files lie.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import posixpath
import re

from failback.decisions import scripts

#: ``KeepConfiguration=`` with which systemd-networkd leaves the addresses that it did not set.
KEEPS = ("static", "yes")
#: systemd's words for true.
TRUE = ("1", "yes", "y", "true", "t", "on")


@dataclasses.dataclass(frozen=True)
class Own:
    """
    An address that a file gives an interface.

    interface
        As the file names it; empty where it does not.

    address
        Without its prefix length, written the one canonical way.

    line
        Number of the line, from 1.
    """

    interface: str
    address: str
    line: int


def taken(kind, text):
    """
    The addresses that a file gives interfaces.

    kind
        A name of ``READERS``: who reads the file.

    text
        Its content.

    Returns a list of ``Own``, in the order of the file.
    """
    found = []
    for interface, word, line in READERS[kind](text.splitlines()):
        try:
            ip = ipaddress.ip_interface(word).ip
        except ValueError:
            continue
        found.append(Own(interface, str(ip), line))
    return found


# --- ifupdown: interfaces(5)


def included(text):
    """The patterns that an interfaces file includes: list of ``(keyword, pattern)``; see interfaces(5)."""
    words = [line.split(None, 1) for _, line in _whole_lines(text.splitlines())]
    return [
        (one[0], one[1].strip())
        for one in words
        if len(one) == 2 and one[0] in ("source", "source-directory")
    ]


def _whole_lines(lines):
    """Lines with what a backslash continues, each with its number; without comments and empty ones."""
    begun, kept = 0, ""
    for number, line in enumerate(lines, 1):
        if not kept:
            begun = number
            if line.lstrip().startswith("#"):
                continue
        if line.endswith("\\"):
            kept += line[:-1] + " "
            continue
        if (kept + line).strip():
            yield begun, (kept + line).strip()
        kept = ""
    if kept.strip():
        yield begun, kept.strip()


def _ifupdown(lines):
    interface = ""
    for number, line in _whole_lines(lines):
        keyword, _, rest = line.partition(" ") if " " in line else line.partition("\t")
        if keyword == "iface":
            interface = rest.split()[0] if rest.split() else ""
        elif keyword == "address":
            yield interface, rest.strip(), number
        elif keyword in ("up", "pre-up", "post-up"):
            for word in scripts.given(rest):
                yield interface, word, number


# --- systemd-networkd: systemd.network(5); NetworkManager's keyfiles: nm-settings-keyfile(5)


def _entries(lines):
    """Of a file with sections: ``(section, key, value, line number)``; comments are lines of their own."""
    section = ""
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line.startswith(("#", ";")):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip(), number


def _networkd(lines):
    entries = list(_entries(lines))
    names = [value for section, key, value, _ in entries if (section, key) == ("Match", "Name")]
    for section, key, value, number in entries:
        if section in ("Network", "Address") and key == "Address":
            yield " ".join(names), value, number


def _keyfile(lines):
    entries = list(_entries(lines))
    if (".nmmeta", "nm-generated", "true") in [one[:3] for one in entries]:
        # What NetworkManager itself has found on an interface and written down: it takes nothing by it.
        return
    names = [
        value for section, key, value, _ in entries if (section, key) == ("connection", "interface-name")
    ]
    for section, key, value, number in entries:
        # address1=10.0.0.5/24,10.0.0.1: behind the comma is a gateway. addresses= is the former way.
        if section in ("ipv4", "ipv6") and re.fullmatch(r"address(es)?[0-9]*", key):
            for one in value.split(";"):
                yield " ".join(names), one.split(",")[0].strip(), number


def keeps(texts):
    """
    Whether systemd-networkd leaves the addresses of others on an interface when it sets it up.

    texts
        The ``.network`` file that it goes by, and its drop-ins in their order. The last word counts.
    """
    said = [
        value.lower()
        for text in texts
        for section, key, value, _ in _entries(text.splitlines())
        if (section, key) == ("Network", "KeepConfiguration")
    ]
    return bool(said) and (said[-1] in KEEPS or said[-1] in TRUE)


def place_of_a_setting(file):
    """
    Where an administrator adds a setting to a ``.network`` file of systemd-networkd.

    A file outside ``/etc`` is another program's, such as netplan's, which writes it anew: a drop-in stays.
    """
    if file.startswith("/etc/"):
        return file
    return f"/etc/systemd/network/{posixpath.basename(file)}.d/keep.conf"


# --- ifcfg: the network scripts of RHEL up to 9, and wicked's of SUSE


def _ifcfg(lines):
    words = [_assignment(line) for line in lines]
    names = [value for key, value in filter(None, words) if key in ("DEVICE", "NAME")]
    for number, one in enumerate(words, 1):
        if one and re.fullmatch(r"IPADDR(_?\w+)?|IPV6ADDR|IPV6ADDR_SECONDARIES", one[0]):
            for word in one[1].split():
                yield names[0] if names else "", word, number


def _assignment(line):
    found = re.match(r"""\s*([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s#]*)""", line)
    return found and (found[1], found[2].strip("\"'"))


# --- netplan: YAML, of which nothing but its shape is needed

#: A word in quotes, a bracket, a plain word (may have colons inside: fd00::5), the colon of a key, a comment.
_TOKEN = re.compile(
    r"""\s*(?:
        ("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')
        | ([\[\]{},])
        | ((?:[^\[\]{},\#:\s] | :(?=[^\s,\]}]) | (?<=\S)\#)+)
        | (:)
        | (\#.*)
    )""",
    re.VERBOSE,
)


def _netplan(lines):
    """
    The items below a key ``addresses``, but for those of ``nameservers``.

    Nodes have no reader of YAML beside Salt's own Python. This one follows keys by their indentation and by
    brackets, which is all that says to what an address belongs.
    """
    keys, flow = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(("#", "---")):
            continue
        body, indent = line.lstrip(" "), len(line) - len(line.lstrip(" "))
        if not flow:
            while body.startswith("- "):
                keys = [one for one in keys if one[0] < indent or (one[0] == indent and not one[2])]
                indent, body = indent + 2, body[2:].lstrip(" ")
            keys = [one for one in keys if one[0] < indent]
        last = None
        for word in _words(body):
            if word == ":" and last is not None:
                # ``- 10.0.0.5/24:`` with options below it is an item as well.
                yield from _item(keys, flow, last, number)
                (flow if flow else keys).append((indent, last, False))
                last = None
            elif word in ("[", "{"):
                flow.append((indent, word, True))
            elif word in ("]", "}", ","):
                yield from _item(keys, flow, last, number)
                last = None
                while flow and not flow[-1][2]:
                    flow.pop()
                if word != "," and flow:
                    flow.pop()
            else:
                last = word
        if last is not None:
            yield from _item(keys, flow, last, number)


def _words(body):
    position = 0
    while position < len(body):
        found = _TOKEN.match(body, position)
        if not found:
            return
        position = found.end()
        quoted, bracket, plain, colon, comment = found.groups()
        if comment:
            return
        yield quoted[1:-1] if quoted else bracket or plain or colon


def _item(keys, flow, word, number):
    names = [name for _, name, bracket in (*keys, *flow) if not bracket]
    if word is None or not names or "addresses" not in names or "nameservers" in names:
        return
    at = len(names) - 1 - names[::-1].index("addresses")
    if at == len(names) - 1:
        yield names[at - 1] if at else "", word, number


#: Who reads a file, and how.
READERS = {
    "ifupdown": _ifupdown,
    "systemd-networkd": _networkd,
    "NetworkManager": _keyfile,
    "network scripts": _ifcfg,
    "netplan": _netplan,
}
