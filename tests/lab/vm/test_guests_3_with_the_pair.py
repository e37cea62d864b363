"""Guests and orchestrations of their pair: taken along when wanted, else left alone, never rebooted."""

import json


def orchestrate(guests, what, **pillar):
    words = ["salt-run", "--no-color", "state.orch", f"orch.{what}"]
    return guests.salt1.run(
        [*words, f"pillar={json.dumps({'pair': 'mgmt', **pillar})}"], check=False, timeout=900
    )


def test_there_and_back(guests):
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.virsh(guests.mgmt2, "start", "shared-repo")
    first = guests.wait_beats("idm")
    moved = orchestrate(guests, "failover", vms="move")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert (guests.runs_on("idm"), guests.runs_on("repo")) == (["mgmt2"], ["mgmt2"])
    assert guests.wait_beats("idm")[1] == first[1]

    # A guest on the node that a recovery reboots would be shut down with it.
    back = guests.vm(guests.salt1, vm="repo", host="mgmt1")
    assert back.returncode == 0, back.stdout
    refused = orchestrate(guests, "recover")
    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0 and "would reboot mgmt1, which runs repo" in said, refused.stdout
    assert "orch.vm pillar='{vm: all, away_from: mgmt1}'" in said
    away = guests.vm(guests.salt1, vm="all", away_from="mgmt1")
    assert away.returncode == 0, away.stdout

    home = orchestrate(guests, "recover", vms="move")
    assert home.returncode == 0, home.stdout + home.stderr
    assert (guests.runs_on("idm"), guests.runs_on("repo")) == (["mgmt1"], ["mgmt1"])
    assert guests.wait_beats("idm")[1] == first[1]


def test_left_alone(guests):
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    done = orchestrate(guests, "failover")
    assert done.returncode == 0, done.stdout + done.stderr
    assert guests.runs_on("idm") == ["mgmt1"]
    guests.virsh(guests.mgmt1, "destroy", "shared-idm")
    done = orchestrate(guests, "recover")
    assert done.returncode == 0, done.stdout + done.stderr
    assert guests.processes() == {}
