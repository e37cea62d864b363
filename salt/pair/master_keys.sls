# Salt 3008 keeps a master's key as <id>.pem, with master.pem a link to it (saltstack/salt,
# crypt.MasterKeys). Replicated, the standby would lose its own <id>.pem, and the next start of its master
# would make a new key that no minion accepts. So the one key that both masters share bears both names. A new
# one is put in place as master.pem; Salt 3008 would go on with what is named after its id.
{%- for node in salt['pair.sharing_master_key']() %}
  {%- for kind in ('pem', 'pub') %}
The shared master key is also {{ node }}.{{ kind }}:
  file.managed:
    - name: /etc/salt/pki/master/{{ node }}.{{ kind }}
    - source: /etc/salt/pki/master/master.{{ kind }}
    # The key itself is in no diff, and so in no job cache.
    - show_changes: false
    - mode: {{ "'0400'" if kind == 'pem' else "'0644'" }}
    {%- if not salt['file.file_exists']('/etc/salt/pki/master/master.' ~ kind) %}
    # The master may be installed by this very highstate, or not be there in a test. Where its key is there
    # already nothing is asked: to look `onlyif` up, Salt loads all of its modules.
    - onlyif:
      - fun: file.file_exists
        path: /etc/salt/pki/master/master.{{ kind }}
    {%- endif %}
  {%- endfor %}
{%- endfor %}
