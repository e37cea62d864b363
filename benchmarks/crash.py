"""Rows of a crash: how long until the other node serves, and that a short loss makes nobody take over."""

import contextlib
import time

from benchmarks import peers
from benchmarks.row import Row
from benchmarks.row import at_most
from lab.host import kill_session
from lab.host import until


def crash(nodes, size):
    """The active node loses power."""
    row = Row(
        "Crash of the active node until the other answers",
        "ms",
        goal="≤ 2.5 s at default settings, ≤ 400 ms at the fastest",
        met=lambda row: at_most(2500)(row) and at_most(400, "Failback, fastest")(row),
    )
    for what, watch in (
        ("Failback", {"interval": 0.5, "patience": 2.0, "reachable": "nobody"}),
        ("Failback, fastest", {"interval": 0.05, "patience": 0.1, "reachable": "nobody"}),
    ):
        nodes.configure(watch=watch)
        for _ in range(size.runs):
            with watching(nodes):
                row.add(what, crashed(nodes) * 1000)
    for advert, what in ((1, "keepalived"), (0.1, "keepalived, advert_int 0.1")):
        keepalived = peers.Keepalived(nodes, advert)
        for _ in range(size.runs):
            keepalived.start(nodes.one)
            time.sleep(2)
            row.add(what, crashed(nodes) * 1000)
            keepalived.stop()
    pacemaker = peers.Pacemaker(nodes)
    for _ in range(size.runs):
        pacemaker.start(nodes.one)
        row.add("pacemaker", crashed(nodes, 60) * 1000)
        pacemaker.stop()
    return row


#: Every packet that comes in is lost for a second.
LOSE = """set -e
nft add table netdev lossy
nft add chain netdev lossy in '{ type filter hook ingress device eth0 priority 0; policy drop; }'
sleep 1
nft delete table netdev lossy
"""


@contextlib.contextmanager
def watching(nodes, begin=None):
    """
    Node one serves, and the watch on node two has seen it.

    begin
        In place of ``nodes.begin``.
    """
    (begin or nodes.begin)(nodes.one)
    process = nodes.two.spawn(["/usr/local/sbin/failback", "watch", "gateway-ip"])
    try:
        status = f"/run/failback/watch-{'gateway-ip'}.json"
        until(lambda: nodes.two.run(["test", "-e", status], check=False).returncode == 0, 20, "the watch")
        time.sleep(3)
        yield
    finally:
        nodes.two.run(["pkill", "-f", "failback watch"], check=False)
        kill_session(process)
        process.communicate()
        for host in nodes.both:
            if host.running:
                nodes.bare(host)


def crashed(nodes, limit=20):
    """Cut the power of node one; seconds without an answer. Afterwards it is on again."""
    with nodes.watched(0.001) as seen:
        nodes.one.power_off()
        until(lambda: nodes.holders() == ["two"], limit, "two to answer", pause=0)
    nodes.one.power_on()
    return seen["outage"]


def no_flip(nodes, size):
    """Takeovers that should not be: the watching node itself is cut off, or loses packets for a second."""
    row = Row(
        "Takeovers by a node that was itself cut off for 5 s, or after 1 s of lost packets",
        "takeovers",
        goal="0",
        met=lambda row: not any(sum(found) for found in row.values.values()),
    )
    nodes.configure(watch={"interval": 0.5, "patience": 2.0, "reachable": ["10.0.0.100"]})
    for _ in range(size.runs):
        with watching(nodes):
            before = nodes.near(nodes.two, "generation")
            nodes.two.cut()
            time.sleep(5)
            nodes.two.mend()
            time.sleep(3)
            row.add("Failback, cut off", nodes.near(nodes.two, "generation") - before)
            nodes.two.run(["/bin/sh", "-c", LOSE])
            time.sleep(3)
            row.add("Failback, 1 s of loss", nodes.near(nodes.two, "generation") - before)
    return row
