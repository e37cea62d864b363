"""
Two nodes, a client, a router and the network between them, in one process and in virtual time.

The real code runs in it: the loop of the watch and its judgement, takeover, handover, ledger, lock, pause and
gate. Replaced is what needs a host, at the lowest place there is: the kernel's netlink and packet sockets,
files, clocks, processes, SSH, systemd.

==============  =====================================================================================
``engine``      virtual time; processes that can be stopped and killed at each step
``disk``        files that a loss of power takes back to what was synced
``hosts``       nodes and third hosts: power, addresses, processes, units, timers, clocks
``segment``     who hears whom; the packets that the code asks and answers with
``cluster``     etcd, for a pair with a lease
``remote``      SSH: one command, and the connection of a handover
``system``      the standard library as the code sees it: time, os, select, subprocess …
``seams``       puts these into the code's modules
``world``       all of it together, with a client that writes and an lsyncd that carries
``operator``    what an orchestration does to the two nodes
``judge``       the invariants, and what a configuration is excused from
``histories``   faults, and histories of them
==============  =====================================================================================
"""
