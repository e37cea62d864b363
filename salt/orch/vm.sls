{#-
  Put a virtual machine on one of the two hosts that share its storage, from wherever it is.

      salt-run state.orch orch.vm pillar='{vm: idm, host: mgmt2}'
      salt-run state.orch orch.vm pillar='{vm: all, away_from: mgmt1}'
      salt-run state.orch orch.vm pillar='{vm: idm, host: mgmt2, fenced: mgmt1, reason: "burnt PSU"}'

  A guest is started only when the other host has answered that it does not run there, or a person says
  that it is off. Running this again goes on from what is then true.
-#}
{%- from 'orch/synced.jinja' import given with context %}

# Before anything is changed: the words mean something, both hosts answer, no other run owns the lock, the
# definitions are the same, the storage is the same, virtlockd guards it.
The hosts answer and the guests may go there:
  vm_run.opened:
    - failhard: false
    - vm: {{ given(pillar.get('vm')) }}
    - host: {{ given(pillar.get('host')) }}
    - away_from: {{ given(pillar.get('away_from')) }}
    - how: {{ given(pillar.get('how')) }}
    - fenced: {{ given(pillar.get('fenced')) }}
    - reason: {{ given(pillar.get('reason')) }}

The guests run where they should:
  vm_run.placed:
    - failhard: false
    - require:
      - vm_run: The hosts answer and the guests may go there

# No requisite: it runs after a failed step too, and gives the lock back. So no step is `failhard`, whatever
# the master's configuration says: nothing would run after one that failed.
The run is closed:
  vm_run.closed:
    - failhard: false
    - order: last
