"""Which files have changed on a node since a moment, so that the window need not compare them all."""
