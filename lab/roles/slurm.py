"""The batch system: two controllers, their database, and one node that computes.

controller
    munge at boot; slurmdbd and slurmctld, which an orchestration starts. Their state lies on the folder
    that both share, their accounting in the database of another host: both outlive a controller.

database
    MariaDB with a database for slurmdbd.

compute
    slurmd, and what submits jobs (``srun``).
"""

import os
import secrets

from lab import disk

#: A connection whose other end died without a word is noticed in seconds.
KEEPALIVE = "CommunicationParameters=keepalivetime=2,keepaliveinterval=1,keepaliveprobes=2"
#: Where the controllers share their state.
STATE = "/srv/slurm"
PASSWORD = "lab"


def provide(site, host):
    roles = host.machine.roles
    if "controller" in roles:
        _controller(site, host)
    if "database" in roles:
        _database(host)
    if "compute" in roles:
        _common(site, host)
        disk.enable(host, "slurmd.service")


def _controller(site, host):
    _common(site, host)
    # slurmdbd insists on a file that nobody else can read.
    disk.write(host, "etc/slurm/slurmdbd.conf", slurmdbd_conf(site), 0o600, "slurm")
    state = host.shared_folders()[STATE]
    state.mkdir(parents=True, exist_ok=True)
    os.chown(state, *disk.account(host.root, "slurm"))


def _common(site, host):
    disk.write(host, "etc/slurm/slurm.conf", slurm_conf(site))
    disk.write(host, "etc/munge/munge.key", _key(site), 0o400, "munge")
    disk.enable(host, "munge.service")


def slurm_conf(site):
    """The same on all hosts of the cluster."""
    first, second = _hosts(site, "controller")
    nodes = ",".join(_hosts(site, "compute"))
    return f"""\
ClusterName=dalma
SlurmctldHost={first}
SlurmctldHost={second}
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation={STATE}
SlurmdSpoolDir=/var/lib/slurm/slurmd
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={first}
AccountingStorageBackupHost={second}
{KEEPALIVE}
# A backup controller takes over after this many seconds without a word of the first: once the backup slurmdbd
# has taken over. Before its first save of what that knows (five minutes) it would end without it.
SlurmctldTimeout=15
SlurmdTimeout=120
ReturnToService=2
# The lab's hosts have no control groups for Slurm to make more in.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# More than there are: a job that a dead controller had not yet seen end must not block the next one.
NodeName={nodes} CPUs=8 State=UNKNOWN
PartitionName=lab Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
"""


def slurmdbd_conf(site):
    first, second = _hosts(site, "controller")
    (database,) = _hosts(site, "database")
    return f"""\
AuthType=auth/munge
DbdHost={first}
DbdBackupHost={second}
{KEEPALIVE}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost={database}
StorageUser=slurm
StoragePass={PASSWORD}
StorageLoc=slurm
"""


def _database(host):
    # Run at each start, so each says "if not exists".
    statements = [
        "CREATE DATABASE IF NOT EXISTS slurm;",
        f"CREATE USER IF NOT EXISTS slurm@'%' IDENTIFIED BY '{PASSWORD}';",
        "GRANT ALL ON slurm.* TO slurm@'%';",
    ]
    disk.write(host, "etc/mysql/lab.sql", "\n".join(statements) + "\n")
    settings = [
        *("[mysqld]", "bind-address = 0.0.0.0", "skip-name-resolve"),
        *("init-file = /etc/mysql/lab.sql", "innodb_lock_wait_timeout = 900"),
        *("innodb_buffer_pool_size = 32M", "performance_schema = OFF"),
    ]
    disk.write(host, "etc/mysql/mariadb.conf.d/90-lab.cnf", "\n".join(settings) + "\n")
    disk.enable(host, "mariadb.service")


def _hosts(site, role):
    """Names of the hosts with a role, also of those that the lab does without."""
    everyone = (*site.description.machines, *site.description.absent)
    return [machine.name for machine in everyone if role in machine.roles]


def _key(site):
    """munge's key, one for the whole lab."""
    kept = site.state / "munge.key"
    if not kept.exists():
        kept.write_bytes(secrets.token_bytes(1024))
    return kept.read_bytes()
