"""Rows that need Salt: whole orchestrations, in labs of the sites ``salt`` and ``dalma``."""

import contextlib
import json
import pathlib
import statistics
import time

from benchmarks import nodes as bench
from benchmarks.row import Row
from benchmarks.row import at_most_times
from lab.host import until

HERE = pathlib.Path(__file__).resolve().parent
TREE = "/srv/bench"
FILES, CHANGED = 5000, 20
GIT = "/srv/git/site.git"
PILLAR = "/srv/salt/pillar/pairs/salt.sls"
RUNS = "/var/lib/failback/salt/runs"

#: The manual steps of a recovery, as an administrator writes them down, on the node that comes home. The
#: master comes first, in the script's favour: a highstate waits long for it before it asks the other one.
SCRIPT = """set -e
systemctl start salt-master
salt-call --retcode-passthrough --out=quiet state.highstate
for folder in /srv/salt /etc/salt/pki/master {tree}; do
    rsync --dry-run -a --delete {other}:$folder/ $folder/ >/dev/null
    rsync -a --delete {other}:$folder/ $folder/
done
ssh {other} git -c safe.directory='*' --git-dir={git} push -q --mirror root@{node}:{git}
ssh {other} ip address del {address}/24 dev eth0
ip address add {address}/24 dev eth0 label eth0:0
arping -q -c 1 -U -I eth0 {address} || true
"""


class Cluster:
    """A lab with Salt: what an operator types on a master, and how long it takes."""

    def __init__(self, site):
        self.site = site
        self.salt1, self.salt2 = (site.host(name) for name in ("salt1", "salt2"))
        self.masters = (self.salt1, self.salt2)

    def command(self, master, *words, timeout=1500):
        """One command of an operator; what it printed."""
        return master.run(list(words), timeout=timeout).stdout

    def orchestrate(self, master, what, pair, **words):
        """One orchestration; its seconds."""
        pillar = json.dumps({"pair": pair, **words})
        begun = time.monotonic()
        self.command(master, "salt-run", "state.orch", f"orch.{what}", f"pillar={pillar}")
        return time.monotonic() - begun

    def begin(self):
        """What a site does once for the pair of the masters."""
        for host in self.masters:
            self.command(host, "salt-run", "saltutil.sync_all")
        for what in ("adopt", "boot"):
            self.orchestrate(self.salt1, what, "salt")

    def others(self):
        """The names of the pairs other than that of the masters."""
        return [pair for pair in self.site.description.pairs if pair != "salt"]

    def wait_minions(self):
        """Until every minion answers the master."""
        names = {host.name for host in self.site.hosts}

        def answered():
            ask = ["salt", "--timeout=5", "--static", "--out=json", "*", "test.ping"]
            try:
                said = json.loads(self.salt1.run(ask, check=False, timeout=120).stdout)
            except ValueError:
                return False
            names.difference_update(name for name, answer in said.items() if answer is True)
            return not names

        until(answered, 300, lambda: f"{sorted(names)} to answer", pause=1)

    def jobs(self):
        """How many jobs the master has published to minions so far; it keeps a runner as a job, too."""
        jobs = "/var/cache/salt/master/jobs"
        published = ["grep", "-rLa", "--include=.load.p", "-e", "runner\\.", jobs]
        return len(self.salt1.run(published, check=False).stdout.splitlines())


def recovery(cluster, size):
    """The pair of the masters comes home, without a reboot."""
    row = Row(
        "orch.recover of the salt pair without its reboot: wall time",
        "s",
        goal="≤ 1.25 × the script that does the same steps with salt-call state.highstate in it",
        met=at_most_times(1.25, "script"),
    )
    one, two = cluster.masters
    for host in cluster.masters:
        text = host.read(PILLAR)
        text = text.replace("    replicate:\n", f"    replicate:\n      - {TREE}\n")
        host.write(PILLAR, text.replace("    recovery:\n", "    recovery:\n      reboot: false\n"))
        host.write(f"{bench.TOOLS}/tree.py", (HERE / "on_node/tree.py").read_text())
    one.run(["python3", f"{bench.TOOLS}/tree.py", "make", TREE, str(FILES), "200"], timeout=300)
    cluster.begin()
    cluster.orchestrate(one, "failover", "salt")
    root_logs_in(*cluster.masters)
    with held(cluster):
        for _ in range(size.runs):
            changed(cluster)
            row.add("script", script(cluster))
            # As before: the other node serves, and this one has nothing but highstate's.
            one.run(["ip", "address", "del", "10.0.0.5/24", "dev", "eth0"])
            two.run(["ip", "address", "add", "10.0.0.5/24", "dev", "eth0", "label", "eth0:0"])
            two.run(["arping", "-q", "-c", "1", "-U", "-I", "eth0", "10.0.0.5"], check=False)
    steps = []
    for number in range(size.runs):
        if number:
            cluster.orchestrate(one, "failover", "salt")
        changed(cluster)
        row.add("Failback", cluster.orchestrate(two, "recover", "salt"))
        steps.append(recorded_steps(one))
    for what in steps[0]:
        found = statistics.median(each.get(what, 0) for each in steps)
        row.notes.append(f"Of this, {what}: {found:.1f} s")
    rest = row.median("Failback") - statistics.median(sum(each.values()) for each in steps)
    row.notes.append(f"Before the first step and after the last, salt-run's own start included: {rest:.1f} s")
    row.notes.append(
        f"{FILES:,} files in the replicated path, {CHANGED} of them changed; the master on the node that "
        "comes home does not run before. The script does not start lsyncd, keeps no backup, proves nothing."
    )
    return row


@contextlib.contextmanager
def held(cluster):
    """The watch leaves the addresses alone while the block lasts."""
    cluster.command(cluster.salt2, "salt-run", "pair.pause", "salt", "60")
    try:
        yield
    finally:
        cluster.command(cluster.salt2, "salt-run", "pair.resume", "salt")


def changed(cluster):
    """The serving node's files change; the master on the other one is off, as after a crash."""
    cluster.salt2.run(["python3", f"{bench.TOOLS}/tree.py", "change", TREE, str(CHANGED)])
    cluster.salt1.run(["systemctl", "stop", "salt-master"], timeout=120)


def root_logs_in(*hosts):
    """Root of each host may log in on the others with a key of its own, as the script needs it."""
    key = "/root/.ssh/id_ed25519"
    for host in hosts:
        host.run(["/bin/sh", "-c", f"test -e {key} || ssh-keygen -q -t ed25519 -N '' -f {key}"])
        host.write("/root/.ssh/config", "Host *\n  StrictHostKeyChecking accept-new\n", 0o600)
    keys = "".join(host.read(f"{key}.pub") for host in hosts)
    for host in hosts:
        host.run(["/bin/sh", "-c", "cat >> /root/.ssh/authorized_keys"], input=keys)


def script(cluster):
    """The manual steps; their seconds."""
    text = SCRIPT.format(node="salt1", other="salt2", address="10.0.0.5", tree=TREE, git=GIT)
    begun = time.monotonic()
    cluster.command(cluster.salt1, "/bin/sh", "-c", text)
    return time.monotonic() - begun


def recorded_steps(host):
    """The seconds of each step of the last run, as its record has them."""
    listed = host.run(["ls", RUNS]).stdout.split()
    record = json.loads(host.read(f"{RUNS}/{max(one for one in listed if '-recover-' in one)}/run.json"))
    return {one["step"]: one["seconds"] for one in record["steps"]}


def statuses(cluster, size):
    """Who is active in every pair."""
    published = {}
    row = Row(
        "pair.status: of one pair, and of all of them",
        "s",
        ours="Failback, all pairs",
        against=("Failback, one pair",),
        goal="all pairs in one round trip to all nodes at once",
        met=lambda _: set(published["Failback, all pairs"]) == {1},
    )
    prepared(cluster)
    for _ in range(size.runs):
        for what, words in (("Failback, one pair", ["salt"]), ("Failback, all pairs", [])):
            before = cluster.jobs()
            begun = time.monotonic()
            cluster.salt1.run(["salt-run", "pair.status", *words], check=False, timeout=300)
            row.add(what, time.monotonic() - begun)
            published.setdefault(what, []).append(cluster.jobs() - before)
    for what, found in published.items():
        row.notes.append(f"{what}: {statistics.median(found):.0f} jobs published")
    return row


def prepared(cluster):
    """The whole cluster is adopted and serves; nothing where it does already."""
    if cluster.salt1.run(["test", "-e", "/var/lib/failback/salt/ledger.json"], check=False).returncode:
        cluster.begin()
        cluster.wait_minions()
        cluster.orchestrate(cluster.salt1, "adopt", cluster.others())
        cluster.orchestrate(cluster.salt1, "boot", "all")


def recover_all(cluster, size):
    """All pairs but the masters' own come home at once, reboots included."""
    row = Row(
        "recover of all pairs but salt at once, reboots included",
        "s",
        against=("the slowest of them alone",),
        goal="≤ 2.5 × the slowest of them alone",
        met=at_most_times(2.5, "the slowest of them alone"),
    )
    prepared(cluster)
    pairs = cluster.others()
    alone = {}
    for pair in pairs:
        cluster.orchestrate(cluster.salt1, "failover", pair)
        alone[pair] = cluster.orchestrate(cluster.salt1, "recover", pair)
    row.add("the slowest of them alone", max(alone.values()))
    row.add("one after the other", sum(alone.values()))
    cluster.orchestrate(cluster.salt1, "failover", pairs)
    row.add("Failback", cluster.orchestrate(cluster.salt1, "recover", pairs))
    row.notes.append("Alone: " + ", ".join(f"{pair} {seconds:.0f} s" for pair, seconds in alone.items()))
    return row


ROWS = {"recovery": recovery, "statuses": statuses, "recover_all": recover_all}
