"""
The files with which ifupdown, systemd-networkd, NetworkManager and netplan set the network of this node up.

What they say is read by :py:mod:`failback.decisions.network_files`.
"""

import ipaddress
import os
import pathlib

from failback.decisions import network_files

#: A file that is larger is no configuration.
MOST_BYTES = 1 << 20
#: Who reads which files.
PLACES = (
    ("ifupdown", "etc/network/interfaces", ""),
    ("netplan", "etc/netplan", "*.yaml"),
    ("netplan", "run/netplan", "*.yaml"),
    ("systemd-networkd", "etc/systemd/network", "*.network"),
    ("systemd-networkd", "etc/systemd/network", "*.network.d/*.conf"),
    ("systemd-networkd", "run/systemd/network", "*.network"),
    ("NetworkManager", "etc/NetworkManager/system-connections", "*"),
    ("NetworkManager", "run/NetworkManager/system-connections", "*"),
    ("network scripts", "etc/sysconfig/network-scripts", "ifcfg-*"),
    ("network scripts", "etc/sysconfig/network", "ifcfg-*"),
)
#: What netplan generates; its own file is the one to change.
GENERATED = ("netplan-", "10-netplan-")
#: Where systemd-networkd says by which file it has set an interface up (systemd 239 to 257).
STATE = "run/systemd/netif/links"


def text_of(path):
    """The text of a file, or None where there is none, or none that can be read as a configuration."""
    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():
            return None
        return path.read_text(errors="replace")
    except OSError:
        return None


def files(root):
    """The files of the network's set-up, as ``(who reads it, path, text)``."""
    root = pathlib.Path(root)
    for kind, place, pattern in PLACES:
        top = root / place
        found = sorted(top.glob(pattern)) if pattern and top.is_dir() else [top]
        for path in found:
            text = None if path.name.startswith(GENERATED) else text_of(path)
            if text is None:
                continue
            yield kind, path, text
            if kind == "ifupdown":
                yield from _included(root, path, text, {path})


def _included(root, path, text, seen):
    """The files that an interfaces file includes, each once."""
    for keyword, pattern in network_files.included(text):
        # A relative pattern is below the folder of the file (interfaces(5)).
        pattern = (
            pattern.lstrip("/") if pattern.startswith("/") else str(path.parent.relative_to(root) / pattern)
        )
        found = sorted(root.glob(pattern)) if pattern else []
        if keyword == "source-directory":
            found = [one for folder in found if folder.is_dir() for one in sorted(folder.iterdir())]
        for one in found:
            inside = text_of(one)
            if one in seen or inside is None:
                continue
            seen.add(one)
            yield "ifupdown", one, inside
            yield from _included(root, one, inside, seen)


def configured(addresses, root="/"):
    """
    The lines that give this node one of some addresses as its own.

    addresses
        With their prefix length, as the pillar has them.

    root
        Folder that stands for ``/``.

    Returns a list of ``{"address", "interface", "file", "line", "by"}``; ``address`` is that of the list.
    """
    wanted = {str(ipaddress.ip_interface(one).ip): one for one in addresses}
    found = []
    for kind, path, text in files(root):
        for own in network_files.taken(kind, text):
            if own.address in wanted:
                found.append(
                    {
                        "address": wanted[own.address],
                        "interface": own.interface,
                        "file": f"/{path.relative_to(root)}",
                        "line": own.line,
                        "by": kind,
                    }
                )
    return found


def dropped(links, root="/"):
    """
    Interfaces that systemd-networkd clears of the addresses of others when it sets them up again.

    links
        Number of interfaces by name; None for one that is not there.

    root
        Folder that stands for ``/``.

    Returns the file in which to say that it shall not, by interface.
    """
    root, found = pathlib.Path(root), {}
    for name, index in links.items():
        if index is None:
            continue
        state = text_of(root / STATE / str(index)) or ""
        words = dict(line.split("=", 1) for line in state.splitlines() if "=" in line)
        file = words.get("NETWORK_FILE")
        if not file or words.get("ADMIN_STATE") == "unmanaged":
            continue
        path = root / file.lstrip("/")
        above = text_of(path)
        if above is None:
            continue
        if not network_files.keeps([above, *_drop_ins(root, path.name)]):
            found[name] = network_files.place_of_a_setting(file)
    return found


def _drop_ins(root, name):
    """The texts of a unit's drop-ins, in their order: by file name, wherever their folder is."""
    by_name = {}
    for top in ("usr/lib", "usr/local/lib", "run", "etc"):
        for one in (root / top / "systemd/network" / f"{name}.d").glob("*.conf"):
            by_name[os.path.basename(one)] = one
    return [text for _, one in sorted(by_name.items()) if (text := text_of(one)) is not None]
