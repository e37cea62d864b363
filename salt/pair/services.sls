# Static configuration may have changed while a node was down: its services are started by an
# orchestration, after highstate, and never by a boot.
{%- for pair in salt['pair.names']() %}
  {%- set known = salt['pair.service_names'](pair) %}
  {%- for service in known %}
{{ service }} of {{ pair }} does not start at boot:
  service.disabled:
    - name: {{ service }}
  {%- endfor %}
{%- endfor %}
