"""The cluster Dalma in the lab: brought into a state, asked, and looked at from outside."""

import contextlib
import json
import threading
import time

from lab import client
from lab.host import until
from lab.roles import salt
from lab.site import in_parallel

#: Floating addresses: the pair, the interface of the client on the same network, the address.
ADDRESSES = {
    "mgmt-gw": ("mgmt", "eth0", "10.0.0.1"),
    "slurm-gw": ("slurm", "eth0", "10.0.0.3"),
    "monitor-gw": ("monitor", "eth0", "10.0.0.4"),
    "monitor-public": ("monitor", "eth1", "192.0.2.10"),
    "salt-gw": ("salt", "eth0", "10.0.0.5"),
    "apps-gw": ("apps", "eth0", "10.0.0.7"),
    "apps-gw.fast": ("apps", "ib0", "10.1.0.7"),
    "archive-gw": ("archive", "eth0", "10.0.0.8"),
}
#: What ``ip address`` shows beside them.
LABELS = {
    "mgmt": {"br0:0"},
    "slurm": {"eth0:0"},
    "monitor": {"eth0:0"},
    "salt": {"eth0:0"},
    "apps": {"eth0:0", "ib0:0"},
    "archive": {"eth0:0"},
}
#: The pairs with files to carry.
CARRYING = {"mgmt", "salt", "monitor", "home", "ssc"}
#: Units that no boot may start, by pair, in the order in which they are started.
SERVICES = {
    "salt": ["salt-master"],
    "slurm": ["slurmdbd", "slurmctld"],
    "monitor": ["nagios4", "nsca"],
}
#: Primary and secondary.
PAIRS = {
    "mgmt": ("mgmt1", "mgmt2"),
    "slurm": ("slurm1", "slurm2"),
    "mx": ("mx1", "mx2"),
    "monitor": ("monitor1", "monitor2"),
    "salt": ("salt1", "salt2"),
    "home": ("home2", "home1"),
    "ssc": ("ssc1", "ssc2"),
    "apps": ("apps2", "apps1"),
    "archive": ("archive3", "archive4"),
}


def set_up(lab):
    """Bring a new lab of the whole cluster into the state that its snapshot keeps: all pairs are adopted."""
    Cluster(lab).adopted()


class Cluster:
    """The cluster, whatever its state."""

    def __init__(self, site):
        self.site = site
        there = site.description.pairs
        self.pairs = {
            pair: tuple(site.host(name) for name in names) for pair, names in PAIRS.items() if pair in there
        }
        self.addresses = {name: pair for name, (pair, _, _) in ADDRESSES.items() if pair in there}
        self.client = site.host("client")
        self.salt1, self.salt2 = self.pairs["salt"]
        self.seconds = {}

    # --- its states

    def prepared(self):
        """All pairs are adopted, and the pair of the masters serves."""
        if not self.is_adopted():
            return self.adopted()
        if not self.holders("salt-gw"):
            # The lab began from a snapshot, as after an orderly end of the whole cluster.
            self.orchestrate("boot", "salt", check=True)
            self.wait_minions(self.salt1, self.minions())
        return self

    def is_adopted(self):
        return all(self.ledger(node, pair) for pair, (node, _) in self.pairs.items())

    def adopted(self):
        """The same, from hosts that have never been in a pair."""
        # The minions that run read it when they restart with the settings that the adoption brings.
        for _, host in self.nodes():
            salt.keep_modules(host)
        if self.ledger(self.salt1, "salt") is None:
            self._begin()
        self.wait_minions(self.salt1, self.minions())
        others = sorted(set(self.pairs) - {"salt"})
        # On a busy machine one of sixteen hosts may miss a limit; running it again is the repair.
        if self.orchestrate("adopt", others).returncode:
            self.orchestrate("adopt", others, check=True)
        return self

    def _begin(self):
        for host in self.pairs["salt"]:
            host.run(["salt-run", "saltutil.sync_all"], timeout=300)
        for what in ("adopt", "boot"):
            self.orchestrate(what, "salt", check=True)

    def first_boot(self):
        return self.orchestrate("boot", "all", check=True)

    def crash(self, *pairs):
        """The primaries of some pairs lose power."""
        for pair in pairs:
            self.pairs[pair][0].power_off()

    def come_back(self, *pairs):
        """They have power again, and highstate at boot has run there."""
        hosts = [self.pairs[pair][0] for pair in pairs]
        for host in hosts:
            host.power_on(wait=False)

        def ready(host):
            host.wait_booted(300)
            until(lambda: salt.had_highstate(host), 300, f"the highstate at boot of {host.name}", pause=1)

        in_parallel(ready, hosts)

    # --- asking

    def orchestrate(self, what, pair, check=False, master=None, **pillar):
        """Run one of the orchestrations, as an operator does; its seconds are noted."""
        command = ["salt-run", "--no-color", "state.orch", f"orch.{what}"]
        command += [f"pillar={json.dumps({'pair': pair} | pillar)}"]
        started = time.monotonic()
        done = (master or self.salt1).run(command, check=check, timeout=1500)
        self.seconds[f"{what} {pair}"] = round(time.monotonic() - started)
        print(f"{what} of {pair}: {self.seconds[f'{what} {pair}']} s")
        return done

    def status(self, *pairs, master=None):
        """``pair.status`` as a dict, its exit status under ``status``."""
        command = ["salt-run", "--out=json", "pair.status", *pairs, "timeout=60"]
        done = (master or self.salt1).run(command, check=False, timeout=300)
        try:
            return {**json.loads(done.stdout)["pairs"], "status": done.returncode}
        except ValueError:
            raise AssertionError(done.stdout + done.stderr) from None

    def verdicts(self, **settings):
        """The verdict of each pair."""
        found = self.status(**settings)
        return {pair: found[pair]["verdict"] for pair in self.pairs}

    def nodes(self):
        """Each node of each pair, as (pair, host)."""
        return [(pair, host) for pair, hosts in self.pairs.items() for host in hosts]

    def minions(self):
        """Names of the hosts that are on."""
        return [host.name for host in self.site.hosts if host.running]

    def answering(self, master, timeout=2):
        """Names of the minions that answer a master."""
        command = ["salt", f"--timeout={timeout}", "--static", "--out=json", "*", "test.ping"]
        try:
            found = json.loads(master.run(command, check=False, timeout=120).stdout)
        except ValueError:
            return set()
        return {name for name, answer in found.items() if answer is True}

    def wait_minions(self, master, names, limit=300):
        """Until these minions answer a master."""
        missing = set(names)

        def answered():
            missing.difference_update(self.answering(master, timeout=5))
            return not missing

        until(answered, limit, lambda: f"{sorted(missing)} to answer {master.name}", pause=1)

    # --- looking

    def holders(self, name, seconds=0.7):
        """Who answers for a floating address, as the client sees it."""
        _, interface, address = ADDRESSES[name]
        return self.site.holders(address, interface=interface, seconds=seconds)

    def wait_holder(self, name, host, limit=60):
        """Until that host alone answers for an address."""
        what = f"{host.name} to answer for {name}"
        until(lambda: self.holders(name, 0.3) == [host.name], limit, what, pause=0.2)

    def says(self, pair, pattern):
        """When the secondary of a pair said something last, by its journal, in seconds since the epoch."""
        words = ["journalctl", "--no-pager", "-o", "short-unix", "-t", "failback", f"--grep={pattern}"]
        said = self.pairs[pair][1].run(words, check=False).stdout.splitlines()
        assert said, f"{self.pairs[pair][1].name} has not said: {pattern}"
        return float(said[-1].split()[0])

    def taken(self, pair):
        """When the secondary of a pair took over last, by its journal."""
        return self.says(pair, f"is active in {pair},")

    def watching(self, name):
        """Looks again and again who answers for an address, until ``stop`` is called."""
        return Holders(self, name)

    def labels(self, host):
        """The labels of a host's addresses, those of its interfaces left out."""
        found = json.loads(host.run(["ip", "-j", "-4", "address"]).stdout)
        labels = {one.get("label") for link in found for one in link["addr_info"]}
        return {label for label in labels if label and ":" in label}

    def active(self, host, unit):
        return host.run(["systemctl", "is-active", unit], check=False).stdout.strip() == "active"

    def switches(self, host):
        """What Nagios itself says on a host: notifications and event handlers."""
        text = host.read("/var/lib/nagios4/status.dat")
        block = text[text.index("programstatus {") :]
        block = block[: block.index("}")]
        words = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
        return words["enable_notifications"] == "1", words["enable_event_handlers"] == "1"

    def ledger(self, host, pair):
        """A node's ledger of a pair, or None."""
        place = f"/var/lib/failback/{pair}/ledger.json"
        if host.running:
            done = host.run(["cat", place], check=False)
            return json.loads(done.stdout) if done.returncode == 0 else None
        return json.loads(host.read(place))

    # --- using the services

    def job(self, limit=90):
        """Run a job through Slurm: its output. It waits for a controller as long as srun does."""
        return self.client.run(["srun", "--immediate=60", "hostname"], timeout=limit).stdout.strip()

    def report(self, text, state=0, address="10.0.0.4"):
        """Send the result of a passive check to an address, as a monitored host does."""
        line = f"client\theartbeat\t{state}\t{text}\n"
        done = self.client.run(["send_nsca", "-H", address], input=line, check=False)
        return "1 data packet(s) sent" in done.stdout

    def reported(self, host, text, limit=20):
        """Wait until Nagios on a host has processed such a result."""
        # Not its log: there Nagios 4.4 names the output of the check before.
        find = ["grep", "-q", f"plugin_output={text}$", "/var/lib/nagios4/status.dat"]
        until(
            lambda: host.run(find, check=False).returncode == 0,
            limit,
            f"the result {text!r} to reach {host.name}",
            pause=0.3,
        )

    def told(self, host, awaited=None, limit=10):
        """What Nagios on a host has told somebody, line by line; it gets time for what is ``awaited``."""

        def lines():
            return host.run(["cat", "/var/lib/nagios4/told"], check=False).stdout.splitlines()

        if awaited:
            with contextlib.suppress(TimeoutError):
                until(lambda: any(awaited in line for line in lines()), limit, f"Nagios to tell of {awaited}")
        return lines()

    def mail(self, subject, limit=30):
        """Send a mail to the first mail server that takes it, as senders do; the server's name."""
        script = (
            "import smtplib, sys\n"
            "for host in ('mx1', 'mx2'):\n"
            "    try:\n"
            "        with smtplib.SMTP(host, timeout=5) as server:\n"
            "            server.sendmail('root@client', 'root@dalma.test',"
            " f'Subject: {sys.argv[1]}\\n\\nText\\n')\n"
            "        print(host)\n"
            "        break\n"
            "    except OSError:\n"
            "        pass\n"
        )
        name = self.client.run(["python3", "-c", script, subject]).stdout.strip()
        assert name, "no mail server took the mail"
        host = self.site.host(name)
        find = ["grep", "-q", f"^Subject: {subject}$", "/var/mail/root"]
        until(
            lambda: host.run(find, check=False).returncode == 0,
            limit,
            f"the mail {subject!r} in {name}'s mailbox",
            pause=0.3,
        )
        return name


class Holders:
    """Who answered for an address, again and again: each look with its moment."""

    def __init__(self, cluster, name):
        self._cluster, self._name = cluster, name
        self._end = threading.Event()
        self.looks = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        _, interface, address = ADDRESSES[self._name]
        while not self._end.is_set():
            macs = client.who(self._cluster.client, address, interface, 0.3)
            self.looks.append((time.time(), sorted(macs)))

    def stop(self):
        """Returns the looks: a list of (moment, MACs)."""
        self._end.set()
        self._thread.join(60)
        return self.looks


def overlaps(looks):
    """Looks at which more than one host answered, as often as the next look saw it too.

    One look lasts 0.3 s, so a handover in it shows both, one after the other.
    """
    pairs = zip(looks, looks[1:], strict=False)
    return [(first, second) for first, second in pairs if len(first[1]) > 1 and len(second[1]) > 1]
