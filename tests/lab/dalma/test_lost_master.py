"""The active master loses power: every minion of the site finds the other one by itself."""

import json
import statistics

import pytest

#: On the master that takes over: test.ping again and again, to those that have not answered yet, and when
#: each answered first, in seconds since the epoch. `salt` itself would wait for the last of them. Whoever has
#: answered is not asked again: so many minions on one machine would be busier with questions than with coming
#: back. All hosts have the machine's clock.
ASK = """
import json, sys, threading, time
import salt.client, salt.config, salt.utils.event
wanted = set(sys.argv[1:])
opts = salt.config.client_config("/etc/salt/master")
client = salt.client.LocalClient(mopts=opts)
found = {}
def publish():
    while wanted - set(found):
        try:
            client.run_job(sorted(wanted - set(found)), "test.ping", tgt_type="list", timeout=1)
        except Exception:
            pass
        time.sleep(0.3)
with salt.utils.event.get_event("master", opts=opts, listen=True) as bus:
    threading.Thread(target=publish, daemon=True).start()
    print("asking", flush=True)
    end = time.time() + 180
    while wanted - set(found) and time.time() < end:
        event = bus.get_event(wait=1, tag="salt/job/", full=True)
        if event and "/ret/" in event["tag"] and event["data"].get("id") in wanted:
            found.setdefault(event["data"]["id"], time.time())
print(json.dumps(found), flush=True)
"""


@pytest.fixture(scope="module")
def moved(booted):
    """Seconds from salt2's taking salt-gw to the first answer of each minion there."""
    behind = sorted(set(booted.minions()) - {"salt1", "salt2", "client"})
    python = "/opt/saltstack/salt/bin/python"
    asking = booted.salt2.spawn([python, "-c", ASK, *behind])
    assert asking.stdout.readline() == b"asking\n"
    booted.crash("salt")
    booted.wait_holder("salt-gw", booted.salt2)
    said, errors = asking.communicate(timeout=300)
    found = json.loads(said)
    assert sorted(found) == behind, errors.decode(errors="replace")[-500:]
    taken = booted.taken("salt")
    seconds = {name: round(at - taken, 2) for name, at in found.items()}
    median = statistics.median(seconds.values())
    print(f"minions back after {sorted(seconds.values())} s, median {median:.1f} s")
    return seconds


def test_minions_come_back_by_themselves(moved):
    # Minutes with Salt's own settings; seconds on a machine that has time, and under heavy load up to twenty.
    assert statistics.median(moved.values()) < 30, moved


def test_the_pair_of_the_masters_comes_home_and_the_minions_follow(booted, moved):
    booted.come_back("salt")
    done = booted.orchestrate("recover", "all", master=booted.salt2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert booted.holders("salt-gw") == ["salt1"]
    booted.wait_minions(booted.salt1, booted.minions(), limit=60)
    assert set(booted.verdicts().values()) == {"normal"}
