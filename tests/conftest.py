"""What every test level shares: where the tree is, its pure package on the path, what this machine lacks."""

import os
import pathlib
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parent.parent

sys.path[:0] = [str(TREE), str(TREE / "tests"), str(TREE / "salt" / "_utils")]

import effort  # noqa: E402
from lab import machine  # noqa: E402

effort.load_profile()


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*what): powers or programs of the machine, see lab/machine.py")
    # What a test's thread does not do fails the test. The oldest pytest that runs here does not look.
    if hasattr(pytest, "PytestUnhandledThreadExceptionWarning"):
        config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")


def pytest_collection_modifyitems(config, items):
    items[:], left = effort.for_this_release(items)
    if left:
        config.hook.pytest_deselected(items=left)
    for item in items:
        for marker in item.iter_markers("needs"):
            for what in marker.args:
                if machine.lacks(what):
                    item.add_marker(pytest.mark.skip(reason=f"{machine.LACKING}{machine.lacks(what)}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.skipped and os.environ.get("REQUIRE") == "all" and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(machine.LACKING):
            report.outcome = "failed"
            report.longrepr = f"{reason} (and REQUIRE=all forbids to skip it)"


@pytest.fixture(scope="session")
def tree():
    """The checkout under test."""
    return TREE
