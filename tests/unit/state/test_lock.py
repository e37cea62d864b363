"""Which run owns the lock of a pair."""

import json
import os

import pytest
import samples

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import lock

ONE, TWO = samples.RUN, samples.OTHER_RUN


@pytest.fixture
def member(tmp_path):
    return Member("salt", Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, lock, system)


def owner(**changes):
    """A living process of another host, unless said otherwise."""
    process = {"boot_id": "elsewhere", "pid": 42, "started": 7}
    return {"master": "salt2_master", "user": "anna", **process, **changes}


def of_this_process():
    pid = os.getpid()
    return owner(boot_id=system.boot_id(), pid=pid, started=system.process_started(pid))


def take(member, run, seconds=60, by=None, **changes):
    return member.lock.acquire(run, "recover", by or owner(), seconds, **changes)


def test_the_second_run_is_refused_and_told_of_the_first(member):
    take(member, ONE)
    with pytest.raises(Refused) as error:
        take(member, TWO)
    for word in (ONE, "recover", "anna", "salt2_master", "pair.status salt", "expires in 60 s"):
        assert word in str(error.value)
    assert member.lock.read()["run"] == ONE


def test_the_holder_renews_it_and_keeps_since_when(member, clock):
    since = take(member, ONE)["since"]
    clock.now += 50
    again = take(member, ONE)
    assert again["since"] == since and again["expires"] == clock.now + 60
    assert again["taken_over"] is None
    clock.now += 55
    assert member.lock.read()["state"] == "held"


def test_renewing_prolongs_it_and_changes_nothing_else(member, clock):
    before = take(member, ONE)
    clock.now += 50
    assert member.lock.renew(ONE, 60) is True
    after = member.lock.read()
    assert after.pop("expires") == clock.now + 60 and after.pop("state") == "held"
    assert after.pop("renewed") == clock.now and after.pop("boottime") == before.pop("boottime") + 50
    before.pop("expires"), before.pop("renewed"), before.pop("taken_over")
    assert after == before
    assert take(member, ONE)["since"] == before["since"]


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_it_says_what_the_run_is_at_and_since_when(member, clock, ahead):
    take(member, ONE)
    assert "step" not in member.lock.read()
    member.lock.renew(ONE, 60, {"name": "static", "seconds": 2.0})
    clock.now += 10
    clock.set_ahead(ahead)
    member.lock.renew(ONE, 60)
    assert member.lock.read()["step"] == {"name": "static", "began": clock.now - 12}
    member.lock.renew(ONE, 60, {"name": "services", "seconds": 0.0})
    assert member.lock.read()["step"] == {"name": "services", "began": clock.now}


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_it_lasts_as_long_when_the_clock_is_set_meanwhile(member, clock, ahead):
    take(member, ONE)
    clock.now += 10
    clock.set_ahead(ahead)
    found = member.lock.read()
    assert (found["state"], found["expires"]) == ("held", clock.now + 50)
    clock.now += 49
    assert member.lock.renew(ONE, 60) is True
    clock.set_ahead(ahead)
    clock.now += 59.9
    assert member.lock.read()["state"] == "held"
    clock.now += 0.1
    assert member.lock.read()["state"] == "expired"


def test_what_was_begun_here_does_not_go_on_after_a_reboot(member, clock, monkeypatch):
    """A step may outlive its run, and has a long lock for it; it does not outlive this node."""
    take(member, ONE, seconds=1200)
    clock.now += lock.LEASE + 1
    assert member.lock.read()["state"] == "held"
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    assert member.lock.read()["state"] == "expired"
    assert take(member, TWO, seconds=1200)["taken_over"] == ONE
    assert member.lock.read()["state"] == "held"


def test_a_living_run_keeps_its_lock_over_a_reboot_of_the_node(member, clock, monkeypatch):
    take(member, ONE, seconds=1200)
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    monkeypatch.setattr(system, "boottime", lambda: 5.0)
    clock.now += lock.LEASE - 1
    assert member.lock.read()["state"] == "held"
    assert member.lock.renew(ONE, 1200) is True
    clock.now += lock.LEASE + 1
    assert member.lock.read()["state"] == "held"


@pytest.mark.parametrize(
    ("found", "expires"),
    [
        ({"expires": 900, "renewed": 100, "boot_id": "this"}, 900),
        ({"expires": 900, "renewed": 100, "boot_id": "before"}, 100 + lock.LEASE),
        ({"expires": 120, "renewed": 100, "boot_id": "before"}, 120),
        ({"expires": 9000, "renewed": 8000, "boot_id": "before"}, 1000 + lock.LEASE),
        ({"expires": 9000, "renewed": 8000, "boot_id": "this"}, 9000),
        ({"expires": 900}, 900),
    ],
)
def test_when_a_lock_ends(found, expires):
    assert lock.expiry(found, "this", 1000) == expires


def test_what_a_run_does_not_have_is_not_renewed(member):
    """A renewal may come late, after the run was closed or had lost the pair."""
    assert member.lock.renew(ONE, 60) is False
    assert member.lock.read() is None
    take(member, TWO)
    assert member.lock.renew(ONE, 60) is False
    assert member.lock.read()["run"] == TWO


def test_an_expired_lock_is_taken_over_and_the_dead_run_named(member, clock):
    take(member, ONE)
    clock.now += 60
    assert member.lock.read()["state"] == "expired"
    assert take(member, TWO)["taken_over"] == ONE
    with pytest.raises(Refused, match=TWO):
        take(member, ONE)


def test_a_living_process_of_this_node_keeps_it(member):
    take(member, ONE, by=of_this_process())
    assert member.lock.read()["state"] == "held"


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param({"pid": 2**22 + 1}, id="no such process"),
        pytest.param({"started": 1}, id="a pid used again"),
    ],
)
def test_a_dead_process_of_this_node_loses_it_at_once(member, gone):
    take(member, ONE, by={**of_this_process(), **gone})
    assert member.lock.read()["state"] == "dead"
    assert take(member, TWO)["taken_over"] == ONE


@pytest.mark.parametrize(("expires", "state"), [(100, "held"), (50, "expired"), (0, "expired")])
def test_what_only_its_time_tells(expires, state):
    assert lock.judge({"expires": expires}, 50) == state


@pytest.mark.parametrize(
    ("machine", "boot", "started", "gone"),
    [
        pytest.param("mine", "this", 7, False, id="alive here"),
        pytest.param("mine", "this", None, True, id="gone"),
        pytest.param("mine", "this", 8, True, id="another process with its pid"),
        pytest.param("mine", "earlier", 7, True, id="this machine has rebooted since"),
        pytest.param("other", "other", None, False, id="another machine: nothing is known"),
        pytest.param("", "other", None, False, id="a machine without an identity"),
        pytest.param(None, "other", None, False, id="a lock of an older release"),
    ],
)
def test_what_a_machine_can_prove_of_a_process(machine, boot, started, gone):
    held = owner(machine=machine, boot_id=boot)
    assert lock.ended(held, "mine", "this", lambda pid: started if pid == 42 else None) is gone


def test_a_machine_without_an_identity_proves_nothing_about_one_without():
    assert lock.ended(owner(machine="", boot_id="other"), "", "this", lambda pid: None) is False


def test_what_the_other_node_has_proved_dead_is_taken_over(member):
    take(member, ONE)
    assert take(member, TWO, dead_runs=(ONE,))["taken_over"] == ONE


def test_only_its_run_gives_it_back(member):
    take(member, ONE)
    assert member.lock.release(TWO) is False
    assert member.lock.read()["run"] == ONE
    assert member.lock.release(ONE) is True
    assert member.lock.release(ONE) is False
    assert member.lock.read() is None


def test_a_run_that_lost_the_pair_must_not_go_on(member, clock):
    with pytest.raises(Refused, match="no run owns it"):
        member.lock.require(ONE)
    take(member, ONE)
    member.lock.require(ONE)
    clock.now += 61
    take(member, TWO)
    with pytest.raises(Refused, match=f"run {TWO} owns it"):
        member.lock.require(ONE)


def test_a_torn_lock_is_neither_free_nor_held(member):
    take(member, ONE)
    member.lock.path.write_text('{"run"')
    for call in (member.lock.read, lambda: take(member, TWO), lambda: member.lock.require(ONE)):
        with pytest.raises(Unreadable, match="lock of salt"):
            call()


@pytest.mark.parametrize(
    "change", [{"run": None}, {"run": 7}, {"expires": "soon"}, {"owner": "anna"}], ids=str
)
def test_a_lock_whose_content_is_nonsense_is_reported_as_such(member, change):
    take(member, ONE)
    found = {**json.loads(member.lock.path.read_text()), **change}
    member.lock.path.write_text(json.dumps(found))
    with pytest.raises(FailbackError):
        take(member, TWO)


def test_a_lock_without_an_owner_counts_until_it_expires(member, clock):
    take(member, ONE)
    found = json.loads(member.lock.path.read_text())
    del found["owner"]
    member.lock.path.write_text(json.dumps(found))
    assert member.lock.read()["state"] == "held"
    clock.now += 60
    assert take(member, TWO)["taken_over"] == ONE


def test_a_process_is_named_by_its_pid_and_its_start():
    pid = os.getpid()
    assert system.process_started(pid) == system.process_started(pid) > 0
    assert system.process_started(2**22 + 1) is None
    assert system.process_started(None) is None
