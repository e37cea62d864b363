{%- for pair in salt['pair.names']() %}
The node knows the pair {{ pair }}:
  file.managed:
    - name: /etc/failback/pairs/{{ pair }}.json
    - contents: {{ salt['pair.rendered'](pair) | tojson }}
    - mode: '0600'
    - dir_mode: '0700'
    - makedirs: true
{%- endfor %}

# A pair that left the pillar must not be watched or synced from an old file. On a new node there is none.
{%- if salt['file.directory_exists']('/etc/failback/pairs') %}
The node knows no pair that the pillar does not have:
  file.tidied:
    - name: /etc/failback/pairs
    - matches:
      - '^(?!({{ salt['pair.names']() | join('|') }})\.json$).*\.json$'
    - rmlinks: false
  {%- if salt['pair.names']() %}
    - require:
    {%- for pair in salt['pair.names']() %}
      - file: The node knows the pair {{ pair }}
    {%- endfor %}
  {%- endif %}
{%- endif %}
