"""A lease on real hosts: whatever stands still, is cut off or is gone, one node serves, or none."""

import json
import time

import lab_pair
import pytest
import said

from lab.host import until

TTL = 6
PATIENCE = 2
#: In which the lease moves when its holder says nothing: what it lasts, the silence, a look each, and a busy
#: machine.
MOVES_WITHIN = TTL + PATIENCE + 4
MEMBERS = ("salt1", "salt2", "client")


class Leased:
    """The pair with a lease, and the three members of etcd on its hosts."""

    def __init__(self, pair):
        self.pair, self.site = pair, pair.site

    def set_up(self):
        members = [{"id": name, "host": self.site.host(name).address()} for name in MEMBERS]
        self.change_pillar(f"    lease: {json.dumps({'members': members, 'ttl': TTL})}\n")
        self.pair.orchestrate(self.pair.salt1, "lease", check=True)
        self.serving("salt1")

    def change_pillar(self, line):
        for host in self.pair.nodes:
            lines = [one for one in host.read(lab_pair.PILLAR).splitlines(True) if "    lease:" not in one]
            text = "".join(lines).replace("    mode: manual\n", f"    mode: manual\n{line}", 1)
            host.write(lab_pair.PILLAR, text)

    def turn_off(self):
        self.change_pillar("")
        found = self.pair.highstate(self.pair.salt1)
        assert all(result is not False for one in found.values() for _, result, _ in one), found

    def serving(self, name, limit=20):
        what = f"{name} to serve by the lease"
        until(lambda: self.says(self.site.host(name)).get("serves_for", 0) > 0, limit, what)

    def says(self, host):
        """What a node's report says of the lease."""
        done = host.run(["/usr/local/sbin/failback", "report", "salt"], check=False)
        return json.loads(done.stdout)["lease"] or {} if done.returncode == 0 else {}

    def life(self, host):
        """Seconds for which a host's kernel keeps the address, None if it does not have it."""
        return host.lifetimes().get(lab_pair.ADDRESS)

    def holders_until(self, fact, limit, what):
        """Wait for a fact; meanwhile the kernels are asked all the time: never do two have the address."""
        begun, seen = time.monotonic(), []

        def looked():
            having = [host.name for host in self.pair.nodes if self.life(host) is not None]
            assert len(having) < 2, (
                f"{having} have the address {time.monotonic() - begun:.1f} s after the fault"
            )
            if not seen or seen[-1][1] != having:
                seen.append((round(time.monotonic() - begun, 1), having))
            return fact(having)

        until(looked, limit, what, pause=0.05)
        print(what, seen)
        return seen


@pytest.fixture(scope="module")
def leased(pair):
    pair.running()
    found = Leased(pair)
    found.set_up()
    yield found
    found.turn_off()


def test_the_address_has_an_end_in_the_kernel_and_is_renewed(leased, pair):
    assert leased.life(pair.salt1) <= TTL
    assert leased.says(pair.salt1)["source"] == "lease"
    standby = leased.says(pair.salt2)
    assert (standby["holder"], standby["serves_for"], standby["source"]) == ("salt1", 0, None)
    end = time.monotonic() + TTL + 1
    while time.monotonic() < end:
        assert 0 < leased.life(pair.salt1) <= TTL
        time.sleep(0.1)


def test_no_key_of_etcd_s_is_in_logs_records_reports_or_the_job_cache(leased, pair):
    """Each was made on its host; that of the authority lies with the master's other keys."""
    for host in pair.nodes:
        places = ["/etc/etcd", "/etc/failback/lease", "/etc/salt/pki/master/failback-lease"]
        keys = host.run(["find", *places, "-name", "*.key"], check=False).stdout.split()
        assert len(keys) > 1, keys
        modes = host.run(["stat", "-c", "%a", *keys]).stdout.split()
        assert [mode for mode in modes if mode[-1] != "0"] == []
        secrets = [said.key_line(host, key) for key in keys]
        for other in pair.nodes:
            assert said.found(other, secrets) == []


def test_a_partial_partition_gives_one_holder(leased, pair):
    generation = pair.ledger(pair.salt1)["generation"]
    for host in pair.nodes:
        host.keep_apart()
    try:
        end = time.monotonic() + MOVES_WITHIN
        while time.monotonic() < end:
            having = [host.name for host in pair.nodes if leased.life(host) is not None]
            assert having == ["salt1"]
            time.sleep(0.1)
        assert pair.ledger(pair.salt2)["generation"] == generation
    finally:
        for host in pair.nodes:
            host.keep_apart(False)
    assert pair.holders() == ["salt1"]


def test_etcd_gone_the_active_node_serves_on_and_nobody_takes_over(leased, pair):
    generation = pair.ledger(pair.salt1)["generation"]
    try:
        # Two of three: a minority is left.
        for name in ("salt1", "client"):
            leased.site.host(name).run(["systemctl", "stop", "etcd"])
        until(lambda: leased.says(pair.salt1)["source"] == "promise", TTL, "salt2's promise")
        end = time.monotonic() + TTL + 2
        while time.monotonic() < end:
            assert leased.life(pair.salt1) is not None
            assert leased.life(pair.salt2) is None
            time.sleep(0.1)
        assert leased.says(pair.salt2)["promised_for"] > 0

        # And without the other node: nothing proves that it does not serve.
        pair.salt1.cut("eth0", silent=True)
        leased.holders_until(lambda having: not having, TTL + 2, "salt1 to release the address")
        end = time.monotonic() + PATIENCE + 3
        while time.monotonic() < end:
            assert leased.life(pair.salt2) is None
            time.sleep(0.1)
    finally:
        pair.salt1.mend("eth0")
        for name in ("salt1", "client"):
            leased.site.host(name).run(["systemctl", "start", "--no-block", "etcd"])
    # With etcd back it serves again by itself: nobody else has, in between.
    leased.holders_until(lambda having: having == ["salt1"], 30, "salt1 to serve again")
    assert pair.ledger(pair.salt1)["generation"] == generation
    until(lambda: leased.says(pair.salt1)["source"] == "lease", 20, "the lease again")


def test_a_frozen_node_loses_the_address_and_does_not_come_back_with_it(leased, pair):
    generation = pair.ledger(pair.salt1)["generation"]
    with pair.salt1.freeze():
        leased.holders_until(
            lambda having: having == ["salt2"], MOVES_WITHIN, "salt2 to take over from frozen salt1"
        )
    leased.holders_until(
        lambda having: pair.ledger(pair.salt1)["generation"] == generation + 1, 15, "salt1 to step down"
    )
    assert pair.holders() == ["salt2"]
    assert pair.ledger(pair.salt1)["active"] == "salt2"
    until(lambda: pair.processes(pair.salt1, "lsyncd") == [], 10, "lsyncd to stop on salt1")


def test_a_recovery_brings_the_lease_home(leased, pair):
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    said = leased.says(pair.salt1)
    assert (said["source"], said["holder"]) == ("lease", "salt1")
    assert said["generation"] == pair.ledger(pair.salt1)["generation"]
    assert 0 < leased.life(pair.salt1) <= TTL


def test_without_a_lease_in_the_pillar_the_address_stays(leased, pair):
    leased.turn_off()
    assert leased.life(pair.salt1) == 0xFFFFFFFF
    assert not pair.active(pair.salt1, "failback-lease@salt.service")
