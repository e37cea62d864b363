{%- from 'pair/map.jinja' import node with context %}
# The two nodes reach each other with a key of their own, which may do what the other one allows and
# nothing else. `orch.adopt` tells each node once how to recognise the other.
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

# In a test on a new node the file may not be there yet.
{%- if not opts['test'] or salt['file.file_exists'](node.authorized_keys) %}
The peer's key may ask for the verbs of a peer:
  file.blockreplace:
    - name: {{ node.authorized_keys }}
    - marker_start: '# failback: begin (managed by Salt)'
    - marker_end: '# failback: end'
    - content: {{ salt['pair.authorized_keys']() | tojson }}
    - append_if_not_found: true
    - require:
      - file: The file of authorized keys exists
{%- endif %}

The file of authorized keys exists:
  file.managed:
    - name: {{ node.authorized_keys }}
    - replace: false
    - mode: '0600'
    - dir_mode: '0700'
    - makedirs: true
