"""
Two interpreters load the library: Salt's own, which has Salt's packages, and the system's, for the program on
the node, which has none. Neither may be needed by what the other one runs.
"""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

SALT = pathlib.Path(__file__).resolve().parents[2] / "salt"

#: Imports every module of a package, and says what it could not import.
WALK = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import failback
found = {"modules": 0, "lacks": {}}
for one in pkgutil.walk_packages(failback.__path__, "failback."):
    try:
        importlib.import_module(one.name)
        found["modules"] += 1
    except ImportError as error:
        found["lacks"][one.name] = str(error)
print(json.dumps(found))
"""


def imported(library):
    """What the program's interpreter, with its options, can import of a library."""
    command = [sys.executable, "-IS", "-B", "-c", WALK, str(library)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_library_needs_nothing_but_the_standard_library():
    found = imported(SALT / "_utils")
    assert found["lacks"] == {} and found["modules"] > 100


def test_what_only_salt_s_python_has_would_be_found(tmp_path):
    (tmp_path / "failback").mkdir()
    (tmp_path / "failback/__init__.py").touch()
    (tmp_path / "failback/bad.py").write_text("import pytest\n")
    assert list(imported(tmp_path)["lacks"]) == ["failback.bad"]


def test_the_program_is_started_with_these_options():
    assert (SALT / "pair/files/failback").read_text().startswith("#!/usr/bin/python3 -IS\n")


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this Python does not say what its library has")
def test_what_salt_loads_needs_nothing_that_only_the_system_s_python_has():
    """Salt's own packages do not see Debian's: only Salt, the library and the standard library are there."""
    library = {"failback", "failback_master", "salt_errors", "salt_node", "salt_places", "salt"}
    # Salt itself needs these two.
    allowed = {*library, "jinja2", "yaml", *sys.stdlib_module_names}
    found = {
        f"{path.relative_to(SALT)}: {name}"
        for path in sorted(SALT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        if name.partition(".")[0] not in allowed
    }
    assert found == set()
