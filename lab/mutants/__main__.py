"""``make mutants``: see the package."""

import argparse
import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import queue
import random
import subprocess
import sys
import time

from lab import cache
from lab.mutants import covering
from lab.mutants import sample
from lab.mutants import trial

EQUIVALENT = pathlib.Path(__file__).with_name("equivalent.txt")


def main(argv=None):
    """Exit status 1 if a kind of code is below its goal."""
    options = _options(argv)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    tree = cache.CHECKOUT
    with trial.copied(tree) as copy:
        found = (
            covering.made_of(copy, options.tests, copy.parent / "record")
            if options.tests
            else covering.made(copy)
        )
        for one in found.failed():
            cache.say(f"does not pass as the tree is, and is left out: {one}")
        equivalent = sample.equivalent(EQUIVALENT.read_text())
        sources = _sources(copy, _changed(tree, options.since), options.only)
        drawn = sample.draw(sources, options.number, seed, equivalent)
        cache.say(f"{len(drawn)} mutants, seed {seed}")
        outcomes = _all_tried(copy, drawn, found, options.jobs)
    print("\n".join([*sample.survivors(outcomes), "", f"seed {seed}", *sample.table(outcomes)]))
    return 0 if sample.good_enough(outcomes) else 1


def _all_tried(tree, drawn, found, jobs):
    """Try each, ``jobs`` of them at a time, each in a copy of its own: a list of ``(mutant, outcome)``."""
    copies, ended = queue.SimpleQueue(), itertools.count(1)

    def tried(mutant):
        copy, began = copies.get(), time.monotonic()
        try:
            outcome, seconds = trial.tried(copy, mutant, found)
        finally:
            copies.put(copy)
        took = time.monotonic() - began
        cache.say(f"{next(ended)}/{len(drawn)} {outcome} in {took:.0f} s (of {seconds:.0f} s): {mutant.name}")
        return mutant, outcome

    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for _ in range(jobs):
            copies.put(stack.enter_context(trial.copied(tree)))
        return list(pool.map(tried, drawn))


def _options(argv):
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same")
    parser.add_argument("--since", help="only in files that have changed since this commit")
    parser.add_argument("--only", default="", help="only in files whose path contains this")
    parser.add_argument(
        "--tests", nargs="+", default=[], help="only these, files and folders; they are recorded first"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    known = tuple(f"tests/{suite}" for suite in covering.SUITES)
    for one in options.tests:
        if not one.startswith(known):
            parser.error(f"{one}: tests of mutants are below {' and '.join(known)}")
    return options


def _sources(copy, changed, only):
    found = {}
    for file in sorted((copy / "salt").rglob("*.py")):
        path = str(file.relative_to(copy))
        if only in path and (changed is None or path in changed):
            found[path] = file.read_text()
    return found


def _changed(tree, since):
    """Paths that differ from a commit, those that Git does not know yet included; None for all."""
    if since is None:
        return None
    commands = (
        ["diff", "--name-only", since, "--", "salt"],
        ["ls-files", "--others", "--exclude-standard", "salt"],
    )
    return {
        line
        for words in commands
        for line in subprocess.run(
            ["git", "-C", str(tree), *words], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()
    }


if __name__ == "__main__":
    sys.exit(main())
