"""``make test``: what is run, side by side with what, and what came of it."""
