"""
The house rules of the library: which part may know which, what stays pure, how large a file may grow.

``docs/architecture.md`` says what the wings are for.
"""

import ast
import dataclasses
import importlib.util
import inspect
import pathlib
import sys

import pytest

pytestmark = pytest.mark.one_release

SALT = pathlib.Path(__file__).resolve().parents[2] / "salt"
UTILS = SALT / "_utils"

#: From top to bottom: a part imports only from its own floor and from those below it. A name is a wing, or a
#: module that lies at the root.
FLOORS = (
    "failback_master",
    "salt_errors",
    "salt_node",
    "salt_places",
    "failback.cli",
    "failback.peer_requests",
    "failback.watch",
    "failback.guard",
    "failback.handover",
    "failback.monitoring",
    "failback.report",
    "failback.surroundings",
    "failback.remains",
    "failback.predecessors",
    "failback.readiness",
    "failback.fence",
    "failback.recovery",
    "failback.journal",
    "failback.guests",
    "failback.pillar",
    "failback.replication",
    "failback.lease",
    "failback.peer",
    "failback.network",
    "failback.notify",
    "failback.pair",
    "failback.state",
    "failback.host",
    "failback.decisions",
    "failback.errors",
    "failback.version",
)
#: All that ``decisions`` may import of the standard library: it looks neither at the system nor at a clock.
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "hashlib",
    "ipaddress",
    "json",
    "posixpath",
    "re",
    "shlex",
    "xml.etree",
}
#: What even those could be used for.
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
IMPURE_ATTRIBUTES = {
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
    "posixpath": {"abspath", "exists", "isdir", "isfile", "islink", "lexists", "realpath"},
    "ElementTree": {"parse", "iterparse"},
    "json": {"load", "dump"},
}
MOST_LINES = 700
#: Lines of a function without its docstring.
LONGEST_FUNCTION = 60
#: Below this many functions take ``paths``. What is done for a pair takes its member; see ``failback.pair``.
FEWER_TAKE_PATHS = 40


def name_of(path):
    """``salt/_utils/failback/host/files.py`` is ``failback.host.files``; a package has its folder's name."""
    parts = path.relative_to(UTILS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree, known):
    """``(line, module)`` of each import in a file, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield node.lineno, one.name
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                below = f"{node.module}.{one.name}"
                yield node.lineno, below if below in known else node.module


PATHS = {name_of(path): path for path in sorted(UTILS.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), feature_version=(3, 9)) for name, path in PATHS.items()}
IMPORTS = {name: list(imports_of(tree, TREES)) for name, tree in TREES.items()}
PACKAGES = sorted(name for name, path in PATHS.items() if path.name == "__init__.py")
DECISIONS = sorted(name for name in TREES if name.startswith("failback.decisions."))

each_module = pytest.mark.parametrize("name", sorted(TREES))
each_decision = pytest.mark.parametrize("name", DECISIONS)


def floor(name):
    """The number of a module's floor, counted from the top; None for the bare package ``failback``."""
    for number, one in enumerate(FLOORS):
        if name == one or name.startswith(f"{one}."):
            return number
    return None


def test_each_part_has_its_floor():
    known = {name for name in TREES if name != "failback"}
    assert {name for name in known if floor(name) is None} == set()
    assert {one for one in FLOORS if not any(floor(name) == FLOORS.index(one) for name in known)} == set()


@each_module
def test_nothing_is_imported_from_a_floor_above(name):
    own = floor(name)
    upwards = [
        f"{PATHS[name]}:{line} imports {other}"
        for line, other in IMPORTS[name]
        if other in TREES and own is not None and floor(other) is not None and floor(other) < own
    ]
    assert upwards == []


def test_no_module_imports_itself_by_way_of_others():
    arrows = {name: {other for _, other in found if other in TREES} for name, found in IMPORTS.items()}
    done, way = set(), []

    def follow(name):
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        way.append(name)
        for other in sorted(arrows[name]):
            follow(other)
        done.add(way.pop())

    for name in sorted(arrows):
        follow(name)


@each_module
def test_only_the_package_itself_is_imported_from_the_tree(name):
    """Nothing of the library needs Salt, but for what belongs to the master and to Salt's modules."""
    needs_salt = name.split(".")[0] in ("failback_master", "salt_errors", "salt_node")
    salt = [other for _, other in IMPORTS[name] if other.split(".")[0] == "salt"]
    assert needs_salt or salt == []


@each_decision
def test_what_decides_imports_nothing_that_could_look_or_wait(name):
    allowed = [
        other in PURE or other == "failback.errors" or other.startswith("failback.decisions")
        for _, other in IMPORTS[name]
    ]
    assert all(allowed), [one for one, good in zip(IMPORTS[name], allowed) if not good]


@each_decision
def test_what_decides_does_no_input_or_output(name):
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Name) and node.id in IMPURE_CALLS:
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute):
            of = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
            if node.attr in IMPURE_ATTRIBUTES.get(of, ()):
                found.append((node.lineno, f"{of}.{node.attr}"))
    assert found == []


def has_data(tree):
    """Whether a module has a class of data."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return any("'dataclass'" in ast.dump(each) for one in classes for each in one.decorator_list)


WITH_DATA = sorted(name for name, tree in TREES.items() if has_data(tree))
#: What is filled in while it is found, by the function that found it.
FILLED_IN = {"_Links", "Outcome", "Pull"}


@pytest.mark.parametrize("name", WITH_DATA)
def test_what_was_found_or_decided_cannot_be_changed_by_whoever_is_given_it(monkeypatch, name):
    """A verdict, a ledger's entry, an address: passed on from thread to thread, and compared later."""
    if not name.startswith("failback."):
        pytest.importorskip("salt.version")  # the tree has a folder of that name
    spec = importlib.util.spec_from_file_location(f"{name}_anew", PATHS[name])
    # Loaded once more, so that nothing that another test has done to it counts.
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec.loader.exec_module(module)
    found = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and one.__module__ == module.__name__ and dataclasses.is_dataclass(one)
    ]
    assert found
    for one in found:
        if one.__name__ in FILLED_IN:
            continue
        given = object.__new__(one)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(given, dataclasses.fields(one)[0].name, "another")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wing_says_what_it_is_for_and_imports_nothing(name):
    """The giver of a handover starts near the window: a wing must not bring in what nobody asked for."""
    assert ast.get_docstring(TREES[name])
    assert len(TREES[name].body) == 1


@each_module
def test_what_is_private_stays_in_its_module(name):
    modules = {
        (one.asname or one.name).rpartition(".")[2]
        for node in ast.walk(TREES[name])
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for one in node.names
        if isinstance(node, ast.ImportFrom) and f"{node.module}.{one.name}" in TREES
    }
    found = [
        f"{PATHS[name]}:{node.lineno} {node.value.id}.{node.attr}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    ]
    assert found == []


@pytest.mark.parametrize("path", sorted(SALT.rglob("*.py")), ids=lambda one: str(one.relative_to(SALT)))
def test_no_file_grows_beyond_what_can_be_read_at_once(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


FUNCTIONS = [
    (path, node)
    for path in sorted(SALT.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
]


def length(function):
    """Its lines, from ``def`` on, with what is defined in it and without its docstring."""
    first = function.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - said


def test_no_function_grows_beyond_a_screen():
    """What is longer reads better as a list of named steps."""
    found = [
        f"{path.relative_to(SALT)}:{function.lineno} {function.name}: {length(function)} lines"
        for path, function in FUNCTIONS
        if length(function) > LONGEST_FUNCTION
    ]
    assert found == []


def test_a_docstring_makes_no_function_long():
    (documented,) = ast.parse('def function():\n    """\n    Text.\n    """\n    return 1\n').body
    (bare,) = ast.parse("def function():\n    one()\n    two()\n").body
    assert (length(documented), length(bare)) == (2, 3)


def takes(function, name):
    """Whether a function has a parameter of that name."""
    given = function.args
    return name in {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def test_what_travels_together_is_one_object():
    """A pair and the paths of its node go from function to function as a member, not side by side."""
    found = [
        f"{path.relative_to(SALT)}:{node.lineno} {getattr(node, 'name', 'lambda')}"
        for path in sorted(SALT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and takes(node, "paths")
    ]
    assert len(found) < FEWER_TAKE_PATHS, "\n".join(found)
