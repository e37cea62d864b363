{%- from 'pair/map.jinja' import node with context %}
{%- set account = salt['pair.ssh_user']() %}
{%- set keys = node.authorized_keys if account == 'root' else salt['pair.key_file'](account) %}
# The two nodes reach each other with a key of their own, which may do what the other one allows and
# nothing else. `orch.adopt` tells each node once how to recognise the other.
{%- if account != 'root' %}
# Root may not log in here: an account may, and becomes root for what the other node may ask for.
  {%- if not salt['user.info'](account) %}
The account {{ account }} is there for the other node:
  user.present:
    - name: {{ account }}
    - system: true
    - home: /home/{{ account }}
    - shell: /bin/sh
    - require_in:
      - pair: Whoever comes over SSH hears nothing but the answer
      - pair: The peer's key may ask for the verbs of a peer
  {%- endif %}

The package of sudo is installed:
  pkg.installed:
    - name: sudo

The account {{ account }} may ask for the verbs of a peer and nothing else:
  file.managed:
    - name: /etc/sudoers.d/failback
    - contents: {{ salt['pair.sudo_rules']() | tojson }}
    - contents_newline: false
    - mode: '0440'
    - check_cmd: /usr/sbin/visudo -c -f
    - require:
      - pkg: The package of sudo is installed
    - require_in:
      - pair: The peer's key may ask for the verbs of a peer
{%- endif %}

Whoever comes over SSH hears nothing but the answer:
  pair.shell_silent: []

The node has a key of its own for its pair:
  pair.key_present: []

The node recognises its peers:
  file.managed:
    - name: /etc/failback/ssh/known_hosts
    - contents: {{ salt['pair.known_hosts']() | tojson }}
    - contents_newline: false
    - mode: '0600'
    - dir_mode: '0700'
    - makedirs: true

The node connects to its peers with that key alone:
  file.managed:
    - name: /etc/failback/ssh/config
    - contents: {{ salt['pair.ssh_config']() | tojson }}
    - contents_newline: false
    - mode: '0600'
    - dir_mode: '0700'
    - makedirs: true
    - require:
      - pair: The node has a key of its own for its pair

# An account's is root's if it is made here: sshd takes that, and the account cannot change it.
The peer's key may ask for the verbs of a peer:
  pair.keys_allowed:
    - file: {{ keys }}
    - account: {{ account }}
    - lines: {{ salt['pair.authorized_keys']() | tojson }}

{%- for former in salt['pair.former_key_files'](node.authorized_keys, now=keys) %}

No key of a peer is left in {{ former.file }}:
  pair.keys_removed:
    - file: {{ former.file }}
    - account: {{ former.account }}
    - require:
      - pair: The peer's key may ask for the verbs of a peer
{%- endfor %}
{%- if account == 'root' %}

No account but root may ask for the verbs of a peer:
  file.absent:
    - name: /etc/sudoers.d/failback
{%- endif %}
