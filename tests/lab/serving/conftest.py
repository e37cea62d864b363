"""
Here a site is set up for real, adopted and booted, as docs/install.md says: with the release before this one.

Then its masters get this release, and highstate brings it to the nodes (test_a_new_release.py). All tests
after that are about a pair that was upgraded.
"""

import lzma
import pathlib

import lab_pair
import pytest

#: ``salt/`` of 26 Nov 2026 (commit 5ca6c1a), when the library lay in one folder.
BEFORE = pathlib.Path(__file__).parent / "release-before.tar.xz"


@pytest.fixture(scope="session")
def snapshot():
    """No snapshot: the hosts begin as they come out of the image."""


@pytest.fixture(scope="session")
def pair(site):
    """The pair; in a lab that is new, salt1 serves it with the release before."""
    pair = lab_pair.Pair(site)
    if pair.ledger(pair.salt1) is None:
        for host in pair.nodes:
            host.run(["rm", "-rf", "/srv/salt/salt"])
            host.run(["tar", "-x", "-C", "/srv/salt"], input=lzma.decompress(BEFORE.read_bytes()))
        pair.running()
    return pair
