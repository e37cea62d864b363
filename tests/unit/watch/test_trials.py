"""The watch tries its fence agents every now and then, and one that hangs keeps nothing waiting."""

import threading

import samples

from failback.fence import proof
from failback.host.paths import Paths
from failback.pair import Member
from failback.watch import loop
from failback.watch import place
from failback.watch import trials

FENCE = {"policy": "required", "timeout": 5, "delay": 10, "nodes": {"salt1": {"agent": "fence_test"}}}


def member(folder, **changes):
    return Member.of(samples.pair("salt2", **changes), Paths(folder))


def test_only_a_pair_with_an_agent_is_tried_and_only_when_it_is_time(tmp_path, monkeypatch):
    tried = threading.Semaphore(0)
    monkeypatch.setattr(proof, "tried", lambda member: tried.release())
    trying = trials.Trials([member(tmp_path, fence=FENCE), member(tmp_path)])
    trying.begin(1.0)
    assert tried.acquire(timeout=10)
    trying._thread.join(10)
    trying.begin(trials.EVERY)
    assert not tried.acquire(blocking=False), "a second trial before its time, or one without an agent"
    trying.begin(trials.EVERY + 1.0)
    assert tried.acquire(timeout=10)


def test_one_that_hangs_is_not_begun_again_and_a_fault_in_the_code_ends_nothing(tmp_path, monkeypatch):
    goes_on, begun = threading.Event(), []

    def hangs(member):
        begun.append(member)
        assert goes_on.wait(10)
        raise ValueError("a fault in the code")

    monkeypatch.setattr(proof, "tried", hangs)
    trying = trials.Trials([member(tmp_path, fence=FENCE), member(tmp_path, fence=FENCE)])
    trying.begin(1.0)
    trying.begin(2 * trials.EVERY)
    goes_on.set()
    trying._thread.join(10)
    assert len(begun) == 2, "each of the two pairs once"


def test_the_watch_begins_them(tmp_path, monkeypatch):
    """It looks at its own files as often; the loop has no other end."""
    watch = loop.Watch(place.Place("gateway-ip", Paths(tmp_path)), None, None, True)
    begun = []
    monkeypatch.setattr(watch._trials, "begin", begun.append)
    monkeypatch.setattr(watch.changes, "settled", lambda: bool(begun))
    monkeypatch.setattr(loop, "HOUSEKEEPING", 0.0)
    watch.run()
    watch.close()
    assert begun
