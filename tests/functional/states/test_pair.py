"""The states that highstate keeps a node of a pair by, each in test mode first."""

import json
import os
import pathlib
import pwd
import time
import types

import pytest
import salt.loader

from failback.host import release
from failback.host import system
from failback.host.paths import Paths


@pytest.fixture
def paths(minion_opts):
    return Paths(minion_opts["failback_root"])


@pytest.fixture
def synced(tree):
    return system.package_digest(tree / "salt/_utils/failback")


def listed(paths):
    return sorted(str(path) for path in paths.root.rglob("*"))


def test_a_release_comes_into_force(states, modules, paths, synced):
    before = listed(paths)
    ret = states.pair.release_in_force("The library is current", test=True)
    assert ret.result is None and ret.changes == {"release": {"old": None, "new": synced}}
    assert listed(paths) == before
    ret = states.pair.release_in_force("The library is current")
    assert ret.result is True and ret.changes == {"release": {"old": None, "new": synced}}
    assert modules.pair.package() == {"modules": synced, "program": synced}
    ret = states.pair.release_in_force("The library is current")
    assert ret.result is True and ret.changes == {}
    (paths.release / "failback/cli.py").write_text("# of last year\n")
    assert modules.pair.package()["program"] not in (None, synced)
    ret = states.pair.release_in_force("The library is current")
    assert ret.result is True and ret.changes["release"]["new"] == synced
    assert release.digest(paths) == synced


def test_what_cannot_be_written_is_said_and_changes_nothing(states, paths, tmp_path):
    releases = paths.library / "releases"
    kept = releases.rename(tmp_path / "kept") if releases.exists() else None
    paths.library.mkdir(parents=True, exist_ok=True)
    releases.write_text("a file is in the way\n")
    try:
        paths.release.unlink(missing_ok=True)
        ret = states.pair.release_in_force("The library is current")
        assert ret.result is False and ret.changes == {} and str(releases) in ret.comment
    finally:
        releases.unlink()
        if kept:
            kept.rename(releases)


def test_a_library_in_one_folder_goes(states, paths):
    ret = states.pair.flat_program_absent("No earlier library")
    assert ret.result is True and ret.changes == {}
    flat = paths.library / "failback"
    flat.mkdir(parents=True)
    (flat / "__init__.py").write_text("")
    ret = states.pair.flat_program_absent("No earlier library", test=True)
    assert ret.result is None and ret.changes == {"library": "removed"} and flat.is_dir()
    ret = states.pair.flat_program_absent("No earlier library")
    assert ret.result is True and ret.changes == {"library": "removed"} and not flat.exists()


def test_a_library_that_a_watch_still_runs_from_stays(states, modules, paths):
    flat = paths.library / "failback"
    flat.mkdir(parents=True)
    (flat / "__init__.py").write_text("")
    status = pathlib.Path(paths.root / "run/failback/watch-gateway-ip.json")
    status.parent.mkdir(parents=True)
    status.write_text(json.dumps({"pid": os.getpid(), "since": time.time() - 9}))
    try:
        assert modules.pair.remove_flat_program(limit=0.3) == ["gateway-ip"]
        assert flat.is_dir()
    finally:
        status.unlink()


@pytest.mark.one_release
def test_a_library_that_is_still_in_use_is_left_for_the_next_highstate(minion_opts):
    """Nothing was changed then, and that is no failure."""
    functions = {
        "pair.has_flat_program": lambda: True,
        "pair.remove_flat_program": lambda: ["gateway-ip", "keeper"],
    }
    loader = salt.loader.states(minion_opts, functions, {}, None, context={})
    ret = loader["pair.flat_program_absent"]("No earlier library")
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "gateway-ip, keeper still runs from it" in ret["comment"]


def test_a_shell_that_prints_over_ssh_is_named_and_left_as_it_is(states, tmp_path, monkeypatch):
    account = types.SimpleNamespace(pw_dir=str(tmp_path), pw_shell="/bin/bash")
    monkeypatch.setattr(pwd, "getpwnam", lambda user: account)
    assert states.pair.shell_silent("Nothing but the answer").result is True
    (tmp_path / ".bashrc").write_text("echo Welcome\n")
    for test in (True, False):
        ret = states.pair.shell_silent("Nothing but the answer", test=test)
        assert ret.result is False and ret.changes == {}
        assert "'Welcome'" in ret.comment and f"{tmp_path}/.bashrc" in ret.comment
    assert (tmp_path / ".bashrc").read_text() == "echo Welcome\n"
