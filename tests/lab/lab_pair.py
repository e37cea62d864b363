"""The pair of a lab: brought into the state that a test needs, asked, and looked at from outside."""

import json
import pathlib
import re
import time

from lab import client
from lab.host import until
from lab.roles import salt

HERE = pathlib.Path(__file__).resolve().parent
ADDRESS = "10.0.0.5"
STATE = "/var/lib/failback/salt"
RUN = re.compile(r"[0-9]{8}T[0-9]{6}-[a-z]+-salt-[0-9a-f]{4}")
#: Seconds of writes that lsyncd may not have carried when the power goes: its delay and a pass.
LAG = 5
#: What the lab's pair replicates beside the masters' own folders, so that tests can do as they like with it.
MORE_PATHS = ("/srv/data", "/srv/site/*.conf")
#: Where a minion notes the jobs that it is at.
JOBS = "/var/cache/salt/minion/proc"
PILLAR = "/srv/salt/pillar/pairs/salt.sls"


class Pair:
    """The pair ``salt`` of a site, whatever its state; tests of several modules share it."""

    def __init__(self, site):
        self.site = site
        self.salt1, self.salt2, self.client = (site.host(name) for name in ("salt1", "salt2", "client"))
        self.nodes = (self.salt1, self.salt2)
        self.writing = None
        self.died = None

    # --- its states

    def running(self):
        """salt1 is active, salt2 stands by, lsyncd has carried all there is."""
        if not self.salt1.running:
            self.salt1.power_on()
        if self.ledger(self.salt1) is None:
            self.set_up()
            self.orchestrate(self.salt1, "boot", check=True)
        elif not self.holders() and not self.admitted():
            self._boot()
        elif self.holders() != ["salt1"]:
            self.wait_idle(self.salt2, "salt1")
            done = self.recover(self.salt2, max_delete=1000)
            assert done.returncode == 0, done.stdout + done.stderr
        return self

    def failed_over(self):
        """salt1 lost power while a client wrote; salt2 serves; salt1 has booted and waits."""
        if self.holders() == ["salt2"] and self.salt1.running:
            if self.writing is None:  # a lab that was kept from an earlier run
                self.writing = client.start_writing(self.client, ADDRESS, rate=10, changes=True)
                answers = [one for one in self.writing.entries() if one.get("node") == "salt1"]
                self.died = max(one["answered"] for one in answers)
            return self
        self.running()
        self.crash()
        self.come_back()
        return self

    def crash(self):
        """salt1 loses power, under a client's writes; salt2 takes over."""
        if self.writing is None:
            self.writing = client.start_writing(self.client, ADDRESS, rate=10)
        self.writing.wait_acknowledged(50)
        self.salt1.power_off()
        self.died = time.time()
        until(lambda: self.holders(0.3) == ["salt2"], 30, "salt2 to answer", pause=0)
        self.writing.allow_changes()
        self.writing.wait_acknowledged(10, node="salt2")

    def come_back(self):
        """salt1 has power again, and its highstate at boot has run."""
        self.salt1.power_on()
        wait_highstate(self.salt1, limit=120)
        self.wait_idle(self.salt2, "salt1")

    def _boot(self):
        """What an operator does when both nodes have booted; the masters of a lab that is new run already."""
        for host in self.nodes:
            wait_highstate(host)
            self.wait_idle(self.salt1, host.name)
        self.orchestrate(self.salt1, "boot", check=True)

    def admitted(self):
        """Whether a node has been let take part since it booted."""
        return any(self.ledger(host)["boot_id"] == host.boot_id() for host in self.nodes)

    def set_up(self):
        """What a site does once: its pillar, its data, ``orch.adopt``."""
        more = "".join(f"      - '{path}'\n" for path in MORE_PATHS)
        for host in self.nodes:
            text = host.read(PILLAR)
            host.write(PILLAR, text.replace("    replicate:\n", f"    replicate:\n{more}"))
        seed = (
            "mkdir -p /srv/data/many /srv/site && cd /srv/data/many"
            " && for n in $(seq 1500); do yes $n | head -c 4096 > file-$n; done"
            " && mkdir -p /srv/salt/files && cd /srv/salt/files"
            " && for n in $(seq 800); do echo $n > site-$n; done"
            " && echo carried > /srv/site/a.conf && echo 'not carried' > /srv/site/a.txt"
        )
        self.salt1.run(["/bin/sh", "-c", seed])
        self.hard_tree(self.salt1, "begin")
        self.salt2.run(["/bin/sh", "-c", "mkdir -p /srv/site && echo 'of salt2' > /srv/site/a.txt"])
        for host in self.nodes:
            host.run(["salt-run", "saltutil.sync_all"])
        self.orchestrate(self.salt1, "adopt", check=True)

    # --- asking

    def orchestrate(self, master, what, check=False, test=False, full=False, **pillar):
        """Run one of the orchestrations on a master, as an operator does; ``full`` is Salt's own output."""
        command = ["salt-run", "--no-color", *(["--state-output=full"] if full else [])]
        command += ["state.orch", f"orch.{what}"]
        command += [f"pillar={json.dumps({'pair': 'salt'} | pillar)}"] + (["test=True"] if test else [])
        return master.run(command, check=check, timeout=600)

    def recover(self, master, **pillar):
        """``orch.recover`` on a master; returns the finished process."""
        return self.orchestrate(master, "recover", **pillar)

    def runner(self, master, *words, check=True):
        """One of the runner's functions; returns what it says as a dict, exit status under ``status``."""
        if words[0] == "pair.status":
            # A machine under load is no node that is off.
            words = (*words, "timeout=10")
        done = master.run(["salt-run", "--out=json", *words], check=check, timeout=300)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            said = {"text": done.stdout + done.stderr}
        if not isinstance(said, dict):  # an exception, as text
            said = {"text": said + done.stderr}
        return {**said, "status": done.returncode}

    def highstate(self, master):
        """Highstate on both nodes; a dict of node to the states that changed something or failed."""
        # A busy minion does not answer within five seconds whether it is still at it.
        command = ["salt", "-L", "salt1,salt2", "--timeout=60", "--static", "--out=json", "state.apply"]
        done = master.run(command, check=False, timeout=300)
        found = json.loads(done.stdout)
        assert set(found) == {"salt1", "salt2"}, done.stdout + done.stderr
        return {
            node: [
                (one.get("__id__", key), one["result"], one["changes"])
                for key, one in states.items()
                if one["changes"] or one["result"] is not True
            ]
            for node, states in found.items()
        }

    def wait_idle(self, master, node):
        """Until a minion answers and no state runs on it."""
        host = self.site.host(node)
        # Cheap to look at; asked before it can answer, Salt would keep a processor busy.
        connected = ["ss", "-Htn", "state", "established", "dst", master.address(), "dport", "=", ":4505"]

        def idle():
            if not host.run(connected, check=False).stdout or host.run(["ls", JOBS], check=False).stdout:
                return False
            command = ["salt", node, "saltutil.is_running", "state.*", "--timeout=2", "--out=json"]
            try:
                return json.loads(master.run(command, check=False).stdout) == {node: []}
            except ValueError:
                return False

        until(idle, 120, f"{node}'s minion to be idle", pause=0.3)

    def drain(self):
        """Until lsyncd on salt1 has carried everything."""
        self.salt1.run(["salt-call", "lsyncd.drain", "salt"], timeout=120)

    def hard_tree(self, host, what):
        """Make or change the files that are hard to carry over."""
        host.run(["python3", "-", what, "/srv/data/hard"], input=(HERE / "hard_tree.py").read_text())

    def python(self, host, text, *words):
        """Run Python in a host with the library there that works without Salt; returns its output."""
        text = f"import sys\nsys.path.insert(0, '/usr/local/lib/failback/current')\n{text}"
        return host.run(["python3", "-", *words], input=text).stdout.strip()

    # --- looking

    def holders(self, seconds=1.0):
        """Who answers for the address, as the client sees it."""
        return self.site.holders(ADDRESS, seconds=seconds)

    def bears(self, host):
        """Whether the kernel of a host has the address."""
        return ADDRESS in host.lifetimes()

    def active(self, host, unit):
        """Whether systemd says that a unit is active."""
        return host.run(["systemctl", "is-active", unit], check=False).stdout.strip() == "active"

    def processes(self, host, name):
        """Process ids of a program in a host, by the kernel's word."""
        return host.run(["pgrep", "-x", name], check=False).stdout.split()

    def ledger(self, host):
        """A node's ledger from its disk, or None."""
        try:
            return json.loads(host.read(f"{STATE}/ledger.json"))
        except (FileNotFoundError, RuntimeError, ValueError, OSError):
            return None
        except Exception as error:  # Failed of lab.host: cat found no file
            if "No such file" in str(error):
                return None
            raise

    def left(self, host):
        """What a run must not leave behind on a node: its lock and its hold."""
        listed = host.run(["ls", STATE]).stdout.split()
        return [name for name in ("lock.json", "hold.json") if name in listed]

    def runs(self, host):
        """The runs whose records lie on a node, oldest first."""
        listed = host.run(["ls", f"{STATE}/runs"], check=False).stdout.split()
        return [name for name in listed if RUN.fullmatch(name)]

    def fingerprint(self, host, folder="/srv/data"):
        """Everything about a tree on a host; see fingerprint.py."""
        script = (HERE / "fingerprint.py").read_text()
        return json.loads(host.run(["python3", "-", folder], input=script).stdout)

    def journal(self, host, *options):
        """Lines of a host's journal."""
        return host.run(["journalctl", "--no-pager", "-o", "cat", *options]).stdout


def wait_highstate(host, limit=180):
    """Until the highstate at boot has run on a host."""
    what = f"the highstate at boot to have run on {host.name}"
    until(lambda: salt.had_highstate(host), limit, what, pause=0.3)


def set_up(site):
    """A new lab's pair as it is before its first ``orch.boot``: what a snapshot is made of."""
    Pair(site).set_up()


def differences(one, other):
    """What two fingerprints disagree about, for a test's message."""
    wrong = []
    for name in sorted(set(one) | set(other)):
        mine, theirs = one.get(name), other.get(name)
        if mine is None or theirs is None:
            wrong.append(f"{name!r} is only {'here' if theirs is None else 'there'}")
        elif mine != theirs:
            fields = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            wrong.append(
                f"{name!r}: " + ", ".join(f"{key} {mine.get(key)} / {theirs.get(key)}" for key in fields)
            )
    return wrong
