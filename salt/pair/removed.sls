# The node takes part in no pair any more. Its ledgers, runs and backups in /var/lib/failback stay.
include:
  - pair.configuration
  - pair.git
  - pair.watch

Nobody's key may ask for the far end any more:
  file.blockreplace:
    - name: /root/.ssh/authorized_keys
    - marker_start: '# failback: begin (managed by Salt)'
    - marker_end: '# failback: end'
    - content: ''
    - onlyif:
      - fun: file.contains
        path: /root/.ssh/authorized_keys
        text: '# failback: begin (managed by Salt)'
