{#-
  Start a pair of which no node serves: the first boot of the cluster, or both nodes lost power.

      salt-run state.orch orch.boot pillar='{pair: salt}'

  It starts the node with the newest generation. Where that is the secondary, `orch.recover` follows.
-#}
{%- set pair = pillar.get('pair') %}
{%- if pair == 'all' or (pair is sequence and pair is not string) %}

# One salt-run for each pair that needs it, in the order of `after`, the pair of the masters first.
Every pair of which no node serves has started:
  cluster_run.succeeded:
    - operation: boot
    - pairs: {{ pair | tojson }}
    - at_once: {{ pillar.get('at_once') | tojson }}
{%- else %}

Both nodes answer and neither serves:
  pair_run.opened:
    - pair: {{ pair | tojson }}
    - operation: boot

The watch is paused on both nodes:
  pair_run.watch_held:
    - require:
      - pair_run: Both nodes answer and neither serves

The services run, on the primary first:
  pair_run.services_started:
    - require:
      - pair_run: The watch is paused on both nodes

# Only where the standby served beside the active node before both lost power: what it alone has is saved.
The standby is in step:
  pair_run.files_warm:
    - require:
      - pair_run: The services run, on the primary first

The repositories of the standby are in step:
  pair_run.repositories_pushed:
    - require:
      - pair_run: The standby is in step

# Written down before an address is taken: whoever holds one has a ledger that says so.
Both nodes agree who is active:
  pair_run.agreed:
    - require:
      - pair_run: The repositories of the standby are in step

The active node holds the addresses:
  pair_run.addresses_taken:
    - require:
      - pair_run: Both nodes agree who is active

lsyncd and the active services run on the active node alone:
  pair_run.active_alone:
    - require:
      - pair_run: The active node holds the addresses

The run is closed:
  pair_run.closed:
    - order: last
{%- endif %}
