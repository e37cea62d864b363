r"""
Reading what rsync says it does, line by line, for names made of any bytes.

rsync writes one line an entry when it is given :py:data:`FORMAT`, and in the C locale writes every
byte that is not printable ASCII as ``\#ooo`` (octal), including a newline::

    >f.st...... 3 2026/11/22-18:30:00 pki/minions/web\#0121
    *deleting   0 1970/01/01-00:00:00 old/file

Names in everything that Failback writes itself are in the notation of
:py:mod:`failback.host.notation`, which is close to rsync's own.
"""

import calendar
import collections
import hashlib
import re
import time

from failback.host import notation

FORMAT = "--out-format=%i %l %M %n"

CREATED = "created"
OVERWRITTEN = "overwritten"
DELETED = "deleted"
ATTRIBUTES = "attributes"

Entry = collections.namedtuple("Entry", "action code size name modified")
Entry.__doc__ = """
One line of rsync: action, itemised code, size in bytes, name in bytes, time of the last change.

The name is relative to the root of the item; that of a folder ends in a slash. Size and time are those
of the source: 0 bytes and the epoch for a deletion. See :py:func:`seconds` for the time.
"""

_LINE = re.compile(
    rb"^([<>ch.][fdLDS][ +?.a-zA-Z]{9}|\*deleting  ) (\d+) (\d+/\d\d/\d\d-\d\d:\d\d:\d\d) (.+)$", re.DOTALL
)

_codes = {}


def parsed(line):
    """
    Read one line of rsync's output.

    line
        Bytes, without the newline at the end.

    Returns an :py:class:`Entry`, or ``None`` for a line that is something else (a message,
    statistics).
    """
    match = _LINE.match(line)
    if not match:
        return None
    code, size, modified, name = match.groups()
    # There are few codes and many lines: a pre-sync waits for whoever reads them.
    known = _codes.get(code)
    if known is None:
        text = code.decode("ascii")
        known = _codes[code] = action(text), text.strip()
    return Entry(*known, int(size), notation.unescaped(name) if b"\\#" in name else name, modified)


def action(code):
    """
    What an itemised code of rsync means for the receiving side (rsync(1), ``--itemize-changes``).

    ``created`` also stands for an entry whose name is taken by something of another type: only a
    look at the destination tells them apart.
    """
    if code.startswith("*"):
        return DELETED
    if code[2] == "+":
        return CREATED
    if code[0] in "<>ch":
        return OVERWRITTEN
    return ATTRIBUTES


def has_other_time(code):
    """Whether an itemised code says that the time of the last change of content was another one."""
    return code[4:5] in ("t", "T")


def seconds(entry):
    """When the source's file was changed last, in seconds since the epoch; rsync runs in UTC for us."""
    return calendar.timegm(time.strptime(entry.modified.decode(), "%Y/%m/%d-%H:%M:%S"))


class Digest:
    """
    A digest of what is overwritten and deleted, in constant memory and whatever the order.

    rsync's order depends on how its processes are scheduled, so the SHA-256 values of the entries
    are added up (modulo 2**256) and not chained.
    """

    def __init__(self):
        self._sum = 0

    def add(self, path, entry_action):
        """Count an entry in: path in bytes, one of the actions of this module."""
        value = hashlib.sha256(entry_action.encode() + b"\0" + path).digest()
        self._sum = (self._sum + int.from_bytes(value, "big")) % 2**256

    def hexadecimal(self):
        """The digest of all entries so far, 64 characters."""
        return f"{self._sum:064x}"
