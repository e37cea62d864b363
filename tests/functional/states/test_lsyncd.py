"""The states with a real lsyncd, each in test mode first."""

import collections
import json
import sys

import lsyncd_host
import pytest
import salt.loader
from salt.exceptions import CommandExecutionError

pytestmark = pytest.mark.needs("root", "lsyncd")


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    return lsyncd_host.options(minion_opts, tmp_path_factory)


@pytest.fixture
def host(minion_opts, modules, monkeypatch):
    with lsyncd_host.as_services(minion_opts["failback_root"], modules, monkeypatch) as host:
        yield host


class Result:
    """What a state returned, by attribute."""

    def __init__(self, returned):
        self.name = returned["name"]
        self.result = returned["result"]
        self.changes = returned["changes"]
        self.comment = returned["comment"]


@pytest.fixture
def apply(host, modules, loaders, minion_opts):
    """Calls a state of lsyncd with the modules that this test has altered: ``apply("running")``."""

    def call(function, name="salt", test=False, **words):
        opts = {**minion_opts, "test": test}
        functions = collections.ChainMap(call.instead, modules) if call.instead else modules
        loader = salt.loader.states(opts, functions, loaders.utils, None, context={})
        return Result(loader[f"lsyncd.{function}"](name, **words))

    #: By name: what stands in place of an execution function.
    call.instead = {}
    return call


@pytest.fixture
def path(host):
    return host.primary / "etc/lsyncd/lsyncd.conf.lua"


@pytest.mark.parametrize("test", [True, False])
def test_managed(host, apply, path, test):
    ret = apply("managed", test=test)
    assert ret.result is (None if test else True)
    assert "+sync{ source = " in ret.changes["diff"]
    assert ("Would have changed" in ret.comment) is test
    assert path.exists() is not test
    if not test:
        again = apply("managed")
        assert again.result is True
        assert again.changes == {}
        assert "already" in again.comment


def test_managed_in_test_mode_shows_what_the_pillar_asks_for(host, apply, path):
    apply("managed")
    asked = json.dumps({**lsyncd_host.PAIR, "lsyncd": {"delay": 7, "max_processes": 2}})
    ret = apply("managed", test=True, rendered=asked)
    assert ret.result is None
    assert "delay = 7" in ret.changes["diff"]
    assert "delay = 7" not in path.read_text()


def test_managed_in_test_mode_on_a_new_node(host, apply, modules, path, monkeypatch):
    """Neither the pair's file nor lsyncd are there before the first highstate."""
    asked = host.paths.pair_config("salt").read_text()
    host.paths.pair_config("salt").unlink()
    monkeypatch.setattr(sys.modules[modules["lsyncd.check"].__module__], "LSYNCD", "/usr/bin/no-lsyncd-yet")
    ret = apply("managed", test=True, rendered=asked)
    assert ret.result is None, ret.comment
    assert "+sync{ source = " in ret.changes["diff"]
    really = apply("managed", rendered=asked)
    assert really.result is False
    assert "cannot be checked" in really.comment
    assert not path.exists()


@pytest.mark.parametrize("test", [True, False])
def test_managed_fails_without_changes(host, apply, path, test):
    apply("managed")
    working = path.read_text()
    host.configure(lsyncd={"delay": -1, "max_processes": 2})
    ret = apply("managed", test=test)
    assert ret.result is False
    assert ret.changes == {}
    assert "lsyncd refuses the configuration" in ret.comment
    assert path.read_text() == working


@pytest.mark.parametrize("test", [True, False])
def test_running(host, apply, modules, test):
    (host.source / "file").write_text("x")
    ret = apply("running", test=test)
    assert ret.result is (None if test else True)
    assert ret.changes["lsyncd"] == {"old": "inactive", "new": "active"}
    assert host.calls == ([] if test else ["start"])
    if test:
        assert "Would have started" in ret.comment
        return
    modules.lsyncd.drain("salt", 30)
    assert (host.target / "file").exists()
    again = apply("running")
    assert again.result is True
    assert again.changes == {}
    assert host.calls == ["start"]


def test_running_is_refused_by_the_gate(host, apply):
    host.admit("salt2", 4)
    (host.target / "newer").write_text("x")
    ret = apply("running")
    assert ret.result is False
    assert ret.changes == {}
    assert "salt2 is active" in ret.comment
    assert host.calls == []
    assert (host.target / "newer").exists()


def test_running_fails_and_says_what_it_has_changed(host, apply, modules, monkeypatch, path):
    monkeypatch.setitem(modules, "service.restart", lambda name: True)
    ret = apply("running")
    assert ret.result is False
    assert list(ret.changes) == ["diff"] and path.exists()


@pytest.mark.parametrize("test", [True, False])
def test_stopped(host, apply, test):
    ret = apply("stopped", test=test)
    assert ret.result is True
    assert ret.changes == {}
    apply("running")
    ret = apply("stopped", test=test)
    assert ret.result is (None if test else True)
    assert ret.changes == {"lsyncd": {"old": "active", "new": "inactive"}}
    assert (host.process.poll() is None) is test


def test_an_unknown_pair_is_a_failed_state(host, apply):
    for name in ("managed", "running", "stopped"):
        ret = apply(name, "mgmt")
        assert ret.result is False
        assert "knows no pair mgmt" in ret.comment


RUNS = {"running": True, "pid": 7, "unit": "active", "why": None}
ENDED = {"running": False, "pid": None, "unit": "failed", "why": "It ended with status 3."}


def says(apply, function, *answers):
    """A function of the module says one thing after the other; an exception is raised."""
    answers, asked = list(answers), []

    def call(*words, **more):
        asked.append(words)
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    apply.instead[function] = call
    return asked


@pytest.mark.one_release
def test_an_lsyncd_that_ends_as_soon_as_it_is_started_is_a_failure(host, apply):
    says(apply, "lsyncd.status", ENDED, ENDED)
    says(apply, "lsyncd.managed", "", "")
    started = says(apply, "lsyncd.start", True)
    ret = apply("running")
    assert (ret.result, ret.changes, len(started)) == (False, {}, 1)
    assert "was started and has ended again. It ended with status 3." in ret.comment


@pytest.mark.one_release
@pytest.mark.parametrize(
    "then, changes",
    [("", {"diff": "+a"}), ("+a", {}), (CommandExecutionError("cannot be read"), {})],
    ids=["it was written", "it was not", "nobody knows"],
)
def test_a_start_that_fails_has_changed_what_is_known_to_have_changed(host, apply, then, changes):
    says(apply, "lsyncd.status", ENDED)
    says(apply, "lsyncd.managed", "+a", then)
    says(apply, "lsyncd.start", CommandExecutionError("no room"))
    ret = apply("running")
    assert (ret.result, ret.changes, ret.comment) == (False, changes, "no room")


@pytest.mark.one_release
def test_one_that_runs_with_another_configuration_is_started_anew(host, apply):
    says(apply, "lsyncd.status", RUNS, RUNS)
    says(apply, "lsyncd.managed", "+a")
    started = says(apply, "lsyncd.start", True)
    ret = apply("running")
    assert ret.result is True and ret.changes["diff"] == "+a" and len(started) == 1


@pytest.mark.one_release
@pytest.mark.parametrize("unit", ["activating", "deactivating"])
@pytest.mark.parametrize("test", [True, False])
def test_one_that_is_just_starting_or_ending_is_stopped(host, apply, unit, test):
    says(apply, "lsyncd.status", {**ENDED, "unit": unit}, ENDED)
    stopped = says(apply, "lsyncd.stop", True)
    ret = apply("stopped", test=test)
    assert ret.result is (None if test else True) and len(stopped) == (not test)
    assert ret.changes == {"lsyncd": {"old": unit, "new": "inactive"}}


@pytest.mark.one_release
def test_one_that_runs_again_was_not_stopped(host, apply):
    says(apply, "lsyncd.status", RUNS, {**RUNS, "pid": 8})
    says(apply, "lsyncd.stop", True)
    ret = apply("stopped")
    assert (ret.result, ret.changes) == (False, {}) and "runs again (process 8)" in ret.comment
