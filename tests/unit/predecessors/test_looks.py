"""What looked after a pair before is found in a node's files, and what is replaced is kept."""

import pathlib

import pytest
import samples

from failback.decisions import predecessors
from failback.errors import Unavailable
from failback.host.paths import Paths
from failback.pair import Member
from failback.predecessors import looks
from failback.predecessors import set_up
from failback.state import ledger

CRON = "# the gateway\n* * * * * root /usr/local/sbin/gw.sh 10.0.0.5 >/dev/null 2>&1\n"
SCRIPT = "#!/bin/sh\nIP=10.0.0.5\nping -c1 $IP || ip addr add $IP/24 dev eth0 label eth0:0\n"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A function that writes files of a node, and one that looks there; systemd is asked nothing."""
    monkeypatch.setattr(looks, "processes", lambda proc: [])
    states = {}
    off = {"active": "inactive", "enabled": "disabled"}
    monkeypatch.setattr(looks, "_unit", lambda name: states.get(name, off))

    class Node:
        units = states
        root = tmp_path

        def has(self, files):
            for name, text in files.items():
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                path.chmod(0o755)
            return self

        def member(self, name="salt1"):
            return Member.of(samples.pair(name), Paths(tmp_path))

        def looked(self, name="salt1"):
            return looks.facts(self.member(name))

        def refusal(self, name="salt1"):
            nothing = {**self.looked(name), "node": "other"}
            empty = {key: [] if isinstance(value, list) else value for key, value in nothing.items()}
            return predecessors.refusal(samples.pair(), [self.looked(name), empty])

    return Node()


def test_nothing_is_found_on_a_bare_node(node):
    found = node.looked()
    assert {key: value for key, value in found.items() if value} == {"node": "salt1", "units": found["units"]}


def test_the_page_of_manual_steps(node):
    """A cron line, its script, an alias in an included file, an lsyncd of the site's own."""
    node.has(
        {
            "etc/cron.d/gateway-ip": CRON,
            "usr/local/sbin/gw.sh": SCRIPT,
            "etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
            "etc/network/interfaces.d/gw": "iface eth0:0 inet static\n  address 10.0.0.5/24\n",
            "etc/lsyncd/lsyncd.conf.lua": 'sync{default.rsync, source="/srv/salt", target="salt2:/srv/salt"}',
            "etc/systemd/system/lsyncd.service": "[Service]\nExecStart=/usr/bin/lsyncd /etc/lsyncd.conf\n",
        }
    )
    found = node.looked()
    assert [(one["file"], one["line"], one["by"]) for one in found["set_up"]] == [
        ("/etc/network/interfaces.d/gw", 2, "ifupdown")
    ]
    told = [(one["file"], one["script"], one["line"], one["does"]) for one in found["programs"]]
    assert told == [
        ("/etc/cron.d/gateway-ip", None, 2, "mentions"),
        ("/etc/cron.d/gateway-ip", "/usr/local/sbin/gw.sh", 3, "takes"),
    ]
    assert [one["file"] for one in found["replaced"]] == [
        "/etc/systemd/system/lsyncd.service",
        "/etc/lsyncd/lsyncd.conf.lua",
    ]
    said = node.refusal()
    assert "interfaces.d/gw, line 2" in said and "gw.sh, line 3, which /etc/cron.d/gateway-ip starts" in said
    # The watch is salt2's, and so is the file of that name.
    assert "/etc/cron.d/gateway-ip" in [one["file"] for one in node.looked("salt2")["replaced"]]


@pytest.mark.parametrize(
    ("file", "text", "by"),
    [
        ("etc/crontab", CRON, "cron"),
        ("var/spool/cron/crontabs/root", "* * * * * /usr/local/sbin/gw.sh\n", "cron"),
        ("var/spool/cron/root", "* * * * * /usr/local/sbin/gw.sh\n", "cron"),
        ("etc/network/if-up.d/gw", SCRIPT, "when an interface comes up"),
        ("etc/NetworkManager/dispatcher.d/50-gw", SCRIPT, "when an interface comes up"),
        ("etc/networkd-dispatcher/routable.d/gw", SCRIPT, "when an interface comes up"),
        ("etc/rc.local", SCRIPT, "when an interface comes up"),
        ("etc/systemd/system/gw.service", "[Service]\nExecStart=/usr/local/sbin/gw.sh start\n", "systemd"),
    ],
)
def test_where_a_script_is_started_from(node, file, text, by):
    node.has({"usr/local/sbin/gw.sh": SCRIPT, file: text})
    node.units["gw.timer"] = {"active": "active", "enabled": "enabled"}
    takes = [one for one in node.looked()["programs"] if one["does"] == "takes"]
    assert [(one["file"], one["by"], one["off"]) for one in takes] == [(f"/{file}", by, False)]


def test_what_highstate_has_written_is_no_predecessor(node):
    node.has(
        {
            "etc/cron.d/gateway-ip": "# Managed by Salt (pair.watch)\n* * * * * ip a add 10.0.0.5 dev x\n",
            "etc/systemd/system/lsyncd.service": "ExecStartPre=/usr/local/sbin/failback gate salt\n",
            "etc/systemd/system/failback-watch@.service": "ExecStart=/usr/local/sbin/failback 10.0.0.5\n",
            "etc/lsyncd/lsyncd.conf.lua": "-- Failback writes this file from pillar\n",
        }
    )
    for name in ("salt1", "salt2"):
        assert node.looked(name)["programs"] == [] and node.looked(name)["replaced"] == []


def test_keepalived_and_pacemaker(node):
    node.has(
        {
            "etc/keepalived/keepalived.conf": "include more/*.conf\n",
            "etc/keepalived/more/gw.conf": "vrrp_instance a {\nvirtual_ipaddress {\n10.0.0.5\n10.9.9.9\n}\n}",
            "var/lib/pacemaker/cib/cib.xml": '<cib><primitive class="systemd" id="m" type="salt-master"/>'
            '<primitive class="systemd" id="o" type="other"/></cib>',
        }
    )
    found = node.looked()
    assert [(one["file"], one["line"]) for one in found["keepalived"]] == [
        ("/etc/keepalived/more/gw.conf", 3)
    ]
    assert [one["id"] for one in found["cluster"]] == ["m"]
    assert node.refusal() is None
    node.units["keepalived.service"] = {"active": "active", "enabled": "disabled"}
    node.units["pacemaker.service"] = {"active": "inactive", "enabled": "enabled"}
    assert "keepalived has 10.0.0.5" in node.refusal() and "Pacemaker runs salt-master" in node.refusal()
    node.has({"var/lib/pacemaker/cib/cib.xml": "<cib>"})
    assert "no XML" in node.looked()["unread"][0]


def test_services_that_a_boot_starts_are_named(node):
    node.units["salt-master.service"] = {"active": "active", "enabled": "enabled"}
    assert node.looked()["enabled"] == ["salt-master"]


def test_what_is_replaced_is_kept_once(node):
    node.has({"etc/lsyncd/lsyncd.conf.lua": "the first\n"})
    (copy,) = looks.keep(node.member())
    assert (
        pathlib.Path(copy).read_text() == "the first\n" and looks.replaced(node.member())[0]["kept"] == copy
    )
    node.has({"etc/lsyncd/lsyncd.conf.lua": "the second\n"})
    assert looks.keep(node.member()) == [] and pathlib.Path(copy).read_text() == "the first\n"
    node.has({"etc/lsyncd/lsyncd.conf.lua": "-- Failback writes this file from pillar\n"})
    assert looks.replaced(node.member()) == []


def test_lsyncd_is_found_by_its_processes(tmp_path):
    for pid, comm, parent, unit, ids in (
        (10, "lsyncd", 1, "system.slice/lsyncd.service", "10"),
        (11, "lsyncd", 10, "system.slice/lsyncd.service", "11"),
        (12, "lsyncd", 1, "user.slice/session-3.scope", "12"),
        (13, "rsync", 10, "system.slice/lsyncd.service", "13"),
        # In a container of this host: it carries the files of that one.
        (14, "lsyncd", 9, "machine.slice/lsyncd.service", "14\t7"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "status").write_text(f"Name:\t{comm}\nNSpid:\t{ids}\nVmPeak:\t1 kB\n")
        (folder / "stat").write_text(f"{pid} (a) b) S {parent} 1 1\n")
        (folder / "cgroup").write_text(f"0::/{unit}\n")
    # Of other folders in /proc some begin with a digit; a process may be gone in the next moment.
    (tmp_path / "10-not-a-process").mkdir()
    (tmp_path / "99").mkdir()
    assert looks.processes(tmp_path) == [
        {"pid": 10, "unit": "lsyncd.service"},
        {"pid": 12, "unit": "session-3.scope"},
    ]


@pytest.mark.parametrize(
    ("files", "by"),
    [
        (
            {"etc/netplan/50.yaml": "network:\n  ethernets:\n    eth0:\n      addresses: [10.0.0.5/24]\n"},
            "netplan",
        ),
        ({"etc/systemd/network/eth0.network": "[Network]\nAddress=10.0.0.5/24\n"}, "systemd-networkd"),
        (
            {"etc/systemd/network/eth0.network.d/a.conf": "[Network]\nAddress=10.0.0.5/24\n"},
            "systemd-networkd",
        ),
        (
            {"etc/NetworkManager/system-connections/a.nmconnection": "[ipv4]\naddress1=10.0.0.5/24\n"},
            "NetworkManager",
        ),
        (
            {"etc/sysconfig/network-scripts/ifcfg-eth0:0": "DEVICE=eth0:0\nIPADDR=10.0.0.5\n"},
            "network scripts",
        ),
        ({"run/systemd/network/10-netplan-eth0.network": "[Network]\nAddress=10.0.0.5/24\n"}, None),
        ({"etc/network/interfaces.d/not-included": "iface eth0 inet static\naddress 10.0.0.5\n"}, None),
        (
            {
                "etc/network/interfaces": "source-directory interfaces.d\nsource /etc/network/interfaces\n",
                "etc/network/interfaces.d/a": "iface eth0 inet static\naddress 10.0.0.5\n",
            },
            "ifupdown",
        ),
    ],
)
def test_who_else_configures_an_address(node, files, by):
    found = set_up.configured(["10.0.0.5/24"], node.has(files).root)
    assert [one["by"] for one in found] == ([by] if by else [])
    assert all(one["address"] == "10.0.0.5/24" for one in found)


def test_networkd_says_by_which_file_it_has_set_an_interface_up(node):
    file = "/run/systemd/network/10-netplan-eth0.network"
    node.has(
        {
            "run/systemd/netif/links/2": f"ADMIN_STATE=configured\nNETWORK_FILE={file}\n",
            "run/systemd/netif/links/3": f"ADMIN_STATE=unmanaged\nNETWORK_FILE={file}\n",
            file[1:]: "[Network]\nAddress=10.0.0.11/24\n",
        }
    )
    # Its file is gone since.
    node.has({"run/systemd/netif/links/5": "NETWORK_FILE=/run/systemd/network/gone.network\n"})
    links = {"gone": None, "eth1": 3, "eth2": 4, "eth3": 5, "eth0": 2}
    # netplan would write its own file anew: what it says to write is what helps.
    beside = f"/etc/systemd/network/{file.rpartition('/')[2]}.d/keep.conf"
    assert set_up.dropped(links, node.root) == {"eth0": beside}
    node.has({beside[1:]: "[Network]\nKeepConfiguration=static\n"})
    assert set_up.dropped(links, node.root) == {}


def test_drop_ins_count_in_the_order_of_their_names_wherever_they_lie(node):
    name = "10-eth0.network"
    node.has(
        {
            "run/systemd/netif/links/2": f"NETWORK_FILE=/usr/lib/systemd/network/{name}\n",
            f"usr/lib/systemd/network/{name}": "[Network]\nKeepConfiguration=no\n",
            # Of two of one name that in /etc counts, and of all the last one.
            f"usr/lib/systemd/network/{name}.d/50.conf": "[Network]\nKeepConfiguration=no\n",
            f"etc/systemd/network/{name}.d/50.conf": "[Network]\nKeepConfiguration=yes\n",
        }
    )
    assert set_up.dropped({"eth0": 2}, node.root) == {}
    node.has({f"run/systemd/network/{name}.d/60.conf": "[Network]\nKeepConfiguration=no\n"})
    assert list(set_up.dropped({"eth0": 2}, node.root)) == ["eth0"]


def test_what_systemd_says_of_a_unit_is_its_last_line(monkeypatch):
    said = {"is-active": "active\n", "is-enabled": "Synchronizing state\nenabled\n"}
    asked = []

    def run(command, seconds, what, accept):
        asked.append(command)
        # Whatever its exit status: that of a unit that does not run is not 0.
        assert {0, 1, 3, 4, 255} <= set(accept)
        return said[command[1]]

    monkeypatch.setattr(looks.system, "run", run)
    assert looks._unit("cron.service") == {"active": "active", "enabled": "enabled"}
    assert asked == [["systemctl", word, "cron.service"] for word in said]
    said.update({"is-active": "", "is-enabled": "\n"})
    assert looks._unit("cron.service") == {"active": "", "enabled": ""}

    def fails(*_, **__):
        raise Unavailable("systemd does not answer")

    monkeypatch.setattr(looks.system, "run", fails)
    assert looks._unit("cron.service") == {"active": "", "enabled": ""}


def test_of_a_pair_that_was_adopted_its_own_lsyncd_and_its_own_services_are_no_predecessors(
    node, monkeypatch
):
    monkeypatch.setattr(looks, "processes", lambda proc: [{"pid": 1, "unit": None}])
    node.units["salt-master.service"] = {"active": "active", "enabled": "enabled"}
    found = node.looked()
    assert (found["begun"], found["lsyncd"], found["enabled"]) == (
        False,
        [{"pid": 1, "unit": None}],
        ["salt-master"],
    )
    node.member().ledger.write(ledger.Entry(1, "salt1", None, "a test"))
    found = node.looked()
    assert (found["begun"], found["lsyncd"], found["enabled"]) == (True, [], [])
