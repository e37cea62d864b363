"""Services of a pair: what they do, and that a start or a stop is believed only when it is seen."""

import time

import pytest

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import services
from failback.host import system


class Systemd:
    """Units by name. ``systemctl`` and ``journalctl`` ask this; all other programs are real."""

    def __init__(self):
        self.units = {}
        self.done = []
        self.run_really = system.run

    def unit(self, name, state="inactive", starts="active", stops="inactive", restarts=0):
        """``starts``, ``stops``: the states that follow, or an exception that the command ends with."""
        self.units[name] = {"state": state, "starts": starts, "stops": stops, "restarts": restarts}

    def run(self, argv, timeout, what, **options):
        if argv[0] == "journalctl":
            return f"the journal of {argv[-1].partition('=')[2]}\n"
        if argv[0] != "systemctl":
            return self.run_really(argv, timeout, what, **options)
        verb, names = argv[1], argv[argv.index("--") + 1 :]
        if verb == "show":
            return "\n\n".join(self._show(name) for name in names) + "\n"
        (name,) = names
        self.done.append((verb, name))
        unit = self.units[name]
        if verb == "reset-failed":
            unit["state"] = "inactive"
            return ""
        follows = unit["stops" if verb == "stop" else "starts"]
        if isinstance(follows, FailbackError):
            raise follows
        unit["state"] = follows() if callable(follows) else follows
        return ""

    def _show(self, name):
        if name not in self.units:
            return "LoadState=not-found\nActiveState=inactive\nNRestarts=0"
        unit = self.units[name]
        # A service that systemd starts again and again looks active at each moment.
        unit["seen"] = unit.get("seen", 0) + unit["restarts"]
        return f"LoadState=loaded\nActiveState={unit['state']}\nNRestarts={unit['seen']}"


@pytest.fixture
def systemd(monkeypatch):
    systemd = Systemd()
    monkeypatch.setattr(system, "run", systemd.run)
    limits = {"STAYS_UP": 0.3, "PROOF_LIMIT": 0.5, "FOLLOWS_LIMIT": 0.5, "STATUS_LIMIT": 1}
    for name, seconds in limits.items():
        monkeypatch.setattr(services, name, seconds)
    return systemd


class Switch:
    """Something that is on or off inside another daemon: a file with the exit status of ``status``."""

    def __init__(self, folder, exit_status=services.OFF):
        self.file = folder / "switch"
        self.set(exit_status)

    def set(self, exit_status):
        self.file.write_text(f"exit {exit_status}\n")

    def sets(self, exit_status, state):
        """What a unit's command does, and the unit's state after it."""

        def command():
            self.set(exit_status)
            return state

        return command

    @property
    def status(self):
        return ["/bin/sh", str(self.file)]


@pytest.fixture
def switch(tmp_path, systemd):
    """A unit that turns the switch on when started and off when stopped."""
    switch = Switch(tmp_path)
    systemd.unit(
        "switch",
        starts=switch.sets(services.ON, "active"),
        stops=switch.sets(services.OFF, "inactive"),
    )
    return switch


def entry(name, proof=None, status=None):
    return {"name": name, "proof": proof, "status": status}


def start(one):
    return services.start("web", "services.0", one, "web1")


def stop(one):
    return services.stop("web", "active_services.0", one, "web2")


# --- what they do ------------------------------------------------------------------------------


def test_systemd_is_asked_once_for_all(systemd):
    systemd.unit("nginx", "active")
    systemd.unit("squid", "failed")
    found = services.states([entry("nginx"), entry("absent"), entry("squid")])
    assert found == {"nginx": "active", "absent": "not-found", "squid": "failed"}
    assert services.states([]) == {}


@pytest.mark.parametrize(
    "exit_status, state",
    [(0, "active"), (3, "inactive"), (1, "unknown"), (2, "unknown"), (4, "unknown"), (255, "unknown")],
)
@pytest.mark.parametrize("believed", ["active", "inactive", "failed"])
def test_the_status_command_is_believed_and_not_systemd(systemd, switch, exit_status, state, believed):
    systemd.units["switch"]["state"] = believed
    switch.set(exit_status)
    assert services.states([entry("switch", status=switch.status)]) == {"switch": state}


@pytest.mark.parametrize("argv", [["/nonexistent/status"], ["sleep", "30"]])
def test_a_status_command_that_does_not_answer_proves_nothing(systemd, argv):
    systemd.unit("switch", "active")
    assert services.states([entry("switch", status=argv)]) == {"switch": "unknown"}


def test_status_commands_are_asked_at_the_same_time(systemd, monkeypatch):
    monkeypatch.setattr(services, "STATUS_LIMIT", 5)
    for name in "abcdef":
        systemd.unit(name)
    begun = time.monotonic()
    found = services.states([entry(name, status=["sleep", "0.5"]) for name in "abcdef"])
    assert set(found.values()) == {"active"}
    assert time.monotonic() - begun < 2.5


def test_the_status_of_a_unit_that_does_not_exist_is_not_asked(systemd, tmp_path):
    asked = tmp_path / "asked"
    assert services.states([entry("absent", status=["touch", str(asked)])]) == {"absent": "not-found"}
    assert not asked.exists()


# --- starting ----------------------------------------------------------------------------------


def test_a_service_is_started_once(systemd):
    systemd.unit("nginx")
    assert start(entry("nginx")) == "started"
    assert start(entry("nginx")) == "already running"
    assert systemd.done == [("start", "nginx")]


def test_a_service_that_is_already_starting_is_waited_for(systemd):
    systemd.unit("nginx", "activating")
    assert start(entry("nginx")) == "started"


def test_one_that_has_died_too_often_is_started_all_the_same(systemd):
    systemd.unit("nginx", "failed")
    assert start(entry("nginx")) == "started"
    assert systemd.done == [("reset-failed", "nginx"), ("start", "nginx")]


def test_a_running_service_proves_itself_as_well(systemd):
    systemd.unit("nginx", "active")
    with pytest.raises(Unavailable, match="did not prove itself"):
        start(entry("nginx", proof=["false"]))


@pytest.mark.parametrize(
    "unit, proof, words",
    [
        (None, None, "is no unit on web1"),
        ({"starts": Unavailable("Cannot start nginx: exit status 1, x.")}, None, "did not start on web1"),
        ({"starts": "failed"}, None, "is now failed"),
        ({"starts": "inactive"}, None, "is now inactive"),
        ({"restarts": 1}, None, "is now active after [1-9] restarts"),
        ({"starts": "activating"}, None, "is still activating on web1"),
        ({}, ["false"], "did not prove itself within 0.5 s"),
        ({}, ["sleep", "0.1", "x"], "did not prove itself within 0.5 s"),
        ({}, ["/nonexistent/proof"], "is not installed"),
    ],
)
def test_a_service_that_does_not_come_up_is_named(systemd, unit, proof, words):
    if unit is not None:
        systemd.unit("nginx", **unit)
    with pytest.raises(FailbackError, match=words) as found:
        start(entry("nginx", proof=proof))
    sentence = str(found.value)
    for word in ("web:", "nginx", "services.0", "web1", "nothing after it was started"):
        assert word in sentence


def test_what_does_not_exist_is_refused_before_anything_is_done(systemd):
    with pytest.raises(Refused):
        start(entry("nginx"))
    assert systemd.done == []


def test_what_a_service_logged_is_told(systemd):
    systemd.unit("nginx", starts="failed")
    with pytest.raises(Unavailable, match="the journal of nginx"):
        start(entry("nginx"))


def test_a_unit_that_systemd_wrongly_believes_up_is_restarted(systemd, switch):
    systemd.units["switch"]["state"] = "active"
    one = entry("switch", status=switch.status)
    assert start(one) == "started"
    assert services.states([one]) == {"switch": "active"}
    assert start(one) == "already running"
    assert systemd.done == [("restart", "switch")]


def test_what_was_switched_on_by_hand_gets_its_unit_started_too(systemd, switch):
    switch.set(services.ON)
    assert start(entry("switch", status=switch.status)) == "started"
    assert systemd.done == [("start", "switch")]


@pytest.mark.parametrize("exit_status, words", [(3, "is off after"), (4, "is not known to be on")])
def test_a_unit_that_starts_and_changes_nothing_has_not_started(systemd, switch, exit_status, words):
    systemd.unit("switch", starts=switch.sets(exit_status, "active"))
    with pytest.raises(Unavailable, match=words) as found:
        start(entry("switch", status=switch.status))
    assert "nothing after it was started" in str(found.value)


# --- stopping ----------------------------------------------------------------------------------


def test_a_service_is_stopped_once(systemd):
    systemd.unit("nginx", "active")
    assert stop(entry("nginx")) == "stopped"
    assert stop(entry("nginx")) == "not running"
    assert systemd.done == [("stop", "nginx")]


def test_what_does_not_exist_does_not_run(systemd):
    assert stop(entry("absent", status=["true"])) == "not running"


@pytest.mark.parametrize("stops", [Unavailable("Cannot stop nginx: no end."), "active", "deactivating"])
def test_a_service_that_does_not_stop_is_named(systemd, stops):
    systemd.unit("nginx", "active", stops=stops)
    with pytest.raises(Unavailable, match=r"web: nginx \(active_services.0\) .*stop.* on web2"):
        stop(entry("nginx"))


def test_what_is_on_behind_systemds_back_is_stopped(systemd, switch):
    switch.set(services.ON)
    one = entry("switch", status=switch.status)
    assert stop(one) == "stopped"
    assert services.states([one]) == {"switch": "inactive"}
    assert stop(one) == "not running"


def test_a_switch_that_stays_on_was_not_stopped(systemd, switch):
    switch.set(services.ON)
    systemd.unit("switch", "active")
    with pytest.raises(Unavailable, match="is still on"):
        stop(entry("switch", status=switch.status))


@pytest.mark.parametrize("believed", ["active", "inactive"])
def test_what_gives_no_answer_is_not_said_to_be_stopped(systemd, switch, believed):
    switch.set(4)
    systemd.unit("switch", believed)
    assert stop(entry("switch", status=switch.status)) == "unknown"


def test_what_the_active_node_alone_runs_is_stopped_backwards():
    config = {"active_services": [entry("first"), entry("second")]}
    keys = [(key, one["name"]) for key, one in services.of_the_active_node(config)]
    assert keys == [
        ("replicate", "lsyncd.service"),
        ("active_services", "second"),
        ("active_services", "first"),
    ]
