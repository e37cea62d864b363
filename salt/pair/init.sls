# What highstate applies to a node of a pair. Nothing in here starts lsyncd, takes an address or starts
# one of the pair's services: only an orchestration does, after it has looked at both nodes.
include:
  - pair.packages
  - pair.distribution
  - pair.program
  - pair.configuration
  - pair.fence
  - pair.notify
  - pair.access
  - pair.lsyncd
  - pair.nagios
  - pair.security
  - pair.services
  - pair.git
  - pair.keep
  - pair.master_keys
  - pair.watch
  - pair.look
  - pair.lease
  - pair.virtual_machines
