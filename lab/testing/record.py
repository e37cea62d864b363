"""
A plugin of pytest that writes down what comes of each test, as it happens.

    pytest -p lab.testing.record --record=FILE

A line of JSON each: ``{"collected": [test, …]}`` before the first test; ``{"begun": test}``; and
``{"ended": test, "outcome": …, "seconds": …, "reason": …}``, of what failed with all of it as ``detail``. So
a process that is killed leaves what it had, and what it had still to do. ``lab.testing.outcomes`` reads it.
"""

import json

#: Characters of a failure that are kept: its end.
DETAIL = 20_000


def pytest_addoption(parser):
    parser.addoption("--record", help="write what comes of each test to this file, as it happens")


def pytest_configure(config):
    place = config.getoption("--record")
    # With pytest-xdist the controller hears of everything; a worker writes nothing.
    if place and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Record(place), "failback-record")


class Record:
    """Hears what pytest tells of its tests."""

    def __init__(self, place):
        self._file = open(place, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
        self._collected = False
        self._tests = {}

    def _write(self, **entry):
        self._file.write(json.dumps(entry) + "\n")

    def pytest_collection_finish(self, session):
        self._said([item.nodeid for item in session.items])

    def pytest_xdist_node_collection_finished(self, ids):
        self._said(ids)

    pytest_xdist_node_collection_finished.optionalhook = True

    def _said(self, tests):
        # Every worker of pytest-xdist collects the same.
        if tests and not self._collected:
            self._collected = True
            self._write(collected=list(tests))

    def pytest_collectreport(self, report):
        if report.failed:
            self._write(
                ended=report.nodeid or "collection", outcome="failed", seconds=0, reason=str(report.longrepr)
            )

    def pytest_runtest_logstart(self, nodeid):
        self._write(begun=nodeid)

    def pytest_runtest_logreport(self, report):
        test = self._tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "reason": ""})
        test["seconds"] += report.duration
        if report.outcome != "passed" and test["outcome"] != "failed":
            test["outcome"] = report.outcome
            test["reason"] = _reason(report)
            if report.failed:
                test["detail"] = str(report.longrepr)[-DETAIL:]
        if report.when == "teardown":
            self._write(ended=report.nodeid, **self._tests.pop(report.nodeid))

    def pytest_unconfigure(self):
        self._file.close()


def _reason(report):
    """Why a test was skipped, or the last line of why it failed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr)).splitlines()
    return lines[0] if lines else ""
