"""A node is switched off by a fence agent, and asked whether it is: proof in the place of silence."""
