# The lookout runs on both nodes and looks all the time at what each would be worth. It changes nothing and takes
# nothing over; `failback report` and `salt-run pair.status` tell what it has found.
{%- set pairs = salt['pair.names']() %}
{%- if pairs %}
The unit of the lookout is in place:
  file.managed:
    - name: /etc/systemd/system/failback-look@.service
    - source: salt://pair/files/look.service
    - mode: '0644'

Systemd knows the unit of the lookout:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The unit of the lookout is in place
{%- endif %}

{%- for pair in pairs %}
The lookout of {{ pair }} runs:
  service.running:
    - name: failback-look@{{ pair }}.service
    - enable: true
    - require:
      - module: Systemd knows the unit of the lookout
      - file: The program failback is in place
      - file: The node knows the pair {{ pair }}
{%- endfor %}

{%- for unit in salt['pair.stale_lookouts']() %}
The lookout {{ unit }} is not for this node:
  service.dead:
    - name: {{ unit }}
    - enable: false
{%- endfor %}
