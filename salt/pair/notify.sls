# Programs that are told what happens to a pair. The site's own lie beside those that the pillar's `notify.hooks`
# names; all run as root, and must be root's alone. Nothing here is needed for a takeover.
The folder of the hooks is there:
  file.directory:
    - name: /etc/failback/hooks.d
    - user: root
    - group: root
    - mode: '0700'
    - makedirs: true

{%- for hook in salt['pair.hooks']() %}
The hook {{ hook }} is in place:
  file.managed:
    - name: /etc/failback/hooks.d/failback-{{ hook }}
    - source: salt://pair/files/hooks/{{ hook }}
    - user: root
    - group: root
    - mode: '0700'
    - require:
      - file: The folder of the hooks is there
{%- endfor %}

{%- for hook in salt['pair.stale_hooks']() %}
No pair wants the hook {{ hook }}:
  file.absent:
    - name: /etc/failback/hooks.d/failback-{{ hook }}
{%- endfor %}
