"""The process that keeps the journals: its socket, its questions, its end."""

import contextlib
import io
import itertools
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import types

import pytest
import samples
import trees

from failback import errors
from failback.host import files
from failback.host import notation
from failback.host import system
from failback.host.paths import Paths
from failback.journal import changes
from failback.journal import held
from failback.journal import service
from failback.pair import Member
from failback.peer import ssh
from failback.replication import replicated

RUN = samples.RUN


class Kept:
    """A node's folder, and the journals of one path in it, kept by a thread."""

    def __init__(self, folder, node="salt1"):
        self.member = Member.of(samples.pair(node), Paths(folder))
        self.item = replicated.item("/srv/salt", is_directory=True)
        self.top = folder / "srv/salt"
        trees.make(self.top, {"kept": "1", "a/b": "2"})
        self.holds = True
        self.begin(lambda: self.holds)

    def begin(self, holds):
        ready = threading.Event()
        self.thread = threading.Thread(
            target=service.keep, args=(self.member, RUN, ready.set, holds), daemon=True
        )
        self.thread.start()
        assert ready.wait(10)

    def end(self):
        self.holds = False
        self.thread.join(10)
        assert not self.thread.is_alive()

    def client(self):
        return service.Client(self.member)

    def changed(self):
        """Names that have changed since the mark."""
        with self.client() as client:
            return service.read(client.changes(RUN)[self.item.module]).names


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(service, "LOOK", 0.05)
    # It asks every process of the machine which files it has mapped: beside labs these are thousands.
    monkeypatch.setattr(service, "ANSWER_WITHIN", 60.0)


@pytest.fixture
def kept(tmp_path):
    made = Kept(tmp_path)
    yield made
    made.end()


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


def test_who_asks_for_nonsense_is_told(kept):
    with kept.client() as client:
        with pytest.raises(errors.Unavailable, match="journal of changes: nothing is known of 'format'"):
            client.ask("format")
        assert client.ask("mark", module=kept.item.module) == {"ok": True}


def test_whoever_goes_with_an_answer_unread_takes_nobody_with_him(kept):
    with kept.client() as other:
        one = kept.client()
        one._socket.sendall(b'{"do": "x"}\n')
        # The kernel resets such a connection.
        assert one._socket.recv(1, socket.MSG_PEEK)
        one.close()
        assert other.ask("mark", module=kept.item.module) == {"ok": True}
        assert kept.thread.is_alive()


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


def test_it_ends_when_it_is_told_to(kept):
    with kept.client() as client:
        assert client.ask("end") == {"ok": True}
    kept.thread.join(10)
    assert not kept.thread.is_alive()


def test_whoever_has_asked_and_gone_leaves_the_journals_to_the_others(kept):
    for _ in range(3):
        with kept.client() as client:
            client._socket.sendall(b'{"do"')
    with kept.client() as one, kept.client() as other:
        # An answer that nobody waits for, of one that has gone without reading it.
        one._socket.sendall(b'{"do": "look_closely"}\n' * 3)
        one._socket.shutdown(socket.SHUT_RDWR)
        assert other.ask("mark", module=kept.item.module) == {"ok": True}


def test_its_socket_is_for_root_alone_and_an_older_one_no_obstacle(tmp_path):
    before = os.umask(0)
    try:
        made = Kept(tmp_path)
        made.end()
        place = made.member.volatile / "journal"
        # Killed, it has left its socket behind.
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(place))
        made.holds = True
        made.begin(lambda: made.holds)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        with made.client() as client:
            assert client.ask("mark", module=made.item.module) == {"ok": True}
    finally:
        os.umask(before)
        made.end()


def another_run(member):
    member.lock.release(RUN)
    member.lock.acquire(samples.OTHER_RUN, "recover", {"boot_id": "elsewhere"}, 600)


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(lambda member: member.lock.release(RUN), id="the run has ended"),
        pytest.param(another_run, id="another run has the pair"),
        pytest.param(lambda member: member.lock.renew(RUN, -1), id="its lock has expired"),
        pytest.param(lambda member: member.lock.path.write_text("torn"), id="the lock cannot be read"),
    ],
)
def test_it_lasts_as_long_as_the_lock_of_its_run(tmp_path, monkeypatch, ends):
    made = Kept(tmp_path)
    made.end()
    made.member.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
    looked, real = threading.Event(), service._holds
    looks = itertools.count(1)

    def look(*arguments):
        found = real(*arguments)
        if next(looks) >= 3:
            looked.set()
        return found

    monkeypatch.setattr(service, "_holds", look)
    made.begin(None)
    assert looked.wait(10) and made.thread.is_alive()
    ends(made.member)
    made.thread.join(10)
    assert not made.thread.is_alive()


@pytest.mark.parametrize("kind", ["a file", "abstract"])
def test_systemd_hears_of_it_when_every_folder_is_watched(tmp_path, monkeypatch, kind):
    made = Kept(tmp_path)
    made.end()
    name = str(tmp_path / "notify") if kind == "a file" else f"@failback-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name if kind == "a file" else f"\0{name[1:]}")
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        made.thread = threading.Thread(target=service.keep, args=(made.member, RUN, None, lambda: True))
        made.thread.start()
        assert systemd.recv(100) == b"READY=1"
    with made.client() as client:
        client.ask("end")
    made.thread.join(10)


def test_without_systemd_nobody_is_told(tmp_path, monkeypatch):
    made = Kept(tmp_path)
    made.end()
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    asked = []
    service.keep(made.member, RUN, None, lambda: asked.append("does it hold?"))
    assert asked == ["does it hold?"]


# --- how it is started, and stopped -------------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch):
    """What systemd is told, in that order."""
    found = []

    def run(argv, *_, **options):
        found.append(argv)
        assert options.get("check", False) is False
        return types.SimpleNamespace(returncode=5)

    monkeypatch.setattr(service, "subprocess", types.SimpleNamespace(**{**vars(subprocess), "run": run}))
    monkeypatch.setattr(system, "run", run)
    return found


STOP = ["systemctl", "stop", "--", "failback-journal-salt.service"]


def test_a_run_begins_its_journals_anew_in_a_unit_that_is_ready_when_it_has_started(tmp_path, commands):
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    member.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
    service.start(member, RUN)
    stopped, started = commands
    # What an earlier run has left goes first: a unit of that name could not be started.
    assert stopped == STOP
    assert started[0] == "systemd-run" and started[-4:] == [str(member.paths.program), "journal", "salt", RUN]
    assert {"--unit=failback-journal-salt", "--property=Type=notify", "--collect"} <= set(started)
    assert f"--property=TimeoutStartSec={service.READY_WITHIN}" in started


@pytest.mark.parametrize("owner", [None, samples.OTHER_RUN])
def test_a_run_without_the_lock_begins_and_ends_no_journals(tmp_path, commands, owner):
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    if owner:
        member.lock.acquire(owner, "recover", {"boot_id": "elsewhere"}, 600)
    said = io.StringIO()
    for begin in (lambda: service.start(member, RUN), lambda: service.relay(member, RUN, [], said)):
        with pytest.raises(errors.Refused, match="does not own the lock"):
            begin()
    assert commands == [] and said.getvalue() == ""


# --- both nodes ---------------------------------------------------------------------------------------

#: What sshd starts on the other node, whose unit is a thread of the test.
FAR_END = """#!{python}
import sys
sys.path[:0] = {path!r}
from failback import peer_requests
from failback.host.paths import Paths
from failback.journal import service
from failback.pair import Member
service.start = lambda member, run: member.lock.require(run)
print("a login shell says good morning", flush=True)
assert sys.argv[1] == "--"
sys.exit(peer_requests.main(Member("salt", Paths({root!r})), " ".join(sys.argv[2:])))
"""


class Nodes:
    """salt1, which pulls, and salt2, which is asked over a program in the place of ssh."""

    def __init__(self, folder, monkeypatch):
        self.here, self.there = Kept(folder / "salt1"), Kept(folder / "salt2", "salt2")
        self.item = self.here.item
        other = self.there.member
        files.write_json(other.paths.pair_config("salt"), other.config)
        other.lock.acquire(RUN, "recover", {"boot_id": "elsewhere"}, 600)
        self.shell = folder / "ssh"
        self.says(FAR_END, root=str(other.paths.root))
        #: What was done about this node's own unit.
        self.units = []
        monkeypatch.setattr(ssh, "command", lambda member: [str(self.shell)])
        monkeypatch.setattr(service, "start", lambda member, run: self.units.append(("start", member, run)))
        monkeypatch.setattr(service, "stop", lambda member: self.units.append(("stop", member)))

    def says(self, program, **terms):
        self.shell.write_text(program.format(python=sys.executable, path=sys.path, **terms))
        self.shell.chmod(0o755)

    @property
    def started(self):
        return ("start", self.here.member, RUN)

    @property
    def stopped(self):
        return ("stop", self.here.member)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    made = Nodes(tmp_path, monkeypatch)
    yield made
    made.here.end()
    made.there.end()


def test_both_nodes_note_what_changes_from_a_mark_on(nodes):
    for node in (nodes.here, nodes.there):
        (node.top / "kept").write_text("before")
    with service.Both(nodes.here.member, RUN) as both:
        both.mark(nodes.item)
        (nodes.here.top / "a/b").write_text("changed by mistake")
        (nodes.there.top / "new").write_text("changed")
        assert both.why is None
        assert nodes.here.changed() == {b"a/b"} and nodes.there.changed() == {b".", b"new"}
        both.mark(nodes.item)
        both.note(nodes.item, ["kept"])
        assert nodes.there.changed() == set()
    # The end of the connection is not that of the journals.
    assert nodes.here.changed() == {b"kept"}
    assert nodes.units == [nodes.started]


REFUSES = """#!{python}
import sys
sys.stdin.readline() if {asked!r} else None
sys.stderr.write({words!r})
"""


@pytest.mark.parametrize("words", ["Run 7 does not own the lock", ""])
def test_without_the_other_nodes_journal_none_is_kept_here(nodes, words):
    nodes.says(REFUSES, words=words, asked=False)
    with service.Both(nodes.here.member, RUN) as both:
        both.mark(nodes.item)
        assert both.why == f"salt2 keeps no journal of changes: {words or 'it said nothing'}"
        assert nodes.units == [nodes.started, nodes.stopped]
        (nodes.here.top / "kept").write_text("changed")
        # A pass goes on, and nobody is asked any more.
        both.mark(nodes.item)
        both.note(nodes.item, ["a/b"])
    assert nodes.here.changed() == {b"kept"}


def test_without_a_journal_here_the_other_nodes_is_no_use(nodes):
    nodes.here.end()
    with service.Both(nodes.here.member, RUN) as both:
        both.mark(nodes.item)
        assert both.why == "no journal of changes was kept (No such file or directory)"
    assert nodes.units == [nodes.started, nodes.stopped]


@pytest.mark.parametrize("end", ["its journal has ended", "its connection has ended"])
def test_a_mark_that_one_node_misses_ends_the_journals_of_both(nodes, end):
    """The names of a pass that was not marked there would be too few."""
    with service.Both(nodes.here.member, RUN) as both:
        both.mark(nodes.item)
        if end == "its journal has ended":
            nodes.there.end()
        else:
            both._clients[1]._process.kill()
        both.mark(nodes.item)
        assert "salt2" in both.why or "does not answer" in both.why
        assert nodes.units == [nodes.started, nodes.stopped]


def test_a_connection_that_has_ended_is_said_to_have_ended(nodes):
    nodes.says(REFUSES, words="", asked=True)
    with service.Remote(nodes.here.member, RUN) as remote:
        remote._process.kill()
        remote._process.wait()
        with pytest.raises(errors.Unavailable, match="the connection to salt2 has ended"):
            for _ in range(2):
                with contextlib.suppress(errors.Unavailable):
                    remote.ask("mark", module=nodes.item.module)
                remote.ask("mark", module=nodes.item.module)


def test_a_refusal_of_the_other_node_is_passed_on(nodes):
    with service.Remote(nodes.here.member, RUN) as remote:
        remote.ready()
        assert remote.ask("mark", module=nodes.item.module) == {"ok": True}
        with pytest.raises(errors.Unavailable, match="(?s)salt2 keeps no journal of changes: .*'end' is not"):
            remote.ask("end")
    assert nodes.there.thread.is_alive()


def test_so_many_known_differences_are_not_all_named(nodes, monkeypatch):
    """One too many makes the journal incomplete; a million more would say no more than that."""
    monkeypatch.setattr(changes, "MANY", 10)
    asked = []
    both = service.Both(nodes.here.member, RUN)
    both._clients = [types.SimpleNamespace(ask=lambda do, **request: asked.append((do, request)))]
    both.note(nodes.item, (f"file-{number}" for number in itertools.count()))
    [(do, request)] = asked
    assert do == "note" and request["module"] == nodes.item.module and len(request["names"]) == 11
