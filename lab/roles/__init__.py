"""What makes a bare host what its roles say: one module a trade.

Each has ``provide(site, host)``, which writes to the disk of a host that has never run, and which does
nothing for a host that has none of its roles. ``lab/sites.py`` says which host has which.
"""
