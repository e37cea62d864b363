"""What a service says to systemd, which may not listen."""

import os
import socket

import pytest

from failback.host import notify


@pytest.fixture(params=["a file", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """What has been heard, as a function; the socket where systemd listens."""
    name = str(tmp_path / "notify") if request.param == "a file" else f"@failback-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        opened.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield opened


def test_all_words_are_one_datagram(systemd):
    notify.tell(notify.READY, "STATUS=it begins")
    notify.tell(notify.ALIVE)
    assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1\nSTATUS=it begins", b"WATCHDOG=1"]


def test_nobody_is_told_who_has_not_asked(systemd, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.tell(notify.READY)
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


@pytest.mark.parametrize("name", ["/nonexistent/notify", "@failback-test-nobody", "relative"])
def test_nobody_listens_and_the_service_goes_on(monkeypatch, name):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify.tell(notify.READY)


def test_a_systemd_that_does_not_read_keeps_no_service_waiting(systemd):
    for _ in range(10_000):
        notify.tell(notify.ALIVE)
    assert systemd.recv(100) == b"WATCHDOG=1"
