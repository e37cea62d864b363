"""Which role a node has in its pair, and which node is the other one. Pure."""


def role(config):
    """``primary`` or ``secondary``: what this node is in its pair. It never changes at run time."""
    return "primary" if config["node"] == config["primary"]["id"] else "secondary"


def peer(config):
    """The other node of the pair: ``{"id": …, "host": …}``."""
    return config["secondary" if role(config) == "primary" else "primary"]
