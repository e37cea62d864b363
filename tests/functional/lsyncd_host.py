"""A primary and a standby in two folders, a real lsyncd between them, no systemd and no SSH."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import replicated
from failback.state import ledger

PAIR = {
    "name": "salt",
    "node": "salt1",
    "version": 1,
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "mode": "manual",
    "floating_ips": [],
    "replicate": [
        {"path": "/srv/salt", "then": None},
        {"path": "/etc/qemu/shared-[a-z]*", "then": None},
        {"path": "/etc/hosts--cluster", "then": None},
    ],
    "lsyncd": {"delay": 0.22, "max_processes": 2},
}


def options(minion_opts, tmp_path_factory):
    """A minion's options with a root for the primary; before a module is loaded, for 3006 gives it a copy."""
    minion_opts["failback_root"] = str(tmp_path_factory.mktemp("host") / "primary")
    return minion_opts


#: A remote shell that lets rsync talk until the content of a file has been sent, and holds that back.
LATE = """
import os, pathlib, subprocess, sys, threading, time

base = pathlib.Path(sys.argv[1])
daemon = subprocess.Popen(
    ["rsync", "--server", "--daemon", f"--config={base}/rsyncd.conf", "."],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)


def answers():
    while data := os.read(daemon.stdout.fileno(), 65536):
        os.write(1, data)
    os._exit(daemon.wait())


threading.Thread(target=answers, daemon=True).start()
while data := os.read(0, 65536):
    if b"older" in data:
        (base / "has-read").touch()
        while (base / "late").exists():
            time.sleep(0.02)
    daemon.stdin.write(data)
    daemon.stdin.flush()
daemon.stdin.close()
time.sleep(60)
"""


@contextlib.contextmanager
def as_services(root, modules, monkeypatch):
    """A :class:`Host` that answers in place of Salt's module of services; it is removed at the end."""
    host = Host(root)
    for name in ("show", "start", "stop", "restart"):
        monkeypatch.setitem(modules, f"service.{name}", getattr(host, name))
    try:
        yield host
    finally:
        host.remove()


class Host:
    """
    What systemd and SSH are for the module under test.

    The remote shell is a script that starts a real rsync daemon, with the configuration of the far
    end but the standby's folder in front of every path.
    """

    def __init__(self, primary):
        self.primary = pathlib.Path(primary)
        self.base = self.primary.parent
        self.standby = self.base / "standby"
        self.paths = Paths(self.primary)
        self.member = Member("salt", self.paths)
        self.process = None
        self.calls = []
        for root in (self.primary, self.standby):
            (root / "srv/salt").mkdir(parents=True)
            (root / "etc/qemu").mkdir(parents=True)
        (self.primary / "etc/hosts--cluster").write_text("10.0.0.1 node1\n")
        self.configure()
        self.admit()
        self._far_end()

    def configure(self, **changes):
        """Write the pair's configuration as highstate would."""
        path = self.paths.pair_config("salt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**PAIR, **changes}))

    def admit(self, active="salt1", generation=3):
        """Write a ledger of this boot."""
        self.member.ledger.write(ledger.Entry(generation, active, "run-1", "test"))

    def _far_end(self):
        items = [
            replicated.item("/srv/salt", is_directory=True),
            replicated.item("/etc/qemu/shared-[a-z]*", is_directory=False),
            replicated.item("/etc/hosts--cluster", is_directory=False),
        ]
        text = replicated.daemon_config(items, writable=True)
        text = text.replace("path = /", f"path = {self.standby}/").replace(
            "use chroot = yes", "use chroot = no"
        )
        (self.base / "rsyncd.conf").write_text(text)
        programs = self.base / "programs"
        programs.mkdir()
        (programs / "ssh").write_text(
            "#!/bin/sh\n"
            f'case " $* " in *" -O stop "*) echo "$*" >> {self.base}/stopped; exit 0 ;; esac\n'
            f"[ -e {self.base}/blocked ] && exit 255\n"
            f"[ -e {self.base}/slow ] && sleep 60\n"
            f"while [ -e {self.base}/held ]; do touch {self.base}/holds; sleep 0.05; done\n"
            # The first one of all that are let through so keeps what it is sent to itself.
            f"if [ -e {self.base}/late ] && mkdir {self.base}/is-late 2>/dev/null; then\n"
            f"    exec python3 -S {programs}/late.py {self.base}\n"
            "fi\n"
            f"exec rsync --server --daemon --config={self.base}/rsyncd.conf .\n"
        )
        (programs / "ssh").chmod(0o755)
        (programs / "late.py").write_text(LATE)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def block(self, name="blocked"):
        """
        Cut the way to the standby (``blocked``); let it hang (``slow``), or wait (``held``); let the first
        one that comes put its files in place when it is over (``late``).
        """
        (self.base / name).touch()

    def unblock(self, name="blocked"):
        (self.base / name).unlink()

    @property
    def source(self):
        return self.primary / "srv/salt"

    @property
    def target(self):
        return self.standby / "srv/salt"

    # What Salt's service module does on a host with systemd.

    def show(self, name):
        assert name == "lsyncd"
        if self.process is not None and self.process.poll() is None:
            return {"ActiveState": "active", "MainPID": str(self.process.pid), "Result": "success"}
        if self.process is not None and self.process.returncode not in (0, -signal.SIGTERM):
            return {"ActiveState": "failed", "MainPID": "0", "Result": "exit-code"}
        return {"ActiveState": "inactive", "MainPID": "0", "Result": "success"}

    def start(self, name):
        assert name == "lsyncd"
        self.calls.append("start")
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/lsyncd", "-nodaemon", str(self.primary / "etc/lsyncd/lsyncd.conf.lua")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        return True

    def stop(self, name):
        assert name == "lsyncd"
        self.calls.append("stop")
        self.kill(signal.SIGTERM)
        return True

    def restart(self, name):
        """What does not run is started, as systemctl(1) says."""
        if self.process is not None and self.process.poll() is None:
            self.stop(name)
        return self.start(name)

    def kill(self, number=signal.SIGKILL):
        """End lsyncd and what it has started, as systemd does (``KillMode=control-group``)."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(timeout=20)

    @contextlib.contextmanager
    def stopped(self):
        """lsyncd sees all that is done meanwhile at once, however busy the machine is."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def remove(self):
        self.kill()
        shutil.rmtree(self.base)

    def log(self):
        return (self.base / "log").read_text(errors="replace")


def eventually(fact, limit=20):
    """Wait until a function returns something true, and return it."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = fact()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit} seconds: {fact.__name__}")


def content(folder):
    """Every name below a folder and what is in it."""
    folder = os.fsencode(folder)
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(parent, name)
            key = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[key] = b"-> " + os.readlink(path)
            elif os.path.isdir(path):
                found[key] = None
            else:
                with open(path, "rb") as handle:
                    found[key] = handle.read()
    return found
