"""The rsync daemon that a node becomes for its peer: announced first, of paths that lie where they did."""

import os
import pathlib

import pytest
import samples

from failback import peer_requests
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import admitted
from failback.replication import incoming
from failback.replication import replicated
from failback.state import ledger


@pytest.fixture
def member(tmp_path, monkeypatch):
    """salt2, the standby, with two paths."""
    member = Member("salt", Paths(tmp_path / "node"))
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    for path in paths:
        (member.paths.root / path.lstrip("/")).mkdir(parents=True)
    config = samples.pair("salt2", replicate=[{"path": path, "then": None} for path in paths])
    files.write_json(member.paths.pair_config("salt"), config)
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    member.became = []
    monkeypatch.setattr(
        os,
        "execv",
        lambda program, words: member.became.append(pathlib.Path(words[3].partition("=")[2]).read_text()),
    )

    def ran(volatile, text):
        member.became.append(os.fsdecode(text))
        return 0

    monkeypatch.setattr(admitted, "run", ran)
    return member


def asked(member):
    """What the daemon is configured with."""
    peer_requests.main(member, "rsync --server --daemon .")
    (text,) = member.became
    return text


def test_it_is_announced_before_the_ledger_is_asked(member, monkeypatch):
    """Whoever changes the ledger in between ends what was announced."""
    real = ledger.Ledger.read
    announced = []

    def read(self):
        announced.append(incoming.writing(member))
        return real(self)

    monkeypatch.setattr(ledger.Ledger, "read", read)
    asked(member)
    assert announced[0] is True and incoming.writing(member)


def test_one_that_may_only_read_is_announced_no_more(member):
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    asked(member)
    assert not incoming.writing(member)


def test_a_path_that_lies_elsewhere_is_not_in_it(member, capsys):
    one, two = [each["path"] for each in member.config["replicate"]]
    modules = [f"[{replicated.item(path, True).module}]" for path in (one, two)]
    text = asked(member)
    assert [module in text for module in modules] == [True, True]
    member.became.clear()
    samples.lies_elsewhere(member, one)
    # The record names one path by where it lies under the root that stands for this machine's.
    text = asked(member)
    assert [module in text for module in modules] == [False, True]
    assert f"{one} on salt2 lies on" in capsys.readouterr().err


def test_what_was_announced_by_a_process_that_is_gone_is_nobody_at_work(member, monkeypatch):
    incoming.announce(member)
    monkeypatch.setattr(system, "process_started", lambda pid: None)
    assert not incoming.writing(member)
    assert incoming.stop(member) == []
