"""When the watch starts itself anew."""

import select
import threading
import types

import pytest

from failback.errors import Refused
from failback.host.paths import Paths
from failback.watch import loop


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the program with a wing in it."""
    folder = tmp_path / "failback"
    (folder / "wing").mkdir(parents=True)
    (folder / "cli.py").write_text("")
    (folder / "wing/gate.py").write_text("")
    monkeypatch.setattr(loop, "PACKAGE", folder)
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
def test_a_change_in_a_wing_is_a_change_of_the_program(package, tmp_path, change):
    paths = Paths(tmp_path / "node")
    before = loop._fingerprint(paths)
    assert loop._fingerprint(paths) == before
    change(package)
    assert loop._fingerprint(paths) != before


class Pair:
    """All that a takeover needs of a watched pair."""

    def __init__(self):
        self.member = None
        self.settings = types.SimpleNamespace(pair="salt", node="salt2")
        self.failures = 0

    def failed(self):
        self.failures += 1


@pytest.mark.parametrize("error", [None, Refused("somebody answers"), ValueError("a fault in the code")])
def test_a_takeover_that_takes_long_keeps_the_watch_of_the_other_pairs_going(tmp_path, monkeypatch, error):
    goes_on, looked = threading.Event(), []

    def take_over(member, reason):
        assert goes_on.wait(20)
        if error:
            raise error

    watch = loop.Watch("gateway-ip", Paths(tmp_path), take_over, None, False)
    slow, other = Pair(), Pair()
    other.settings.pair = "mgmt"
    watch.pairs = [slow, other]
    monkeypatch.setattr(watch, "_look_at_interfaces", lambda: looked.append(True))
    said = []
    monkeypatch.setattr(watch, "say", said.append)
    watch._take(slow, "nobody answers")
    assert watch._judged() == [other]
    watch._note_takeovers()
    assert watch._judged() == [other] and not looked
    goes_on.set()
    ready, _, _ = select.select([watch._bell], [], [], 20)
    assert ready
    watch._note_takeovers()
    assert watch._judged() == [slow, other] and looked
    assert slow.failures == (error is not None) and len(said) == 1 + (error is not None)
    watch.pairs = []
    watch.close()
