"""What closes the gate of lsyncd, one thing at a time: it deletes on the other node what is missing here."""

import pytest
import samples

from failback.decisions import places
from failback.errors import Refused
from failback.host import files
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.replication import gate
from failback.replication import sources
from failback.state import ledger

RUN = samples.RUN


@pytest.fixture
def member(tmp_path, monkeypatch):
    """salt1, which serves with a path that has files; the gate is open."""

    def statuses(wanted):
        return [{"address": one.address, "held": True} for one in wanted]

    monkeypatch.setattr(floating, "statuses", statuses)
    member = Member.of(samples.pair(), Paths(tmp_path))
    member.ledger.write(ledger.Entry(5, "salt1", RUN, "a test"))
    (tmp_path / "srv/salt").mkdir(parents=True)
    (tmp_path / "srv/salt/top.sls").write_text("base: {}")
    sources.record(member, {"/srv/salt": None})
    gate.require_lsyncd(member)
    return member


def final_sync(member, compared):
    file = member.run_folder(RUN) / "last-pass.json"
    files.write_json(file, {"version": 1, "ended": 1.0, "compared": compared})


def test_a_run_that_nobody_has_compared_closes_it(member):
    final_sync(member, False)
    with pytest.raises(Refused, match=f"must not start. Run {RUN} brought salt1 home.*orch.recover"):
        gate.require_lsyncd(member)
    final_sync(member, True)
    gate.require_lsyncd(member)


def test_a_path_that_is_empty_and_was_not_closes_it(member):
    (member.paths.root / "srv/salt/top.sls").unlink()
    with pytest.raises(Refused, match="must not start. /srv/salt on this node is empty, and was not"):
        gate.require_lsyncd(member)


def test_a_path_that_is_gone_closes_it(member):
    (member.paths.root / "srv/salt").rename(member.paths.root / "srv/elsewhere")
    with pytest.raises(Refused, match="must not start. /srv/salt on this node does not exist any more"):
        gate.require_lsyncd(member)


def test_a_path_on_another_file_system_closes_it(member):
    samples.lies_elsewhere(member)
    with pytest.raises(Refused, match=r"must not start. /srv/salt on this node lies on .*used to lie on"):
        gate.require_lsyncd(member)


@pytest.mark.parametrize(
    "what", ["another run owns the lock", "this node does not serve", "it lies elsewhere"]
)
def test_what_refuses_an_undo(member, what):
    member.lock.acquire(RUN, "undo", {"boot_id": "elsewhere"}, 60)
    gate.require_undo(member, RUN)
    if what == "another run owns the lock":
        member.lock.release(RUN)
        member.lock.acquire(samples.OTHER_RUN, "recover", {"boot_id": "elsewhere"}, 60)
        said = f"{samples.OTHER_RUN} owns it"
    elif what == "this node does not serve":
        member.ledger.write(ledger.Entry(6, "salt2", None, "a test"))
        said = "salt1 does not serve salt any more, so nothing is put back"
    else:
        samples.lies_elsewhere(member)
        said = "Nothing is put back"
    with pytest.raises(Refused, match=said):
        gate.require_undo(member, RUN)


ONE = {"mount": "/srv", "type": "xfs", "source": "/dev/vdb1", "root": "/", "uuid": "u1"}


@pytest.mark.parametrize(
    ("now", "lies_there"),
    [
        (ONE, True),
        ({**ONE, "source": "/dev/vdc1"}, True),
        ({**ONE, "uuid": "u2"}, False),
        # One side without a UUID: the device has to be the same.
        ({**ONE, "uuid": None}, True),
        ({**ONE, "uuid": None, "source": "/dev/vdc1"}, False),
        ({**ONE, "mount": "/"}, False),
        ({**ONE, "type": "ext4"}, False),
        ({**ONE, "root": "/sub"}, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("where", ["the path itself", "a disk below it"])
def test_what_is_the_same_file_system(now, lies_there, where):
    def fact(mount):
        own, below = (mount, []) if where == "the path itself" else (ONE, [mount] if mount else [])
        return {"/srv/data": {"exists": True, "empty": False, "file_system": own, "below": below}}

    assert (places.misplaced(fact(now), fact(ONE)) == {}) is lies_there


def test_a_path_without_a_place_before_has_none_to_leave():
    now = {"/srv/data": {"exists": True, "empty": False, "file_system": ONE, "below": []}}
    without = {"/srv/data": {**now["/srv/data"], "file_system": None}}
    absent = {"/srv/data": {**now["/srv/data"], "exists": False}}
    assert places.misplaced(now, without) == places.misplaced(now, absent) == {}
    # Records of a release that did not look below.
    former = {"/srv/data": {key: value for key, value in now["/srv/data"].items() if key != "below"}}
    assert places.misplaced(now, former) == places.misplaced(former, former) == {}
