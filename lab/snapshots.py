"""
A site in a state that takes minutes to reach, kept as disks: a lab that starts from them is there in seconds.

    folder = snapshots.ready("salt", prepare)
    Site("mine", "salt").up(snapshot=folder)

Its hosts boot as after an orderly shutdown of all of them: nothing that ran then runs now.
"""

import hashlib
import inspect
import os
import pathlib

from lab import cache
from lab import image
from lab import sites
from lab.host import DISKS
from lab.host import STATE
from lab.roles import salt
from lab.site import Site

#: Seconds for the hosts of a site to boot, of the largest one beside other work.
BOOTED_WITHIN = 600


def ready(name, prepare, checkout=cache.CHECKOUT):
    """
    The folder of a snapshot; made first if it is not there. Never write to it.

    name
        The site (a name of ``lab.sites.SITES``).

    prepare
        Called with the lab when its masters run: brings it into the state. It, the image, the tree that is
        served and the lab's own code are what the snapshot is made from.

    checkout
        Whose tree is served; this one's by default.
    """
    what = f"snapshot-{name}"
    from_these = ingredients(name, prepare, checkout)
    return cache.made(what, from_these, lambda place: _make(place, name, prepare, checkout))


def ingredients(name, prepare, checkout=cache.CHECKOUT):
    """All that a snapshot is made from."""
    description = sites.SITES[name].chosen()
    return {
        "image": image.ingredients(description.image),
        "tree": _digest(checkout / each for each in salt.names(checkout)),
        "lab": _digest(_code()),
        "recipe": _digest([pathlib.Path(inspect.getsourcefile(prepare))]),
    }


def _make(place, name, prepare, checkout):
    place.mkdir(parents=True)
    lab = Site(_lab(), name)
    lab.checkout = checkout
    lab.is_for_tests = True
    _remove_abandoned()
    try:
        prepare(lab.up(limit=BOOTED_WITHIN))
        lab.give(place)
    finally:
        lab.down()
    _forget_others(place)


def _lab():
    # Two processes may make two of them at once.
    return f"snapshot-{os.getpid()}"


def _remove_abandoned():
    """The labs of processes that were killed while they made one, and one of this process's name."""
    for name in sorted({path.name for place in (STATE, DISKS) for path in place.glob("snapshot-*")}):
        number = name.rpartition("-")[2]
        if number == str(os.getpid()) or not os.path.exists(f"/proc/{number}"):
            Site(name).down()


def _code():
    """The files that make a lab's hosts."""
    here = pathlib.Path(__file__).parent
    others = {"__pycache__", "testing", "faults", "mutants"}
    return sorted(path for path in here.rglob("*") if path.is_file() and not others & set(path.parts))


def _digest(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _forget_others(place):
    """Every change of the tree makes another one: those that no lab has used for days only take room."""
    cache.forget(place.name.rpartition("-")[0], days=2)
