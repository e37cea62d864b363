{#-
  Compare all files of both nodes by checksum, while the pair serves.

      salt-run state.orch orch.verify pillar='{pair: salt}'
      salt-run state.orch orch.verify pillar='{pair: salt, repair: true}'

  It runs at the lowest priority, and makes way for any other run. What differs and is not on its way is listed;
  `pair.status` shows it, and how old the comparison is. With `repair: true` it is carried once more.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair, one after another unless `at_once` says otherwise: each reads all files.
The nodes of every pair have the same files:
  cluster_run.succeeded:
    - failhard: false
    - operation: verify
    - pairs: {{ given(pair) }}
    - at_once: {{ given(pillar.get('at_once')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - repair: {{ given(pillar.get('repair')) }}
    - limit: {{ given(pillar.get('limit')) }}
{%- else %}

The primary serves and lsyncd carries to the secondary:
  pair_verification.possible:
    - failhard: false
    - pair: {{ given(pair) }}
    - repair: {{ given(pillar.get('repair')) }}
    - limit: {{ given(pillar.get('limit')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}

# From the primary to the standby, as lsyncd carries: no data could move the other way.
Both nodes have the same files:
  pair_verification.compared:
    - failhard: false
    - pair: {{ given(pair) }}
    - repair: {{ given(pillar.get('repair')) }}
    - limit: {{ given(pillar.get('limit')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - require:
      - pair_verification: The primary serves and lsyncd carries to the secondary
{%- endif %}
