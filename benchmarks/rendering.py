"""Rows of the master: one node's pillar with ever more pairs, and the check of all of them."""

import json
import pathlib
import statistics
import subprocess
import tempfile

from benchmarks.row import Row
from benchmarks.row import at_most
from benchmarks.row import at_most_times
from lab import environments

HERE = pathlib.Path(__file__).resolve().parent

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
from failback.pillar import check
opts = salt.config.minion_config(sys.argv[2])
opts["id"] = "bench_master"
opts["grains"] = {"id": opts["id"], "os": "Debian", "os_family": "Debian"}
begun = time.monotonic()
found = salt.pillar.Pillar(opts, opts["grains"], opts["id"], "base").compile_pillar()
rendered = time.monotonic()
problems = check.problems(found["pairs"])
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
