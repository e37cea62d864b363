"""Both nodes are compared by checksum while salt1 serves: a flipped bit on salt2 is found and repaired."""

import json

import pytest
from lab_pair import ADDRESS

from lab import client

pytestmark = pytest.mark.usefixtures("running")

#: Flips a bit of a file, and sets back the time of its change.
FLIP = """
import os, sys
status = os.stat(sys.argv[1])
with open(sys.argv[1], "r+b") as handle:
    first = handle.read(1)
    handle.seek(0)
    handle.write(bytes([first[0] ^ 1]))
os.utime(sys.argv[1], ns=(status.st_atime_ns, status.st_mtime_ns))
"""
FILE = "/srv/data/many/file-21"


@pytest.fixture(scope="module")
def written(pair):
    """A client writes all the time: what is on its way must not be listed."""
    log = "/var/log/verified.jsonl"
    writing = client.start_writing(pair.client, ADDRESS, log=log, rate=20, prefix="verified")
    writing.wait_acknowledged(20, node="salt1")
    yield writing
    writing.stop()


def known(pair):
    return pair.runner(pair.salt1, "pair.status", "salt", check=False)["pairs"]["salt"]


def test_a_flipped_bit_is_found_and_nothing_is_changed_by_that(pair, written):
    right = pair.salt1.read(FILE)
    pair.salt2.run(["python3", "-", FILE], input=FLIP)
    pair.salt2.write("/srv/data/many/by-hand", "salt2 alone has it\n")
    before = pair.fingerprint(pair.salt2, "/srv/data/hard")
    done = pair.orchestrate(pair.salt1, "verify")
    said = " ".join(done.stdout.split())
    assert done.returncode != 0, said
    assert f"{FILE} differs" in said and "/srv/data/many/by-hand is there alone" in said, said
    assert "repair: true" in said
    assert pair.salt2.read(FILE) != right, "it only looks"
    assert pair.fingerprint(pair.salt2, "/srv/data/hard") == before
    shown = known(pair)
    named = {one["path"] for one in shown["verified"]["differences"]}
    assert named == {FILE, "/srv/data/many/by-hand"}
    assert shown["verdict"] == "normal" and not shown["ready"] and "orch.verify" in " ".join(shown["drift"])
    for host in pair.nodes:
        kept = json.loads(host.read("/var/lib/failback/salt/verified.json"))
        assert kept["differing"] == len(named) and kept["by"] == "salt1"
    refused = pair.orchestrate(pair.salt1, "failover")
    assert refused.returncode != 0 and "Refused, nothing was changed" in refused.stdout, refused.stdout


def test_what_was_found_is_repaired_by_name_and_the_pair_is_ready_again(pair, written):
    done = pair.orchestrate(pair.salt1, "verify", repair=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.salt2.read(FILE) == pair.salt1.read(FILE)
    assert pair.salt2.run(["ls", "/srv/data/many/by-hand"], check=False).returncode != 0
    shown = known(pair)
    assert shown["verified"]["differing"] == 0 and shown["verified"]["repaired"] >= 2
    assert not [one for one in shown["drift"] if "orch.verify" in one], shown["drift"]
    checked = pair.salt2.run(["/usr/local/sbin/failback", "metrics"]).stdout
    assert "failback_verify_age_seconds{" in checked
