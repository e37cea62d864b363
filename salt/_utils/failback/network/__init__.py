"""Floating addresses on this node and on the network: read, probed, taken, released and announced."""
