"""The active master loses power: every minion of the site finds the other one by itself."""

import json
import statistics
import time

import pytest
import watched

#: On the master that takes over: test.ping again and again, to those that have not answered yet, and when
#: each answered first, in seconds since the epoch. `salt` itself would wait for the last of them. Whoever has
#: answered is not asked again: so many minions on one machine would be busier with questions than with coming
#: back. All hosts have the machine's clock.
ASK = """
import json, os, sys, threading, time
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
# At once: the thread may stand in the middle of a question, and Python would wait for Salt's threads.
os._exit(0)
"""


@pytest.fixture(scope="module")
def nagios(booted):
    """Nagios watches the masters' pair, and hooks are there; None where the lab does without these pairs."""
    if not {"monitor", "mx"} <= set(booted.pairs):
        yield None
        return
    found = watched.Watched(booted)
    try:
        yield found.prepare()
    finally:
        found.remove()


#: Seconds after the loss in which a mail must have come, and in which a takeover must be over that no hook
#: delays. One of the hooks hangs for as long as it may, a minute.
MAILED_WITHIN, TAKEN_WITHIN = 30, 20


@pytest.fixture(scope="module")
def died(booted, nagios):
    """When salt1 lost power, in seconds since the epoch: a list, empty until then."""
    return []


@pytest.fixture(scope="module")
def moved(booted, nagios, died):
    """Seconds from salt2's taking salt-gw to the first answer of each minion there."""
    behind = sorted(set(booted.minions()) - {"salt1", "salt2", "client"})
    python = "/opt/saltstack/salt/bin/python"
    asking = booted.salt2.spawn([python, "-c", ASK, *behind])
    assert asking.stdout.readline() == b"asking\n"
    died.append(time.time())
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


def test_the_loss_of_a_master_is_told_once_by_nagios_and_once_by_a_hook(booted, nagios, moved, died):
    if nagios is None:
        pytest.skip("the lab does without monitor or mx")
    for subject in ("nagios PROBLEM salt1 CRITICAL", "hook takeover from salt2"):
        seconds = nagios.wait_mail(subject) - died[0]
        print(f"the mail {subject!r} came {seconds:.0f} s after the loss")
        assert seconds <= MAILED_WITHIN
        assert nagios.mails(subject) == [subject]
    assert "the secondary salt2 serves salt" in nagios.wait_state("salt2", 1)
    nagios.wait_state("salt1", 2)
    page = nagios.page("salt1")
    assert "statusBGCRITICAL" in page and "statusCRITICAL" in page
    # The hooks beside it hang, fail, flood and may not be run: the takeover was over before them, and so was
    # what follows it.
    begun = booted.says("salt", "salt2 takes the addresses of salt")
    taken, heard = booted.taken("salt"), booted.says("salt", "salt2 is heard as the active node of salt")
    print(f"with its hooks, the takeover took {taken - begun:.2f} s, {taken - died[0]:.1f} s after the loss")
    assert begun <= taken <= heard <= died[0] + TAKEN_WITHIN
    said = booted.salt2.run(["journalctl", "--no-pager", "-o", "cat", "-t", "failback"]).stdout
    assert "the hook fails for takeover: exit status 1" in said
    assert "the hook not-executable for takeover: not run: " in said


def test_the_pair_of_the_masters_comes_home_and_the_minions_follow(booted, moved):
    booted.come_back("salt")
    done = booted.orchestrate("recover", "all", master=booted.salt2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert booted.holders("salt-gw") == ["salt1"]
    booted.wait_minions(booted.salt1, booted.minions(), limit=60)
    assert set(booted.verdicts().values()) == {"normal"}


def test_that_the_pair_is_well_again_is_told_once(booted, nagios, moved):
    if nagios is None:
        pytest.skip("the lab does without monitor or mx")
    nagios.wait_mail("nagios RECOVERY salt1 OK")
    assert nagios.wait_state("salt2", 0).startswith("FAILBACK OK: salt2 stands by in salt")
    assert nagios.mails("nagios") == ["nagios PROBLEM salt1 CRITICAL", "nagios RECOVERY salt1 OK"]
    assert nagios.mails("hook takeover") == ["hook takeover from salt2"]
    assert len(nagios.mails("hook run-succeeded")) == 1
    told = booted.salt2.run(["journalctl", "--no-pager", "-o", "cat", "-t", "failback"]).stdout
    for name in ("hangs", "floods"):
        assert f"the hook {name} for takeover: Cannot run /etc/failback/hooks.d/{name}: no end within" in told


def test_a_run_has_a_page(booted, moved):
    runs = json.loads(booted.salt1.run(["salt-run", "--out=json", "pair.history", "salt"]).stdout)["runs"]
    recovery = next(one["run"] for one in reversed(runs) if one["operation"] == "recover")
    page = booted.salt1.run(["salt-run", "pair.report", recovery], timeout=120).stdout
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert "nobody, " in page and "Files on salt1" in page
    page = booted.salt1.run(["salt-run", "pair.report", "salt"], timeout=120).stdout
    assert "takeovers by the watch" in page
