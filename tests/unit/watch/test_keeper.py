"""The keeper as a process, and what it makes of an address that has gone; real networks: functional tests."""

import json
import types

import pytest
import samples

from failback.decisions import keeping
from failback.errors import Refused
from failback.handover import put_back
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.network import floating
from failback.pair import Member
from failback.state import ledger
from failback.watch import keeper
from failback.watch import resident

GATEWAY = samples.PAIR["floating_ips"][0]


@pytest.fixture
def member(tmp_path):
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    files.write_json(member.paths.pair_config("salt"), member.config)
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    return member


@pytest.fixture
def logged(monkeypatch):
    found = []
    monkeypatch.setattr(
        keeper.syslog, "syslog", lambda priority, sentence: found.append((priority, sentence))
    )
    return found


@pytest.fixture
def did(monkeypatch):
    """What the process does: it stays until its files change, which they have."""
    found = []
    monkeypatch.setattr(keeper.Keeper, "run", lambda one: found.append("keeps"))
    monkeypatch.setattr(resident, "detach", lambda: found.append("detaches") or True)
    close = keeper.Keeper.close
    monkeypatch.setattr(keeper.Keeper, "close", lambda one: (close(one), found.append("closes")))
    return found


def run(member, did, beside=None, **how):
    return keeper.main(member, restart=lambda: did.append("starts anew"), beside=beside, **how)


def test_it_goes_on_in_the_background_and_starts_anew_when_its_files_have_changed(member, did):
    assert run(member, did) == 0
    assert did == ["detaches", "keeps", "closes", "starts anew"]
    did.clear()
    assert keeper.main(member, foreground=True, restart=lambda: 7) == 7
    assert did == ["keeps", "closes"]


def test_cron_is_left_at_once(member, did, monkeypatch):
    monkeypatch.setattr(resident, "detach", lambda: False)
    assert run(member, did) == 0 and did == []


@pytest.mark.parametrize(
    ("changes", "beside", "keeps"),
    [
        ({}, False, True),
        ({"floating_ips": []}, False, True),
        ({"replicate": []}, False, True),
        ({"floating_ips": [], "replicate": []}, False, False),
        # What is done beside it is wanted in any case.
        ({"floating_ips": [], "replicate": []}, True, True),
    ],
)
def test_it_ends_where_there_is_nothing_to_keep(tmp_path, did, changes, beside, keeps):
    member = Member.of(samples.pair("salt1", **changes), Paths(tmp_path))
    asked = []
    assert run(member, did, asked.append if beside else None, foreground=True) == 0
    assert ("keeps" in did) is keeps and asked == ([member] if beside else [])


def test_the_second_one_ends_at_once(member, did):
    with resident.single(member.volatile / "keeper.lock"):
        assert run(member, did) == 0
    assert did == []


def test_why_it_ends_is_in_the_log_for_nobody_reads_what_it_prints(member, did, logged, monkeypatch):
    def fails(one):
        raise ValueError("a fault in the code")

    monkeypatch.setattr(keeper.Keeper, "run", fails)
    with pytest.raises(ValueError, match="a fault"):
        run(member, did)
    ((priority, sentence),) = logged
    assert priority == keeper.syslog.LOG_ERR
    assert sentence.startswith("keeper of salt: Traceback") and "a fault in the code" in sentence
    assert did == ["detaches", "closes"]


class Node:
    """salt1, whose address is there or not, and its keeper; a clock that stands."""

    def __init__(self, member, monkeypatch):
        self.member, self.monkeypatch = member, monkeypatch
        self.held, self.carrier, self.now, self.put, self.outcome = True, True, 1000.0, [], None
        monkeypatch.setattr(floating, "statuses", lambda wanted: [self.status() for _ in wanted])
        monkeypatch.setattr(put_back, "put_back", self.put_back)
        monkeypatch.setattr(system, "boottime", lambda: self.now)
        samples.in_place_of_time(monkeypatch, keeper, monotonic=lambda: self.now)
        self.keeper = keeper.Keeper(member)

    def status(self):
        return {"held": self.held, "carrier": self.carrier}

    def put_back(self, member, had, asks):
        self.put.append((set(had), asks))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def looks(self):
        """Look once, and say in how many seconds it looks again."""
        return self.keeper.look() - self.now


@pytest.fixture
def node(member, monkeypatch):
    made = Node(member, monkeypatch)
    yield made
    made.keeper.close()


def test_an_address_that_has_gone_is_put_back_at_once_and_looked_at_again_soon(node, logged):
    assert node.looks() == keeping.LOOK_EVERY and node.put == []
    node.held, node.outcome = False, "salt1 has put salt-gw back"
    assert node.looks() == keeping.AGAIN
    # It has only just gone: the other node need not be asked.
    assert node.put == [({"10.0.0.5"}, False)]
    assert [one for _, one in logged] == ["salt1 has put salt-gw back"]
    node.looks()
    assert len(node.put) == 1, "before its time"


def test_the_other_node_is_asked_first_when_it_has_been_away_for_long(node, logged):
    node.looks()
    node.held, node.outcome = False, Refused("10.0.0.5 is answered")
    node.looks()
    node.now += node.member.config["watch"]["patience"] / 2
    node.looks()
    assert [asks for _, asks in node.put] == [False, True]


def test_a_failure_is_said_once_and_tried_again_at_growing_distances(node, logged):
    node.looks()
    node.held, node.outcome = False, Refused("it is answered by 02:00:00:00:00:01")
    waits = []
    for _ in range(4):
        waits.append(node.looks())
        node.now += waits[-1]
    assert waits == [1, 2, 4, 8] and len(node.put) == 4
    ((priority, sentence),) = logged
    assert priority == keeper.syslog.LOG_NOTICE
    assert sentence == "salt-gw has gone from salt1 and is not put back: it is answered by 02:00:00:00:00:01"
    # Another reason is another sentence; a fault in the code ends nothing.
    node.outcome = KeyError("x")
    node.looks()
    assert logged[-1][1].endswith("is not put back: KeyError: 'x'")
    # It is back, and goes again: everything begins anew.
    node.held = True
    node.looks()
    node.held = False
    assert node.looks() == 1
    assert len(logged) == 3


def test_an_interface_that_comes_back_is_a_reason_to_try_at_once(node, logged):
    node.looks()
    node.held, node.outcome = False, Refused("the kernel says no")
    for _ in range(5):
        node.now += node.looks()
    node.carrier = False
    assert node.looks() == keeping.LOOK_EVERY, "without a carrier nothing can be put back"
    before = len(node.put)
    node.carrier = True
    assert node.looks() == 1 and len(node.put) == before + 1


def test_what_speaks_against_it_is_said_and_nothing_is_put_back(node, logged):
    node.looks()
    node.held = False
    node.member.pause.set(600, "work on the switch")
    assert node.looks() == 1
    assert node.put == [] and "is paused (work on the switch)" in logged[0][1]


def test_what_it_had_is_known_to_the_next_keeper_of_the_same_boot_and_to_no_other(node, logged, monkeypatch):
    node.looks()
    place = node.member.volatile / "kept.json"
    written = json.loads(place.read_text())
    assert (written["generation"], written["addresses"]) == (4, ["10.0.0.5"])
    place.unlink()
    node.looks()
    assert not place.exists(), "written only when there is news"
    files.write_json(place, written)
    node.held = False
    for content, puts in ((written, 1), ({**written, "boot_id": "another"}, 0), ([], 0), ({}, 0)):
        node.put.clear()
        files.write_json(place, content)
        again = Node(node.member, monkeypatch)
        again.held = False
        again.looks()
        again.keeper.close()
        assert len(again.put) == puts, content
        # When it went is not known, so somebody may have served since.
        assert all(asks for _, asks in again.put)


def test_a_run_that_is_full_ends_no_keeper(node, logged, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    node.looks()


def test_one_that_serves_no_more_has_had_nothing_and_nobody_is_heard_by_it(node, logged, monkeypatch):
    heard = []
    monkeypatch.setattr(node.keeper, "_heard", types.SimpleNamespace(look=heard.append))
    node.looks()
    node.held = False
    node.looks()
    node.member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
    node.put.clear()
    assert node.looks() == keeping.LOOK_EVERY and node.put == []
    assert json.loads((node.member.volatile / "kept.json").read_text())["addresses"] == []
    # By generation, while it has an address.
    assert heard == [4, None, None]


def test_what_its_disk_refuses_is_an_error_in_the_log(node, logged, capsys):
    node.keeper._say_of_the_disk("the disk has refused")
    assert logged == [(keeper.syslog.LOG_ERR, "the disk has refused")]
    assert capsys.readouterr().err == ""
    node.keeper.foreground = True
    node.keeper.say("once")
    node.keeper.say("once")
    assert capsys.readouterr().err == "failback: once\n"


def test_it_looks_whenever_the_kernel_has_news_and_ends_when_its_files_have_changed(node, monkeypatch):
    """And in between what came in is carried to the disk."""
    looks, synced = [], []
    changes = iter([False, True])
    monkeypatch.setattr(node.keeper._changes, "settled", lambda: next(changes))
    monkeypatch.setattr(node.keeper._syncer, "look", lambda: synced.append(node.now))
    look = node.keeper.look
    monkeypatch.setattr(node.keeper, "look", lambda: looks.append(node.now) or look())
    waited = []

    def select(read, write, error, seconds):
        waited.append(seconds)
        # News after half a second, then none.
        node.now += 0.5 if len(waited) == 1 else seconds
        return read, [], []

    monkeypatch.setattr(keeper, "select", types.SimpleNamespace(select=select))
    node.keeper.run()
    assert looks == synced == [1000.0, 1000.5] and waited == [2.0, 1.5]
