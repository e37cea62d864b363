"""The automatic flip: it sees that the node with the addresses has gone, and takes them."""
