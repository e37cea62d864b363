# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two monitoring servers. Nagios checks on both; the active one alone notifies and handles events.
pairs:
  monitor:
    primary: {id: monitor1, host: 10.0.0.51}      # site
    secondary: {id: monitor2, host: 10.0.0.52}    # site
    mode: manual                                  # after a takeover an operator completes it: orch.failover
    floating_ips:
      monitor-gw:
        address: 10.0.0.4/24                      # site
        interface: eth0                           # site
        label: eth0:0
        watch: {on: secondary, cron: gateway-ip}
      monitor-public:
        address: 192.0.2.10/24                    # site
        interface: eth1                           # site
        watch: {on: both, cron: gateway-ip-public}
    replicate:
      - /etc/nagiosql
    services:
      - name: nagios4                             # site: Debian's name for the unit nagios
        # It reads its command pipe, which goes when it ends, and it has written its status lately.
        proof:
          - sh
          - -c
          - test -p /var/lib/nagios4/rw/nagios.cmd && find /var/lib/nagios4/status.dat -newermt '-30 seconds' | grep -q .
      - name: nsca
        # It takes a client's hand; no result is sent.
        proof: [sh, -c, "send_nsca -H 127.0.0.1 </dev/null | grep -q 'sent to host successfully'"]
    active_services:
      - nagios-notifications
      - nagios-event_handlers
    witnesses: [{id: client, host: 10.0.0.100}]   # site
    recovery:
      boot_timeout: 300                           # site
