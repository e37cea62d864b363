"""A lab for the tests: real hosts, there before the first test and gone after the last."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

import fresh_lab  # noqa: E402
import lab_pair  # noqa: E402

#: One of several of a kind is enough each time; ``FAILBACK_MORE=1`` asks for all of them. By the name of the
#: test, the parameters that always run.
ENOUGH = {
    "test_power_is_lost_in_a_start": ("host, the emulator begins", "other host, the guest is claimed"),
    "test_power_is_lost_in_a_migration": ("source, the target waits", "target, the guest is claimed"),
}


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    more = os.environ.get("FAILBACK_MORE")
    for item in items:
        if here in pathlib.Path(item.fspath).parents:
            item.add_marker(pytest.mark.lab)
        name = getattr(item, "originalname", item.name)
        if name in ENOUGH and item.callspec.id not in ENOUGH[name] and not more:
            item.add_marker(pytest.mark.skip(reason="others like it run; FAILBACK_MORE=1 asks for all"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the hosts' journals say goes beneath a failure: the lab is gone when one reads it."""
    report = (yield).get_result()
    pair = getattr(item, "funcargs", {}).get("pair")
    if not report.failed or pair is None:
        return
    for host in pair.site.hosts:
        if host.running:
            command = ["journalctl", "--no-pager", "-o", "short-precise", "-n", "30"]
            command += ["-t", "failback", "-t", "lsyncd", "-t", "rsync"]
            said = host.run(command, check=False).stdout
            report.sections.append((f"journal of {host.name}", said))


@pytest.fixture(scope="session")
def lab_name():
    """``LAB`` from the environment, so that two people can test on one machine; else ``test``."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    name = os.environ.get("LAB", "test")
    return "test" if name == "failback" else name  # a demo's lab is left alone


@pytest.fixture(scope="session")
def site(lab_name):
    """The site ``salt``, freshly made, its masters started by hand, its minions answering.

    One for all modules: each asks for the state that it needs (``running``, ``failed_over``), and gets
    there from whatever state the one before has left.
    """
    with fresh_lab.standing(lab_name, "salt") as lab:
        yield lab


@pytest.fixture(scope="session")
def pair(site):
    """The pair in its present state."""
    return lab_pair.Pair(site)


@pytest.fixture(scope="module")
def running(pair):
    """The pair with salt1 active and salt2 standing by, both well."""
    return pair.running()


@pytest.fixture(scope="module")
def failed_over(pair):
    """The pair after salt1 has lost power and come back: salt2 serves, a client writes all the time."""
    return pair.failed_over()
