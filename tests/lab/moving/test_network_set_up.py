"""What sets a node's network up, and the address that Failback has put there: it stays, or comes back."""

import contextlib
import json
import os
import time

import pytest
from lab_pair import ADDRESS

from lab.host import kill_session
from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

NETWORKD = "/etc/systemd/network/10-lab.network"
INTERFACES = "/etc/network/interfaces"
NETPLAN = "/etc/netplan/lab.yaml"
#: netplan writes the file itself anew; what stands beside it stays.
KEEP = "/etc/systemd/network/10-netplan-eth0.network.d/keep.conf"
KEYFILE = "/etc/NetworkManager/system-connections/eth0.nmconnection"
MANAGED = "/etc/NetworkManager/conf.d/lab.conf"


def warnings(pair):
    """What pair.check says of the pair's address and its interface."""
    said = pair.runner(pair.salt1, "pair.check", check=False).get("warnings") or []
    return [one for one in said if "floating_ips.salt-gw" in one]


def served_all_the_time(pair, before):
    assert pair.holders() == ["salt1"] and pair.bears(pair.salt1)
    assert pair.ledger(pair.salt1)["generation"] == before["generation"]
    assert pair.ledger(pair.salt2)["generation"] == before["generation"]


@pytest.fixture
def own(pair):
    """The addresses that eth0 of salt1 has without Failback: IPv4 and IPv6."""
    six = pair.salt1.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"]).stdout
    return f"{pair.salt1.address()}/24", six.split()[3]


def start_networkd(host):
    """systemd-networkd sets eth0 up by the files that are there."""

    def configured():
        said = host.run(["networkctl", "--no-pager", "--no-legend", "list", "eth0"], check=False).stdout
        return "configured" in said.split()

    host.run(["systemctl", "start", "systemd-networkd"])
    until(configured, 20, "systemd-networkd to have set eth0 up")


def stop_networkd(host, *files):
    host.run(["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd"])
    host.run(["rm", "-rf", *files, "/run/systemd/netif/links"])


@contextlib.contextmanager
def deleted(host):
    """What the kernel tells of the pair's address: a function for the lines of its deletions up to now."""
    seen = host.spawn(["stdbuf", "-oL", "ip", "-4", "-o", "monitor", "address"])
    os.set_blocking(seen.stdout.fileno(), False)
    text = bytearray()

    def told(address=ADDRESS):
        text.extend(seen.stdout.read() or b"")
        return [line for line in text.decode().splitlines() if "Deleted" in line and f" {address}/" in line]

    def listens():
        for what in ("add", "del"):
            host.run(["ip", "address", what, "127.0.0.9/32", "dev", "lo"])
        return told("127.0.0.9")

    try:
        until(listens, 10, "the kernel to tell of addresses")
        yield told
    finally:
        kill_session(seen)
        seen.wait()


def lost_carrier(host):
    """Its cable is pulled, and back before anybody takes over."""
    host.cut()
    host.mend()


@pytest.fixture
def networkd(pair, own):
    """systemd-networkd sets eth0 of salt1 up, as it is; a function that writes its file anew."""

    def written(more=""):
        addresses = "".join(f"Address={one}\n" for one in own)
        pair.salt1.write(NETWORKD, f"[Match]\nName=eth0\n\n[Network]\n{addresses}{more}")

    written()
    start_networkd(pair.salt1)
    try:
        yield written
    finally:
        stop_networkd(pair.salt1, NETWORKD)


@pytest.fixture
def netplan(pair, own):
    """netplan has systemd-networkd set eth0 of salt1 up, as it is."""
    plan = {"version": 2, "renderer": "networkd", "ethernets": {"eth0": {"addresses": list(own)}}}
    pair.salt1.write(NETPLAN, json.dumps({"network": plan}), 0o600)
    pair.salt1.run(["netplan", "generate"])
    start_networkd(pair.salt1)
    try:
        yield
    finally:
        stop_networkd(pair.salt1, NETPLAN, KEEP.rpartition("/")[0], "/run/systemd/network")


@pytest.fixture
def network_manager(pair, own):
    """NetworkManager sets eth0 of salt1 up, as it is."""
    four, six = own
    text = "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n\n"
    text += f"[ipv4]\nmethod=manual\naddress1={four}\n\n[ipv6]\nmethod=manual\naddress1={six}\n"
    pair.salt1.write(KEYFILE, text, 0o600)
    # Debian leaves to ifupdown what stands in its file.
    pair.salt1.write(
        MANAGED, "[main]\nplugins=keyfile\n\n[device-lab]\nmatch-device=interface-name:eth0\nmanaged=1\n"
    )

    def connected():
        asked = ["nmcli", "-g", "GENERAL.STATE", "device", "show", "eth0"]
        return pair.salt1.run(asked, check=False).stdout.startswith("100 ")

    pair.salt1.run(["systemctl", "start", "NetworkManager"])
    until(connected, 30, "NetworkManager to have set eth0 up")
    try:
        yield connected
    finally:
        pair.salt1.run(["systemctl", "stop", "NetworkManager"])
        pair.salt1.run(["rm", "-f", KEYFILE, MANAGED])


def test_networkd_leaves_the_address_with_what_the_check_asks_for(pair, networkd):
    before = pair.ledger(pair.salt1)
    (said,) = warnings(pair)
    assert "KeepConfiguration=static" in said and f"{NETWORKD} on salt1" in said
    networkd("KeepConfiguration=static\n")
    pair.salt1.run(["networkctl", "reload"])
    assert warnings(pair) == []
    with deleted(pair.salt1) as lost:
        pair.salt1.run(["networkctl", "reconfigure", "eth0"])
        pair.salt1.run(["systemctl", "restart", "systemd-networkd"])
    assert lost() == []
    served_all_the_time(pair, before)


def test_netplan_leaves_the_address_with_what_the_check_asks_for(pair, netplan):
    before = pair.ledger(pair.salt1)
    (said,) = warnings(pair)
    assert "KeepConfiguration=static" in said and KEEP in said, said
    pair.salt1.run(["mkdir", "-p", KEEP.rpartition("/")[0]])
    pair.salt1.write(KEEP, "[Network]\nKeepConfiguration=static\n")
    pair.salt1.run(["networkctl", "reload"])
    assert warnings(pair) == []
    with deleted(pair.salt1) as lost:
        # What `netplan apply` does with networkd; it asks udev besides, which no host of the lab has.
        pair.salt1.run(["netplan", "generate"])
        pair.salt1.run(["networkctl", "reload"])
        pair.salt1.run(["networkctl", "reconfigure", "eth0"])
        lost_carrier(pair.salt1)
    assert lost() == []
    served_all_the_time(pair, before)


@pytest.mark.parametrize(
    ("what", "leaves"),
    [
        (["systemctl", "restart", "NetworkManager"], True),
        (None, True),
        (["nmcli", "device", "reapply", "eth0"], False),
        (["nmcli", "connection", "up", "eth0"], False),
    ],
    ids=["a restart", "a lost carrier", "reapply", "up"],
)
def test_what_networkmanager_takes_away_comes_back(pair, network_manager, what, leaves):
    begun = time.monotonic()
    with deleted(pair.salt1) as lost:
        if what:
            pair.salt1.run(what, timeout=60)
        else:
            lost_carrier(pair.salt1)
        until(network_manager, 30, "NetworkManager to have set eth0 up again")
        # It answers before the kernel has done all of it.
        if not leaves:
            until(lost, 30, "NetworkManager to have deleted the address", pause=0.02)
        until(lambda: pair.bears(pair.salt1), 10, "the address to be there", pause=0.02)
    print(f"{len(lost())} deletions; the address was there after {time.monotonic() - begun:.1f} s")
    assert (lost() == []) is leaves

    def settled():
        ledgers = [pair.ledger(host) for host in pair.nodes]
        return len({(one["active"], one["generation"]) for one in ledgers}) == 1

    # The standby may have missed salt1 for long enough to try: it takes nothing that is answered.
    until(settled, 20, "both nodes to agree that salt1 serves")
    assert pair.holders() == ["salt1"]


def test_an_address_that_the_set_up_has_as_its_own_is_named_with_its_line(pair):
    before = pair.salt1.read(INTERFACES)
    try:
        pair.salt1.write(INTERFACES, f"{before}\niface eth0:0 inet static\n    address {ADDRESS}/24\n")
        (said,) = warnings(pair)
        line = len(before.splitlines()) + 3
        assert f"{INTERFACES}, line {line}, on salt1 has ifupdown take it" in said
    finally:
        pair.salt1.write(INTERFACES, before)
    assert warnings(pair) == []


def test_a_restart_of_ifupdown_takes_the_address_and_the_keeper_puts_it_back(pair):
    """There is no option that leaves it; nobody else takes the pair meanwhile."""
    before = pair.ledger(pair.salt1)
    begun = time.monotonic()
    pair.salt1.run(["systemctl", "restart", "networking"])
    until(lambda: pair.bears(pair.salt1), 5, "the keeper to put the address back", pause=0.02)
    print(f"The address was back {time.monotonic() - begun:.2f} s after the restart had begun.")
    served_all_the_time(pair, before)
