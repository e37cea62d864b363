r"""
What lsyncd is told: the replicated paths of a pair, from the primary to the secondary.

::

    text = lsyncd_config.render(member, replication_items)

The text is a program in Lua, as lsyncd wants it: :py:mod:`failback.replication.lsyncd_program`. It does
more than the usual ``default.rsync`` where lsyncd 2.2.3 (Debian 12) loses changes without a word; each was
seen in its source and tried:

- It turns changed names into rsync patterns and escapes wildcards wrongly: ``b]c`` and ``x\y*`` are
  never carried, and counted as carried. The rendered ``changes`` escapes as rsync(1) says.
- rsync's exit status 23, "some files could not be transferred", counts as success. Here it is tried
  again.
- An rsync that is killed counts as success, because only ``WEXITSTATUS`` is looked at. Here a shell
  turns the signal into 128 + signal.
- It always gives ``--ignore-errors``: a folder that cannot be read on the source is deleted on the
  target.
- The status file is written only when something happens (its issue 461). Here something happens
  every second.
- A folder that is made while a pass runs may be carried by it before lsyncd watches it: the first pass
  looks at all there is, and so does one that carries the deletion of a folder of the same name. What goes
  from it before lsyncd watches it is never reported. Here the pass that carries a new folder compares all
  of it, deletions included; it begins when lsyncd watches that folder already.
- An SSH connection that stays would keep what sshd thought of root when it was made. Here it is left after a
  failure of rsync that need not be about a file.
- A file that changes while a pass carries it may be carried by a second pass at the same time, and the one
  that has read the older content may be the last to put it in place. Here the second waits for the first.
- "cannot delete non-empty directory" is no failure to rsync: its exit status is 0. Most often that folder has
  vanished meanwhile, and the next pass deletes it. That is not taken for granted: all of the replicated path
  is compared then.

What proves that nothing waits is described in :py:mod:`failback.replication.lsyncd_status`.
"""

import collections
import os
import re

from failback.decisions import addressing
from failback.decisions import mounts
from failback.errors import FailbackError
from failback.replication import lsyncd_program
from failback.replication import replicated

#: First line of every file of ours; a file without it is somebody else's and left alone.
MARK = "-- Failback writes this file from pillar"

#: Seconds between two signs of life in the status file.
HEARTBEAT = 1

#: Seconds after which rsync gives up on a standby that no longer answers (lsyncd tries again).
TIMEOUT = 120

#: Of the shell around an rsync that has left a folder on the standby: no exit code of rsync or of a signal.
COMPARE = 201

#: Proofs that lsyncd works on at once, and names of those that it has done.
KEPT_PROOFS = 8

#: Seconds between two looks whether something waits beside what is being carried and has changed again.
AGAIN = 0.2

#: Seconds after which an rsync is given up that carries the file of ``failback.replication.in_step``.
IN_STEP_TIMEOUT = 20

Places = collections.namedtuple("Places", "config status marker seen carried mounted failed connection")


def places(member):
    """
    Where lsyncd's files are on a node.

    member
        :py:class:`failback.pair.Member`.

    Returns ``config``; and below ``/run``, gone after a reboot: ``status``, which lsyncd writes;
    ``marker``, a folder of ours that it watches beside the replicated paths; ``seen``, the last
    name it saw there; ``carried``, the last names, one a line, since whose sight all has been carried that
    waited then; ``mounted``, what was mounted when it started; ``failed``, the exit status of each of its
    rsyncs that did not end well, one a line; ``connection``,
    the socket of the SSH connection that its rsyncs share.
    """
    volatile = member.volatile
    return Places(
        config=member.paths.root / "etc/lsyncd/lsyncd.conf.lua",
        status=volatile / "lsyncd.status",
        marker=volatile / "lsyncd.marker",
        seen=volatile / "lsyncd.seen",
        carried=volatile / "lsyncd.carried",
        mounted=volatile / "lsyncd.mounted",
        failed=volatile / "lsyncd.failed",
        connection=volatile / "lsyncd.ssh",
    )


def quote(text):
    r"""
    A Lua string literal (Lua 5.3 manual, 3.1) of any text that a program argument can hold.

    text
        ``str``; bytes of a file name that are not UTF-8 as surrogates, as ``os.fsdecode`` gives
        them.

    Returns printable ASCII on one line: all else is written as ``\ddd``. Raises ``FailbackError``
    for a NUL character.
    """
    data = os.fsencode(text)
    if b"\0" in data:
        raise FailbackError(f"{text!r} holds a NUL character, which no file name or argument can hold.")
    return '"' + "".join(_quoted_byte(byte) for byte in data) + '"'


def _quoted_byte(byte):
    if 32 <= byte < 127 and byte not in b'"\\':
        return chr(byte)
    return f"\\{byte:03d}"


def watch_rules(item):
    """
    lsyncd's own filter for an item: which names directly in its folder it reacts to. Pure.

    lsyncd knows no ``[…]``: a class becomes ``?``, so the rule may let too much through;
    ``lua_pattern`` then judges exactly. Other folders below the parent are not even watched.

    Returns a list of rules, empty for a whole folder.
    """
    if item.pattern is None:
        return []
    loose = "".join(
        token if kind == "wildcard" else "?" if kind == "class" else token
        for kind, token in _tokens(item.pattern)
    )
    return [f"+ /{loose}", "- /*"]


def lua_pattern(pattern):
    """
    A Lua pattern that matches the same names as one of rsync's, byte by byte. Pure.

    pattern
        One path component: literal characters, ``*``, ``?``, ``[abc]``, ``[a-z]``, ``[!abc]``.

    Returns the Lua pattern, anchored at both ends. Raises ``FailbackError`` for a ``[`` that is
    never closed.
    """
    parts = []
    for kind, token in _tokens(pattern):
        if kind == "class":
            parts.append(_lua_class(token))
        elif kind == "wildcard":
            parts.append("[^/]*" if token == "*" else "[^/]")
        else:
            parts.append(re.sub(r"[^A-Za-z0-9\x80-\U0010ffff]", r"%\g<0>", token))
    return "^" + "".join(parts) + "$"


def _tokens(pattern):
    # Yields ("literal" | "wildcard" | "class", text); wildmatch() in rsync's lib/wildmatch.c.
    position = 0
    has_wildcards = replicated.has_wildcards(pattern)
    while position < len(pattern):
        character = pattern[position]
        if character in "*?":
            yield "wildcard", character
        elif character == "\\" and has_wildcards:
            position += 1
            if position == len(pattern):
                raise FailbackError(
                    f"The pattern {pattern!r} ends with a lone backslash: it matches nothing."
                )
            yield "literal", pattern[position]
        elif character == "[":
            end = _class_end(pattern, position)
            yield "class", pattern[position + 1 : end]
            position = end
        else:
            yield "literal", character
        position += 1


def _class_end(pattern, start):
    position = start + 1
    if pattern[position : position + 1] in ("!", "^"):
        position += 1
    first = position
    while position < len(pattern):
        if pattern[position] == "]" and position > first:
            return position
        if pattern.startswith("[:", position) and ":]" in pattern[position:]:
            position = pattern.index(":]", position) + 1
        elif pattern[position] == "\\":
            position += 1
        position += 1
    raise FailbackError(f"The pattern {pattern!r} has a '[' that is never closed.")


#: POSIX classes that Lua has as well (rsync's wildmatch.c, Lua 5.3 manual 6.4.1).
_POSIX = {
    "alnum": "%w",
    "alpha": "%a",
    "blank": " \t",
    "cntrl": "%c",
    "digit": "%d",
    "graph": "%g",
    "lower": "%l",
    "print": "%g ",
    "punct": "%p",
    "space": "%s",
    "upper": "%u",
    "xdigit": "%x",
}


def _lua_class(text):
    negated = text[:1] in ("!", "^")
    text = text[1:] if negated else text
    members, named = set(), ""
    position = 0

    def one():
        # One member, as a single byte value: rsync matches bytes.
        nonlocal position
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        data = os.fsencode(text[position])
        position += 1
        if len(data) != 1:
            raise FailbackError(f"[{text}] holds a character that is not ASCII; rsync matches single bytes.")
        return data[0]

    while position < len(text):
        posix = re.match(r"\[:([a-z]+):\]", text[position:])
        if posix:
            if posix[1] not in _POSIX:
                raise FailbackError(f"[{text}]: there is no class [:{posix[1]}:].")
            named += _POSIX[posix[1]]
            position += posix.end()
            continue
        low = high = one()
        if text[position : position + 1] == "-" and position + 1 < len(text):
            position += 1
            high = one()
        members.update(range(low, high + 1))
    # A slash never matches: a pattern is about one component of a path.
    members.discard(ord("/"))
    letters = "".join(_class_member(byte) for byte in sorted(members))
    if negated:
        return f"[^/{named}{letters}]"
    # Lua has no empty class; "[^%s%S]" matches nothing.
    return f"[{named}{letters}]" if named or letters else "[^%s%S]"


def _class_member(byte):
    character = chr(byte) if byte < 128 else os.fsdecode(bytes([byte]))
    return character if character.isascii() and character.isalnum() or byte >= 128 else f"%{character}"


def render(member, items):
    """
    The whole configuration of lsyncd on the primary of a pair. Pure.

    member
        :py:class:`failback.pair.Member`.

    items
        ``failback.replication.replicated.Item`` of each replicated path.

    Returns the text. The same input gives the same text, so a second highstate finds nothing to
    change.
    """
    config, place = member.config, places(member)
    host = addressing.in_brackets(config["secondary"]["host"])
    root = str(member.paths.root).rstrip("/")
    carried = [
        lsyncd_program.CARRY.format(
            path=quote(each.path),
            source=quote(_source(root, each)),
            target=quote(f"{host}::{each.module}/"),
            filters=_list(replicated.filters(each)),
            watch=_list(watch_rules(each)),
            match="nil" if each.pattern is None else quote(lua_pattern(each.pattern)),
        )
        for each in items
    ]
    return lsyncd_program.CONFIG.format(
        mark=MARK,
        pair=_comment(member.pair),
        primary=_comment(config["primary"]["id"]),
        secondary=_comment(config["secondary"]["id"]),
        status=quote(str(place.status)),
        marker=quote(f"{place.marker}/"),
        seen=quote(str(place.seen)),
        proved=quote(str(place.carried)),
        kept_proofs=KEPT_PROOFS,
        again=AGAIN,
        mounted=quote(str(place.mounted)),
        failed=quote(str(place.failed)),
        sources=_list([_source(root, each) for each in items]),
        transient=_list(mounts.TRANSIENT),
        runtimes=_list(mounts.RUNTIMES),
        snapshots=quote(mounts.SNAPSHOTS),
        heartbeat=HEARTBEAT,
        compare=COMPARE,
        delay=_number(config["lsyncd"]["delay"]),
        max_processes=_number(config["lsyncd"]["max_processes"]),
        options=_list([*replicated.CARRYING, f"--timeout={TIMEOUT}"]),
        ssh_config=quote(str(member.paths.ssh_config)),
        socket=quote(str(place.connection)),
        host=quote(config["secondary"]["host"]),
        remote_shell=quote(replicated.lasting_ssh_command(member.paths, place.connection)),
        in_step=quote(replicated.IN_STEP),
        in_step_source=quote(f"{place.marker}/{replicated.IN_STEP}"),
        in_step_target=quote(f"{host}::{replicated.in_step(member.pair).module}/"),
        in_step_timeout=quote(f"--timeout={IN_STEP_TIMEOUT}"),
        paths="\n".join(carried),
    )


def _source(root, item):
    return f"{root}{item.root.rstrip('/')}/"


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FailbackError(f"lsyncd wants a number here and not {value!r}: correct the pillar.")
    return repr(value)


def _list(texts):
    return "{ " + ", ".join(quote(text) for text in texts) + " }" if texts else "{ }"


def _comment(text):
    # A comment ends at the line's end, so a name must not bring one along.
    return quote(text)[1:-1]
