"""When the watch starts itself anew."""

import pytest

from failback.host.paths import Paths
from failback.watch import resident


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the program with a wing in it."""
    folder = tmp_path / "failback"
    (folder / "wing").mkdir(parents=True)
    (folder / "cli.py").write_text("")
    (folder / "wing/gate.py").write_text("")
    monkeypatch.setattr(resident, "PACKAGE", folder)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "wing/gate.py").write_text("# another"),
        lambda folder: (folder / "wing/gate.py").unlink(),
        lambda folder: (folder / "wing/more.py").write_text(""),
        lambda folder: (folder / "cli.py").rename(folder / "wing/cli.py"),
    ],
    ids=["changed", "removed", "added", "moved"],
)
def test_a_change_in_a_wing_is_a_change_of_the_program_once_it_stands(package, tmp_path, change):
    changes = resident.Changes(Paths(tmp_path / "node"))
    assert [changes.settled(), changes.settled()] == [False, False]
    change(package)
    assert [changes.settled(), changes.settled()] == [False, True]
