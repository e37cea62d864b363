"""
Here a pair was adopted by the release before this one, and serves with it.

Then its masters get this release, and highstate brings it to the nodes (test_a_new_release.py). All tests
after that are about a pair that was upgraded.
"""

import lab_pair
import pytest
import release_before


@pytest.fixture(scope="session")
def site(lab_name, tmp_path_factory):
    """The site ``salt`` with the release before, and this one's pillar."""
    with release_before.standing(lab_name, tmp_path_factory.mktemp("before")) as lab:
        yield lab


@pytest.fixture(scope="session")
def pair(site):
    """The pair; in a lab that is new, salt1 serves it with the release before."""
    pair = lab_pair.Pair(site)
    if not release_before.exists(pair.salt1, release_before.CURRENT):
        pair.running()
    return pair
