"""Rows of a planned handover: how long nobody serves, and what clients notice of it."""

import contextlib
import json
import statistics
import time

from benchmarks import nodes as bench
from benchmarks import peers
from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab.host import kill_session
from lab.host import until

TREE = "/srv/bench"


def hand_over(nodes, near):
    """One handover to a node, with the lock taken and given back; what the library says of it."""
    with nodes.held() as run:
        return nodes.near(near, "hand_over", run)


def note_window(row, what, seen, overlaps):
    """The outage in ms, and whether there were ever two holders."""
    row.add(what, seen["outage"] * 1000)
    if seen["overlap"] is not None:
        overlaps.setdefault(what, []).append(seen["overlap"] * 1000)
    if seen["both"]:
        row.notes.append(f"{what}: two hosts answered {seen['both']} probes.")


def handovers(nodes, runs, row, what, overlaps):
    """Failback's, there and back, noted by :func:`note_window`; node one is active. Returns who is then."""
    active = nodes.one
    for _ in range(runs):
        near = nodes.other(active)
        with nodes.watched() as seen:
            hand_over(nodes, near)
        note_window(row, what, seen, overlaps)
        active = near
    return active


def planned_without_paths(nodes, size):
    """The address moves, and nothing else."""
    row = Row(
        "Planned handover, no paths: time without an answer",
        "ms",
        goal="≤ 5 ms, never two holders",
        met=at_most(5),
    )
    overlaps = {}
    nodes.configure()
    nodes.begin(nodes.one)
    active = handovers(nodes, size.runs, row, "Failback", overlaps)
    for opened, what in ((False, "script over ssh"), (True, "script, connection open")):
        for _ in range(size.runs):
            near = nodes.other(active)
            peers.prepare_ssh(near, active.name, opened)
            with nodes.watched() as seen:
                peers.script(nodes, near, opened=opened)
            note_window(row, what, seen, overlaps)
            active = near
    for host in nodes.both:
        nodes.bare(host)
    keepalived = peers.Keepalived(nodes)
    for _ in range(size.runs):
        keepalived.start(nodes.one)
        with nodes.watched() as seen:
            keepalived.leave(nodes.one)
            until(lambda: nodes.holders() == ["two"], 20, "two to answer")
        note_window(row, "keepalived, holder stopped", seen, overlaps)
        with nodes.watched() as seen:
            nodes.one.run(["systemctl", "start", "keepalived"])
            until(lambda: nodes.holders() == ["one"], 30, "one to answer")
        note_window(row, "keepalived, preemption", seen, overlaps)
    keepalived.stop()
    pacemaker = peers.Pacemaker(nodes)
    pacemaker.start(nodes.one)
    active = nodes.one
    for _ in range(size.runs):
        near = nodes.other(active)
        with nodes.watched() as seen:
            pacemaker.move(near)
            until(lambda near=near: nodes.holders() == [near.name], 30, f"{near.name} to answer")
        note_window(row, "pacemaker, move", seen, overlaps)
        active = near
    pacemaker.stop()
    for what, found in overlaps.items():
        both = f"on both nodes for {max(found):.2f} ms at most"
        none = f"never on both nodes, and on none for at least {-max(found):.2f} ms"
        row.notes.append(f"{what}: by the kernel's notices {both if max(found) > 0 else none}")
    return row


def with_files(nodes, files):
    """Make the tree of a pair with one path."""
    nodes.configure(replicate=[TREE])
    nodes.tree(TREE, files, 200)
    nodes.begin(nodes.one)


def bare_rsync(nodes, near, *options):
    """Seconds of one bare rsync of the tree, over a connection that is open already."""
    other = nodes.other(near).name
    return nodes.timed(near, "rsync", "-a", "--delete", *options, f"{other}:{TREE}/", f"{TREE}/")


def planned_with_files(nodes, size, files, goal, met=None):
    """A pre-sync, 20 changes, then the handover."""
    row = Row(
        f"Planned handover, {files:,} files, 20 changed since the pre-sync: time without an answer",
        "ms",
        goal=goal,
        met=met,
    )
    with_files(nodes, files)
    active = nodes.one
    overlaps, windows, steps, full = {}, [], [], 0
    for number in range(size.runs):
        near = nodes.other(active)
        with nodes.held() as run:
            nodes.near(near, "pre_sync", run)
            nodes.change(active, TREE, 20)
            with nodes.watched() as seen:
                done = nodes.near(near, "hand_over", run)
            compared = nodes.near(near, "compare", run)
        if compared["unexplained_count"]:
            row.notes.append(f"run {number}: {compared['unexplained_count']} files differed afterwards")
        full += done["final_sync"]["paths"][0]["named"] is None
        note_window(row, "Failback", seen, overlaps)
        windows.append(done["window_milliseconds"])
        steps.append(step_times(done))
        active = near
        peers.prepare_ssh(near, nodes.other(near).name, True)
        # In step by now but for what was changed by this very handover: nothing to do.
        bare_rsync(nodes, near)
        row.add("bare rsync, nothing to do", bare_rsync(nodes, near) * 1000)
    for _ in range(min(size.runs, 5)):
        near = nodes.other(active)
        nodes.change(active, TREE, 20)
        peers.prepare_ssh(near, active.name, True)
        with nodes.watched() as seen:
            peers.script(nodes, near, folders=[TREE], opened=True)
        note_window(row, "script with rsync", seen, overlaps)
        active = near
    row.notes.append(
        f"Failback's own account of the window: {statistics.median(windows):.1f} ms; "
        f"{full} of {size.runs} last passes compared everything."
    )
    for where, found in zip(("by the clock of the node that becomes active", "by the other's"), zip(*steps)):
        medians = {what: statistics.median(each[what] for each in found) for what in found[0]}
        row.notes.append(
            f"The time until each step, {where}: "
            + ", ".join(f"{what} {milliseconds:.1f} ms" for what, milliseconds in medians.items())
        )
    row.notes.append(
        "The script syncs while the old holder still serves, and once only: what is written after its rsync "
        "has looked at a file is lost. Its time without an answer has no sync in it."
    )
    return row


def step_times(done):
    """
    When each step of a window had ended, in ms from the first: two dicts, this node's and the other one's.

    done
        What ``handover.become_active`` returned.
    """
    return [
        {one["step"]: one["milliseconds"] - done[key][0]["milliseconds"] for one in done[key]}
        for key in ("timeline", "far_timeline")
    ]


def planned_few(nodes, size):
    """5,000 files."""
    return planned_with_files(
        nodes,
        size,
        size.few_files,
        "≤ bare rsync with nothing to do",
        at_most_times(1, "bare rsync, nothing to do"),
    )


def planned_many(nodes, size):
    """200,000 files."""
    return planned_with_files(
        nodes,
        size,
        size.many_files,
        f"≤ 2 × the figure for {size.few_files:,} files",
    )


def clients(nodes, size):
    """A client talks all the time over one connection: when, after the address is back, is it served?"""
    row = Row(
        "TCP client with an open connection: served again after the address is back",
        "ms",
        goal="≤ 50 ms",
        met=at_most(50),
    )
    nodes.configure()
    nodes.begin(nodes.one)
    with contextlib.ExitStack() as stack:
        for host in nodes.both:
            serving = host.spawn(["python3", f"{bench.TOOLS}/talk.py", "serve"])
            stack.callback(kill_session, serving)
        time.sleep(1)
        active = nodes.one
        for what in ("Failback", "script, connection open"):
            for _ in range(size.runs):
                near = nodes.other(active)
                talking = nodes.client.spawn(["python3", f"{bench.TOOLS}/talk.py", "ask", bench.ADDRESS])
                time.sleep(1)
                if what == "Failback":
                    back = hand_over(nodes, near)["taken"]
                else:
                    peers.prepare_ssh(near, active.name, True)
                    monitor = nodes.watched()
                    with monitor as seen:
                        peers.script(nodes, near, opened=True)
                    back = moment_of(seen, near)
                time.sleep(4)
                said = stop_talking(nodes, talking)
                after = [one for one in said["answers"] if one > back]
                row.add(what, (min(after) - back) * 1000 if after else 4000.0)
                active = near
    row.notes.append("4,000 ms stands for: not served within 4 s.")
    return row


def moment_of(seen, near):
    """When a node got the address, on the kernel's monotonic clock."""
    moments = [moment for moment, name, added in seen["notices"] if name == near.name and added]
    midnight = time.mktime(time.localtime()[:3] + (0, 0, 0, 0, 0, -1))
    return moments[-1] + midnight - (time.time() - time.monotonic())


def stop_talking(nodes, talking):
    """End the client; what it has noted."""
    nodes.client.run(["pkill", "-TERM", "-f", "talk.py ask"], check=False)
    output, _ = talking.communicate(timeout=20)
    return json.loads(output)
