"""An upgrade from a library that lay flat: what highstate and Salt bring is the new one, and no more."""

import pathlib

import pytest

from failback.host import system
from failback.host.paths import Paths

LIBRARY = pathlib.Path(__file__).resolve().parents[2] / "salt/_utils/failback"
#: Files of the last release that lay flat: whole modules then, and one that is a folder now.
FLAT = ("address.py", "guard.py", "ledger.py", "handover.py", "__init__.py")


@pytest.fixture
def flat():
    """Makes a folder look as the flat library did."""

    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FLAT:
            (folder / name).write_text("# the release before\n")
        (folder / "__pycache__").mkdir(exist_ok=True)
        (folder / "__pycache__/ledger.cpython-39.pyc").write_bytes(b"byte code")

    return make


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_the_program_is_the_new_one_and_no_flat_file_stays(states, flat, minion_opts):
    paths = Paths(minion_opts["failback_root"])
    flat(paths.library / "failback")
    for _ in range(2):
        for state in ("release_in_force", "flat_program_absent"):
            done = getattr(states.pair, state)("what highstate does")
            assert done.result is True, done.comment
    assert done.changes == {}
    assert names(paths.release / "failback") == names(LIBRARY)
    assert system.package_digest(paths.release / "failback") == system.package_digest(LIBRARY)
    assert not (paths.library / "failback").exists()


def test_what_salt_syncs_is_the_new_one_and_no_flat_file_stays(modules, minion_opts, flat):
    target = pathlib.Path(minion_opts["extension_modules"]) / "utils/failback"
    flat(target)
    modules.saltutil.sync_utils(refresh=False)
    assert names(target) == names(LIBRARY)
    assert system.package_digest(target) == system.package_digest(LIBRARY)
    assert (target.parent / "failback_master/minions.py").is_file()
