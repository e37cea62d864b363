"""
The node on which Salt calls an execution module: where its files are, and its half of a pair.

A module imports them as its own private helpers, for Salt shows those of a module to nobody else::

    from salt_node import member as _member
    from salt_node import paths as _paths
"""

from salt.loader.dunder import __opts__

from failback.host.paths import Paths
from failback.pair import Member


def paths():
    """The node's ``Paths``. Tests set ``failback_root`` in the minion's configuration."""
    return Paths(__opts__.get("failback_root", "/"))


def member(pair):
    """This node in a pair, a ``Member``; the call fails here if the node does not know the pair."""
    return Member.load(pair, paths())
