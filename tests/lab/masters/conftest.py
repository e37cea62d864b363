"""Here the tree comes from another place than before: highstate brings its modules, as it does at a site."""

import pytest


@pytest.fixture(scope="session")
def keeps_modules():
    return False
