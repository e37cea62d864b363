"""
Measure, print, write.

    python3 -m benchmarks [--quick] [--only ROW …] [--output FOLDER]

Each site's lab is called as the variable LAB says with ``-b``, ``-s`` or ``-d`` behind it; it is brought up
when the first row needs it, and removed when another one's is needed, or at the end.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "salt" / "_utils"))

from benchmarks import report  # noqa: E402
from benchmarks import row as sizes  # noqa: E402
from benchmarks import rows  # noqa: E402
from benchmarks.nodes import Nodes  # noqa: E402
from benchmarks.salt_rows import Cluster  # noqa: E402
from lab import doctor  # noqa: E402
from lab import machine  # noqa: E402
from lab.site import Site  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run of each, small: does it work?")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(rows.ROWS))
    parser.add_argument("--output", type=pathlib.Path, help="where to write (default: docs/; quick: nowhere)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    options = parser.parse_args()
    size = sizes.QUICK if options.quick else sizes.FULL
    quickly = [each for each in rows.ROWS if each not in rows.NOT_QUICK]
    chosen = options.only or (quickly if options.quick else list(rows.ROWS))
    try:
        doctor.require(*{site for site in (rows.SITES.get(name, "bench") for name in chosen) if site})
    except machine.Lacks as problem:
        sys.exit(str(problem))
    output = options.output or (None if options.quick else HERE.parent / "docs")
    found, failed = [], []
    begun = time.monotonic()
    with Labs(options.keep) as labs:
        for name in chosen:
            print(f"==> {name}", flush=True)
            started, measured = time.monotonic(), moment()
            try:
                row = rows.ROWS[name](labs.of(rows.SITES.get(name, "bench")), size)
            except Exception:
                traceback.print_exc()
                failed.append(name)
                continue
            if name == "planned_many":
                against_few(row, found, size)
            found.append({"name": name, "measured": measured, **report.summary(row)})
            print(report.text(found[-1]), flush=True)
            print(f"    ({time.monotonic() - started:.0f} s)", flush=True)
            if output:
                # Now, so that a bench that is ended has not measured for nothing.
                known = merged(found, output)
                missing = [each for each in rows.ROWS if each not in {one["name"] for one in known}]
                report.write(known, about(options.quick), output, missing)
    if output and found:
        print(f"==> {output / 'benchmarks.md'}")
    print(f"==> {time.monotonic() - begun:.0f} s in all")
    if failed:
        sys.exit(f"These could not be measured: {', '.join(failed)}.")


class Labs:
    """The labs of the sites that the rows need, one at a time: two would disturb each other's figures."""

    def __init__(self, keep=False):
        self._keep = keep
        self._site = None
        self._hosts = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._site and not self._keep:
            self._site.down()

    def of(self, name):
        """What the rows of a site measure with; None where no hosts are needed."""
        if name is None:
            return None
        if self._site is None or self._site.description.name != name:
            self.__exit__()
            letter = {"bench": "b", "salt": "s", "dalma": "d"}[name]
            self._site = Site(f"{os.environ.get('LAB', 'bench')[:14]}-{letter}", name)
            self._site.up()
            self._hosts = Nodes(self._site) if name == "bench" else Cluster(self._site)
            if name == "bench":
                self._hosts.prepare()
        return self._hosts


def against_few(row, found, size):
    """The goal for many files is a multiple of the figure for few, from the same run."""
    few = next((each for each in found if each["name"] == "planned_few"), None)
    if few:
        limit = 2 * few["figures"]["Failback"]["median"]
        row.met = lambda row: row.median("Failback") <= limit
        row.notes.append(f"Twice the figure for {size.few_files:,} files is {report.number(limit)} ms.")


def merged(found, output):
    """The rows measured now, and those of an earlier run that were not measured again."""
    try:
        before = json.loads((output / "benchmarks.json").read_text())["rows"]
    except (OSError, ValueError, KeyError):
        before = []
    for each in before:
        each["name"] = rows.FORMER.get(each["name"], each["name"])
    known = {each["name"]: each for each in [*before, *found]}
    return [known[name] for name in rows.ROWS if name in known]


def about(quick):
    """On what it was measured."""
    with open("/proc/meminfo") as handle:
        memory = int(handle.readline().split()[1]) / 1e6
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release()}. Other work on the machine "
        f"makes figures worse and their spread wider: each row says how high the load was when it began."
        + (" A quick look: one run, small trees." if quick else "")
    )


def moment():
    """When a row was begun, and how quiet the machine was; the row before it counts as well."""
    return f"{time.strftime('%Y-%m-%d %H:%M')}, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
