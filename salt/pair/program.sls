{%- from 'pair/map.jinja' import node with context %}
# The very files that Salt's modules import, for the times when Salt is not there: the watch, the gate
# of lsyncd, the other node. Each release has a folder of its own and one link is swapped, so
# that whatever starts meanwhile finds one release, whole.
The library that works without Salt is current:
  pair.release_in_force: []

The program failback is in place:
  file.managed:
    - name: /usr/local/sbin/failback
    - contents: {{ salt['cp.get_file_str']('salt://pair/files/failback')
        | replace('/usr/bin/python3', node.python) | tojson }}
    - mode: '0755'
    - require:
      - pair: The library that works without Salt is current

# The first releases replaced the files of one folder. What runs from it starts anew before it goes.
No library of an earlier layout is left:
  pair.flat_program_absent:
    - require:
      - file: The program failback is in place
