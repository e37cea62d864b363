{%- from 'pair/map.jinja' import node with context %}
# Of two monitoring servers the active one alone notifies and handles events. Its units are for the pairs
# that name them in active_services; an orchestration starts and stops them, no boot does.
{%- for pair in salt['pair.names']() %}
  {%- for unit in salt['pair.nagios_units'](pair) %}
The unit {{ unit.name }} of {{ pair }} is current:
  file.managed:
    - name: /etc/systemd/system/{{ unit.name }}
    - source: salt://pair/files/nagios-switch.service
    - template: jinja
    - context:
        unit: {{ unit | tojson }}
        pair: {{ pair }}
        after: {{ node.nagios_unit }}
    - mode: '0644'
    - require:
      - file: The program failback is in place

Systemd knows the unit {{ unit.name }}:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The unit {{ unit.name }} of {{ pair }} is current
  {%- endfor %}
{%- endfor %}
