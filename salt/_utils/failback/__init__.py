"""
What a node of a pair needs to know and do when Salt is not there.

Highstate copies this package to every node, where ``/usr/local/sbin/failback`` runs it; Salt's own
modules import the very same files. It needs Python's standard library, iproute2, rsync and OpenSSH.
"""
