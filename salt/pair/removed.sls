# The node takes part in no pair any more. Its ledgers, runs and backups in /var/lib/failback stay.
include:
  - pair.configuration
  - pair.git
  - pair.keep
  - pair.notify
  - pair.watch
  - pair.look
  - pair.lease

{%- from 'pair/map.jinja' import node with context %}
{%- set keys = node.authorized_keys %}
{%- set begin = '# failback: begin (managed by Salt)' %}
{%- if salt['file.file_exists'](keys) and salt['file.contains'](keys, begin) %}
Nobody's key may ask for anything any more:
  file.blockreplace:
    - name: {{ keys }}
    - marker_start: '{{ begin }}'
    - marker_end: '# failback: end'
    - content: ''
{%- endif %}
