# A node takes part in a pair when its own pillar shows it one; others get nothing from here.
{%- if salt['pillar.get']('pairs') %}
base:
  '*':
    - pair
{%- elif salt['file.directory_exists']('/etc/failback/pairs') %}
# It did take part in one: what was left must neither watch nor sync any more.
base:
  '*':
    - pair.configuration
    - pair.watch
{%- else %}
base: {}
{%- endif %}
