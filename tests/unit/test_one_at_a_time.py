"""
What must not be done by two at once is done under its lock: whoever has the lock is waited for.

Nobody waits here. To enter a lock raises, so a function that gets past it, or changes a file first, is seen.
"""

import contextlib

import pytest
import samples

from failback.errors import Unavailable
from failback.guard import actions
from failback.handover import claims
from failback.handover import giver
from failback.handover import put_back
from failback.handover import takeover
from failback.handover import taker
from failback.handover import way_back
from failback.host import files
from failback.host.paths import Paths
from failback.lease import right
from failback.pair import Member
from failback.peer import ssh
from failback.state import fencing
from failback.state import ledger

RUN = samples.RUN
OWNER = {"boot_id": "elsewhere"}


class Waits(Exception):
    """Somebody else has this lock."""


#: By lock: what waits for it.
WHO_WAITS = {
    "state/.change.flock": {
        "the watch takes over": lambda member: takeover.take_over(member, "silence"),
        "a run takes over": lambda member: takeover.take_over(member, "by word", RUN),
        "the node steps down": lambda member: takeover.yield_to(member, 7, "salt2"),
        "the taker begins": lambda member: taker._taking(member, RUN, 10).__enter__(),
        "the way back is armed": lambda member: way_back.arm(member, RUN, 10),
        "a handover ends": lambda member: way_back.disarm(member, RUN),
        "the addresses are taken back": lambda member: way_back.take_back(member, RUN),
        "the giver stops what writes": lambda member: giver.quiesce(member, RUN),
        "the giver releases": lambda member: giver.release(member, RUN, None),
        "the giver commits": lambda member: giver.commit(member, RUN),
        "the keeper puts an address back": lambda member: put_back.put_back(member, ["10.0.0.5"], False),
        "a claim is heard": claims.heard,
        "a ledger catches up with that": claims.catch_up,
        "a claim is withdrawn": lambda member: claims.withdraw(member, "nobody"),
        "active services stop": claims.stop_active,
        "a claim is renounced": claims.renounce_here,
        "the node serves on": lambda member: claims.serve_on(member, 5),
        "the standby is admitted again": lambda member: claims.admit_again(
            member, {"requests": [claims.CARRIED]}
        ),
        "the guard serves again": actions.resume,
        "the guard puts an address back": lambda member: actions.put_back(member, 5),
    },
    "state/.ledger.flock": {
        "an entry is written": lambda member: member.ledger.write(ledger.Entry(6, "salt2", None, "a test")),
        "what came in is on the disk": lambda member: member.ledger.synced(5),
    },
    "state/.lock.flock": {
        "a run takes the lock": lambda member: member.lock.acquire(RUN, "recover", OWNER, 60),
        "a run renews it": lambda member: member.lock.renew(RUN, 60),
        "a run gives it back": lambda member: member.lock.release(RUN),
    },
    "state/.hold.flock": {
        "the watch is paused": lambda member: member.pause.set(60, "work"),
        "a pause ends": lambda member: member.pause.clear(),
    },
    "state/.fenced.flock": {
        "a node is declared off": lambda member: member.fencing.record(
            {"node": "salt2", "reason": "its power is off"}, RUN, {"user": "root"}, 60
        ),
        "that is void": lambda member: member.fencing.void("it answers"),
        "somebody knocks": lambda member: member.fencing.observe(),
    },
    "volatile/.lease.flock": {
        "the right changes": lambda member: right.change(member, answered=None),
        "the right is forgotten": right.forget,
    },
}


@pytest.fixture
def member(tmp_path, monkeypatch):
    """salt1, which serves in generation 5."""
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    member.ledger.write(ledger.Entry(5, "salt1", None, "a test"))
    member.lock.acquire(RUN, "recover", OWNER, 600)
    # To the other node nothing is said, and it answers nothing.
    monkeypatch.setattr(ssh, "ask", lambda *_, **__: "")
    monkeypatch.setattr(ssh, "report", _no_answer)
    monkeypatch.setattr(fencing, "answers", lambda host: None)
    return member


def _no_answer(*_, **__):
    raise Unavailable("no answer")


def contents(member):
    return {
        str(file): file.read_bytes()
        for file in member.paths.root.rglob("*")
        # That a claim was heard is noted before anybody is waited for.
        if file.is_file() and not file.name.endswith(("flock", "heard.json"))
    }


@pytest.mark.parametrize(
    ("place", "what"), [(place, what) for place, each in WHO_WAITS.items() for what in each]
)
def test_it_waits_for_whoever_has_the_lock(member, monkeypatch, place, what):
    kind, _, name = place.partition("/")
    wanted = getattr(member, kind) / name
    real = files.locked

    @contextlib.contextmanager
    def locked(path):
        if path == wanted:
            entered.append(contents(member))
            raise Waits
        with real(path):
            yield

    entered = []
    if what == "the standby is admitted again":
        member.ledger.write(ledger.Entry(6, "salt2", None, "stepped down", admitted=False))
    if what == "a claim is heard":
        member.ledger.write(ledger.Entry(6, "salt1", None, "silence", heard=False))
    before = contents(member)
    monkeypatch.setattr(files, "locked", locked)
    with pytest.raises(Waits):
        WHO_WAITS[place][what](member)
    assert entered == [before], "something was changed before the lock was there"
    assert contents(member) == before


def test_every_function_that_takes_a_lock_is_in_the_table(tree):
    """One that is new has to be added: it is named by nothing else."""
    found = 0
    for file in (tree / "salt/_utils/failback").rglob("*.py"):
        text = file.read_text()
        found += text.count(".changing_hands():")
    # Two kinds of takeover are one function.
    assert found == len(WHO_WAITS["state/.change.flock"]) - 1
