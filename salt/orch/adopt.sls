{#-
  Set a new pair up, once and for good: programs, keys in both directions, the first ledgers.

      salt-run state.orch orch.adopt pillar='{pair: salt}'

  Nothing is started and no address is taken; `orch.boot` follows, or `orch.recover` where the primary has its
  addresses already and goes on serving. Running it again repairs the keys, and with `moved: true` records where
  the paths lie that an operator has moved to another disk.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair; for one that is adopted already it repairs the keys.
Every pair is adopted:
  cluster_run.succeeded:
    - failhard: false
    - operation: adopt
    - pairs: {{ given(pair) }}
    - at_once: {{ given(pillar.get('at_once')) }}
    - moved: {{ given(pillar.get('moved')) }}
    - harmless: {{ given(pillar.get('harmless')) }}
{%- else %}

Both nodes answer and the pillar is right:
  pair_adoption.possible:
    - failhard: false
    - pair: {{ given(pair) }}

# Cron scripts, keepalived, Pacemaker, an lsyncd of the site's own: two that look after one address are two holders.
Nothing else looks after the pair:
  pair_adoption.preceded:
    - failhard: false
    - pair: {{ given(pair) }}
    - harmless: {{ given(pillar.get('harmless')) }}
    - require:
      - pair_adoption: Both nodes answer and the pillar is right

# The keys are made here, on the nodes; a private one never leaves its node.
Both nodes have the programs and a key:
  pair_adoption.configured:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_adoption: Nothing else looks after the pair

Each node knows how to recognise the other:
  pair_adoption.acquainted:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_adoption: Both nodes have the programs and a key

# The rest of highstate knows nothing of keys.
Each node lets the other in:
  pair_adoption.configured:
    - failhard: false
    - pair: {{ given(pair) }}
    - sls: pair.access
    - require:
      - pair_adoption: Each node knows how to recognise the other

Each node reaches the other:
  pair_adoption.reachable:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_adoption: Each node lets the other in

The ledgers begin:
  pair_adoption.begun:
    - failhard: false
    - pair: {{ given(pair) }}
    - moved: {{ given(pillar.get('moved')) }}
    - require:
      - pair_adoption: Each node reaches the other

# Last: a pair is adopted all the same, and its nodes take nothing over until the pillar says whom to ask.
A node that watches can tell whether it is itself cut off:
  pair_adoption.heard:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_adoption: The ledgers begin
{%- endif %}
