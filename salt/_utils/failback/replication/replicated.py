"""
What is replicated, and how rsync is told so: the one description that all users of it share.

lsyncd (primary to secondary), the reverse rsync (secondary to primary) and the rsync daemon, which
serves both of them through an rsync daemon over SSH, must agree on folder, pattern, module name and
options::

    from failback.replication import replicated

    salt = replicated.item("/srv/salt", is_directory=True)

    # the other node runs: rsync --server --daemon --config=<file with this text> .
    text = replicated.daemon_config([salt], writable=False)

    # its client runs:
    arguments = [*replication.OPTIONS, *replicated.filters(salt)]
    arguments += [f"salt2::{salt.module}/", f"{salt.root}/"]

Everything here is pure but :py:func:`items_on_disk`, which looks at the path.
"""

import dataclasses
import fnmatch
import hashlib
import os
import re

from failback import errors

OPTIONS = (
    "--archive",
    "--hard-links",
    "--acls",
    "--xattrs",
    "--sparse",
    "--numeric-ids",
    # Nanoseconds. rsync compares whole seconds by default and misses a rewrite of the same size
    # in the same second.
    "--modify-window=-1",
    "--delete",
)
"""Options of every rsync between the two nodes, in either direction."""

CARRYING = (*OPTIONS, "--no-inc-recursive")
"""
Those of one that carries folders: it makes its whole list first.

Else both sides wait for ever when one of several names of a file vanishes meanwhile (rsync 3.5.0), and
``--timeout`` does not end that: they go on telling each other that they are alive.
"""

WILDCARDS = "*?["

# Accepted by that daemon; everything else is refused. A wildcard in "refuse options" never matches
# --server, --sender, --rsh, --dry-run, --from0 and the like: rsyncd.conf(5).
ACCEPTED_OPTIONS = (
    "archive",
    "hard-links",
    "acls",
    "xattrs",
    "sparse",
    "numeric-ids",
    "modify-window",
    "delete",
    "delete-before",
    "delete-during",
    "delete-delay",
    "delete-missing-args",
    "files-from",
    "relative",
    "no-implied-dirs",
    "dirs",
    "checksum",
    "whole-file",
    "itemize-changes",
    "stats",
    "verbose",
    "timeout",
    "compress",
    "compress-level",
    "compress-choice",
    "ignore-errors",
    "inc-recursive",
)

# A whole bracket expression, or a '[' that is never closed.
_BRACKETS = re.compile(r"\[(?:[!^]|(?![!^]))(?:\]|(?!\]))(?:\[:[a-z]+:\]|[^]])*\]|\[")
# A puller's options about its own backup reach the daemon too, which only reads them then.
ACCEPTED_OF_A_READER = ("backup", "backup-dir")

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": " \t\n\v\f\r",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_VARIABLE = re.compile(r"%[A-Z][^%]*%")


#: Name of the file that tells the standby when it was last in step: :py:mod:`failback.replication.in_step`.
IN_STEP = "in-step"


@dataclasses.dataclass(frozen=True)
class Item:
    """
    One replicated path.

    path
        As the pillar writes it, without a slash at the end.

    root
        The folder that is compared and carried over.

    pattern
        Which names directly in ``root`` belong to it, in rsync's own wildcard syntax; ``None``
        means the whole folder.
    """

    path: str
    root: str
    pattern: "str | None" = None

    @property
    def module(self):
        """The name of the rsync module that serves this item."""
        return module_name(self)

    def under(self, top):
        """Where its root lies, if a folder stands for ``/``."""
        return os.path.join(top, self.root.lstrip("/"))


def item(path, is_directory):
    """
    Describe a replicated path.

    path
        Absolute path of a folder or a file; its last component may hold wildcards (``*``, ``?``,
        ``[a-z]``). Write ``[*]`` for a star that is part of a name.

    is_directory
        Whether the path is a folder. A file, or a path with wildcards, is served from its parent.

    Returns an :py:class:`Item`. Raises :py:class:`failback.errors.Refused` for a path that cannot
    be handed to rsync without a change of meaning.
    """
    _check(path)
    components = [part for part in path.split("/") if part]
    clean = "/" + "/".join(components)
    if is_directory:
        return Item(clean, clean)
    parent = "/" + "/".join(components[:-1])
    name = components[-1]
    pattern = name if has_wildcards(name) else _literal(name)
    return Item(clean, parent, pattern)


def in_step(pair):
    """The one file that is carried beside the pair's paths, as an :py:class:`Item`: the same on both."""
    folder = f"/run/failback/{pair}/{IN_STEP}"
    return Item(f"{folder}/{IN_STEP}", folder, IN_STEP)


def items_on_disk(path, root="/"):
    """
    Describe a replicated path as this node has it.

    path
        Absolute path, as in the pillar.

    root
        Folder that stands for ``/`` while looking (tests).

    Returns a list of one :py:class:`Item`; of two, the folder first, when nothing is there yet and
    the path could become either. The daemon serves all of them: the peer, which has the path, asks
    for the right one.
    """
    here = os.path.join(root, path.lstrip("/"))
    if os.path.isdir(here):
        return [item(path, is_directory=True)]
    if has_wildcards(os.path.basename(path.rstrip("/"))) or os.path.lexists(here):
        return [item(path, is_directory=False)]
    return [item(path, is_directory=True), item(path, is_directory=False)]


def has_wildcards(name):
    """Whether a name holds a wildcard of rsync."""
    return any(character in name for character in WILDCARDS)


def matching(item):
    """
    Which names directly in an item's root belong to it.

    Returns a function of a name. It says what rsync's own matching says of names in ASCII.
    """
    if item.pattern is None:
        return lambda name: True
    pattern = re.sub(r"\[:([a-z]+):\]", lambda match: _CLASSES.get(match[1], ""), item.pattern)
    pattern = pattern.replace("[^", "[!").replace("[\\\\]", "[\\]")
    expression = re.compile(fnmatch.translate(pattern))
    return lambda name: expression.match(name) is not None


def module_name(item):
    """
    The name of the rsync module of an item: readable, and different for any two items.

    A folder and a file of the same path get different names. So a node that takes the path for a
    folder can never be answered by a peer that holds a file there: rsync would compare the wrong
    two folders, and delete.
    """
    key = os.fsencode(item.root) + b"\0" + os.fsencode(item.pattern or "")
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", item.path, flags=re.ASCII).strip("-.")[:40]
    return f"{readable or 'path'}-{hashlib.sha256(key).hexdigest()[:8]}"


def filters(item):
    """
    The client's filter arguments for an item: empty for a whole folder.

    Names that do not match are neither sent nor deleted. Give them to the client even though the
    daemon enforces the same: the receiving side decides by them what ``--delete`` may remove.
    """
    if item.pattern is None:
        return []
    return [
        f"--include=/{item.pattern}",
        f"--include=/{item.pattern}/**",
        "--exclude=*",
    ]


def daemon_config(items, writable, root="/", folders=None):
    """
    The configuration of the rsync daemon that the other node runs over SSH, one module an item.

    items
        What the peer may read, and write if ``writable``.

    writable
        Whether the peer may also write. Only while the *other* node is the active one.

    root
        Folder that stands for ``/`` on this node (tests).

    folders
        Dict of an item to the folder that the daemon has it by, if that is another name.

    Returns the text of an ``rsyncd.conf``; write it with ``os.fsencode``, since paths may hold any
    bytes.
    """
    accepted = ACCEPTED_OPTIONS if writable else ACCEPTED_OPTIONS + ACCEPTED_OF_A_READER
    lines = [
        "# Written by Failback when the peer connects. Changes are lost.",
        "uid = 0",
        "gid = 0",
        "use chroot = yes",
        # Links are carried over as they are; the chroot is what keeps the daemon inside the folder.
        "munge symlinks = no",
        "numeric ids = yes",
        f"read only = {'no' if writable else 'yes'}",
        "write only = no",
        "list = no",
        "reverse lookup = no",
        "transfer logging = no",
        "log file = /dev/null",
        "max verbosity = 1",
        "refuse options = * " + " ".join(f"!{option}" for option in accepted),
    ]
    for each in sorted(items, key=lambda each: each.path):
        # The slash keeps a blank or a backslash at the end of the path from being trimmed or
        # taken for a line continuation.
        folder = (folders or {}).get(each) or each.under(root).rstrip("/")
        lines += ["", f"[{module_name(each)}]", f"path = {folder}/"]
        if each.pattern is not None:
            # These values are split at blanks, and no quoting exists.
            pattern = each.pattern.replace(" ", "[[:blank:]]")
            lines += [f"include = /{pattern} /{pattern}/**", "exclude = *"]
    return "\n".join(lines) + "\n"


def ssh_command(paths, control=None):
    """
    The remote shell for rsync's ``-e``: our own key, our own known hosts, never a question.

    paths
        :py:class:`failback.host.paths.Paths` of this node.

    control
        Socket of an SSH connection that is already open, or ``None``.

    Returns one string; rsync splits it at blanks by itself, without a shell.
    """
    command = f"ssh -F {_quoted(str(paths.ssh_config))} -o BatchMode=yes"
    if control is not None:
        command += f" -S {_quoted(str(control))}"
    return command


def lasting_ssh_command(paths, control):
    """
    As :py:func:`ssh_command`, over one connection that the first one makes and that stays for the others.

    control
        Its socket, in a folder of root's alone. It ends with lsyncd, whose control group it is in.

    A peer that is gone is noticed after five seconds of silence: whoever is at work ends with 255, and the
    next one makes a new connection. A peer that allows one session for each connection (``MaxSessions 1``)
    is asked over one more connection then; ssh(1) does so by itself.
    """
    lasting = ["ControlMaster=auto", "ControlPersist=yes", "ServerAliveInterval=1", "ServerAliveCountMax=4"]
    options = "".join(f" -o {option}" for option in lasting)
    return ssh_command(paths, control) + options


def _quoted(argument):
    # rsync understands quotes in -e, a doubled quote inside stands for itself: rsync(1), --rsh.
    return "'" + argument.replace("'", "''") + "'"


def _literal(name):
    # rsync takes a backslash for itself in a pattern without wildcards, and for an escape in one
    # with them, such as the pattern for a folder's content. In brackets it means the same in both.
    return name.replace("\\", "[\\\\]")


def _check(path):
    def refused(reason, next_step):
        return errors.Refused(f"The path {path!r} cannot be replicated: {reason}. {next_step}")

    rename = "Change it in the pillar, then run: salt-run pair.check"
    if not path.startswith("/"):
        raise refused("it is not absolute, so each node could take it for another folder", rename)
    components = [part for part in path.split("/") if part]
    if not components:
        raise refused("it is the whole file system of the node", rename)
    if any(part in (".", "..") for part in components):
        raise refused("it holds '.' or '..' and may lead somewhere else", rename)
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise refused("it holds a control character, which rsyncd.conf cannot express", rename)
    if _VARIABLE.search(path):
        raise refused("rsync would replace '%NAME%' in it by a variable", rename)
    last = components[-1]
    if "**" in last:
        raise refused("'**' would match across folders", rename)
    for expression in _BRACKETS.findall(last):
        if not expression.endswith("]") or expression == "[":
            raise refused("a '[' in it is not closed; write [[] for a bracket in a name", rename)
        if " " in expression:
            raise refused("rsyncd.conf cannot express a blank inside [...]", rename)
