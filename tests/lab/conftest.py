"""A lab for a test module: real hosts, there before its first test and gone after its last."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab.site import Site  # noqa: E402


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    for item in items:
        if here in pathlib.Path(item.fspath).parents:
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the hosts' journals say goes beneath a failure: the lab is gone when one reads it."""
    report = (yield).get_result()
    lab = item.funcargs.get("site") if hasattr(item, "funcargs") else None
    if not report.failed or lab is None:
        return
    for host in lab.hosts:
        if host.running:
            command = ["journalctl", "--no-pager", "-o", "short-precise", "-n", "40"]
            said = host.run(command, check=False).stdout
            report.sections.append((f"journal of {host.name}", said))


@pytest.fixture(scope="session")
def lab_name():
    """``LAB`` from the environment, so that two people can test on one machine; else ``test``."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    name = os.environ.get("LAB", "test")
    return "test" if name == "failback" else name  # a demo's lab is left alone


@pytest.fixture(scope="module")
def site(lab_name):
    """The site ``salt``, freshly made, its masters started by hand, its minions answering.

    ``FAILBACK_KEEP=1`` leaves it up for a look afterwards (``make shell LAB=test HOST=salt1``).
    """
    lab = Site(lab_name, "salt")
    lab.down()
    try:
        yield lab.up()
    finally:
        if not os.environ.get("FAILBACK_KEEP"):
            lab.down()


@pytest.fixture
def salt1(site):
    return site.host("salt1")


@pytest.fixture
def salt2(site):
    return site.host("salt2")


@pytest.fixture
def client(site):
    return site.host("client")
