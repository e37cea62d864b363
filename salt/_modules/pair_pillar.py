"""
What this node's pillar says of its pairs, in the forms in which highstate needs it.

Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'salt1' pair.rendered salt
"""

import json

from salt.exceptions import SaltInvocationError

import salt_errors
from failback.decisions import roles
from failback.host import nagios
from failback.pillar import check
from failback.pillar import pairs
from failback.state import configuration
from salt_node import paths as _paths

__virtualname__ = "pair"
__func_alias__ = {"names_": "names"}


def __virtual__():
    return __virtualname__


@salt_errors.translated
def _own_pairs():
    """This node's pairs as the pillar has them, normalised, by name. Raises ``CommandExecutionError``."""
    return pairs.of_node(__pillar__.get("pairs") or {}, __opts__["id"])


def names_():
    """
    List the pairs of this node's pillar that it takes part in.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.names
    """
    return sorted(_own_pairs())


def _own_pair(pair):
    found = _own_pairs()
    if pair not in found:
        raise SaltInvocationError(
            f"The pillar of {__opts__['id']} has no pair {pair} that it takes part in "
            f"(it has: {', '.join(found) or 'none'})."
        )
    return found[pair]


@salt_errors.translated
def rendered(pair):
    """
    Render a pair's pillar into the configuration that this node keeps of it.

    pair
        Name of the pair.

    Returns the JSON text of ``/etc/failback/pairs/<pair>.json``. Raises ``SaltInvocationError`` when
    the pillar knows no such pair for this node, ``CommandExecutionError`` when the pillar is wrong.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.rendered salt
    """
    config = {**_own_pair(pair), "version": configuration.VERSION}
    return json.dumps(config, indent=1, sort_keys=True) + "\n"


def service_names(pair):
    """
    List the units of a pair that no boot may start: its services and active services.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.service_names salt
    """
    config = _own_pair(pair)
    return [one["name"] for one in config["services"] + config["active_services"]]


def sharing_master_key():
    """
    List the nodes of this node's pairs that share a Salt master's key, because they replicate its folder.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.sharing_master_key
    """
    found = set()
    for config in _own_pairs().values():
        if any(check.covers(one["path"], "/etc/salt/pki/master") for one in config["replicate"]):
            found.update((config["primary"]["id"], config["secondary"]["id"]))
    return sorted(found)


def nagios_units(pair):
    """
    List the units of a pair that turn a switch inside Nagios on and off.

    pair
        Name of the pair.

    Returns a list of ``{"name": unit, "on": command, "off": command}`` for unit files; empty unless the
    pair's ``active_services`` name such units.

    CLI Example:

    .. code-block:: bash

        salt 'monitor1' pair.nagios_units monitor
    """
    found = [nagios.unit_commands(one) for one in _own_pair(pair)["active_services"]]
    return [one for one in found if one]


def repositories(pair):
    """
    List the bare repositories of a pair.

    pair
        Name of the pair.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.repositories salt
    """
    return _own_pair(pair)["git"]


def crons():
    """
    List the names in /etc/cron.d of the watches that this node must run.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.crons
    """
    found = set()
    for config in _own_pairs().values():
        for one in config["floating_ips"]:
            if one["watch"]["on"] in ("both", roles.role(config)):
                found.add(one["watch"]["cron"])
    return sorted(found)


def ssh_ports():
    """
    List the ports of this node's sshd on which the other nodes of its pairs reach it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.ssh_ports
    """
    return sorted({one[roles.role(one)].get("ssh_port", 22) for one in _own_pairs().values()})


def leases():
    """
    List the pairs of this node whose right to serve is a lease.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.leases
    """
    return [name for name, config in _own_pairs().items() if config.get("lease")]


def stale_guards():
    """
    List the units of guards that are enabled on this node for pairs that have no lease here any more.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_guards
    """
    return _stale_units("failback-lease", leases())


def stale_lookouts():
    """
    List the units of lookouts that are enabled on this node for pairs that it takes no part in any more.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_lookouts
    """
    return _stale_units("failback-look", names_())


def stale_watches():
    """
    List the units of watches that are enabled on this node and no longer for it.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_watches
    """
    return _stale_units("failback-watch", crons())


def _stale_units(template, wanted):
    """The units of a template that are enabled here for another instance than those wanted."""
    units = {f"{template}@{one}.service" for one in wanted}
    enabled = (_paths().root / "etc/systemd/system").glob(f"*.wants/{template}@*.service")
    return sorted({path.name for path in enabled} - units)


def stale_crons():
    """
    List the watches in /etc/cron.d that are this tree's and no longer for this node.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_crons
    """
    return [name for name in _crons_of("pair.watch") if name not in crons()]


def stale_git_crons():
    """
    List the files in /etc/cron.d that push repositories of pairs that have none here any more.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_git_crons
    """
    wanted = {f"failback-git-{pair}" for pair in names_() if repositories(pair)}
    return [name for name in _crons_of("pair.git") if name not in wanted]


def stale_keep_crons():
    """
    List the files in /etc/cron.d that start the keeper of pairs that this node takes no part in any more.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_keep_crons
    """
    wanted = {f"failback-keep-{pair}" for pair in names_()}
    return [name for name in _crons_of("pair.keep") if name not in wanted]


def _crons_of(state):
    """The names of the files in /etc/cron.d that a state of this tree has written."""
    return [
        path.name
        for path in sorted((_paths().root / "etc/cron.d").glob("*"))
        if path.is_file() and f"Managed by Salt ({state})" in path.read_text(errors="replace")
    ]
