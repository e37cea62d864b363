# Cron starts the watch and starts it again within a minute should it ever die; a second start while
# one runs ends at once.
{%- for cron in salt['pair.crons']() %}
The watch {{ cron }} runs:
  file.managed:
    - name: /etc/cron.d/{{ cron }}
    - mode: '0644'
    - contents: |
        # Managed by Salt (pair.watch): takes the floating addresses over when they have gone.
        # `salt-run pair.pause <pair> <minutes>` pauses it.
        @reboot   root /usr/local/sbin/failback watch {{ cron }}
        * * * * * root /usr/local/sbin/failback watch {{ cron }}
    - require:
      - file: The program failback is in place
{%- endfor %}

{%- for cron in salt['pair.stale_crons']() %}
The watch {{ cron }} is not for this node:
  file.absent:
    - name: /etc/cron.d/{{ cron }}
{%- endfor %}
