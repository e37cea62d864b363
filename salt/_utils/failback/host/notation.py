r"""
File names as text: one reversible notation for all that this package writes and returns.

Names in lists, manifests, journals and plans are close to rsync's own output: UTF-8 text where the bytes
are printable UTF-8, ``\#ooo`` (octal) for any other byte, and ``\#134`` for a backslash that would
otherwise read as such an escape. :py:func:`readable` and :py:func:`raw` convert. It is plain text: it
survives JSON, Salt's msgpack and a terminal.
"""

import re

_ESCAPE = re.compile(rb"\\#([0-3][0-7]{2})")
_TEXT_ESCAPE = re.compile(r"\\#([0-3][0-7]{2})")

_LOOKS_ESCAPED = re.compile(r"\\(?=#[0-3][0-7]{2})")


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


def printable(text):
    """
    Text that others have written, a program or the other node, for people to read: no character of it moves a
    terminal. Line breaks stay.
    """
    return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text)


def raw(text):
    """The bytes of a name in the notation of this package; the reverse of :py:func:`readable`."""
    plain = _TEXT_ESCAPE.sub(lambda match: chr(0xDC00 + int(match.group(1), 8)), text)
    # Every escaped byte is a lone surrogate now, whatever its value, and ends up as that byte.
    return b"".join(
        bytes([ord(character) - 0xDC00]) if 0xDC00 <= ord(character) <= 0xDCFF else character.encode("utf-8")
        for character in plain
    )


def _escaped(character):
    encoded = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\#{byte:03o}" for byte in encoded)
