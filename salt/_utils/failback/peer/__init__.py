"""The way to the other node of a pair: its SSH connection, and the keys that both trust."""
