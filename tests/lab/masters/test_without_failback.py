"""The last thing that happens to a pair: two ordinary machines are left, and an honest list."""

import json

import pytest

from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

RETIRE = ["salt-run", "--no-color", "state.orch", "orch.retire", "pillar={pair: salt}"]


@pytest.fixture(scope="module")
def retired(pair):
    """What the orchestration said, and what the list said a second time."""
    pair.salt1.write("/srv/salt/last", "carried for the last time\n")
    said = pair.salt1.run(RETIRE, check=False, timeout=300)
    again = pair.salt1.run(RETIRE, check=False, timeout=300)
    return said, again


def test_it_succeeds_and_says_what_is_left(pair, retired):
    for done in retired:
        assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "salt1 and salt2 are no pair any more",
        "salt1 served last and has the newest data.",
        "salt1 has 10.0.0.5/24 on eth0 until it reboots.",
        "ip address del 10.0.0.5/24 dev eth0",
        "salt-master runs on salt1 and does not start at boot.",
        "systemctl enable salt-master",
        "salt-master runs on salt2 and does not start at boot.",
        "rm -r /var/lib/failback/salt",
        "remove the line of salt in pillar/top.sls",
    ):
        assert words in retired[0].stdout, retired[0].stdout
    # The second run finds two machines that know no pair; who served last is no longer known.
    assert "salt1 has 10.0.0.5/24 on eth0 until it reboots." in retired[1].stdout
    assert "salt2 has 10.0.0.5" not in retired[0].stdout + retired[1].stdout


def test_the_service_stays_and_nothing_of_a_pair_runs(pair, retired):
    assert pair.holders() == ["salt1"]
    assert pair.salt2.read("/srv/salt/last") == "carried for the last time\n"
    for host in pair.nodes:
        assert pair.active(host, "salt-master")
        until(
            lambda host=host: not host.run(["pgrep", "-f", "sbin/failback"], check=False).stdout,
            15,
            f"watch and keeper of {host.name} to have ended",
        )
        assert not pair.active(host, "lsyncd")
        assert host.run(["grep", "-rl", "failback", "/etc/cron.d"], check=False).stdout == ""
        assert host.run(["ls", "/etc/failback/pairs"]).stdout == ""
        assert "command=" not in host.read("/root/.ssh/authorized_keys")


def test_the_dead_node_of_a_retired_pair_is_nobodys_to_replace(pair, retired):
    """The watch would have taken over within seconds."""
    pair.salt1.run(["ip", "address", "del", "10.0.0.5/24", "dev", "eth0"])
    ledger = json.dumps(pair.ledger(pair.salt2))
    assert pair.holders(seconds=5) == []
    assert json.dumps(pair.ledger(pair.salt2)) == ledger
    pair.salt1.run(["ip", "address", "add", "10.0.0.5/24", "dev", "eth0"])
