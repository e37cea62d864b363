"""What keepalived and Pacemaker are told to do, from files as their manuals have them."""

import pytest

from failback.decisions import clusters
from failback.errors import Unreadable

KEEPALIVED = """\
! Configuration File for keepalived
global_defs {
    notification_email { admin@10.0.0.9 }
    router_id web1
}
vrrp_script check {
    script "/usr/bin/curl http://10.0.0.77/"
}
vrrp_instance gw {
    state MASTER
    interface eth0
    unicast_peer {
        10.0.0.82
    }
    virtual_ipaddress {
        10.0.0.5/24 brd 10.0.0.255 dev eth0 label eth0:0   # the gateway
        # 10.0.0.99/24
        10.0.0.6
    }
    virtual_ipaddress_excluded
    {
        fd00:0::5/64
    }
    virtual_routes {
        10.9.0.5/32 via 10.0.0.1
    }
}
include /etc/keepalived/more/*.conf
"""

CIB = """<cib><configuration><resources>
<primitive class="ocf" id="gw" provider="heartbeat" type="IPaddr2">
 <instance_attributes id="a"><nvpair id="b" name="ip" value="10.0.0.5"/>
 <nvpair id="c" name="cidr_netmask" value="24"/></instance_attributes></primitive>
<group id="web"><primitive class="systemd" id="www" type="nginx.service"/>
<primitive class="lsb" id="sync" type="lsyncd"/></group>
<clone id="fs-clone"><primitive class="ocf" id="fs" provider="heartbeat" type="Filesystem">
 <instance_attributes id="d"><nvpair id="e" name="ip" value="10.0.0.7"/></instance_attributes>
</primitive></clone>
<template id="address" class="ocf" provider="heartbeat" type="IPaddr2"/>
<primitive id="gw6" template="address">
 <instance_attributes id="f"><nvpair id="g" name="ip" value="fd00:0::5"/></instance_attributes></primitive>
</resources></configuration></cib>"""


def test_the_addresses_of_keepalived():
    found = [(one["instance"], one["address"], one["line"]) for one in clusters.keepalived(KEEPALIVED)]
    assert found == [("gw", "10.0.0.5", 16), ("gw", "10.0.0.6", 18), ("gw", "fd00::5", 22)]
    assert clusters.included(KEEPALIVED) == ["/etc/keepalived/more/*.conf"]


@pytest.mark.parametrize("text", ["", "}", "{{", "virtual_ipaddress 10.0.0.5", "virtual_ipaddress { }"])
def test_what_is_no_such_file(text):
    assert clusters.keepalived(text) == []


def test_the_resources_of_pacemaker():
    found = [(one["id"], one["agent"], one["address"], one["unit"]) for one in clusters.resources(CIB)]
    assert found == [
        ("gw", "IPaddr2", "10.0.0.5", None),
        ("www", "systemd:nginx.service", None, "nginx"),
        ("sync", "lsb:lsyncd", None, "lsyncd"),
        ("gw6", "IPaddr2", "fd00::5", None),
    ]


def test_half_a_file_proves_nothing():
    with pytest.raises(Unreadable, match="no XML"):
        clusters.resources(CIB[:100])
