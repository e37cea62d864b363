"""How the two nodes of a pair recognise each other over SSH."""

import contextlib
import ipaddress
import pathlib
import re

from failback.decisions import roles
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.network import netlink
from failback.state import ledger

VERSION = 1

SUDO = "/usr/bin/sudo"

#: One line of an OpenSSH public key without options: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*")


def _bare(line):
    """Type and key without the comment; a comment could smuggle in anything."""
    return " ".join(line.split()[:2])


def require_key(line):
    """The key without its comment. Raises ``Refused`` for anything else than one public key."""
    bare = _bare(line) if isinstance(line, str) and "\n" not in line.strip() else ""
    if not KEY.fullmatch(bare):
        raise Refused(f"{line!r} is not an OpenSSH public key.")
    return bare


def identity(paths):
    """
    This node's public key of the pairs, its host keys, and the addresses from which it may connect.

    Raises ``Unavailable``.
    """
    public = pathlib.Path(f"{paths.private_key}.pub")
    try:
        key = require_key(public.read_text())
    except FileNotFoundError as error:
        raise Unavailable(f"{public} is missing: highstate makes it (state.apply pair).") from error
    hosts = sorted((paths.root / "etc/ssh").glob("ssh_host_*_key.pub"))
    if not hosts:
        raise Unavailable("sshd has no host keys in /etc/ssh: has it ever been started?")
    lines = [_bare(one.read_text()) for one in hosts]
    # Kinds that no client accepts any more, such as an old DSA key, recognise nobody.
    return {
        "public_key": key,
        "host_keys": [line for line in lines if KEY.fullmatch(line)],
        "addresses": _own_addresses(),
    }


def _own_addresses():
    """All addresses of this node that another one may see, as text."""
    with contextlib.closing(netlink.Netlink()) as kernel:
        found = {str(ipaddress.ip_address(one.packed)) for one in kernel.addresses() if one.packed}
    return sorted(one for one in found if not _is_of_the_node_alone(ipaddress.ip_address(one)))


def _is_of_the_node_alone(address):
    return address.is_loopback or (address.version == 6 and address.is_link_local)


def _file(member):
    return member.state / "peer.json"


def remember(member, public_key, host_keys, addresses=None):
    """
    Keep the other node's keys for good, and from where it connects.

    addresses
        What its :func:`identity` names; None where an earlier release has answered.

    Returns True when they are news.
    """
    new = {
        "version": VERSION,
        "public_key": require_key(public_key),
        "host_keys": [require_key(one) for one in host_keys],
        "addresses": sorted(_require_address(one) for one in addresses or ()),
    }
    found = files.read_json(_file(member), f"the peer of {member.pair}", VERSION) or {}
    if all(found.get(key) == value for key, value in new.items()):
        return False
    files.write_json(_file(member), {**new, "since": ledger.now()})
    return True


def _require_address(text):
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Refused(f"{text!r} is not an IP address, so nobody is let in from there.") from error


def known(paths):
    """What this node knows of its peers, by pair."""
    found = {}
    for path in sorted(paths.all_state.glob("*/peer.json")):
        found[path.parent.name] = files.read_json(path, f"the peer of {path.parent.name}", VERSION)
    return found


def has_key(paths):
    """Is there a private key with its public half?"""
    return paths.private_key.is_file() and pathlib.Path(f"{paths.private_key}.pub").is_file()


def make_key(paths, node):
    """Make the key of this node; returns the public half. An existing one is never replaced."""
    if not has_key(paths):
        files.make_folder(paths.ssh)
        system.run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"failback@{node}",
                "-f",
                str(paths.private_key),
            ],
            30,
            "make the key of this node",
        )
    return identity(paths)["public_key"]


def known_hosts(peers, trusted):
    """
    Render known_hosts. Pure.

    peers
        ``{pair: {"id", "host"}}``; a host key is recorded under the id (HostKeyAlias).

    trusted
        What ``known`` returned.
    """
    lines = ["# Managed by Salt (pair.access); orch.adopt brings the keys."]
    for pair, peer in sorted(peers.items()):
        lines += [f"{peer['id']} {key}" for key in trusted.get(pair, {}).get("host_keys", [])]
    return "\n".join(lines) + "\n"


def program(paths, user=roles.ROOT):
    """What sshd starts for a peer who has come as this account, which becomes root by :func:`sudo_rules`."""
    return str(paths.program) if user == roles.ROOT else f"{SUDO} -n {paths.program}"


def authorized_keys(peers, trusted, started, floating=None):
    """
    Render the lines for authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT). Pure.

    ``restrict`` takes every permission away, forwarding and terminals among them; ``command`` leaves
    the verbs of ``failback.peer_requests`` for this very pair; ``from`` lets the peer in from its own
    addresses alone.

    started
        What :func:`program` returned.

    floating
        ``{pair: [address, …]}``: the kernel of the node that has one may connect from there.
    """
    lines = []
    for pair, peer in sorted(peers.items()):
        if pair not in trusted:
            continue
        options = f'restrict,command="{started} far-end {pair}"'
        places = _places(peer, trusted[pair], (floating or {}).get(pair, ()))
        if places:
            options = f'from="{",".join(places)}",{options}'
        lines.append(f"{options} {trusted[pair]['public_key']} {peer['id']}")
    return "\n".join(lines)


def sudo_rules(names, started, user):
    """
    Render the file for /etc/sudoers.d that lets an account ask for the verbs of a peer (sudoers(5)). Pure.

    names
        Of the pairs.

    started
        What :func:`program` returned for root.

    user
        The account. lsyncd comes with it several times a second, so nothing of that goes to the log and no
        session is opened; sshd logs who came. All else that is tried with it is logged.
    """
    commands = ", ".join(f"{started} far-end {pair}" for pair in sorted(names))
    return (
        "# Managed by Salt (pair.access): what the other node of a pair may ask for, and nothing else.\n"
        f"Cmnd_Alias FAILBACK_PEER = {commands}\n"
        "Defaults!FAILBACK_PEER !syslog, !pam_session\n"
        f"Defaults:{user} !requiretty, !use_pty\n"
        f'Defaults:{user} env_keep = "SSH_ORIGINAL_COMMAND"\n'
        f"{user} ALL=(root) NOPASSWD: FAILBACK_PEER\n"
    )


def sudo_user(text):
    """The account of :func:`sudo_rules` that were rendered earlier; None for any other text. Pure."""
    found = re.search(r"^([a-z_][a-z0-9_-]*) ALL=\(root\) NOPASSWD: ", text, re.MULTILINE)
    return found[1] if found else None


def _places(peer, keys, floating):
    """
    From where a peer is let in; nothing for everywhere.

    As long as its addresses were not exchanged, which an earlier release did not do, nobody knows from which
    of them it connects: a list that lacks it would part the two nodes.
    """
    found = list(keys.get("addresses") or ())
    if not found:
        return []
    with contextlib.suppress(ValueError):  # a name: sshd would have to look it up, which may fail at night
        found.append(str(ipaddress.ip_address(peer["host"])))
    found += [str(ipaddress.ip_interface(one).ip) for one in floating]
    return list(dict.fromkeys(found))
