"""Where Salt finds the modules of a release that was installed as a wheel, and that a checkout is none."""

import importlib.util
import pathlib
import shutil

import salt_places

TREE = pathlib.Path(__file__).parents[2] / "salt"


def installed(prefix):
    """The module as a wheel has brought it below this prefix, where Salt's entry point finds it."""
    place = prefix / "lib/python3/site-packages/salt_places.py"
    place.parent.mkdir(parents=True)
    shutil.copy(salt_places.__file__, place)
    spec = importlib.util.spec_from_file_location("installed_salt_places", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_wheel_has_its_tree_below_the_same_prefix(tmp_path):
    module = installed(tmp_path)
    found = tmp_path / "share/failback/salt"
    found.mkdir(parents=True)
    assert module.tree() == found
    assert module.places() == {
        "modules": [str(found / "_modules")],
        "states": [str(found / "_states")],
        "runners": [str(found / "_runners")],
        "output": [str(found / "_output")],
    }


def test_each_folder_that_salt_is_told_of_is_in_the_tree():
    for folder in salt_places.FOLDERS.values():
        assert list((TREE / folder).glob("*.py")), folder


def test_what_is_no_wheel_tells_salt_nothing(tmp_path):
    """A file of that name is no tree, and a checkout that Salt has synced has none."""
    module = installed(tmp_path)
    (tmp_path / "share/failback").mkdir(parents=True)
    (tmp_path / "share/failback/salt").write_text("")
    assert module.tree() is None and module.places() == {}
    assert salt_places.places() == {}
