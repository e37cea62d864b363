"""The watch tries the fence agents of its pairs while all is well."""

import pytest

from failback.watch import trials
from simulation import here
from simulation import histories
from simulation.configurations import ROUTER_ASKED

pytestmark = pytest.mark.one_release


def test_an_agent_is_tried_soon_after_the_watch_has_begun_and_again_and_again(monkeypatch):
    tried = []

    class Proof:
        configured = staticmethod(bool)

        @staticmethod
        def tried(member):
            tried.append((here.world.engine.now, member.node))

    monkeypatch.setattr(trials, "proof", Proof)
    histories.run([(trials.EVERY + 5, histories.mend())], ROUTER_ASKED)
    (first, node), (second, same) = tried
    assert node == same == "salt2", "the watch runs on the secondary alone"
    assert first < 3 and trials.EVERY <= second - first < trials.EVERY + 2
