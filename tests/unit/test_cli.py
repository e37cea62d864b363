"""The program ``failback``: what it says and ends with when something goes wrong."""

import errno
import os
import pathlib
import subprocess
import sys

import pytest
import samples

from failback import cli
from failback import peer_requests
from failback import report
from failback.errors import Refused
from failback.errors import Unavailable
from failback.guard import loop as guard
from failback.guests import virsh
from failback.handover import claims
from failback.handover import takeover
from failback.handover import way_back
from failback.host import distribution
from failback.host import files
from failback.host import nagios
from failback.host import system
from failback.host.paths import Paths
from failback.journal import service
from failback.monitoring import facts
from failback.network import address_holder
from failback.notify import hooks
from failback.replication import gate
from failback.replication import git_push
from failback.state import configuration
from failback.state import fencing
from failback.watch import keeper
from failback.watch import lookout
from failback.watch import loop

PROGRAM = pathlib.Path(__file__).parents[2] / "salt/pair/files/failback"

#: What each command is given beside its name.
WORDS = {
    "watch": ["gateway-ip"],
    "journal": ["salt", samples.RUN],
    "take-back": ["salt", samples.RUN],
    "nagios": ["--config", "/nowhere", "notifications", "on"],
    "tell": ["salt", "{}"],
    "metrics": [],
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused("The gate is shut."), "failback: The gate is shut."),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/var/lib/failback/salt/ledger.json"), "journalctl -k"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/run/failback"), "/run/failback"),
        (KeyError("generation"), "KeyError: 'generation' (test_cli.py, line "),
    ],
)
@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_any_error_ends_in_a_sentence_and_in_a_status_that_is_heard(
    tmp_path, monkeypatch, capsys, command, error, said
):
    def fail(arguments, paths):
        raise error

    monkeypatch.setitem(cli.COMMANDS, command, fail)
    status = cli.main([command, *WORDS.get(command, ["salt"])], Paths(tmp_path))
    # systemd passes over 1 to 254 of an ExecCondition= in silence; 1 of a plug-in is a warning.
    assert status == {"gate": 255, "check": 3}.get(command, 1)
    words = capsys.readouterr().err
    assert words.startswith("failback: ") and words.count("\n") == 1
    assert said in words


def test_a_disk_that_fails_under_the_gate_refuses_lsyncd_aloud(tmp_path, monkeypatch, capsys):
    """The audit's case: an error of the system, not one of ours."""

    def unreadable(pair, paths):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(configuration, "load", unreadable)
    assert cli.main(["gate", "salt"], Paths(tmp_path)) == 255
    assert "Input/output error" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["gate"], ["gate", "salt", "more"], ["gate", "--what", "salt"]])
def test_a_gate_that_is_asked_wrongly_refuses_too(words, capsys):
    assert cli.main(words) == 255
    assert "usage: failback" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "status"), [([], 2), (["report"], 2), (["gate", "--help"], 0)])
def test_other_words_end_as_those_of_any_program(words, status, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == status


@pytest.mark.parametrize("library", ["raise OSError('a bad sector')", "def", None])
def test_a_program_whose_library_is_damaged_refuses_aloud(tmp_path, library):
    text = PROGRAM.read_text().replace("/usr/local/lib/failback", str(tmp_path))
    package = tmp_path / "current/failback"
    files.make_folder(package)
    (package / "__init__.py").touch()
    if library is not None:
        (package / "cli.py").write_text(library)
    command = [sys.executable, "-I", "-", "gate", "salt"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert done.stderr.startswith("failback: ") and "Traceback" not in done.stderr


RUN = samples.RUN

#: By command: what is called with which words beside the member, what that returns, and what is printed.
CALLS = {
    ("report", "salt"): (report, "report", (), {"node": "salt1"}, '{\n "node": "salt1"\n}\n'),
    ("gate", "salt"): (gate, "require_lsyncd", (), None, ""),
    ("look", "salt"): (lookout, "main", (), 7, ""),
    ("keep", "salt"): (keeper, "main", ("beside", facts.begin), 7, ""),
    ("guard", "salt"): (guard, "main", (), 7, ""),
    ("push-git", "salt"): (git_push, "carry", (), None, ""),
    ("far-end", "salt"): (peer_requests, "main", ("report",), 7, ""),
    ("journal", "salt", RUN): (service, "keep", (RUN,), None, ""),
    ("take-back", "salt", RUN): (way_back, "take_back", (RUN,), "taken back", "taken back\n"),
    ("ask-to-yield", "salt"): (takeover, "ask_to_yield", (), "it yields", "it yields\n"),
    ("renounce", "salt"): (takeover, "conflict", (["another host"],), "renounced", "renounced\n"),
    ("stop-active", "salt"): (claims, "stop_active", (), ["cron", "at"], "cron\nat\n"),
    ("activate", "salt"): (takeover, "activate", (), ["cron", "at"], "cron\nat\n"),
    ("learn-guests", "salt"): (
        virsh,
        "learn",
        (),
        ["a"],
        "libvirt knows the definition of a as it is now.\n",
    ),
}
#: Whose sentences are for the system's log too: nobody reads what a unit prints that the watch has started.
LOGGED = {"ask-to-yield", "renounce", "stop-active", "activate"}


@pytest.mark.parametrize("words", sorted(CALLS), ids=lambda words: words[0])
def test_a_command_does_its_one_thing_and_says_what_came_of_it(tmp_path, monkeypatch, capsys, words):
    module, name, given, answer, printed = CALLS[words]
    called, logged, waited = [], [], []

    def call(member, *more, **named):
        called.append((member.pair, (*more, *(one for pair in named.items() for one in pair))))
        return answer

    monkeypatch.setattr(module, name, call)
    monkeypatch.setattr(system, "log", lambda sentence, *_: logged.append(sentence))
    monkeypatch.setattr(system, "wait_for_started", lambda: waited.append(1))
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "report")
    assert cli.main(list(words), Paths(tmp_path)) == (7 if answer == 7 else 0)
    assert called == [("salt", given)]
    assert capsys.readouterr().out == printed
    assert logged == (printed.splitlines() if words[0] in LOGGED else [])
    # systemd ends what it has started with its unit.
    assert waited == ([1] if words[0] == "take-back" else [])


@pytest.mark.parametrize(("command", "service"), [("watch", False), ("watch-service", True)])
def test_the_watch_is_told_whether_systemd_runs_it(tmp_path, monkeypatch, command, service):
    called = []
    monkeypatch.setattr(loop, "main", lambda *words, **more: called.append((words, more)) or 4)
    paths = Paths(tmp_path)
    assert cli.main([command, "gateway-ip"], paths) == 4
    assert called == [(("gateway-ip", paths), {"service": service})]


def test_without_a_word_of_sshd_nothing_is_asked_of_the_far_end(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    called = []
    monkeypatch.setattr(peer_requests, "main", lambda member, words: called.append(words))
    assert cli.main(["far-end", "salt"], Paths(tmp_path)) == 0 and called == [""]


def test_the_addresses_of_the_pair_are_announced(tmp_path, monkeypatch):
    paths, called = Paths(tmp_path), []
    files.write_json(paths.pair_config("salt"), samples.pair("salt1"))
    monkeypatch.setattr(address_holder, "announce_repeatedly", called.append)
    assert cli.main(["announce", "salt"], paths) == 0
    assert [[one.address for one in each] for each in called] == [["10.0.0.5/24"]]


def test_a_claim_that_was_not_renounced_says_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(takeover, "conflict", lambda *_: None)
    monkeypatch.setattr(system, "log", lambda sentence: pytest.fail(sentence))
    assert cli.main(["renounce", "salt"], Paths(tmp_path)) == 0
    assert capsys.readouterr().out == ""


def test_what_was_observed_of_a_node_that_was_off_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fencing.Fencing, "observe", lambda one: "it is back")
    assert cli.main(["observe", "salt"], Paths(tmp_path)) == 0
    assert capsys.readouterr().out == "it is back\n"


@pytest.mark.parametrize(
    ("given", "handed_over", "wrong", "status", "printed"),
    [
        ('{"event": "takeover"}', False, {}, 0, ""),
        ('{"event": "takeover"}', True, {"a": "fails"}, 0, ""),
        ("takeover", False, {"b": None, "a": None}, 0, "a: told\nb: told\n"),
        ("takeover", False, {"b": "fails", "a": None}, 1, "a: told\nb: fails\n"),
    ],
)
def test_hooks_are_told_of_what_happened_and_of_a_trial(
    tmp_path, monkeypatch, capsys, given, handed_over, wrong, status, printed
):
    told = []
    monkeypatch.setattr(hooks, "handed_over", lambda member, text: handed_over)
    monkeypatch.setattr(hooks, "trial", lambda member, kind: {"event": kind, "test": True})
    monkeypatch.setattr(hooks, "deliver", lambda member, what: told.append(what) or wrong)
    assert cli.main(["tell", "salt", given], Paths(tmp_path)) == status
    assert capsys.readouterr().out == printed
    real = {"event": "takeover", **({} if given.startswith("{") else {"test": True})}
    assert told == ([] if handed_over else [real])


@pytest.mark.parametrize(
    ("do", "on", "error", "status", "printed"),
    [
        ("on", None, None, 0, ""),
        ("off", None, None, 0, ""),
        ("status", True, None, 0, "on\n"),
        ("status", False, None, 3, "off\n"),
        ("status", None, "Nagios does not run", 4, ""),
        ("on", None, "Nagios does not run", 1, ""),
    ],
)
def test_a_switch_inside_nagios_is_turned_or_asked(
    tmp_path, monkeypatch, capsys, do, on, error, status, printed
):
    did = []

    def act(what, *words):
        did.append((what, *words))
        if error:
            raise Unavailable(error)
        return on

    monkeypatch.setattr(
        distribution, "names", lambda paths: {"nagios_configuration": "c", "nagios_unit": "u"}
    )
    monkeypatch.setattr(nagios, "settings", lambda *words: words)
    monkeypatch.setattr(nagios, "turn", lambda *words: act("turn", *words))
    monkeypatch.setattr(nagios, "is_on", lambda *words: act("ask", *words))
    for config, place in (([], "c"), (["--config", "/own"], "/own")):
        did.clear()
        assert cli.main(["nagios", *config, "notifications", do], Paths(tmp_path)) == status
        known = (place, "u")
        assert did == [
            ("ask", "notifications", known)
            if do == "status"
            else ("turn", "notifications", do == "on", known)
        ]
        said = capsys.readouterr()
        assert said.out == printed
        assert said.err == (f"failback: {error}\n" if error else "")


def test_every_command_that_there_is_has_a_description_and_the_real_paths_by_default(monkeypatch, capsys):
    seen = []
    monkeypatch.setitem(cli.COMMANDS, "metrics", lambda arguments, here: seen.append(here.root))
    monkeypatch.setattr(sys, "argv", ["failback", "metrics"])
    assert cli.main() == 0 and str(seen[0]) == "/"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert set(cli.COMMANDS) <= set(capsys.readouterr().out.split())
