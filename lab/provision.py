"""What makes a bare host one of its site, written to its disk before its first boot."""

from lab.roles import bmc
from lab.roles import files
from lab.roles import hypervisor
from lab.roles import nagios
from lab.roles import postfix
from lab.roles import replicated
from lab.roles import salt
from lab.roles import slurm

#: In the order in which they write.
ROLES = (files, replicated, salt, slurm, nagios, postfix, hypervisor, bmc)


def provide(site, hosts):
    """Give each host what its roles need."""
    for host in hosts:
        for role in ROLES:
            role.provide(site, host)
