"""Rows of files: the pre-sync, the preview, and how far lsyncd lags behind."""

import json
import statistics
import time

from benchmarks import nodes as bench
from benchmarks import peers
from benchmarks import window
from benchmarks.row import Row
from benchmarks.row import at_most_times
from lab.host import kill_session


def pre_sync(nodes, size):
    """Everything has to come over."""
    files, each = size.pre_sync
    row = Row(
        f"Pre-sync of {files * each / 1e9:.2g} GB in {files:,} files",
        "s",
        against=("bare rsync, same options",),
        goal="≥ 0.95 of the throughput of bare rsync with the same options",
        met=at_most_times(1 / 0.95, "bare rsync, same options"),
    )
    nodes.configure(replicate=[window.TREE])
    nodes.tree(window.TREE, files, each, copy=False)
    nodes.begin(nodes.one)
    options = options_of_library()
    empty = ["/bin/sh", "-c", f"rm -rf {window.TREE}; mkdir {window.TREE}; sync"]
    peers.prepare_ssh(nodes.two, "one", True)
    for _ in range(size.runs):
        nodes.two.run(empty, timeout=600)
        row.add("bare rsync, same options", window.bare_rsync(nodes, nodes.two, *options))
        nodes.two.run(empty, timeout=600)
        with nodes.held() as run:
            done = nodes.near(nodes.two, "timed_pre_sync", run)
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
        window.with_files(nodes, files)
        nodes.change(nodes.one, window.TREE, max(3, min(files // 100, 10_000)))
        peers.prepare_ssh(nodes.two, "one", True)
        for _ in range(min(size.runs, 3) if files == many else 1):
            done = nodes.near(nodes.two, "preview")
            memory.setdefault(files, []).append(done["memory"] / 1024)
            if files == many:
                row.add("Failback", done["seconds"])
                row.add("bare rsync -n -ai --delete", window.bare_rsync(nodes, nodes.two, "-n", "-i"))
                seconds = window.bare_rsync(nodes, nodes.two, *options_of_library(), "-n", "-i")
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
    folder = f"{window.TREE}-lag"
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
        # The connection that its rsyncs share; with systemd it ends with lsyncd.
        nodes.one.run(["pkill", "-f", "lsyncd[.]ssh"], check=False)
    return json.loads(output), written


def options_of_library():
    """The options of every rsync between the two nodes."""
    from failback.replication import replicated

    return list(replicated.OPTIONS)


def lsyncd_text(folder):
    """The shipped configuration of lsyncd, for the bench's one path."""
    from failback.pair import Member
    from failback.replication import lsyncd_config
    from failback.replication import replicated

    return lsyncd_config.render(Member.of(bench.configuration()), [replicated.item(folder, True)])
