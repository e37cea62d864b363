"""What an administrator can read in ``salt-run -d`` and ``salt '*' sys.doc``: nothing is left out."""

import ast
import pathlib

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]


def public_functions():
    """Every public function and class of the tree."""
    for path in sorted((TREE / "salt").rglob("*.py")):
        module = ast.parse(path.read_text())
        for node in module.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                yield path, node.name, node


FUNCTIONS = [
    pytest.param(path, node, id=f"{path.relative_to(TREE / 'salt')}:{name}")
    for path, name, node in public_functions()
]


def virtual_name(path):
    """What Salt calls the module of a file: several files may be one."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__virtualname__":
            return node.value.value
    return path.stem


def called_by_hand(path):
    return path.parent.name in ("_modules", "_runners")


@pytest.mark.parametrize("path, node", FUNCTIONS)
def test_it_says_what_it_does(path, node):
    assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"


@pytest.mark.parametrize("path, node", [one for one in FUNCTIONS if called_by_hand(one.values[0])])
def test_what_is_called_by_hand_shows_how(path, node):
    text = ast.get_docstring(node) or ""
    assert "CLI Example:\n\n.. code-block:: bash\n" in text
    example = text.split(".. code-block:: bash", 1)[1]
    public = node.name.rstrip("_")
    assert f"{virtual_name(path)}.{public}" in example, "the example calls something else"


def explained(text):
    """The arguments that a docstring describes, with the first line that it says of each."""
    found, lines = {}, text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""]):
        if line and not line.startswith((" ", "..")) and following.startswith("    "):
            found.update((word.strip(), following.strip()) for word in line.split(","))
    return found


def called_by_salt(path):
    return path.parent.name in ("_modules", "_states", "_runners")


@pytest.mark.parametrize("path, node", [one for one in FUNCTIONS if called_by_salt(one.values[0])])
def test_each_argument_is_explained_where_it_stands(path, node):
    """Whoever reads ``sys.doc`` of one function has no other one at hand: "As in …" explains nothing."""
    known = explained(ast.get_docstring(node) or "")
    arguments = [one.arg for one in [*node.args.args, *node.args.kwonlyargs]]
    missing = [one for one in arguments if known.get(one, "As ").startswith(("As ", "See "))]
    assert not missing, f"{path}:{node.lineno} {node.name} does not explain {', '.join(missing)}"


@pytest.mark.parametrize("path", sorted((TREE / "salt").rglob("*.py")), ids=lambda one: one.name)
def test_each_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
