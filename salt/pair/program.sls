# The very files that Salt's modules import, for the times when Salt is not there: the watch, the gate
# of lsyncd, the far end of a handover.
The library that works without Salt is current:
  file.recurse:
    - name: /usr/local/lib/failback/failback
    - source: salt://_utils/failback
    - include_pat: '*.py'
    - clean: true
    - dir_mode: '0755'
    - file_mode: '0644'

The program failback is in place:
  file.managed:
    - name: /usr/local/sbin/failback
    - source: salt://pair/files/failback
    - mode: '0755'
    - require:
      - file: The library that works without Salt is current
