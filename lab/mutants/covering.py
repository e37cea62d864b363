"""Which tests execute a line of ``salt/``, and how long each takes. Made once for a content of the tree."""

import collections
import concurrent.futures
import hashlib
import json
import os
import sqlite3
import subprocess

from lab import cache
from lab import environments

#: Each is a run of pytest of its own: the two cannot be collected together.
SUITES = ("unit", "functional")
#: What decides which test executes which line.
CONTENT = ("salt", "pillar", "tests/unit", "tests/functional", "lab", "setup.cfg", "tests/conftest.py")
#: Seconds in which a suite ends, also on a machine that has other things to do.
LIMIT = 3600


def coverage():
    """A folder with coverage.py, for PYTHONPATH: of all who test, only this needs it."""

    def make(place):
        place.mkdir(parents=True)
        pip = environments.tests() / "bin" / "pip"
        cache.call([pip, "install", "--quiet", "--target", place, "coverage"])

    return cache.made("coverage", [environments.python_version()], make)


def command(files, *options):
    """The argument list of pytest for files and folders of one suite; the working directory is the tree."""
    python = environments.tests() / "bin" / "python"
    plugins = ["-p", "no:cacheprovider", "-p", "no:logging", "-p", "lab.mutants.plugin"]
    return [str(python), "-B", "-m", "pytest", "-q", *plugins, *options, *files]


def environment(tree, **more):
    """The environment of such a run: the code is that of the tree."""
    path = os.pathsep.join(map(str, (coverage(), tree)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


def content(tree):
    """A digest of all that decides which test executes which line."""
    digest = hashlib.sha256()
    for place in CONTENT:
        top = tree / place
        files = sorted(one for one in top.rglob("*") if one.is_file()) if top.is_dir() else [top]
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(tree)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def made(tree):
    """The :class:`Covering` of a tree, from the cache if its content has been recorded."""
    parts = [content(tree), environments.python_version()]
    every = {suite: [f"tests/{suite}"] for suite in SUITES}
    return Covering(cache.made("mutants", parts, lambda place: _record_all(tree, every, place)))


def made_of(tree, tests, folder):
    """The same of a few tests only, recorded now: files and folders below ``tests/``; a new folder for it."""
    files = {suite: [one for one in tests if one.startswith(f"tests/{suite}")] for suite in SUITES}
    _record_all(tree, {suite: some for suite, some in files.items() if some}, folder)
    return Covering(folder)


def _record_all(tree, files, place):
    with concurrent.futures.ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda suite: _record(tree, files[suite], place / suite), files))


def _record(tree, files, folder):
    folder.mkdir(parents=True)
    names = ", ".join(files)
    cache.say(f"recording which lines {names} execute")
    done = subprocess.run(
        command(files),
        cwd=tree,
        env=environment(tree, MUTANTS_RECORD=str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    (folder / "log").write_text(done.stdout)
    if not (folder / "tests.json").exists():
        raise RuntimeError(f"{names} did not run:\n{done.stdout[-2000:]}")


class Covering:
    """
    What was recorded.

    folder
        With a folder for each suite, as ``lab.mutants.plugin`` fills it.
    """

    def __init__(self, folder):
        self._folder = folder
        self.tests = {}
        for suite in SUITES:
            file = folder / suite / "tests.json"
            self.tests[suite] = json.loads(file.read_text()) if file.exists() else {}

    def failed(self):
        """Tests that do not pass as the tree is: they can show nothing, and are not run."""
        return [one for tests in self.tests.values() for one, entry in tests.items() if not entry["passed"]]

    def executing(self, suite, path, site):
        """
        The ids of the tests that execute a ``sites.Site`` of a file, in the order in which to run them.

        What runs when its module is loaded belongs to every test that executes anything of the module. Salt
        loads modules when a test first asks for them, so that it seems to be that test's alone.
        """
        by_line = self._lines(suite, path)
        contexts = set().union(*(by_line.get(number, set()) for number in range(site.line, site.last + 1)))
        if contexts and site.at_load:
            contexts = set().union(*by_line.values())
        tests = self.tests[suite]
        return in_order({one: tests[one]["seconds"] for one in contexts if tests.get(one, {}).get("passed")})

    def seconds(self, suite, chosen):
        """How long these take together."""
        return sum(self.tests[suite][one]["seconds"] for one in chosen)

    def _lines(self, suite, path):
        """By number of a line of a file: the contexts in which it was executed."""
        found = collections.defaultdict(set)
        if not self.tests[suite]:
            return found
        database = sqlite3.connect(self._folder / suite / "coverage")
        try:
            rows = database.execute(
                "select context.context, line_bits.numbits from line_bits"
                " join file on file.id = line_bits.file_id"
                " join context on context.id = line_bits.context_id"
                " where file.path like ? or file.path like ?",
                ("%/" + path, "%/" + synced(path)),
            )
            for context, bits in rows:
                for number in lines(bits):
                    found[number].add(context)
        finally:
            database.close()
        return found


def synced(path):
    """Where Salt executes what it has synced: ``salt/_modules/x.py`` is ``extmods/modules/x.py`` then."""
    return path.replace("salt/_", "extmods/", 1)


def lines(bits):
    """The numbers that coverage.py has packed into a blob: bit n of it is line n."""
    return [8 * byte + bit for byte, value in enumerate(bits) for bit in range(8) if value & 1 << bit]


def in_order(seconds):
    """
    In which order to run tests: files that are done soon first, each file as a whole.

    seconds
        By id of a test.
    """
    files = collections.defaultdict(float)
    for one, duration in seconds.items():
        files[one.partition("::")[0]] += duration

    def rank(one):
        file = one.partition("::")[0]
        return files[file], file, seconds[one], one

    return sorted(seconds, key=rank)
