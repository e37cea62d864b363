"""The gate, from both sides: who may send, who may be written to, who may be overwritten."""

import itertools

import pytest
import samples

from failback.decisions import gate
from failback.errors import Refused
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.peer import ssh
from failback.replication import gate as gates
from failback.state import ledger

BOOT = "this boot"


@pytest.mark.parametrize(
    ("node", "own", "holds", "word"),
    [
        pytest.param("salt1", samples.ledger(3, "salt1"), True, None, id="the active primary"),
        pytest.param("salt1", samples.ledger(3, "salt1"), None, None, id="a pair without addresses"),
        pytest.param("salt1", None, True, "no ledger", id="no ledger"),
        pytest.param("salt1", samples.ledger(4, "salt2"), True, "salt2 is active", id="stepped down"),
        pytest.param("salt1", samples.ledger(3, "salt1", "before"), True, "rebooted", id="rebooted"),
        pytest.param("salt1", samples.ledger(3, "salt1", ""), True, "rebooted", id="not admitted"),
        pytest.param("salt1", samples.ledger(3, "salt1"), False, "none of the addresses", id="holds none"),
        pytest.param("salt2", samples.ledger(4, "salt2"), True, "is the secondary", id="the secondary"),
    ],
)
def test_who_may_run_lsyncd(node, own, holds, word):
    reason = gate.lsyncd_refusal(samples.pair(node), own, BOOT, holds)
    if word is None:
        assert reason is None
    else:
        assert word in reason


def test_lsyncd_runs_in_exactly_one_of_all_cases():
    """Only the primary, named active, admitted in this boot, and holding what there is to hold."""
    for node, active, boot, holds in itertools.product(
        ("salt1", "salt2"), ("salt1", "salt2"), (BOOT, "before", ""), (True, False, None)
    ):
        reason = gate.lsyncd_refusal(samples.pair(node), samples.ledger(3, active, boot), BOOT, holds)
        open_ = node == active == "salt1" and boot == BOOT and holds is not False
        assert (reason is None) == open_, (node, active, boot, holds, reason)


@pytest.mark.parametrize(
    ("own", "word"),
    [
        pytest.param(samples.ledger(3, "salt1"), None, id="the other node is active"),
        pytest.param(samples.ledger(3, "salt1", "before"), None, id="a standby that has rebooted"),
        pytest.param(samples.ledger(4, "salt2"), "is older", id="this node has taken over"),
        pytest.param({**samples.ledger(4, "salt1"), "unsaved": True}, "no backup yet", id="not saved"),
        pytest.param(None, "no ledger", id="no ledger"),
    ],
)
def test_who_may_be_written_to(own, word):
    reason = gate.write_refusal(samples.pair("salt2"), own)
    assert reason is None if word is None else word in reason


@pytest.mark.parametrize(
    ("own", "theirs", "word"),
    [
        pytest.param(samples.ledger(3, "salt1", "before"), samples.ledger(4, "salt2"), None, id="behind"),
        pytest.param(samples.ledger(4, "salt2", ""), samples.ledger(4, "salt2"), None, id="stepped down"),
        pytest.param(None, samples.ledger(4, "salt2"), None, id="installed anew"),
        pytest.param(samples.ledger(5, "salt1"), samples.ledger(4, "salt2"), "is newer", id="ahead"),
        pytest.param(
            samples.ledger(4, "salt1"), samples.ledger(4, "salt2"), "a split-brain", id="a split-brain"
        ),
        pytest.param(samples.ledger(3, "salt1"), samples.ledger(3, "salt1"), "not the newer", id="normal"),
        pytest.param(
            samples.ledger(3, "salt1"), samples.ledger(5, "salt1"), "not the newer", id="handed over"
        ),
        pytest.param(samples.ledger(3, "salt1"), None, "shows no ledger", id="the peer has no ledger"),
    ],
)
def test_who_may_be_overwritten(own, theirs, word):
    report = {"ledger": theirs, "boot_id": BOOT}
    reason = gate.pull_refusal(samples.pair("salt1"), own, BOOT, report)
    assert reason is None if word is None else word in reason


def test_no_report_of_the_peer_closes_the_gate():
    assert "shows no ledger" in gate.pull_refusal(samples.pair("salt1"), None, BOOT, None)


def test_data_can_never_flow_both_ways_at_once():
    """Whatever the two ledgers say, lsyncd and a pull are not both allowed."""
    ledgers = [
        samples.ledger(generation, active, boot)
        for generation, active, boot in itertools.product(range(4), ("salt1", "salt2"), (BOOT, ""))
    ]
    for mine, theirs in itertools.product([None, *ledgers], [None, *ledgers]):
        out = gate.lsyncd_refusal(samples.pair("salt1"), mine, BOOT, True) is None
        out = out and gate.write_refusal(samples.pair("salt2"), theirs) is None
        back = gate.pull_refusal(samples.pair("salt1"), mine, BOOT, {"ledger": theirs}) is None
        assert not (out and back), (mine, theirs)


@pytest.fixture
def member(tmp_path, monkeypatch):
    """The files of salt1, which holds its address."""
    monkeypatch.setattr(system, "boot_id", lambda: BOOT)
    monkeypatch.setattr(
        floating, "statuses", lambda wanted: [{"address": one.address, "held": True} for one in wanted]
    )
    return Member.of(samples.pair(), Paths(tmp_path))


def test_the_gate_opens_on_the_active_primary_and_a_reboot_closes_it(member, monkeypatch):
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    gates.require_lsyncd(member)
    monkeypatch.setattr(system, "boot_id", lambda: "the next boot")
    with pytest.raises(Refused, match=r"must not start.*rebooted.*pair\.status salt"):
        gates.require_lsyncd(member)


def test_a_torn_ledger_closes_the_gate(member):
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    member.ledger.path.write_text('{"generation": 3, "act')
    with pytest.raises(Refused, match="must not start.*damaged"):
        gates.require_lsyncd(member)


def test_the_gate_is_closed_for_a_node_that_holds_nothing(member, monkeypatch):
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    monkeypatch.setattr(floating, "statuses", lambda wanted: [{"held": False} for _ in wanted])
    with pytest.raises(Refused, match="none of the addresses"):
        gates.require_lsyncd(member)


def hold_the_pair(member, run=samples.RUN):
    member.lock.acquire(run, "recover", {"boot_id": "elsewhere"}, 60)


def test_a_pull_asks_the_peer_itself(member, monkeypatch):
    hold_the_pair(member)
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    answers = iter([samples.ledger(4, "salt2"), samples.ledger(3, "salt1")])
    monkeypatch.setattr(ssh, "report", lambda member: {"ledger": next(answers)})
    gates.require_pull(member, samples.RUN)
    with pytest.raises(Refused, match="Nothing is copied to salt1"):
        gates.require_pull(member, samples.RUN)


@pytest.mark.parametrize(
    ("misplaced", "word"),
    [
        (None, None),
        ({}, None),
        ({"/srv/salt": "lies on tmpfs"}, "/srv/salt on salt2 lies on tmpfs. Mount the right"),
        ({"error": "The record is damaged."}, "salt2: The record is damaged."),
    ],
)
def test_nothing_is_pulled_from_a_path_that_lies_elsewhere(misplaced, word):
    report = {"ledger": samples.ledger(4, "salt2"), "misplaced": misplaced}
    reason = gate.pull_refusal(samples.pair("salt1"), None, BOOT, report)
    assert reason is None if word is None else word in reason


def test_nothing_is_pulled_to_a_path_that_lies_elsewhere(member, monkeypatch):
    hold_the_pair(member)
    monkeypatch.setattr(ssh, "report", lambda member: {"ledger": samples.ledger(4, "salt2")})
    gates.require_pull(member, samples.RUN)
    samples.lies_elsewhere(member)
    with pytest.raises(Refused, match=r"Nothing is copied to salt1\. /srv/salt on salt1 lies on .*Mount"):
        gates.require_pull(member, samples.RUN)


def test_nothing_is_put_back_in_a_path_that_lies_elsewhere(member):
    hold_the_pair(member)
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    gates.require_undo(member, samples.RUN)
    samples.lies_elsewhere(member)
    with pytest.raises(Refused, match=r"Nothing is put back\. /srv/salt on salt1 lies on"):
        gates.require_undo(member, samples.RUN)


def test_a_pull_needs_the_lock_of_its_run(member, monkeypatch):
    monkeypatch.setattr(ssh, "report", lambda member: pytest.fail("nobody needed to be asked"))
    with pytest.raises(Refused, match="no run owns it"):
        gates.require_pull(member, samples.RUN)
    hold_the_pair(member, samples.OTHER_RUN)
    with pytest.raises(Refused, match=samples.OTHER_RUN):
        gates.require_pull(member, samples.RUN)
