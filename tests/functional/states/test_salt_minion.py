"""The state ``salt_minion``: the minion's settings are in its files and in use."""

import os
import pathlib
import shutil

import pytest
from salt.exceptions import CommandExecutionError

from failback.host import system

SETTINGS = {"tcp_keepalive_idle": 2, "recon_max": 500, "recon_randomize": False}


class Systemd:
    """Runs this very process as salt-minion.service, if it runs anything."""

    def __init__(self):
        self.pid = os.getpid()
        self.planned = []

    def run(self, argv, timeout, what, **options):
        if "--property=MainPID" in argv:
            return f"{self.pid}\n"
        if "--property=ActiveState" in argv:
            return "active\n" if self.planned else "inactive\n"
        assert argv[0] == "systemd-run", argv
        self.planned.append(argv)
        return ""


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    minion_opts["conf_file"] = str(tmp_path_factory.mktemp("etc") / "minion")
    minion_opts["__cli"] = "salt-minion"
    pathlib.Path(minion_opts["conf_file"]).write_text("# nothing\n")
    return minion_opts


@pytest.fixture
def file(minion_opts):
    folder = pathlib.Path(minion_opts["conf_file"]).parent / "minion.d"
    yield folder / "failback-reconnect.conf"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def systemd(monkeypatch):
    systemd = Systemd()
    monkeypatch.setattr(system, "run", systemd.run)
    return systemd


@pytest.fixture
def configured(states, file, systemd):
    def call(test=False):
        return states.salt_minion.configured(name="failback-reconnect", settings=SETTINGS, test=test)

    return call


def test_in_test_mode_nothing_is_written_and_nothing_planned(configured, file, systemd):
    ret = configured(test=True)
    assert ret.result is None
    assert ret.changes == {"file": str(file)}
    assert not file.exists() and systemd.planned == []


def test_the_settings_are_written_and_the_minion_restarts_later(configured, file, systemd):
    ret = configured()
    assert ret.result is True
    assert ret.changes["file"] == str(file)
    assert ret.changes["restart"] == {"pid": os.getpid(), "started": system.process_started(os.getpid())}
    assert "restarts when this job has returned" in ret.comment
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["tcp_keepalive_idle: 2", "recon_max: 500", "recon_randomize: false"]
    assert file.stat().st_mode & 0o777 == 0o644
    (command,) = systemd.planned
    assert command[:4] == ["systemd-run", "--quiet", "--collect", "--unit=failback-restart-salt-minion"]
    assert command[-3:] == [
        "salt_minion.restart_when_idle",
        str(os.getpid()),
        str(system.process_started(os.getpid())),
    ]


def test_a_minion_that_still_runs_with_other_settings_is_seen_each_time(configured, systemd):
    configured()
    systemd.planned.clear()
    ret = configured(test=True)
    assert ret.result is None and "recon_max" in ret.comment and systemd.planned == []
    ret = configured()
    assert list(ret.changes) == ["restart"] and len(systemd.planned) == 1
    # One restart is enough: the second highstate in a row plans no second one.
    assert configured().result is True and len(systemd.planned) == 1


def test_a_minion_that_uses_them_is_left_alone(states, file, systemd, minion_opts):
    used = {name: minion_opts[name] for name in SETTINGS}

    def call():
        return states.salt_minion.configured(name="failback-reconnect", settings=used)

    ret = call()
    assert (ret.result, ret.changes, systemd.planned) == (True, {"file": str(file)}, [])
    assert "in use already" in ret.comment
    ret = call()
    assert (ret.result, ret.changes, systemd.planned) == (True, {}, [])
    assert "already uses" in ret.comment


def test_a_setting_that_a_later_file_changes_is_no_reason_to_restart_for_ever(
    file, modules, minion_opts, systemd
):
    """What counts is whether the minion uses what is on its disk, whoever wrote it."""
    file.parent.mkdir()
    file.write_text("recon_max: 500\nrecon_default: 100\n")
    (file.parent / "zz-site.conf").write_text(f"recon_max: {minion_opts['recon_max']}\n")
    assert modules.salt_minion.behind(["recon_max", "recon_default"], str(file)) == ["recon_default"]


def test_without_systemd_somebody_is_told_to_restart_it(configured, systemd, file):
    systemd.pid = 0
    ret = configured()
    assert ret.result is True and ret.changes == {"file": str(file)} and systemd.planned == []
    assert "restart it yourself" in ret.comment
    assert configured().changes == {}


def test_a_file_that_cannot_be_written_is_a_failure(configured, file):
    file.parent.write_text("in the way")
    ret = configured()
    file.parent.unlink()
    assert ret.result is False and ret.changes == {}


def test_a_restart_that_cannot_be_planned_is_a_failure_with_its_change(configured, file, monkeypatch):
    def refuse(argv, *words, **more):
        if argv[0] == "systemd-run":
            raise CommandExecutionError("no room for a unit")
        return Systemd().run(argv, *words, **more)

    monkeypatch.setattr(system, "run", refuse)
    ret = configured()
    assert ret.result is False and ret.changes == {"file": str(file)}
    assert "no room for a unit" in ret.comment
