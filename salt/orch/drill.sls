{#-
  Move a pair to its secondary and home again, for those who want to know that it works.

      salt-run state.orch orch.drill pillar='{pair: salt}'

  It is refused unless the pair is ready. It is what `orch.failover` and `orch.recover` are made of, with their
  refusals and a reboot of the primary if the pillar has that. Ended in the middle, `orch.recover` is the repair.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}

# Before anything is changed: nothing at all is wrong, and nothing would keep the pair from coming home.
The pair is ready and can be brought home:
  pair_drill.possible:
    - failhard: false
    - pair: {{ given(pair) }}

# --- there, as orch.failover

Both nodes answer and the pair may be moved:
  pair_run.opened:
    - failhard: false
    - pair: {{ given(pair) }}
    - operation: failover
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - require:
      - pair_drill: The pair is ready and can be brought home

The watch is paused on the way there:
  pair_run.watch_held:
    - failhard: false
    - require:
      - pair_run: Both nodes answer and the pair may be moved

The services run before the way there:
  pair_run.services_started:
    - failhard: false
    - require:
      - pair_run: The watch is paused on the way there

lsyncd has carried what there is:
  pair_run.drained:
    - failhard: false
    - require:
      - pair_run: The services run before the way there

The repositories are on the secondary:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: lsyncd has carried what there is

The addresses and the active services have moved:
  pair_run.handed_over:
    - failhard: false
    - require:
      - pair_run: The repositories are on the secondary

The last commits are on the secondary:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The addresses and the active services have moved

Both nodes have the same files after the way there:
  pair_run.files_equal:
    - failhard: false
    - require:
      - pair_run: The last commits are on the secondary

# It ends with the checks: who answers, who is active, what runs where, what the witnesses see.
What only the active node runs, runs on the secondary alone:
  pair_run.active_alone:
    - failhard: false
    - require:
      - pair_run: Both nodes have the same files after the way there

# No requisite: it runs after a failed step too, and gives the lock back. So no step is `failhard`, whatever
# the master's configuration says: nothing would run after one that failed.
The run there is closed:
  pair_run.closed:
    - failhard: false

# --- and back, as orch.recover

# Only from a pair that is well on its secondary. After a failure the secondary, or the primary, serves on.
Both nodes answer and the pair may come home:
  pair_run.opened:
    - failhard: false
    - pair: {{ given(pair) }}
    - operation: recover
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - require:
      - pair_run: What only the active node runs, runs on the secondary alone
      - pair_run: The run there is closed

The watch is paused on the way back:
  pair_run.watch_held:
    - failhard: false
    - require:
      - pair_run: Both nodes answer and the pair may come home

The primary has its static configuration:
  pair_run.returned_node_is_current:
    - failhard: false
    - require:
      - pair_run: The watch is paused on the way back

The services run before the way back:
  pair_run.services_started:
    - failhard: false
    - require:
      - pair_run: The primary has its static configuration

The files that changed have come back:
  pair_run.files_pre_synced:
    - failhard: false
    - require:
      - pair_run: The services run before the way back

The repositories have come back:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The files that changed have come back

The addresses have come home:
  pair_run.handed_over:
    - failhard: false
    - require:
      - pair_run: The repositories have come back

The last commits have come back:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The addresses have come home

Both nodes have the same files after the way back:
  pair_run.files_equal:
    - failhard: false
    - require:
      - pair_run: The last commits have come back

Both nodes agree that the primary is active:
  pair_run.agreed:
    - failhard: false
    - require:
      - pair_run: Both nodes have the same files after the way back

The primary has the addresses:
  pair_run.addresses_taken:
    - failhard: false
    - require:
      - pair_run: Both nodes agree that the primary is active

lsyncd and the active services run on the primary alone:
  pair_run.active_alone:
    - failhard: false
    - require:
      - pair_run: The primary has the addresses

# No requisite, as above.
The run back is closed:
  pair_run.closed:
    - failhard: false

How long nobody served is kept on both nodes:
  pair_drill.ended:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - pair_run: lsyncd and the active services run on the primary alone
      - pair_run: The run back is closed
