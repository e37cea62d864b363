"""The program ``failback``: what it says and ends with when something goes wrong."""

import errno
import os
import pathlib
import subprocess
import sys

import pytest
import samples

from failback import cli
from failback.errors import Refused
from failback.host import files
from failback.host.paths import Paths
from failback.state import configuration

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
