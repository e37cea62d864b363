# The guard of a pair with a `lease`: it renews the right to serve, and gives the addresses up without it. It starts
# at every boot, because it takes nothing by itself: it keeps what an orchestration, or the watch, has begun.
{%- set leases = salt['pair.leases']() %}
{%- set stale = salt['pair.stale_guards']() %}
{%- if leases or stale %}
The unit of the guards is in place:
  file.managed:
    - name: /etc/systemd/system/failback-lease@.service
    - source: salt://pair/files/lease.service
    - mode: '0644'

Systemd knows the unit of the guards:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The unit of the guards is in place
{%- endif %}

{%- for pair in leases %}
The guard of the lease of {{ pair }} runs:
  service.running:
    - name: failback-lease@{{ pair }}.service
    - enable: true
    - require:
      - module: Systemd knows the unit of the guards
      - file: The program failback is in place
      - file: The node knows the pair {{ pair }}
{%- endfor %}

# It has let the addresses stay when it saw that its pair has no lease any more.
{%- for unit in stale %}
The guard {{ unit }} is not for this node:
  service.dead:
    - name: {{ unit }}
    - enable: false
{%- endfor %}
