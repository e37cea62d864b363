"""All tests, as ``make test`` runs them; exits non-zero if any of them fails.

    python3 -m lab.test_runner [suite ...]

Suites: lint, unit, functional, integration, lab, bench; all by default. Everything but the lab runs on
both Salt releases, beside the lab's tests: these measure times, so they go first. The images for the lab
are made before, if they are not in the cache. What pytest reports of each suite is kept, as JUnit's XML, in
the folder ``results`` of the cache until the suite's next run.
"""

import collections
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import typing
from xml.etree import ElementTree

from lab import cache
from lab import environments
from lab import image
from lab import kinds
from lab.cli import only_root
from lab.host import STATE
from lab.site import Site

SUITES = ("lint", "unit", "functional", "integration", "lab", "bench")
PRINTING = threading.Lock()


class Result(typing.NamedTuple):
    """What one step gave: how many ``tests`` passed, failed and were skipped, and which ``failed``."""

    name: str
    passed: bool
    seconds: float
    tests: collections.Counter = collections.Counter()
    failed: tuple = ()


def main(wanted):
    unknown = set(wanted) - set(SUITES)
    if unknown:
        sys.exit(f"Unknown suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}.")
    only_root()
    suites = [suite for suite in SUITES if not wanted or suite in wanted]
    started = time.monotonic()
    releases = ["3008"] if set(suites) <= {"lint", "lab"} else ["3008", "3006"]
    with concurrent.futures.ThreadPoolExecutor() as makers:
        made = [makers.submit(environments.tests, release) for release in releases]
        images = [makers.submit(image.ready, kind) for kind in kinds.KINDS] if "lab" in suites else []
        for each in made:
            each.result()
        results = run(suites, releases, images)
    print()
    for each in results:
        said = f": {spoken(each.tests)}" if each.tests else ""
        print(f"  {'passed' if each.passed else 'FAILED'}  {each.seconds:6.0f} s  {each.name}{said}")
        for test in each.failed:
            print(f"                    {test}")
    minutes, seconds = divmod(time.monotonic() - started, 60)
    tests = sum((each.tests for each in results), collections.Counter())
    cache.say(f"{spoken(tests) or 'no tests'} in {minutes:.0f} min {seconds:.0f} s")
    return 0 if all(each.passed for each in results) else 1


def run(suites, releases, images):
    """All suites, whatever the earlier ones gave: a list of ``Result``."""
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        # Hosts spend most of a lab test waiting. What needs no lab uses that time, behind them.
        others = beside.submit(without_lab, suites, releases)
        results = []
        if "lab" in suites:
            for each in images:
                each.result()
            results += lab()
        results = others.result() + results
    if "bench" in suites:
        results.append(bench())
    return results


def without_lab(suites, releases):
    """The suites that need no hosts: a list of ``Result``."""
    results = []
    if "lint" in suites:
        results += lint()
    for suite in ("unit", "functional", "integration"):
        if suite in suites:
            # Both releases at once, one core each; what one prints follows when it has ended.
            with concurrent.futures.ThreadPoolExecutor(len(releases)) as pool:
                results += pool.map(lambda release, suite=suite: run_pytest(suite, release, True), releases)
    return results


def lint():
    programs = environments.tests("3008") / "bin"
    places = [each for each in ("salt", "lab", "tests", "benchmarks") if _has(each, ".py")]
    states = sorted(str(path) for path in (cache.CHECKOUT / "salt").rglob("*.sls"))
    results = [step("ruff", [programs / "ruff", "check", "--no-cache", *places])]
    if states:
        results.append(step("salt-lint", [programs / "salt-lint", *states]))
    return results


def lab():
    """The lab's tests, one site after the other; whatever happens, nothing of a lab is left afterwards."""
    if os.environ.get("LAB", "failback") == "failback":
        os.environ["LAB"] = "test"  # the one that a demo has left up stays
    tests = cache.CHECKOUT / "tests/lab"
    others = sorted(path.parent for path in tests.glob("*/conftest.py"))
    results = []
    # A process each: a lab that lasts as long as its session must not be up beside the next one.
    for folder in (tests, *others):
        beside = [f"--ignore={other}" for other in others if other != folder]
        try:
            suite = str(folder.relative_to(cache.CHECKOUT / "tests"))
            results.append(run_pytest(suite, "3008", more=beside))
        finally:
            _remove(os.environ["LAB"])
    return results


def _remove(lab):
    """The labs of the tests: that of this name, and those of the other sites beside it."""
    for path in sorted(STATE.glob("*")):
        if path.name == lab or path.name.startswith(f"{lab[:13]}-"):
            Site(path.name).down()


def bench():
    """Does ``make bench`` work? Its figures are not looked at."""
    return step("benchmarks, a quick look", ["/usr/bin/python3", "-B", "-m", "benchmarks", "--quick"])


def run_pytest(suite, release, later=False, more=()):
    name = f"{suite} tests on Salt {release}"
    if not _has(f"tests/{suite}", ".py", "test_"):
        cache.say(f"{name}: there are none")
        return Result(name, True, 0)
    python = environments.tests(release) / "bin" / "python"
    outcome = cache.folder() / "results" / f"{suite.replace('/', '-')}-{release}.xml"
    outcome.parent.mkdir(exist_ok=True)
    outcome.unlink(missing_ok=True)  # what a run that is killed leaves must not be an earlier one's
    junit = f"--junit-xml={outcome}"
    done = step(name, [python, "-B", "-m", "pytest", "-q", junit, f"tests/{suite}", *more], later)
    return done._replace(tests=counted(outcome), failed=failed(outcome))


def counted(outcome):
    """How many tests passed, failed and were skipped by a file in JUnit's format; none without it."""
    tests = collections.Counter()
    for suite in _elements(outcome, "testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        tests += collections.Counter(
            passed=int(suite.get("tests", 0)) - failed - skipped, failed=failed, skipped=skipped
        )
    return tests


def failed(outcome):
    """The names of the tests that failed by a file in JUnit's format, each once."""
    names = [
        f"{test.get('classname')}::{test.get('name')}"
        for test in _elements(outcome, "testcase")
        if test.find("failure") is not None or test.find("error") is not None
    ]
    return tuple(dict.fromkeys(names))


def _elements(outcome, tag):
    try:
        return list(ElementTree.parse(outcome).getroot().iter(tag))
    except (FileNotFoundError, ElementTree.ParseError):  # pytest was killed, or could not begin
        return []


def spoken(tests):
    """Counts as a sentence has them: "12 passed, 1 failed"."""
    return ", ".join(f"{tests[what]} {what}" for what in ("passed", "failed", "skipped") if tests[what])


def step(name, command, later=False):
    """
    Run one step; returns a ``Result``.

    later
        It runs beside others: it lets them go first, and what it says is printed when it has ended.
    """
    cache.say(name)
    started = time.monotonic()
    environment = dict(os.environ)
    programs = os.path.dirname(str(command[0] if "python" in str(command[0]) else ""))
    if programs:  # tests may start Salt's programs by name
        environment["PATH"] = f"{programs}:{environment['PATH']}"
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*(["nice"] if later else []), *(str(each) for each in command)],
            cwd=cache.CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said if later else None,
            stderr=subprocess.STDOUT if later else None,
        )
        if later:
            said.seek(0)
            with PRINTING:
                cache.say(f"{name}: exit status {done.returncode}")
                sys.stdout.flush()
                shutil.copyfileobj(said, sys.stdout.buffer)
                sys.stdout.flush()
    return Result(name, done.returncode == 0, time.monotonic() - started)


def _has(place, ending, beginning=""):
    return any(
        path.name.startswith(beginning) and path.name.endswith(ending)
        for path in (cache.CHECKOUT / place).rglob("*")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
