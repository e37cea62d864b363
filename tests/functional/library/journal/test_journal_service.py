"""The process that keeps the journals: its socket, its questions, its end."""

import contextlib
import io
import json
import os
import threading
import time

import pytest
import samples
import trees

from failback import errors
from failback.host import notation
from failback.host.paths import Paths
from failback.journal import held
from failback.journal import service
from failback.pair import Member
from failback.replication import replicated

RUN = samples.RUN


class Kept:
    """A node's folder, and the journals of one path in it, kept by a thread."""

    def __init__(self, folder):
        config = {"name": "salt", "replicate": [{"path": "/srv/salt"}]}
        self.member = Member.of(config, Paths(folder))
        self.item = replicated.item("/srv/salt", is_directory=True)
        self.top = folder / "srv/salt"
        trees.make(self.top, {"kept": "1", "a/b": "2"})
        self.holds = True
        ready = threading.Event()
        self.thread = threading.Thread(
            target=service.keep,
            args=(self.member, RUN, ready.set, lambda: self.holds),
            daemon=True,
        )
        self.thread.start()
        assert ready.wait(10)

    def client(self):
        return service.Client(self.member)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "LOOK", 0.1)
    made = Kept(tmp_path)
    yield made
    made.holds = False
    made.thread.join(10)


def test_changes_since_the_mark_are_named_and_nothing_else(kept):
    with kept.client() as client:
        (kept.top / "kept").write_text("before")
        client.ask("mark", module=kept.item.module)
        trees.make(kept.top, {b"a/\xff\n": "1"})
        changes = service.read(client.changes(RUN)[kept.item.module])
    assert changes.names == {b"a", b"a/\xff\n"}
    assert changes.why is None


def test_names_that_changed_on_the_other_node_are_compared_too(kept):
    also = {kept.item.module: [notation.readable(b"x \xff"), "a/b", "kept/was/a/folder"]}
    with kept.client() as client:
        found = service.read(client.changes(RUN, also)[kept.item.module])
    assert found.names == {b"x \xff", b"a/b", b"kept"}


def test_a_mark_begins_an_incomplete_journal_anew(kept):
    kept.top.rename(kept.top.with_name("other"))
    trees.make(kept.top, {"new": "1"})
    with kept.client() as client:
        assert "not the folder" in client.changes(RUN)[kept.item.module]["why"]
        kept.top.rename(kept.top.with_name("third"))
        kept.top.with_name("other").rename(kept.top)
        client.ask("mark", module=kept.item.module)
        (kept.top / "kept").write_text("2")
        assert client.changes(RUN)[kept.item.module]["names"] == ["kept"]


def test_it_can_look_closely_before_it_is_asked(kept, monkeypatch):
    with kept.client() as client:
        client.ask("look_closely")
        monkeypatch.setattr(held, "mapped_files", lambda: pytest.fail("every process was asked"))
        (kept.top / "a/b").read_text()
        assert client.changes(RUN)[kept.item.module]["names"] == ["a/b"]


def test_what_is_known_to_differ_counts_as_changed(kept):
    both = service.Both(kept.member, RUN)
    both._clients = [kept.client()]
    both.note(kept.item, [notation.readable(b"a/\xff"), "a/b"])
    with kept.client() as client:
        assert service.read(client.changes(RUN)[kept.item.module]).names == {b"a/\xff", b"a/b"}
    both._clients[0].close()
    assert both.why is None


def test_a_journal_that_does_not_answer_is_a_reason_and_no_failure(kept, monkeypatch):
    stopped = []
    monkeypatch.setattr(service, "stop", stopped.append)
    both = service.Both(kept.member, RUN)
    both._clients = [kept.client()]
    both._clients[0].close()
    both.note(kept.item, ["a/b"])
    assert "does not answer" in both.why and stopped == [kept.member]


def test_journals_of_another_run_are_not_believed(kept):
    with kept.client() as client, pytest.raises(errors.Unavailable, match=RUN):
        client.changes("20261122T183000-recover-salt-0000")


@pytest.mark.parametrize("request_", [b"{}", b"no json", b'{"do": "format"}', b'{"do": "mark"}', b"[]"])
def test_a_question_that_makes_no_sense_is_answered_and_the_journals_go_on(kept, request_):
    with kept.client() as client:
        client._socket.sendall(request_ + b"\n")
        assert json.loads(client._lines.readline())["ok"] is False
        assert kept.item.module in client.changes(RUN)


def test_two_ask_at_once(kept):
    with kept.client() as one, kept.client() as other:
        other._socket.sendall(b'{"do": ')
        assert one.changes(RUN)
        other._socket.sendall(b'"changes"}\n')
        assert json.loads(other._lines.readline())["ok"]


def test_it_ends_with_its_run_and_leaves_nothing(kept):
    kept.holds = False
    kept.thread.join(10)
    assert not kept.thread.is_alive()
    with pytest.raises(errors.Unavailable, match="no journal"):
        kept.client()
    assert not os.path.exists(kept.member.volatile / "journal")


def test_it_ends_with_its_run_while_files_change_all_the_time(kept):
    kept.holds = False
    end = time.monotonic() + 20
    while kept.thread.is_alive() and time.monotonic() < end:
        (kept.top / "kept").write_text("again and again")
    assert not kept.thread.is_alive()


def test_the_other_node_may_mark_and_nothing_else(kept, monkeypatch):
    monkeypatch.setattr(service, "start", lambda *arguments: None)

    def relayed(*requests):
        said = io.StringIO()
        with contextlib.suppress(errors.Refused):
            service.relay(kept.member, RUN, requests, said)
        return [json.loads(line) for line in said.getvalue().splitlines()]

    mark = json.dumps({"do": "mark", "module": kept.item.module})
    assert relayed(mark) == [{"ok": True}, {"ok": True}]
    assert relayed('{"do": "end"}') == [{"ok": True}]
    with kept.client() as client:
        assert client.changes(RUN)
