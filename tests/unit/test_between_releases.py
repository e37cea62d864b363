"""
What two nodes of different releases still say to each other: ``report`` and ``yield``, and nothing else.

While one node has the new release and the other one the old, each must still see who serves, and a node that
was cut off must still be told to step down. This is the grammar of both, frozen: a release that changes it
leaves a pair that is half upgraded blind. Whatever else an orchestration does is refused until both nodes are
of the master's release (``failback_master.checks.require_in_step``).
"""

import json
import pathlib

import pytest
import samples

from failback import peer_requests
from failback import report
from failback.decisions import gate
from failback.decisions import hearing
from failback.decisions import verdict
from failback.handover import takeover
from failback.host import files
from failback.host import services
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.peer import ssh
from failback.state import ledger

#: What a node reads of the other one's report: keys of it, and of the ledger in it.
READ = {"node", "ledger", "sources", "misplaced"}
READ_OF_A_LEDGER = {"generation", "active", "since", "boot_id", "run", "why"}


@pytest.fixture
def before():
    """The report of salt1, of the release before; made by its code."""
    return json.loads((pathlib.Path(__file__).parent / "report-before.json").read_text())


@pytest.fixture
def member(tmp_path):
    member = Member("salt", Paths(tmp_path))
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    return member


@pytest.fixture
def asked(monkeypatch):
    """What is typed over SSH, as lists of words."""
    typed = []

    def ask(argv, *_, **__):
        words = argv[argv.index("--") + 1 :] if "--" in argv else argv[-2:]
        typed.append(words)
        return '{"node": "salt1"}'

    monkeypatch.setattr(ssh.system, "run", ask)
    return typed


def test_each_asks_for_a_report_in_the_same_word(member, asked):
    ssh.report(member)
    assert asked == [["report"]]
    assert peer_requests.parse("report") == ["report"]


@pytest.mark.parametrize("generation", [1, 7, 999_999_999_999])
def test_each_tells_the_other_to_step_down_in_the_same_words(member, asked, generation):
    member.ledger.write(ledger.Entry(generation, "salt2", None, "a test"))
    takeover.ask_to_yield(member)
    assert asked == [["yield", str(generation)]]
    assert peer_requests.parse(f"yield {generation}") == ["yield", str(generation)]


def test_the_release_before_is_asked_for_nothing_that_it_does_not_know(member, monkeypatch, asked, before):
    """Of two holders its older generation steps down, as it always did."""
    monkeypatch.setattr(services, "states", lambda units: {})
    monkeypatch.setattr(floating, "status", lambda one: {"held": True})
    served = {**before["ledger"], "active": "salt1", "boot_id": before["boot_id"]}
    holds = [{"address": "10.0.0.5/24", "held": True}]
    theirs = {**before, "ledger": served, "addresses": holds}
    monkeypatch.setattr(ssh.system, "run", answered(asked, json.dumps(theirs)))
    generation = served["generation"] + 1
    member.ledger.write(ledger.Entry(generation, "salt2", None, "a claim", heard=False))
    assert hearing.meeting(member.ledger.read(), True, theirs) == hearing.RENOUNCE
    takeover.conflict(member, ["02:00:00:00:00:01"])
    assert asked == [["report"], ["yield", str(generation)]]


def answered(typed, text):
    """In place of SSH: every question gets the same answer."""

    def run(argv, *_, **__):
        typed.append(argv[argv.index("--") + 1 :])
        return text

    return run


def test_this_release_says_what_the_one_before_reads(member, monkeypatch, before):
    monkeypatch.setattr(services, "states", lambda units: {unit["name"]: "inactive" for unit in units})
    member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
    found = report.report(member)
    assert set(found) >= READ and set(found["ledger"]) >= READ_OF_A_LEDGER
    for key in READ - {"ledger"}:
        assert type(found[key]) is type(before[key]), key
    for key in READ_OF_A_LEDGER - {"run"}:
        assert type(found["ledger"][key]) is type(before["ledger"][key]), key
    # It is one line: what reads it takes the first.
    assert "\n" not in json.dumps(found)


def test_this_release_reads_what_the_one_before_says(before):
    """It decides by it as by one of its own."""
    config = samples.pair("salt2")
    own = samples.ledger(3, "salt2", "the boot of now")
    assert gate.pull_refusal(config, own, "the boot of now", before) is None
    newer = samples.ledger(9, "salt2", "the boot of now")
    assert "newer" in gate.pull_refusal(config, newer, "the boot of now", before)
    judged = verdict.judge(samples.pair("salt2"), before, {**before, "node": "salt2", "role": "secondary"})
    assert judged.name in verdict.ALL
