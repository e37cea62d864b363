"""Helpers of the tests of a handover."""

import io
import json

import pytest
import samples
import two_nodes
from simulation import here

from failback.decisions import verdict
from failback.handover import giver
from failback.handover import takeover
from failback.handover import taker

GATEWAY = "10.0.0.5/24"


def kill():
    here.world.kill()


SALT2_AS_BEFORE = ("salt2", [(3, "salt1"), (4, "salt2")])
SALT2_AGAIN = ("salt2", [(3, "salt1"), (6, "salt2")])
SALT2_AFTER_SALT1 = ("salt2", [(5, "salt1"), (6, "salt2")])
SALT1 = ("salt1", [(5, "salt1"), (5, "salt1")])

MOMENTS = [
    pytest.param("before arm", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="before the way back is armed"),
    pytest.param("after arm", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after the way back is armed"),
    pytest.param("after quiesce", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after its services have stopped"),
    pytest.param("after look_closely", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="with the journals close"),
    pytest.param("after release", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="after the release"),
    pytest.param("in the final sync", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="in the final sync"),
    pytest.param("before commit", SALT2_AS_BEFORE, SALT2_AS_BEFORE, id="before the commit"),
    pytest.param("after commit", SALT2_AGAIN, SALT2_AGAIN, id="after the commit"),
    pytest.param("take", SALT2_AFTER_SALT1, SALT2_AFTER_SALT1, id="before the addresses are taken"),
    pytest.param("taken", SALT1, SALT2_AFTER_SALT1, id="when the addresses are taken"),
    pytest.param("after prove", SALT1, SALT2_AFTER_SALT1, id="after the proof"),
]


def die_at(world, monkeypatch, moment, die):
    """Arrange for the taker to die at a moment; returns its final sync."""
    if moment in ("take", "taken"):
        world.hooks[("salt1", moment)] = die
    when, _, what = moment.partition(" ")
    real = taker.PeerConnection.ask

    def ask(far, do, *rest, **request):
        if (when, what) == ("before", do):
            die()
        answer = real(far, do, *rest, **request)
        if (when, what) == ("after", do):
            die()
        return answer

    monkeypatch.setattr(taker.PeerConnection, "ask", ask)
    return (lambda limit: die()) if moment == "in the final sync" else (lambda limit: None)


WORK = "work.service"


def judged(world):
    """The verdict over both nodes as they are, the taker's minion having come back."""
    reports = []
    for node in ("salt1", "salt2"):
        with world.on(node):
            boot_id = two_nodes.system.boot_id()
        reports.append(
            {
                **samples.report(node, world.members[node].ledger.read()),
                "boot_id": boot_id,
                "addresses": [
                    {"address": one, "held": node in holders} for one, holders in world.holders.items()
                ],
            }
        )
    return verdict.judge(world.members["salt1"].config, *reports)


def serve(world, *requests, answers=None):
    """Let the giver answer some requests, then end its connection. Returns its answers."""
    answers = io.StringIO() if answers is None else answers
    lines = [
        one if isinstance(one, str) else json.dumps({"number": number, **one})
        for number, one in enumerate(requests)
    ]
    with world.on("salt2") as member:
        giver.serve(
            member,
            samples.RUN,
            io.StringIO("\n".join(lines)),
            answers,
        )
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def silent(world, node):
    """What a node's watch does when nobody answers."""
    with world.on(node) as member:
        return takeover.take_over(member, "silence")
