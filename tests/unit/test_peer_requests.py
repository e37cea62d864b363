"""What the other node may ask for over SSH: a table, and everything else is refused."""

import json
import os
import pathlib
import random
import re
import sys

import pytest
import samples
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import effort
from failback import peer_requests
from failback import report
from failback.errors import FailbackError
from failback.errors import Refused
from failback.handover import giver
from failback.handover import takeover
from failback.host import files
from failback.host import owner
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import admission
from failback.replication import admitted
from failback.replication import incoming
from failback.replication import replicated
from failback.state import ledger
from failback.state import runs

ALLOWED = {
    "rsync --server --daemon .": ["rsync"],
    "verify --server --daemon .": ["verify"],
    "report": ["report"],
    "ready": ["ready"],
    "yield 7": ["yield", "7"],
    "serve-on 7": ["serve-on", "7"],
    "carried 999999999999": ["carried", "999999999999"],
    "promise 0": ["promise", "0"],
    "handover 20261122T183000-recover-salt-4f2a": ["handover", samples.RUN],
    "journal 20261122T183000-recover-salt-4f2a": ["journal", samples.RUN],
    "guests": ["guests"],
    "libvirt 20261122T183000-vm-mgmt-4f2a": ["libvirt", "20261122T183000-vm-mgmt-4f2a"],
    "git-receive-pack '/srv/git/site.git'": ["git-receive-pack", "/srv/git/site.git"],
    "git-receive-pack '/srv/git/with space.git'": ["git-receive-pack", "/srv/git/with space.git"],
}


@pytest.mark.parametrize(("command", "words"), ALLOWED.items())
def test_what_the_other_node_may_ask_for(command, words):
    assert peer_requests.parse(command) == words


@pytest.mark.parametrize(
    "command",
    [
        "",
        " ",
        None,
        "\n",
        "sh",
        "/bin/sh -c id",
        "scp -t /etc",
        "sftp-server",
        "rsync",
        "rsync --server --sender -logDtpre.iLsfxC . /etc/shadow",
        "rsync --server -logDtpre.iLsfxC . /etc",
        "rsync --server --daemon",
        "verify",
        "verify --server --daemon . --config=/tmp/evil",
        "verify --server -logDtpre.iLsfxC . /etc",
        "rsync --server --daemon . --config=/tmp/evil",
        "rsync --server --daemon --config=/tmp/evil .",
        "rsync --server --daemon .; id",
        "/usr/bin/rsync --server --daemon .",
        "report; id",
        "report && id",
        "report | sh",
        "report\nid",
        "report `id`",
        "report $(id)",
        "report salt",
        "report > /etc/passwd",
        "Report",
        "yield",
        "yield -1",
        "yield +1",
        "yield 1.0",
        "yield 1e3",
        "yield 0x10",
        "yield 1_000",
        "yield 7; id",
        "yield 7 8",
        "yield \u0667",
        "yield \u00b2",
        "yield \uff17",
        "yield ''",
        "yield " + "9" * 5000,
        "guests mgmt",
        "guests; id",
        "libvirt",
        "libvirt a b",
        "handover",
        "journal",
        "journal one two",
        "handover one two",
        "handover one",
        "handover ../../../../etc/shadow",
        "handover '20261122T183000-recover-salt-4f2a\n'",
        "libvirt $(id)",
        "journal ''",
        "git-receive-pack",
        "git-receive-pack '/srv/git/site.git' --advertise-refs",
        "git-receive-pack '/srv/git/site.git'; id",
        "git receive-pack /srv/git/site.git",
        "git-upload-pack '/srv/git/site.git'",
        "git-upload-archive '/srv/git/site.git'",
        "git-receive-pack 'unclosed",
        "failback far-end salt",
        "take-back salt run",
    ],
    ids=lambda command: ascii(command)[:60],
)
def test_what_nobody_may_ask_for(command):
    with pytest.raises(Refused):
        peer_requests.parse(command)


#: What lines are made of: every word of the table, what a shell takes for more, and what nobody should see.
PIECES = [
    *("rsync", "--server", "--daemon", ".", "git-receive-pack", "report", "yield", "handover", "guests"),
    *("ready", "serve-on", "carried", "promise"),
    *("libvirt", "journal", "sh", "-c", "failback", "far-end", "salt", "7", "9" * 13, "0x10", samples.RUN),
    *("/srv/git/site.git", "/etc/shadow", "..", "--config=/tmp/x", "-e", "--help", "\u0667", "\x1b[2J"),
    *(
        "'",
        '"',
        "\\",
        "$(id)",
        "`id`",
        ";",
        "&&",
        "|",
        ">",
        "<",
        "*",
        "~",
        "#",
        "\n",
        "\t",
        "\0",
        "\r",
        "=",
        "-",
    ),
]
FORMS = {
    "rsync": re.compile(r""),
    "verify": re.compile(r""),
    "report": re.compile(r""),
    "guests": re.compile(r""),
    "ready": re.compile(r""),
    **dict.fromkeys(("yield", "serve-on", "carried", "promise"), re.compile(r"[0-9]{1,12}", re.ASCII)),
    "handover": runs.ID,
    "libvirt": runs.ID,
    "journal": runs.ID,
}


def judged(command):
    """What is asked for is in the table, word by word, or refused; the pair's list judges a repository."""
    try:
        verb, *rest = peer_requests.parse(command)
    except Refused:
        return False
    if verb == "git-receive-pack":
        assert len(rest) == 1
    elif rest:
        assert FORMS[verb].fullmatch(rest[0]) and len(rest) == 1
    else:
        assert FORMS[verb].pattern == ""
    return True


@given(strategies.text(max_size=60))
def test_whatever_is_asked_for_is_in_the_table_or_refused(command):
    judged(command)


@given(strategies.integers(min_value=0, max_value=2**64))
@settings(max_examples=effort.examples(100))
def test_lines_made_of_the_words_of_the_table_are_in_it_or_refused(seed):
    """Five hundred a seed: a million in ``make test-thorough``."""
    chance = random.Random(seed)
    for _ in range(500):
        words = chance.choices(PIECES, k=chance.randint(1, 6))
        judged(chance.choice(["", " ", " "]).join(words))


def test_the_words_of_the_table_make_lines_that_are_in_it():
    assert all(judged(command) for command in ALLOWED)


@pytest.fixture
def member(tmp_path, monkeypatch):
    """salt2 with a configuration, and a note of what it would have become instead of becoming it."""
    member = Member("salt", Paths(tmp_path))
    config = samples.pair("salt2", git=["/srv/git/site.git"])
    files.write_json(member.paths.pair_config("salt"), config)
    member.became = []
    monkeypatch.setattr(os, "execv", lambda program, words: member.became.append((program, words)))
    monkeypatch.setattr(owner, "of_repository", lambda path, **_: path)
    monkeypatch.setattr(owner, "become", lambda user, words: member.became.append((words[0], words)))
    return member


def rsync_configuration(member):
    ((program, words),) = member.became
    assert program == "/usr/bin/rsync" and words[:3] == ["rsync", "--server", "--daemon"]
    (path,) = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    return path


@pytest.mark.parametrize(
    ("active", "writable"), [("salt1", True), ("salt2", False), (None, False), ("torn", False)]
)
def test_only_the_active_node_may_write_here(member, monkeypatch, active, writable):
    if active in ("salt1", "salt2"):
        member.ledger.write(ledger.Entry(3, active, None, "a test"))
    elif active == "torn":
        files.write_atomically(member.ledger.path, '{"gen')
    asked = []
    monkeypatch.setattr(
        replicated, "daemon_config", lambda items, write, **_: asked.append(write) or f"{write}"
    )
    given = []
    monkeypatch.setattr(admitted, "run", lambda _, text: given.append(text) or 23)
    assert peer_requests.main(member, "rsync --server --daemon .") == (23 if writable else 0)
    assert asked == [writable]
    if not writable:
        given.append(pathlib.Path(rsync_configuration(member)).read_bytes())
    assert given == [f"{writable}".encode()]


def test_a_push_goes_to_a_repository_of_the_pair_alone_and_is_never_forced(member):
    peer_requests.main(member, "git-receive-pack '/srv/git/site.git'")
    ((program, words),) = member.became
    assert program == "/usr/bin/git" and words[-2:] == ["receive-pack", "/srv/git/site.git"]
    assert "receive.denyNonFastForwards=true" in words and "receive.denyDeletes=true" in words
    assert not any("safe.directory" in word for word in words)


@pytest.mark.parametrize(
    "repository", ["/srv/git/other.git", "/srv/git/site.git/", "/srv/git/../git/site.git", "-c", "/"]
)
def test_a_push_elsewhere_is_refused(member, repository):
    with pytest.raises(Refused, match="is not a repository of salt"):
        peer_requests.main(member, f"git-receive-pack '{repository}'")
    assert member.became == []


def test_to_yield_is_to_yield_to_the_other_node(member, monkeypatch):
    asked = []
    monkeypatch.setattr(takeover, "yield_to", lambda *arguments: asked.append(arguments))
    peer_requests.main(member, "yield 7")
    assert asked == [(member, 7, "salt1")]


def test_a_handover_speaks_over_standard_input_and_output(member, monkeypatch):
    asked = []
    monkeypatch.setattr(giver, "serve", lambda member, run, *streams: asked.append(run))
    assert peer_requests.main(member, f"handover {samples.RUN}") == 0
    assert asked == [samples.RUN]


def test_a_report_is_one_line_of_json(member, monkeypatch, capsys):
    monkeypatch.setattr(report, "report", lambda member: {"node": "salt2"})
    peer_requests.main(member, "report")
    assert json.loads(capsys.readouterr().out) == {"node": "salt2"}


def test_an_unknown_pair_is_refused_before_anything_is_looked_at(member):
    with pytest.raises(FailbackError, match="knows no pair"):
        peer_requests.main(Member("mgmt", member.paths), "report")


def test_libvirt_is_for_the_run_that_owns_the_lock_alone(tmp_path, monkeypatch):
    from failback.guests import migration
    from failback.guests import virsh

    paths = Paths(tmp_path)
    config = samples.pair("salt1", vms=["idm"])
    files.write_json(paths.pair_config("salt"), config)
    member = Member("salt", paths)
    became = []
    monkeypatch.setattr(virsh.os, "execv", lambda program, words: became.append(words))
    with pytest.raises(Refused, match="does not own the lock of salt"):
        peer_requests.main(member, f"libvirt {samples.RUN}")
    member.lock.acquire(samples.RUN, "vm", {}, 60)
    peer_requests.main(member, f"libvirt {samples.RUN}")
    with pytest.raises(Refused, match="does not own the lock of salt"):
        peer_requests.main(member, f"libvirt {samples.OTHER_RUN}")
    assert became == [[migration.HELPER, virsh.URI]]
    files.write_json(paths.pair_config("salt"), {**config, "vms": []})
    with pytest.raises(Refused, match="has no virtual machines"):
        peer_requests.main(Member("salt", paths), f"libvirt {samples.RUN}")


@pytest.mark.parametrize(
    ("command", "place", "answers", "given", "printed"),
    [
        ("ready", "readiness.record.read", {"ready": True}, (), '{"ready": true}'),
        ("ready", "readiness.record.read", None, (), "{}"),
        ("yield 7", "handover.takeover.yield_to", "salt2 steps down", (7, "salt1"), "salt2 steps down"),
        ("serve-on 7", "handover.claims.serve_on", 8, (7,), '{"generation": 8}'),
        ("carried 7", "handover.claims.carried", None, (7,), ""),
        ("promise 7", "lease.right.promise", 9.5, (7,), '{"promised": 9.5}'),
        ("guests", "guests.virsh.facts", {"idm": {}}, (), '{"idm": {}}'),
        ("report", "report.report", {"node": "salt2"}, (), '{"node": "salt2"}'),
    ],
)
def test_what_is_asked_for_is_done_and_its_answer_printed(
    member, monkeypatch, capsys, command, place, answers, given, printed
):
    asked = []
    monkeypatch.setattr(f"failback.{place}", lambda *arguments: asked.append(arguments) or answers)
    assert peer_requests.main(member, command) == 0
    assert asked == [(member, *given)]
    assert capsys.readouterr().out.strip() == printed


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (f"handover {samples.RUN}", "handover.giver.serve"),
        (f"journal {samples.RUN}", "journal.service.relay"),
    ],
)
def test_what_goes_on_over_the_connection_gets_both_its_streams(member, monkeypatch, command, place):
    asked = []
    monkeypatch.setattr(f"failback.{place}", lambda *arguments: asked.append(arguments))
    peer_requests.main(member, command)
    assert asked == [(member, samples.RUN, sys.stdin, sys.stdout)]


def test_a_comparison_has_the_lowest_priority_before_it_begins(member, monkeypatch):
    order = []
    monkeypatch.setattr(os, "setpriority", lambda *arguments: order.append(arguments))
    monkeypatch.setattr(system, "run", lambda words, *_: order.append(words))
    monkeypatch.setattr(os, "execv", lambda program, words: order.append(program))
    peer_requests.main(member, "verify --server --daemon .")
    assert order == [
        (os.PRIO_PROCESS, 0, 19),
        ["ionice", "-t", "-c", "3", "-p", str(os.getpid())],
        "/usr/bin/rsync",
    ]


def test_who_only_reads_is_not_taken_for_one_that_writes(member):
    """A takeover would wait for it, or end it."""
    peer_requests.main(member, "rsync --server --daemon .")
    assert incoming.writing(member) is False and incoming.mark(member) is not None
    assert member.became


def test_one_that_may_write_is_announced_before_the_ledger_is_read(member, monkeypatch):
    """Who changes it in between ends this process."""
    order = []
    monkeypatch.setattr(incoming, "announce", lambda member: order.append("announced"))
    monkeypatch.setattr(admission, "facts", lambda member: order.append("facts"))
    monkeypatch.setattr(type(member.ledger), "read", lambda ledger: order.append("ledger"))
    peer_requests.main(member, "rsync --server --daemon .")
    assert order == ["announced", "facts", "ledger"]


def test_a_path_that_lies_elsewhere_is_named_and_not_served(member, monkeypatch, capsys):
    (member.paths.root / "srv/salt").mkdir(parents=True)
    samples.lies_elsewhere(member)
    peer_requests.main(member, "rsync --server --daemon .")
    text = pathlib.Path(rsync_configuration(member)).read_text()
    assert "/srv/salt" not in text and "read only = no" not in text
    assert "/srv/salt" in capsys.readouterr().err
