"""What sets a node's network up, and the address that Failback has put there: it stays, or comes back."""

import time

import pytest
from lab_pair import ADDRESS

from lab.host import until

pytestmark = pytest.mark.usefixtures("running")

NETWORKD = "/etc/systemd/network/10-lab.network"
INTERFACES = "/etc/network/interfaces"


def warnings(pair):
    """What pair.check says of the pair's address and its interface."""
    said = pair.runner(pair.salt1, "pair.check", check=False).get("warnings") or []
    return [one for one in said if "floating_ips.salt-gw" in one]


def served_all_the_time(pair, before):
    assert pair.holders() == ["salt1"] and pair.bears(pair.salt1)
    assert pair.ledger(pair.salt1)["generation"] == before["generation"]
    assert pair.ledger(pair.salt2)["generation"] == before["generation"]


@pytest.fixture
def networkd(pair):
    """systemd-networkd sets eth0 of salt1 up, as it is; a function that writes its file anew."""
    host = pair.salt1
    six = host.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"]).stdout.split()[3]

    def written(more=""):
        addresses = f"Address={host.address()}/24\nAddress={six}\n"
        host.write(NETWORKD, f"[Match]\nName=eth0\n\n[Network]\n{addresses}{more}")

    def configured():
        said = host.run(["networkctl", "--no-pager", "--no-legend", "list", "eth0"], check=False).stdout
        return "configured" in said.split()

    written()
    host.run(["systemctl", "start", "systemd-networkd"])
    until(configured, 20, "systemd-networkd to have set eth0 up")
    try:
        yield written
    finally:
        host.run(["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd"])
        host.run(["rm", "-rf", NETWORKD, "/run/systemd/netif/links"])


def test_networkd_leaves_the_address_with_what_the_check_asks_for(pair, networkd):
    before = pair.ledger(pair.salt1)
    (said,) = warnings(pair)
    assert "KeepConfiguration=static" in said and f"{NETWORKD} on salt1" in said
    networkd("KeepConfiguration=static\n")
    pair.salt1.run(["networkctl", "reload"])
    assert warnings(pair) == []
    seen = pair.salt1.spawn(["timeout", "4", "ip", "-4", "-o", "monitor", "address", "dev", "eth0"])
    pair.salt1.run(["networkctl", "reconfigure", "eth0"])
    pair.salt1.run(["systemctl", "restart", "systemd-networkd"])
    told = seen.communicate(timeout=20)[0].decode()
    assert not [line for line in told.splitlines() if "Deleted" in line and f" {ADDRESS}/" in line], told
    served_all_the_time(pair, before)


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
