{#-
  Set up the members of etcd that grant the lease of a pair, and let its nodes use them.

      salt-run state.orch orch.lease pillar='{pair: salt}'

  The pair serves meanwhile. Running it again repairs what is missing, makes certificates anew that run out,
  and lets one more pair use the same members.
-#}
{%- from 'orch/synced.jinja' import given with context %}
{%- set pair = pillar.get('pair') %}

All members and both nodes answer and the pillar is right:
  lease_setup.possible:
    - failhard: false
    - pair: {{ given(pair) }}

# A private key is made where it is used, and stays there. The authority's is with the master's own keys.
Each member and each node has a certificate:
  lease_setup.certified:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - lease_setup: All members and both nodes answer and the pillar is right

etcd runs on each member:
  lease_setup.running:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - lease_setup: Each member and each node has a certificate

# From here on the active node serves by the lease, and the other one takes nothing without it.
The guards of both nodes run and etcd answers them:
  lease_setup.guarded:
    - failhard: false
    - pair: {{ given(pair) }}
    - require:
      - lease_setup: etcd runs on each member
