"""The module ``salt_minion``: a restart that waits for the jobs of the minion."""

import inspect
import os
import pathlib
import subprocess
import sys
import time

import pytest
import salt.payload
from salt.exceptions import CommandExecutionError

from failback.errors import Unavailable
from failback.host import system


class Systemd:
    """salt-minion.service, which runs another process after each restart."""

    def __init__(self):
        self.pid = os.getpid()
        #: The process that it runs once it has been asked for the one before.
        self.then = None
        self.restarted = []

    def run(self, argv, timeout, what, **options):
        if "--property=MainPID" in argv:
            now, self.pid = self.pid, self.then or self.pid
            return f"{now}\n"
        assert argv == ["systemctl", "restart", "--", "salt-minion.service"]
        self.restarted.append(time.monotonic())
        return ""


@pytest.fixture
def systemd(monkeypatch):
    systemd = Systemd()
    monkeypatch.setattr(system, "run", systemd.run)
    return systemd


@pytest.fixture
def job(minion_opts):
    """``job(fun, seconds)``: a process of the minion, with its record as Salt keeps it."""
    folder = os.path.join(minion_opts["cachedir"], "proc")
    os.makedirs(folder, exist_ok=True)
    running, kept = [], []

    def begin(fun, seconds, recorded=True):
        # Salt believes a record only if its process has "salt" in its command line.
        running.append(subprocess.Popen(["/bin/bash", "-c", f"exec -a salt-job sleep {seconds}"]))
        command_line = pathlib.Path(f"/proc/{running[-1].pid}/cmdline")
        end = time.monotonic() + 20
        while not command_line.read_bytes().startswith(b"salt-job") and seconds:
            assert time.monotonic() < end
            time.sleep(0.01)
        if recorded:
            kept.append(os.path.join(folder, f"2026112218300000000{len(kept)}"))
            with open(kept[-1], "wb") as handle:
                handle.write(salt.payload.dumps({"fun": fun, "jid": "1", "pid": running[-1].pid}))
        return running[-1]

    yield begin
    for one in running:
        one.kill()
        one.wait()
    for path in kept:
        if os.path.exists(path):
            os.unlink(path)


def named(process):
    return process.pid, system.process_started(process.pid)


def restart(modules, *arguments, limit=10):
    return modules.salt_minion.restart_when_idle(*arguments, limit=limit)


@pytest.mark.parametrize("fun", ["state.apply", "test.sleep"])
def test_it_waits_for_the_job_that_asked_and_for_every_other_one(modules, systemd, job, fun):
    import threading

    asked, begun, other = job("state.apply", 0.5, recorded=False), time.monotonic(), job(fun, 1.5)
    for one in (asked, other):
        # A child of this process that has ended is a zombie until somebody waits for it.
        threading.Thread(target=one.wait).start()
    assert restart(modules, *named(asked)) is True
    assert len(systemd.restarted) == 1
    assert systemd.restarted[0] >= begun + 1.5


def test_what_a_master_asks_meanwhile_keeps_no_minion_from_restarting(modules, systemd, job):
    job("salt_minion.process", 20)
    asked = job("state.apply", 0, recorded=False)
    pid, started = named(asked)
    asked.wait()
    assert restart(modules, pid, started or 1) is True
    assert len(systemd.restarted) == 1


def test_a_minion_that_is_never_idle_is_not_interrupted(modules, systemd, job):
    asked = job("state.apply", 20, recorded=False)
    with pytest.raises(CommandExecutionError, match=f"still ran jobs after 0.3 s .*{asked.pid}"):
        restart(modules, *named(asked), limit=0.3)
    assert systemd.restarted == []


def test_a_process_with_the_same_number_later_is_not_waited_for(modules, systemd, job):
    pid, started = named(job("state.apply", 20, recorded=False))
    assert restart(modules, pid, started - 1) is True


def test_a_minion_that_somebody_has_restarted_meanwhile_is_not_restarted_again(modules, systemd, job):
    asked, new = job("state.apply", 0, recorded=False), job("daemon", 20, recorded=False)
    pid, started = named(asked)
    asked.wait()
    systemd.then = new.pid
    assert restart(modules, pid, started or 1) is True
    assert systemd.restarted == []


@pytest.mark.parametrize("said", ["0\n", "\n", "4194304\n"])
def test_a_minion_without_its_unit_has_no_process_to_replace(modules, systemd, monkeypatch, said):
    calls = []
    monkeypatch.setattr(system, "run", lambda argv, *_, **__: calls.append(argv) or said)
    assert modules.salt_minion.process() is None
    assert modules.salt_minion.restart_later() is None
    assert not any("systemd-run" in argv for argv in calls)


@pytest.mark.one_release
def test_a_host_without_systemd_has_no_process_to_replace(modules, monkeypatch):
    def missing(*_, **__):
        raise Unavailable("There is no systemctl.")

    monkeypatch.setattr(system, "run", missing)
    assert modules.salt_minion.process() is None and modules.salt_minion.restart_later() is None


@pytest.mark.one_release
@pytest.mark.parametrize("state, planned", [("active", 0), ("activating", 0), ("inactive", 1), ("failed", 1)])
def test_one_restart_is_planned_at_a_time(modules, monkeypatch, state, planned):
    calls = []

    def run(argv, *_, **__):
        calls.append(argv)
        return f"{state}\n" if "--property=ActiveState" in argv else f"{os.getpid()}\n"

    monkeypatch.setattr(system, "run", run)
    assert modules.salt_minion.restart_later() == modules.salt_minion.process()
    commands = [argv for argv in calls if argv[0] == "systemd-run"]
    assert len(commands) == planned
    for argv in commands:
        program = argv[argv.index("--") + 1 :]
        assert os.path.basename(program[0]) == "salt-call" and "--local" in program
        assert program[-2:] == [str(os.getpid()), str(system.process_started(os.getpid()))]


@pytest.mark.one_release
def test_salt_call_knows_by_the_age_of_the_file_whether_the_minion_uses_it(
    modules, systemd, monkeypatch, tmp_path
):
    """What the running minion has read, another process cannot see."""
    module = inspect.unwrap(modules.salt_minion.behind).__globals__
    monkeypatch.setitem(module, "__opts__", {**module["__opts__"], "__cli": "salt-call"})
    file = tmp_path / "failback-reconnect.conf"
    file.write_text("recon_max: 500\n")
    # The process of the minion is this one.
    age = system.boottime() - system.process_started(os.getpid()) / os.sysconf("SC_CLK_TCK")
    begun = time.time() - age
    for written, wanted in ((begun + 2, ["recon_max"]), (begun - 2, []), (0, [])):
        os.utime(file, (written, written))
        assert modules.salt_minion.behind(("recon_max",), str(file)) == wanted
    os.utime(file)
    systemd.pid = 0
    assert modules.salt_minion.behind(["recon_max"], str(file)) == []


@pytest.mark.one_release
@pytest.mark.parametrize("name", ["salt_minion.process", "floating_ip.status"])
def test_another_kernel_has_no_such_module(modules, monkeypatch, name):
    virtual = sys.modules[modules[name].__module__].__virtual__
    assert virtual() == name.partition(".")[0]
    monkeypatch.setattr(sys, "platform", "freebsd13")
    refused, why = virtual()
    assert refused is False and why
