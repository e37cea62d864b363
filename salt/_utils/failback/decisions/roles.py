"""Which role a node has in its pair, and which node is the other one. Pure."""

#: The account that needs no sudo.
ROOT = "root"


def role(config):
    """``primary`` or ``secondary``: what this node is in its pair. It never changes at run time."""
    return "primary" if config["node"] == config["primary"]["id"] else "secondary"


def peer(config):
    """The other node of the pair: ``{"id": …, "host": …}``."""
    return config["secondary" if role(config) == "primary" else "primary"]


def own(config):
    """This node of the pair: ``{"id": …, "host": …}``."""
    return config[role(config)]


def ssh_user(node):
    """The account with which the other node logs in to one of a pair."""
    return node.get("ssh_user", ROOT)
