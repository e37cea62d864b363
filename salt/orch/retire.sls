{#-
  Make two ordinary machines of a pair. The service stays where it is.

      salt-run state.orch orch.retire pillar='{pair: web}'

  Afterwards remove the pair's line and its file from the pillar. Running it again repairs what is missing, and
  prints the list of what is left once more.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}

# Before anything is changed: it is known who serves and who has the newest data, and no other run is at work.
Both nodes answer and it is clear who serves:
  pair_retirement.possible:
    - failhard: false
    - pair: {{ given(pair) }}

# The standby gets what there is, for the last time.
lsyncd has carried what there was:
  pair_retirement.carried:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_retirement: Both nodes answer and it is clear who serves

# The standby first: a node that knows no pair takes nothing over.
Neither node knows the pair any more:
  pair_retirement.forgotten:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_retirement: lsyncd has carried what there was

What is left is said:
  pair_retirement.told:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_retirement: Neither node knows the pair any more
