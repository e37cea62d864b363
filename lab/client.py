"""What the third host does while the pair is in trouble: it writes, it watches, it remembers.

    writing = start_writing(site.host("client"), "10.0.0.5")
    probe = start_probe(site.host("client"), "10.0.0.5")
    …
    entries = writing.stop()
    assert load.compare(entries, files(site.host("salt1"))) == []
    print(probe.stop()["outage"])

All of it runs inside the host; what is here starts it, stops it and fetches what it found.
"""

import io
import json
import tarfile

from lab import host as hosts
from lab import load

TOOLS = "/usr/local/lib/failback-lab"


class Writing:
    """A running client of lab/load.py."""

    def __init__(self, host, address, log, arguments):
        self.host = host
        self.log = log
        command = ["python3", f"{TOOLS}/load.py", "write", "--to", address, "--log", log]
        self.process = host.spawn([*command, "--stop-file", f"{log}.stop", *arguments])

    def allow_changes(self):
        """From now on it overwrites, renames and deletes as well."""
        self.host.write(f"{self.log}.changes", "")

    def entries(self):
        """The log so far, as a list of dicts (see lab/load.py)."""
        text = self.host.run(["cat", self.log], check=False).stdout
        return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]

    def wait_acknowledged(self, count, limit=60, node=None):
        """Until ``count`` more operations than now are acknowledged (by this node)."""

        def acknowledged():
            return sum(
                1
                for entry in self.entries()
                if entry["answered"] and not entry.get("refused") and node in (None, entry.get("node"))
            )

        wanted = acknowledged() + count
        what = f"{wanted} acknowledged operations" + (f" by {node}" if node else "")
        hosts.until(lambda: acknowledged() >= wanted, limit, what, pause=0.1)

    def stop(self):
        """End it after the operation that it is at; returns all entries."""
        self.host.write(f"{self.log}.stop", "")
        _end(self.process)
        self.host.run(["rm", "-f", f"{self.log}.stop", f"{self.log}.changes"])
        return self.entries()


class Probe:
    """A running outage probe of lab/probe.py."""

    def __init__(self, host, address, interface, interval, limit):
        self.host = host
        self.stop_file = f"/run/probe-{address}.stop"
        host.run(["rm", "-f", self.stop_file])
        command = ["python3", f"{TOOLS}/probe.py", "outage", address, "--interface", interface]
        command += ["--interval", str(interval), "--seconds", str(limit)]
        self.process = host.spawn([*command, "--stop-file", self.stop_file])

    def stop(self):
        """End it; returns the report, a dict as ``lab.probe.outage`` describes it."""
        self.host.write(self.stop_file, "")
        return json.loads(_end(self.process))


def start_writing(
    host,
    address,
    log="/var/log/load.jsonl",
    rate=20.0,
    changes=False,
    prefix="f",
    create_only=False,
    seed=None,
):
    """Start writing through an address; returns a ``Writing``. It goes on after an older log."""
    host.run(["rm", "-f", f"{log}.stop", f"{log}.changes"])
    arguments = ["--rate", str(rate), "--prefix", prefix]
    if seed is not None:
        arguments += ["--seed", str(seed)]
    if changes:
        arguments.append("--changes")
    if create_only:
        arguments.append("--create-only")
    return Writing(host, address, log, arguments)


def start_probe(host, address, interface="eth0", interval=0.001, limit=600.0):
    """Start an outage probe; returns a ``Probe``. It ends by itself after ``limit`` seconds."""
    return Probe(host, address, interface, interval, limit)


def who(host, address, interface="eth0", seconds=1.0):
    """The MACs that answer for an address on the host's link: a dict of MAC to answers."""
    command = ["python3", f"{TOOLS}/probe.py", "who", address, "--interface", interface]
    done = host.run([*command, "--seconds", str(seconds)], timeout=seconds + 30)
    return json.loads(done.stdout)


def files(host, folder="/srv/salt/files"):
    """The regular files in a folder of a running host: a dict of name to bytes."""
    packed = host.run(["tar", "-c", "-C", folder, "."], text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            member.name.removeprefix("./"): archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


def check(entries, host, folder="/srv/salt/files", doubtful=None):
    """What is wrong with the files on a host, as sentences; see ``lab.load.compare``."""
    return load.compare(entries, files(host, folder), doubtful)


def _end(process, limit=30):
    """Wait for a spawned program that was asked to end; returns its output."""
    output, errors = process.communicate(timeout=limit)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {errors.decode(errors='replace')}")
    return output.decode()
