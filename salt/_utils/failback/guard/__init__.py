"""The guard: a process of its own that renews the right to serve, and gives the addresses up without it."""
