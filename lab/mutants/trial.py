"""One mutant: a copy of the tree, the tests that execute it, and what they said."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from lab import cache
from lab.mutants import covering
from lab.mutants import sample

#: Seconds that the tests of one mutant have beside three times what they take without it.
START, TIMES = 60, 3
#: Tests that take longer together are cut off: the first of them, so many seconds of them.
MOST = 240
#: Not in the copy.
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".hypothesis", ".ruff_cache", ".pytest_cache")
#: Exit statuses of pytest: a test failed or could not be collected; nothing was left to run.
PASSED, FAILED, INTERRUPTED, NONE_RAN = 0, 1, 2, 5


@contextlib.contextmanager
def copied(tree):
    """A copy of the tree that may be made wrong; the checkout never is."""
    with tempfile.TemporaryDirectory(prefix="failback-mutants-") as folder:
        copy = pathlib.Path(folder) / "tree"
        shutil.copytree(tree, copy, ignore=LEFT_OUT, symlinks=True)
        yield copy


def tried(copy, mutant, found):
    """
    Run what executes a mutant.

    copy
        The folder of the copy; it is as it was afterwards.

    found
        A :py:class:`lab.mutants.covering.Covering`.

    Returns an outcome of ``sample``, and the seconds of tests that were chosen.
    """
    file = copy / mutant.path
    source = file.read_text()
    chosen = {
        suite: _at_most(found, suite, found.executing(suite, mutant.path, mutant.site))
        for suite in covering.SUITES
    }
    if not any(chosen.values()):
        return sample.UNSEEN, 0.0
    total = sum(found.seconds(suite, ids) for suite, ids in chosen.items())
    file.write_text(mutant.site.applied(source))
    try:
        for suite, ids in chosen.items():
            if ids:
                outcome = _run(copy, ids, START + TIMES * found.seconds(suite, ids))
                if outcome != sample.SURVIVED:
                    return outcome, total
    finally:
        file.write_text(source)
    return sample.SURVIVED, total


def _at_most(found, suite, ids):
    kept, seconds = [], 0.0
    for one in ids:
        seconds += found.tests[suite][one]["seconds"]
        if kept and seconds > MOST:
            break
        kept.append(one)
    return kept


def _run(copy, ids, limit):
    chosen = copy.parent / "chosen.json"
    chosen.write_text(json.dumps(ids))
    files = sorted({one.partition("::")[0] for one in ids})
    command = covering.command(files, "-x", "--tb=line")
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=covering.environment(copy, MUTANTS_CHOSEN=str(chosen), TMPDIR=str(copy.parent)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Of its own group, so that what a test has started ends with it.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return sample.TOO_LONG
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    if process.returncode == PASSED:
        return sample.SURVIVED
    if process.returncode in (FAILED, INTERRUPTED) or process.returncode < 0:
        # With a mutant that is wrong already when it is imported, nothing can be collected.
        return sample.KILLED
    cache.say(output[-2000:])
    raise RuntimeError(f"pytest ended with status {process.returncode}, which says nothing about a mutant")
