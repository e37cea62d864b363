"""The two nodes of the bench and the host that watches them: Failback without Salt, plain SSH, a tree."""

import contextlib
import itertools
import json
import pathlib
import re
import time

from lab import client
from lab.host import kill_session
from lab.host import until

HERE = pathlib.Path(__file__).resolve().parent
LIBRARY = HERE.parent / "salt" / "_utils" / "failback"
PROGRAM = HERE.parent / "salt" / "pair" / "files" / "failback"
TOOLS = "/usr/local/lib/failback-bench"
RELEASE = "/usr/local/lib/failback/releases/benchmark"
ADDRESS, PREFIX, INTERFACE = "10.0.0.5", 24, "eth0"
PAIR = "bench"
PROBE = 0.0002

#: As the pillar of a site would say it.
DATA = {
    "primary": {"id": "one", "host": "10.0.0.11"},
    "secondary": {"id": "two", "host": "10.0.0.12"},
    "floating_ips": {
        "gw": {
            "address": f"{ADDRESS}/{PREFIX}",
            "interface": INTERFACE,
            "label": f"{INTERFACE}:0",
            "watch": {"on": "secondary", "cron": "gateway-ip"},
        }
    },
    "recovery": {"keep_backups": 2},
}


def configuration(**changes):
    """The pair of the bench as its nodes have it; ``watch`` and the like replace what ``DATA`` has."""
    # The library is on the path by the time that anything is measured.
    from failback.pillar import normalise

    return {**normalise.normalise(PAIR, {**DATA, **changes}), "version": 1}


class Nodes:
    """The hosts ``one``, ``two`` and ``client`` of a lab, made ready for everything that is compared."""

    def __init__(self, site):
        self.site = site
        self.one, self.two, self.client = (site.host(name) for name in ("one", "two", "client"))
        self.both = (self.one, self.two)
        self._runs = itertools.count()

    def prepare(self):
        """Failback's program, keys for it and for root's own ssh, and the tools."""
        keys = {}
        for host in self.both:
            for path in LIBRARY.rglob("*.py"):
                host.write(f"{RELEASE}/failback/{path.relative_to(LIBRARY)}", path.read_text())
            host.run(["ln", "-sfn", RELEASE, "/usr/local/lib/failback/current"])
            host.write("/usr/local/sbin/failback", PROGRAM.read_text(), 0o755)
            for path in (HERE / "on_node").glob("*.py"):
                host.write(f"{TOOLS}/{path.name}", path.read_text())
            host.run(["/bin/sh", "-c", "mkdir -p /root/.ssh /etc/failback/ssh /etc/failback/pairs"])
            for key in ("/root/.ssh/id_ed25519", "/etc/failback/ssh/id_ed25519"):
                host.run(["/bin/sh", "-c", f"test -e {key} || ssh-keygen -q -t ed25519 -N '' -f {key}"])
            keys[host.name] = {
                "plain": host.read("/root/.ssh/id_ed25519.pub").strip(),
                "pair": host.read("/etc/failback/ssh/id_ed25519.pub").strip(),
                "host": " ".join(host.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]),
            }
        self.client.write(f"{TOOLS}/talk.py", (HERE / "on_node/talk.py").read_text())
        for host in self.both:
            other = self.other(host)
            far = f'restrict,command="/usr/local/sbin/failback far-end {PAIR}" '
            host.write(
                "/root/.ssh/authorized_keys",
                f"{keys[other.name]['plain']}\n{far}{keys[other.name]['pair']}\n",
                0o600,
            )
            known = f"{other.name},{other.address()} {keys[other.name]['host']}\n"
            host.write("/root/.ssh/known_hosts", known, 0o600)
            host.write("/etc/failback/ssh/known_hosts", known, 0o600)
            text = client_config(host, other)
            host.write("/etc/failback/ssh/config", text, 0o600)
        self.configure()

    def configure(self, **changes):
        """Write the pair's configuration; see :py:func:`configuration`."""
        for host in self.both:
            config = {**configuration(**changes), "node": host.name}
            host.write(f"/etc/failback/pairs/{PAIR}.json", json.dumps(config), 0o600)

    def other(self, host):
        """The other one of the two."""
        return self.two if host.name == "one" else self.one

    def near(self, host, verb, *words, timeout=900):
        """One verb of on_node/near.py; its answer."""
        words = [str(word) for word in words]
        done = host.run(["python3", f"{TOOLS}/near.py", verb, *words], timeout=timeout)
        return json.loads(done.stdout)

    def new_run(self):
        """The id of a run."""
        return f"{time.strftime('%Y%m%dT%H%M%S')}-recover-{PAIR}-{next(self._runs):04x}"

    @contextlib.contextmanager
    def held(self):
        """A new run that owns the lock on both nodes while the block lasts."""
        run = self.new_run()
        for host in self.both:
            self.near(host, "hold", run)
        try:
            yield run
        finally:
            for host in self.both:
                self.near(host, "let_go", run)

    def begin(self, active):
        """One node is active, in a generation that neither has seen, and bears the address alone."""
        known = [self.near(host, "generation") for host in self.both]
        generation = max([one for one in known if one is not None], default=0) + 1
        for host in sorted(self.both, key=lambda host: host is active):
            self.near(host, "begin", generation, active.name)
        until(lambda: self.holders() == [active.name], 10, f"{active.name} to answer")

    def holders(self):
        """Who answers, as the client sees it."""
        return self.site.holders(ADDRESS, seconds=0.3)

    def bare(self, host):
        """No address is left on a node, whoever took it."""
        host.run(["ip", "address", "flush", "to", ADDRESS, "dev", INTERFACE], check=False)

    def tree(self, folder, files, size, copy=True):
        """Make a tree on node one, anew, and on the other node a copy of it or none."""
        for host in self.both:
            host.run(["rm", "-rf", folder], timeout=600)
        self.one.run(["python3", f"{TOOLS}/tree.py", "make", folder, str(files), str(size)], timeout=900)
        if copy:
            self.two.run(["mkdir", "-p", folder])
            self.one.run(["rsync", "-a", "--delete", f"{folder}/", f"two:{folder}/"], timeout=1800)

    def change(self, host, folder, count):
        """Change so many files of a tree on a node."""
        host.run(["python3", f"{TOOLS}/tree.py", "change", folder, str(count)], timeout=120)

    def timed(self, host, *words, timeout=1800):
        """Seconds that a program takes on a node, measured there."""
        script = (
            "import subprocess, sys, time\n"
            "begun = time.monotonic()\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
            "print(time.monotonic() - begun)\n"
        )
        return float(host.run(["python3", "-c", script, *words], timeout=timeout).stdout)

    @contextlib.contextmanager
    def watched(self, interval=PROBE):
        """
        Watch the address while something happens: yields a dict that is filled at the end.

        ``outage`` in seconds (lost probes × interval), ``both`` (probes that two hosts answered), ``overlap``
        in seconds by the kernel's notices: how long both nodes bore the address, below 0 for how long none
        did.
        """
        seen = {}
        monitors = {host.name: self._monitor(host) for host in self.both if host.running}
        probe = client.start_probe(self.client, ADDRESS, interval=interval, limit=300.0)
        # An outage before the probe has begun would read as none. Its socket is its sign of life.
        until(lambda: ":0001 " in self.client.read("/proc/net/raw"), 20, "the probe to begin")
        time.sleep(0.3)
        try:
            yield seen
            time.sleep(0.5)
        finally:
            report = probe.stop()
            notices = [one for name, each in monitors.items() for one in _notices(name, each)]
        if len({span["mac"] for span in report["answered_by"]}) < 2:
            raise RuntimeError(f"The probe did not see both holders: {report}")
        seen.update(report, overlap=overlap(notices), notices=notices)

    def _monitor(self, host):
        return host.spawn(["stdbuf", "-oL", "ip", "-ts", "-o", "monitor", "address"])


def client_config(host, other):
    """The configuration of the pair's own SSH client, as highstate writes it."""
    from failback.host.paths import Paths
    from failback.peer import ssh

    return ssh.client_config([{"id": other.name, "host": other.address()}], Paths())


def _notices(name, process):
    """``(seconds since midnight, node, added or not)`` of each change of the address on a node."""
    kill_session(process)
    output, _ = process.communicate(timeout=10)
    found = []
    for line in output.decode().splitlines():
        match = re.match(r"\[\d{4}-\d\d-\d\dT(\d\d):(\d\d):(\d\d)\.(\d+)\] (Deleted )?", line)
        if match and f" {ADDRESS}/" in line:
            hours, minutes, seconds, fraction, deleted = match.groups()
            moment = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
            found.append((moment, name, deleted is None))
    return found


def overlap(notices):
    """
    For how long two nodes bore the address, or below 0, for how long none did; None without both notices.

    notices
        ``(moment, node, added)``. Pure.
    """
    deleted = {node: moment for moment, node, is_added in sorted(notices) if not is_added}
    # A node with a lease is told to keep what it has for a while longer: its kernel notices that as well.
    added = [moment for moment, node, is_added in notices if is_added and node not in deleted]
    if not added or not deleted:
        return None
    return max(deleted.values()) - min(added)
