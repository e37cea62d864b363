"""
A reboot of either node, in each state of the pair: the other one goes on, and the way out works.

The way out is whatever `pair.status` names as the next command.
"""

import json
import shlex

import pytest
from lab_pair import STATE
from lab_pair import wait_highstate

from lab.host import until

pytestmark = pytest.mark.usefixtures("running")


def rebooted(pair, host, other, holders, highstate=True):
    """Reboot a host from inside, and wait for its highstate; the other one must not notice."""
    before = (other.boot_id(), pair.processes(other, "lsyncd"))
    host.reboot()
    if highstate:
        wait_highstate(host)
    assert pair.holders() == holders
    assert pair.processes(host, "lsyncd") == [], "a node that has booted carries nothing"
    assert (other.boot_id(), pair.processes(other, "lsyncd")) == before


def way_out(pair, master, verdict):
    """Do what the status says until the pair is normal; the verdict of each look, the first one as given."""
    seen = []
    for _ in range(3):
        status = pair.runner(master, "pair.status", "salt", check=False)["pairs"]["salt"]
        seen.append(status["verdict"])
        if status["verdict"] == "normal":
            break
        command = shlex.split(status["next"][status["next"].index("salt-run ") :])
        done = master.run(command, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    assert seen[0] == verdict and seen[-1] == "normal", seen
    return seen


def kept(pair, name):
    """What the one backup of a file on salt2 holds."""
    found = pair.salt2.run(["find", f"{STATE}/runs", "-path", "*/backup/*", "-name", name]).stdout
    return pair.salt2.read(found.strip())


def start_masters(pair):
    """As docs say after a power failure of both: no boot starts a master."""
    pair.site.start_masters(pair.nodes)
    for host in pair.nodes:
        pair.wait_idle(host, "salt1")
        pair.wait_idle(host, "salt2")


def test_the_standby_of_a_well_pair(pair):
    carried = "/srv/data/carried-before"
    pair.salt1.write(carried, "lsyncd has carried this\n")
    pair.drain()
    rebooted(pair, pair.salt2, pair.salt1, ["salt1"])
    # As after a loss of power: what rsync had written was in the cache of the kernel.
    pair.salt2.write(carried, "")
    pair.wait_idle(pair.salt1, "salt2")
    assert way_out(pair, pair.salt1, "standby_returned") == ["standby_returned", "normal"]
    assert pair.salt2.read(carried) == "lsyncd has carried this\n", "admitted with less than it once had"


def test_a_standby_that_was_installed_anew_is_saved_and_taken_in(pair):
    """Nothing of Failback is left on it, and nothing remembers what its data are."""
    alone = "/srv/data/on-salt2-alone"
    pair.salt2.write(alone, "nobody else has this\n")
    gone = [STATE, "/etc/failback", "/usr/local/lib/failback", "/usr/local/sbin/failback"]
    pair.salt2.run(["rm", "-rf", *gone, "/root/.ssh/authorized_keys"])
    pair.orchestrate(pair.salt1, "adopt", check=True)
    assert pair.holders() == ["salt1"]
    assert way_out(pair, pair.salt1, "standby_returned") == ["standby_returned", "normal"]
    assert pair.salt2.run(["test", "-e", alone], check=False).returncode != 0
    assert kept(pair, "on-salt2-alone") == "nobody else has this\n"


def test_both_one_after_the_other_and_a_node_of_the_cold_pair(pair):
    """salt2 was not admitted since it booted: it takes nothing over, and no boot starts the pair."""
    rebooted(pair, pair.salt2, pair.salt1, ["salt1"])
    for host, other in ((pair.salt1, pair.salt2), (pair.salt2, pair.salt1)):
        rebooted(pair, host, other, [], highstate=False)
    start_masters(pair)
    for host in pair.nodes:
        wait_highstate(host)
    # It had served beside salt1 before all that, and what it alone has was never saved.
    pair.salt2.write("/srv/data/in-the-cold", "nobody else has this\n")
    pair.salt2.write(f"{STATE}/ledger.json", json.dumps({**pair.ledger(pair.salt2), "unsaved": True}))
    assert way_out(pair, pair.salt1, "cold") == ["cold", "standby_returned", "normal"]
    assert pair.holders() == ["salt1"]
    assert kept(pair, "in-the-cold") == "nobody else has this\n"


def test_the_active_primary_and_then_the_node_that_waits_to_come_home(pair):
    pair.salt1.reboot()
    until(lambda: pair.holders(0.3) == ["salt2"], 60, "salt2 to take over")
    pair.wait_idle(pair.salt2, "salt1")
    rebooted(pair, pair.salt1, pair.salt2, ["salt2"])


def test_the_active_secondary_while_the_primary_waits_to_come_home(pair):
    """salt1's data are older: better nobody serves than it."""
    assert pair.holders() == ["salt2"]
    # Neither node's boot starts a master, so there is nobody to ask for a highstate.
    rebooted(pair, pair.salt2, pair.salt1, [], highstate=False)
    start_masters(pair)
    wait_highstate(pair.salt2)
    assert way_out(pair, pair.salt2, "cold") == ["cold", "failed_over", "normal"]
    assert pair.holders() == ["salt1"]
