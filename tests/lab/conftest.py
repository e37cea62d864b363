"""Labs for the tests: each folder has one of real hosts, there before its first test, gone after its last."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import fresh_lab  # noqa: E402
import lab_pair  # noqa: E402

from lab import snapshots  # noqa: E402
from lab.site import Site  # noqa: E402
from lab.testing import suites  # noqa: E402

#: One of several of a kind is enough each time; ``FAILBACK_MORE=1`` asks for all of them. By the name of the
#: test, the parameters that always run.
ENOUGH = {
    "test_power_is_lost_in_a_start": ("other host, the guest is claimed",),
    "test_power_is_lost_in_a_migration": ("target, the guest is claimed",),
    # A moment at which nobody serves. All of them, and many more, are the campaign's (docs/faults.md).
    "test_nothing_is_lost_and_running_it_again_is_the_repair": ("recover/rsync/released",),
}

#: Where the tests go on from what those before have left of the lab: the order of a folder's
#: files. A file that is not named here comes after them.
ORDER = {
    "dalma": ("first_boot", "crashes", "lost_master", "tenth_pair", "nagios_switches"),
    "vm": ("one_host", "guest_faults", "guests_and_pair"),
}


def _place(path):
    """Where a file comes among those of its folder."""
    order = ORDER.get(path.parent.name, ())
    name = path.stem.removeprefix("test_")
    return order.index(name) if name in order else len(order)


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    paths = {item: pathlib.Path(item.fspath) for item in items}
    folders = list(dict.fromkeys(path.parent for path in paths.values()))
    items.sort(key=lambda item: (folders.index(paths[item].parent), _place(paths[item])))
    more = os.environ.get("FAILBACK_MORE")
    for item in items:
        if here in pathlib.Path(item.fspath).parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.needs("lab"))
        name = getattr(item, "originalname", item.name)
        if name in ENOUGH and item.callspec.id not in ENOUGH[name] and not more:
            item.add_marker(pytest.mark.skip(reason="others like it run; FAILBACK_MORE=1 asks for all"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the hosts' journals say goes beneath a failure: the lab is gone when one reads it."""
    report = (yield).get_result()
    if report.failed:
        # Whatever goes wrong here must not take the rest of the tests with it.
        try:
            for host in _hosts(getattr(item, "funcargs", {})):
                report.sections.append((f"journal of {host.name}", _journal(host)))
        except Exception as problem:
            report.sections.append(("journals", f"could not be read: {problem!r}"))


def _hosts(fixtures):
    """The hosts of the lab that a test has used: those of the first of its fixtures that has a site."""
    for one in fixtures.values():
        site = one if isinstance(one, Site) else getattr(one, "site", None)
        if isinstance(site, Site):
            return [host for host in site.hosts if host.running]
    return []


def _journal(host):
    command = ["journalctl", "--no-pager", "-o", "short-precise", "-n", "30"]
    try:
        return host.run([*command, "-t", "failback", "-t", "lsyncd", "-t", "rsync"], check=False).stdout
    except Exception as problem:  # it may go off at any moment
        return f"could not be read: {problem!r}"


@pytest.fixture(scope="session")
def lab_name():
    """``LAB`` from the environment: ``make test`` gives each folder another one."""
    return suites.base_name()


@pytest.fixture(scope="session")
def keeps_modules():
    """Whether all tests of a folder leave the tree as it is; see ``lab.site.Site``."""
    return True


@pytest.fixture(scope="session")
def site(lab_name, snapshot, keeps_modules):
    """The site ``salt``, freshly made, its masters started by hand, its minions answering.

    One for all modules of a folder: each asks for the state that it needs (``running``, ``failed_over``), and
    gets there from whatever state the one before has left.
    """
    with fresh_lab.standing(lab_name, "salt", snapshot=snapshot, keeps_modules=keeps_modules) as lab:
        yield lab


@pytest.fixture(scope="session")
def snapshot():
    """The disks that the hosts begin with: a pair that is adopted and was never booted."""
    return snapshots.ready("salt", lab_pair.set_up)


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
