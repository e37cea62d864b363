"""
What is left of a pair on this node; functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt-run state.orch orch.retire pillar='{pair: salt}'
"""

import salt_errors
from failback import remains as left
from failback.pair import Member
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def remains(config):
    """
    Say what is left of a pair on this node, whether it still knows the pair or not.

    config
        The normalised pair, as the master has it.

    Returns a dict; its keys are those of ``failback.remains.facts`` in this tree's ``_utils``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.remains '{name: salt}'
    """
    return left.facts(Member.of({**config, "node": __opts__["id"]}, _paths()))


@salt_errors.translated
def own_lsyncd():
    """
    List the files of lsyncd on this node that Failback has written: its unit and its configuration.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.own_lsyncd
    """
    return left.own_lsyncd(_paths())
