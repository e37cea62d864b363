"""
What this node is like around its pairs, for whoever writes a pillar.

Functions of the module ``pair``, by its virtual name.

.. code-block:: bash

    salt 'web*' pair.surroundings
"""

import salt_errors
from failback import surroundings as around
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def surroundings(pairs=None):
    """
    Say what this node has that a pillar may name. Nothing of Failback needs to be set up here.

    pairs
        Normalised pairs; for those that this node is a part of, units, paths and names are looked up as well.

    Returns a dict; its keys are those of ``failback.surroundings.surroundings`` in this tree's ``_utils``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' pair.surroundings
    """
    return around.surroundings(pairs or [], __opts__["id"], str(_paths().root))
