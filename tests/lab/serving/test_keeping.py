"""What a node keeps by itself, without a watch on it: its address. And a shell that spoils answers."""

import json

import pytest
from lab_pair import ADDRESS

from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

#: The keeper of salt1, on which the pillar wants no watch; cron would start it within a minute.
KEEP = ["/usr/local/sbin/failback", "keep", "salt"]

NOISE = "echo 'Welcome to this node'\n"


def kept(host):
    """What the keeper has seen a host have."""
    done = host.run(["cat", "/run/failback/salt/kept.json"], check=False)
    return json.loads(done.stdout or "{}").get("addresses")


def test_an_address_that_goes_from_the_active_node_is_put_back_and_nothing_changes_hands(pair):
    for host in pair.nodes:
        host.run(KEEP)
        assert host.read("/etc/cron.d/failback-keep-salt").count("failback keep salt") == 2
    until(lambda: kept(pair.salt1) == [ADDRESS], 15, "the keeper to have seen the address")
    before = [pair.ledger(host) for host in pair.nodes]
    pair.salt1.run(["ip", "address", "del", f"{ADDRESS}/24", "dev", "eth0"])
    until(lambda: pair.bears(pair.salt1), 5, "salt1 to have its address again")
    assert pair.holders() == ["salt1"]
    assert [pair.ledger(host) for host in pair.nodes] == before
    assert "salt1 has put salt-gw back" in pair.journal(pair.salt1, "-t", "failback", "-n", "20")


def test_what_lsyncd_brings_is_written_to_the_standby_s_disk(pair):
    def synced():
        done = pair.salt2.run(["cat", "/run/failback/salt/synced.json"], check=False)
        return done.stdout

    before = synced()
    pair.salt1.write("/srv/data/on-disk", "soon\n")
    pair.drain()
    until(lambda: synced() not in ("", before), 20, "the keeper of salt2 to have written it to the disk")


def test_a_shell_that_prints_something_is_read_past_and_named(pair):
    text = pair.salt2.run(["cat", "/root/.bashrc"], check=False).stdout
    pair.salt2.write("/root/.bashrc", NOISE + text)
    try:
        report = (
            "from failback.pair import Member\n"
            "from failback.peer import ssh\n"
            "print(ssh.ask(Member.load('salt'), 'report').splitlines()[0])\n"
            "print(ssh.report(Member.load('salt'))['node'])\n"
        )
        # Without the first line this would prove nothing: it is there, and the answer is found behind it.
        assert pair.python(pair.salt1, report).splitlines() == ["Welcome to this node", "salt2"]
        done = pair.salt2.run(
            ["salt-call", "--out=json", "state.apply", "pair.access"], check=False, timeout=300
        )
    finally:
        pair.salt2.write("/root/.bashrc", text)
    (wrong,) = [one for one in json.loads(done.stdout)["local"].values() if not one["result"]]
    assert "'Welcome to this node'" in wrong["comment"] and "/root/.bashrc" in wrong["comment"]
