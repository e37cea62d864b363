"""Files of a node that are cut off, empty, damaged, or written by a newer Failback: never a traceback."""

import json

import pytest
import samples

from failback import report
from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.handover import takeover
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.recovery import backup
from failback.replication import gate
from failback.replication import sources
from failback.state import configuration
from failback.state import ledger

#: What a file holds: each is one of those that a full disk, a crash or an upgrade leaves behind.
CONTENTS = {
    "empty": b"",
    "cut off": b'{"version": 1, "gener',
    "zeroes": bytes(40),
    "not text": b"\xff\xfe\x00{",
    "a list": b"[]",
    "a number": b"7",
    "no version": b"{}",
    "of a newer release": b'{"version": 99, "generation": 3, "active": "salt1", "items": []}',
}
#: Reader by the file it reads.
READERS = {
    "ledger.json": lambda member: member.ledger.read(),
    "lock.json": lambda member: member.lock.read(),
    "hold.json": lambda member: member.pause.read(),
    "sources.json": lambda member: sources.recorded(member),
    "fenced.json": lambda member: member.fencing.read(),
    f"runs/{samples.RUN}/run.json": lambda member: member.runs.read(samples.RUN),
    f"runs/{samples.RUN}/items.json": lambda member: backup.Folder(member.run_folder(samples.RUN)).items(),
    "configuration": lambda member: configuration.load("salt", member.paths),
}


@pytest.fixture
def member(tmp_path):
    """A node with its configuration and a ledger that is right."""
    member = Member("salt", Paths(tmp_path))
    member.paths.pair_config("salt").parent.mkdir(parents=True)
    member.paths.pair_config("salt").write_text(json.dumps(samples.pair("salt1")))
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    return member


def place(member, name):
    return member.paths.pair_config("salt") if name == "configuration" else member.state / name


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_it_is_named_in_a_sentence_and_left_alone(member, name, content):
    file = place(member, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CONTENTS[content])
    with pytest.raises(Unreadable) as caught:
        READERS[name](member)
    said = str(caught.value)
    assert str(file) in said
    assert said.rstrip().endswith(".") or "salt-call" in said or str(file.parent) in said
    assert len(said.split()) > 8, said
    assert file.read_bytes() == CONTENTS[content]


@pytest.mark.parametrize("content", CONTENTS)
def test_nothing_moves_on_a_ledger_that_cannot_be_read(member, content, monkeypatch):
    monkeypatch.setattr(floating, "statuses", lambda wanted: [])
    monkeypatch.setattr(report.services, "states", lambda entries: {"lsyncd.service": "inactive"})
    place(member, "ledger.json").write_bytes(CONTENTS[content])
    with pytest.raises(FailbackError, match="ledger of salt"):
        member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    with pytest.raises(Refused, match="must not start"):
        gate.require_lsyncd(member)
    with pytest.raises(FailbackError, match="ledger of salt"):
        takeover.take_over(member, "a test")
    with pytest.raises(FailbackError, match="ledger of salt"):
        takeover.yield_to(member, 9, "salt2")
    assert place(member, "ledger.json").read_bytes() == CONTENTS[content]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("side", [0, 1])
def test_such_a_ledger_makes_the_pair_unknown(content, side):
    mine = samples.report("salt1", samples.ledger(3, "salt1"), holds=["10.0.0.5/24"])
    theirs = samples.report("salt2", samples.ledger(3, "salt1"))
    reports = [mine, theirs]
    reports[side] = {**reports[side], "ledger": None, "ledger_error": f"The ledger is {content}."}
    found = verdict.judge(samples.pair(), *reports)
    assert found.name == verdict.UNKNOWN
    assert f"The ledger is {content}." in found.sentence


@pytest.mark.parametrize("content", CONTENTS)
def test_a_lock_that_cannot_be_read_is_nobody_s(member, content):
    place(member, "lock.json").write_bytes(CONTENTS[content])
    owner = {"boot_id": system.boot_id(), "pid": 1, "started": 1}
    with pytest.raises(Unreadable, match="lock of salt"):
        member.lock.acquire(samples.RUN, "recover", owner, 60)
    with pytest.raises(Unreadable, match="lock of salt"):
        member.lock.require(samples.RUN)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_record_of_the_final_sync_that_cannot_be_read_proves_no_comparison(member, content):
    file = member.run_folder(samples.RUN) / "last-pass.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1, "ended": 1, "compared": true}')
    assert member.runs.uncompared(samples.RUN) is None
    file.write_bytes(CONTENTS[content])
    assert member.runs.uncompared(samples.RUN) == samples.RUN


@pytest.mark.parametrize("content", CONTENTS)
def test_a_history_with_a_record_that_cannot_be_read_shows_the_others(member, content):
    other = samples.RUN[:-4] + "ffff"
    member.runs.write(other, {"operation": "recover", "result": "succeeded"})
    file = member.run_folder(samples.RUN) / "run.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENTS[content])
    shown = {one["run"]: one for one in member.runs.history()}
    assert shown[other]["result"] == "succeeded"
    assert shown[samples.RUN]["result"] == "unreadable"
    assert str(file) in shown[samples.RUN]["sentence"]
