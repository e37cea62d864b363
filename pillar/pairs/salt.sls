# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two Salt masters. What is marked "site" is this site's (and the lab's): fill in yours.
pairs:
  salt:
    primary: {id: salt1, host: 10.0.0.11}         # site: minion ids and fixed addresses
    secondary: {id: salt2, host: 10.0.0.12}       # site
    mode: manual
    floating_ips:
      salt-gw:
        address: 10.0.0.5/24                      # site
        interface: eth0                           # site
        label: eth0:0
        watch: {on: secondary, cron: gateway-ip}
    replicate:
      - /srv/salt
      - /etc/salt/pki/master
    git:
      - /srv/git/site.git                         # site: where the bare repositories are
    services: [salt-master]
    witnesses: [{id: client, host: 10.0.0.100}]   # site: a minion that sees the address from outside
    recovery:
      boot_timeout: 300                           # site: seconds until a rebooted node answers
