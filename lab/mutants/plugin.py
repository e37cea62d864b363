"""
A plugin of pytest (``-p lab.mutants.plugin``) with two uses, by its environment.

``MUTANTS_RECORD``
    A folder. Which lines of ``salt/`` each test executes goes to ``coverage`` there, and how many seconds it
    took, and whether it passed, to ``tests.json``.

``MUTANTS_CHOSEN``
    A JSON file with the ids of the tests that run, in the order in which they do.
"""

import json
import os
import pathlib

TREE = pathlib.Path(__file__).resolve().parents[2]


class Recorder:
    """Writes down what each test executes: a context of coverage for each."""

    def __init__(self, folder):
        import coverage

        self._folder = pathlib.Path(folder)
        self.tests = {}
        # Without branches: a mutant is found by its line. Threads are seen, other processes are not. Salt
        # executes copies of what it has synced.
        self._coverage = coverage.Coverage(
            data_file=str(self._folder / "coverage"),
            include=[str(TREE / "salt/*"), "*/extmods/*"],
            config_file=False,
        )
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self):
        self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report):
        entry = self.tests.setdefault(report.nodeid, {"seconds": 0.0, "passed": True})
        entry["seconds"] = round(entry["seconds"] + report.duration, 4)
        # One that is expected to fail proves something as well; one that is skipped nothing.
        expected = hasattr(report, "wasxfail")
        entry["passed"] = entry["passed"] and (report.passed or expected)

    def pytest_unconfigure(self):
        self._coverage.stop()
        self._coverage.save()
        (self._folder / "tests.json").write_text(json.dumps(self.tests))


class Chosen:
    """Runs these tests and no others."""

    def __init__(self, file):
        ids = json.loads(pathlib.Path(file).read_text())
        self._rank = {nodeid: rank for rank, nodeid in enumerate(ids)}

    def pytest_collection_modifyitems(self, config, items):
        items.sort(key=lambda item: self._rank.get(item.nodeid, -1))
        others = [item for item in items if item.nodeid not in self._rank]
        del items[: len(others)]
        config.hook.pytest_deselected(items=others)


def pytest_configure(config):
    if os.environ.get("MUTANTS_RECORD"):
        config.pluginmanager.register(Recorder(os.environ["MUTANTS_RECORD"]), "mutants-recorder")
    if os.environ.get("MUTANTS_CHOSEN"):
        config.pluginmanager.register(Chosen(os.environ["MUTANTS_CHOSEN"]), "mutants-chosen")
