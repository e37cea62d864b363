"""Whether root's shell keeps silent when sshd starts it: with the real shells of this machine."""

import pwd
import shutil
import types

import pytest

from failback.errors import Unavailable
from failback.host import login_shell


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of root's, with the shell that Debian gives it."""
    account = types.SimpleNamespace(pw_dir=str(tmp_path), pw_shell=shutil.which("bash"))
    monkeypatch.setattr(pwd, "getpwnam", lambda user: account)
    return tmp_path


@pytest.mark.parametrize("text", [None, "", "# echo hi\n", "[ -t 1 ] || return\necho hi\n", "echo hi >&2\n"])
def test_one_that_keeps_silent(home, text):
    if text is not None:
        (home / ".bashrc").write_text(text)
    assert login_shell.noise() is None


@pytest.mark.parametrize(
    "text, line",
    [
        ("echo hi\n", "hi"),
        ("# hi\necho; echo 'Welcome to salt1'\n", "Welcome to salt1"),
        ("printf hi\n", "hi"),
        ("echo\n", "an empty line"),
        ("uname\n", "Linux"),
    ],
)
def test_one_that_speaks_is_quoted_with_the_file(home, text, line):
    (home / ".bashrc").write_text(text)
    found = login_shell.noise()
    assert found["line"] == line
    if line != "Linux":
        assert found["file"] == f"{home}/.bashrc"
    said = login_shell.sentence(found, "salt1")
    assert repr(line) in said and "salt1" in said and "[ -t 1 ] || return" in said


def test_one_that_waits_is_not_waited_for(home):
    (home / ".bashrc").write_text("sleep 30\n")
    with pytest.raises(Unavailable, match="does not end within 0.5 s"):
        login_shell.noise(limit=0.5)


def test_one_that_is_not_there(home, monkeypatch):
    account = types.SimpleNamespace(pw_dir=str(home), pw_shell="/no/such/shell")
    monkeypatch.setattr(pwd, "getpwnam", lambda user: account)
    with pytest.raises(Unavailable, match="/no/such/shell. cannot be started"):
        login_shell.noise()


def test_an_account_that_is_not_there_is_named(monkeypatch):
    def unknown(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(Unavailable, match="There is no account failback-pair: highstate makes it"):
        login_shell.noise("failback-pair")


def test_an_account_without_a_shell_has_the_system_s(home, monkeypatch):
    monkeypatch.setattr(pwd, "getpwnam", lambda user: types.SimpleNamespace(pw_dir=str(home), pw_shell=""))
    assert login_shell.noise() is None
