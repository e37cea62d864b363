"""
What the distribution of this node calls things, as far as the program on it has to know.

Highstate writes it to the node from ``salt/pair/map.yaml``, the one place where distributions differ.
"""

from failback.errors import Unreadable
from failback.host import files

#: Where highstate has not written it yet: what every node was before there was such a file, a Debian.
BEFORE = {
    "libvirt_unit": "libvirtd",
    "nagios_configuration": "/etc/nagios4/nagios.cfg",
    "nagios_unit": "nagios4",
}


def names(paths):
    """
    The names in force on this node: a dict with the keys of ``BEFORE``.

    Raises ``Unreadable`` for a file that holds something else.
    """
    found = files.read_json(paths.distribution, "what this node's distribution calls things")
    if found is None:
        return dict(BEFORE)
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in BEFORE):
        raise Unreadable(
            f"{paths.distribution} does not say what this node's distribution calls "
            f"{', '.join(sorted(BEFORE))}. "
            f"Run: salt-call state.apply pair.distribution"
        )
    return {key: found[key] for key in BEFORE}
