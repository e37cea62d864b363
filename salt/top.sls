# A node takes part in a pair when its own pillar shows it one; others get nothing from here.
{%- if salt['pillar.get']('pairs') %}
base:
  '*':
    - pair
{%- else %}
base: {}
{%- endif %}
