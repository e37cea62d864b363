"""Random trees: recover, undo, undo of the undo, and each byte, attribute and link is as it was."""

import os
import pathlib
import shutil
import stat
import tempfile

import hypothesis
import pytest
import random_trees
import trees

import effort
from failback.recovery import pull
from failback.recovery import restore

ALL = pull.Limits(max_delete=100_000, max_change_percent=100)
#: Why an undo leaves something: root's rights, or set-id bits, for content that its present owner gave it.
FORGED = "its owner could have changed it, and it would get rights of another's"


@hypothesis.settings(max_examples=effort.examples(24, thorough=100))
@hypothesis.given(random_trees.STEPS)
@pytest.mark.needs("attributes")
def test_recover_undo_and_undo_of_the_undo_are_exact(steps):
    both, only_here, only_there = steps
    with tempfile.TemporaryDirectory(prefix="trees-") as folder:
        there_and_back(pathlib.Path(folder), [*both, *only_here], [*both, *only_there])


def there_and_back(folder, here_steps, there_steps):
    nodes = trees.Nodes(folder)
    item, runs = nodes.item("/srv/salt"), folder / "runs"
    here = nodes.here / "srv/salt"
    random_trees.build(here, here_steps)
    random_trees.build(nodes.there / "srv/salt", there_steps)
    trees.make(nodes.there / "srv/salt", {"there": "1"})  # an empty source is refused
    before = trees.fingerprint(here)
    pull.Pull([item], nodes.peer([item]), runs / "one", ALL).sync()
    synced = trees.fingerprint(here)
    first = restore.restore(runs / "one", runs / "two", root=str(nodes.here))
    left = left_of(first, before, synced)
    undone = trees.fingerprint(here)
    assert same(before, trees.without(undone, first["created_names"]), left) == {}
    # What the run has created is left alone, unless it is one file with something that is put back.
    tied = {name for group in undone[b"hard links"] if set(group) & set(before) for name in group}
    created = {name: one for name, one in undone.items() if name not in before and name not in tied}
    assert same(created, {name: synced.get(name) for name in created}, left) == {}
    second = restore.restore(runs / "two", runs / "three", root=str(nodes.here))
    left |= left_of(second, synced, undone)
    assert same(synced, trees.fingerprint(here), left) == {}
    # And back again: an undo of an undo is a run like any other.
    restore.restore(runs / "three", runs / "four", root=str(nodes.here))
    assert same(undone, trees.fingerprint(here), left) == {}
    assert shared(runs) == []
    shutil.rmtree(folder / "runs")


def left_of(done, *fingerprints):
    """Names that an undo left for the one reason that there is here, and all that are one file with them."""
    assert set(done["left_because"]) <= {FORGED}
    names = {trees.inside(name) for name in done["left_names"]}
    for found in fingerprints:
        for group in found[b"hard links"]:
            if names & set(group):
                names.update(group)
    return names


def same(one, other, left):
    """What differs beyond what was left."""
    found = trees.differences(one, other)
    return {name: each for name, each in found.items() if name not in left}


def shared(folder):
    """Names in backups that are one file with something outside of their backup."""
    names = {}
    for kept in folder.glob("*/backup/*/*"):
        for above, folders, files in os.walk(os.fsencode(kept)):
            for name in (*folders, *files):
                status = os.lstat(os.path.join(above, name))
                if not stat.S_ISDIR(status.st_mode):
                    key = (kept, status.st_dev, status.st_ino, status.st_nlink)
                    names.setdefault(key, []).append(os.path.join(above, name))
    return [paths for (*_, links), paths in names.items() if links != len(paths)]
