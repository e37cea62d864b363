"""A takeover that takes its time delays no other pair of the node; one that fails is counted by the loop."""

import socket
import threading
import time
import types

import pytest

from failback.decisions import silence
from failback.errors import Unavailable
from failback.host.paths import Paths
from failback.network import netlink
from failback.watch import loop
from failback.watch import place
from failback.watch import slow

#: Seconds for something that takes none: the machine may be busy.
SOON = 20


class Kernel:
    """It never tells of a change."""

    def __init__(self, groups=0):
        self._quiet, self._other = socket.socketpair()

    def fileno(self):
        return self._quiet.fileno()

    def drain(self):
        return False

    def links(self):
        return {}

    addresses = gateways = links

    def close(self):
        self._quiet.close()
        self._other.close()


class Pair:
    """It is judged every 10 ms; ``actions`` are what the judgements come to, then nothing."""

    def __init__(self, name, actions=()):
        self.settings = types.SimpleNamespace(pair=name, node="salt2")
        self.member = types.SimpleNamespace(pair=name)
        self.sentence, self.wake = None, 0.0
        self.judged, self.failures = 0, 0
        self._actions = list(actions)

    def silent_for(self):
        return 2.5

    def judge(self):
        self.judged += 1
        self.wake = time.monotonic() + 0.01
        return (self._actions.pop(0) if self._actions else silence.NOTHING), "silence"

    def failed(self):
        self.failures += 1

    def hear(self, kernel):
        pass

    look = lambda self, *_: None  # noqa: E731
    read = close = lambda self: None  # noqa: E731
    sockets = status = lambda self: []  # noqa: E731


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """``watch(pairs, take_over)``: the loop of these pairs in a thread, and a function that ends it."""
    monkeypatch.setattr(netlink, "Netlink", Kernel)
    monkeypatch.setattr(loop, "HOUSEKEEPING", 0.02)
    begun = []

    def start(pairs, take_over):
        found = loop.Watch(place.Place("gateway-ip", Paths(tmp_path)), take_over, None, False)
        found.pairs, found.said = pairs, []
        found.say = lambda sentence, *_: found.said.append(sentence)
        found.changes = types.SimpleNamespace(settled=lambda: stop.is_set())
        stop = threading.Event()
        running = threading.Thread(target=found.run, daemon=True)
        running.start()
        begun.append((found, stop, running))
        return found, stop, running

    yield start
    for found, stop, running in begun:
        stop.set()
        running.join(SOON)
        assert not running.is_alive()
        found.close()


def eventually(what):
    end = time.monotonic() + SOON
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_slow_takeover_delays_no_other_pair(watch):
    agent = threading.Event()
    slow_one, other = Pair("slow", [silence.TAKE]), Pair("other")
    found, stop, running = watch([slow_one, other], lambda member, reason, serves, silent: agent.wait(SOON))
    eventually(lambda: other.judged > 20)
    assert slow_one.judged == 1, "judged while its takeover was under way"
    assert found.said[0] == "silence: salt2 takes the addresses of slow"
    # The watch does not start anew over it either.
    stop.set()
    before = other.judged
    eventually(lambda: other.judged > before + 20)
    assert running.is_alive()
    agent.set()
    running.join(SOON)
    assert not running.is_alive()
    assert (slow_one.failures, other.failures) == (0, 0)


def test_two_pairs_are_taken_over_at_the_same_time(watch):
    both = threading.Barrier(2)
    pairs = [Pair("one", [silence.TAKE]), Pair("two", [silence.TAKE])]
    watch(pairs, lambda member, reason, serves, silent: both.wait(SOON))
    eventually(lambda: all(one.judged > 3 for one in pairs))
    assert [one.failures for one in pairs] == [0, 0]


def test_the_pair_is_judged_again_as_soon_as_its_node_serves(watch):
    """What people are told waits for a disk; who hears the node must be seen meanwhile."""
    disk, pair = threading.Event(), Pair("one", [silence.TAKE])

    def take_over(member, reason, serves, silent):
        serves()
        disk.wait(SOON)
        raise Unavailable("the history is full")

    found, stop, running = watch([pair], take_over)
    eventually(lambda: pair.judged > 20)
    stop.set()
    before = pair.judged
    eventually(lambda: pair.judged > before + 20)
    assert running.is_alive(), "it does not start anew over it"
    disk.set()
    running.join(SOON)
    assert not running.is_alive() and pair.failures == 0
    assert any("the history is full" in one for one in found.said)


@pytest.mark.parametrize("error", [Unavailable("the agent is silent"), ValueError("a fault in the code")])
def test_a_failed_takeover_is_said_and_counted_and_may_be_tried_again(watch, error):
    tried = []

    def take_over(member, reason, serves, silent):
        tried.append(member.pair)
        if len(tried) == 1:
            raise error

    pair = Pair("one", [silence.TAKE, silence.TAKE])
    found, _, _ = watch([pair], take_over)
    eventually(lambda: pair.judged > 4)
    assert (tried, pair.failures) == (["one", "one"], 1)
    assert any(str(error) in one for one in found.said)


def test_one_at_a_time_for_each_name_and_the_bell_is_heard_once():
    found, go = slow.Slow(), threading.Event()
    assert found.begin("one", lambda done: go.wait(SOON) and "done")
    assert not found.begin("one", lambda done: None)
    assert found.busy("one") and found.any and found.ended() == []
    go.set()
    ended = []
    eventually(lambda: ended.extend(found.ended()) or ended)
    assert ended == [("one", "done")]
    assert not found.busy("one") and not found.any
    found.close()
