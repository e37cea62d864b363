# The node takes part in no pair any more. Its ledgers, runs and backups in /var/lib/failback stay.
include:
  - pair.configuration
  - pair.git
  - pair.keep
  - pair.notify
  - pair.watch
  - pair.look
  - pair.lease

{#- Not by pair/map.jinja: a node whose pillar has lost what its distribution needs must leave all the same. -#}
{%- set lookup = (pillar.get('failback') or {}).get('lookup') or {} %}
{%- set keys = lookup.get('authorized_keys') or '/root/.ssh/authorized_keys' %}
{%- for former in salt['pair.former_key_files'](keys) %}
Nobody's key in {{ former.file }} may ask for anything any more:
  pair.keys_removed:
    - file: {{ former.file }}
    - account: {{ former.account }}
{%- endfor %}

No account may ask for anything any more:
  file.absent:
    - name: /etc/sudoers.d/failback
