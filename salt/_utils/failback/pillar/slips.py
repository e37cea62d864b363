"""
Slips of the pen in a pillar file that YAML passes over, or complains of elsewhere; each with its line. Pure.

YAML 1.1 reads ``010`` as eight, ``1:30`` as ninety and ``no`` as false, and ``mode:manual`` as a text.
Where it complains, it does so lines further down. A pillar file is Jinja, so it is read line by line here,
and no parser is needed that another slip would stop.
"""

import re

from failback.pillar import schema

#: Keys whose value is true or false; elsewhere these words are a slip.
TRUTHS = {"reboot", "watchdog"}
_TRUTH = re.compile(r"(?i:yes|no|on|off|true|false)\Z")
_KEY = r"[A-Za-z_][A-Za-z0-9_.-]*"
_ENTRY = re.compile(rf"(?:- +)*(?P<key>{_KEY})[ \t]*:(?:[ \t]+(?P<value>.*))?\Z")
_OCTAL = re.compile(r"[-+]?0[0-9_]+\Z")
_SIXTIETHS = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+\Z")
_STRANGE = {"\u00a0": "a space that may not be broken", "\ufeff": "a byte order mark"}
_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"


def _known_keys(shape):
    """All names of keys that the schema has, at whatever depth."""
    for name, inner in shape.get("properties", {}).items():
        yield name
        yield from _known_keys(inner)
    for inner in (shape.get("items"), shape.get("additionalProperties"), *shape.get("anyOf", ())):
        if isinstance(inner, dict):
            yield from _known_keys(inner)


KEYS = {"pairs", *_known_keys(schema.PAIR)}
_GLUED = re.compile(rf"(?:\A|[{{,]|\A- |, )\s*(?P<key>{'|'.join(sorted(KEYS))}):(?=[^\s,}}\]])")


def found(text):
    """
    The slips in a pillar file.

    text
        The file, before it is rendered.

    Returns a list of ``(line, found, wanted)``, in the order of the lines, which count from 1.
    """
    slips = []
    options = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip()
        bare = line.lstrip(" \t")
        if not bare or bare.startswith(("#", "{%", "{#", "{{", "-%}", "%}")):
            continue
        indent = len(line) - len(bare)
        if options is not None and indent <= options:
            options = None
        slips += [(number, *one) for one in _line(line, options is not None)]
        if re.match(r"options[ \t]*:\Z", bare):
            # Whatever an agent takes: it may well be a password of digits, and it is nobody's to print.
            options = indent
    return slips


def sentence(place, slip):
    """A slip as a sentence; ``place`` is the name of the file."""
    number, what, wanted = slip
    text = f"{place}, line {number}: found {what}, wanted {wanted}."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _line(line, secret):
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in indent:
        yield "a tab at the beginning of the line", "spaces, which are all that YAML knows there"
    for character, name in _STRANGE.items():
        if character in line:
            yield name, "a plain space, or none"
    plain = _unquoted(line).strip()
    if any(one in plain for one in _QUOTES):
        yield "a typographic quotation mark", "the plain ' or \", or none"
    glued = None if secret else _GLUED.search(plain)
    if glued:
        key = glued["key"]
        yield f"{key}: with nothing between the colon and its value", f"a space after the colon of {key}"
        return
    entry = _ENTRY.match(plain)
    if entry and _TRUTH.match(entry["key"]) and entry["key"] != "on":
        yield (
            f"the key {entry['key']}, which YAML reads as true or false",
            f'another name; quotes, as in "{entry["key"]}", help only where it is no name of a pair',
        )
    if secret:
        return
    for key, value in _values(plain, entry):
        yield from _value(key, value)


def _values(plain, entry):
    """``(key, value)`` of each plain value in a line: its own, and those of the lists and mappings in it."""
    if entry and entry["value"] and entry["value"][0] not in "[{|>&*!":
        yield entry["key"], entry["value"].strip()
    elif not entry and plain.startswith("- "):
        yield None, plain[2:].strip()
    inner = (
        plain[plain.index("{") if "{" in plain else plain.index("[") :]
        if "{" in plain or "[" in plain
        else ""
    )
    if re.search(r"(?:\A|[{,])\s*options\s*:\s*{", inner):
        return
    for part in re.split(r"[\[\]{},]", inner):
        one = _ENTRY.match(part.strip())
        if one:
            yield one["key"], (one["value"] or "").strip()
        elif part.strip():
            yield None, part.strip()


def _value(key, value):
    named = f"{key}: {value}" if key else value
    if _OCTAL.match(value) and value.strip("+-0_"):
        yield f"{named}, which YAML reads in base eight", f"{value.lstrip('0')} without the leading zero"
    elif _SIXTIETHS.match(value):
        yield (
            f"{named}, which YAML reads in base sixty",
            f'a plain number, or "{value}" in quotes if it is a text',
        )
    elif _TRUTH.match(value) and key not in TRUTHS and value.lower() not in ("true", "false"):
        yield (
            f"{named}, which YAML reads as true or false",
            f'"{value}" in quotes if it is a word, or another one',
        )


def _unquoted(line):
    """A line without its comment, and with every quoted text emptied."""
    result, quote = "", None
    for position, one in enumerate(line):
        if quote:
            if one == quote:
                quote = None
                result += one
        elif one in "'\"" and (not result or result[-1] in " \t[{,:-"):
            quote = one
            result += one
        elif one == "#" and (position == 0 or line[position - 1] in " \t"):
            break
        else:
            result += one
    return result
