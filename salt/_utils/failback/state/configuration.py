"""The pairs this node belongs to, as highstate rendered them from pillar."""

import re

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host.paths import Paths

#: Raised when a key changes its meaning; a node refuses what a newer release wrote.
VERSION = 1

#: A pair's name is part of file names and of unit names. The pillar's schema says the same.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def require_name(pair):
    """The name of a pair, unchanged. Raises ``Refused`` for anything that cannot be one."""
    if not isinstance(pair, str) or not NAME.fullmatch(pair):
        raise Refused(f"{pair!r} is not the name of a pair.")
    return pair


def load(pair, paths=None):
    """
    Read the configuration of one pair on this node.

    pair
        Name of the pair.

    paths
        ``Paths`` of the node.

    Returns the normalised pair (see ``failback.pillar.normalise``) with the added keys ``node``, the
    id of this node, and ``version``. Raises ``Refused`` for an unknown pair, ``Unreadable`` for a
    damaged file.
    """
    paths = paths or Paths()
    path = paths.pair_config(require_name(pair))
    config = files.read_json(path, f"the configuration of {pair}", VERSION)
    if config is None:
        known = ", ".join(names(paths)) or "none"
        raise Refused(
            f"This node knows no pair {pair} ({path} is missing; known here: {known}). "
            f"Run highstate on it: salt '<node>' state.apply"
        )
    try:
        nodes = (config["primary"]["id"], config["secondary"]["id"])
    except (KeyError, TypeError) as error:
        raise Unreadable(f"{path} does not name the two nodes of {pair}: run highstate here.") from error
    if config.get("node") not in nodes:
        raise Unreadable(f"{path} says that this node is {config.get('node')!r}, which is not in {pair}.")
    return config


def names(paths=None):
    """Names of the pairs that this node has a configuration of, sorted."""
    paths = paths or Paths()
    return sorted(path.stem for path in paths.pairs.glob("*.json"))
