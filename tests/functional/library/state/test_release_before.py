"""
What the release before this one has left on a node is read as it is.

``release-before.tar.gz`` was written by the code of 26 Nov 2026 (commit 5ca6c1a, before the wings):
a pair's configuration, ledger, lock, two pauses, an operator's word, sources, and a run with its record, its
list, its manifest and its backup. Nothing in it is edited.

``release-before-failed-over.tar.gz`` has a pair that has failed over: the configuration and the ledger of the
primary that has returned, and of the secondary that serves. The same code has written the ledgers. A pair in
order is upgraded by highstate in ``tests/lab/serving/test_a_new_release.py``.
"""

import pathlib
import tarfile

import pytest

from failback import report
from failback.decisions import gate as gates
from failback.decisions import places
from failback.decisions import plan
from failback.decisions import verdict
from failback.errors import Refused
from failback.handover import phases
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import backup
from failback.recovery import restore
from failback.recovery import reverse_rsync
from failback.replication import gate
from failback.replication import sources
from failback.state import runs

pytestmark = pytest.mark.needs("root")

HERE = pathlib.Path(__file__).parent
RUN = "20261126T180000-recover-salt-4f2a"
ENDED = "20261125T180000-recover-salt-0c11"


@pytest.fixture
def member(tmp_path):
    with tarfile.open(HERE / "release-before.tar.gz") as archive:
        archive.extractall(tmp_path / "node", numeric_owner=True)
    return Member.load("salt", Paths(tmp_path / "node"))


def test_the_configuration(member):
    assert (member.node, member.role, member.peer["id"]) == ("salt1", "primary", "salt2")
    assert [entry["path"] for entry in member.config["replicate"]] == ["/srv/data"]


def test_the_ledger(member):
    own = member.ledger.read()
    assert (own["generation"], own["active"], own["run"]) == (4, "salt1", ENDED)
    assert own["why"] == "handover from salt2"
    # Written in an earlier boot, it admits nobody now.
    assert not member.is_active()


def test_the_lock(member):
    found = member.lock.read()
    assert (found["run"], found["operation"], found["state"]) == (RUN, "recover", "expired")
    assert found["owner"]["master"] == "salt2_master"


def test_the_pauses(member):
    assert member.pause.path.name == "hold.json"
    assert member.pause.last()["reason"] == "work on the switch"
    member.pause.set(60, "of today")
    assert member.pause.read()["reason"] == "of today"
    member.pause.clear()
    assert not member.pause.path.exists()


def test_the_word_that_a_node_is_off_counts_no_more(member):
    assert member.fencing.read() is None


def test_the_handover_that_has_ended(member):
    assert phases.read_state(member)["phase"] == phases.DONE
    phases.require_no_other(member.config, RUN, phases.read_state(member))


def test_the_history(member):
    (record,) = member.runs.history()
    assert record["run"] == ENDED and record["result"] == "success" and record["backup"]
    # The steps keep the names that they had.
    assert [step["step"] for step in record["steps"]] == ["hold", "warm"]
    assert member.runs.uncompared(ENDED) is None


def test_where_the_paths_lay(member):
    recorded = sources.recorded(member)
    assert set(recorded["own"]) == {"/srv/data"}
    assert places.source_problems(recorded["peer"], recorded["peer"], {"/srv/data": 3}, "salt") == []


def test_the_gate_is_judged_by_it(member):
    with pytest.raises(Refused, match="booted"):
        gate.require_lsyncd(member)


def test_the_report_is_made_of_it(member, monkeypatch):
    monkeypatch.setattr(services, "states", lambda units: {unit["name"]: "inactive" for unit in units})
    found = report.report(member)
    assert found["ledger"]["generation"] == 4 and found["ledger_error"] is None
    assert found["pause"] is None and found["last_run"] == ENDED


def test_the_backup_is_put_back(member):
    root = member.paths.root
    assert (root / "srv/data/changed").read_text() == "new\n"
    (item,) = reverse_rsync.items_of_run(backup.Folder(member.run_folder(ENDED)), member)
    assert item.path == "/srv/data"
    new = runs.new_id("undo", "salt")
    done = restore.restore(member.run_folder(ENDED), member.run_folder(new), root=str(root))
    assert (done["restored"], done["created"]) == (3, 1), done
    assert (root / "srv/data/changed").read_text() == "old content\n"
    gone = (root / "srv/data/gone").stat()
    assert (gone.st_mode & 0o777, gone.st_uid, gone.st_gid) == (0o640, 1, 2)
    assert (root / "srv/data/only-there").exists(), "what a run has created is left alone"


@pytest.fixture
def failed_over(tmp_path, monkeypatch):
    """``{node: (member, report)}``: salt2 serves since salt1 was lost; salt1 has booted anew since."""
    with tarfile.open(HERE / "release-before-failed-over.tar.gz") as archive:
        archive.extractall(tmp_path, numeric_owner=True)
    monkeypatch.setattr(services, "states", lambda units: {unit["name"]: "inactive" for unit in units})
    nodes = {}
    for role, boot_id in (("returned-primary", "a boot later"), ("active-secondary", "5e40")):
        member = Member.load("salt", Paths(tmp_path / role))
        monkeypatch.setattr(system, "boot_id", lambda boot_id=boot_id: boot_id)
        nodes[member.node] = member, report.report(member), member.is_active()
    return nodes


def test_a_secondary_that_serves_goes_on_and_its_primary_does_not_start(failed_over):
    primary, reported, active = failed_over["salt1"]
    assert not active and failed_over["salt2"][2]
    assert "has rebooted" in gates.lsyncd_refusal(primary.config, primary.ledger.read(), "a boot later", None)
    assert (
        gates.pull_refusal(primary.config, primary.ledger.read(), "a boot later", failed_over["salt2"][1])
        is None
    )
    assert gates.write_refusal(failed_over["salt2"][0].config, failed_over["salt2"][0].ledger.read())


def test_the_recovery_of_a_pair_that_failed_over_under_the_release_before(failed_over):
    (primary, returned, _), (_, serving, _) = failed_over["salt1"], failed_over["salt2"]
    found = verdict.judge(primary.config, returned, serving)
    assert (found.name, found.active, found.generation) == (verdict.FAILED_OVER, "salt2", 5)
    made = plan.decide(plan.RECOVER, primary.config, found)
    assert made.refusal is None and {"pre-sync", "handover"} <= set(made.steps)
