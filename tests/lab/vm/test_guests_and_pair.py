"""Guests and orchestrations of their pair: taken along when wanted, else left alone, never rebooted."""

import json
import time

from lab.host import until

#: The pair's floating address.
ADDRESS = "10.0.0.1"


def orchestrate(guests, what, **pillar):
    words = ["salt-run", "--no-color", "state.orch", f"orch.{what}"]
    return guests.salt1.run(
        [*words, f"pillar={json.dumps({'pair': 'mgmt', **pillar})}"], check=False, timeout=900
    )


def holders(guests):
    return [host.name for host in guests.hosts if ADDRESS in host.lifetimes()]


def test_the_host_that_serves_dies_and_comes_home(guests):
    """No guest is started by it; what was changed meanwhile comes home."""
    guests.serving()
    begun = time.monotonic()
    guests.mgmt1.power_off()
    until(lambda: holders(guests) == ["mgmt2"], 20, "mgmt2 to take the address")
    print(f"mgmt2 had the address after {time.monotonic() - begun:.1f} s")
    memory = guests.give_memory(guests.mgmt2, "syslog")
    guests.mgmt1.power_on()
    guests.wait_answers()
    home = orchestrate(guests, "recover")
    assert home.returncode == 0, home.stdout + home.stderr
    assert holders(guests) == ["mgmt1"]
    guests.wait_memory(guests.mgmt1, "syslog", memory)
    assert guests.runs_on("idm") == []
    assert guests.status()["verdict"] == "normal"


def test_there_and_back(guests):
    guests.serving()
    guests.virsh(guests.mgmt1, "start", "shared-idm")
    guests.virsh(guests.mgmt2, "start", "shared-repo")
    first = guests.wait_beats("idm")
    left = orchestrate(guests, "failover")
    assert left.returncode == 0, left.stdout + left.stderr
    assert (guests.runs_on("idm"), guests.runs_on("repo")) == (["mgmt1"], ["mgmt2"])

    # What an operator changes while mgmt2 serves comes home with the recovery.
    memory = guests.give_memory(guests.mgmt2, "syslog")

    # A guest on the node that a recovery reboots would be shut down with it.
    refused = orchestrate(guests, "recover")
    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0 and "would reboot mgmt1, which runs idm" in said, refused.stdout
    assert "orch.vm pillar='{vm: all, away_from: mgmt1}'" in said
    away = guests.vm(guests.salt1, vm="all", away_from="mgmt1")
    assert away.returncode == 0, away.stdout

    home = orchestrate(guests, "recover", vms="move")
    assert home.returncode == 0, home.stdout + home.stderr
    assert (guests.runs_on("idm"), guests.runs_on("repo")) == (["mgmt1"], ["mgmt1"])
    guests.wait_memory(guests.mgmt1, "syslog", memory)
    assert not guests.status()["guests_wrong"]

    moved = orchestrate(guests, "failover", vms="move")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert (guests.runs_on("idm"), guests.runs_on("repo")) == (["mgmt2"], ["mgmt2"])
    assert guests.wait_beats("idm")[1] == first[1], "it has booted again: it was not migrated all the way"
