"""
The files of the pillar as they lie on this master: which pairs each of them has, and on which line.

What Salt returns of a pillar no longer says where it came from. Only ``pillar_roots`` are read; of a pillar
that Salt has from Git no line is known.
"""

import dataclasses
import pathlib

import jinja2
import salt.utils.yamlloader as yamlloader
import yaml

from failback.pillar import slips

#: A file of the pillar is text for people; a larger one is something else.
MOST_BYTES = 1_000_000
#: What Salt adds to Jinja and a pillar may use.
JINJA = ("jinja2.ext.do", "jinja2.ext.loopcontrols", "salt.utils.jinja.SerializerExtension")


@dataclasses.dataclass(frozen=True)
class PillarFile:
    """
    One file that has pairs, or would have if it could be read.

    name
        As people say it: ``pillar/pairs/web.sls``, from the root's own folder on.

    stem
        The part that the list in ``top.sls`` names: ``web``.

    text
        Before it is rendered.

    lines
        The line of each key, by ``(pair, dotted key)``; empty where YAML cannot read the text itself.
    """

    name: str
    stem: str
    text: str
    lines: dict

    @property
    def pairs(self):
        """The names of its pairs."""
        return [pair for pair, key in self.lines if not key]

    def line(self, pair, key):
        """The line of a key, or of the nearest around it; None where that is not known."""
        parts = key.split(".") if key else []
        while parts and (pair, ".".join(parts)) not in self.lines:
            parts.pop()
        return self.lines.get((pair, ".".join(parts)))


def read(opts):
    """
    The files that have pairs, below each folder of ``pillar_roots``.

    opts
        The master's.

    Returns a list of :py:class:`PillarFile`; ``top.sls`` is none of them.
    """
    found = []
    for roots in (opts.get("pillar_roots") or {}).values():
        for root in map(pathlib.Path, roots):
            # A site may have a file for a pair wherever its top.sls finds it.
            for path in sorted(root.rglob("*.sls")) if root.is_dir() else ():
                text = _text(path)
                if text is not None and path != root / "top.sls" and _speaks_of_pairs(path, text):
                    name = str(pathlib.PurePath(root.name) / path.relative_to(root))
                    found.append(PillarFile(name, path.stem, text, lines(text)))
    return found


def top(opts):
    """The text of every ``top.sls`` of the pillar: what it does not list it may still name, in a comment."""
    roots = [root for some in (opts.get("pillar_roots") or {}).values() for root in some]
    return "\n".join(_text(pathlib.Path(root) / "top.sls") or "" for root in roots)


def slips_of(files):
    """The slips of some files, as sentences."""
    return [slips.sentence(one.name, slip) for one in files for slip in slips.found(one.text)]


def broken(files):
    """
    Files that Jinja or YAML cannot read, as sentences with the line; Salt itself refers to the master's log.

    YAML is asked only where there is nothing of Jinja, which Salt alone can render.
    """
    said = []
    for one in files:
        what, line = _broken(one.text)
        if what:
            said.append(f"{one.name}, line {line}: found {what}, wanted a file that Salt can render.")
    return said


def _broken(text):
    """What is wrong with a text, and in which line; ``(None, None)`` when nothing is."""
    if any(mark in text for mark in ("{{", "{%", "{#")):
        try:
            jinja2.Environment(extensions=JINJA).parse(text)
        except jinja2.TemplateSyntaxError as error:
            return f"wrong Jinja ({error.message})", error.lineno
        return None, None
    try:
        yamlloader.load(text, Loader=yamlloader.SaltYamlSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return f"wrong YAML ({error.problem})", mark.line + 1 if mark else 1
    except yaml.YAMLError as error:
        return f"wrong YAML ({' '.join(str(error).split())})", 1
    return None, None


def lines(text):
    """
    The line of each key of the pairs in a text.

    Returns a dict of ``(pair, dotted key)`` to a number from 1; the key is empty for the pair itself. Empty
    when YAML cannot read the text, as where it is a template.
    """
    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    found = {}
    for key, value in _entries(top):
        if key.value == "pairs":
            for pair, content in _entries(value):
                found[(pair.value, "")] = pair.start_mark.line + 1
                _walk(content, pair.value, (), found)
    return found


def _walk(node, pair, path, found):
    for key, value in _entries(node):
        place = (*path, key.value)
        found[(pair, ".".join(place))] = key.start_mark.line + 1
        _walk(value, pair, place, found)
    if isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            place = (*path, str(position))
            found[(pair, ".".join(place))] = value.start_mark.line + 1
            _walk(value, pair, place, found)


def _entries(node):
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _text(path):
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None


def _speaks_of_pairs(path, text):
    return path.parent.name == "pairs" or any(line.startswith("pairs:") for line in text.splitlines())
