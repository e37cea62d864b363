# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two management servers: the cluster's gateway, its node images, and the hosts of its virtual
# machines. Both are on ("active-active"); the active one has the address and the files' truth.
pairs:
  mgmt:
    primary: {id: mgmt1, host: 10.0.0.21}         # site: minion ids and fixed addresses
    secondary: {id: mgmt2, host: 10.0.0.22}       # site
    mode: automatic
    floating_ips:
      mgmt-gw:
        address: 10.0.0.1/24                      # site
        interface: br0                            # site: a bridge, which the virtual machines use as well
        label: br0:0
        watch: {on: secondary, cron: gateway-ip}
    replicate:
      - /etc/idm
      - /var/log/idm
      - /etc/hosts--warewulf
      - path: /etc/libvirt/qemu/shared-*          # definitions of the virtual machines below
        then: libvirtd
    # Their disks lie on storage that both nodes share. One node runs each: an operator says which.
    vms: [idm, monitor-db, repo, syslog, warewulf]
    witnesses: [{id: client, host: 10.0.0.100}]   # site: a minion that sees the address from outside
    recovery:
      boot_timeout: 300                           # site: seconds until a rebooted node answers
