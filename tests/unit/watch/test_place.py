"""The place of a watch: systemd's service waits for it, cron's process leaves it to the service."""

import socket

import pytest

from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.watch import place


class Node:
    """A node with the watch's unit or without; what systemd was asked for and what was logged."""

    def __init__(self, folder, monkeypatch):
        self.place = place.Place("gateway-ip", Paths(folder))
        self.asked, self.logged, self.error = [], [], None
        monkeypatch.setattr(system, "run", self.run)
        monkeypatch.setattr(
            system, "log", lambda sentence, *priority: self.logged.append((sentence, *priority))
        )

    def run(self, command, seconds, _what):
        self.asked.append((command, seconds))
        # Whoever is started needs the place.
        self.place.single().close()
        if self.error:
            raise self.error

    def install(self):
        unit = self.place.paths.unit("failback-watch@.service")
        files.make_folder(unit.parent)
        unit.touch()


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


START = (["systemctl", "start", "--", "failback-watch@gateway-ip.service"], 8)


def test_where_systemd_has_the_watch_cron_starts_it_there_and_says_that_it_did_not_run(node):
    node.install()
    assert node.place.for_cron(foreground=False) is None
    assert node.asked == [START]
    ((sentence, priority),) = node.logged
    assert "systemd has started failback-watch@gateway-ip.service" in sentence
    assert priority == system.WARNING


def test_where_systemd_does_not_start_it_cron_keeps_the_place_and_says_why(node):
    node.install()
    node.error = Unavailable("systemd does not answer")
    with node.place.for_cron(foreground=False):
        assert node.place.single() is None
    ((sentence, priority),) = node.logged
    assert "runs without systemd now" in sentence and "systemd does not answer" in sentence
    assert priority == system.ERR


@pytest.mark.parametrize("foreground", [True, False])
def test_systemd_is_not_asked_where_it_has_no_watch_or_somebody_wants_to_see_it(node, foreground):
    if foreground:
        node.install()
    with node.place.for_cron(foreground):
        assert node.place.single() is None
    assert node.asked == [] and node.logged == []


def test_systemd_is_not_asked_while_a_watch_runs(node):
    node.install()
    with node.place.single():
        assert node.place.for_cron(foreground=False) is None
    assert node.asked == []


def test_the_service_tells_systemd_that_it_has_started_and_lives_while_it_waits(node, tmp_path, monkeypatch):
    # The path of a socket is short; that of a test's folder need not be.
    monkeypatch.setenv("NOTIFY_SOCKET", "notify")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("notify")
        systemd.settimeout(20)
        had = node.place.single()
        waited = node.place.for_service()
        assert systemd.recv(100) == b"READY=1"

        def lives(*_):
            assert systemd.recv(100) == b"WATCHDOG=1"
            assert node.place.is_awaited()
            had.close()

        monkeypatch.setattr(place.resident.time, "sleep", lives)
        with waited:
            assert node.place.single() is None
        assert not node.place.is_awaited()
