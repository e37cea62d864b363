"""What is in the images, as data: a site names the kind of image that its hosts copy, and its Debian."""

import dataclasses

#: The Debian of the hosts of most sites.
DEBIAN = "bookworm"
#: All that hosts can have. Each with the packages into which it has split one of those below.
DEBIANS = {
    "bookworm": {},
    "trixie": {"libvirt-daemon-system": ("libvirt-daemon-lock", "libvirt-daemon-plugin-lockd")},
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """
    packages
        Debian packages, beside what they need themselves.

    at_boot, not_at_boot
        Units that a host starts when it boots, and units that it does not. A package may enable what it
        brings; a role of a host enables what that host is for (see lab/roles).
    """

    packages: tuple
    at_boot: tuple
    not_at_boot: tuple

    def packages_of(self, debian):
        """All packages, as that Debian has them."""
        split = DEBIANS[debian]
        return (*self.packages, *(each for name in self.packages for each in split.get(name, ())))


#: Enough for Salt, and for Failback itself.
BASE = Kind(
    packages=(
        *("systemd", "systemd-sysv", "dbus", "kmod", "procps", "less", "netbase"),
        *("iproute2", "iputils-ping", "iputils-arping", "ifupdown", "nftables"),
        *("cron", "rsync", "lsyncd", "openssh-server", "openssh-client", "sudo", "git", "acl", "attr"),
        # chattr(1); no Debian is without it but the newest.
        "e2fsprogs",
        *("python3", "python3-venv"),
        # For pairs with a lease; a test says which hosts are members.
        "etcd-server",
        # What sets the network up on other sites; a test says where.
        *("network-manager", "netplan.io"),
    ),
    at_boot=("salt-minion.service", "ssh.service", "cron.service", "networking.service"),
    # Failback decides when these start, or nobody.
    not_at_boot=(
        *("lsyncd.service", "salt-master.service", "etcd.service"),
        *("NetworkManager.service", "NetworkManager-dispatcher.service"),
        *("NetworkManager-wait-online.service", "wpa_supplicant.service"),
    ),
)

#: And what a cluster runs: a batch system with its database, monitoring, mail, virtual machines.
SERVICES = Kind(
    packages=(
        *BASE.packages,
        *("munge", "slurmctld", "slurmd", "slurmdbd", "slurm-client", "mariadb-server"),
        *("nagios4", "nsca", "nsca-client", "monitoring-plugins-basic", "postfix"),
        *("libvirt-daemon-system", "libvirt-clients", "libvirt-daemon-driver-qemu"),
        *("qemu-system-x86", "qemu-utils"),
        # Agents that switch hosts off, and boards that do it.
        *("fence-agents", "ipmitool", "openipmi"),
    ),
    at_boot=BASE.at_boot,
    not_at_boot=(
        *BASE.not_at_boot,
        *("slurmctld.service", "slurmdbd.service", "nagios4.service", "nsca.service"),
        *("munge.service", "slurmd.service", "mariadb.service", "postfix.service", "apache2.service"),
        *("apache-htcacheclean.service", "libvirtd.service", "libvirt-guests.service"),
        *("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"),
        *("ipmievd.service", "openipmi.service"),
        *("virtlockd.socket", "virtlockd-admin.socket", "virtlogd.socket", "virtlogd-admin.socket"),
    ),
)

#: What people use instead, for the benchmarks. No Salt runs there, and no cluster by itself.
PEERS = Kind(
    packages=(
        *BASE.packages,
        *("keepalived", "corosync", "pacemaker", "pacemaker-cli-utils", "resource-agents"),
        *("fence-agents", "ipmitool", "openipmi"),
        # For its etcdctl.
        "etcd-client",
    ),
    at_boot=("ssh.service", "networking.service"),
    not_at_boot=(
        *BASE.not_at_boot,
        *("ipmievd.service", "openipmi.service"),
        *("salt-minion.service", "keepalived.service", "corosync.service", "pacemaker.service"),
    ),
)

KINDS = {"base": BASE, "peers": PEERS, "services": SERVICES}

#: All images, e.g. ``services-trixie``: kind and Debian by name.
IMAGES = {f"{kind}-{debian}": (kind, debian) for kind in KINDS for debian in DEBIANS}
