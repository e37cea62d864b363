# The node is an ordinary machine. `orch.retire` applies this with a pillar that has no pair. What somebody may want
# (addresses, services that run, ledgers, backups, the program) stays, and is listed by the orchestration.
include:
  - pair.removed

# Its unit asks a gate that knows no pair any more, and its configuration deletes on the other node.
{%- set files = salt['pair.own_lsyncd']() %}
{%- if files %}
lsyncd carries nothing any more:
  service.dead:
    - name: lsyncd
    - enable: false

  {%- for file in files %}
The file {{ file }} of the pair is gone:
  file.absent:
    - name: {{ file }}
    - require:
      - service: lsyncd carries nothing any more
    - require_in:
      - module: Systemd knows that the unit is gone
  {%- endfor %}

Systemd knows that the unit is gone:
  module.run:
    - service.systemctl_reload: []
{%- endif %}

# They have passwords in them.
No options of a fence agent are left:
  file.absent:
    - name: /etc/failback/fence
