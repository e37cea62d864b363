"""
Write ``docs/reference.md`` from the docstrings of the tree, without Salt.

    python3 -m lab.reference             writes the page
    python3 -m lab.reference --check     exits non-zero if the page is not current; changes nothing

The sources are parsed, not imported. Files with one ``__virtualname__`` are one module, as they are to Salt's
loader. What Salt does not offer is left out: names with a leading underscore, and what ``__load__`` does not
list. The keys that an orchestration takes in ``pillar=`` are those that its SLS reads. What they mean is said
in the leading comment of the SLS, as in a docstring, or else in the docstring of the state that gets the key.
"""

import argparse
import ast
import dataclasses
import pathlib
import re
import sys
import textwrap

TREE = pathlib.Path(__file__).resolve().parent.parent
PAGE = "docs/reference.md"

HEAD = """\
# Reference

<!-- Written by `make reference` from the docstrings in salt/. Change those, not this page. -->

Every function that an operator, a state file or an orchestration can call.
[operations.md](operations.md) says when to use which; [glossary.md](glossary.md) explains the terms.
"""


class Wrong(Exception):
    """Something in the tree from which no page can be made; one sentence with its place."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """
    One kind of module.

    folder
        Where its files are, below the tree.

    title, intro
        Heading of its section, and what the section begins with.

    module, function
        What stands before a name in a heading. Headings must differ, or their anchors would not.
    """

    folder: str
    title: str
    intro: str
    module: str
    function: str


RUNNERS = Kind("salt/_runners", "Runner", "An operator types these on a master.", "Runner", "salt-run ")
MODULES = Kind(
    "salt/_modules",
    "Execution modules",
    "They run on the nodes. Orchestrations and runners call them; few are meant to be called by hand.",
    "Execution module",
    "",
)
STATES = Kind(
    "salt/_states",
    "State modules",
    "Highstate and orchestrations use them. Those whose name ends in `_run`, and `pair_adoption`, run on the "
    "master.",
    "State module",
    "state ",
)
ORCHESTRATIONS = "salt/orch"


@dataclasses.dataclass(frozen=True)
class Function:
    """A public function: ``parameters`` as ``{name: default or None}``, stars included in the names."""

    name: str
    parameters: dict
    doc: str
    place: str
    aliases: tuple = ()

    def signature(self, module):
        """How it is called, as lines; one parameter a line where they are many."""
        words = [one if default is None else f"{one}={default}" for one, default in self.parameters.items()]
        line = f"{module}.{self.name}({', '.join(words)})"
        if len(line) <= 100:
            return [line]
        return [f"{module}.{self.name}(", *(f"    {word}," for word in words), ")"]


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a module."""

    stem: str
    doc: str
    functions: tuple


# --- reading the sources -----------------------------------------------------------------------


def _parsed(root, path):
    """The syntax tree of a file. Raises ``Wrong`` if it is not Python."""
    try:
        return ast.parse(path.read_text())
    except SyntaxError as problem:
        raise Wrong(f"{path.relative_to(root)}:{problem.lineno}: {problem.msg}.") from None


def _assigned(tree, name):
    """The literal that a module assigns to a name at its top level, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and name in _names(node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def _names(targets):
    return [one.id for one in targets if isinstance(one, ast.Name)]


def _imported(root, tree, name):
    """The tree of the module of ``salt/_utils`` that a file knows under a name, or None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            dotted = {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            dotted = {one.asname or one.name: one.name for one in node.names}
        else:
            continue
        if name in dotted:
            path = root / "salt/_utils" / (dotted[name].replace(".", "/") + ".py")
            return _parsed(root, path) if path.is_file() else None
    return None


def _default(root, tree, node):
    """A default as text: the value of a constant where it can be found, not the constant's name."""
    value = None
    if isinstance(node, ast.Name):
        value = _assigned(tree, node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        module = _imported(root, tree, node.value.id)
        value = _assigned(module, node.attr) if module else None
    return ast.unparse(node) if value is None else repr(value)


def _parameters(root, tree, node):
    """``{name: default as text, or None}`` in their order, as they are typed."""
    arguments, found = node.args, {}
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    for one, default in zip(plain, defaults):
        found[one.arg] = default and _default(root, tree, default)
    if arguments.vararg:
        found[f"*{arguments.vararg.arg}"] = None
    elif arguments.kwonlyargs:
        found["*"] = None
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        found[one.arg] = default and _default(root, tree, default)
    if arguments.kwarg:
        found[f"**{arguments.kwarg.arg}"] = None
    return found


def _functions(root, tree, place):
    """The public functions of one file, in its order."""
    alias = _assigned(tree, "__func_alias__") or {}
    offered = _assigned(tree, "__load__")
    second = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            others = [name for name in _names(node.targets) if not name.startswith("_")]
            second.setdefault(node.value.id, []).extend(others)
    found = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        if offered is not None and node.name not in offered:
            continue
        doc, name = ast.get_docstring(node), alias.get(node.name, node.name)
        here = f"{place}:{node.lineno}"
        if not doc:
            raise Wrong(f"{here}: {name} has no docstring.")
        parameters = _parameters(root, tree, node)
        for described in _described(doc):
            if described not in {one.lstrip("*") for one in parameters}:
                raise Wrong(f"{here}: the docstring of {name} describes {described}, which it does not take.")
        if any(block[0] == "code" and not block[2] for block in _blocks(doc)):
            raise Wrong(f"{here}: the docstring of {name} has a code block with nothing in it.")
        found.append(Function(name, parameters, doc, here, tuple(second.get(node.name, ()))))
    return tuple(found)


def modules(root, kind):
    """
    The modules of a kind by their virtual names: ``{name: [File]}``, the file of that very name first.

    Raises ``Wrong`` for a file without a docstring, or with a function whose docstring cannot be used.
    """
    found = {}
    for path in sorted((root / kind.folder).rglob("*.py")):
        place = str(path.relative_to(root))
        tree = _parsed(root, path)
        doc = ast.get_docstring(tree)
        if not doc:
            raise Wrong(f"{place}: the file has no docstring.")
        name = _assigned(tree, "__virtualname__") or path.stem
        found.setdefault(name, []).append(File(path.stem, doc, _functions(root, tree, place)))
    for name, files in found.items():
        files.sort(key=lambda file: (file.stem != name, file.stem))
    return dict(sorted(found.items()))


# --- docstrings --------------------------------------------------------------------------------


def _blocks(doc):
    """
    A docstring in its blocks: ``("text", lines)``, ``("code", language, lines)``, ``("item", names, lines)``.

    An item is a line that begins at the margin, with an indented description below it.
    """
    lines, blocks, position = doc.splitlines(), [], 0

    def indented(begin):
        end = begin
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
            end += 1
        return textwrap.dedent("\n".join(lines[begin:end])).strip("\n").splitlines(), end

    while position < len(lines):
        line = lines[position]
        following = lines[position + 1] if position + 1 < len(lines) else ""
        if not line.strip():
            position += 1
        elif line.startswith(".. code-block::"):
            inner, position = indented(position + 1)
            blocks.append(("code", line.partition("::")[2].strip(), inner))
        elif line.startswith(" "):
            inner, position = indented(position)
            blocks.append(("code", "text", inner))
        elif following.startswith(" ") and following.strip():
            inner, position = indented(position + 1)
            blocks.append(("item", [one.strip() for one in line.split(",")], inner))
        else:
            end = position
            while end < len(lines) and lines[end].strip() and not lines[end].startswith("  "):
                end += 1
            blocks.append(("text", lines[position:end]))
            position = end
    return blocks


def _described(doc):
    """Names of the parameters that a docstring describes."""
    return [name for block in _blocks(doc) if block[0] == "item" for name in block[1]]


def _inline(text):
    """A line of reStructuredText as Markdown: roles and double backquotes are code, the rest is text."""
    text = re.sub(r":\w+(?::\w+)?:`([^`]+)`", r"``\1``", text)
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = f"`{part.strip('`')}`"
        else:
            parts[number] = re.sub(r"([<*|])", r"\\\1", part)
    return "".join(parts)


def _paragraphs(lines):
    """Text as paragraphs of Markdown; what it returns and what it raises begin a paragraph each, in bold."""
    text = _inline(" ".join(line.strip() for line in lines))
    pieces = re.split(r"(?<=[.)]) (?=Raises? |Returns )", text)
    return [re.sub(r"^(Returns|Raises?)\b", r"**\1**", piece) for piece in pieces]


def rendered(doc):
    """A docstring as lines of Markdown."""
    lines, before = [], None
    for block in _blocks(doc):
        if block[0] == "text":
            if block[1] in (["CLI Example:"], ["CLI Examples:"]):
                continue
            for paragraph in _paragraphs(block[1]):
                lines += ["", *textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False)]
        elif block[0] == "code":
            lines += ["", f"```{block[1]}", *block[2], "```"]
        else:
            names = ", ".join(f"`{name}`" for name in block[1])
            text = f"- {names}: {' '.join(_paragraphs(block[2]))}"
            # One list, without blank lines between its items.
            lines += [] if before == "item" else [""]
            lines += textwrap.wrap(
                text, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        before = block[0]
    return lines[1:]


# --- orchestrations ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Orchestration:
    """An SLS: its comment, what it takes (``{key: meaning}``) and its steps (``[(name, state)]``)."""

    name: str
    doc: str
    keys: dict
    steps: tuple


def orchestrations(root, states):
    """
    Every orchestration, by its file's name.

    states
        What ``modules`` found for ``STATES``.

    Raises ``Wrong`` for one without a leading comment, and for a key whose meaning stands nowhere.
    """
    return [_orchestration(root, path, states) for path in sorted((root / ORCHESTRATIONS).glob("*.sls"))]


def _orchestration(root, path, states):
    place, text = path.relative_to(root), path.read_text()
    comment = re.match(r"\s*\{#-?(.*?)-?#\}", text, flags=re.DOTALL)
    if not comment:
        raise Wrong(f"{place}: the file does not begin with a comment that says what it is for.")
    doc = textwrap.dedent(comment.group(1)).strip("\n")
    meanings = {
        name: " ".join(line.strip() for line in block[2])
        for block in _blocks(doc)
        if block[0] == "item"
        for name in block[1]
    }
    read = re.findall(r"pillar(?:\.get\('|\[')(\w+)'", text)
    handed = _handed(text, states)
    keys = {}
    for key in dict.fromkeys(read):
        keys[key] = meanings.get(key) or " ".join(handed.get(key, ()))
        if not keys[key]:
            raise Wrong(f"{place}: nothing says what the pillar key {key} means.")
    for key in meanings:
        if key not in keys:
            raise Wrong(f"{place}: the comment describes the pillar key {key}, which the file does not read.")
    described = "\n".join(_without_items(doc))
    steps = re.findall(r"^(\S[^\n#{]*):\n  ([a-z_]+\.[a-z_]+):", text, flags=re.MULTILINE)
    return Orchestration(f"orch.{path.stem}", described, keys, tuple(steps))


def _without_items(doc):
    """The lines of a comment but for its list of keys, which are shown apart."""
    items = {name for block in _blocks(doc) if block[0] == "item" for name in block[1]}
    inside = False
    for line in doc.splitlines():
        if line and not line.startswith(" "):
            inside = {one.strip() for one in line.split(",")} <= items
        if not inside:
            yield line


def _handed(text, states):
    """``{pillar key: [meanings]}``: what the docstrings of the states say to which an SLS hands the keys."""
    called, found = None, {}
    names = dict(re.findall(r"set (\w+) = pillar\.get\('(\w+)'\)", text))
    for line in text.splitlines():
        call = re.match(r"  ([a-z_]+)\.([a-z_]+):", line)
        if call:
            called = call.groups()
        given = re.match(r"    - (\w+): \{\{ given\((?:pillar\.get\('(\w+)'\)|(\w+))\) \}\}", line)
        if not given or not called:
            continue
        argument, key = given.group(1), given.group(2) or names.get(given.group(3))
        for file in states.get(called[0], ()):
            for function in file.functions:
                meaning = _meaning(function, argument) if function.name == called[1] else None
                if key and meaning and meaning not in found.setdefault(key, []):
                    # What one pair takes comes before what several take.
                    found[key].insert(0 if argument == key else len(found[key]), meaning)
    return found


def _meaning(function, argument):
    """What a function's docstring says of an argument, but for a mere reference to another one."""
    for block in _blocks(function.doc):
        if block[0] == "item" and argument in block[1] and not block[2][0].startswith("As for"):
            return " ".join(line.strip() for line in block[2])
    return None


# --- the page ----------------------------------------------------------------------------------


def _anchor(heading):
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _link(words, heading):
    return f"[{words}](#{_anchor(heading)})"


def page(root=TREE):
    """
    The whole page as text.

    Raises ``Wrong``.
    """
    found = {kind: modules(root, kind) for kind in (RUNNERS, MODULES, STATES)}
    orders = orchestrations(root, found[STATES])
    lines = [HEAD]
    lines += ["## Contents", ""]
    lines += _contents(RUNNERS, found[RUNNERS])
    lines.append("- " + _link("Orchestrations", "Orchestrations") + ": ")
    lines[-1] += ", ".join(_link(f"`{one.name}`", f"state.orch {one.name}") for one in orders)
    lines += _contents(MODULES, found[MODULES]) + _contents(STATES, found[STATES])
    lines += _section(RUNNERS, found[RUNNERS])
    lines += ["", "## Orchestrations", "", "An operator runs them on a master: `salt-run state.orch <name>`."]
    for one in orders:
        lines += _shown(one)
    lines += _section(MODULES, found[MODULES]) + _section(STATES, found[STATES])
    return "\n".join(lines) + "\n"


def _contents(kind, found):
    lines = ["- " + _link(kind.title, kind.title)]
    for name, files in found.items():
        functions = [one for file in files for one in file.functions]
        links = ", ".join(_link(f"`{one.name}`", f"{kind.function}{name}.{one.name}") for one in functions)
        lines.append(f"  - {_link(f'`{name}`', f'{kind.module} {name}')}: {links}")
    return lines


def _section(kind, found):
    lines = ["", f"## {kind.title}", "", kind.intro]
    for name, files in found.items():
        lines += ["", f"### {kind.module} {name}"]
        for file in files:
            lines += ["", *rendered(file.doc)]
            for function in file.functions:
                lines += ["", f"#### {kind.function}{name}.{function.name}", ""]
                lines += ["```python", *function.signature(name), "```"]
                lines += ["", *rendered(function.doc)]
                if function.aliases:
                    others = ", ".join(f"`{name}.{one}`" for one in function.aliases)
                    lines += ["", f"The same function under another name: {others}."]
    return lines


def _shown(orchestration):
    lines = ["", f"### state.orch {orchestration.name}", "", *rendered(orchestration.doc)]
    if orchestration.keys:
        lines += ["", "| key in `pillar=` | meaning |", "|---|---|"]
        lines += [f"| `{key}` | {_inline(meaning)} |" for key, meaning in orchestration.keys.items()]
    lines += ["", "Steps:", ""]
    for name, state in orchestration.steps:
        lines.append(f"- {name}: {_link(f'`{state}`', f'{STATES.function}{state}')}")
    return lines


def main(arguments=None, root=TREE):
    """The command line. Returns the exit status: 0, or 1 with one sentence on standard error."""
    summary = __doc__.strip().splitlines()[0]
    parser = argparse.ArgumentParser(prog="python3 -m lab.reference", description=summary)
    parser.add_argument("--check", action="store_true", help="exit non-zero if the page is not current")
    options = parser.parse_args(arguments)
    target = root / PAGE
    try:
        text = page(root)
    except Wrong as problem:
        print(problem, file=sys.stderr)
        return 1
    if options.check:
        if not target.is_file():
            print(f"{PAGE} is missing; `make reference` writes it.", file=sys.stderr)
            return 1
        if target.read_text() != text:
            print(f"{PAGE} is not current; `make reference` writes it anew.", file=sys.stderr)
            return 1
        return 0
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
