"""Here a site is set up for real: adopted and booted, as docs/install.md says."""

import pytest


@pytest.fixture(scope="session")
def snapshot():
    """No snapshot: the hosts begin as they come out of the image."""
