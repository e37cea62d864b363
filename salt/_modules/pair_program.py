"""
The library on a node that works without Salt: the watch, the gate of lsyncd and the other node run it.

It is the very package that Salt has synced for its own modules, so both always are of one release.

.. code-block:: bash

    salt 'salt*' pair.package
"""

import salt_errors
from failback.host import release
from failback.host import system
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


def package():
    """
    Name the code that this node runs, so that two nodes and a master can be compared.

    Returns ``{"modules": …, "program": …}``: digests of the package that Salt has synced and of the
    copy that runs without Salt, ``None`` where there is none.

    CLI Example:

    .. code-block:: bash

        salt 'salt*' pair.package
    """
    return {"modules": system.package_digest(system.PACKAGE), "program": release.digest(_paths())}


@salt_errors.translated
def install_program():
    """
    Put the release that Salt has synced in force for all that runs without Salt.

    It gets a folder of its own, and one link is swapped when all of it is on the disk. Highstate does this.

    Returns the digest of the release. Raises ``CommandExecutionError`` if it cannot be written; then the
    release before stays in force.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.install_program
    """
    return release.install(system.PACKAGE, _paths())


def has_flat_program():
    """
    Tell whether the library lies on this node as the first releases had it, all files in one folder.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.has_flat_program
    """
    return (_paths().library / "failback").is_dir()


@salt_errors.translated
def remove_flat_program(limit=20):
    """
    Remove the library as the first releases had it, when no watch runs from it any more.

    limit
        Seconds to wait for the watches to start anew, which they do when they see that it has changed.

    Returns the names of the watches that have not; if there are any, nothing was removed.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.remove_flat_program
    """
    return release.retire_flat(_paths(), float(limit))
