"""The version of Failback: this line is the one place. ``setup.cfg`` and ``make release`` read it."""

VERSION = "0.1.0"
