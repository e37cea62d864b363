"""
A tenth pair joins the running cluster: one file and one line, then the usual commands.

Its two nodes reach each other over a network of its own, and not over that of its addresses.
"""

import json

import pytest

from lab.host import until
from lab.site import Site

FILE = """\
pairs:
  web:
    primary: {id: web1, host: 10.1.0.97}
    secondary: {id: web2, host: 10.1.0.98}
    floating_ips:
      web-gw:
        address: 10.0.0.9/24
        interface: eth0
        label: eth0:0
      web-gw-6:
        address: fd00:0:0:1::9/64
        interface: eth0
    replicate:
      - /srv/www
    witnesses: [{id: client, host: 10.0.0.100}]
    recovery:
      boot_timeout: 300
"""
PILLAR = "/srv/salt/pillar"
#: Nothing of the pair may go over the network of its addresses unseen: SSH does not get through there.
DEAF = (
    "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; };"
    " add rule inet deaf in iifname eth0 tcp dport 22 drop"
)
SHORT_LIVED = "[Service]\nExecStart=/bin/false\n"


@pytest.fixture(scope="module")
def web(booted):
    """web1 and web2, hosts that are like the others and of which nothing knows yet."""
    site = Site(booted.site.name, pairs=["web"])
    site.up(hosts=["web1", "web2"], masters=False)
    booted.wait_minions(booted.salt1, ["web1", "web2"])
    hosts = site.host("web1"), site.host("web2")
    for host in hosts:
        host.run(["nft", DEAF])
    hosts[0].write("/srv/www/index.html", "hello\n")
    booted.pairs["web"] = hosts
    top = booted.salt1.read(f"{PILLAR}/top.sls")
    yield hosts
    del booted.pairs["web"]
    # Whoever asks how all pairs are would wait for its nodes.
    booted.salt1.write(f"{PILLAR}/top.sls", top)
    booted.salt1.run(["rm", "-f", f"{PILLAR}/pairs/web.sls"])
    for host in hosts:
        host.power_off()


def bears(host):
    """The floating addresses that the kernel of a host has."""
    found = host.run(["ip", "-o", "address", "show", "dev", "eth0"]).stdout
    return {address for address in ("10.0.0.9/24", "fd00:0:0:1::9/64") if f" {address} " in found}


def answers(booted, address):
    """Whether the client's packets get an answer from an address."""
    return booted.client.run(["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


BOTH = {"10.0.0.9/24", "fd00:0:0:1::9/64"}


def test_one_file_and_one_line_make_a_pair(booted, web):
    web1, web2 = web
    top = booted.salt1.read(f"{PILLAR}/top.sls")
    last = "archive archive3 archive4\n"
    booted.salt1.write(f"{PILLAR}/pairs/web.sls", FILE)
    booted.salt1.write(f"{PILLAR}/top.sls", top.replace(last, f"{last}web web1 web2\n"))
    booted.salt1.run(["salt-run", "pair.check"], timeout=120)
    for what in ("adopt", "boot"):
        done = booted.orchestrate(what, "web")
        assert done.returncode == 0, done.stdout + done.stderr
    assert (bears(web1), bears(web2)) == (BOTH, set())
    assert answers(booted, "10.0.0.9") and answers(booted, "fd00:0:0:1::9")
    page = ["cat", "/srv/www/index.html"]
    until(lambda: web2.run(page, check=False).stdout == "hello\n", 30, "the file on web2")


def test_without_the_network_between_them_it_serves_on_and_says_what_is_wrong(booted, web):
    web1, web2 = web
    web2.cut("ib0", silent=True)
    try:
        web1.write("/srv/www/late.html", "late\n")
        until(
            lambda: booted.status("web")["status"], 60, "the status to say that nothing is carried", pause=1
        )
        assert (bears(web1), bears(web2)) == (BOTH, set())
    finally:
        web2.mend("ib0")
    page = ["cat", "/srv/www/late.html"]
    until(lambda: web2.run(page, check=False).stdout == "late\n", 60, "the file on web2", pause=0.3)
    until(lambda: not booted.status("web")["status"], 60, "the pair to be normal", pause=1)


def test_its_secondary_takes_over_with_both_addresses(booted, web):
    web1, web2 = web
    web1.power_off()
    until(lambda: bears(web2) == BOTH, 60, "web2 to take both addresses", pause=0.2)
    until(lambda: answers(booted, "10.0.0.9") and answers(booted, "fd00:0:0:1::9"), 30, "an answer from both")
    web2.write("/srv/www/index.html", "hello from web2\n")


def test_a_service_that_dies_at_once_leaves_the_pair_as_it_serves(booted, web):
    web1, web2 = web
    booted.come_back("web")
    unit = "/etc/systemd/system/short-lived.service"
    web1.write(unit, SHORT_LIVED)
    web1.run(["systemctl", "daemon-reload"])
    added = "    services:\n      - short-lived\n    recovery:\n      reboot: false\n"
    booted.salt1.write(f"{PILLAR}/pairs/web.sls", FILE.replace("    recovery:\n", added))
    try:
        done = booted.orchestrate("recover", "web")
    finally:
        booted.salt1.write(f"{PILLAR}/pairs/web.sls", FILE)
        web1.run(["rm", unit])
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "web: short-lived (services) started on web1 and is now failed" in said
    assert "web is now failed_over" in said
    assert (bears(web1), bears(web2)) == (set(), BOTH)


def test_and_its_primary_comes_home(booted, web):
    web1, web2 = web
    assert web1.read("/srv/www/index.html") == "hello\n"
    done = booted.orchestrate("recover", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (bears(web1), bears(web2)) == (BOTH, set())
    assert answers(booted, "10.0.0.9") and answers(booted, "fd00:0:0:1::9")
    assert web1.read("/srv/www/index.html") == "hello from web2\n"
    found = booted.status("web")
    assert found["status"] == 0, json.dumps(found)
