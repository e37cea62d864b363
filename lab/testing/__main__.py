"""
All tests, as ``make test`` runs them; exits non-zero if one fails or could not be run.

    python3 -m lab.testing [--check] [--thorough] [--only TEST] [suite …]

Suites: lint, unit, functional, integration, lab, bench; all but bench by default. Parts of them run side by
side (``suites``, ``scheduler``). Each part's output and what came of each test are kept in the folder
``results/<LAB>`` of the cache until the next run with that ``LAB``.

What this machine cannot run is skipped by name; ``REQUIRE=all`` in the environment makes that a failure.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from lab import cache
from lab import cgroups
from lab import environments
from lab import image
from lab import kinds
from lab import machine
from lab.host import STATE
from lab.site import Site
from lab.testing import in_root
from lab.testing import meter
from lab.testing import outcomes
from lab.testing import scheduler
from lab.testing import suites

#: Longest that one part may take, in seconds: what hangs must not take the others with it.
LIMIT = 3600
#: A share of the memory that is free is left to the machine.
MEMORY_USED = 0.8
#: So much average work (``busy``) is begun for each processor that there is: what waits leaves it to others,
#: and what is no host takes only what hosts leave.
CROWDED = 1.28
#: And so much of it by hosts: when those of several labs boot at once, Salt's own time-outs must hold.
CROWDED_HOSTS = 1.0


def main(arguments=None):
    parser = argparse.ArgumentParser("python3 -m lab.testing", description=__doc__.strip().split("\n")[0])
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(suites.SUITES)}; all but bench by default")
    parser.add_argument("--check", action="store_true", help="lint, unit and functional on one release")
    parser.add_argument("--only", metavar="TEST", help="one test, file or folder of tests")
    parser.add_argument("--release", choices=list(environments.RELEASES), help="on this release of Salt")
    parser.add_argument("--thorough", action="store_true", help="20 times as many examples")
    parser.add_argument("--seed", type=int, help="of a thorough run: make the examples of that run again")
    options = parser.parse_args(arguments)
    unknown = set(options.suites) - set(suites.SUITES)
    if unknown:
        parser.error(f"unknown suite {', '.join(sorted(unknown))}; there are {', '.join(suites.SUITES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    try:
        return Run(options).done()
    except (LookupError, machine.Lacks) as problem:
        sys.exit(f"tests: {problem}")


class Run:
    """One run of the tests: its parts, where their results lie, and what it starts."""

    def __init__(self, options):
        self.options = options
        self.base = suites.base_name()
        self.results = cache.folder() / "results" / self.base
        self.begun = time.monotonic()
        self._started = set()
        self._stopped = False
        self._printing = threading.Lock()
        self.seed = options.seed if options.seed is not None else random.randrange(1 << 32)
        self.parts = self._parts()
        # Others on the machine wait for the tests, which measure times.
        self._group = f"{self.base}-tests"
        self._share = cgroups.beside_labs(self._group) if machine.lacks("lab") is None else []
        self._temporary = tempfile.mkdtemp(prefix="fb")

    def _parts(self):
        releases = [self.options.release] if self.options.release else None
        if self.options.only:
            return [suites.only(self.options.only, self.options.release or environments.RELEASE)]
        usual = [suite for suite in suites.SUITES if suite not in suites.EVENING]
        wanted = suites.QUICK if self.options.check else usual
        if self.options.suites:
            wanted = [suite for suite in suites.SUITES if suite in self.options.suites]
        return suites.parts(wanted, releases, self.options.check, self.options.thorough)

    def done(self):
        """Run everything, print the table; the exit status."""
        shutil.rmtree(self.results, ignore_errors=True)
        self.results.mkdir(parents=True)
        if self.options.thorough:
            cache.say(f"thorough, seed {self.seed}: make test-thorough SEED={self.seed} makes the same again")
        try:
            found = self._run()
        finally:
            self._end()
        print("\n".join(outcomes.shown(found)))
        print(f"\n==> {outcomes.last_line(found, time.monotonic() - self.begun)}")
        return 0 if all(each.passed for each in found) else 1

    def _run(self):
        pace = meter.pace()
        jobs = [job(part, pace, lambda part=part: self._outcome(part)) for part in self.parts]
        cache.say(f"{len(jobs)} parts; what each prints is in {self.results}")
        cores = machine.cores()
        room = scheduler.Room(machine.memory() * MEMORY_USED, cores * CROWDED, cores * CROWDED_HOSTS)
        found = scheduler.run(jobs, makers(), room, stop=self._stop)
        return [
            outcomes.Outcome(part.name, part.suite, 0, ended=f"could not be run: {each}")
            if isinstance(each, Exception)
            else each
            for part, each in zip(self.parts, found)
        ]

    def _outcome(self, part):
        """Run one part to its end."""
        name = re.sub(r"[^A-Za-z0-9.]+", "-", part.name)
        record, log = self.results / f"{name}.jsonl", self.results / f"{name}.log"
        lab = suites.lab_name(self.base, part)
        if part.suite == "bench" and machine.lacks("lab"):
            reason = f"{machine.LACKING}{machine.lacks('lab')}"
            outcome = "failed" if os.environ.get("REQUIRE") == "all" else "skipped"
            tests = (outcomes.Result("benchmarks", outcome, 0, reason),)
            return self._said(outcomes.Outcome(part.name, part.suite, 0, tests))
        # Salt's programs would compile this tree's modules at each start if they could not keep the result.
        environment = dict(os.environ, LAB=lab, PYTHONPYCACHEPREFIX=str(self.results / "bytecode"))
        if self.options.thorough:
            environment["FAILBACK_THOROUGH"] = "1"
        # Who names a release or a test, or has a free evening, gets every test.
        everything = self.options.only or self.options.release or self.options.thorough
        if part.is_older and not everything:
            environment["FAILBACK_OLDER"] = "1"
        if part.lab and machine.lacks("lab") is None:
            environment[machine.TRIED] = "lab"
        command, environment = self._command(part, name, environment)
        begun = time.monotonic()
        cache.say(part.name)
        try:
            status, processor = self._call(command, environment, log, lab if part.lab else None)
        finally:
            if part.lab and not os.environ.get("FAILBACK_KEEP"):
                remove_labs(lab)
        tests = outcomes.read(record)
        seconds = time.monotonic() - begun
        ended = ""
        if status is None:
            ended = f"it had not ended after {LIMIT} s, and was killed"
        elif status not in (0, 1) or (status and not any(test.outcome == "failed" for test in tests)):
            ended = f"exit status {status}"
        return self._said(outcomes.Outcome(part.name, part.suite, seconds, tests, ended, processor), log)

    def _command(self, part, name, environment):
        """The argument list of a part, and its environment."""
        if part.suite == "lint":
            program, *words = part.words
            return [environments.tests() / "bin" / program, *words], environment
        if part.suite == "bench":
            return list(part.words), environment
        pytest = ["-m", "pytest", "-p", "lab.testing.record", "-p", "no:cacheprovider"]
        pytest += ["-v" if self.options.only else "-q", *part.words]
        if part.workers > 1:
            pytest += ["-n", str(part.workers), "--dist", "worksteal"]
        if self.options.thorough:
            pytest.append(f"--hypothesis-seed={self.seed}")
        if part.interpreter != "machine":
            places = [f"--record=/results/{name}.jsonl", f"--junit-xml=/results/{name}.xml"]
            root = environments.python(part.interpreter)
            return in_root.command(root, self.results, ["python3", *pytest, *places]), environment
        python = environments.tests(part.release) / "bin" / "python"
        places = [f"--record={self.results / name}.jsonl", f"--junit-xml={self.results / name}.xml"]
        # Tests start Salt's programs by name.
        environment["PATH"] = f"{python.parent}:{environment['PATH']}"
        # Short, since sockets lie there, and no other part's.
        places.append(f"--basetemp={self._folder(part.name)}")
        return [python, *pytest, *places], environment

    def _folder(self, name):
        """Where the tests of a part put their files; gone with the run."""
        names = [part.name for part in self.parts]
        return pathlib.Path(self._temporary, str(names.index(name)))

    def _call(self, command, environment, log, lab=None):
        """
        What it says goes to a file, or to the terminal.

        Returns its exit status, or None if it was killed, and the seconds of a processor that it and the
        hosts of its lab have used.
        """
        command = cgroups.entering(self._share, [str(word) for word in command])
        with contextlib.ExitStack() as stack:
            output = None if self.options.only else stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                command,
                cwd=cache.CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._started.add(process)
            if self._stopped:
                _kill(process)
            measured = meter.Meter(process, (lambda name: is_lab(name, lab)) if lab else None)
            try:
                status = measured.wait(LIMIT)
                if status is None:
                    _kill(process)
                return status, measured.seconds
            finally:
                self._started.discard(process)

    def _said(self, outcome, log=None):
        """Print what came of a part; all that it wrote, if it did not pass."""
        with self._printing:
            what = outcomes.spoken(outcome.counts) or outcome.ended or "good"
            spent = f"{outcome.seconds:.0f} s, {outcome.processor:.0f} s of a processor"
            cache.say(f"{outcome.name}: {what} in {spent}")
            if not outcome.passed and log and log.exists():
                sys.stdout.flush()
                with log.open("rb") as output:
                    shutil.copyfileobj(output, sys.stdout.buffer)
                sys.stdout.flush()
            if outcome.ended:
                # pytest says why a test failed at its own end, which did not come.
                for test in outcome.tests:
                    if test.outcome == "failed":
                        print(f"\n{test.name}\n{test.detail}", flush=True)
        return outcome

    def _stop(self):
        """End all parts that run; none begins any more."""
        self._stopped = True
        for process in list(self._started):
            _kill(process)

    def _end(self):
        """Nothing that was started goes on, whatever has happened."""
        self._stop()
        if self._share:
            try:
                cgroups.empty(self._group)
                cgroups.remove(self._group)
            except OSError as problem:  # also a TimeoutError: the table is wanted all the same
                cache.say(f"something that the tests have started is left: {problem}")
        shutil.rmtree(self._temporary, ignore_errors=True)
        if not os.environ.get("FAILBACK_KEEP"):
            for part in self.parts:
                if part.lab:
                    remove_labs(suites.lab_name(self.base, part))


def job(part, pace, run):
    """
    A part as the scheduler takes it.

    pace
        As ``meter.pace`` says. Hosts mostly wait: on a quick machine more of them find a processor when they
        need one.
    """
    return scheduler.Job(
        name=part.name,
        run=run,
        needs=part.needs,
        memory=part.memory,
        busy=part.busy * (pace if part.hosts else max(1, part.workers)),
        seconds=part.seconds,
        hosts=part.hosts,
        alone=bool(part.lab and part.lab.alone),
    )


def _kill(process):
    # Its own session: nothing else is in the group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def remove_labs(lab):
    """A lab of the tests, and those that the benchmarks have made beside it; if they are there."""
    for path in sorted(STATE.glob("*")):
        if is_lab(path.name, lab):
            Site(path.name).down()


def is_lab(name, lab):
    """Whether a lab of that name is one of the tests, or one that the benchmarks have made beside it."""
    return name == lab or name.startswith(f"{lab[:14]}-")


def makers():
    """By name, what makes something that a part needs."""
    made = {f"tests-{each}": lambda each=each: environments.tests(each) for each in environments.RELEASES}
    made |= {f"python-{each}": lambda each=each: environments.python(each) for each in environments.PYTHONS}
    made |= {f"image-{each}": lambda each=each: image.ready(each) for each in kinds.IMAGES}
    return made | {
        "snapshot-salt": lambda: _snapshot(
            "import lab_pair; from lab import snapshots; snapshots.ready('salt', lab_pair.set_up)"
        ),
        "snapshot-before": lambda: _snapshot("import release_before; release_before.snapshot()"),
    }


def _snapshot(program):
    """In a process of its own: what prepares it lies beside the tests that need it."""
    places = f"{cache.CHECKOUT}:{cache.CHECKOUT / 'tests/lab'}"
    cache.call([environments.PYTHON, "-B", "-c", program], env=dict(os.environ, PYTHONPATH=places))


if __name__ == "__main__":
    sys.exit(main())
