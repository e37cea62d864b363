"""The world that is simulated now: what stands in place of the kernel's interfaces finds its state by it."""

#: A :py:class:`simulation.world.World`, or None.
world = None
