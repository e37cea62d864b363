"""The flip without Salt: when it happens, when it must not, and what becomes of a second holder."""

import json
import time

import pytest
from lab_pair import ADDRESS

from lab import client
from lab import load
from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

#: Seconds that are many times the watch's patience (2 s).
LONG = 6


def stays(pair, host, seconds=LONG):
    """For so many seconds a host does not bear the address."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not pair.bears(host), f"{host.name} took the address"
        time.sleep(0.2)


def test_salt2_with_its_own_cable_pulled_takes_nothing(pair):
    pair.salt2.cut("eth0")
    try:
        stays(pair, pair.salt2)
    finally:
        pair.salt2.mend("eth0")
    # Plugged in again it does not take in haste what it has not been able to hear.
    stays(pair, pair.salt2, 3)
    assert pair.holders() == ["salt1"]


def test_salt2_cut_off_behind_its_switch_takes_nothing_from_the_clients_of_salt1(pair):
    """The host still sees a link, and hears nobody, exactly as if salt1 had died."""
    generations = [pair.ledger(host)["generation"] for host in pair.nodes]
    writing = client.start_writing(pair.client, ADDRESS, rate=20)
    try:
        writing.wait_acknowledged(10, node="salt1")
        pair.salt2.cut("eth0", silent=True)
        try:
            until(lambda: "cut off" in watch_says(pair), 10, "salt2 to see that it is the one")
            stays(pair, pair.salt2)
        finally:
            pair.salt2.mend("eth0")
        until(lambda: "stands by" in watch_says(pair), 10, "salt2 to hear salt1 again")
        writing.wait_acknowledged(10, node="salt1")
    finally:
        entries = writing.stop()
    assert {one["node"] for one in entries if one["answered"] and not one.get("refused")} == {"salt1"}
    assert [pair.ledger(host)["generation"] for host in pair.nodes] == generations
    assert pair.holders() == ["salt1"] and [pair.bears(host) for host in pair.nodes] == [True, False]
    # Nothing is rolled back: what was acknowledged is in the service, and on the standby again.
    assert load.compare(entries, client.files(pair.salt1)) == []
    pair.drain()
    assert load.compare(entries, client.files(pair.salt2)) == []


#: A takeover up to the moment before it takes the address: SIGKILL comes there.
CLAIM = """
from failback.handover import claims
from failback.pair import Member

member = Member.load("salt")
with member.ledger.changing_hands():
    claims.begin(member, claims.next_generation(member, member.ledger.read()), "a test", None)
"""


def test_a_claim_that_ended_between_its_ledger_and_the_address_is_renounced(pair):
    """Else salt1's lsyncd is refused for ever, and when salt1 dies salt2 serves with old data."""
    before = pair.ledger(pair.salt1)
    lsyncd = pair.active(pair.salt1, "lsyncd")
    pair.python(pair.salt2, CLAIM)
    pair.salt1.write("/srv/data/many/meanwhile", "refused, and carried later\n")

    def settled():
        own = pair.ledger(pair.salt2)
        return own["active"] == "salt1" and own["boot_id"] == pair.salt2.boot_id()

    until(settled, 90, "salt2 to stand by again")
    now = [pair.ledger(host) for host in pair.nodes]
    assert [(one["generation"], one["active"]) for one in now] == [(before["generation"] + 2, "salt1")] * 2
    assert (now[0]["since"], now[0]["run"]) == (before["since"], before["run"])
    assert pair.holders() == ["salt1"] and not pair.bears(pair.salt2)
    assert lsyncd and pair.active(pair.salt1, "lsyncd")
    assert pair.salt2.read("/srv/data/many/meanwhile") == "refused, and carried later\n"


def watch_says(pair):
    """What the watch on salt2 sees now."""
    found = json.loads(pair.salt2.read("/run/failback/watch-gateway-ip.json"))
    return found["pairs"]["salt"]["sentence"]


def test_a_pause_prevents_a_flip_until_it_expires_and_a_second_holder_steps_down(pair):
    generation = pair.ledger(pair.salt1)["generation"]
    said = pair.runner(pair.salt1, "pair.pause", "salt", "0.25", "reason=a test")
    assert said["status"] == 0
    until(lambda: "hold.json" in pair.left(pair.salt2), 5, "the pause on salt2")
    # By what salt2 has written down, not by when the command came back: that is later.
    (hold,) = json.loads(pair.salt2.read("/var/lib/failback/salt/hold.json"))["holds"]
    expires = time.monotonic() + hold["until"] - time.time()
    assert 0 < expires - time.monotonic() <= 0.25 * 60
    pair.salt1.cut("eth0", silent=True)
    assert pair.holders() == []
    stays(pair, pair.salt2, expires - time.monotonic() - 2.5)
    until(lambda: pair.holders(0.3) == ["salt2"], 15, "salt2 to take over after the pause", pause=0)
    assert time.monotonic() > expires - 2
    # Cut off, salt1 knows nothing of it: both have the address, and lsyncd would still write.
    assert [pair.bears(host) for host in pair.nodes] == [True, True]
    assert pair.ledger(pair.salt2)["generation"] == generation + 1
    pair.salt2.write("/srv/data/many/newer", "written on salt2\n")
    pair.salt1.write("/srv/data/many/older", "written on salt1, cut off\n")
    # Clients have been with it: it is not the one that was cut off.
    until(lambda: pair.ledger(pair.salt2)["heard"], 10, "salt2 to know that somebody hears it")

    pair.salt1.mend("eth0")
    for host in pair.nodes:
        host.keep_apart()
    nobody_believes_that_a_node_is_off_that_a_witness_sees(pair)
    for host in pair.nodes:
        host.keep_apart(False)
    mended = time.monotonic()
    until(lambda: not pair.bears(pair.salt1), 20, "salt1 to step down")
    print(f"salt1 stepped down {time.monotonic() - mended:.1f} s after the partition was mended")
    until(lambda: pair.processes(pair.salt1, "lsyncd") == [], 10, "lsyncd to stop on salt1")
    assert pair.holders() == ["salt2"]
    assert pair.bears(pair.salt2)
    assert pair.ledger(pair.salt1)["active"] == "salt2"
    # Neither has overwritten the other meanwhile.
    assert pair.salt2.read("/srv/data/many/newer") == "written on salt2\n"
    assert pair.salt1.read("/srv/data/many/older") == "written on salt1, cut off\n"
    assert pair.salt2.run(["ls", "/srv/data/many/older"], check=False).returncode != 0


def nobody_believes_that_a_node_is_off_that_a_witness_sees(pair):
    """The nodes do not hear each other, the client hears both: two holders, and a person who looks at it."""
    until(lambda: sorted(pair.holders()) == ["salt1", "salt2"], 10, "the client to hear both")
    answer = pair.runner(pair.salt2, "pair.status", "salt", check=False)
    assert answer["status"] != 0
    found = answer["pairs"]["salt"]
    said = json.dumps([found["next"], found["commands"], found["seen_by_witnesses"]])
    assert found["verdict"] == "primary_down" and "fenced" not in said
    assert "client sees 2 hosts answer for 10.0.0.5/24" in said and "salt1 is not off" in said
    done = pair.orchestrate(pair.salt2, "failover", fenced="salt1", reason="a test: it is not off at all")
    assert done.returncode != 0
    assert "Refused, nothing was changed" in done.stdout and "client sees 2 hosts" in done.stdout
    assert [pair.bears(host) for host in pair.nodes] == [True, True]
