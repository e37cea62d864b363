r"""
Reading what rsync says it does, line by line, for names made of any bytes.

rsync writes one line an entry when it is given :py:data:`FORMAT`, and in the C locale writes every
byte that is not printable ASCII as ``\#ooo`` (octal), including a newline::

    >f.st...... 3 2026/11/22-18:30:00 pki/minions/web\#0121
    *deleting   0 1970/01/01-00:00:00 old/file

Names in everything that Failback writes or returns (lists, manifests, plans) are in one reversible
notation, close to rsync's own: UTF-8 text where the bytes are printable UTF-8, ``\#ooo`` for any
other byte, and ``\#134`` for a backslash that would otherwise read as such an escape.
:py:func:`readable` and :py:func:`raw` convert. It is plain text: it survives JSON, Salt's msgpack
and a terminal.
"""

import calendar
import collections
import hashlib
import re
import time

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
_ESCAPE = re.compile(rb"\\#([0-3][0-7]{2})")
_TEXT_ESCAPE = re.compile(r"\\#([0-3][0-7]{2})")
_codes = {}
_LOOKS_ESCAPED = re.compile(r"\\(?=#[0-3][0-7]{2})")


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
    # There are few codes and many lines: a warm pass waits for whoever reads them.
    known = _codes.get(code)
    if known is None:
        text = code.decode("ascii")
        known = _codes[code] = action(text), text.strip()
    return Entry(*known, int(size), unescaped(name) if b"\\#" in name else name, modified)


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


def seconds(entry):
    """When the source's file was changed last, in seconds since the epoch; rsync runs in UTC for us."""
    return calendar.timegm(time.strptime(entry.modified.decode(), "%Y/%m/%d-%H:%M:%S"))


def unescaped(name):
    r"""The bytes that rsync meant: every ``\#ooo`` becomes its byte."""
    return _ESCAPE.sub(lambda match: bytes([int(match.group(1), 8) & 255]), name)


def readable(name):
    """
    A name as text in the notation of this package.

    name
        Bytes of a file name or path.

    Returns a ``str`` from which :py:func:`raw` gives the same bytes back.
    """
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\#" not in text:
        return text
    text = _LOOKS_ESCAPED.sub(r"\\#134", text)
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def raw(text):
    """The bytes of a name in the notation of this package; the reverse of :py:func:`readable`."""
    plain = _TEXT_ESCAPE.sub(lambda match: chr(0xDC00 + int(match.group(1), 8)), text)
    # Every escaped byte is a lone surrogate now, whatever its value, and ends up as that byte.
    return b"".join(
        bytes([ord(character) - 0xDC00]) if 0xDC00 <= ord(character) <= 0xDCFF else character.encode("utf-8")
        for character in plain
    )


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


def _escaped(character):
    encoded = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\#{byte:03o}" for byte in encoded)
