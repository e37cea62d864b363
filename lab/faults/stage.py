"""The hosts on which the runs of a campaign are made, and where things lie on them."""

import contextlib
import json
import pathlib
import subprocess

from lab import cache
from lab import load
from lab.faults import clock
from lab.faults import volumes
from lab.host import HostOff
from lab.host import until
from lab.roles import bmc
from lab.site import Site
from lab.site import in_parallel

ADDRESS = "10.0.0.5"
STATE = "/var/lib/failback/salt"
TOOLS = "/usr/local/lib/failback-lab"
PILLAR = "/srv/salt/pillar/pairs/salt.sls"
CLIENT_FILES = "/srv/salt/files"
SMALL = volumes.PLACES["small"]
#: Seconds without an answer after which a node takes over (the pillar's default), and what it has to wait
#: for then: until a lease ends, or until a board has switched the other node off and says so.
PATIENCE = 2
WAITS = {"": 0, "lease": 6, "fence": 10}
#: Seconds that an orchestration may take with a fault in it, before it counts as hanging.
LIMIT = 300
#: Allowed to one run: the load deletes and overwrites what it likes.
ALLOWED = {"max_delete": 100000, "max_change_percent": 100}
OBSERVED = "/var/log/observer.jsonl"
UNIT = """[Unit]
Description=What can be seen of this node from outside Failback

[Service]
ExecStart=/usr/bin/python3 {tools}/observer.py --address {address} --ledger {state}/ledger.json --log {log}
{time}
Restart=always
RestartSec=0.1

[Install]
WantedBy=sysinit.target
"""


class Lab:
    """The hosts of a campaign, used by one run after the other: each ends as the next one begins."""

    def __init__(self, name):
        self.site = Site(name, "faults")
        self.site.is_for_tests = True
        #: There while the pair is normal, and no fault was left in the middle.
        self.ready = self.site.state / "faults"
        self.primary, self.secondary, self.client = (
            self.site.host(one) for one in ("salt1", "salt2", "client")
        )
        self.nodes = (self.primary, self.secondary)
        self.follow = False  # print what happens as it happens
        self.undisturbed = {}  # operation to seconds, for random moments
        self.switched = lambda name, what: None  # what a board has done with a host's power
        self._boards = contextlib.ExitStack()

    def up(self):
        """A pair that is ``normal``, with volumes that can be filled, and observers on its nodes."""
        fresh = not self.ready.exists()
        if fresh:
            (self.site.state / "faults-configuration").unlink(missing_ok=True)
            self.down()
            self.site.up(masters=False)
            in_parallel(lambda host: host.power_off(), self.nodes)
            for host in self.nodes:
                volumes.prepare(host)
        for host in self.site.hosts:
            host.power_on(wait=False)
        in_parallel(lambda host: host.wait_booted(), self.site.hosts)
        for host in self.site.hosts:
            for name in ("observer.py", "follow_arp.py"):
                text = pathlib.Path(__file__).with_name(name).read_text()
                host.write(f"{TOOLS}/{name}", text)
            host.write(f"{TOOLS}/load.py", pathlib.Path(load.__file__).read_text())
        if fresh:
            self._set_up()
        for host in self.nodes:
            host.run(["systemctl", "restart", "lab-observer"])
            # What a campaign that was ended has left at work would change files behind the next run's back.
            host.run(["systemctl", "stop", "lab-local-*.service"], timeout=60)
        self.client.run(["pkill", "-f", f"{TOOLS}/load.py write"], check=False)
        follow = [
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=lab-arp",
            "--property=Restart=always",
            "python3",
        ]
        follow += [f"{TOOLS}/follow_arp.py", "--address", ADDRESS, "--interface", "eth0"]
        if self.client.run(["systemctl", "is-active", "lab-arp"], check=False).returncode:
            self.client.run([*follow, "--log", "/var/log/arp.jsonl"])
        self.macs = {host.mac(): host.name for host in self.nodes}
        return self

    def _set_up(self):
        for host in self.nodes:
            unit = UNIT.format(
                tools=TOOLS, address=ADDRESS, state=STATE, log=OBSERVED, time=clock.MACHINES_TIME
            )
            host.write("/etc/systemd/system/lab-observer.service", unit)
            host.run(["systemctl", "enable", "--now", "--quiet", "lab-observer"])
            text = host.read(PILLAR)
            text = text.replace("    replicate:\n", f"    replicate:\n      - {SMALL}\n")
            text = text.replace(
                "boot_timeout: 300", "boot_timeout: 60\n      reboot: false\n      keep_backups: 50"
            )
            # As a site has its router: without it a node that is cut off takes what clients still write to.
            text += f"    watch: {{reachable: [{self.client.address()}]}}\n"
            host.write(PILLAR, text)
        minions = {host: _minion(host) for host in self.nodes}
        self.site.start_masters(list(self.nodes))
        (self.site.state / "masters-begun").touch()
        # The highstate at boot finds a master now, and restarts the minion with its new settings: a job that
        # came in between would be lost with it.
        for host, before in minions.items():
            until(
                lambda host=host, before=before: _minion(host) not in (before, "0"),
                120,
                f"the minion of {host.name} to restart after the highstate at boot",
            )
        in_parallel(lambda host: self.site.wait_answered(host, ["salt1", "salt2"], 60), self.nodes)
        self.primary.run(["mkdir", "-p", f"{SMALL}/local", CLIENT_FILES])
        for host in self.nodes:
            host.run(["salt-run", "saltutil.sync_all"], timeout=120)
        for what in ("adopt", "boot"):
            self.orchestrate(self.primary, what)
        self.ready.touch()

    def configure(self, wanted):
        """
        Give the pair, which is ``normal``, a lease or agents that fence, or take them away.

        wanted
            As ``moments.configuration`` says.
        """
        place = self.site.state / "faults-configuration"
        self._boards.close()
        if wanted == "fence":
            self._boards.enter_context(bmc.Boards(self.site, self.client, self._told))
        if wanted == (place.read_text() if place.exists() else ""):
            return
        keys = {"": {}, "lease": {"lease": self._lease()}, "fence": {"fence": bmc.fence(self.site)}}[wanted]
        added = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in keys.items())
        for host in self.nodes:
            lines = host.read(PILLAR).splitlines(True)
            text = "".join(one for one in lines if not one.startswith(("    lease:", "    fence:")))
            host.write(PILLAR, text.replace("    mode: manual\n", f"    mode: manual\n{added}", 1))
        # It ends what was there before, and sets up etcd, which has to begin on all its members at once.
        self._highstate()
        if wanted == "lease":
            self.orchestrate(self.primary, "lease")
        place.write_text(wanted)

    def _lease(self):
        members = [{"id": host.name, "host": host.address()} for host in self.site.hosts]
        return {"members": members, "ttl": WAITS["lease"]}

    def _told(self, name, what):
        self.switched(name, what)  # each run has its own

    def down(self):
        """Remove the lab; first the boards, which look for its hosts."""
        with contextlib.suppress(HostOff, subprocess.SubprocessError):
            self._boards.close()
        self.site.down()

    def push(self):
        """The checkout's tree on both masters, and what it makes of the nodes."""
        pillars = [host.read(PILLAR) for host in self.nodes]
        self.site.push_tree()
        for host, text in zip(self.nodes, pillars):
            host.write(PILLAR, text)
            host.run(["salt-run", "saltutil.sync_all"], timeout=120)
        self._highstate()

    def _highstate(self):
        # Behind a highstate at boot, if there is one.
        command = ["salt", "-L", "salt1,salt2", "state.apply", "queue=True"]
        done = self.primary.run(command, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"highstate failed: {done.stdout[-3000:]}")

    def orchestrate(self, host, what, **pillar):
        """An orchestration that must succeed."""
        pillar = json.dumps({"pair": "salt", **pillar})
        return host.run(
            ["salt-run", "--no-color", "state.orch", f"orch.{what}", f"pillar={pillar}"], timeout=600
        )

    def status(self, host, limit=90):
        """What ``pair.status`` says of the pair on a master; ValueError with what it says instead."""
        command = ["salt-run", "--out=json", "pair.status", "salt", "timeout=10"]
        done = host.run(command, check=False, timeout=limit)
        try:
            return json.loads(done.stdout)["pairs"]["salt"]
        except (ValueError, LookupError, TypeError):
            raise ValueError(" ".join(f"{done.stdout} {done.stderr}".split())[-400:]) from None


def _minion(host):
    """The process of a host's salt-minion."""
    return host.run(["systemctl", "show", "--property=MainPID", "--value", "salt-minion"]).stdout.strip()


def folder():
    """Where reports of failed runs are kept."""
    place = cache.folder() / "faults"
    place.mkdir(exist_ok=True)
    return place
