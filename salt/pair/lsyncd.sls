{%- for pair in salt['pair.names']() %}
lsyncd of {{ pair }} carries what the pillar says:
  lsyncd.managed:
    - name: {{ pair }}
    - rendered: {{ salt['pair.rendered'](pair) | tojson }}
    - require:
      - pkg: The packages of a pair's node are installed
      - file: The node knows the pair {{ pair }}
{%- endfor %}
