"""What people use instead, set up as their manuals say, with their defaults unless said otherwise."""

from benchmarks.nodes import ADDRESS
from benchmarks.nodes import INTERFACE
from benchmarks.nodes import PREFIX
from lab.host import until

KEEPALIVED = """vrrp_instance gw {{
    state BACKUP
    interface {interface}
    virtual_router_id 5
    priority {priority}
    advert_int {advert}
    virtual_ipaddress {{
        {address}/{prefix}
    }}
}}
"""

COROSYNC = """totem {
    version: 2
    cluster_name: bench
    transport: knet
    crypto_cipher: none
    crypto_hash: none
}
nodelist {
    node {
        ring0_addr: 10.0.0.11
        name: one
        nodeid: 1
    }
    node {
        ring0_addr: 10.0.0.12
        name: two
        nodeid: 2
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 1
    wait_for_all: 0
}
logging {
    to_syslog: yes
}
"""

RESOURCE = """<primitive class="ocf" id="gw" provider="heartbeat" type="IPaddr2">
  <instance_attributes id="gw-values">
    <nvpair id="gw-ip" name="ip" value="{address}"/>
    <nvpair id="gw-cidr" name="cidr_netmask" value="{prefix}"/>
    <nvpair id="gw-nic" name="nic" value="{interface}"/>
  </instance_attributes>
  <operations>
    <op id="gw-monitor" interval="10s" name="monitor" timeout="20s"/>
  </operations>
</primitive>
"""


def board(node, agent, options):
    """The resource that switches a node off."""
    # The agents read a truth as 1 or 0.
    values = {name: int(value) if value is True else value for name, value in options.items()}
    pairs = "".join(
        f'<nvpair id="{node}-{name}" name="{name}" value="{value}"/>'
        for name, value in {**values, "pcmk_host_list": node}.items()
    )
    return (
        f'<primitive class="stonith" id="board-{node}" type="{agent}">'
        f'<instance_attributes id="board-{node}-values">{pairs}</instance_attributes></primitive>'
    )


#: The manual steps, as an administrator writes them down. Run on the node that becomes active.
SCRIPT = """set -e
{syncs}
ssh {other} ip address del {address}/{prefix} dev {interface}
ip address add {address}/{prefix} dev {interface}
arping -q -c 1 -U -I {interface} {address} || true
"""
SYNC = """rsync --dry-run -a --delete {other}:{folder}/ {folder}/
rsync -a --delete {other}:{folder}/ {folder}/
"""


class Keepalived:
    """keepalived 2.2: who has the higher priority takes the address."""

    name = "keepalived"

    def __init__(self, nodes, advert=1):
        self.nodes = nodes
        self.advert = advert

    def start(self, preferred, others=True):
        """Both run; the preferred one has the address."""
        for host in self.nodes.both:
            text = KEEPALIVED.format(
                interface=INTERFACE,
                address=ADDRESS,
                prefix=PREFIX,
                advert=self.advert,
                priority=150 if host is preferred else 100,
            )
            host.write("/etc/keepalived/keepalived.conf", text)
            if others or host is preferred:
                host.run(["systemctl", "restart", "keepalived"])
        until(lambda: self.nodes.holders() == [preferred.name], 30, f"{preferred.name} to answer")

    def stop(self):
        """None runs, and nobody has the address."""
        for host in self.nodes.both:
            if host.running:
                host.run(["systemctl", "stop", "keepalived"], check=False)
                self.nodes.bare(host)

    def leave(self, host):
        """A planned move: the one that has the address is stopped in order."""
        host.run(["systemctl", "stop", "keepalived"])


class Pacemaker:
    """
    pacemaker 2.1 on corosync 3.1, one resource IPaddr2.

    fence
        What switches a node off, as a pair's pillar has it: ``agent`` and ``options`` by node.
    """

    name = "pacemaker"

    def __init__(self, nodes, fence=None):
        self.nodes = nodes
        self.fence = fence or {}

    def start(self, preferred):
        """Both run; the preferred one has the address."""
        for host in self.nodes.both:
            host.write("/etc/corosync/corosync.conf", COROSYNC)
            host.run(["systemctl", "restart", "corosync"], timeout=60)
        for host in self.nodes.both:
            host.run(["systemctl", "restart", "pacemaker"], timeout=60)

        def together():
            said = host.run(["crm_mon", "-1", "-b"], check=False).stdout
            return "Online: [ one two ]" in said

        host = self.nodes.one
        until(together, 90, "the cluster to form", pause=0.3)
        settings = {"no-quorum-policy": "ignore", "stonith-action": "off"}
        settings["stonith-enabled"] = "true" if self.fence else "false"
        for name, value in settings.items():
            host.run(["crm_attribute", "-n", name, "-v", value])
        for node, one in self.fence.items():
            if f'id="board-{node}"' not in host.run(["cibadmin", "-Q", "-o", "resources"]).stdout:
                host.run(["cibadmin", "-C", "-o", "resources", "-X", board(node, **one)])
        if 'id="gw"' not in host.run(["cibadmin", "-Q", "-o", "resources"]).stdout:
            text = RESOURCE.format(address=ADDRESS, prefix=PREFIX, interface=INTERFACE)
            host.run(["cibadmin", "-C", "-o", "resources", "-X", text])
        until(self.nodes.holders, 60, "a node to answer")
        if self.nodes.holders() != [preferred.name]:
            host.run(["crm_resource", "--resource", "gw", "--move", "--node", preferred.name])
        until(lambda: self.nodes.holders() == [preferred.name], 60, f"{preferred.name} to answer")

    def move(self, host):
        """A planned move."""
        self.nodes.one.run(["crm_resource", "--resource", "gw", "--move", "--node", host.name])

    def stop(self):
        """None runs, and nobody has the address."""
        for host in self.nodes.both:
            if host.running:
                for unit in ("pacemaker", "corosync"):
                    host.run(["systemctl", "stop", unit], check=False, timeout=90)
                host.run(["/bin/sh", "-c", "rm -rf /var/lib/pacemaker/cib/*"])
                self.nodes.bare(host)


def script(nodes, near, folders=(), opened=False):
    """
    The manual steps, on the node that becomes active.

    opened
        Over an SSH connection that is open already (ControlMaster); else each command opens its own.

    Returns when the script has ended.
    """
    other = nodes.other(near).name
    syncs = "".join(SYNC.format(other=other, folder=folder) for folder in folders)
    text = SCRIPT.format(syncs=syncs, other=other, address=ADDRESS, prefix=PREFIX, interface=INTERFACE)
    prepare_ssh(near, other, opened)
    near.run(["/bin/sh", "-c", text], timeout=600)


def prepare_ssh(host, other, opened):
    """Root's own ssh uses a connection that stays open, or does not."""
    text = "Host *\n  ControlPath /run/bench-ssh-%h\n  ControlMaster auto\n  ControlPersist 600\n"
    host.write("/root/.ssh/config", text if opened else "", 0o600)
    if opened:
        host.run(["ssh", other, "true"])
