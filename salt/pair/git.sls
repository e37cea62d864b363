# Commits reach the standby within a minute, so that it has them when the active node dies. On the standby
# itself this does nothing: who is active, its ledger says.
{%- for pair in salt['pair.names']() if salt['pair.repositories'](pair) %}
The repositories of {{ pair }} are pushed to the standby:
  file.managed:
    - name: /etc/cron.d/failback-git-{{ pair }}
    - mode: '0644'
    - contents: |
        # Managed by Salt (pair.git).
        * * * * * root /usr/local/sbin/failback push-git {{ pair }}
    - require:
      - file: The program failback is in place
{%- endfor %}

{%- for cron in salt['pair.stale_git_crons']() %}
Nothing is pushed any more by {{ cron }}:
  file.absent:
    - name: /etc/cron.d/{{ cron }}
{%- endfor %}
