{#-
  Bring the primary of a pair home.

      salt-run state.orch orch.recover pillar='{pair: salt}'

  Run it on the master of the node that serves. Each step proves what it did; one that fails leaves the
  secondary serving, and running this again goes on from what is then true.
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
Every pair that needs it has come home:
  cluster_run.succeeded:
    - failhard: false
    - operation: recover
    - pairs: {{ given(pair) }}
    - at_once: {{ given(pillar.get('at_once')) }}
    - plan: {{ given(pillar.get('plan')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - winner: {{ given(pillar.get('winner')) }}
    - reason: {{ given(pillar.get('reason')) }}
    - require:
      - vm_run: It is clear what becomes of the virtual machines
{%- else %}

# Before anything is changed: both nodes answer, what they say allows a recovery, no other run holds
# the pair, their code is this master's, the sources are sane, the backup has room.
Both nodes answer and the pair may be recovered:
  pair_run.opened:
    - failhard: false
    - pair: {{ given(pair) }}
    - operation: recover
    - plan: {{ given(pillar.get('plan')) }}
    - max_delete: {{ given(pillar.get('max_delete')) }}
    - max_change_percent: {{ given(pillar.get('max_change_percent')) }}
    - winner: {{ given(pillar.get('winner')) }}
    - reason: {{ given(pillar.get('reason')) }}
    - require:
      - vm_run: It is clear what becomes of the virtual machines

# It would take the addresses in the middle of the handover.
The watch is paused on both nodes:
  pair_run.watch_held:
    - failhard: false
    - require:
      - pair_run: Both nodes answer and the pair may be recovered

# Only after a split-brain, whose winner a person has named. The loser releases what it holds.
The winner of a split-brain alone is active:
  pair_run.winner_settled:
    - failhard: false
    - require:
      - pair_run: The watch is paused on both nodes

# What changed in Salt while the node was down, and what only a reboot brings into force.
The returned node has its static configuration:
  pair_run.returned_node_is_current:
    - failhard: false
    - require:
      - pair_run: The winner of a split-brain alone is active

The services run, on the primary first:
  pair_run.services_started:
    - failhard: false
    - require:
      - pair_run: The returned node has its static configuration

# While the secondary still serves, so that the final sync is short.
The files that changed have come back:
  pair_run.files_pre_synced:
    - failhard: false
    - require:
      - pair_run: The services run, on the primary first

# By push: rsync would copy a repository in the middle of a commit.
The repositories have come back:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The files that changed have come back

# The only moment without service: release there, final sync, take here. The active services follow at once.
The addresses have come home:
  pair_run.handed_over:
    - failhard: false
    - require:
      - pair_run: The repositories have come back

# Those too that were pushed to the secondary while the addresses were on their way.
The last commits have come back:
  pair_run.repositories_pushed:
    - failhard: false
    - require:
      - pair_run: The addresses have come home

# Before lsyncd starts: its first pass makes the secondary equal to the primary, deletions included.
Both nodes have the same files:
  pair_run.files_equal:
    - failhard: false
    - require:
      - pair_run: The last commits have come back

# A secondary that returned takes part again from here on.
Both nodes agree who is active:
  pair_run.agreed:
    - failhard: false
    - require:
      - pair_run: Both nodes have the same files

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

The virtual machines have followed, if they were to:
  vm_run.followed:
    - failhard: false
    - vms: {{ given(pillar.get('vms')) }}
    - require:
      - pair_run: lsyncd and the active services run on the active node alone

# No requisite: it runs after a failed step too, gives the lock back and says who serves. So no step is
# `failhard`, whatever the master's configuration says: nothing would run after one that failed.
The run is closed:
  pair_run.closed:
    - failhard: false
    - order: last
{%- endif %}
