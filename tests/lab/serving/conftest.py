"""
Here a site is set up for real, adopted and booted, as docs/install.md says: with the release before this one.

Then its masters get this release, and highstate brings it to the nodes (test_a_new_release.py). All tests
after that are about a pair that was upgraded.
"""

import pathlib
import re
import shutil
import tarfile

import fresh_lab
import lab_pair
import pytest

#: ``salt/`` of 26 Nov 2026 (commit 5ca6c1a), when the library lay in one folder.
BEFORE = pathlib.Path(__file__).parent / "release-before.tar.xz"


@pytest.fixture(scope="session")
def site(lab_name, tree, tmp_path_factory):
    """The site ``salt`` as it comes out of the image, with the release before and this one's pillar."""
    checkout = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE) as archive:
        archive.extractall(checkout)
    shutil.copytree(tree / "pillar", checkout / "pillar")
    for place in (checkout / "pillar/pairs").glob("*.sls"):
        # It knows a witness by its minion id alone.
        place.write_text(re.sub(r"\[{id: (\S+), host: \S+}\]", r"[\1]", place.read_text()))
    with fresh_lab.standing(lab_name, "salt", checkout=checkout) as lab:
        yield lab


@pytest.fixture(scope="session")
def pair(site):
    """The pair; in a lab that is new, salt1 serves it with the release before."""
    pair = lab_pair.Pair(site)
    if pair.ledger(pair.salt1) is None:
        pair.running()
    return pair
