{#-
  Move a pair to its secondary, for maintenance on the primary.

      salt-run state.orch orch.failover pillar='{pair: monitor}'

  Afterwards the pair stays there until `orch.recover` brings it home. After the watch of a manual pair has
  moved the addresses by itself, this completes the takeover: it starts the active services.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}

# Left alone, unless the operator says `vms: move`.
It is clear what becomes of the virtual machines:
  vm_run.asked:
    - failhard: false
    - pair: {{ given(pair) }}
    - vms: {{ given(pillar.get('vms')) }}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair that needs it, in the order of `after`, the pair of the masters first.
Every pair serves on its secondary:
  cluster_run.succeeded:
    - failhard: false
    - operation: failover
    - pairs: {{ given(pair) }}
    - at_once: {{ given(pillar.get('at_once')) }}
    - plan: {{ given(pillar.get('plan')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - fenced: {{ given(pillar.get('fenced')) }}
    - reason: {{ given(pillar.get('reason')) }}
    - moved: {{ given(pillar.get('moved')) }}
    - require:
      - vm_run: It is clear what becomes of the virtual machines
{%- else %}

# Before anything is changed: both nodes answer, the primary serves, the standby is in step, no other run
# owns the lock.
Both nodes answer and the pair may be moved:
  pair_run.opened:
    - failhard: false
    - pair: {{ given(pair) }}
    - operation: failover
    - plan: {{ given(pillar.get('plan')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - fenced: {{ given(pillar.get('fenced')) }}
    - reason: {{ given(pillar.get('reason')) }}
    - moved: {{ given(pillar.get('moved')) }}
    - require:
      - vm_run: It is clear what becomes of the virtual machines

# It would take the addresses in the middle of the handover.
The watch is paused on both nodes:
  pair_run.watch_held:
    - failhard: false
    - require:
      - pair_run: Both nodes answer and the pair may be moved

# Only when an operator has said that the primary, which does not answer, is off.
The secondary has taken over alone:
  pair_run.taken_over:
    - failhard: false
    - require:
      - pair_run: The watch is paused on both nodes

The services run, on the primary first:
  pair_run.services_started:
    - failhard: false
    - require:
      - pair_run: The secondary has taken over alone

# So that the final sync is short.
lsyncd has carried what there is:
  pair_run.drained:
    - failhard: false
    - require:
      - pair_run: The services run, on the primary first

The repositories are on the secondary:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: lsyncd has carried what there is

# The only moment without service: lsyncd stops and the addresses are released there, final sync, take here.
The addresses and the active services have moved:
  pair_run.handed_over:
    - failhard: false
    - require:
      - pair_run: The repositories are on the secondary

# Those too that were pushed to the primary while the addresses were on their way.
The last commits are on the secondary:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The addresses and the active services have moved

Both nodes have the same files:
  pair_run.files_equal:
    - failhard: false
    - require:
      - pair_run: The last commits are on the secondary

What only the active node runs, runs on the active node alone:
  pair_run.active_alone:
    - failhard: false
    - require:
      - pair_run: Both nodes have the same files

The virtual machines have followed, if they were to:
  vm_run.followed:
    - failhard: false
    - vms: {{ given(pillar.get('vms')) }}
    - require:
      - pair_run: What only the active node runs, runs on the active node alone

# No requisite: it runs after a failed step too, gives the lock back and says who serves. So no step is
# `failhard`, whatever the master's configuration says: nothing would run after one that failed.
The run is closed:
  pair_run.closed:
    - failhard: false
    - order: last
{%- endif %}
