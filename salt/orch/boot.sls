{#-
  Start a pair of which no node serves: the first boot of the cluster, or both nodes lost power.

      salt-run state.orch orch.boot pillar='{pair: salt}'

  It starts the node with the newest generation. Where that is the secondary, or where the secondary has served
  beside the primary before, `orch.recover` follows.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair that needs it, in the order of `after`, the pair of the masters first.
Every pair of which no node serves has started:
  cluster_run.succeeded:
    - failhard: false
    - operation: boot
    - pairs: {{ given(pair) }}
    - at_once: {{ given(pillar.get('at_once')) }}
{%- else %}

Both nodes answer and neither serves:
  pair_run.opened:
    - failhard: false
    - pair: {{ given(pair) }}
    - operation: boot
    - plan: {{ given(pillar.get('plan')) }}

The watch is paused on both nodes:
  pair_run.watch_held:
    - failhard: false
    - require:
      - pair_run: Both nodes answer and neither serves

The services run, on the primary first:
  pair_run.services_started:
    - failhard: false
    - require:
      - pair_run: The watch is paused on both nodes

# Written down before an address is taken: whoever holds one has a ledger that says so.
Both nodes agree who is active:
  pair_run.agreed:
    - failhard: false
    - require:
      - pair_run: The services run, on the primary first

The active node has the addresses:
  pair_run.addresses_taken:
    - failhard: false
    - require:
      - pair_run: Both nodes agree who is active

lsyncd and the active services run on the active node alone:
  pair_run.active_alone:
    - failhard: false
    - require:
      - pair_run: The active node has the addresses

# No requisite: it runs after a failed step too, gives the lock back and says who serves. So no step is
# `failhard`, whatever the master's configuration says: nothing would run after one that failed.
The run is closed:
  pair_run.closed:
    - failhard: false
    - order: last
{%- endif %}
