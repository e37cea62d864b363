"""Which addresses the files of a network's set-up give a node, as people write them."""

import pytest

from failback.decisions import network_files

DEBIAN = """\
# This file describes the network interfaces available on your system
source /etc/network/interfaces.d/*

auto lo eth0
iface lo inet loopback

iface eth0 inet static
    # the old one: address 10.0.0.99/24
    address 10.0.0.11/24
    gateway 10.0.0.1
    dns-nameservers 10.0.0.53

allow-hotplug eth0:0
iface eth0:0 inet static
\taddress 10.0.0.5
\tnetmask 255.255.255.0

iface eth1 inet manual
    up ip link set $IFACE up && \\
       ip -4 addr add 10.1.0.5/24 dev $IFACE label eth1:0
    down ip addr del 10.1.0.6/24 dev $IFACE
    post-up /sbin/ifconfig eth1:1 10.1.0.7 netmask 255.255.255.0
    up ping -c 1 10.1.0.1
"""

NETWORKD = """\
[Match]
Name=eth0 en*

[Network]
Address=10.0.0.11/24
# Address=10.0.0.99/24
Address = fd00:0::5/64
Gateway=10.0.0.1
DNS=10.0.0.53

[Address]
Address=10.0.0.5/24
Label=eth0:0

[Route]
Destination=10.9.0.5/32
"""

KEYFILE = """\
[connection]
id=Wired 1
type=ethernet
interface-name=eth0

[ipv4]
method=manual
address1=10.0.0.11/24,10.0.0.1
address2=10.0.0.5/24
dns=10.0.0.53;
route1=10.9.0.0/24,10.0.0.1

[ipv6]
addresses=fd00::5/64;fd00::6/64,fd00::1
method=manual
"""

RHEL = """\
TYPE=Ethernet
DEVICE="eth0"   # the front
ONBOOT=yes
IPADDR=10.0.0.11
PREFIX=24
IPADDR1='10.0.0.5'
GATEWAY=10.0.0.1
DNS1=10.0.0.53
#IPADDR2=10.0.0.99
IPV6ADDR=fd00::11/64
IPV6ADDR_SECONDARIES="fd00::5/64 fd00::6/64"
"""

SUSE = """\
BOOTPROTO='static'
STARTMODE='auto'
IPADDR='10.0.0.11/24'
IPADDR_gw='10.0.0.5/24'
LABEL_gw='gw'
"""

NETPLAN = """\
# from the installer
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      dhcp4: no
      addresses:
        - 10.0.0.11/24
        - "10.0.0.5/24"   # the gateway
        - 10.0.0.15/24:
            label: "eth0:vip"
            lifetime: 0
        - "fd00::5/64": {lifetime: 0}
      nameservers:
        search: [example.com]
        addresses: [10.0.0.53, 10.9.9.9/32]
      routes:
        - to: 10.0.0.77/32
          via: 10.0.0.1
    eth1: {addresses: [10.1.0.5/24, 'fd01::5/64'], nameservers: {addresses: [10.8.8.8/32]}}
    eth2:
      addresses: [
        10.2.0.5/24,
        10.2.0.6/24
      ]
    eth3:
      match:
        macaddress: 52:54:00:12:34:56
      addresses:
      - 10.3.0.5/24
      gateway4: 10.3.0.1
  bonds:
    bond0:
      interfaces: [eth4]
      addresses: ["10.4.0.5/24"]
"""

FILES = {
    "ifupdown": (
        "ifupdown",
        DEBIAN,
        [
            ("eth0", "10.0.0.11", 9),
            ("eth0:0", "10.0.0.5", 15),
            ("eth1", "10.1.0.5", 19),
            ("eth1", "10.1.0.7", 22),
        ],
    ),
    "systemd-networkd": (
        "systemd-networkd",
        NETWORKD,
        [("eth0 en*", "10.0.0.11", 5), ("eth0 en*", "fd00::5", 7), ("eth0 en*", "10.0.0.5", 12)],
    ),
    "NetworkManager": (
        "NetworkManager",
        KEYFILE,
        [
            ("eth0", "10.0.0.11", 8),
            ("eth0", "10.0.0.5", 9),
            ("eth0", "fd00::5", 14),
            ("eth0", "fd00::6", 14),
        ],
    ),
    "what NetworkManager has found and noted": (
        "NetworkManager",
        f"{KEYFILE}\n[.nmmeta]\nnm-generated=true\nvolatile=true\nexternal=true\n",
        [],
    ),
    "network scripts of RHEL": (
        "network scripts",
        RHEL,
        [
            ("eth0", "10.0.0.11", 4),
            ("eth0", "10.0.0.5", 6),
            ("eth0", "fd00::11", 10),
            ("eth0", "fd00::5", 11),
            ("eth0", "fd00::6", 11),
        ],
    ),
    "network scripts of SUSE": (
        "network scripts",
        SUSE,
        [("", "10.0.0.11", 3), ("", "10.0.0.5", 4)],
    ),
    "netplan": (
        "netplan",
        NETPLAN,
        [
            ("eth0", "10.0.0.11", 9),
            ("eth0", "10.0.0.5", 10),
            ("eth0", "10.0.0.15", 11),
            ("eth0", "fd00::5", 14),
            ("eth1", "10.1.0.5", 21),
            ("eth1", "fd01::5", 21),
            ("eth2", "10.2.0.5", 24),
            ("eth2", "10.2.0.6", 25),
            ("eth3", "10.3.0.5", 31),
            ("bond0", "10.4.0.5", 36),
        ],
    ),
    "netplan as JSON": (
        "netplan",
        '{"network": {"ethernets": {"eth0": {"addresses": ["10.0.0.5/24"]}}}}',
        [("eth0", "10.0.0.5", 1)],
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_what_a_file_gives_its_interfaces(what):
    kind, text, wanted = FILES[what]
    assert [(one.interface, one.address, one.line) for one in network_files.taken(kind, text)] == wanted


def test_a_line_that_is_half_a_section_begins_none():
    text = "[Match]\nName=eth0\n[Address]\nPeer]\n[Rou\nAddress=10.0.0.5/24\n"
    assert [one.address for one in network_files.taken("systemd-networkd", text)] == ["10.0.0.5"]


@pytest.mark.parametrize("text", ["[10.0.0.5/24, ]", "[ , 10.0.0.5/24]", "[,,10.0.0.5/24,,]"])
def test_a_comma_too_many_is_no_address(text):
    text = f"network: {{ethernets: {{eth0: {{addresses: {text}}}}}}}"
    assert [one.address for one in network_files.taken("netplan", text)] == ["10.0.0.5"]


@pytest.mark.parametrize("kind", network_files.READERS)
@pytest.mark.parametrize("text", ["", "\0\xff", "[", "a: [}", "iface", "Address=", "IPADDR=", '- "', "a\\"])
def test_what_is_no_such_file_gives_nothing(kind, text):
    assert network_files.taken(kind, text) == []


def test_an_interfaces_file_names_others():
    text = "source /etc/network/interfaces.d/*\nsource-directory more.d\n# source /no\niface eth0 inet dhcp\n"
    assert network_files.included(text) == [
        ("source", "/etc/network/interfaces.d/*"),
        ("source-directory", "more.d"),
    ]


@pytest.mark.parametrize(
    ("texts", "keeps"),
    [
        (["[Network]\nAddress=10.0.0.11/24\n"], False),
        (["[Network]\nKeepConfiguration=static\n"], True),
        (["[Network]\nKeepConfiguration=yes\n"], True),
        (["[Network]\nKeepConfiguration=dhcp\n"], False),
        (["[Network]\nKeepConfiguration=no\n", "[Network]\nKeepConfiguration=static\n"], True),
        (["[Network]\nKeepConfiguration=static\n", "[Network]\nKeepConfiguration=\n"], False),
        (["[DHCPv4]\nKeepConfiguration=static\n"], False),
    ],
)
def test_what_systemd_networkd_leaves_alone(texts, keeps):
    assert network_files.keeps(texts) is keeps


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/etc/systemd/network/eth0.network", "/etc/systemd/network/eth0.network"),
        (
            "/run/systemd/network/10-netplan-eth0.network",
            "/etc/systemd/network/10-netplan-eth0.network.d/keep.conf",
        ),
        (
            "/usr/lib/systemd/network/80-wired.network",
            "/etc/systemd/network/80-wired.network.d/keep.conf",
        ),
    ],
)
def test_a_setting_is_added_where_no_program_writes_it_anew(file, place):
    assert network_files.place_of_a_setting(file) == place
