"""What is compared: one function a row of the table. Each returns a :py:class:`benchmarks.row.Row`."""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from benchmarks import nodes as bench
from benchmarks import peers
from benchmarks import salt_rows
from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab import environments
from lab.host import kill_session
from lab.host import until

TREE = "/srv/bench"
HERE = pathlib.Path(__file__).resolve().parent


# --- handover -----------------------------------------------------------------------------------


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
    active = nodes.one
    for _ in range(size.runs):
        near = nodes.other(active)
        with nodes.watched() as seen:
            hand_over(nodes, near)
        note_window(row, "Failback", seen, overlaps)
        active = near
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
    """A warm pass, 20 changes, then the handover."""
    row = Row(
        f"Planned handover, {files:,} files, 20 changed since the warm pass: time without an answer",
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
            nodes.near(near, "warm", run)
            nodes.change(active, TREE, 20)
            with nodes.watched() as seen:
                done = nodes.near(near, "hand_over", run)
            compared = nodes.near(near, "compare", run)
        if compared["unexplained_count"]:
            row.notes.append(f"run {number}: {compared['unexplained_count']} files differed afterwards")
        full += done["last_pass"]["paths"][0]["named"] is None
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


# --- crash --------------------------------------------------------------------------------------


def crash(nodes, size):
    """The active node loses power."""
    row = Row(
        "Crash of the active node until the other answers",
        "ms",
        goal="≤ 2.5 s at default settings, ≤ 400 ms at the fastest",
        met=lambda row: at_most(2500)(row) and at_most(400, "Failback, fastest")(row),
    )
    for what, watch in (
        ("Failback", {"interval": 0.5, "patience": 2.0, "reachable": []}),
        ("Failback, fastest", {"interval": 0.05, "patience": 0.1, "reachable": []}),
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
def watching(nodes):
    """Node one serves, and the watch on node two has seen it."""
    nodes.begin(nodes.one)
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


# --- data ---------------------------------------------------------------------------------------


def warm(nodes, size):
    """Everything has to come over."""
    files, each = size.warm
    row = Row(
        f"Warm pass of {files * each / 1e9:.2g} GB in {files:,} files",
        "s",
        against=("bare rsync, same options",),
        goal="≥ 0.95 of the throughput of bare rsync with the same options",
        met=at_most_times(1 / 0.95, "bare rsync, same options"),
    )
    nodes.configure(replicate=[TREE])
    nodes.tree(TREE, files, each, copy=False)
    nodes.begin(nodes.one)
    options = options_of_library()
    empty = ["/bin/sh", "-c", f"rm -rf {TREE}; mkdir {TREE}; sync"]
    peers.prepare_ssh(nodes.two, "one", True)
    for _ in range(size.runs):
        nodes.two.run(empty, timeout=600)
        row.add("bare rsync, same options", bare_rsync(nodes, nodes.two, *options))
        nodes.two.run(empty, timeout=600)
        with nodes.held() as run:
            done = nodes.near(nodes.two, "timed_warm", run)
        row.add("Failback", done["passes"])
        row.add("Failback, with its preview and the second look", done["seconds"])
    return row


def preview(nodes, size):
    """What would be done, where one file in a hundred differs."""
    few, many = size.preview
    row = Row(
        f"Preview of {many:,} files, 1 % of which differ",
        "s",
        against=("bare rsync -n -ai --delete", "bare rsync -n -i, same options as ours"),
        goal="≤ 1.1 × bare rsync -n -ai --delete; memory + < 64 MB",
        met=at_most_times(1.1, "bare rsync -n -ai --delete"),
    )
    memory = {}
    for files in (few, many):
        with_files(nodes, files)
        nodes.change(nodes.one, TREE, max(3, min(files // 100, 10_000)))
        peers.prepare_ssh(nodes.two, "one", True)
        for _ in range(min(size.runs, 3) if files == many else 1):
            done = nodes.near(nodes.two, "preview")
            memory.setdefault(files, []).append(done["memory"] / 1024)
            if files == many:
                row.add("Failback", done["seconds"])
                row.add("bare rsync -n -ai --delete", bare_rsync(nodes, nodes.two, "-n", "-i"))
                seconds = bare_rsync(nodes, nodes.two, *options_of_library(), "-n", "-i")
                row.add("bare rsync -n -i, same options as ours", seconds)
    row.notes.append(
        "`-a` leaves ACLs and extended attributes out. Our options compare them: two more questions and more "
        "to the kernel for each file, on both nodes."
    )
    small, large = (statistics.median(memory[files]) for files in (few, many))
    row.notes.append(
        f"Memory of the process that previews grew by {small:.1f} MB for {few:,} files and by "
        f"{large:.1f} MB for {many:,}."
    )
    return row


def lag(nodes, size):
    """lsyncd, from a write on the primary until the file has its name on the secondary."""
    theirs = "lsyncd's defaults"
    row = Row(
        "lsyncd: from a write to the file on the other node, under 50 writes/s",
        "ms",
        against=(f"{theirs}, p50",),
        ours="Failback, p50",
        goal="p50 and p99 at least 5 × better than with lsyncd's own defaults, measured beside",
        met=lambda row: all(
            at_most_times(1 / 5, f"{theirs}, {which}", f"Failback, {which}")(row) for which in ("p50", "p99")
        ),
    )
    folder = f"{TREE}-lag"
    nodes.configure(replicate=[folder])
    nodes.begin(nodes.one)
    peers.prepare_ssh(nodes.one, "two", False)
    settings = {
        "Failback": (lsyncd_text(folder), size.lag_seconds),
        theirs: (
            f'settings {{ nodaemon = true }}\nsync {{ default.rsyncssh, source = "{folder}", host = "two", '
            f'targetdir = "{folder}" }}\n',
            size.lag_of_defaults,
        ),
    }
    for _ in range(size.runs):
        for what, (text, seconds) in settings.items():
            lags, written = lags_of(nodes, folder, text, seconds)
            if len(lags) < written:
                row.notes.append(f"{what}: only {len(lags)} of {written} files arrived in time.")
            if lags:
                row.add(f"{what}, p50", statistics.median(lags) * 1000)
                row.add(f"{what}, p99", lags[min(len(lags) - 1, int(len(lags) * 0.99))] * 1000)
    row.notes.append(f"Each figure is that of {int(50 * size.lag_seconds):,} files or more, on idle disks.")
    return row


def lags_of(nodes, folder, text, seconds):
    """Seconds until each file was there, sorted, while lsyncd ran so; and how many were written."""
    for host in nodes.both:
        host.run(["/bin/sh", "-c", f"rm -rf {folder}; mkdir {folder}"])
    nodes.one.run(["mkdir", "-p", "/run/failback/bench/lsyncd.marker"])
    nodes.one.write("/etc/bench.lua", text)
    program = f"{bench.TOOLS}/lag.py"
    written = int(50 * seconds)
    syncing = nodes.one.spawn(["lsyncd", "-nodaemon", "/etc/bench.lua"])
    try:
        # Its first pass over the empty folder.
        time.sleep(5)
        see = nodes.two.spawn(["python3", program, "see", folder, str(written), str(seconds + 25)])
        see.stdout.readline()
        nodes.one.run(["python3", program, "write", folder, "50", str(seconds)], timeout=300)
        output, _ = see.communicate(timeout=120)
    finally:
        kill_session(syncing)
        syncing.communicate()
        nodes.one.run(["pkill", "-x", "lsyncd"], check=False)
    return json.loads(output), written


def options_of_library():
    """The options of every rsync between the two nodes."""
    from failback import replication

    return list(replication.OPTIONS)


def lsyncd_text(folder):
    """The shipped configuration of lsyncd, for the bench's one path."""
    from failback import lsyncd_config
    from failback import replication
    from failback.paths import Paths

    return lsyncd_config.render(bench.configuration(), [replication.item(folder, True)], Paths())


# --- scale --------------------------------------------------------------------------------------

RENDER = """
import sys, time, json
import salt.config, salt.pillar, salt.loader
opts = salt.config.minion_config(sys.argv[1])
opts["grains"] = {"id": opts["id"], "os": "Debian", "os_family": "Debian"}
def render():
    begun = time.monotonic()
    found = salt.pillar.Pillar(opts, opts["grains"], opts["id"], "base").compile_pillar()
    assert list(found["pairs"]) == ["bench0"], found
    return time.monotonic() - begun
render()
print(json.dumps([render() for _ in range(int(sys.argv[2]))]))
"""

CHECK = """
import sys, time, json
sys.path.insert(0, sys.argv[1])
import salt.config, salt.pillar
from failback import pillar
opts = salt.config.minion_config(sys.argv[2])
opts["id"] = "bench_master"
opts["grains"] = {"id": opts["id"], "os": "Debian", "os_family": "Debian"}
begun = time.monotonic()
found = salt.pillar.Pillar(opts, opts["grains"], opts["id"], "base").compile_pillar()
rendered = time.monotonic()
problems = pillar.problems(found["pairs"])
assert not problems, problems[:3]
print(json.dumps([len(found["pairs"]), time.monotonic() - begun, time.monotonic() - rendered]))
"""


def rendering(nodes, size):
    """One node's pillar, with ever more pairs on the master."""
    row = Row(
        "Rendering one node's pillar",
        "ms",
        ours=f"{size.pairs[-1]} pairs",
        against=(f"{size.pairs[0]} pairs",),
        goal=f"≤ 1.5 × from {size.pairs[0]} to {size.pairs[-1]} pairs",
        met=at_most_times(1.5, f"{size.pairs[0]} pairs", f"{size.pairs[-1]} pairs"),
    )
    python = environments.tests("3008") / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        roots = {count: made_pillar(pathlib.Path(folder) / str(count), count) for count in size.pairs}
        # In turn, so that what else the machine does meets all of them.
        for _ in range(size.runs):
            for count, root in roots.items():
                done = subprocess.run(
                    [python, "-B", "-c", RENDER, root / "minion", "5"],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                for seconds in json.loads(done.stdout.splitlines()[-1]):
                    row.add(f"{count} pairs", seconds * 1000)
    return row


def made_pillar(root, count):
    """A master's pillar with so many pairs, and a minion's configuration that reads it without a master."""
    (root / "pillar/pairs").mkdir(parents=True)
    names = [f"bench{number} node{number}a node{number}b" for number in range(count)]
    top = (HERE.parent / "pillar/top.sls").read_text()
    before, _, rest = top.partition("{%- set pairs -%}\n")
    _, _, after = rest.partition("{%- endset -%}")
    listed = "\n".join(names)
    (root / "pillar/top.sls").write_text(f"{before}{{%- set pairs -%}}\n{listed}\n{{%- endset -%}}{after}")
    for number in range(count):
        high, low = divmod(number, 250)
        pair = {
            "primary": f"node{number}a",
            "secondary": f"node{number}b",
            "floating_ips": {
                f"gw{number}": {"address": f"10.{high}.{low}.5/24", "interface": "eth0"},
            },
            "replicate": ["/srv/data", "/etc/app.conf"],
        }
        text = json.dumps({"pairs": {f"bench{number}": pair}})
        (root / f"pillar/pairs/bench{number}.sls").write_text(text)
    (root / "minion").write_text(
        json.dumps(
            {
                "id": "node0a",
                "file_client": "local",
                "root_dir": str(root),
                "pillar_roots": {"base": [str(root / "pillar")]},
                "file_roots": {"base": [str(root / "states")]},
            }
        )
    )
    return root


def checking(nodes, size):
    """All pairs of a master are rendered and judged."""
    count = size.pairs[-1]
    row = Row(f"pair.check of {count:,} pairs", "s", goal="seconds, not minutes", met=at_most(30))
    python = environments.tests("3008") / "bin" / "python"
    judged = []
    with tempfile.TemporaryDirectory() as folder:
        root = made_pillar(pathlib.Path(folder) / "check", count)
        for _ in range(size.runs):
            done = subprocess.run(
                [python, "-B", "-c", CHECK, HERE.parent / "salt/_utils", root / "minion"],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            found, seconds, judging = json.loads(done.stdout.splitlines()[-1])
            if found != count:
                raise RuntimeError(f"{found} of {count} pairs were rendered.")
            row.add("Failback", seconds)
            judged.append(judging)
    row.notes.append(
        f"Of this, {statistics.median(judged):.2f} s are Failback's own judgement; the rest is Salt's, which "
        f"renders each pair's file by itself and copies all that it has merged so far for each of them. "
        f"salt-run's own start is not in it."
    )
    return row


#: In the order in which they are measured and shown.
ROWS = {
    each.__name__: each
    for each in (
        planned_without_paths,
        planned_few,
        planned_many,
        clients,
        crash,
        no_flip,
        warm,
        preview,
        lag,
        rendering,
        checking,
    )
} | salt_rows.ROWS
#: Which site's lab a row needs, if it is not that of the bench; None: no hosts at all.
SITES = {"rendering": None, "checking": None, "recovery": "salt", "statuses": "dalma", "recover_all": "dalma"}
#: What a quick look leaves out: these boot labs with Salt, which takes longer than all others together.
NOT_QUICK = tuple(salt_rows.ROWS)
