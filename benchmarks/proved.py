"""Rows in which one node serves only when it is proved that no other one does: by a lease, or by fencing."""

import contextlib
import json

from benchmarks import crash
from benchmarks import nodes as bench
from benchmarks import peers
from benchmarks import window
from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab.host import until
from lab.roles import bmc

#: Seconds that the shortest lease lasts, and that a node waits for an answer; what is allowed beside them.
TTL, PATIENCE, REACTS = 6, 2.0, 2.0
WATCH = {"interval": 0.5, "patience": PATIENCE, "reachable": "nobody"}
MEMBER = """\
ETCD_NAME={name}
ETCD_DATA_DIR=/var/lib/bench-etcd
ETCD_LISTEN_PEER_URLS=http://{address}:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://{address}:2380
ETCD_LISTEN_CLIENT_URLS=http://{address}:2379
ETCD_ADVERTISE_CLIENT_URLS=http://{address}:2379
ETCD_INITIAL_CLUSTER={cluster}
"""


class Lease(contextlib.AbstractContextManager):
    """Three members of etcd, and the guards of both nodes, while this lasts."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._hosts = (*nodes.both, nodes.client)
        self._endpoints = [f"http://{host.address()}:2379" for host in self._hosts]

    def __enter__(self):
        self._start_etcd()
        self._nodes.configure(watch=WATCH, lease={"endpoints": self._endpoints, "ttl": TTL})
        return self

    def __exit__(self, *_):
        self._stop_guards()
        for host in self._hosts:
            host.run(["systemctl", "stop", "bench-etcd"], check=False)
            host.run(["rm", "-rf", "/var/lib/bench-etcd"])

    def begin(self, active):
        """One node is active, has the lease and bears the address; both guards have seen it."""
        self._start_etcd()
        self._stop_guards()
        self._etcdctl("del", f"/failback/{bench.PAIR}")
        for host in self._nodes.both:
            host.run(["rm", "-f", f"/run/failback/{bench.PAIR}/lease.json"])
        self._nodes.begin(active)
        for host in self._nodes.both:
            program = ["/usr/local/sbin/failback", "guard", bench.PAIR]
            host.run(["systemd-run", "--quiet", "--collect", "--unit=bench-guard", *program])
            self._wait_seen(host, active)

    def _wait_seen(self, host, active):
        def seen():
            found = host.run(["cat", f"/run/failback/{bench.PAIR}/lease.json"], check=False).stdout
            return found and (json.loads(found)["key"] or {}).get("holder") == active.name

        until(seen, 20, f"the guard of {host.name} to see the lease of {active.name}")

    def _start_etcd(self):
        cluster = ",".join(f"{host.name}=http://{host.address()}:2380" for host in self._hosts)
        for host in self._hosts:
            # A host that has lost power has its data, and is still a member.
            if host.run(["systemctl", "is-active", "bench-etcd"], check=False).returncode:
                text = MEMBER.format(name=host.name, address=host.address(), cluster=cluster)
                host.write("/run/bench-etcd", text)
                options = ["--property=EnvironmentFile=/run/bench-etcd", "--property=Restart=always"]
                host.run(["systemd-run", "--quiet", "--collect", "--unit=bench-etcd", *options, "etcd"])
        until(lambda: self._etcdctl("endpoint", "health", check=False), 60, "all members of etcd to be well")

    def _stop_guards(self):
        for host in self._nodes.both:
            host.run(["systemctl", "stop", "bench-guard"], check=False)

    def _etcdctl(self, *words, check=True):
        command = ["etcdctl", "--endpoints", ",".join(self._endpoints), *words]
        done = self._nodes.client.run(["env", "ETCDCTL_API=3", *command], check=check, timeout=30)
        return done.returncode == 0


class Fence(contextlib.AbstractContextManager):
    """While this lasts, the boards of both nodes do what they are told, and each node knows the other's."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._boards = bmc.Boards(nodes.site, nodes.client)
        self.pillar = bmc.fence(nodes.site)

    def __enter__(self):
        self._boards.__enter__()
        self._nodes.configure(watch=WATCH, fence=self.pillar)
        for host in self._nodes.both:
            other = self._nodes.other(host).name
            agent = {"version": 1, "node": other, **self.pillar["nodes"][other]}
            host.write(f"/etc/failback/fence/{bench.PAIR}.json", json.dumps(agent), 0o600)
        return self

    def __exit__(self, *raised):
        self._boards.__exit__(*raised)


def crash_proved(nodes, size):
    """The active node loses power, and the other one serves when it is proved that this one does not."""
    ours = "Failback, a lease of 6 s"
    row = Row(
        "Crash of the active node until the other answers, and is proved to be alone",
        "ms",
        ours=ours,
        goal=f"with a lease: what it lasts, the patience and {REACTS:g} s; fenced: no slower than pacemaker",
        met=lambda row: (
            at_most((TTL + PATIENCE + REACTS) * 1000, ours)(row)
            and at_most_times(1, "pacemaker, fenced", "Failback, fenced")(row)
        ),
    )
    with Lease(nodes) as lease:
        for _ in range(size.runs):
            with crash.watching(nodes, lease.begin):
                row.add(ours, crash.crashed(nodes) * 1000)
    with Fence(nodes) as fence:
        for _ in range(size.runs):
            with crash.watching(nodes):
                row.add("Failback, fenced", crash.crashed(nodes, 60) * 1000)
        pacemaker = peers.Pacemaker(nodes, fence.pillar["nodes"])
        for _ in range(size.runs):
            pacemaker.start(nodes.one)
            row.add("pacemaker, fenced", crash.crashed(nodes, 90) * 1000)
            pacemaker.stop()
    nodes.configure()
    return row


def planned_leased(nodes, size):
    """The address moves, and the lease with it."""
    row = Row(
        "Planned handover, no paths, with a lease: time without an answer",
        "ms",
        ours="Failback, a lease of 6 s",
        goal="≤ 5 ms beside what one without a lease takes, never two holders",
        met=lambda row: (
            row.median("Failback, a lease of 6 s") <= row.median("Failback") + 5
            and not any(found > 0 for each in overlaps.values() for found in each)
        ),
    )
    overlaps = {}
    nodes.configure()
    nodes.begin(nodes.one)
    window.handovers(nodes, size.runs, row, "Failback", overlaps)
    with Lease(nodes) as lease:
        lease.begin(nodes.one)
        window.handovers(nodes, size.runs, row, "Failback, a lease of 6 s", overlaps)
    for what, found in overlaps.items():
        row.notes.append(f"{what}: on none of the nodes for at least {-max(found):.2f} ms")
    nodes.configure()
    return row
