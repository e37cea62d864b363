"""Until when an active node was heard: what is noted, how often, and on which disk nobody waits for it."""

import pytest
import samples

from failback.host import files
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.state import last_heard
from failback.state import ledger
from failback.watch import heard

PEER, CLIENT, OWN = bytes([10, 0, 0, 12]), bytes([10, 0, 0, 100]), bytes([10, 0, 0, 5])


class Kernel:
    """Says what it is told to."""

    ages = {}
    error = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def links(self):
        if self.error:
            raise self.error
        return {}

    def confirmed(self, indexes):
        return self.ages


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(heard.netlink, "Netlink", lambda: kernel)
    return kernel


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair(node="salt1"), Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    clock = samples.Clock(monkeypatch, heard)
    monkeypatch.setattr(clock, "monotonic", lambda: clock.now, raising=False)
    return clock


def looked(one, generation, clock, seconds=heard.ASK_EVERY):
    """Look until so many seconds have passed."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 1
        one.look(generation)
        if one._thread:
            one._thread.join()


def test_it_is_noted_every_half_a_minute(kernel, member, clock):
    assert {each.packed for each in floating.of_pair(member.config)} == {OWN}
    one, kernel.ages = heard.HeardRecorder(member), {CLIENT: 0.5}
    looked(one, 7, clock, heard.NOTE_EVERY - 1)
    assert last_heard.read(member) is None
    looked(one, 7, clock, 10)
    first = last_heard.read(member)
    assert first["generation"] == 7 and clock.now - 10 < first["at"] < clock.now
    looked(one, 7, clock, heard.NOTE_EVERY - 15)
    assert last_heard.read(member) == first
    looked(one, 7, clock, 30)
    assert last_heard.read(member)["at"] > first["at"] + 20


@pytest.mark.parametrize(
    "ages",
    [{}, {PEER: 0.1}, {OWN: 0.1}, {PEER: 0.1, OWN: 0.1}],
    ids=["nobody", "the other node", "itself", "both"],
)
def test_whom_it_is_not_about_is_not_noted(kernel, member, clock, ages):
    one, kernel.ages = heard.HeardRecorder(member), ages
    looked(one, 7, clock, 100)
    assert last_heard.read(member) is None


def test_the_note_stands_when_nobody_hears_it_any_more(kernel, member, clock):
    one, kernel.ages = heard.HeardRecorder(member), {CLIENT: 0.0}
    looked(one, 7, clock, 40)
    kernel.ages = {}
    looked(one, 7, clock, 40)
    noted = last_heard.read(member)
    looked(one, 7, clock, 1000)
    assert last_heard.read(member) == noted


def test_one_that_does_not_serve_is_heard_as_nobody(kernel, member, clock):
    one, kernel.ages = heard.HeardRecorder(member), {CLIENT: 0.0}
    looked(one, None, clock, 100)
    assert last_heard.read(member) is None
    # What was heard before counts for no later generation.
    looked(one, 7, clock, 20)
    kernel.ages = {}
    looked(one, 8, clock, 100)
    assert last_heard.read(member) is None


def test_a_kernel_or_a_disk_that_refuses_ends_nothing(kernel, member, clock, monkeypatch):
    one, kernel.error = heard.HeardRecorder(member), OSError(105, "No buffer space available")
    looked(one, 7, clock, 50)
    kernel.error, kernel.ages = None, {CLIENT: 0.0}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    looked(one, 7, clock, 50)
    monkeypatch.undo()


def test_what_the_disk_has_refused_to_say_of_a_claim_is_said_with_the_next_note(kernel, member, clock):
    entry = ledger.Entry(7, "salt1", None, "silence", heard=False)
    member.ledger.write(entry)
    member.ledger.note_heard(member.ledger.read())
    one, kernel.ages = heard.HeardRecorder(member), {CLIENT: 0.0}
    looked(one, 7, clock, heard.NOTE_EVERY - 1)
    assert member.ledger.is_behind()
    looked(one, 7, clock, 10)
    assert not member.ledger.is_behind() and member.ledger.read()["heard"] is True


@pytest.mark.parametrize("text", ["", "{", "[]", '{"generation": 7}', '{"generation": 7, "at": "x"}', "{}"])
def test_a_note_that_cannot_be_read_proves_nothing(member, text):
    files.make_folder(member.state)
    (member.state / "last-heard.json").write_text(text)
    assert last_heard.read(member) is None
