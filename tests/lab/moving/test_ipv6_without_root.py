"""
The two nodes reach each other by IPv6 alone, and the address that moves is one of IPv6.

Root may not log in over SSH on either: they come as another account, which is made for that.
"""

import lab_pair
import pytest

from lab.host import until

FIXED = {"10.0.0.11": "fd00:0:0:1::11", "10.0.0.12": "FD00:0:0:1:0::12", "10.0.0.100": "fd00:0:0:1::100"}
FLOATING = "fd00:0:0:1::5"
ENTRY = f"""\
      salt-gw6:
        address: {FLOATING}/64
        interface: eth0
        watch: {{on: secondary, cron: gateway-ip}}
    replicate:
"""
#: Nothing of the pair may go by IPv4 unseen: SSH to either node does not get through.
DEAF = (
    "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; };"
    " add rule ip deaf in tcp dport 22 drop"
)

NO_ROOT = "/etc/ssh/sshd_config.d/no-root.conf"
KEYS = "/home/failback/.ssh/authorized_keys"


def root_may_log_in(pair, may):
    for host in pair.nodes:
        if may:
            host.run(["rm", "-f", NO_ROOT])
        else:
            host.write(NO_ROOT, "PermitRootLogin no\n")
        host.run(["systemctl", "restart", "ssh"])


def place(pair):
    """The nodes that have the IPv6 address."""
    return [
        host.name for host in pair.nodes if FLOATING in host.run(["ip", "-6", "addr", "show", "eth0"]).stdout
    ]


def applied(pair):
    found = pair.highstate(pair.salt1)
    assert all(result is not False for states in found.values() for _, result, _ in states), found


@pytest.fixture(scope="module")
def six(running, pair):
    before = {host: host.read(lab_pair.PILLAR) for host in pair.nodes}
    for host, text in before.items():
        for four, instead in FIXED.items():
            account = "" if four.endswith(".100") else ", ssh_user: failback"
            text = text.replace(f"host: {four}}}", f"host: '{instead}'{account}}}")
        text = text.replace("    replicate:\n", ENTRY, 1)
        host.write(
            lab_pair.PILLAR, text.replace("    recovery:\n", "    recovery:\n      reboot: false\n", 1)
        )
    try:
        applied(pair)
        root_may_log_in(pair, False)
        for host in pair.nodes:
            host.run(["nft", DEAF])
        yield pair
    finally:
        root_may_log_in(pair, True)
        for host in pair.nodes:
            host.run(["nft", "delete", "table", "ip", "deaf"], check=False)
        for host, text in before.items():
            host.write(lab_pair.PILLAR, text)
            host.run(["ip", "-6", "addr", "del", f"{FLOATING}/64", "dev", "eth0"], check=False)
        applied(pair)


def test_it_moves_comes_home_and_lsyncd_carries_on(six):
    """The failover takes the new address along, which nobody had yet; lsyncd starts with its new target."""
    done = six.orchestrate(six.salt1, "failover", max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert place(six) == ["salt2"] and six.holders() == ["salt2"]
    six.salt2.write("/srv/data/by-ipv6", "from salt2\n")
    done = six.recover(six.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert place(six) == ["salt1"] and six.holders() == ["salt1"]
    assert six.salt1.read("/srv/data/by-ipv6") == "from salt2\n"
    six.salt1.write("/srv/data/by-ipv6", "from salt1\n")
    until(
        lambda: six.salt2.run(["cat", "/srv/data/by-ipv6"]).stdout == "from salt1\n",
        20,
        "lsyncd to carry a file",
    )


@pytest.mark.parametrize(
    "command",
    [["id"], ["/usr/local/sbin/failback", "take-back", "salt", "x"], ["/usr/local/sbin/failback", "far-end"]],
)
def test_that_account_becomes_root_for_the_verbs_of_a_peer_alone(six, command):
    done = six.salt2.run(["runuser", "-u", "failback", "--", "sudo", "-n", *command], check=False)
    assert done.returncode != 0
    assert "a password is required" in done.stderr


def test_its_key_lets_one_ask_for_these_verbs_alone(six):
    ask = ["ssh", "-F", "/etc/failback/ssh/config", FIXED["10.0.0.12"], "--"]
    assert '"node": "salt2"' in six.salt1.run([*ask, "report"], timeout=20).stdout
    done = six.salt1.run([*ask, "touch", "/root/was-here"], check=False, timeout=20)
    assert done.returncode != 0
    assert six.salt2.run(["ls", "/root/was-here"], check=False).returncode != 0
    for host in six.nodes:
        assert "far-end" not in host.read("/root/.ssh/authorized_keys")
        assert "far-end" in host.read(KEYS)
