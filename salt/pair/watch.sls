# systemd runs the watch, and starts it again at once should it ever end or hang. Cron looks every minute whether it
# runs: where it does not, cron's start has systemd start it, or becomes the watch itself.
{%- set crons = salt['pair.crons']() %}
{%- if crons %}
The unit of the watches is in place:
  file.managed:
    - name: /etc/systemd/system/failback-watch@.service
    - source: salt://pair/files/watch.service
    - mode: '0644'

Systemd knows the unit of the watches:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The unit of the watches is in place
{%- endif %}

{%- for cron in crons %}
The watch {{ cron }} runs:
  file.managed:
    - name: /etc/cron.d/{{ cron }}
    - mode: '0644'
    - contents: |
        # Managed by Salt (pair.watch): takes the floating addresses over when they have gone.
        # `salt-run pair.pause <pair> <minutes>` pauses it. systemctl status failback-watch@{{ cron }}
        @reboot   root /usr/local/sbin/failback watch {{ cron }}
        * * * * * root /usr/local/sbin/failback watch {{ cron }}
    - require:
      - file: The program failback is in place
  # One that cron has started leaves its place to this one, and no moment goes unwatched.
  service.running:
    - name: failback-watch@{{ cron }}.service
    - enable: true
    - require:
      - module: Systemd knows the unit of the watches
      - file: The program failback is in place
      - file: The watch {{ cron }} runs
{%- endfor %}

{%- for cron in salt['pair.stale_crons']() %}
The watch {{ cron }} is not for this node:
  file.absent:
    - name: /etc/cron.d/{{ cron }}
{%- endfor %}

{%- for unit in salt['pair.stale_watches']() %}
The service {{ unit }} is not for this node:
  service.dead:
    - name: {{ unit }}
    - enable: false
{%- endfor %}
