"""Hooks are run as what they are: real programs, good ones and bad ones."""

import dataclasses
import json
import os
import signal
import time

import pytest
import samples

from failback.decisions import events
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import owner
from failback.host import system
from failback.host.paths import Paths
from failback.notify import hooks
from failback.notify import tell
from failback.pair import Member
from failback.state import ledger

TOLD = {"event": events.TAKEOVER, "pair": "salt", "node": "salt2", "time": 1000.0, "sentence": "It is so."}


@pytest.fixture
def logged(monkeypatch):
    found = []
    monkeypatch.setattr(system, "log", lambda sentence, priority=system.NOTICE: found.append(sentence))
    return found


@pytest.fixture
def member(tmp_path, monkeypatch, logged):
    monkeypatch.setattr(os, "nice", lambda by: by)
    # The tests need not be root, and the folder of a test lies in one that everybody may write to.
    myself = owner.user(os.geteuid(), os.getegid())
    monkeypatch.setattr(owner, "user", lambda uid, gid: myself)
    judge = events.hook_problem
    monkeypatch.setattr(events, "hook_problem", lambda above, entry: judge((), as_roots(entry)))
    found = Member.of(samples.pair("salt2", notify={"timeout": 1.5, "hooks": ["mail"]}), Paths(tmp_path))
    found.paths.hooks.mkdir(parents=True)
    return found


def as_roots(entry):
    return dataclasses.replace(entry, uid=0)


def hook(member, name, text, mode=0o755):
    path = member.paths.hooks / name
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_hook_finds_the_event_on_its_input_and_in_its_environment_and_nothing_of_roots(
    member, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET_OF_ROOT", "x")
    hook(
        member,
        "look",
        f"#!/bin/sh\ncat > {tmp_path}/input\nenv > {tmp_path}/environment\npwd >> {tmp_path}/at\n",
    )
    assert hooks.deliver(member, TOLD) == {"look": None}
    assert json.loads((tmp_path / "input").read_text()) == TOLD
    variables = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert variables["FAILBACK_EVENT"] == "takeover"
    assert variables["FAILBACK_SENTENCE"] == "It is so."
    assert "SECRET_OF_ROOT" not in variables
    assert (tmp_path / "at").read_text() == "/\n"


def test_bad_hooks_delay_and_break_no_other_and_each_is_a_line_in_the_log(member, tmp_path, logged):
    hook(member, "fails", "#!/bin/sh\necho 'no such\033[31m server' >&2\nexit 1\n")
    hook(member, "floods", "#!/bin/sh\nexec yes 2>&1\n")
    hook(member, "good", f"#!/bin/sh\nsleep 0.1; echo told >> {tmp_path}/told\n")
    hook(member, "hangs", "#!/bin/sh\nsleep 3600 & sleep 3600\n")
    hook(member, "no-program", "#!/nowhere/at/all\n")
    hook(member, "not-executable", "#!/bin/sh\n", 0o644)
    hook(member, "others-write", "#!/bin/sh\n", 0o777)
    begun = time.monotonic()
    found = hooks.deliver(member, TOLD)
    assert time.monotonic() - begun < 6
    assert (tmp_path / "told").read_text() == "told\n"
    assert found.pop("good") is None
    assert "exit status 1" in found["fails"] and "no such" in found["fails"] and "\033" not in found["fails"]
    assert "no end within 1.5 seconds" in found["floods"]
    assert "no end within 1.5 seconds" in found["hangs"]
    assert "no-program" in found["no-program"]
    assert found["not-executable"].startswith("not run: ") and "chmod +x" in found["not-executable"]
    assert "chmod go-w" in found["others-write"]
    assert len(logged) == 6
    assert all(line.startswith("salt: the hook ") for line in logged)


def test_a_hook_that_floods_leaves_the_processors_to_others(member):
    hook(member, "floods", "#!/bin/sh\nexec yes 2>&1\n")
    before = sum(os.times()[:4])
    assert "no end within 1.5 seconds" in hooks.deliver(member, TOLD)["floods"]
    assert sum(os.times()[:4]) - before < 0.5


def test_a_shipped_hook_that_the_pair_does_not_name_is_not_run(member, tmp_path):
    hook(member, "failback-mail", f"#!/bin/sh\necho mail >> {tmp_path}/told\n")
    hook(member, "failback-webhook", f"#!/bin/sh\necho webhook >> {tmp_path}/told\n")
    assert hooks.deliver(member, TOLD) == {"failback-mail": None}
    assert (tmp_path / "told").read_text() == "mail\n"


def test_a_split_brain_that_lasts_is_told_once(member, tmp_path):
    hook(member, "count", f"#!/bin/sh\necho told >> {tmp_path}/told\n")
    for _ in range(3):
        hooks.deliver(member, {**TOLD, "event": events.SPLIT_BRAIN})
    assert (tmp_path / "told").read_text() == "told\n"
    hooks.deliver(member, TOLD)
    hooks.deliver(member, TOLD)
    assert (tmp_path / "told").read_text() == "told\n" * 3


def test_whoever_tries_the_hooks_says_that_nothing_has_happened(member, tmp_path):
    hook(member, "say", f"#!/bin/sh\necho $FAILBACK_SENTENCE >> {tmp_path}/told\n")
    for _ in range(2):
        assert hooks.deliver(member, hooks.trial(member, events.SPLIT_BRAIN)) == {"say": None}
    assert (tmp_path / "told").read_text().count("nothing has happened to salt") == 2
    with pytest.raises(Refused, match="takeover, step-down"):
        hooks.trial(member, "nothing")


def test_a_node_without_a_folder_of_hooks_tells_nobody(member):
    member.paths.hooks.rmdir()
    assert hooks.deliver(member, TOLD) == {}


@pytest.mark.parametrize("settings", [None, {}, {"hooks": []}])
def test_a_configuration_of_an_earlier_release_has_a_limit_too(member, monkeypatch, settings):
    member.config["notify"] = settings
    limits = []
    hook(member, "own", "#!/bin/sh\n")
    monkeypatch.setattr(
        owner, "run", lambda user, command, limit, *_, **__: limits.append(limit) or (0, "", "")
    )
    assert hooks.deliver(member, TOLD) == {"own": None} and limits == [60]


def test_hooks_are_as_patient_as_a_takeover_needs_and_run_as_root(member, monkeypatch):
    niced, users = [], []
    monkeypatch.setattr(os, "nice", niced.append)
    monkeypatch.setattr(owner, "user", lambda uid, gid: users.append((uid, gid)))
    monkeypatch.setattr(owner, "run", lambda *_, **__: (0, "", ""))
    hook(member, "own", "#!/bin/sh\n")
    hooks.deliver(member, TOLD)
    assert niced == [10] and users == [(0, 0)]


def test_a_process_that_may_not_be_nicer_runs_them_all_the_same(member, monkeypatch, tmp_path):
    def refuse(by):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", refuse)
    hook(member, "own", f"#!/bin/sh\necho told >> {tmp_path}/told\n")
    assert hooks.deliver(member, TOLD) == {"own": None} and (tmp_path / "told").exists()


@pytest.mark.parametrize(("out", "err", "said"), [("out", "err", "err"), ("out", "", "out")])
def test_of_a_hook_that_fails_its_errors_are_said_before_its_output(member, out, err, said):
    hook(member, "own", f"#!/bin/sh\nprintf '{out}'; printf '{err}' >&2; exit 3\n")
    assert hooks.deliver(member, TOLD) == {"own": f"exit status 3, {said}"}


def test_what_is_no_file_is_no_hook(member, tmp_path):
    (member.paths.hooks / "folder").mkdir()
    (tmp_path / "elsewhere").write_text("#!/bin/sh\n")
    (member.paths.hooks / "link").symlink_to(tmp_path / "elsewhere")
    found = hooks.deliver(member, TOLD)
    assert set(found) == {"folder", "link"} and all(one.startswith("not run: ") for one in found.values())


@pytest.mark.parametrize("damaged", [False, True])
def test_a_split_brain_is_told_again_after_a_while_or_if_nobody_knows(member, monkeypatch, damaged, tmp_path):
    hook(member, "count", f"#!/bin/sh\necho told >> {tmp_path}/told\n")
    split = {**TOLD, "event": events.SPLIT_BRAIN}
    hooks.deliver(member, split)
    if damaged:
        (member.volatile / "told.json").write_text("{")
    else:
        later = system.boottime() + events.ONCE_WITHIN[events.SPLIT_BRAIN] + 1
        monkeypatch.setattr(system, "boottime", lambda: later)
    hooks.deliver(member, split)
    assert (tmp_path / "told").read_text() == "told\n" * 2
    hooks.deliver(member, split)
    assert (tmp_path / "told").read_text() == "told\n" * 2


class TestConfined:
    """The guard's unit has few rights."""

    @pytest.fixture
    def ran(self, monkeypatch, tmp_path):
        (tmp_path / "status").write_text("Name:\tpython3\nNoNewPrivs:\t1\nSeccomp:\t2\n")
        monkeypatch.setattr(hooks, "STATUS", tmp_path / "status")
        found = []
        monkeypatch.setattr(system, "run", lambda argv, timeout, what: found.append(argv))
        return found

    def test_systemd_runs_the_same_command_without_its_limits(self, member, ran):
        assert hooks.handed_over(member, "{}") is True
        ((first, *words),) = ran
        assert first == "systemd-run"
        assert words[words.index("--") + 1 :] == [str(member.paths.program), "tell", "salt", "{}"]

    def test_a_process_with_all_its_rights_runs_the_hooks_itself(self, member, ran, tmp_path):
        (tmp_path / "status").write_text("Name:\tpython3\nNoNewPrivs:\t0\n")
        assert hooks.handed_over(member, "{}") is False
        assert ran == []

    def test_without_systemd_the_hooks_run_all_the_same(self, member, ran, monkeypatch, logged):
        def fail(argv, timeout, what):
            raise Unavailable("Cannot have systemd run the hooks: no end within 20 seconds.")

        monkeypatch.setattr(system, "run", fail)
        assert hooks.handed_over(member, "{}") is False
        assert "few rights" in logged[0]


class TestTelling:
    @pytest.fixture
    def begun(self, monkeypatch):
        found = []
        monkeypatch.setattr(system, "start_detached", found.append)
        return found

    def test_where_nobody_listens_nothing_is_started(self, member, begun):
        assert tell.tell(member, events.TAKEOVER, "It is so.") is False
        member.paths.hooks.rmdir()
        assert tell.tell(member, events.TAKEOVER, "It is so.") is False
        assert begun == []

    def test_a_process_of_its_own_is_told_what_this_node_knows(self, member, begun):
        hook(member, "any", "#!/bin/sh\n")
        member.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
        assert tell.tell(member, events.TAKEOVER, "It is so.", reason="silence") is True
        ((program, verb, name, text),) = begun
        assert (program, verb, name) == (str(member.paths.program), "tell", "salt")
        told = json.loads(text)
        assert (told["event"], told["generation"], told["reason"]) == ("takeover", 5, "silence")

    def test_what_the_pillar_does_not_want_told_is_not(self, member, begun):
        hook(member, "any", "#!/bin/sh\n")
        member.config["notify"]["events"] = ["run-failed"]
        assert tell.tell(member, events.TAKEOVER, "It is so.") is False
        assert begun == []

    def test_whoever_takes_over_waits_for_no_hook(self, member):
        """Neither where it is told nor at its end: the pipe that the hook has inherited would keep it."""
        hook(member, "any", "#!/bin/sh\n")
        begun = member.paths.root / "begun"
        member.paths.program.parent.mkdir(parents=True)
        member.paths.program.write_text(f"#!/bin/sh\necho $$ > {begun}\nexec sleep 600\n")
        member.paths.program.chmod(0o755)
        here, there = os.pipe()
        before = time.monotonic()
        child = os.fork()
        if not child:
            os.dup2(there, 1)
            os._exit(0 if tell.tell(member, events.TAKEOVER, "It is so.") else 1)
        os.close(there)
        with open(here, "rb") as output:
            assert output.read() == b"" and os.waitpid(child, 0)[1] == 0
        assert time.monotonic() - before < 10
        while not (begun.exists() and begun.read_text()):
            assert time.monotonic() - before < 30, "the program has not begun"
            time.sleep(0.01)
        os.kill(int(begun.read_text()), signal.SIGKILL)

    def test_nothing_that_goes_wrong_here_reaches_whoever_takes_over(self, member, monkeypatch, logged):
        hook(member, "any", "#!/bin/sh\n")

        def fail(argv):
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(system, "start_detached", fail)
        assert tell.tell(member, events.TAKEOVER, "It is so.") is False
        assert "Cannot allocate memory" in logged[0]
