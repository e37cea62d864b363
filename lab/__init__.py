"""The rehearsal cluster: real hosts (systemd-nspawn) on bridges in a network of their own.

    python3 -m lab up            hosts of the site ``salt``, booted
    python3 -m lab shell salt2   a shell in one of them
    python3 -m lab down          nothing of it is left

From Python::

    from lab.site import Site

    site = Site("rehearsal")
    site.up()
    site.host("salt1").power_off()
    site.host("salt2").run(["ip", "-br", "address"])
    site.down()

Standard library only: it runs on a fresh Debian 12 before any virtual environment exists.
"""
