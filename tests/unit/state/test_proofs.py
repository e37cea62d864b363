"""What was proved of a pair, kept for whoever asks later: a file that cannot be read proves nothing."""

import json

import pytest
import samples

from failback.host.paths import Paths
from failback.pair import Member
from failback.state import ledger
from failback.state import proofs

NOW = 1_000_000.0
VERIFIED = {"at": NOW - 3600.26, "generation": 4, "files": 5120, "differing": 1, "differences": ["/srv/a"]}
DRILLED = {"at": NOW - 60, "windows": {"failover": 700}, "runs": {"failover": samples.RUN}}


@pytest.fixture
def member(tmp_path, monkeypatch):
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    samples.in_place_of_time(monkeypatch, proofs, time=lambda: NOW)
    return member


def test_nothing_was_proved_yet(member):
    assert proofs.known(member) == {"verified": None, "drilled": None}
    assert proofs.ages(member) == {}


def test_what_was_kept_is_known(member):
    proofs.keep_verified(member, {**VERIFIED, "files": 1})
    proofs.keep_verified(member, VERIFIED)
    proofs.keep_drilled(member, DRILLED)
    assert proofs.verified(member) == {**VERIFIED, "version": proofs.VERSION, "current": True}
    assert proofs.drilled(member) == {**DRILLED, "version": proofs.VERSION}
    assert proofs.ages(member) == {"verify_age": 3600.3, "drill_age": 60.0}


def test_the_age_of_what_a_wrong_clock_has_noted_is_not_below_nothing(member):
    proofs.keep_drilled(member, {**DRILLED, "at": NOW + 500})
    assert proofs.ages(member) == {"drill_age": 0.0}


@pytest.mark.parametrize("shown", [proofs.SHOWN - 1, proofs.SHOWN, proofs.SHOWN + 1])
def test_a_report_has_the_first_differences_and_the_file_all(member, shown):
    names = [f"/srv/{number}" for number in range(shown)]
    proofs.keep_verified(member, {**VERIFIED, "differences": names})
    assert proofs.known(member)["verified"]["differences"] == names[: proofs.SHOWN]
    assert proofs.verified(member)["differences"] == names


def changed_hands(member):
    member.ledger.write(ledger.Entry(5, "salt1", None, "a handover"))


def no_ledger(member):
    member.ledger.path.unlink()


def torn_ledger(member):
    member.ledger.path.write_text("torn")


@pytest.mark.parametrize("change", [changed_hands, no_ledger, torn_ledger])
def test_a_comparison_of_another_generation_is_no_present_one(member, change):
    proofs.keep_verified(member, VERIFIED)
    change(member)
    found = proofs.verified(member)
    assert found["current"] is False and found["files"] == 5120


@pytest.mark.parametrize(
    ("keep", "record", "key", "value"),
    [
        *(("verified", VERIFIED, key, None) for key in VERIFIED),
        ("verified", VERIFIED, "differences", "/srv/a"),
        ("verified", VERIFIED, "at", "yesterday"),
        *(("drilled", DRILLED, key, None) for key in DRILLED),
        ("drilled", DRILLED, "windows", [700]),
    ],
)
def test_a_record_without_what_it_must_have_proves_nothing(member, keep, record, key, value):
    getattr(proofs, f"keep_{keep}")(member, {**record, key: value})
    assert getattr(proofs, keep)(member) is None


@pytest.mark.parametrize("text", ["", "torn", "[]", json.dumps({**DRILLED, "version": proofs.VERSION + 1})])
def test_a_file_that_cannot_be_read_proves_nothing(member, text):
    proofs.keep_drilled(member, DRILLED)
    (member.state / "drilled.json").write_text(text)
    assert proofs.drilled(member) is None and proofs.ages(member) == {}
