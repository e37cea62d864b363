# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two Slurm controllers. Both run slurmdbd and slurmctld; Slurm itself knows which of them is its
# primary and which its backup, and keeps its state on storage that both share. So no file is replicated.
pairs:
  slurm:
    primary: {id: slurm1, host: 10.0.0.31}        # site
    secondary: {id: slurm2, host: 10.0.0.32}      # site
    mode: automatic
    floating_ips:
      slurm-gw:
        address: 10.0.0.3/24                      # site
        interface: eth0                           # site
        label: eth0:0
        watch: {on: secondary, cron: gateway-ip}
    services:
      - name: slurmdbd
        # It answers a question about its database. (A backup slurmdbd leaves the answer to the primary.)
        proof: [sacctmgr, --noheader, show, cluster]
      - name: slurmctld
        # Not only some controller: the one on this node.
        proof: [sh, -c, 'scontrol ping | grep -q "at $(hostname -s) is UP"']
    witnesses: [{id: client, host: 10.0.0.100}]   # site
    recovery:
      boot_timeout: 300                           # site
