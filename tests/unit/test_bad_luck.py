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
from failback.recovery import backup
from failback.replication import gate
from failback.replication import sources
from failback.state import configuration
from failback.state import fencing
from failback.state import ledger
from failback.state import lock
from failback.state import pause
from failback.state import runs

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
    "ledger.json": lambda paths: ledger.read("salt", paths),
    "lock.json": lambda paths: lock.read("salt", paths),
    "hold.json": lambda paths: pause.read("salt", paths),
    "sources.json": lambda paths: sources.recorded("salt", paths),
    "fenced.json": lambda paths: fencing.read("salt", paths),
    f"runs/{samples.RUN}/run.json": lambda paths: runs.read("salt", samples.RUN, paths),
    f"runs/{samples.RUN}/items.json": lambda paths: backup.Folder(
        paths.run_folder("salt", samples.RUN)
    ).items(),
    "configuration": lambda paths: configuration.load("salt", paths),
}


@pytest.fixture
def node(tmp_path):
    """A node with its configuration and a ledger that is right."""
    paths = Paths(tmp_path)
    paths.pair_config("salt").parent.mkdir(parents=True)
    paths.pair_config("salt").write_text(json.dumps(samples.pair("salt1")))
    ledger.write("salt", paths, 3, "salt1", None, "a test")
    return paths


def place(node, name):
    return node.pair_config("salt") if name == "configuration" else node.state("salt") / name


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_it_is_named_in_a_sentence_and_left_alone(node, name, content):
    file = place(node, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CONTENTS[content])
    with pytest.raises(Unreadable) as caught:
        READERS[name](node)
    said = str(caught.value)
    assert str(file) in said
    assert said.rstrip().endswith(".") or "salt-call" in said or str(file.parent) in said
    assert len(said.split()) > 8, said
    assert file.read_bytes() == CONTENTS[content]


@pytest.mark.parametrize("content", CONTENTS)
def test_nothing_moves_on_a_ledger_that_cannot_be_read(node, content, monkeypatch):
    monkeypatch.setattr(floating, "statuses", lambda wanted: [])
    monkeypatch.setattr(report.services, "states", lambda entries: {"lsyncd.service": "inactive"})
    place(node, "ledger.json").write_bytes(CONTENTS[content])
    config = configuration.load("salt", node)
    with pytest.raises(FailbackError, match="ledger of salt"):
        ledger.write("salt", node, 4, "salt1", None, "a test")
    with pytest.raises(Refused, match="must not start"):
        gate.require_lsyncd(config, node)
    with pytest.raises(FailbackError, match="ledger of salt"):
        takeover.take_over(config, "a test", node)
    with pytest.raises(FailbackError, match="ledger of salt"):
        takeover.yield_to(config, 9, "salt2", node)
    assert place(node, "ledger.json").read_bytes() == CONTENTS[content]


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
def test_a_lock_that_cannot_be_read_is_nobody_s(node, content):
    place(node, "lock.json").write_bytes(CONTENTS[content])
    owner = {"boot_id": system.boot_id(), "pid": 1, "started": 1}
    with pytest.raises(Unreadable, match="lock of salt"):
        lock.acquire("salt", node, samples.RUN, "recover", owner, 60)
    with pytest.raises(Unreadable, match="lock of salt"):
        lock.require("salt", node, samples.RUN)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_record_of_the_last_pass_that_cannot_be_read_proves_no_comparison(node, content):
    file = node.run_folder("salt", samples.RUN) / "last-pass.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1, "ended": 1, "compared": true}')
    assert runs.uncompared("salt", samples.RUN, node) is None
    file.write_bytes(CONTENTS[content])
    assert runs.uncompared("salt", samples.RUN, node) == samples.RUN


@pytest.mark.parametrize("content", CONTENTS)
def test_a_history_with_a_record_that_cannot_be_read_shows_the_others(node, content):
    other = samples.RUN[:-4] + "ffff"
    runs.write("salt", other, {"operation": "recover", "result": "succeeded"}, node)
    file = node.run_folder("salt", samples.RUN) / "run.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENTS[content])
    shown = {one["run"]: one for one in runs.history("salt", node)}
    assert shown[other]["result"] == "succeeded"
    assert shown[samples.RUN]["result"] == "unreadable"
    assert str(file) in shown[samples.RUN]["sentence"]
