"""The final sync of a handover: names from the journals of both nodes, and nothing else is compared."""

import json
import os

import pytest
import samples
import trees

from failback.errors import Unavailable
from failback.host import notation
from failback.host import system
from failback.host.paths import Paths
from failback.journal import service
from failback.pair import Member
from failback.recovery import final_sync
from failback.recovery import handover_sync
from failback.recovery import reverse_rsync
from failback.recovery.reverse_rsync import ReverseRsync

RUN = samples.RUN
CONFIG = samples.pair(
    "salt1", replicate=[{"path": "/srv/salt", "then": "salt-master"}, {"path": "/srv/other", "then": None}]
)


class Client:
    """In place of a connection to this node's own journals."""

    def __init__(self, answer):
        self.answer, self.closed = answer, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def changes(self, run):
        assert run == RUN
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Handover:
    """salt1 takes over from salt2; both are in step but for what a test changes."""

    def __init__(self, folder, monkeypatch):
        self.nodes = trees.Nodes(folder)
        self.here, self.there = self.nodes.here / "srv", self.nodes.there / "srv"
        for side in (self.here, self.there):
            trees.make(side, {"salt/named": "1", "salt/deep/quiet": "1", "other/deep/file": "1"})
        self.member = Member.of(CONFIG, Paths(self.nodes.here))
        self.items = [self.nodes.item(one["path"]) for one in CONFIG["replicate"]]
        self.nodes.peer(self.items)
        self.synced = []
        real = system.sync_file_systems
        monkeypatch.setattr(
            system, "sync_file_systems", lambda folders: self.synced.append(self.ended()) or real(folders)
        )
        self.reverse = ReverseRsync(
            self.member,
            RUN,
            items=self.items,
            remote_shell=str(self.nodes.folder / "far-end"),
            gate=lambda: None,
        )
        self.last = handover_sync.FinalSync(self.reverse)

    def answer(self, names=(), folders=(), why=None, other=()):
        """What the journals of one node say."""
        salt, beside = (one.module for one in self.items)
        return {
            salt: {"names": list(names), "folders": list(folders), "why": why},
            beside: {"names": list(other), "folders": [], "why": None},
        }

    @property
    def record(self):
        return self.reverse.folder.path / reverse_rsync.FINAL_SYNC

    def ended(self):
        """When the final sync ended, by its record; None before."""
        return json.loads(self.record.read_text())["ended"] if self.record.exists() else None

    def run(self, own, theirs, why=None):
        names = self.last.expect(Client(own))
        self.last.name(theirs, why)
        return names, self.last.run(limit=30)


@pytest.fixture
def handover(tmp_path, monkeypatch):
    made = Handover(tmp_path, monkeypatch)
    yield made
    made.last.close()


def changed_everywhere(handover):
    """On both nodes; what no journal names is left."""
    for name in ("named", "deep/quiet"):
        (handover.there / "salt" / name).write_text("changed there")


@trees.needs_rsync_that_knows_missing_names
def test_what_a_journal_names_is_brought_and_nothing_else_is_looked_at(handover):
    changed_everywhere(handover)
    trees.make(handover.here, {"salt/mine": "made here by mistake"})
    names, done = handover.run(handover.answer(["mine"]), handover.answer(["named", "mine"]))
    # What has changed here goes to the other node's journals, which then name it as well.
    assert names == {handover.items[0].module: ["mine"], handover.items[1].module: []}
    assert (handover.here / "salt/named").read_text() == "changed there"
    assert (handover.here / "salt/deep/quiet").read_text() == "1"
    assert not (handover.here / "salt/mine").exists()
    salt, other = done["paths"]
    assert (salt["named"], salt["why"]) == (3, None), "both names, and their folder"
    assert (other["named"], other["why"]) == (0, None)
    assert done["changed"] == ["/srv/salt"] and done["then"] == ["salt-master"]
    assert 0 <= done["seconds"] < 30


def test_nothing_has_changed(handover):
    _, done = handover.run(handover.answer(), handover.answer())
    assert done["changed"] == [] and done["then"] == []
    assert [one["named"] for one in done["paths"]] == [0, 0]


@trees.needs_rsync_that_knows_missing_names
def test_under_the_name_of_a_folder_that_is_new_there_what_is_here_goes(handover):
    trees.make(handover.there, {"salt/new/theirs": "1"})
    trees.make(handover.here, {"salt/new/mine": "1"})
    handover.run(handover.answer(), handover.answer(["new", "new/theirs"], ["new"]))
    assert [one.name for one in (handover.here / "salt/new").iterdir()] == ["theirs"]


UNAVAILABLE = Unavailable("no journal of changes was kept (No such file or directory)")
WHOLE = ("changed there", "changed there")


@pytest.mark.parametrize(
    ("own", "theirs", "said", "why"),
    [
        pytest.param(None, {}, None, "here too many files have changed", id="this node's is incomplete"),
        pytest.param({}, None, None, "on salt2 too many files have changed", id="the other's is incomplete"),
        pytest.param({}, "nothing", "no answer", "on salt2 no answer", id="the other node does not answer"),
        pytest.param(
            {}, "nothing", None, "on salt2 no journal of changes was kept", id="it has none of that path"
        ),
        pytest.param(
            "nothing", {}, None, "here no journal of changes was kept", id="this node has none of that path"
        ),
        pytest.param(UNAVAILABLE, {}, None, str(UNAVAILABLE), id="this node has none"),
        pytest.param(
            {}, {"names": ["../outside"]}, None, "../outside may not belong to /srv/salt", id="a foreign name"
        ),
    ],
)
def test_a_path_whose_journal_is_incomplete_is_compared_as_a_whole(handover, own, theirs, said, why):
    changed_everywhere(handover)
    incomplete = {"why": "too many files have changed"}

    def answer(given):
        if isinstance(given, Exception):
            return given
        if given == "nothing":
            return {}
        return handover.answer(**(incomplete if given is None else {"names": ["named"], **given}))

    _, done = handover.run(answer(own), answer(theirs), said)
    salt = done["paths"][0]
    assert (salt["named"], salt["why"]) == (None, why)
    assert tuple((handover.here / "salt" / name).read_text() for name in ("named", "deep/quiet")) == WHOLE


def test_a_path_of_its_own_kind_keeps_its_names_beside_one_that_is_compared_as_a_whole(handover):
    (handover.there / "other/deep/file").write_text("not named")
    _, done = handover.run(handover.answer(), handover.answer(why="it began anew"))
    assert [one["named"] for one in done["paths"]] == [None, 0]
    assert (handover.here / "other/deep/file").read_text() == "1"


def test_this_nodes_own_journals_are_asked_and_left(handover, monkeypatch):
    client = Client(handover.answer())
    asked = []
    monkeypatch.setattr(service, "Client", lambda member: asked.append(member) or client)
    handover.last.expect()
    assert asked == [handover.member] and client.closed


def test_where_no_journal_is_kept_the_handover_goes_on(handover):
    names = handover.last.expect()
    assert names == {}
    handover.last.name(None, "none was kept")
    assert {one["named"] for one in handover.last.run(limit=30)["paths"]} == {None}


def test_rsync_waits_for_the_names_of_those_paths_alone_that_have_some(handover, monkeypatch):
    waiting = []
    monkeypatch.setattr(final_sync.FinalSync, "expect", lambda _, items: waiting.append(items))
    handover.last.expect(Client(handover.answer(why="it began anew")))
    assert waiting == [[handover.items[1]]]


def test_before_and_after_the_window_all_is_on_the_disk_and_it_counts_as_uncompared(handover):
    handover.last.expect(Client(handover.answer()))
    # What the pre-sync has brought first; then that the final sync is not compared, should it be killed.
    before = handover.ended()
    assert handover.synced == [None] and before is not None
    assert handover.member.runs.uncompared(RUN) == RUN
    handover.last.name(handover.answer())
    handover.last.run(limit=30)
    # The record waits until somebody serves.
    assert handover.synced == [None, before] and handover.ended() == before
    handover.last.close()
    assert handover.ended() > before
    assert handover.member.runs.uncompared(RUN) == RUN


def test_one_that_was_not_run_leaves_the_record_of_its_beginning(handover):
    handover.last.expect(Client(handover.answer()))
    before = handover.ended()
    handover.last.close()
    assert handover.ended() == before


def test_names_are_in_the_notation_of_the_journals(handover):
    trees.make(handover.there, {b"salt/\xff\n": "1"})
    handover.run(handover.answer(), handover.answer([notation.readable(b"\xff\n")]))
    assert b"\xff\n" in os.listdir(os.fsencode(handover.here / "salt"))
