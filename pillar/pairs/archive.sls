# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two archive servers.
pairs:
  archive:
    primary: {id: archive3, host: 10.0.0.93}      # site
    secondary: {id: archive4, host: 10.0.0.94}    # site
    floating_ips:
      archive-gw:
        address: 10.0.0.8/24                      # site
        interface: eth0                           # site
        label: eth0:0
        watch: {on: secondary, cron: gateway-ip}
    witnesses: [{id: client, host: 10.0.0.100}]   # site
    recovery:
      boot_timeout: 300                           # site
