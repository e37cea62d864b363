"""The records of runs, and what an id of a run may look like."""

import re

import pytest
import samples

from failback.errors import Refused
from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import backup
from failback.state import runs

RECORD = {"operation": "recover", "started": samples.SINCE, "finished": None, "result": None}


@pytest.fixture
def member(tmp_path):
    return Member("salt", Paths(tmp_path))


def test_an_id_says_when_what_and_which_pair_and_is_accepted():
    run = runs.new_id("recover", "salt")
    assert re.fullmatch(r"\d{8}T\d{6}-recover-salt-[0-9a-f]{4}", run)
    runs.require_id(run)
    assert runs.new_id("recover", "site.a_b-c") != runs.new_id("recover", "site.a_b-c")


@pytest.mark.parametrize(
    "run",
    [
        "",
        "..",
        "/etc/passwd",
        "../20261122T183000-recover-salt-4f2a",
        "20261122T183000-recover-salt-4f2a/..",
        "20261122T183000-recover-..-4f2a",
        "20261122T183000-recover-a/b-4f2a",
        "20261122T183000-recover-salt-4f2a\n",
        "20261122T183000-recover-salt-4f2g",
        "20261122T183000-Recover-salt-4f2a",
        "-20261122T183000-recover-salt-4f2a",
        "٢٠٢٦1122T183000-recover-salt-4f2a",
        None,
        7,
        ["20261122T183000-recover-salt-4f2a"],
    ],
)
def test_what_is_no_id_is_never_a_path(member, run):
    with pytest.raises(Refused, match="is not the id of a run"):
        runs.require_id(run)
    with pytest.raises(Refused):
        member.runs.write(run, RECORD)
    with pytest.raises(Refused):
        member.runs.read(run)


def test_a_record_is_kept_with_its_run_and_pair(member):
    member.runs.write(samples.RUN, RECORD)
    found = member.runs.read(samples.RUN)
    assert found == {**RECORD, "version": 1, "run": samples.RUN, "pair": "salt"}
    member.runs.write(samples.RUN, {**RECORD, "result": "succeeded"})
    assert member.runs.read(samples.RUN)["result"] == "succeeded"


def test_an_unknown_run_has_no_record(member):
    assert member.runs.read(samples.RUN) is None
    assert member.runs.history() == []


def test_history_is_oldest_first_and_says_where_a_backup_is(member):
    for run in (samples.OTHER_RUN, samples.RUN):
        member.runs.write(run, RECORD)
    (member.run_folder(samples.OTHER_RUN) / "backup").mkdir()
    found = [(one["run"], one["backup"]) for one in member.runs.history()]
    assert found == [(samples.RUN, False), (samples.OTHER_RUN, True)]


def test_a_record_that_cannot_be_read_is_not_left_out(member):
    member.runs.write(samples.RUN, RECORD)
    (member.run_folder(samples.RUN) / "run.json").write_text('{"ver')
    (found,) = member.runs.history()
    assert found["result"] == "unreadable" and "damaged" in found["sentence"]


def test_the_locks_of_rsync_beside_the_runs_are_no_runs(member):
    """``failback.recovery.pull`` keeps a lock for each path in the same folder."""
    member.runs.write(samples.RUN, RECORD)
    (member.runs.folder / ".srv-salt.lock").touch()
    assert [one["run"] for one in member.runs.history()] == [samples.RUN]


def test_a_run_whose_record_was_never_written_is_no_history(member):
    backup.Folder(member.run_folder(samples.RUN)).prepare([])
    assert member.runs.history() == []
