"""The whole cluster, booted once: every test goes on from where the one before has left it."""

import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import dalma  # noqa: E402
import fresh_lab  # noqa: E402

from lab import snapshots  # noqa: E402


@pytest.fixture(scope="session")
def site(lab_name):
    """
    The site ``dalma``, its masters started by hand.

    All nine pairs; ``FAILBACK_PAIRS='monitor mx'`` builds these only, and what needs others is skipped.
    """
    asked = (os.environ.get("FAILBACK_PAIRS") or "all").split()
    pairs = None if asked == ["all"] else asked
    # What makes the snapshot adopts the whole cluster for real, once for each content of the tree.
    begin_with = snapshots.ready("dalma", dalma.set_up) if pairs is None else None
    started = time.monotonic()
    with fresh_lab.standing(
        lab_name, "dalma", pairs, limit=snapshots.BOOTED_WITHIN, snapshot=begin_with, keeps_modules=True
    ) as lab:
        yield lab
        print(f"The lab was up for {time.monotonic() - started:.0f} s.")


@pytest.fixture(scope="session")
def cluster(site):
    """The cluster; all pairs are adopted, that of the masters serves, and nothing else runs yet."""
    return dalma.Cluster(site).prepared()


@pytest.fixture(scope="session")
def booted(cluster):
    """The cluster after its first ``orch.boot pair: all``."""
    if cluster.status()["status"]:
        cluster.first_boot()
    return cluster
