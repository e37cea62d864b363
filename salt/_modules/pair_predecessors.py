"""
What looked after a pair on this node before Failback; functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'web1' pair.predecessors '{name: web, …}'
"""

import salt_errors
from failback.pair import Member
from failback.predecessors import looks
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


def _member(config):
    # As the pillar has it: on a new node there is no file of the pair yet.
    return Member.of({**config, "node": __opts__["id"]}, _paths())


@salt_errors.translated
def predecessors(config):
    """
    Look for what takes a pair's addresses or carries its files beside Failback, and for the site's own files
    that highstate would replace. Nothing is changed, and nothing of Failback needs to be set up here.

    config
        The normalised pair.

    Returns a dict; its keys are those of ``failback.predecessors.looks.facts`` in this tree's ``_utils``.

    CLI Example:

    .. code-block:: bash

        salt 'web1' pair.predecessors '{name: web, …}'
    """
    return looks.facts(_member(config))


@salt_errors.translated
def keep_replaced(config):
    """
    Copy the site's own files that highstate is going to replace, once each, below
    ``/var/lib/failback/<pair>/replaced``.

    config
        The normalised pair.

    Returns a list of the copies that were made. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'web1' pair.keep_replaced '{name: web, …}'
    """
    return looks.keep(_member(config))
