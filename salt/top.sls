# Every minion of the site finds its master again. A node takes part in a pair when its own pillar shows it one.
base:
  '*':
    - minion
{%- if salt['pillar.get']('pairs') %}
    - pair
{%- elif salt['file.directory_exists']('/etc/failback/pairs') %}
    # It did take part in one: what was left must neither watch, nor push, nor sync, nor let the peer in.
    - pair.removed
{%- endif %}
