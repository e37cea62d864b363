"""What a run hears of files while it waits for a node; nothing of it can make a run fail."""

import queue
import threading
import time

import pytest
import salt.utils.event

from failback_master.surface import ear

pytestmark = pytest.mark.one_release

OPTS = {"sock_dir": "/run/x"}
TAG = "failback/salt/RUN/pre-sync/moved"


def event(done, node="salt1"):
    return {"id": node, "tag": TAG, "data": {"done": done, "whole": 200_000_000, "per_second": 1_000_000}}


class Bus:
    """The bus of a master, which is another process: what comes on it, and how it was listened to."""

    def __init__(self, monkeypatch, opens=True):
        self.comes, self.listened, self.opened, self._opens = queue.Queue(), [], [], opens
        self.closed = threading.Event()
        monkeypatch.setattr(salt.utils.event, "get_master_event", self)

    def __call__(self, opts, sock_dir, listen=True):
        self.opened.append((sock_dir, listen))
        if not self._opens:
            raise OSError("no bus")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()

    def get_event(self, wait, tag, match_type):
        self.listened.append((tag, match_type))
        try:
            found = self.comes.get(timeout=0.02)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found


def heard(bus, number, *events):
    """What an ear tells of these events, once it has said so much or the bus was read to its end."""
    told, enough = [], threading.Event()

    def tell(sentence):
        told.append(sentence)
        if len(told) == number:
            enough.set()

    with ear.Ear(OPTS, TAG, "salt1").told(tell):
        for one in events:
            bus.comes.put(one)
        assert enough.wait(10) if number else until(bus.comes.empty)
    return told


def until(true, limit=10):
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
    return True


def living():
    return [one for one in threading.enumerate() if one.name == "failback-ear"]


def test_each_event_of_the_node_is_told_while_the_step_lasts(monkeypatch):
    bus = Bus(monkeypatch)
    events = [event(100_000_000), None, event(7, "salt2"), event(200_000_000)]
    assert heard(bus, 2, *events) == ["100 of 200 MB, 1.0 MB/s", "200 of 200 MB, 1.0 MB/s"]
    assert bus.opened == [("/run/x", True)] and set(bus.listened) == {(TAG, "startswith")}
    assert living() == [] and bus.closed.is_set(), "it goes on after the step"


def test_of_another_node_nothing_is_told(monkeypatch):
    assert heard(Bus(monkeypatch), 0, event(7, "salt2")) == []


def test_what_comes_when_the_step_has_ended_is_not_told(monkeypatch):
    """A line of files below the one that says that the step is done would be taken for the next step's."""
    bus, told, reading, go_on = Bus(monkeypatch), [], threading.Event(), threading.Event()

    def get_event(wait, tag, match_type):
        reading.set()
        assert go_on.wait(10)
        return event(100_000_000)

    bus.get_event = get_event
    found = ear.Ear(OPTS, TAG, "salt1")
    with found.told(told.append):
        assert reading.wait(10)
        # The step ends while the ear listens; only then something comes.
        threading.Timer(0.05, go_on.set).start()
    assert told == [] and living() == []


def test_a_bus_that_hangs_holds_no_step_up_and_keeps_no_process_alive(monkeypatch):
    bus, reading, go_on, waits = Bus(monkeypatch), threading.Event(), threading.Event(), []

    def get_event(wait, tag, match_type):
        waits.append(wait)
        reading.set()
        go_on.wait(10)

    bus.get_event = get_event
    assert ear.LISTEN == 1
    monkeypatch.setattr(ear, "LISTEN", 0.05)
    try:
        with ear.Ear(OPTS, TAG, "salt1").told(print):
            assert reading.wait(10)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        (thread,) = living()
        assert thread.daemon and waits == [0.05]
    finally:
        go_on.set()
    until(lambda: not living())


@pytest.mark.parametrize("failing", ["it opens none", "it breaks off", "what is told fails"])
def test_a_bus_that_fails_fails_nothing(monkeypatch, failing):
    bus = Bus(monkeypatch, opens=failing != "it opens none")
    if failing == "it breaks off":
        bus.comes.put(OSError("the master is gone"))
    bus.comes.put(event(100_000_000))

    def tell(sentence):
        raise ValueError(sentence)

    with ear.Ear(OPTS, TAG, "salt1").told(tell):
        until(lambda: not living())
    assert len(bus.opened) == 1


@pytest.mark.parametrize("opts", [{}, {"sock_dir": ""}])
def test_where_there_is_no_master_no_bus_is_looked_for(monkeypatch, opts):
    bus = Bus(monkeypatch)
    with ear.Ear(opts, TAG, "salt1").told(print):
        until(lambda: not living())
    assert bus.opened == []
