# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two application servers, on the cluster's network and on the fast one. The second is the primary.
pairs:
  apps:
    primary: {id: apps2, host: 10.0.0.82}         # site
    secondary: {id: apps1, host: 10.0.0.81}       # site
    floating_ips:
      apps-gw:
        address: 10.0.0.7/24                      # site
        interface: eth0                           # site
        label: eth0:0
        watch: {on: secondary, cron: gateway-ip}
      apps-gw.fast:
        address: 10.1.0.7/24                      # site
        interface: ib0                            # site
        label: ib0:0
        watch: {on: secondary, cron: gateway-ip}
    witnesses: [{id: client, host: 10.0.0.100}]   # site
    recovery:
      boot_timeout: 300                           # site
