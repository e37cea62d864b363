"""A pair whose network knows no IPv4: its hosts, its floating address, whom it asks, and its files."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest
import samples
import segment
from segment import eventually

from failback.errors import Refused
from failback.host.paths import Paths
from failback.network import neighbours
from failback.network import reachable
from failback.network.address_holder import Holder
from failback.network.floating import FloatingAddress
from failback.pair import Member
from failback.recovery import reverse_rsync
from failback.recovery import rsync
from failback.replication import lsyncd_config
from failback.replication import replicated
from failback.state import fencing

pytestmark = pytest.mark.needs("network")

GATEWAY = {"name": "salt-gw", "address": "fd99::5/64", "interface": "eth0", "label": None,
           "watch": {"on": "secondary", "cron": "gateway-ip"}}  # fmt: skip
#: As somebody may write it, and not as the kernel does.
SALT1, SALT2 = "fd99::11", "FD99:0:0::0012"
PORT = 22

#: In the stead of ssh: it finds the host among its words as ssh does, and has no need of a login.
SHELL = f"""#!{sys.executable}
import select, socket, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[2:]
there = socket.create_connection((words[0], {PORT}), timeout=10)
there.settimeout(None)
open_ends = [sys.stdin.buffer.raw, there]
while there in open_ends:
    for one in select.select(open_ends, [], [])[0]:
        data = there.recv(1 << 16) if one is there else one.read(1 << 16)
        if not data:
            open_ends.remove(one)
            if one is not there:
                there.shutdown(socket.SHUT_WR)
        elif one is there:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            there.sendall(data)
"""


@pytest.fixture(scope="module")
def network():
    with segment.Segment("salt1", "salt2", "client") as made:
        for host in ("salt1", "salt2", "client"):
            made.ip(host, "-4", "address", "flush", "dev", "eth0")
            assert not [one for one in made.addresses(host) if one["family"] == "inet"]
        yield made


@pytest.fixture
def member(tmp_path):
    config = samples.pair("salt1", floating_ips=[GATEWAY], primary={"id": "salt1", "host": SALT1},
                          secondary={"id": "salt2", "host": SALT2})  # fmt: skip
    return Member.of(config, Paths(tmp_path / "salt1"))


@pytest.fixture
def item():
    return replicated.item("/srv/data", is_directory=True)


@pytest.fixture
def remote(network, tmp_path, item):
    """salt2, where whoever connects gets the daemon of the peer; returns the folder that stands for ``/``."""
    root = tmp_path / "salt2"
    (root / "srv/data").mkdir(parents=True)
    configuration = tmp_path / "rsyncd.conf"
    text = replicated.daemon_config([item], True, str(root))
    configuration.write_text(text.replace("use chroot = yes", "use chroot = no"))
    with network.inside("salt2"):
        listener = socket.create_server(("::", PORT), family=socket.AF_INET6)
    children = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            command = ["rsync", "--server", "--daemon", f"--config={configuration}", "."]
            with connection:
                children.append(subprocess.Popen(command, stdin=connection, stdout=connection))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield root
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for child in children:
            child.kill()
            child.wait()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Its ssh comes first."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "ssh").write_text(SHELL)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_files_come_home(network, member, remote, programs, item):
    (remote / "srv/data/new").write_text("written on salt2\n")
    (remote / "srv/data/named").write_text("named\n")
    peer = reverse_rsync.rsync_peer(member)
    with network.inside("salt1"):
        with rsync.Pass(rsync.pull_command(peer, item)) as running:
            list(running)
        assert running.outcome.code == 0, running.outcome.words
        here = pathlib.Path(peer.folder(item))
        assert (here / "new").read_text() == "written on salt2\n"
        (here / "named").unlink()
        names = member.paths.root / "names"
        names.write_bytes(b"named\0")
        with rsync.Pass(rsync.named_pull_command(peer, item, str(names))) as running:
            list(running)
        assert running.outcome.code == 0, running.outcome.words
    assert (here / "named").read_text() == "named\n"


@pytest.mark.needs("lsyncd")
def test_lsyncd_carries_files(network, member, remote, programs, item):
    source = member.paths.root / "srv/data"
    place = lsyncd_config.places(member)
    for folder in (source, place.marker, place.status.parent, place.seen.parent):
        folder.mkdir(parents=True, exist_ok=True)
    (source / "new").write_text("written on salt1\n")
    configuration = member.paths.root / "lsyncd.conf.lua"
    configuration.write_text(lsyncd_config.render(member, [item]))
    with network.inside("salt1"), open(member.paths.root / "log", "w+") as log:
        lsyncd = subprocess.Popen(
            ["lsyncd", "-nodaemon", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            eventually((remote / "srv/data/new").exists, 20, "lsyncd's first pass")
        finally:
            lsyncd.terminate()
            lsyncd.wait(20)


def test_a_node_that_is_on_is_heard_at_its_port(network, member):
    with network.inside("salt1"):
        assert "(Connection refused)" in fencing.answers(member.peer["host"])
        assert fencing.answers("fd99::77", timeout=0.3) is None


def test_the_address_is_taken_asked_for_and_refused(network, member):
    gateway = FloatingAddress.from_pair(GATEWAY)
    with network.inside("salt1"), Holder([gateway]) as holder:
        assert holder.take()[0]["taken"]
        try:
            assert network.ping("client", "fd99::5")
            with network.inside("client"):
                assert neighbours.probe(gateway) == [network.mac("salt1")]
            refused = pytest.raises(Refused, match=network.mac("salt1"))
            with network.inside("salt2"), Holder([gateway]) as other, refused:
                other.take()
        finally:
            holder.release()


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("fd99::13", True),
        ("FD99:0:0:0::13", True),
        ("2001:DB8:0::0001", True),
        ("fd99::77", False),
        ("2001:db8::77", False),
    ],
)
def test_whoever_must_answer_is_heard_however_his_address_is_written(network, member, wanted, answer):
    with contextlib.suppress(AssertionError):  # there from the case before
        network.ip("client", "address", "add", "2001:db8::1/128", "dev", "lo")
        network.ip("salt1", "route", "add", "2001:db8::/64", "via", "fd99::13")
    config = {**member.config, "watch": {**member.config["watch"], "reachable": [wanted]}}
    with network.inside("salt1"):
        assert reachable.answers(config, timeout=0.5) is answer
