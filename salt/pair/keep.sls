# Cron starts the keeper on both nodes, and starts it again within a minute should it ever die; a second start
# while one runs ends at once. It takes nothing over: that is the watch's, where the pillar wants one.
{%- for pair in salt['pair.names']() %}
What this node has of {{ pair }} is kept:
  file.managed:
    - name: /etc/cron.d/failback-keep-{{ pair }}
    - mode: '0644'
    - contents: |
        # Managed by Salt (pair.keep): own addresses back, what has come in to the disk, facts for monitoring.
        # `salt-run pair.pause {{ pair }} <minutes>` pauses the first.
        @reboot   root /usr/local/sbin/failback keep {{ pair }}
        * * * * * root /usr/local/sbin/failback keep {{ pair }}
    - require:
      - file: The program failback is in place
{%- endfor %}

{%- for cron in salt['pair.stale_keep_crons']() %}
Nothing is kept any more by {{ cron }}:
  file.absent:
    - name: /etc/cron.d/{{ cron }}
{%- endfor %}
