"""
A few runs of the fault campaign (``make faults`` makes all of them), in a lab of their own.

Each ends with the pair as the next one wants it. What is checked is in lab/faults/checker.py.
"""

import os

import pytest

from lab.faults import checker
from lab.faults import rehearsal
from lab.faults import stage

#: The worst moments: nobody serves, the pair has just been given away, two at once, data out of sight.
RUNS = [
    ("recover", "rsync", "released"),
    ("recover", "salt_run", "committed"),
    ("recover", "second_recover", "state.apply:new"),
    ("failover", "unmounted", "pair.open_run:ret"),
]


@pytest.fixture(scope="module")
def faults(lab_name):
    """A lab with observers on its nodes, and volumes that can be filled up."""
    lab = stage.Lab(lab_name)
    try:
        yield lab.up()
    finally:
        if not os.environ.get("FAILBACK_KEEP"):
            lab.down()


@pytest.mark.parametrize("operation, fault, moment", RUNS, ids=["/".join(one) for one in RUNS])
def test_nothing_is_lost_and_running_it_again_is_the_repair(faults, operation, fault, moment):
    report = rehearsal.Rehearsal(faults, operation, fault, moment, seed=7).run()
    print(checker.shown(report))
    checker.saved(report, stage.folder())
    assert report["hit"], "the moment did not come"
    assert report["broken"] == []
