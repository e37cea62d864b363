{%- from 'pair/map.jinja' import node with context %}
# The unit, and with it the gate, stands before the package that brings the daemon: an installation
# must not start lsyncd, and Debian's init script knows no gate.
The unit of lsyncd asks the gate before it starts:
  file.managed:
    - name: /etc/systemd/system/lsyncd.service
    - source: salt://pair/files/lsyncd.service
    - template: jinja
    - context:
        pair: {{ salt['pair.names']() | first | default('none') }}
    - mode: '0644'

Systemd knows the unit of lsyncd:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The unit of lsyncd asks the gate before it starts

The packages of a pair's node are installed:
  pkg.installed:
    - pkgs: {{ node.node_packages | tojson }}
    - require:
      - module: Systemd knows the unit of lsyncd
{%- for unit in node.started %}

{{ unit }} runs:
  service.running:
    - name: {{ unit }}
    - enable: true
    - require:
      - pkg: The packages of a pair's node are installed
{%- endfor %}
