"""
Text for a terminal: safe, broken at its width, with times as a person reads them. Pure.
"""

import datetime
import textwrap

#: The command that a sentence may end with; it is put on a line of its own, unbroken, so that it can be
#: copied.
COMMAND = "salt-run "

#: The comment of a step that Ctrl-C has ended.
INTERRUPTED = "Interrupted."


def safe(text):
    """
    One line of text without anything that a terminal would obey.

    Names come from nodes and files: an escape sequence in one must not move the cursor, a line break not
    begin a line that looks like one of ours.
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in str(text))


def _escaped(one):
    number = ord(one)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def paragraph(text, width, indent="", hanging=""):
    """
    A sentence or several as lines of at most ``width`` columns; a line break in the text stays one.

    indent, hanging
        What all lines begin with, and what all but the first begin with in addition.

    width
        Columns, or None for a file or a pipe: there nothing is broken, for whoever searches in it.

    A command at the end of a line is not broken, whatever its length: it stands on a line of its own.
    """
    if width is None:
        return [indent + safe(line) for line in str(text).split("\n")]
    found = []
    for line in str(text).split("\n"):
        words, mark, command = line.partition(f": {COMMAND}")
        ends = mark and command.rstrip().endswith("'")
        if not ends:
            words, command = line, ""
        found += textwrap.wrap(
            safe(f"{words}:" if ends else words),
            max(20, width - len(indent) - len(hanging)),
            break_long_words=False,
            break_on_hyphens=False,
        )
        found += [f"    {COMMAND}{safe(command)}"] if command else []
    return [indent + (hanging if number else "") + line for number, line in enumerate(found)]


def cut(text, width):
    """A line that fits: what is too long ends in an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def duration(seconds):
    """``14 s``, ``3 min``, ``5 h``, ``12 d``: as much as counts at night."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def clock(seconds, now):
    """
    A moment on the wall clock of whoever looks: ``13:51`` today, ``11-22 13:51`` on another day.

    seconds, now
        Since the epoch.
    """
    found = datetime.datetime.fromtimestamp(seconds)
    today = found.date() == datetime.datetime.fromtimestamp(now).date()
    return found.strftime("%H:%M" if today else "%m-%d %H:%M")


def table(header, rows, width=None):
    """
    Rows under a header, in columns as wide as what they hold; a column that is empty in all rows is left out.

    width
        Columns of the terminal: the last column is cut to it. None: nothing is cut.
    """
    kept = [number for number in range(len(header)) if any(row[number] for row in rows)]
    cells = [[safe(row[number]) for number in kept] for row in ([header, *rows])]
    wide = [max(len(row[number]) for row in cells) for number in range(len(kept))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, wide)).rstrip() for row in cells]
    return [line if width is None else cut(line, width) for line in lines]


def plural(number, noun):
    """``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
