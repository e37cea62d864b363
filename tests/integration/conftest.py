"""A real master and two real minions, from this tree, for the whole session."""

import getpass
import os
import pathlib
import shutil
import socket
import tempfile
import time

import pair_site
import pytest
import salt._logging

#: The machine stays what it is. Otherwise each start of ``salt-run`` finds out anew what that is, with half a
#: second of a processor and some twenty programs.
GRAINS = {"grains_cache": True, "grains_cache_expiration": 7200}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def short_root():
    """Unix sockets have short names, and two sessions may run at once."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="fb", dir="/tmp"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_config(short_root):
    return {"root_dir": short_root / "salt", "slow_stop": False}


@pytest.fixture(scope="session")
def pillar(tree, short_root):
    found = pair_site.Pillar(short_root / "pillar", tree)
    found.reset()
    return found


@pytest.fixture(scope="session")
def salt_master(salt_factories, tree, pillar):
    # An id that is set is taken as it is; of itself Salt would have put "_master" behind it.
    master = salt_factories.salt_master_daemon(
        "master_master",
        overrides={
            "user": getpass.getuser(),
            "auto_accept": True,
            "file_roots": {"base": [str(tree / "salt")]},
            "pillar_roots": {"base": [str(pillar.root)]},
            "worker_threads": 3,
            **pair_site.API,
            "rest_cherrypy": {"port": free_port(), "host": "127.0.0.1", "disable_ssl": True},
            "log_level_logfile": "error",
            **GRAINS,
        },
    )
    with master.started(start_timeout=90):
        yield master


def sync(salt_master, nodes, limit=120):
    """
    The tree's modules, on both minions.

    What is published before a minion has subscribed is lost, also after the event that it has started: so it
    is published again until it is answered.
    """
    until = time.monotonic() + limit
    cli = salt_master.salt_cli(timeout=15)
    for node in nodes:
        while cli.run("saltutil.sync_all", minion_tgt=node.id, _timeout=limit).returncode != 0:
            assert time.monotonic() < until, f"{node.id} did not answer saltutil.sync_all in {limit} seconds."


@pytest.fixture(scope="session")
def whole_site(salt_factories, salt_master, tree, pillar, short_root):
    nodes = [
        pair_site.Node(name, short_root / name, tree) for name in (pair_site.PRIMARY, pair_site.SECONDARY)
    ]
    for node in nodes:
        node.minion = salt_master.salt_minion_daemon(
            node.id,
            overrides={
                "user": getpass.getuser(),
                "failback_root": str(node.root),
                "log_level_logfile": "error",
                **GRAINS,
            },
        )
        node.minion.environ = {**os.environ, "PATH": f"{node.programs}:{os.environ['PATH']}"}
    site = pair_site.Site(salt_master, nodes, pillar, tree)
    with nodes[0].minion.started(start_timeout=90), nodes[1].minion.started(start_timeout=90):
        site.run("saltutil.sync_all").good()
        sync(salt_master, nodes)
        yield site
        site.close()


@pytest.fixture
def site(whole_site):
    """The site with a pair that was never adopted; what an earlier test left is gone."""
    whole_site.begin()
    return whole_site


def pytest_unconfigure():
    # Salt keeps early log records for a log file that a test process never sets up, and prints them at exit.
    salt._logging.shutdown_temp_handler()
