"""What this node is worth to a pair: the facts that a takeover depends on, found, kept and read."""
