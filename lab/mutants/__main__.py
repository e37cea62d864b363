"""``make mutants``: see the package."""

import argparse
import pathlib
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
        found = covering.made(copy)
        for one in found.failed():
            cache.say(f"does not pass as the tree is, and is left out: {one}")
        equivalent = sample.equivalent(EQUIVALENT.read_text())
        sources = _sources(copy, _changed(tree, options.since), options.only)
        drawn = sample.draw(sources, options.number, seed, equivalent)
        cache.say(f"{len(drawn)} mutants, seed {seed}")
        outcomes = []
        for number, mutant in enumerate(drawn, 1):
            began = time.monotonic()
            outcome, seconds = trial.tried(copy, mutant, found)
            outcomes.append((mutant, outcome))
            took = time.monotonic() - began
            cache.say(f"{number}/{len(drawn)} {outcome} in {took:.0f} s (of {seconds:.0f} s): {mutant.name}")
    print("\n".join([*sample.survivors(outcomes), "", f"seed {seed}", *sample.table(outcomes)]))
    return 0 if sample.good_enough(outcomes) else 1


def _options(argv):
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same")
    parser.add_argument("--since", help="only in files that have changed since this commit")
    parser.add_argument("--only", default="", help="only in files whose path contains this")
    return parser.parse_args(argv)


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
