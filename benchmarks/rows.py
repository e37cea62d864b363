"""What is compared: one function a row of the table. Each returns a :py:class:`Row`."""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from benchmarks import nodes as bench
from benchmarks import peers
from lab import environments
from lab.host import kill_session
from lab.host import until

TREE = "/srv/bench"
HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass
class Row:
    """
    One row of the table.

    values
        What was compared to a list of figures, one a run.

    ours
        Which of them is Failback; ``against`` those the ratio is made to (all others by default).

    goal
        In words; ``met`` a function of the row to True, False, or None where nothing was promised.
    """

    title: str
    unit: str
    values: dict = dataclasses.field(default_factory=dict)
    ours: str = "Failback"
    against: "tuple | None" = None
    goal: str = ""
    met: object = None
    notes: list = dataclasses.field(default_factory=list)

    def add(self, what, value):
        """Note one figure."""
        self.values.setdefault(what, []).append(value)

    def median(self, what):
        """The median of what was noted, or None."""
        return statistics.median(self.values[what]) if self.values.get(what) else None


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: ``make bench``, or the quick look at whether it works."""

    runs: int = 5
    few_files: int = 5000
    many_files: int = 200_000
    warm: tuple = (100_000, 10_000)  # files, bytes each
    preview: tuple = (10_000, 1_000_000)
    lag_seconds: float = 30
    pairs: tuple = (10, 100, 1000)


FULL = Size()
QUICK = Size(1, 500, 2000, (2000, 10_000), (500, 2000), 5, (10, 100))


def at_most(limit, what="Failback"):
    """A goal: the median of ours is not above a limit."""
    return lambda row: None if row.median(what) is None else row.median(what) <= limit


def at_most_times(factor, other, what="Failback"):
    """A goal: the median of ours is not above a multiple of another one's."""

    def met(row):
        if row.median(what) is None or row.median(other) is None:
            return None
        return row.median(what) <= factor * row.median(other)

    return met


# --- handover -----------------------------------------------------------------------------------


def hand_over(nodes, near, run=None):
    """One handover to a node, with the lock taken and given back; what the library says of it."""
    run = run or nodes.new_run()
    for host in nodes.both:
        nodes.near(host, "hold", run)
    try:
        return nodes.near(near, "hand_over", run)
    finally:
        for host in nodes.both:
            nodes.near(host, "let_go", run)


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


def with_files(nodes, files, changed=20):
    """Make the tree of a pair with one path."""
    nodes.configure(replicate=[{"path": TREE, "then": None}])
    for host in nodes.both:
        host.run(["rm", "-rf", TREE], timeout=600)
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
        run = nodes.new_run()
        for host in nodes.both:
            nodes.near(host, "hold", run)
        nodes.near(near, "warm", run)
        nodes.change(active, TREE, 20)
        with nodes.watched() as seen:
            done = nodes.near(near, "hand_over", run)
        compared = nodes.near(near, "compare", run)
        for host in nodes.both:
            nodes.near(host, "let_go", run)
        if compared["unexplained_count"]:
            row.notes.append(f"run {number}: {compared['unexplained_count']} files differed afterwards")
        full += done["last_pass"]["paths"][0]["named"] is None
        note_window(row, "Failback", seen, overlaps)
        windows.append(done["window_milliseconds"])
        steps.append(step_lengths(done))
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


def step_lengths(done):
    """
    How long each step of a window took, in ms: two dicts, this node's and the other one's.

    done
        What ``handover.become_active`` returned.
    """
    return [
        {
            later["step"]: later["milliseconds"] - earlier["milliseconds"]
            for earlier, later in itertools.pairwise(done[key])
        }
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
    nodes.configure(replicate=[{"path": TREE, "then": None}])
    for host in nodes.both:
        host.run(["rm", "-rf", TREE], timeout=600)
    nodes.tree(TREE, files, each, hosts=["one"])
    nodes.begin(nodes.one)
    options = options_of_library()
    peers.prepare_ssh(nodes.two, "one", True)
    for _ in range(size.runs):
        nodes.two.run(["/bin/sh", "-c", f"rm -rf {TREE}; mkdir {TREE}; sync"], timeout=600)
        command = ["rsync", *options, f"one:{TREE}/", f"{TREE}/"]
        row.add("bare rsync, same options", nodes.timed(nodes.two, *command))
        nodes.two.run(["/bin/sh", "-c", f"rm -rf {TREE}; mkdir {TREE}; sync"], timeout=600)
        run = nodes.new_run()
        for host in nodes.both:
            nodes.near(host, "hold", run)
        done = nodes.near(nodes.two, "timed_warm", run)
        for host in nodes.both:
            nodes.near(host, "let_go", run)
        row.add("Failback", done["passes"])
        row.add("Failback, with its preview and the second look", done["seconds"])
    return row


def preview(nodes, size):
    """What would be done, where one file in a hundred differs."""
    few, many = size.preview
    row = Row(
        f"Preview of {many:,} files, 1 % of which differ",
        "s",
        against=("bare rsync -n -ai --delete",),
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
                command = ["rsync", "-n", "-ai", "--delete", f"one:{TREE}/", f"{TREE}/"]
                row.add("bare rsync -n -ai --delete", nodes.timed(nodes.two, *command))
                options = [*options_of_library(), "-n", "-i"]
                command = ["rsync", *options, f"one:{TREE}/", f"{TREE}/"]
                row.add("bare rsync -n -i, same options as ours", nodes.timed(nodes.two, *command))
    small, large = (statistics.median(memory[files]) for files in (few, many))
    row.notes.append(
        f"Memory of the process that previews grew by {small:.1f} MB for {few:,} files and by "
        f"{large:.1f} MB for {many:,}."
    )
    return row


def lag(nodes, size):
    """lsyncd, from a write on the primary until the file has its name on the secondary."""
    row = Row(
        "lsyncd: from a write to the file on the other node, 50 writes/s, median",
        "ms",
        against=("lsyncd's defaults",),
        goal="5 × better than lsyncd's default delay of 15 s",
        met=at_most(15_000 / 5),
    )
    folder = f"{TREE}-lag"
    for host in nodes.both:
        host.run(["/bin/sh", "-c", f"rm -rf {folder}; mkdir {folder}"])
    nodes.configure(replicate=[{"path": folder, "then": None}])
    nodes.begin(nodes.one)
    peers.prepare_ssh(nodes.one, "two", False)
    nodes.one.write("/etc/bench-failback.lua", lsyncd_text(folder))
    nodes.one.write(
        "/etc/bench-default.lua",
        f'settings {{ nodaemon = true }}\nsync {{ default.rsyncssh, source = "{folder}", host = "two", '
        f'targetdir = "{folder}" }}\n',
    )
    for what, name, seconds in (
        ("Failback", "failback", size.lag_seconds),
        ("lsyncd's defaults", "default", max(size.lag_seconds, 35)),
    ):
        nodes.one.run(["/bin/sh", "-c", f"rm -rf {folder}/*; mkdir -p /run/failback/bench/lsyncd.marker"])
        syncing = nodes.one.spawn(["lsyncd", "-nodaemon", f"/etc/bench-{name}.lua"])
        time.sleep(5)
        program = f"{bench.TOOLS}/lag.py"
        see = nodes.two.spawn(["python3", program, "see", folder, str(seconds + 25)])
        see.stdout.readline()
        nodes.one.run(["python3", program, "write", folder, "50", str(seconds)], timeout=300)
        output, _ = see.communicate(timeout=120)
        kill_session(syncing)
        syncing.communicate()
        nodes.one.run(["pkill", "-x", "lsyncd"], check=False)
        lags = [each * 1000 for each in json.loads(output)]
        if not lags:
            row.notes.append(f"{what}: no file arrived")
            continue
        row.values[what] = [statistics.median(lags)]
        p99 = lags[min(len(lags) - 1, int(len(lags) * 0.99))]
        row.notes.append(
            f"{what}: {len(lags)} of {int(50 * seconds)} files, p50 {statistics.median(lags):.0f} ms, "
            f"p99 {p99:.0f} ms"
        )
    return row


def options_of_library():
    """The options of every rsync between the two nodes."""
    from failback import replication

    return list(replication.OPTIONS)


def lsyncd_text(folder):
    """The shipped configuration of lsyncd, for the bench's one path."""
    from failback import lsyncd_config
    from failback import replication
    from failback.paths import Paths

    return lsyncd_config.render(bench.CONFIG, [replication.item(folder, True)], Paths())


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
import sys, time, json, yaml, pathlib
sys.path.insert(0, sys.argv[1])
from failback import pillar
found = {}
for path in pathlib.Path(sys.argv[2]).glob("*.sls"):
    found.update(yaml.safe_load(path.read_text())["pairs"])
begun = time.monotonic()
problems = pillar.problems(found)
assert not problems, problems[:3]
print(time.monotonic() - begun)
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
        folder = pathlib.Path(folder)
        for count in size.pairs:
            root = made_pillar(folder / str(count), count)
            done = subprocess.run(
                [python, "-B", "-c", RENDER, root / "minion", str(max(5, size.runs))],
                capture_output=True,
                text=True,
                check=True,
            )
            row.values[f"{count} pairs"] = [one * 1000 for one in json.loads(done.stdout.splitlines()[-1])]
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
    """All pairs of a master are judged."""
    row = Row(
        f"pair.check of {size.pairs[-1]:,} pairs: the judgement, without rendering",
        "s",
        goal="seconds",
        met=at_most(10),
    )
    python = environments.tests("3008") / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        root = made_pillar(pathlib.Path(folder) / "check", size.pairs[-1])
        for _ in range(size.runs):
            done = subprocess.run(
                [python, "-B", "-c", CHECK, HERE.parent / "salt/_utils", root / "pillar/pairs"],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            row.add("Failback", float(done.stdout))
    return row


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
}
#: Those that need no hosts.
WITHOUT_LAB = ("rendering", "checking")

