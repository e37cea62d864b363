"""A lab for a session of tests."""

import contextlib
import os

from lab.site import Site


@contextlib.contextmanager
def standing(name, site, pairs=None, limit=180, snapshot=None, checkout=None, keeps_modules=False):
    """
    A lab that is made anew, and gone at the end.

    ``FAILBACK_KEEP=1`` uses one of that name that is up already, and leaves it up for a look afterwards
    (``make shell LAB=test HOST=salt1``).

    name
        Its name; what is too long for one is cut off.

    site, pairs, limit, snapshot
        As for ``lab.site.Site`` and its ``up``.

    checkout
        Whose tree its masters have; this one's by default.

    keeps_modules
        As for ``lab.site.Site``: for tests that leave the tree as it is.
    """
    keep = os.environ.get("FAILBACK_KEEP")
    lab = Site(name[:16], site, pairs)
    lab.checkout = checkout or lab.checkout
    lab.is_for_tests = True
    lab.keeps_modules = keeps_modules
    if not keep:
        lab.down()
    try:
        yield lab.up(limit=limit, snapshot=None if lab.exists else snapshot)
    finally:
        if not keep:
            Site(lab.name).down()  # with the hosts that a test has added
