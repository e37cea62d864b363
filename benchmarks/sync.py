"""Rows of files: the pre-sync, the preview, and how far lsyncd lags behind."""

import json
import statistics
import time

from benchmarks import nodes as bench
from benchmarks import peers
from benchmarks import window
from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab import cgroups
from lab.host import kill_session
from lab.host import until


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
    theirs, before = "lsyncd's defaults", "Failback, a second's delay and a connection for each rsync"
    row = Row(
        "lsyncd: from a write to the file on the other node, under 50 writes/s",
        "ms",
        against=(f"{theirs}, p50",),
        ours="Failback, p50",
        goal="p50 ≤ 150 ms, p99 ≤ 350 ms, and less processor time than with a connection for each rsync",
        met=lambda row: (
            at_most(150, "Failback, p50")(row)
            and at_most(350, "Failback, p99")(row)
            and statistics.median(busy["Failback"]) < statistics.median(busy[before])
        ),
    )
    folder = f"{window.TREE}-lag"
    nodes.configure(replicate=[folder])
    nodes.begin(nodes.one)
    peers.prepare_ssh(nodes.one, "two", False)
    settings = {
        "Failback": (lsyncd_text(folder), size.lag_seconds),
        before: (lsyncd_text(folder, delay=1, lasting=False), size.lag_seconds),
        theirs: (
            f'settings {{ nodaemon = true }}\nsync {{ default.rsyncssh, source = "{folder}", host = "two", '
            f'targetdir = "{folder}" }}\n',
            size.lag_of_defaults,
        ),
    }
    busy = {what: [] for what in settings}
    for _ in range(size.runs):
        for what, (text, seconds) in settings.items():
            empty(nodes, folder)
            lags, written, used = lags_of(nodes, folder, text, 50, seconds)
            busy[what].append(used)
            if len(lags) < written:
                row.notes.append(f"{what}: only {len(lags)} of {written} files arrived in time.")
            if lags:
                row.add(f"{what}, p50", percentile(lags, 50))
                row.add(f"{what}, p99", percentile(lags, 99))
    row.notes.append(f"Each figure is that of {int(50 * size.lag_seconds):,} files or more, on idle disks.")
    for what, used in busy.items():
        row.notes.append(f"{what}: {statistics.median(used):.1f} % of a processor, on both nodes together.")
    return row


def lag_many(nodes, size):
    """The same with a large tree and many writes: does the queue grow?"""
    files, rate = size.many_files, 500
    row = Row(
        f"lsyncd: from a write to the file on the other node, under {rate} writes/s beside {files:,} files",
        "ms",
        ours="Failback, second half, p50",
        goal="no queue that grows: the second half waits no longer than the first",
        met=at_most_times(1.25, "Failback, first half, p50", "Failback, second half, p50"),
    )
    window.with_files(nodes, files)
    nodes.configure(replicate=[window.TREE])
    nodes.begin(nodes.one)
    for number in range(1, size.runs + 1):
        lags, written, used = lags_of(nodes, window.TREE, lsyncd_text(window.TREE), rate, size.lag_seconds)
        if len(lags) < written:
            row.notes.append(f"Only {len(lags)} of {written} files arrived in time.")
        for half, some in (("first", lags[: written // 2]), ("second", lags[written // 2 :])):
            row.add(f"Failback, {half} half, p50", percentile(some, 50))
            row.add(f"Failback, {half} half, p99", percentile(some, 99))
        row.notes.append(
            f"{number * written:,} files written into one folder: {used:.0f} % of a processor, on both nodes "
            f"together. rsync compares each name in a folder with each that has changed there."
        )
    return row


def percentile(lags, percent):
    """Of lags in seconds, in milliseconds."""
    return sorted(lags)[min(len(lags) - 1, len(lags) * percent // 100)] * 1000


def empty(nodes, folder):
    """An empty folder on both nodes."""
    for host in nodes.both:
        host.run(["/bin/sh", "-c", f"rm -rf {folder}; mkdir {folder}"])


def lags_of(nodes, folder, text, rate, seconds):
    """
    Seconds until each file was there, in the order of writing, while lsyncd ran so; how many were written;
    and what all hosts used of a processor meanwhile, in percent.
    """
    nodes.one.run(["mkdir", "-p", "/run/failback/bench/lsyncd.marker"])
    nodes.one.write("/etc/bench.lua", text)
    program = f"{bench.TOOLS}/lag.py"
    written = int(rate * seconds)
    syncing = nodes.one.spawn(["lsyncd", "-nodaemon", "/etc/bench.lua"])
    try:
        # Its first pass: when a file has come that was made after the start, it watches, and carries.
        nodes.one.run(["touch", f"{folder}/first"])
        until(
            lambda: nodes.two.run(["rm", f"{folder}/first"], check=False).returncode == 0, 120, "a first pass"
        )
        see = nodes.two.spawn(["python3", program, "see", folder, str(written), str(seconds + 60)])
        see.stdout.readline()
        begun, busy = time.monotonic(), cgroups.used()[nodes.site.name]
        nodes.one.run(["python3", program, "write", folder, str(rate), str(seconds)], timeout=300)
        output, _ = see.communicate(timeout=180)
        used = (cgroups.used()[nodes.site.name] - busy) / (time.monotonic() - begun)
    finally:
        kill_session(syncing)
        syncing.communicate()
        nodes.one.run(["pkill", "-x", "lsyncd"], check=False)
        # The connection that its rsyncs share; with systemd it ends with lsyncd.
        nodes.one.run(["pkill", "-f", "lsyncd[.]ssh"], check=False)
    return json.loads(output), written, used * 100


def options_of_library():
    """The options of every rsync between the two nodes."""
    from failback.replication import replicated

    return list(replicated.OPTIONS)


def lsyncd_text(folder, delay=None, lasting=True):
    """The shipped configuration of lsyncd for one path; another delay, or a connection for each rsync."""
    from failback.pair import Member
    from failback.replication import lsyncd_config
    from failback.replication import replicated

    config = bench.configuration()
    if delay is not None:
        config["lsyncd"]["delay"] = delay
    member = Member.of(config)
    text = lsyncd_config.render(member, [replicated.item(folder, True)])
    if not lasting:
        socket = lsyncd_config.places(member).connection
        shared = lsyncd_config.quote(replicated.lasting_ssh_command(member.paths, socket))
        text = text.replace(shared, lsyncd_config.quote(replicated.ssh_command(member.paths)))
    return text
