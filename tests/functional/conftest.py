"""Modules and states loaded the way Salt loads them: by its own loaders, from this tree.

What is in ``library/`` loads none, and runs where there is no Salt: so Salt is imported by the fixtures.
"""

import copy
import logging
import shutil

import pytest


def pytest_unconfigure():
    """Forget what Salt wants to print at its exit: pytest has shown it, and its stream is closed by then."""
    for handler in logging.root.handlers:
        if type(handler).__name__ == "DeferredStreamHandler":
            handler.sync_with_handlers([])


@pytest.fixture(scope="module")
def minion_opts(tree, tmp_path_factory):
    import salt.config

    root = tmp_path_factory.mktemp("minion")
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts.update(
        {
            "id": "salt1",
            "root_dir": str(root),
            "cachedir": str(root / "cache"),
            "extension_modules": str(root / "extmods"),
            "pki_dir": str(root / "pki"),
            "sock_dir": str(root / "sock"),
            "conf_file": str(root / "minion"),
            "file_client": "local",
            "file_roots": {"base": [str(tree / "salt")]},
            "pillar_roots": {"base": [str(tree / "pillar")]},
            "module_dirs": [str(tree / "salt" / "_modules")],
            "states_dirs": [str(tree / "salt" / "_states")],
            "utils_dirs": [str(tree / "salt" / "_utils")],
            "fileserver_backend": ["roots"],
            "test": False,
            # No test of a module touches the machine's own /etc/failback and /var/lib/failback.
            "failback_root": str(root / "node"),
        }
    )
    yield opts
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def loaders(minion_opts):
    from saltfactories.utils.functional import Loaders

    return Loaders(minion_opts)


@pytest.fixture
def modules(loaders):
    """Execution modules, as in ``modules.lsyncd.status(...)``."""
    return loaders.modules


@pytest.fixture
def states(loaders):
    """State modules, called with ``test=True`` or not."""
    return loaders.states


@pytest.fixture
def master(minion_opts, tmp_path, monkeypatch):
    """A master that orchestrates the pair ``salt``, and its minions: see ``answering``."""
    import answering
    import pair_of_minions

    pillar = {"pairs": {"salt": copy.deepcopy(pair_of_minions.PILLAR)}}
    opts = answering.opts_of_a_master(minion_opts, tmp_path, pillar)
    with answering.Master(opts, monkeypatch) as made:
        yield made
