"""A handover of a pair without paths: the ledgers are written while the giver still serves."""

import pytest
from handover_cases import SALT1
from handover_cases import SALT2_AFTER_SALT1
from handover_cases import SALT2_AGAIN
from handover_cases import SALT2_AS_BEFORE
from handover_cases import die_at
from handover_cases import judged
from two_nodes import Killed
from two_nodes import World

from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.handover import taker
from failback.state import ledger


@pytest.fixture
def pathless(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch, replicate=[])


def test_a_pair_without_paths_is_given_away_before_it_is_released(pathless):
    seen = []
    pathless.hooks[("salt2", "release")] = lambda: seen.append((pathless.serving(), pathless.ledgers()))
    done = pathless.bring_home(None)
    assert seen == [("salt2", [(5, "salt1"), (5, "salt1")])]
    assert (pathless.serving(), pathless.ledgers(), pathless.phase()) == (*SALT1, "done")
    assert (done["final_sync"], pathless.timer) == (None, None)
    steps = [one["step"] for one in done["timeline"]]
    assert steps.index("the other node has given the pair away") < steps.index("release is asked for")


WITHOUT_PATHS = [
    pytest.param("before commit", SALT2_AS_BEFORE, id="before the commit"),
    pytest.param("after commit", SALT2_AGAIN, id="after the commit"),
    pytest.param("before release", SALT2_AFTER_SALT1, id="before the release"),
    pytest.param("after release", SALT2_AFTER_SALT1, id="after the release"),
    pytest.param("take", SALT2_AFTER_SALT1, id="before the addresses are taken"),
]


@pytest.mark.parametrize("power", [False, True], ids=["its process is killed", "it loses power"])
@pytest.mark.parametrize(("moment", "afterwards"), WITHOUT_PATHS)
def test_the_near_end_of_a_pair_without_paths_dies(pathless, monkeypatch, moment, afterwards, power):
    def die():
        if power:
            pathless.lose_power("salt1")
            monkeypatch.setattr(taker.PeerConnection, "__exit__", lambda *_: None)
        raise Killed

    die_at(pathless, monkeypatch, moment, die)
    with pytest.raises(Killed):
        pathless.bring_home(None)
    if "release" not in moment and moment != "take":
        assert pathless.serving() == "salt2", "for a moment nobody served"
    pathless.deadline()
    assert (pathless.serving(), pathless.ledgers()) == afterwards
    assert judged(pathless).name == verdict.FAILED_OVER


@pytest.mark.parametrize("moment", ["commit", "written", "release", "released"])
def test_the_far_end_of_a_pair_without_paths_is_killed(pathless, monkeypatch, moment):
    real = ledger.Ledger.write

    def write(own, entry, prepared=None):
        if (pathless.node.name, moment) == ("salt2", "commit"):
            pathless.kill()
        new = real(own, entry, prepared)
        if (pathless.node.name, moment) == ("salt2", "written"):
            pathless.kill()
        return new

    pathless.hooks[("salt2", moment)] = pathless.kill
    monkeypatch.setattr(ledger.Ledger, "write", write)
    with pytest.raises(FailbackError, match="salt2"):
        pathless.bring_home(None)
    assert pathless.serving() == ("nobody" if moment == "released" else "salt2")
    monkeypatch.setattr(ledger.Ledger, "write", real)
    pathless.deadline()
    assert pathless.serving() == "salt2"
    assert pathless.ledgers()[1][1] == "salt2"
    assert judged(pathless).name == verdict.FAILED_OVER


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_a_ledger_that_cannot_be_written_leaves_a_pair_without_paths_where_it_is(pathless, monkeypatch, node):
    real = ledger.Ledger.write

    def write(own, entry, prepared=None):
        if pathless.node.name == node and entry.active == "salt1":
            raise OSError(28, "No space left on device")
        return real(own, entry, prepared)

    monkeypatch.setattr(ledger.Ledger, "write", write)
    with pytest.raises(Unavailable, match="No space left"):
        pathless.bring_home(None)
    assert pathless.serving() == "salt2"
    assert pathless.ledgers()[1][1] == "salt2"
    assert judged(pathless).name == verdict.FAILED_OVER
