{#-
  Compare all files of both nodes by checksum, while the pair serves.

      salt-run state.orch orch.verify pillar='{pair: salt}'
      salt-run state.orch orch.verify pillar='{pair: salt, repair: true}'

  It runs at the lowest priority, and makes way for any other run. What differs and is not on its way is listed;
  `pair.status` shows it, and how old the comparison is. With `repair: true` it is carried once more.
-#}
{%- include 'orch/synced.jinja' %}
{%- set pair = pillar.get('pair') %}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair, one after another unless `at_once` says otherwise: each reads all files.
The nodes of every pair have the same files:
  cluster_run.succeeded:
    - failhard: false
    - operation: verify
    - pairs: {{ pair | tojson }}
    - at_once: {{ pillar.get('at_once') | tojson }}
    - max_delete: {{ pillar.get('max_delete') | tojson }}
    - repair: {{ pillar.get('repair') | tojson }}
    - limit: {{ pillar.get('limit') | tojson }}
{%- else %}

The primary serves and lsyncd carries to the secondary:
  pair_verification.possible:
    - failhard: false
    - pair: {{ pair | tojson }}
    - repair: {{ pillar.get('repair') | tojson }}
    - limit: {{ pillar.get('limit') | tojson }}
    - max_delete: {{ pillar.get('max_delete') | tojson }}

# From the primary to the standby, as lsyncd carries: no data could move the other way.
Both nodes have the same files:
  pair_verification.compared:
    - failhard: false
    - pair: {{ pair | tojson }}
    - repair: {{ pillar.get('repair') | tojson }}
    - limit: {{ pillar.get('limit') | tojson }}
    - max_delete: {{ pillar.get('max_delete') | tojson }}
    - require:
      - pair_verification: The primary serves and lsyncd carries to the secondary
{%- endif %}
