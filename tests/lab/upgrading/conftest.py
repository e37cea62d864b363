"""Here a pair of the release before this one has failed over, and gets this release as it is then."""

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
    """With the release before, salt1 has died and come back, and salt2 serves a client that writes."""
    return lab_pair.Pair(site).failed_over()
