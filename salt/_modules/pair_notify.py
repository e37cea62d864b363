"""
Which hooks highstate installs on this node. Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'salt*' pair.hooks
"""

import salt_errors
from failback.decisions import events
from failback.pillar import pairs
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def hooks():
    """
    List those of the shipped hooks that a pair of this node wants, by the pillar's ``notify.hooks``.

    Returns a sorted list of names, such as ``mail``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.hooks
    """
    known = pairs.of_node(__pillar__.get("pairs") or {}, __opts__["id"])
    return sorted({one for config in known.values() for one in config["notify"]["hooks"]})


@salt_errors.translated
def stale_hooks():
    """
    List the shipped hooks that lie on this node and that no pair of it wants any more.

    Returns a sorted list of names.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.stale_hooks
    """
    wanted = set(hooks())
    folder = _paths().hooks
    return [one for one in events.HOOKS if one not in wanted and (folder / f"{events.SHIPPED}{one}").exists()]
